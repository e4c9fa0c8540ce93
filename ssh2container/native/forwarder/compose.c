/* Frames that the forwarder itself sends into the container (RFC 791, 8200, 1071, 792, 4443, 9293). */
#include "compose.h"

#include <string.h>

enum { TIME_TO_LIVE = 64, QUOTED4 = 548, QUOTED6 = 1232, UNREACHABLE4 = 3, UNREACHABLE6 = 1, PARAMETER_PROBLEM6 = 4 };

static uint32_t add_up(uint32_t sum, const uint8_t *data, size_t size)
{
    for (; size > 1; data += 2, size -= 2)
        sum += get16(data);
    return size ? sum + ((uint32_t)*data << 8) : sum;
}

static unsigned fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return ~sum & 0xFFFF;
}

/* Write all that stands before the transport header, which is there already with its checksum field zero; write that
 * checksum, which is found at the offset given. */
static size_t finish(uint8_t *into, const struct link *link, const struct address *source, const struct address *target,
                     uint8_t protocol, size_t size, size_t checksum_at)
{
    const size_t header_size = target->six ? HEADER6 : HEADER4;
    uint8_t *header = into + LINK_HEADER, *transport = header + header_size;
    memcpy(into, link->to, LINK_ADDRESS);
    memcpy(into + LINK_ADDRESS, link->from, LINK_ADDRESS);
    put16(into + 12, target->six ? TYPE_IPV6 : TYPE_IPV4);
    memset(header, 0, header_size);
    if (target->six) {
        header[0] = 0x60;
        put16(header + 4, size);
        header[6] = protocol;
        header[7] = TIME_TO_LIVE;
        memcpy(header + 8, source->bytes, 16);
        memcpy(header + 24, target->bytes, 16);
    } else {
        header[0] = 0x45;
        put16(header + 2, size + HEADER4);
        header[6] = 0x40; /* not to be fragmented */
        header[8] = TIME_TO_LIVE;
        header[9] = protocol;
        memcpy(header + 12, source->bytes, 4);
        memcpy(header + 16, target->bytes, 4);
        put16(header + 10, fold(add_up(0, header, HEADER4)));
    }
    uint32_t sum = 0;
    if (protocol != PROTOCOL_ICMP) { /* that alone does not count the addresses */
        sum = add_up(add_up(0, source->bytes, address_size(source)), target->bytes, address_size(target));
        sum += protocol + (uint32_t)size;
    }
    unsigned checksum = fold(add_up(sum, transport, size));
    if (protocol == PROTOCOL_UDP && !checksum)
        checksum = 0xFFFF;
    put16(transport + checksum_at, checksum);
    return LINK_HEADER + header_size + size;
}

static uint8_t *body(uint8_t *into, const struct address *target)
{
    return into + LINK_HEADER + (target->six ? HEADER6 : HEADER4);
}

struct link compose_link(const struct packet *packet)
{
    struct link link;
    memcpy(link.to, packet->frame + LINK_ADDRESS, LINK_ADDRESS);
    memcpy(link.from, packet->frame, LINK_ADDRESS);
    return link;
}

size_t compose_reset(uint8_t *into, const struct packet *refused)
{
    const struct link link = compose_link(refused);
    const uint8_t *theirs = refused->transport;
    uint8_t *header = body(into, &refused->source);
    const size_t length = refused->transport_size - (size_t)(theirs[12] >> 4) * 4;
    const uint32_t taken = (uint32_t)length + !!(refused->flags & TCP_SYN) + !!(refused->flags & TCP_FIN);
    if (refused->flags & TCP_RESET)
        return 0;
    memset(header, 0, HEADER_TCP);
    put16(header, refused->target_port);
    put16(header + 2, refused->source_port);
    header[12] = HEADER_TCP / 4 << 4;
    header[13] = TCP_RESET;
    if (refused->flags & TCP_ACK) {
        memcpy(header + 4, theirs + 8, 4);
    } else {
        header[13] |= TCP_ACK;
        put32(header + 8, get32(theirs + 4) + taken);
    }
    return finish(into, &link, &refused->target, &refused->source, PROTOCOL_TCP, HEADER_TCP, 16);
}

size_t compose_unreachable(uint8_t *into, const struct packet *refused, const struct address *router, enum refusal why)
{
    static const uint8_t codes[][2] = {
        [REFUSED_BY_RULES] = {13, 1}, /* administratively prohibited */
        /* Network unknown; reject route: a connected socket hears at once of these, not of plain "no route" (udp(7)).
         */
        [REFUSED_NO_ROUTE] = {6, 6},
        [REFUSED_PROTOCOL] = {2, 1}, /* protocol unreachable; unrecognized next header */
    };
    const struct link link = compose_link(refused);
    const bool six = refused->source.six;
    const uint8_t *packet = refused->frame + LINK_HEADER;
    size_t quoted = (size_t)(refused->transport - packet) + refused->transport_size;
    const size_t most = six ? QUOTED6 : QUOTED4;
    quoted = quoted > most ? most : quoted;
    uint8_t *message = body(into, &refused->source);
    memset(message, 0, HEADER_ICMP);
    message[0] = six ? why == REFUSED_PROTOCOL ? PARAMETER_PROBLEM6 : UNREACHABLE6 : UNREACHABLE4;
    message[1] = codes[why][six];
    if (six && why == REFUSED_PROTOCOL)
        message[7] = 6; /* where that header is named */
    memcpy(message + HEADER_ICMP, packet, quoted);
    return finish(into, &link, router, &refused->source, six ? PROTOCOL_ICMP6 : PROTOCOL_ICMP, HEADER_ICMP + quoted, 2);
}

size_t compose_udp(uint8_t *into, const struct link *link, const struct address *source, unsigned source_port,
                   const struct address *target, unsigned target_port, const uint8_t *data, size_t size)
{
    uint8_t *header = body(into, target);
    if (size > 65535 - HEADER6 - HEADER_UDP)
        return 0;
    put16(header, source_port);
    put16(header + 2, target_port);
    put16(header + 4, HEADER_UDP + size);
    put16(header + 6, 0);
    memmove(header + HEADER_UDP, data, size);
    return finish(into, link, source, target, PROTOCOL_UDP, HEADER_UDP + size, 6);
}

size_t compose_icmp(uint8_t *into, const struct link *link, const struct address *source, const struct address *target,
                    const uint8_t *data, size_t size)
{
    uint8_t *message = body(into, target);
    if (size < HEADER_ICMP || size > 65535 - HEADER6)
        return 0;
    memmove(message, data, size);
    put16(message + 2, 0);
    return finish(into, link, source, target, target->six ? PROTOCOL_ICMP6 : PROTOCOL_ICMP, size, 2);
}
