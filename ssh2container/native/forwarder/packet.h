/* What a frame from the container is. Nothing here touches the machine, and nothing is believed. */
#ifndef FORWARDER_PACKET_H
#define FORWARDER_PACKET_H
#include "address.h"

enum {
    LINK_HEADER = 14,
    LINK_ADDRESS = 6,
    LARGEST_FRAME = LINK_HEADER + 65535,
    TYPE_IPV4 = 0x0800,
    TYPE_ARP = 0x0806,
    TYPE_IPV6 = 0x86DD,
    HEADER4 = 20,
    HEADER6 = 40,
    HEADER_FRAGMENT = 8,
    HEADER_UDP = 8,
    HEADER_ICMP = 8,
    HEADER_TCP = 20,
    PROTOCOL_ICMP = 1,
    PROTOCOL_TCP = 6,
    PROTOCOL_UDP = 17,
    PROTOCOL_FRAGMENT = 44,
    PROTOCOL_ICMP6 = 58,
    TCP_FIN = 1,
    TCP_SYN = 2,
    TCP_RESET = 4,
    TCP_ACK = 16,
    TCP_URGENT = 32,
    WIDEST_WINDOW = 65535, /* without the option that scales it */
    ECHO4 = 8,
    ECHO4_REPLY = 0,
    ECHO6 = 128,
    ECHO6_REPLY = 129,
    ROUTER_ADVERTISEMENT = 134,
    NEIGHBOUR_SOLICITATION = 135,
    NEIGHBOUR_ADVERTISEMENT = 136,
};

enum packet_kind {
    PACKET_BROKEN, /* not worth an answer */
    PACKET_LINK,   /* ARP, neighbour discovery: of the link alone */
    PACKET_TCP,
    PACKET_UDP,
    PACKET_ECHO, /* a ping */
    PACKET_FRAGMENT,
    PACKET_UNKNOWN, /* another protocol */
};

/* Of one frame; pointers lead into it. Ports are in the host's order. */
struct packet {
    enum packet_kind kind;
    const uint8_t *frame;
    const uint8_t *transport; /* the header behind that of IP */
    size_t transport_size;    /* with all that follows, as IP has it: the frame may have more */
    struct address source, target;
    uint8_t protocol;
    uint8_t flags;        /* of TCP */
    uint16_t source_port; /* of a ping: its identifier */
    uint16_t target_port;
    uint32_t identity; /* of a fragment, and */
    size_t offset;     /* where it begins, in bytes, and */
    bool more;         /* whether others follow */
};

/* Say what a frame is. Whatever its header claims lies inside of it: an IP packet that is longer than the frame, has
 * options, or whose transport header is cut off is PACKET_BROKEN. */
enum packet_kind packet_read(struct packet *packet, const uint8_t *frame, size_t size);

/* Make urgent data of a TCP packet ordinary: the mark goes, the data stays where it is (RFC 6093 has it so, too).
 * frame: the one that the packet was read from. */
void packet_calm(struct packet *packet, uint8_t *frame);

/* Make the widest window of a TCP packet an even one. The kernel sends at most half of the widest window that it has
 * seen in a packet: of 65535, 32767 and 32767 and then a byte, which would have a frame to itself.
 * frame: the one that the packet was read from. */
void packet_even(const struct packet *packet, uint8_t *frame);

static inline unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static inline uint32_t get32(const uint8_t *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static inline void put16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8), at[1] = (uint8_t)value;
}

static inline void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16), put16(at + 2, value & 0xFFFF);
}
#endif
