/* host-command: what the name of a command of the host's is inside a container.
 *
 *     NAME [ARGUMENT…]
 *
 * Every name in `host_commands` of a policy is a link to this program. It says over a socket by which name it was
 * called and with what, and passes on bytes: standard input there, standard output and error back, at last the exit
 * status. It decides nothing, and nobody outside believes it anything but these words
 * (ssh2container/admin/host_commands; docs/protocol.md).
 *
 * Linked statically: it runs in any image. Exit status: that of the command; 125 the host could not be asked, or went
 * away.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { OURS = 125, HEAD = 5, LONGEST = 65536 };
enum { REQUEST = 'R', INPUT = 'I', OUTPUT = 'O', ERRORS = 'E', STATUS = 'X' };

#define PLACE "/run/ssh2container/commands/socket"

static const char *own_name;

static _Noreturn void fail(const char *why)
{
    fprintf(stderr, "%s: cannot run it on the host: %s\n", own_name, why);
    exit(OURS);
}

static int reach(void)
{
    struct sockaddr_un place = {.sun_family = AF_UNIX, .sun_path = PLACE};
    int end = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (end < 0 || connect(end, (struct sockaddr *)&place, sizeof place))
        fail(errno == ECONNREFUSED || errno == ENOENT ? "nobody there takes commands; ask the administrator"
                                                      : strerror(errno));
    return end;
}

/* What is on its way to the host: one frame at most. */
static unsigned char going[HEAD + LONGEST];
static size_t going_at, going_filled;

static void put_frame(unsigned char kind, size_t length)
{
    going[0] = kind;
    for (int at = 0; at < 4; at++)
        going[1 + at] = (unsigned char)(length >> 8 * at);
    going_at = 0;
    going_filled = HEAD + length;
}

static void put_request(int count, char **words)
{
    size_t length = 0;
    for (int at = 0; at < count; at++) {
        const char *word = at ? words[at] : own_name;
        size_t size = strlen(word) + 1;
        if (size > LONGEST - length)
            fail("too many arguments");
        memcpy(going + HEAD + length, word, size);
        length += size;
    }
    put_frame(REQUEST, length);
}

static void write_all(int to, const unsigned char *from, size_t length)
{
    while (length) {
        ssize_t count = write(to, from, length);
        if (count < 0 && errno == EAGAIN)
            poll(&(struct pollfd){.fd = to, .events = POLLOUT}, 1, -1);
        else if (count < 0 && errno != EINTR)
            exit(OURS); /* nobody reads what it says: whoever listens to us is gone */
        if (count > 0)
            from += count, length -= (size_t)count;
    }
}

/* Take the next piece of what the host says: the head of a frame byte by byte, its content as it comes. */
static void take(const unsigned char *from, size_t length)
{
    static unsigned char head[HEAD];
    static size_t filled;
    static uint32_t left;
    while (length) {
        if (filled < HEAD) {
            head[filled++] = *from++;
            length--;
            if (filled == HEAD)
                left = head[1] | (uint32_t)head[2] << 8 | (uint32_t)head[3] << 16 | (uint32_t)head[4] << 24;
        } else {
            size_t piece = length < left ? length : left;
            if (head[0] == STATUS)
                exit(*from);
            if (head[0] != OUTPUT && head[0] != ERRORS)
                fail("it answers in another version's words; log in anew");
            write_all(head[0] == OUTPUT ? STDOUT_FILENO : STDERR_FILENO, from, piece);
            from += piece, length -= piece, left -= (uint32_t)piece;
        }
        if (filled == HEAD && !left)
            filled = 0;
    }
}

static void receive(int end)
{
    static unsigned char came[LONGEST];
    ssize_t count = recv(end, came, sizeof came, MSG_DONTWAIT);
    if (count > 0)
        take(came, (size_t)count);
    else if (count == 0 || (errno != EAGAIN && errno != EINTR))
        fail("it has ended the connection");
}

/* Read one piece of standard input into the next frame; an empty one is its end. Return whether there may be more. */
static int feed(void)
{
    ssize_t count = read(STDIN_FILENO, going + HEAD, LONGEST);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return 1;
    put_frame(INPUT, count > 0 ? (size_t)count : 0);
    return count > 0;
}

static void send_on(int end)
{
    ssize_t count = send(end, going + going_at, going_filled - going_at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0)
        going_at += (size_t)count;
    else if (errno != EAGAIN && errno != EINTR)
        going_at = going_filled; /* it does not listen any more; what it still says comes first */
}

static _Noreturn void relay(int end)
{
    int reads = 1;
    for (;;) {
        int waits = going_at < going_filled;
        struct pollfd events[] = {
            {.fd = reads && !waits ? STDIN_FILENO : -1, .events = POLLIN},
            {.fd = end, .events = (short)(POLLIN | (waits ? POLLOUT : 0))},
        };
        if (poll(events, 2, -1) < 0)
            continue;
        if (events[1].revents & (POLLIN | POLLHUP | POLLERR))
            receive(end);
        if (waits && events[1].revents & POLLOUT)
            send_on(end);
        if (events[0].revents)
            reads = feed();
    }
}

int main(int count, char **words)
{
    /* Where one of them is closed, the socket would take its place. */
    for (int at = STDIN_FILENO; at <= STDERR_FILENO; at++)
        if (fcntl(at, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
            return OURS;
    const char *name = count > 0 ? words[0] : "host-command";
    own_name = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    put_request(count, words);
    relay(reach());
}
