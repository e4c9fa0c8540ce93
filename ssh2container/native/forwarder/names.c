/* Names and the addresses that were answered for them. */
#include "names.h"
#include "packet.h"

#include <string.h>

enum { MOST_PINS = 1024, MOST_SEEN = 256, MOST_OF_AN_ANSWER = 64 };

static struct pin {
    struct address address;
    size_t rule;
    int64_t until_ms; /* 0: free */
} pins[MOST_PINS];

static struct seen {
    struct address address;
    char name[DNS_NAME]; /* "": free */
} seen[MOST_SEEN];
static size_t seen_next;

/* Pin anew, or longer; where there is no room, in the place of the one that would end first. */
static void pin(const struct address *address, size_t rule, int64_t until_ms)
{
    struct pin *place = pins;
    for (size_t i = 0; i < MOST_PINS; i++) {
        if (pins[i].until_ms && pins[i].rule == rule && address_equal(&pins[i].address, address)) {
            if (pins[i].until_ms < until_ms)
                pins[i].until_ms = until_ms;
            return;
        }
        if (pins[i].until_ms < place->until_ms)
            place = &pins[i];
    }
    *place = (struct pin){*address, rule, until_ms};
}

static void see(const struct address *address, const char *name)
{
    for (size_t i = 0; i < MOST_SEEN; i++) {
        if (seen[i].name[0] && address_equal(&seen[i].address, address)) {
            strcpy(seen[i].name, name);
            return;
        }
    }
    seen[seen_next].address = *address;
    strcpy(seen[seen_next].name, name);
    seen_next = (seen_next + 1) % MOST_SEEN;
}

void names_learn(const struct configuration *configuration, const uint8_t *message, size_t size, int64_t now_ms,
                 names_place *place)
{
    struct dns_question question;
    struct dns_address found[MOST_OF_AN_ANSWER];
    if (!configuration->report && !rules_have_names(configuration))
        return;
    if (!dns_read_question(message, size, &question))
        return;
    const size_t count = dns_addresses(message, size, &question, found, MOST_OF_AN_ANSWER);
    for (size_t i = 0; i < count; i++) {
        const struct address *address = &found[i].address;
        if (configuration->report)
            see(address, question.name);
        int64_t seconds = found[i].seconds;
        seconds = seconds < SHORTEST_PIN_S ? SHORTEST_PIN_S : seconds > LONGEST_PIN_S ? LONGEST_PIN_S : seconds;
        bool asked = false;
        for (size_t rule = 0; rule < configuration->rule_count; rule++) {
            if (!rule_names(&configuration->rules[rule], question.name))
                continue;
            if (!asked && !rules_let_names_lead_to(address, place(address)))
                break;
            asked = true;
            pin(address, rule, now_ms + seconds * 1000);
        }
    }
}

bool names_allow(const struct configuration *configuration, unsigned protocol, const struct address *target,
                 unsigned port, int64_t now_ms)
{
    for (size_t i = 0; i < MOST_PINS; i++)
        if (pins[i].until_ms > now_ms && address_equal(&pins[i].address, target) &&
            ports_have(&configuration->rules[pins[i].rule].ports, protocol, port))
            return true;
    return false;
}

const char *names_of(const struct address *address)
{
    for (size_t i = 0; i < MOST_SEEN; i++)
        if (seen[i].name[0] && address_equal(&seen[i].address, address))
            return seen[i].name;
    return NULL;
}

bool names_may_be_asked(const struct configuration *configuration, const char *name)
{
    if (configuration->egress == EGRESS_INTERNET || configuration->egress == EGRESS_ANY ||
        rules_have_ranges(configuration))
        return true;
    for (size_t i = 0; i < configuration->rule_count; i++)
        if (rule_names(&configuration->rules[i], name))
            return true;
    return false;
}
