/* Frames that the forwarder itself sends into the container. Nothing here touches the machine. */
#ifndef FORWARDER_COMPOSE_H
#define FORWARDER_COMPOSE_H
#include "packet.h"

/* Where a composed frame goes on the link, and from where. */
struct link {
    uint8_t to[LINK_ADDRESS], from[LINK_ADDRESS];
};

/* Why a packet goes no further, as its sender is told. */
enum refusal {
    REFUSED_BY_RULES,
    REFUSED_NO_ROUTE,
    REFUSED_PROTOCOL,
};

struct link compose_link(const struct packet *packet); /* back to where a packet came from */

/* Each writes a frame of at most LARGEST_FRAME bytes and returns its size, 0 where there is nothing to say. */
size_t compose_reset(uint8_t *into, const struct packet *refused);
size_t compose_unreachable(uint8_t *into, const struct packet *refused, const struct address *router, enum refusal why);
size_t compose_udp(uint8_t *into, const struct link *link, const struct address *source, unsigned source_port,
                   const struct address *target, unsigned target_port, const uint8_t *data, size_t size);
/* data: an ICMP message with its header, whose checksum is written anew. */
size_t compose_icmp(uint8_t *into, const struct link *link, const struct address *source, const struct address *target,
                    const uint8_t *data, size_t size);
#endif
