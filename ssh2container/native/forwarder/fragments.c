/* Fragments made whole again.
 *
 * libslirp has a reassembly of its own, in which CVE-2019-14378 and CVE-2020-1983 were found, and which keeps whatever
 * it is given for half a minute. It never sees a fragment: only what is whole is judged and passed on. The kernel in
 * the container sends the fragments of a packet in their order, so nothing else is accepted: no gaps, no overlaps. */
#include "fragments.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 8, LIFE_MS = 2000 };

static struct pending {
    uint8_t *frame; /* of LARGEST_FRAME bytes, from the first use on */
    size_t size;    /* 0: free */
    struct address source, target;
    uint32_t identity;
    uint8_t protocol;
    int64_t since_ms;
} pending[AT_ONCE];

static bool same(const struct pending *one, const struct packet *packet)
{
    return one->size && one->identity == packet->identity && one->protocol == packet->protocol &&
           address_equal(&one->source, &packet->source) && address_equal(&one->target, &packet->target);
}

static struct pending *begin(const struct packet *packet, int64_t now_ms)
{
    struct pending *place = pending;
    for (size_t i = 0; i < AT_ONCE; i++) {
        if (!pending[i].size || same(&pending[i], packet)) {
            place = &pending[i];
            break;
        }
        if (pending[i].since_ms < place->since_ms)
            place = &pending[i];
    }
    if (!place->frame && !(place->frame = malloc(LARGEST_FRAME)))
        return NULL;
    const size_t header = LINK_HEADER + (packet->target.six ? HEADER6 : HEADER4);
    memcpy(place->frame, packet->frame, header);
    place->size = header;
    place->source = packet->source, place->target = packet->target;
    place->identity = packet->identity, place->protocol = packet->protocol;
    place->since_ms = now_ms;
    return place;
}

static uint8_t *finish(struct pending *whole, size_t *size)
{
    uint8_t *header = whole->frame + LINK_HEADER;
    const size_t length = whole->size - LINK_HEADER;
    if (whole->target.six) {
        put16(header + 4, length - HEADER6);
        header[6] = whole->protocol;
    } else {
        put16(header + 2, length);
        put16(header + 6, 0);
        put16(header + 10, 0);
        uint32_t sum = 0;
        for (size_t i = 0; i < HEADER4; i += 2)
            sum += get16(header + i);
        sum = (sum & 0xFFFF) + (sum >> 16);
        put16(header + 10, ~(sum + (sum >> 16)) & 0xFFFF);
    }
    *size = whole->size;
    whole->size = 0;
    return whole->frame;
}

uint8_t *fragments_take(const struct packet *packet, int64_t now_ms, size_t *size)
{
    struct pending *place = NULL;
    for (size_t i = 0; i < AT_ONCE; i++) {
        if (pending[i].size && now_ms - pending[i].since_ms > LIFE_MS)
            pending[i].size = 0;
        if (same(&pending[i], packet))
            place = &pending[i];
    }
    if (!packet->offset)
        place = begin(packet, now_ms);
    if (!place)
        return NULL;
    const size_t header = LINK_HEADER + (packet->target.six ? HEADER6 : HEADER4);
    /* All but the last are of a multiple of eight bytes. */
    if (place->size - header != packet->offset || packet->transport_size > LARGEST_FRAME - place->size ||
        (packet->more && (packet->transport_size % 8 || !packet->transport_size))) {
        place->size = 0;
        return NULL;
    }
    memcpy(place->frame + place->size, packet->transport, packet->transport_size);
    place->size += packet->transport_size;
    return packet->more ? NULL : finish(place, size);
}
