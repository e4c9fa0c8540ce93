/* Echoes, by the kernel's own sockets for them (icmp(7), ping_group_range).
 *
 * libslirp's are not used: it takes a socket for each request and keeps it for minutes if no reply comes, knows no
 * IPv6, and where the kernel gives it no socket it sends datagrams to port 7 instead. */
#include "forwarder.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { AT_ONCE = 32, LIFE_MS = 10000, LARGEST_ECHO = 65535 - HEADER4 };

static struct pinging {
    int socket; /* 0: free */
    struct address target;
    uint16_t identifier;
    int64_t last_ms;
    size_t place; /* in what is waited for */
} pinging[AT_ONCE];

static int open_socket(bool six)
{
    return socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                  six ? (int)IPPROTO_ICMPV6 : (int)IPPROTO_ICMP);
}

static void end(struct pinging *one)
{
    close(one->socket);
    one->socket = 0;
}

static socklen_t peer(const struct address *address, struct sockaddr_storage *into)
{
    memset(into, 0, sizeof *into);
    if (address->six) {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)into;
        six->sin6_family = AF_INET6;
        memcpy(&six->sin6_addr, address->bytes, 16);
        return sizeof *six;
    }
    struct sockaddr_in *four = (struct sockaddr_in *)into;
    four->sin_family = AF_INET;
    memcpy(&four->sin_addr, address->bytes, 4);
    return sizeof *four;
}

static struct pinging *find(const struct packet *packet)
{
    struct pinging *place = pinging;
    for (size_t i = 0; i < AT_ONCE; i++) {
        struct pinging *one = &pinging[i];
        if (one->socket && one->identifier == packet->source_port && address_equal(&one->target, &packet->target))
            return one;
        if (!one->socket || (place->socket && one->last_ms < place->last_ms))
            place = one;
    }
    if (place->socket)
        end(place);
    struct sockaddr_storage to;
    const socklen_t size = peer(&packet->target, &to);
    const int made = open_socket(packet->target.six);
    if (made < 0)
        return NULL;
    if (connect(made, (const struct sockaddr *)&to, size)) {
        close(made);
        return NULL;
    }
    *place = (struct pinging){.socket = made, .target = packet->target, .identifier = packet->source_port};
    return place;
}

void ping_ask(const struct packet *packet)
{
    static uint8_t answer[LARGEST_FRAME];
    struct pinging *one = find(packet);
    if (!one || send(one->socket, packet->transport, packet->transport_size, MSG_NOSIGNAL) < 0) {
        tunnel_answer(answer, compose_unreachable(answer, packet, of_family(&forwarder.gateway, packet->source.six),
                                                  one ? REFUSED_NO_ROUTE : REFUSED_BY_RULES));
        return;
    }
    one->last_ms = forwarder.now_ms;
}

void ping_wait(struct waiting *waiting)
{
    for (size_t i = 0; i < AT_ONCE; i++) {
        struct pinging *one = &pinging[i];
        if (one->socket && forwarder.now_ms - one->last_ms >= LIFE_MS)
            end(one);
        if (!one->socket)
            continue;
        one->place = waiting_add(waiting, one->socket, POLLIN);
        waiting_until(waiting, one->last_ms + LIFE_MS);
    }
}

static void receive(struct pinging *one)
{
    static uint8_t message[LARGEST_ECHO], frame[LARGEST_FRAME];
    const ssize_t size = recv(one->socket, message, sizeof message, MSG_DONTWAIT);
    if (size < HEADER_ICMP || message[0] != (one->target.six ? ECHO6_REPLY : ECHO4_REPLY))
        return;
    put16(message + 4, one->identifier);
    tunnel_answer(frame, compose_icmp(frame, &forwarder.link, &one->target, of_family(&forwarder.own, one->target.six),
                                      message, (size_t)size));
}

void ping_turn(const struct waiting *waiting)
{
    for (size_t i = 0; i < AT_ONCE; i++) {
        struct pinging *one = &pinging[i];
        if (one->socket && one->place < waiting->count && waiting->list[one->place].fd == one->socket &&
            waiting->list[one->place].revents)
            receive(one);
    }
}
