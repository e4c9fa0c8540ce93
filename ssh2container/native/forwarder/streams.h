/* Messages of the domain name system in connections, as they pass towards the container. Nothing here touches the
 * machine. */
#ifndef FORWARDER_STREAMS_H
#define FORWARDER_STREAMS_H
#include "packet.h"

typedef void streams_message(const uint8_t *message, size_t size);

/* Take a segment that the resolver's side sends; message is called for each message that it completes. */
void streams_take(const struct packet *packet, int64_t now_ms, streams_message *message);
#endif
