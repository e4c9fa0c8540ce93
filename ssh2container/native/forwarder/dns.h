/* Messages of the domain name system, as far as names and their addresses go. Nothing here touches the machine. */
#ifndef FORWARDER_DNS_H
#define FORWARDER_DNS_H
#include "address.h"

enum {
    DNS_HEADER = 12,
    DNS_NAME = 256, /* as text, with its end */
    DNS_PORT = 53,
    DNS_SERVER_FAILED = 2,
    DNS_REFUSED = 5,
};

struct dns_question {
    char name[DNS_NAME]; /* in lower case, without the last dot */
    unsigned type;
    size_t end; /* where it ends in its message */
};

struct dns_address {
    struct address address;
    uint32_t seconds; /* how long it and the names that lead to it may be kept */
};

/* Read a question of one name, in a message of either direction. The name has to be one of a host, as text; without
 * compression, which no question has. */
bool dns_read_question(const uint8_t *message, size_t size, struct dns_question *question);

bool dns_is_answer(const uint8_t *message, size_t size);

/* Collect the addresses that an answer has for its question, by way of the aliases in it (CNAME, RFC 1034 3.6.2), and
 * for no other name: what else a server says is nothing that it was asked. Returns how many there are. */
size_t dns_addresses(const uint8_t *message, size_t size, const struct dns_question *question,
                     struct dns_address *found, size_t most);

/* Turn a query into an answer that says no more than a code. Returns its size. */
size_t dns_refuse(uint8_t *message, const struct dns_question *question, unsigned code);
#endif
