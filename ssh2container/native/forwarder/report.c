/* What the monitor is told of refused flows: as much as a log can bear, and how much more there was. */
#include "forwarder.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { RECENT = 64, AGAIN_MS = 60000, A_SECOND = 5, AT_MOST = 50, REST_MS = 10000, LINE = 512 };

static struct recent {
    struct address target;
    unsigned protocol, port;
    int64_t told_ms; /* 0: never */
} recent[RECENT];
static size_t recent_next;
static int64_t credit_ms; /* told so far, in the time that this may take */
static unsigned long untold;
static int64_t untold_since_ms;

void report_line(const char *line)
{
    /* A monitor that does not read loses lines, and holds up nothing. */
    struct pollfd room = {.fd = forwarder.status, .events = POLLOUT};
    if (poll(&room, 1, 0) == 1 && room.revents & POLLOUT)
        (void)!write(forwarder.status, line, strlen(line));
}

void report_untold(void)
{
    char line[LINE];
    if (!untold)
        return;
    snprintf(line, sizeof line, "suppressed %lu\n", untold);
    report_line(line);
    untold = 0;
}

static bool is_new(unsigned protocol, const struct address *target, unsigned port)
{
    for (size_t i = 0; i < RECENT; i++) {
        const struct recent *one = &recent[i];
        if (one->told_ms && forwarder.now_ms - one->told_ms < AGAIN_MS && one->protocol == protocol &&
            one->port == port && address_equal(&one->target, target))
            return false;
    }
    return true;
}

void report_refused(unsigned protocol, const struct address *target, unsigned port, const char *name)
{
    char line[LINE], text[ADDRESS_TEXT];
    if (!forwarder.configuration.report)
        return;
    const int64_t now = forwarder.now_ms, each = 1000 / A_SECOND;
    if (credit_ms < now - AT_MOST * each)
        credit_ms = now - AT_MOST * each;
    if (credit_ms + each > now || !is_new(protocol, target, port)) {
        if (!untold++)
            untold_since_ms = now;
        return;
    }
    credit_ms += each;
    recent[recent_next] = (struct recent){*target, protocol, port, now};
    recent_next = (recent_next + 1) % RECENT;
    snprintf(line, sizeof line, "refused %s %s %u%s%s\n",
             protocol == PROTOCOL_TCP   ? "tcp"
             : protocol == PROTOCOL_UDP ? "udp"
                                        : "icmp",
             address_write(target, text), port, name ? " " : "", name ? name : "");
    report_line(line);
}

void report_rest(struct waiting *waiting)
{
    if (!untold)
        return;
    if (forwarder.now_ms - untold_since_ms >= REST_MS)
        report_untold();
    else
        waiting_until(waiting, untold_since_ms + REST_MS);
}
