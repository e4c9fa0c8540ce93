/* Longer than 300 lines: what a line of the configuration may say stands beside what it then allows. */
/* What the policy allows: reading the configuration, judging a flow.
 *
 * A line, words apart by one blank:
 *   mtu N
 *   egress internet|any|none|list
 *   allow ADDRESS[/BITS] [PORT[-PORT]] [tcp|udp|icmp]
 *   allow-name NAME [PORT[-PORT]] [tcp|udp|icmp]
 *   publish tcp|udp ADDRESS OUTSIDE INSIDE
 *   report yes */
#include "rules.h"
#include "packet.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(MOST_RULES == 4096 && MOST_PUBLISHED == 512, "what is said below");

enum { SMALLEST_MTU = 1280, LARGEST_MTU = 65520, MOST_WORDS = 6, OWN_LINK_BITS4 = 16, OWN_LINK_BITS6 = 10 };

static bool read_number(const char *text, unsigned least, unsigned most, unsigned *number)
{
    unsigned value = 0;
    size_t digits = 0;
    for (; text[digits] >= '0' && text[digits] <= '9' && digits < 6; digits++)
        value = value * 10 + (unsigned)(text[digits] - '0');
    *number = value;
    return digits && !text[digits] && value >= least && value <= most;
}

static bool read_protocol(const char *text, uint8_t *protocol)
{
    if (!strcmp(text, "tcp"))
        *protocol = PROTOCOL_TCP;
    else if (!strcmp(text, "udp"))
        *protocol = PROTOCOL_UDP;
    else if (!strcmp(text, "icmp"))
        *protocol = PROTOCOL_ICMP;
    else
        return false;
    return true;
}

static const char *read_ports(struct ports *ports, char **words, size_t count)
{
    unsigned first, last;
    *ports = (struct ports){0, 0, 65535};
    if (count && words[0][0] >= '0' && words[0][0] <= '9') {
        char *dash = strchr(words[0], '-');
        if (dash)
            *dash = 0;
        if (!read_number(words[0], 1, 65535, &first))
            return "a port is a number from 1 to 65535";
        last = first;
        if (dash && !read_number(dash + 1, first, 65535, &last))
            return "a range of ports ends with a number from its first to 65535";
        ports->first = (uint16_t)first, ports->last = (uint16_t)last;
        words++, count--;
    }
    if (count) {
        if (!read_protocol(words[0], &ports->protocol))
            return "a protocol is tcp, udp or icmp";
        if (ports->protocol == PROTOCOL_ICMP && (ports->first || ports->last != 65535))
            return "icmp has no ports";
        count--;
    }
    return count ? "too many words" : NULL;
}

static struct rule *new_rule(struct configuration *configuration)
{
    if (!configuration->rules)
        configuration->rules = calloc(MOST_RULES, sizeof *configuration->rules);
    return configuration->rules && configuration->rule_count < MOST_RULES
               ? &configuration->rules[configuration->rule_count]
               : NULL;
}

static const char *read_allow(struct configuration *configuration, char **words, size_t count)
{
    struct rule *rule = new_rule(configuration);
    if (!rule)
        return "there are more than 4096 lines of what is allowed";
    if (count < 2)
        return "an address is missing";
    char *slash = strchr(words[1], '/');
    if (slash)
        *slash = 0;
    if (!address_read(&rule->range.network, words[1]))
        return "not an address";
    rule->range.bits = (unsigned)(8 * address_size(&rule->range.network));
    if (slash && !read_number(slash + 1, 0, rule->range.bits, &rule->range.bits))
        return "the bits of a range are 0 to 32, of IPv6 0 to 128";
    const char *wrong = read_ports(&rule->ports, words + 2, count - 2);
    if (!wrong)
        configuration->rule_count++;
    return wrong;
}

/* A host name (RFC 1123), in lower case from here on; underscores are in use. */
static bool read_name(char *name)
{
    size_t size = strlen(name), label = 0;
    if (size && name[size - 1] == '.')
        name[--size] = 0;
    if (!size || size > LONGEST_NAME)
        return false;
    for (size_t i = name[0] == '*' && name[1] == '.' ? 2 : 0; i < size; i++) {
        char *at = &name[i];
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at + 'a' - 'A');
        if (*at == '.' ? !label : !((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || strchr("-_", *at)))
            return false;
        label = *at == '.' ? 0 : label + 1;
        if (label > 63)
            return false;
    }
    return label;
}

static const char *read_allow_name(struct configuration *configuration, char **words, size_t count)
{
    struct rule *rule = new_rule(configuration);
    if (!rule)
        return "there are more than 4096 lines of what is allowed";
    if (count < 2 || !read_name(words[1]))
        return "not a host name";
    rule->name = words[1];
    const char *wrong = read_ports(&rule->ports, words + 2, count - 2);
    if (!wrong)
        configuration->rule_count++;
    return wrong;
}

static const char *read_publish(struct configuration *configuration, char **words, size_t count)
{
    unsigned outside, inside;
    if (!configuration->published)
        configuration->published = calloc(MOST_PUBLISHED, sizeof *configuration->published);
    if (!configuration->published || configuration->published_count == MOST_PUBLISHED)
        return "there are more than 512 published ports";
    struct published *published = &configuration->published[configuration->published_count];
    if (count != 5)
        return "publish takes a protocol, an address and two ports";
    if (!read_protocol(words[1], &published->protocol) || published->protocol == PROTOCOL_ICMP)
        return "what is published is tcp or udp";
    if (!address_read(&published->address, words[2]))
        return "not an address";
    if (!read_number(words[3], 1, 65535, &outside) || !read_number(words[4], 1, 65535, &inside))
        return "a port is a number from 1 to 65535";
    published->outside = (uint16_t)outside, published->inside = (uint16_t)inside;
    /* libslirp finds the way back of a datagram by the port that it comes from. */
    for (const struct published *one = configuration->published; one < published; one++)
        if (one->protocol == PROTOCOL_UDP && published->protocol == PROTOCOL_UDP && one->inside == inside &&
            one->address.six == published->address.six)
            return "a port for datagrams can be published once only";
    configuration->published_count++;
    return NULL;
}

static const char *read_egress(struct configuration *configuration, const char *word)
{
    static const char *const words[] = {
        [EGRESS_INTERNET] = "internet", [EGRESS_ANY] = "any", [EGRESS_NONE] = "none", [EGRESS_LIST] = "list"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!strcmp(word, words[i])) {
            configuration->egress = (enum egress)i;
            return NULL;
        }
    }
    return "egress is internet, any, none or list";
}

static const char *read_line(struct configuration *configuration, char *line)
{
    char *words[MOST_WORDS];
    size_t count = 0;
    for (char *word; (word = strsep(&line, " "));) {
        if (count == MOST_WORDS || !*word)
            return "words are apart by one blank, six at most";
        words[count++] = word;
    }
    if (!strcmp(words[0], "allow"))
        return read_allow(configuration, words, count);
    if (!strcmp(words[0], "allow-name"))
        return read_allow_name(configuration, words, count);
    if (!strcmp(words[0], "publish"))
        return read_publish(configuration, words, count);
    if (count != 2)
        return "not a line of a configuration";
    if (!strcmp(words[0], "egress"))
        return read_egress(configuration, words[1]);
    if (!strcmp(words[0], "mtu"))
        return read_number(words[1], SMALLEST_MTU, LARGEST_MTU, &configuration->mtu)
                   ? NULL
                   : "mtu is a number from 1280 to 65520";
    if (!strcmp(words[0], "report")) {
        configuration->report = !strcmp(words[1], "yes");
        return configuration->report || !strcmp(words[1], "no") ? NULL : "report is yes or no";
    }
    return "not a line of a configuration";
}

const char *rules_read(struct configuration *configuration, char *text, size_t *line)
{
    memset(configuration, 0, sizeof *configuration);
    configuration->mtu = LARGEST_MTU;
    configuration->egress = EGRESS_NONE; /* until a line says otherwise */
    *line = 0;
    for (char *next; (next = strsep(&text, "\n"));) {
        ++*line;
        if (!*next && text)
            return "an empty line";
        const char *wrong = *next ? read_line(configuration, next) : NULL;
        if (wrong)
            return wrong;
    }
    return NULL;
}

bool ports_have(const struct ports *ports, unsigned protocol, unsigned port)
{
    if (ports->protocol && ports->protocol != protocol)
        return false;
    if (protocol == PROTOCOL_ICMP)
        return !ports->first;
    return ports->first <= port && port <= ports->last;
}

bool rule_names(const struct rule *rule, const char *name)
{
    char lower[LONGEST_NAME + 2];
    size_t size = 0;
    if (!rule->name)
        return false;
    for (; name[size]; size++) {
        if (size == sizeof lower - 1)
            return false;
        lower[size] = (char)(name[size] >= 'A' && name[size] <= 'Z' ? name[size] + 'a' - 'A' : name[size]);
    }
    if (size && lower[size - 1] == '.')
        size--;
    lower[size] = 0;
    if (rule->name[0] != '*')
        return !strcmp(rule->name, lower);
    const size_t ending = strlen(rule->name) - 1; /* with its dot */
    return size > ending && !strcmp(rule->name + 1, lower + size - ending);
}

bool rules_have_names(const struct configuration *configuration)
{
    for (size_t i = 0; i < configuration->rule_count; i++)
        if (configuration->rules[i].name)
            return true;
    return false;
}

bool rules_have_ranges(const struct configuration *configuration)
{
    for (size_t i = 0; i < configuration->rule_count; i++)
        if (!configuration->rules[i].name)
            return true;
    return false;
}

/* What is nobody's business by accident has to be named by itself: the host by one address, the link by a range within
 * it. A line with 0.0.0.0/0 or 10.0.0.0/8 names neither. */
static bool listed(const struct configuration *configuration, unsigned protocol, const struct address *target,
                   unsigned port, enum place place)
{
    const bool of_link = address_kind(target) == ADDRESS_LINK_LOCAL;
    for (size_t i = 0; i < configuration->rule_count; i++) {
        const struct rule *rule = &configuration->rules[i];
        if (rule->name || !ports_have(&rule->ports, protocol, port) || !range_has(&rule->range, target))
            continue;
        if (place == PLACE_OWN && rule->range.bits != 8 * address_size(target))
            continue;
        if (of_link && rule->range.bits < (target->six ? OWN_LINK_BITS6 : OWN_LINK_BITS4))
            continue;
        return true;
    }
    return false;
}

enum verdict rules_judge(const struct configuration *configuration, unsigned protocol, const struct address *target,
                         unsigned port, enum place place)
{
    struct address inner;
    const enum address_kind kind = address_kind(target);
    if (kind == ADDRESS_GROUP)
        return VERDICT_IGNORED;
    if (kind == ADDRESS_NEVER)
        return VERDICT_REFUSED;
    const bool hidden = address_embedded(target, &inner);
    const enum address_kind inside = hidden ? address_kind(&inner) : ADDRESS_PUBLIC;
    if (inside == ADDRESS_NEVER || inside == ADDRESS_GROUP)
        return VERDICT_REFUSED;
    bool allowed = configuration->egress == EGRESS_ANY;
    if (configuration->egress == EGRESS_INTERNET)
        allowed = kind == ADDRESS_PUBLIC && inside == ADDRESS_PUBLIC && place != PLACE_OWN;
    if (!allowed)
        allowed = listed(configuration, protocol, target, port, place);
    if (!allowed)
        return VERDICT_REFUSED;
    return place == PLACE_NOWHERE ? VERDICT_NO_ROUTE : VERDICT_ALLOWED;
}

bool rules_let_names_lead_to(const struct address *target, enum place place)
{
    struct address inner;
    const enum address_kind kind = address_kind(target);
    if (place == PLACE_OWN || (kind != ADDRESS_PUBLIC && kind != ADDRESS_PRIVATE))
        return false;
    if (!address_embedded(target, &inner))
        return true;
    const enum address_kind inside = address_kind(&inner);
    return inside == ADDRESS_PUBLIC || inside == ADDRESS_PRIVATE;
}
