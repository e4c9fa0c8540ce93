/* Names and the addresses that were answered for them: which flows they allow, and what a log calls them. */
#ifndef FORWARDER_NAMES_H
#define FORWARDER_NAMES_H
#include "dns.h"
#include "rules.h"

enum { SHORTEST_PIN_S = 30, LONGEST_PIN_S = 3600 };

/* Where the kernel would send what goes to an address (routes.h). */
typedef enum place names_place(const struct address *address);

/* Take an answer that came from the host's resolver. A name that rules allow is pinned to its addresses for as long as
 * they may be kept, at least SHORTEST_PIN_S, at most LONGEST_PIN_S. */
void names_learn(const struct configuration *configuration, const uint8_t *message, size_t size, int64_t now_ms,
                 names_place *place);

/* Whether a pinned name allows a flow. */
bool names_allow(const struct configuration *configuration, unsigned protocol, const struct address *target,
                 unsigned port, int64_t now_ms);

/* The name that an address was answered for last, or NULL. */
const char *names_of(const struct address *address);

/* Whether a question for a name may be asked at all: where nothing but names is allowed, for those alone. */
bool names_may_be_asked(const struct configuration *configuration, const char *name);
#endif
