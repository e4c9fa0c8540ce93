/* Addresses, and what is special about them. Nothing here touches the machine. */
#ifndef FORWARDER_ADDRESS_H
#define FORWARDER_ADDRESS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ADDRESS_TEXT = 46 };

struct address {
    bool six;
    uint8_t bytes[16]; /* the first four of an IPv4 address, the others are zero */
};

/* What an address stands for, whoever asks. */
enum address_kind {
    ADDRESS_PUBLIC,
    ADDRESS_PRIVATE,    /* of somebody's own network: 10/8, fc00::/7 and their like, and what is reserved */
    ADDRESS_LINK_LOCAL, /* 169.254/16, with the metadata services of clouds; fe80::/10 */
    ADDRESS_NEVER,      /* loopback, "this host", broadcast, forms that hide an IPv4 address from the reader */
    ADDRESS_GROUP,      /* multicast: never, and not worth an answer */
};

struct range {
    struct address network;
    unsigned bits;
};

size_t address_size(const struct address *address); /* in bytes: 4 or 16 */
bool address_equal(const struct address *one, const struct address *other);
bool address_read(struct address *address, const char *text);
const char *address_write(const struct address *address, char text[ADDRESS_TEXT]);
bool range_has(const struct range *range, const struct address *address);
enum address_kind address_kind(const struct address *address);
/* Whether an IPv6 address is one that gateways turn into an IPv4 one (NAT64, 6to4), and into which. */
bool address_embedded(const struct address *address, struct address *inner);
#endif
