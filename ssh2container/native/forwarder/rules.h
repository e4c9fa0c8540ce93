/* What the policy allows, as the forwarder is told. Nothing here touches the machine. */
#ifndef FORWARDER_RULES_H
#define FORWARDER_RULES_H
#include "address.h"

enum egress { EGRESS_INTERNET, EGRESS_ANY, EGRESS_NONE, EGRESS_LIST };

enum { MOST_RULES = 4096, MOST_PUBLISHED = 512, LONGEST_NAME = 253 };

/* protocols and ports that a line of the configuration is about */
struct ports {
    uint8_t protocol; /* PROTOCOL_…, 0: of all three */
    uint16_t first, last;
};

struct rule {
    struct range range;
    const char *name; /* in lower case; NULL: the range counts. "*.example.org" is all below example.org */
    struct ports ports;
};

struct published {
    uint8_t protocol;
    struct address address;
    uint16_t outside, inside;
};

struct configuration {
    unsigned mtu;
    enum egress egress;
    bool report;
    struct rule *rules;
    size_t rule_count;
    struct published *published;
    size_t published_count;
};

/* What the kernel would do with a packet to an address. */
enum place { PLACE_ELSEWHERE, PLACE_OWN, PLACE_NOWHERE };

enum verdict { VERDICT_ALLOWED, VERDICT_REFUSED, VERDICT_NO_ROUTE, VERDICT_IGNORED };

/* Read a configuration, which is changed and stays in use. Returns NULL, or what is wrong in line *line. Exits never;
 * what it allocates stays. */
const char *rules_read(struct configuration *configuration, char *text, size_t *line);

/* Whether ports are among those of a line; a ping has none, and is only among "all". */
bool ports_have(const struct ports *ports, unsigned protocol, unsigned port);

/* Whether a host name, with or without a dot at its end, is one that a rule names. */
bool rule_names(const struct rule *rule, const char *name);

/* Whether the configuration has lines with names, and whether it has any with addresses. */
bool rules_have_names(const struct configuration *configuration);
bool rules_have_ranges(const struct configuration *configuration);

/* Judge a new flow by addresses alone; port and protocol as of a packet. place: of the address, or of the IPv4 address
 * in it (address_embedded). */
enum verdict rules_judge(const struct configuration *configuration, unsigned protocol, const struct address *target,
                         unsigned port, enum place place);

/* Whether a name may lead to an address: not to the host itself, loopback, or the link with its metadata. */
bool rules_let_names_lead_to(const struct address *target, enum place place);
#endif
