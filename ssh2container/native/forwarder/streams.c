/* Messages of the domain name system in connections (RFC 7766), put together from their segments.
 *
 * A message may only be read where one begins: within one stands what the owner of some name has written, who could
 * write there what looks like an answer for another name. So a connection is followed from its first byte on, and
 * never again when one is missing. */
#include "streams.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 8, LONGEST = 2 + 65535 };

static struct stream {
    uint8_t *buffer; /* of LONGEST bytes, from the first use on: a message behind its length */
    size_t size;
    uint32_t next; /* the number of the byte that comes next */
    uint16_t port; /* the container's; 0: free */
    bool six;
    int64_t last_ms;
} streams[AT_ONCE];

static struct stream *find(const struct packet *packet)
{
    for (size_t i = 0; i < AT_ONCE; i++)
        if (streams[i].port && streams[i].port == packet->target_port && streams[i].six == packet->target.six)
            return &streams[i];
    return NULL;
}

static void begin(const struct packet *packet, int64_t now_ms)
{
    struct stream *place = find(packet);
    for (size_t i = 0; !place && i < AT_ONCE; i++)
        if (!streams[i].port)
            place = &streams[i];
    if (!place) {
        place = streams;
        for (size_t i = 1; i < AT_ONCE; i++)
            if (streams[i].last_ms < place->last_ms)
                place = &streams[i];
    }
    if (!place->buffer && !(place->buffer = malloc(LONGEST)))
        return;
    place->size = 0;
    place->next = get32(packet->transport + 4) + 1;
    place->port = packet->target_port;
    place->six = packet->target.six;
    place->last_ms = now_ms;
}

static void feed(struct stream *stream, const uint8_t *data, size_t size, streams_message *message)
{
    while (size) {
        const size_t wanted = stream->size < 2 ? 2 : 2 + get16(stream->buffer);
        const size_t part = size < wanted - stream->size ? size : wanted - stream->size;
        memcpy(stream->buffer + stream->size, data, part);
        stream->size += part, data += part, size -= part;
        if (stream->size >= 2 && stream->size == 2 + get16(stream->buffer)) {
            message(stream->buffer + 2, stream->size - 2);
            stream->size = 0;
        }
    }
}

void streams_take(const struct packet *packet, int64_t now_ms, streams_message *message)
{
    if (packet->flags & TCP_SYN) {
        begin(packet, now_ms);
        return;
    }
    struct stream *stream = find(packet);
    if (!stream)
        return;
    const size_t header = (size_t)(packet->transport[12] >> 4) * 4;
    const size_t size = packet->transport_size - header;
    const uint32_t known = stream->next - get32(packet->transport + 4); /* of these bytes, modulo 2^32 */
    stream->last_ms = now_ms;
    if (size && known < size) {
        stream->next += (uint32_t)(size - known);
        feed(stream, packet->transport + header + known, size - known, message);
    } else if (size && known > UINT32_MAX / 2) {
        stream->port = 0; /* some are missing */
    }
    if (packet->flags & (TCP_FIN | TCP_RESET))
        stream->port = 0;
}
