/* Datagram flows that have been allowed: what belongs to one needs no judging again, in either direction. Nothing here
 * touches the machine. */
#ifndef FORWARDER_FLOWS_H
#define FORWARDER_FLOWS_H
#include "address.h"

enum { FLOW_LIFE_MS = 240000 }; /* as long as libslirp keeps a socket for one */

/* Whether a flow from a port of the container is known; if so, its life begins anew. */
bool flows_know(const struct address *target, unsigned target_port, unsigned source_port, int64_t now_ms);
void flows_add(const struct address *target, unsigned target_port, unsigned source_port, int64_t now_ms);
#endif
