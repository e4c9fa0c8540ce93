/* What the parts of the forwarder that act share: the configuration, the container's end, what is waited for. */
#ifndef FORWARDER_FORWARDER_H
#define FORWARDER_FORWARDER_H
#include "compose.h"
#include "rules.h"

#include <poll.h>

enum { DESCRIPTORS = 1500 }; /* it may have at a time */

/* An address of either family. */
struct both {
    struct address four, six;
};

struct forwarder {
    struct configuration configuration;
    struct both own, gateway, dns; /* inside (kernel/private_network.py) */
    struct range network4, network6;
    struct link link; /* to the container, from the gateway */
    int tap, status, errors;
    size_t most_sockets, sockets; /* libslirp may have, and had when it was last asked */
    int64_t now_ms;               /* monotonic, of this turn of the loop */
};

extern struct forwarder forwarder;

static inline const struct address *of_family(const struct both *both, bool six)
{
    return six ? &both->six : &both->four;
}

/* What one turn of the loop waits for. */
struct waiting {
    struct pollfd *list;
    size_t count, room;
    int64_t until_ms; /* at the latest */
};

size_t waiting_add(struct waiting *waiting, int descriptor, short events); /* returns its place */
void waiting_until(struct waiting *waiting, int64_t ms);

/* tunnel.c: libslirp and the loop around it */
const char *tunnel_open(void);                                 /* NULL, or what did not work; errno says why */
const char *tunnel_publish(const struct published *published); /* the same */
void tunnel_pass(const uint8_t *frame, size_t size);           /* to libslirp */
void tunnel_answer(const uint8_t *frame, size_t size);         /* to the container */
_Noreturn void tunnel_run(int life);

/* gate.c: what may pass */
void gate_from_container(uint8_t *frame, size_t size); /* which it may change */
bool gate_to_container(const uint8_t *frame, size_t size);

/* resolver.c: questions for names */
void resolver_ask(const struct packet *packet);
void resolver_wait(struct waiting *waiting);
void resolver_turn(const struct waiting *waiting);

/* ping.c: echoes */
void ping_ask(const struct packet *packet);
void ping_wait(struct waiting *waiting);
void ping_turn(const struct waiting *waiting);

/* report.c: what the monitor is told */
void report_refused(unsigned protocol, const struct address *target, unsigned port, const char *name);
void report_rest(struct waiting *waiting);
void report_untold(void);
void report_line(const char *line);

/* confine.c: everything given up that is not needed; NULL, or what did not work; errno says why */
const char *confine_begin(void);
const char *confine_limit(void);
const char *confine_finish(bool *landlock);

_Noreturn void fail(const char *form, ...) __attribute__((format(printf, 1, 2)));
#endif
