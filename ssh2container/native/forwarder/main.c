/* The forwarder of a private network: a way out for a container, without a right of its own.
 *
 * The monitor starts it (run/) with these descriptors:
 *   0  the configuration (rules.c), read to its end before anything else
 *   1  for what it says: "ready", when all is published and confined; then "refused …" (report.c)
 *   2  for one line of an error
 *   3  the tap that pid 1 has made in the container's network
 *   4  the life line: when its other end is closed, this ends
 * Exit status: 0 at the end of the life line, 1 after a line on descriptor 2.
 *
 * It enters no namespace and has no capability. Every new flow is judged here, outside the container (gate.c), before
 * libslirp sees it; whoever is root inside cannot change that. */
#include "forwarder.h"
#include "routes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { CONFIGURATION, STATUS, ERRORS, TAP, LIFE, LARGEST_CONFIGURATION = 1 << 20, LINE = 512 };

struct forwarder forwarder = {.tap = TAP, .status = STATUS, .errors = ERRORS};

void fail(const char *form, ...)
{
    char line[LINE];
    va_list arguments;
    va_start(arguments, form);
    int size = vsnprintf(line, sizeof line - 1, form, arguments);
    va_end(arguments);
    size = size < 0 ? 0 : size > LINE - 2 ? LINE - 2 : size;
    line[size] = '\n';
    (void)!write(forwarder.errors, line, (size_t)size + 1);
    _exit(1);
}

static void must(const char *wrong)
{
    if (wrong)
        fail("the network's forwarder: %s: %s", wrong, strerror(errno));
}

static char *read_configuration(void)
{
    size_t size = 0, room = 0;
    char *text = NULL;
    for (;;) {
        if (room - size < 2) {
            room = room ? 2 * room : 4096;
            if (room > 2 * LARGEST_CONFIGURATION || !(text = realloc(text, room)))
                fail("the network's forwarder: its configuration is longer than a megabyte");
        }
        const ssize_t done = read(CONFIGURATION, text + size, room - size - 1);
        if (done < 0 && errno != EINTR)
            fail("the network's forwarder: cannot read its configuration: %s", strerror(errno));
        if (done == 0)
            break;
        size += done > 0 ? (size_t)done : 0;
    }
    text[size] = 0;
    if (strlen(text) != size)
        fail("the network's forwarder: its configuration has a zero byte");
    return text;
}

static struct address known(const char *text)
{
    struct address address;
    if (!address_read(&address, text))
        fail("the network's forwarder was built with %s, which is not an address", text);
    return address;
}

static void set_addresses(void)
{
    forwarder.own = (struct both){known(OWN4), known(OWN6)};
    forwarder.gateway = (struct both){known(GATEWAY4), known(GATEWAY6)};
    forwarder.dns = (struct both){known(DNS4), known(DNS6)};
    forwarder.network4 = (struct range){known(NETWORK4), (unsigned)atoi(PREFIX4)};
    forwarder.network6 = (struct range){known(NETWORK6), (unsigned)atoi(PREFIX6)};
    /* As libslirp makes them of an IPv4 address. */
    forwarder.link.from[0] = 0x52, forwarder.link.from[1] = 0x55;
    memcpy(forwarder.link.from + 2, forwarder.gateway.four.bytes, 4);
}

static void check_tap(void)
{
    struct ifreq tap;
    const int flags = fcntl(TAP, F_GETFL);
    if (ioctl(TAP, TUNGETIFF, &tap) || (tap.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) != (IFF_TAP | IFF_NO_PI))
        fail("the network's forwarder: descriptor 3 is no tap without further headers");
    if (fcntl(TAP, F_SETFL, flags | O_NONBLOCK) || fcntl(LIFE, F_GETFD) < 0)
        fail("the network's forwarder: descriptors 3 and 4: %s", strerror(errno));
}

/* Nothing is read from 0 any more, and what libraries say on 2 is for nobody. */
static void silence(void)
{
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    forwarder.errors = fcntl(ERRORS, F_DUPFD_CLOEXEC, ERRORS + 1);
    if (null < 0 || forwarder.errors < 0 || dup2(null, CONFIGURATION) < 0 || dup2(null, ERRORS) < 0)
        fail("the network's forwarder: /dev/null: %s", strerror(errno));
    close(null);
}

static void publish(void)
{
    char text[ADDRESS_TEXT];
    for (size_t i = 0; i < forwarder.configuration.published_count; i++) {
        const struct published *published = &forwarder.configuration.published[i];
        const char *wrong = tunnel_publish(published);
        if (wrong)
            fail("cannot publish port %u of the container as %s%s%s:%u/%s: %s: %s", published->inside,
                 published->address.six ? "[" : "", address_write(&published->address, text),
                 published->address.six ? "]" : "", published->outside,
                 published->protocol == PROTOCOL_UDP ? "udp" : "tcp", strerror(errno), wrong);
    }
}

int main(void)
{
    size_t line;
    bool landlock;
    must(confine_begin());
    const char *wrong = rules_read(&forwarder.configuration, read_configuration(), &line);
    if (wrong)
        fail("the network's forwarder: line %zu of its configuration: %s", line, wrong);
    set_addresses();
    check_tap();
    silence();
    must(confine_limit());
    must(routes_open() ? NULL : "cannot ask the kernel for routes");
    must(tunnel_open());
    publish();
    must(confine_finish(&landlock));
    report_line("ready\n");
    if (!landlock)
        report_line("without landlock\n");
    tunnel_run(LIFE);
}
