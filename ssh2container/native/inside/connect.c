/* ssh2container-connect: joins standard input and output to a place inside the container.
 *
 *     ssh2container-connect PORT | HOST:PORT | [ADDRESS]:PORT | /SOCKET
 *
 * The program of a session of that request (ssh2container/plan/forwarding.py), for ProxyCommand of ssh_config(5) and
 * whatever else speaks over two descriptors. It is an ordinary process of the container: what it can reach is what the
 * container's network and files have.
 *
 * The end of one direction is passed on and the other goes on, as between two TCP peers (shutdown(2)). It ends when
 * both have ended, and when nobody reads any more. Exit status: 0 both directions have ended; 1 nothing could be
 * connected to, a line says why; 2 wrong usage.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FAILED = 1, USAGE = 2, CHUNK = 65536, HIGHEST_PORT = 65535, LONGEST_HOST = 255 };

static const char usage[] = "usage: ssh2container-connect PORT | HOST:PORT | [ADDRESS]:PORT | /SOCKET\n";

static _Noreturn void wrong_usage(void)
{
    (void)!write(2, usage, sizeof usage - 1);
    exit(USAGE);
}

static _Noreturn void fail(const char *place, const char *why)
{
    fprintf(stderr, "ssh2container-connect: cannot connect to %s: %s\n", place, why);
    exit(FAILED);
}

static int to_socket(const char *path)
{
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof place.sun_path)
        fail(path, "the path is too long for a socket");
    strcpy(place.sun_path, path);
    int end = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (end < 0 || connect(end, (struct sockaddr *)&place, sizeof place))
        fail(path, strerror(errno));
    return end;
}

static int to_port(const char *shown, const char *host, const char *port)
{
    struct addrinfo *found, wanted = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int failed = getaddrinfo(host, port, &wanted, &found), number = 0;
    if (failed)
        fail(shown, failed == EAI_SYSTEM ? strerror(errno) : gai_strerror(failed));
    for (struct addrinfo *one = found; one; one = one->ai_next) {
        int end = socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC, one->ai_protocol);
        if (end >= 0 && connect(end, one->ai_addr, one->ai_addrlen) == 0) {
            /* What an interactive protocol sends in small pieces is not to wait for the next one. */
            setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
            freeaddrinfo(found);
            return end;
        }
        number = errno;
        if (end >= 0)
            close(end);
    }
    fail(shown, strerror(number));
}

static int is_port(const char *text)
{
    char *end;
    long number = strtol(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && number > 0 && number <= HIGHEST_PORT;
}

static int to_place(const char *word)
{
    char host[LONGEST_HOST + 1];
    if (*word == '/')
        return to_socket(word);
    if (is_port(word)) {
        /* No host means both loopback addresses: what listens on this machine listens on one of them, seldom on both.
         */
        return to_port(word, NULL, word);
    }
    const char *colon = strrchr(word, ':');
    size_t length = colon ? (size_t)(colon - word) : 0;
    if (!length || length > LONGEST_HOST || !is_port(colon + 1))
        wrong_usage();
    const char *name = word;
    if (*word == '[' && word[length - 1] == ']')
        name++, length -= 2;
    else if (memchr(word, ':', length))
        wrong_usage();
    memcpy(host, name, length);
    host[length] = '\0';
    return to_port(word, host, colon + 1);
}

/* One direction: what was read and is not written yet. */
struct way {
    int from, to;
    int reads, writes; /* whether `from` may have more, and `to` takes more */
    size_t at, filled;
    char content[CHUNK];
};

/* The end of what is written: a socket is told, as a copy of it may be the other direction's or somebody else's. */
static void end_writing(struct way *way)
{
    if (!way->writes)
        return;
    way->writes = 0;
    shutdown(way->to, SHUT_WR);
    if (way->to == STDOUT_FILENO) {
        int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (nothing >= 0)
            dup2(nothing, STDOUT_FILENO);
    }
}

static int is_again(void)
{
    return errno == EAGAIN || errno == EINTR;
}

static void fill(struct way *way)
{
    ssize_t count = read(way->from, way->content, CHUNK);
    if (count > 0) {
        way->at = 0;
        way->filled = (size_t)count;
    } else if (count == 0 || !is_again()) {
        way->reads = 0;
        end_writing(way);
    }
}

static void empty(struct way *way)
{
    ssize_t count = write(way->to, way->content + way->at, way->filled - way->at);
    if (count > 0)
        way->at += (size_t)count;
    else if (!is_again())
        way->writes = way->reads = 0;
}

static int goes_on(const struct way *way)
{
    return way->writes && (way->reads || way->at < way->filled);
}

/* The events to wait for on the two ends of a way; `to` is looked at for having gone away, too. */
static void ask(const struct way *way, struct pollfd *from, struct pollfd *to)
{
    int waits = way->at < way->filled;
    *from = (struct pollfd){.fd = way->writes && way->reads && !waits ? way->from : -1, .events = POLLIN};
    *to = (struct pollfd){.fd = way->writes ? way->to : -1, .events = waits ? POLLOUT : 0};
}

static void step(struct way *way, const struct pollfd *from, const struct pollfd *to)
{
    if (to->revents & (POLLERR | POLLNVAL) || (to->revents & POLLHUP && !(to->revents & POLLOUT)))
        way->writes = way->reads = 0;
    else if (to->revents & POLLOUT)
        empty(way);
    if (way->writes && from->revents)
        fill(way);
}

static void relay(int end)
{
    static struct way up, down;
    up.from = STDIN_FILENO, up.to = down.from = end, down.to = STDOUT_FILENO;
    up.reads = up.writes = down.reads = down.writes = 1;
    int ends[] = {STDIN_FILENO, STDOUT_FILENO, end};
    for (size_t at = 0; at < sizeof ends / sizeof *ends; at++)
        fcntl(ends[at], F_SETFL, fcntl(ends[at], F_GETFL) | O_NONBLOCK);
    while (goes_on(&up) || goes_on(&down)) {
        struct pollfd events[4];
        ask(&up, &events[0], &events[1]);
        ask(&down, &events[2], &events[3]);
        if (poll(events, 4, -1) < 0 && errno != EINTR)
            return;
        step(&up, &events[0], &events[1]);
        step(&down, &events[2], &events[3]);
        /* Nobody reads what comes back, so nobody is there to send more. */
        if (!down.writes && down.reads == 0 && events[3].revents & (POLLERR | POLLHUP))
            return;
    }
}

int main(int count, char **words)
{
    if (count != 2)
        wrong_usage();
    signal(SIGPIPE, SIG_IGN);
    relay(to_place(words[1]));
    return 0;
}
