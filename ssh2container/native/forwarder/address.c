/* Addresses, and what is special about them.
 *
 * After the special-purpose registries of IANA (RFC 6890 and its updates). The ranges for documentation are left out:
 * nobody has them. */
#include "address.h"

#include <arpa/inet.h>
#include <string.h>

struct special {
    const char *network;
    unsigned bits;
    enum address_kind kind;
};

/* The first that matches counts. */
static const struct special specials4[] = {
    {"0.0.0.0", 8, ADDRESS_NEVER},          /* this host: the kernel takes 0.0.0.0 for loopback */
    {"127.0.0.0", 8, ADDRESS_NEVER},        /* loopback */
    {"255.255.255.255", 32, ADDRESS_GROUP}, /* broadcast */
    {"224.0.0.0", 4, ADDRESS_GROUP},        /* multicast */
    {"240.0.0.0", 4, ADDRESS_NEVER},        /* reserved */
    {"169.254.0.0", 16, ADDRESS_LINK_LOCAL}, {"10.0.0.0", 8, ADDRESS_PRIVATE},
    {"100.64.0.0", 10, ADDRESS_PRIVATE},                                          /* shared by a carrier's customers */
    {"172.16.0.0", 12, ADDRESS_PRIVATE},     {"192.0.0.0", 24, ADDRESS_PRIVATE},  /* protocol assignments */
    {"192.168.0.0", 16, ADDRESS_PRIVATE},    {"198.18.0.0", 15, ADDRESS_PRIVATE}, /* benchmarks */
};
static const struct special specials6[] = {
    {"::ffff:0:0", 96, ADDRESS_NEVER},   /* an IPv4 address, for the kernel: it would pass by the rules for those */
    {"::", 96, ADDRESS_NEVER},           /* unspecified, loopback, IPv4-compatible */
    {"::ffff:0:0:0", 96, ADDRESS_NEVER}, /* translated, of SIIT */
    {"ff00::", 8, ADDRESS_GROUP},        {"fe80::", 10, ADDRESS_LINK_LOCAL},
    {"64:ff9b::", 96, ADDRESS_PUBLIC}, /* NAT64: what is inside decides */
    {"2001::", 32, ADDRESS_PRIVATE},   /* Teredo hides two IPv4 addresses */
    {"2000::", 3, ADDRESS_PUBLIC},     /* all that has been given away, 6to4 among them: what is inside decides */
    {"::", 0, ADDRESS_PRIVATE},        /* fc00::/7, site-local, NAT64 of a network's own, and what is reserved */
};

size_t address_size(const struct address *address)
{
    return address->six ? 16 : 4;
}

bool address_equal(const struct address *one, const struct address *other)
{
    return one->six == other->six && !memcmp(one->bytes, other->bytes, address_size(one));
}

bool address_read(struct address *address, const char *text)
{
    memset(address, 0, sizeof *address);
    address->six = strchr(text, ':') != NULL;
    return inet_pton(address->six ? AF_INET6 : AF_INET, text, address->bytes) == 1;
}

const char *address_write(const struct address *address, char text[ADDRESS_TEXT])
{
    return inet_ntop(address->six ? AF_INET6 : AF_INET, address->bytes, text, ADDRESS_TEXT);
}

bool range_has(const struct range *range, const struct address *address)
{
    if (range->network.six != address->six || range->bits > 8 * address_size(address))
        return false;
    const unsigned whole = range->bits / 8, rest = range->bits % 8;
    if (memcmp(range->network.bytes, address->bytes, whole))
        return false;
    return !rest || (range->network.bytes[whole] ^ address->bytes[whole]) >> (8 - rest) == 0;
}

enum address_kind address_kind(const struct address *address)
{
    const struct special *list = address->six ? specials6 : specials4;
    const size_t count = address->six ? sizeof specials6 / sizeof *specials6 : sizeof specials4 / sizeof *specials4;
    for (size_t i = 0; i < count; i++) {
        struct range range = {.bits = list[i].bits};
        if (address_read(&range.network, list[i].network) && range_has(&range, address))
            return list[i].kind;
    }
    return ADDRESS_PUBLIC; /* of IPv4: the last line of the other list matches all */
}

bool address_embedded(const struct address *address, struct address *inner)
{
    static const struct {
        const char *network;
        unsigned bits, at;
    } forms[] = {{"64:ff9b::", 96, 12}, {"2002::", 16, 2}};
    for (size_t i = 0; address->six && i < sizeof forms / sizeof *forms; i++) {
        struct range range = {.bits = forms[i].bits};
        if (address_read(&range.network, forms[i].network) && range_has(&range, address)) {
            memset(inner, 0, sizeof *inner);
            memcpy(inner->bytes, address->bytes + forms[i].at, 4);
            return true;
        }
    }
    return false;
}
