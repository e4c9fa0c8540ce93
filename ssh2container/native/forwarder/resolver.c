/* Questions for names, passed on to the host's resolver; what it answers is looked at on its way back.
 *
 * Each question has a socket of its own, connected, with a port and a number that the kernel chooses, so that nobody
 * but the resolver can answer it (RFC 5452). Questions that come by TCP go through libslirp. */
#include "forwarder.h"
#include "names.h"
#include "routes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    AT_ONCE = 128,
    MOST_SERVERS = 3, /* as of the C library (resolv.conf(5)) */
    MOST_OF_A_FILE = 65536,
    LARGEST_QUESTION = 4096,
    NEXT_SERVER_MS = 2500, /* before the C library's first repetition */
    LIFE_MS = 15000,
    LOOK_AGAIN_MS = 1000,
    FLAG_TRUNCATED = 2,
};

static struct server {
    struct address address;
    unsigned interface; /* of an address of a link */
} servers[MOST_SERVERS];
static size_t server_count;

static struct asking {
    int socket; /* 0: free */
    uint8_t *question;
    size_t size, next, place;
    bool six;
    uint16_t port, number, number_inside;
    int64_t since_ms, asked_ms;
} askings[AT_ONCE];

static void add_server(char *text)
{
    struct server *server = &servers[server_count];
    char *scope = strchr(text, '%');
    memset(server, 0, sizeof *server);
    if (scope) {
        *scope++ = 0;
        struct ifreq named = {0};
        const int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        strncpy(named.ifr_name, scope, sizeof named.ifr_name - 1);
        if (any >= 0 && !ioctl(any, SIOCGIFINDEX, &named))
            server->interface = (unsigned)named.ifr_ifindex;
        if (any >= 0)
            close(any);
    }
    if (address_read(&server->address, text))
        server_count++;
}

static void read_servers(const char *path)
{
    static char text[MOST_OF_A_FILE];
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t size = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0)
        close(file);
    if (size < 0)
        return; /* being replaced: what was known serves on */
    text[size] = 0;
    server_count = 0;
    char *rest = text;
    for (char *line; server_count < MOST_SERVERS && (line = strsep(&rest, "\n"));) {
        char *value = line + strlen("nameserver");
        if (strncmp(line, "nameserver", strlen("nameserver")) || (*value != ' ' && *value != '\t'))
            continue;
        value += strspn(value, " \t");
        value[strcspn(value, " \t\r;#")] = 0;
        add_server(value);
    }
}

/* Follow changes of the file, also by another in its place; without any server it is this machine (resolv.conf(5)). */
static void follow(void)
{
    static const char path[] = "/etc/resolv.conf";
    static struct stat before;
    static int64_t looked_ms;
    struct stat now;
    if (!server_count || forwarder.now_ms - looked_ms >= LOOK_AGAIN_MS) {
        looked_ms = forwarder.now_ms;
        if (!stat(path, &now) &&
            (now.st_ino != before.st_ino || now.st_dev != before.st_dev || now.st_size != before.st_size ||
             now.st_mtim.tv_sec != before.st_mtim.tv_sec || now.st_mtim.tv_nsec != before.st_mtim.tv_nsec)) {
            before = now;
            read_servers(path);
        }
    }
    if (!server_count) {
        char loopback[] = "127.0.0.1";
        add_server(loopback);
    }
}

static void end(struct asking *asking)
{
    if (asking->socket > 0)
        close(asking->socket);
    free(asking->question);
    memset(asking, 0, sizeof *asking);
}

static void answer(const struct asking *asking, const uint8_t *message, size_t size)
{
    static uint8_t frame[LARGEST_FRAME];
    tunnel_answer(frame, compose_udp(frame, &forwarder.link, of_family(&forwarder.dns, asking->six), DNS_PORT,
                                     of_family(&forwarder.own, asking->six), asking->port, message, size));
}

static void answer_with_code(struct asking *asking, unsigned code)
{
    struct dns_question question;
    if (!dns_read_question(asking->question, asking->size, &question)) {
        put16(asking->question + 4, 0); /* what cannot be read is not repeated */
        question.end = DNS_HEADER;
    }
    put16(asking->question, asking->number_inside);
    answer(asking, asking->question, dns_refuse(asking->question, &question, code));
}

static bool ask_server(struct asking *asking, const struct server *server)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(DNS_PORT)};
    struct sockaddr_in6 six = {
        .sin6_family = AF_INET6, .sin6_port = htons(DNS_PORT), .sin6_scope_id = server->interface};
    const bool is_six = server->address.six;
    memcpy(is_six ? (void *)&six.sin6_addr : (void *)&four.sin_addr, server->address.bytes,
           address_size(&server->address));
    const struct sockaddr *to = is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four;
    if (asking->socket)
        close(asking->socket);
    asking->socket = socket(to->sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (asking->socket < 0) {
        asking->socket = 0;
        return false;
    }
    if (getrandom(&asking->number, sizeof asking->number, GRND_NONBLOCK) != sizeof asking->number)
        return false;
    put16(asking->question, asking->number);
    asking->asked_ms = forwarder.now_ms;
    return !connect(asking->socket, to, is_six ? sizeof six : sizeof four) &&
           send(asking->socket, asking->question, asking->size, MSG_NOSIGNAL) == (ssize_t)asking->size;
}

/* Ask the next server that can be asked; without one, say so. */
static void ask_next(struct asking *asking)
{
    while (asking->next < server_count)
        if (ask_server(asking, &servers[asking->next++]))
            return;
    answer_with_code(asking, DNS_SERVER_FAILED);
    end(asking);
}

/* The place of a question: its own if it is repeated, or one that is free, or the oldest's. */
static struct asking *place_for(const struct packet *packet, unsigned number)
{
    struct asking *place = askings;
    for (size_t i = 0; i < AT_ONCE; i++) {
        struct asking *one = &askings[i];
        if (one->question && one->six == packet->source.six && one->port == packet->source_port &&
            one->number_inside == number)
            return one;
        if (!one->question || (place->question && one->since_ms < place->since_ms))
            place = one;
    }
    end(place);
    return place;
}

void resolver_ask(const struct packet *packet)
{
    const uint8_t *message = packet->transport + HEADER_UDP;
    const size_t size = packet->transport_size - HEADER_UDP;
    struct dns_question question;
    if (size < DNS_HEADER || size > LARGEST_QUESTION || dns_is_answer(message, size))
        return;
    struct asking *asking = place_for(packet, get16(message));
    if (asking->question) { /* again: the server of before may be silent */
        asking->next %= server_count ? server_count : 1;
        ask_next(asking);
        return;
    }
    if (!(asking->question = malloc(size)))
        return;
    memcpy(asking->question, message, size);
    asking->size = size;
    asking->six = packet->source.six;
    asking->port = packet->source_port;
    asking->number_inside = (uint16_t)get16(message);
    asking->since_ms = forwarder.now_ms;
    const bool readable = dns_read_question(message, size, &question);
    if (!names_may_be_asked(&forwarder.configuration, readable ? question.name : "")) {
        report_refused(PROTOCOL_UDP, &packet->target, DNS_PORT, readable ? question.name : NULL);
        answer_with_code(asking, DNS_REFUSED);
        end(asking);
        return;
    }
    follow();
    ask_next(asking);
}

void resolver_wait(struct waiting *waiting)
{
    for (size_t i = 0; i < AT_ONCE; i++) {
        struct asking *one = &askings[i];
        if (!one->question)
            continue;
        if (forwarder.now_ms - one->since_ms >= LIFE_MS) {
            end(one);
            continue;
        }
        if (one->next < server_count && forwarder.now_ms - one->asked_ms >= NEXT_SERVER_MS)
            ask_next(one);
        if (!one->question)
            continue;
        one->place = waiting_add(waiting, one->socket, POLLIN);
        waiting_until(waiting, one->next < server_count ? one->asked_ms + NEXT_SERVER_MS : one->since_ms + LIFE_MS);
    }
}

/* Whether an answer is to what was asked. What cannot be read is passed on, and nothing is learnt from it. */
static bool same_question(const struct asking *asking, const uint8_t *message, size_t size, bool *readable)
{
    struct dns_question ours, theirs;
    *readable = dns_read_question(asking->question, asking->size, &ours);
    return !*readable ||
           (dns_read_question(message, size, &theirs) && ours.type == theirs.type && !strcmp(ours.name, theirs.name));
}

/* Cut an answer that is longer than a frame, and say so; where no connection may be made for the whole of it, a part
 * has to do. */
static size_t fit(const struct asking *asking, uint8_t *message, size_t size)
{
    struct dns_question question;
    const size_t room = forwarder.configuration.mtu - (asking->six ? HEADER6 : HEADER4) - HEADER_UDP;
    if (size > room && dns_read_question(message, size, &question)) {
        memset(message + 6, 0, 6);
        message[2] |= FLAG_TRUNCATED;
        return question.end;
    }
    if (get16(message + 6) && !names_may_be_asked(&forwarder.configuration, ""))
        message[2] &= (uint8_t)~FLAG_TRUNCATED;
    return size;
}

static void receive(struct asking *asking)
{
    static uint8_t message[65536];
    bool readable;
    const ssize_t size = recv(asking->socket, message, sizeof message, MSG_DONTWAIT);
    if (size < 0) {
        if (errno != EAGAIN && errno != EINTR)
            ask_next(asking); /* nobody listens there */
        return;
    }
    if (!dns_is_answer(message, (size_t)size) || get16(message) != get16(asking->question) ||
        !same_question(asking, message, (size_t)size, &readable))
        return;
    const unsigned code = message[3] & 15;
    if ((code == DNS_SERVER_FAILED || code == DNS_REFUSED) && asking->next < server_count) {
        ask_next(asking);
        return;
    }
    if (readable)
        names_learn(&forwarder.configuration, message, (size_t)size, forwarder.now_ms, routes_place);
    put16(message, asking->number_inside);
    answer(asking, message, fit(asking, message, (size_t)size));
    end(asking);
}

void resolver_turn(const struct waiting *waiting)
{
    for (size_t i = 0; i < AT_ONCE; i++) {
        struct asking *one = &askings[i];
        if (one->question && one->place < waiting->count && waiting->list[one->place].fd == one->socket &&
            waiting->list[one->place].revents)
            receive(one);
    }
}
