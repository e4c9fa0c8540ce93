/* What a frame from the container is (RFC 791, 8200, 826, 4861, 9293, 768, 792, 4443). */
#include "packet.h"

#include <string.h>

enum { ARP_SIZE = 28, NEIGHBOUR_SIZE = 24, HOP_LIMIT_OF_LINK = 255 };

static enum packet_kind read_tcp(struct packet *packet)
{
    const uint8_t *header = packet->transport;
    if (packet->transport_size < HEADER_TCP)
        return PACKET_BROKEN;
    const size_t length = (size_t)(header[12] >> 4) * 4;
    if (length < HEADER_TCP || length > packet->transport_size)
        return PACKET_BROKEN;
    packet->source_port = (uint16_t)get16(header);
    packet->target_port = (uint16_t)get16(header + 2);
    packet->flags = header[13];
    return PACKET_TCP;
}

static enum packet_kind read_udp(struct packet *packet)
{
    const uint8_t *header = packet->transport;
    if (packet->transport_size < HEADER_UDP)
        return PACKET_BROKEN;
    const size_t length = get16(header + 4);
    if (length < HEADER_UDP || length > packet->transport_size)
        return PACKET_BROKEN;
    packet->transport_size = length;
    packet->source_port = (uint16_t)get16(header);
    packet->target_port = (uint16_t)get16(header + 2);
    return PACKET_UDP;
}

static enum packet_kind read_icmp(struct packet *packet)
{
    const uint8_t *header = packet->transport;
    if (packet->transport_size < HEADER_ICMP)
        return PACKET_BROKEN;
    const bool six = packet->target.six;
    if (six && (header[0] == NEIGHBOUR_SOLICITATION || header[0] == NEIGHBOUR_ADVERTISEMENT))
        return packet->transport_size >= NEIGHBOUR_SIZE && packet->frame[LINK_HEADER + 7] == HOP_LIMIT_OF_LINK
                   ? PACKET_LINK
                   : PACKET_BROKEN;
    if (header[0] != (six ? ECHO6 : ECHO4) || header[1])
        return PACKET_BROKEN; /* errors, replies, questions for routers and listeners: nobody waits for them */
    packet->source_port = (uint16_t)get16(header + 4);
    return PACKET_ECHO;
}

static enum packet_kind read_transport(struct packet *packet)
{
    if (packet->protocol == PROTOCOL_TCP)
        return read_tcp(packet);
    if (packet->protocol == PROTOCOL_UDP)
        return read_udp(packet);
    if (packet->protocol == (packet->target.six ? PROTOCOL_ICMP6 : PROTOCOL_ICMP))
        return read_icmp(packet);
    return PACKET_UNKNOWN;
}

/* Options are in no packet that a program sends without saying so; routers drop them (RFC 7126), and so is it here. */
static enum packet_kind read_ipv4(struct packet *packet, const uint8_t *header, size_t size)
{
    if (size < HEADER4 || header[0] != 0x45)
        return PACKET_BROKEN;
    const size_t total = get16(header + 2);
    if (total < HEADER4 || total > size)
        return PACKET_BROKEN;
    memcpy(packet->source.bytes, header + 12, 4);
    memcpy(packet->target.bytes, header + 16, 4);
    packet->protocol = header[9];
    packet->transport = header + HEADER4;
    packet->transport_size = total - HEADER4;
    const unsigned fragment = get16(header + 6);
    packet->offset = (size_t)(fragment & 0x1FFF) * 8;
    packet->more = fragment & 0x2000;
    if (packet->offset || packet->more) {
        packet->identity = get16(header + 4);
        return PACKET_FRAGMENT;
    }
    return read_transport(packet);
}

/* Of the extension headers only that of fragments has a use for programs: any other is a protocol that is not known
 * here, and so cannot hide one that is. */
static enum packet_kind read_ipv6(struct packet *packet, const uint8_t *header, size_t size)
{
    if (size < HEADER6 || header[0] >> 4 != 6)
        return PACKET_BROKEN;
    const size_t length = get16(header + 4);
    if (length > size - HEADER6)
        return PACKET_BROKEN;
    packet->source.six = packet->target.six = true;
    memcpy(packet->source.bytes, header + 8, 16);
    memcpy(packet->target.bytes, header + 24, 16);
    packet->protocol = header[6];
    packet->transport = header + HEADER6;
    packet->transport_size = length;
    if (packet->protocol != PROTOCOL_FRAGMENT)
        return read_transport(packet);
    if (length < HEADER_FRAGMENT)
        return PACKET_BROKEN;
    const unsigned fragment = get16(packet->transport + 2);
    packet->protocol = packet->transport[0];
    packet->offset = fragment & 0xFFF8;
    packet->more = fragment & 1;
    packet->identity = get32(packet->transport + 4);
    packet->transport += HEADER_FRAGMENT;
    packet->transport_size -= HEADER_FRAGMENT;
    return PACKET_FRAGMENT;
}

/* Of Ethernet and IPv4, from the one who says so. */
static enum packet_kind read_arp(struct packet *packet, const uint8_t *header, size_t size)
{
    static const uint8_t form[] = {0, 1, 8, 0, LINK_ADDRESS, 4};
    if (size < ARP_SIZE || memcmp(header, form, sizeof form))
        return PACKET_BROKEN;
    memcpy(packet->source.bytes, header + 14, 4);
    memcpy(packet->target.bytes, header + 24, 4);
    return PACKET_LINK;
}

enum packet_kind packet_read(struct packet *packet, const uint8_t *frame, size_t size)
{
    memset(packet, 0, sizeof *packet);
    packet->frame = frame;
    if (size < LINK_HEADER)
        return packet->kind = PACKET_BROKEN;
    const uint8_t *header = frame + LINK_HEADER;
    size -= LINK_HEADER;
    switch (get16(frame + 12)) {
    case TYPE_IPV4:
        return packet->kind = read_ipv4(packet, header, size);
    case TYPE_IPV6:
        return packet->kind = read_ipv6(packet, header, size);
    case TYPE_ARP:
        return packet->kind = read_arp(packet, header, size);
    default:
        return packet->kind = PACKET_BROKEN;
    }
}

/* The sum that a checksum is made of, after a word has been changed (RFC 1624, equation 3). */
static void correct(uint8_t *checksum, unsigned before, unsigned after)
{
    uint32_t sum = (~get16(checksum) & 0xFFFF) + (~before & 0xFFFF) + after;
    sum = (sum & 0xFFFF) + (sum >> 16);
    sum = (sum & 0xFFFF) + (sum >> 16);
    put16(checksum, ~sum & 0xFFFF);
}

void packet_calm(struct packet *packet, uint8_t *frame)
{
    if (packet->kind != PACKET_TCP || !(packet->flags & TCP_URGENT))
        return;
    uint8_t *header = frame + (packet->transport - packet->frame);
    const unsigned flags = get16(header + 12), place = get16(header + 18);
    correct(header + 16, flags, flags & ~(unsigned)TCP_URGENT);
    correct(header + 16, place, 0);
    put16(header + 18, 0);
    header[13] = packet->flags = packet->flags & (uint8_t)~TCP_URGENT;
}

void packet_even(const struct packet *packet, uint8_t *frame)
{
    if (packet->kind != PACKET_TCP || get16(packet->transport + 14) != WIDEST_WINDOW)
        return;
    uint8_t *header = frame + (packet->transport - packet->frame);
    correct(header + 16, WIDEST_WINDOW, WIDEST_WINDOW - 1);
    put16(header + 14, WIDEST_WINDOW - 1);
}
