/* Longer than 300 lines: the callbacks of libslirp and the loop around it have one state. */
/* libslirp, and the loop around it: frames from and to the container on one side, sockets of the host on the other.
 *
 * What libslirp offers beyond that is off: its DHCP and TFTP servers, the way to the host's loopback, the emulation of
 * old protocols; and it sees only what the gate has passed. */
#define _GNU_SOURCE
#include "forwarder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { FRAMES_AT_ONCE = 64, SMALL_FRAME = 128, LISTEN_BACKLOG = 128, SLIRP_IDLE_MS = 1000, FIRST_PLACES = 64 };

static Slirp *slirp;
static bool tap_gone;

static int64_t monotonic_ns(void *unused)
{
    struct timespec now;
    (void)unused;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- what libslirp asks for ------------------------------------------------------------------------------------ */

/* A frame that the tap does not take is lost, as on a wire: TCP sends it again. */
static ssize_t send_packet(const void *frame, size_t size, void *unused)
{
    uint8_t small[SMALL_FRAME];
    struct packet packet;
    (void)unused;
    if (!gate_to_container(frame, size))
        return (ssize_t)size;
    if (size <= sizeof small) { /* as those are that only acknowledge */
        memcpy(small, frame, size);
        packet_read(&packet, small, size);
        packet_even(&packet, small);
        frame = small;
    }
    tunnel_answer(frame, size);
    return (ssize_t)size;
}

static void guest_error(const char *message, void *unused)
{
    (void)message, (void)unused;
}

/* Its only timer is that of router advertisements, which do not pass. */
static void *timer_new(SlirpTimerId id, void *opaque, void *unused)
{
    static int timer;
    (void)id, (void)opaque, (void)unused;
    return &timer;
}

static void timer_free(void *timer, void *unused)
{
    (void)timer, (void)unused;
}

static void timer_mod(void *timer, int64_t when, void *unused)
{
    (void)timer, (void)when, (void)unused;
}

static void count_socket(int descriptor, void *unused)
{
    (void)unused;
    forwarder.sockets += descriptor >= 0;
}

static void discount_socket(int descriptor, void *unused)
{
    (void)unused;
    forwarder.sockets -= descriptor >= 0 && forwarder.sockets;
}

static void notify(void *unused)
{
    (void)unused;
}

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = guest_error,
    .clock_get_ns = monotonic_ns,
    .timer_new_opaque = timer_new,
    .timer_free = timer_free,
    .timer_mod = timer_mod,
    .register_poll_fd = count_socket,
    .unregister_poll_fd = discount_socket,
    .notify = notify,
};

static struct in_addr four(const struct address *address)
{
    struct in_addr same;
    memcpy(&same, address->bytes, sizeof same);
    return same;
}

static struct in6_addr six(const struct address *address)
{
    struct in6_addr same;
    memcpy(&same, address->bytes, sizeof same);
    return same;
}

/* Whether datagrams of the host itself may come in by a published port: the answers are for its loopback. */
static bool answers_loopback(void)
{
    for (size_t i = 0; i < forwarder.configuration.published_count; i++)
        if (forwarder.configuration.published[i].protocol == PROTOCOL_UDP)
            return true;
    return false;
}

const char *tunnel_open(void)
{
    const SlirpConfig configuration = {
        .version = 4,
        .in_enabled = true,
        .vnetwork = four(&forwarder.network4.network),
        .vnetmask.s_addr = htonl(~0U << (32 - forwarder.network4.bits)),
        .vhost = four(&forwarder.gateway.four),
        .vdhcp_start = four(&forwarder.own.four),
        .vnameserver = four(&forwarder.dns.four),
        .in6_enabled = true,
        .vprefix_addr6 = six(&forwarder.network6.network),
        .vprefix_len = (uint8_t)forwarder.network6.bits,
        .vhost6 = six(&forwarder.gateway.six),
        .vnameserver6 = six(&forwarder.dns.six),
        .if_mtu = forwarder.configuration.mtu,
        .if_mru = forwarder.configuration.mtu,
        .disable_host_loopback = !answers_loopback(), /* a second wall: the gate lets nothing else get so far */
        .disable_dhcp = true,
    };
    slirp = slirp_new(&configuration, &callbacks, NULL);
    return slirp ? NULL : "libslirp does not start";
}

static socklen_t socket_address(const struct address *address, unsigned port, struct sockaddr_storage *into)
{
    struct sockaddr_in *of4 = (struct sockaddr_in *)into;
    struct sockaddr_in6 *of6 = (struct sockaddr_in6 *)into;
    memset(into, 0, sizeof *into);
    if (address->six) {
        *of6 = (struct sockaddr_in6){
            .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = six(address)};
        return sizeof *of6;
    }
    *of4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = four(address)};
    return sizeof *of4;
}

const char *tunnel_publish(const struct published *published)
{
    struct sockaddr_storage outside, inside;
    const socklen_t outside_size = socket_address(&published->address, published->outside, &outside);
    const socklen_t inside_size =
        socket_address(of_family(&forwarder.own, published->address.six), published->inside, &inside);
    const bool udp = published->protocol == PROTOCOL_UDP;
    const int next = dup(forwarder.tap); /* the descriptor that the new socket will have */
    if (next >= 0)
        close(next);
    if (slirp_add_hostxfwd(slirp, (struct sockaddr *)&outside, outside_size, (struct sockaddr *)&inside, inside_size,
                           (udp ? SLIRP_HOSTFWD_UDP : 0) | SLIRP_HOSTFWD_V6ONLY))
        return errno == EADDRINUSE      ? "another program listens there; choose another port"
               : errno == EACCES        ? "ports below 1024 belong to root; choose one from 1024 on"
               : errno == EADDRNOTAVAIL ? "the host does not have this address; choose one that it has"
                                        : "it cannot be listened there";
    /* libslirp lets one connection wait: two at the same time, and the third one waits for a second. */
    if (!udp && next >= 0)
        listen(next, LISTEN_BACKLOG);
    return NULL;
}

/* ---- the container's side --------------------------------------------------------------------------------------- */

void tunnel_pass(const uint8_t *frame, size_t size)
{
    slirp_input(slirp, frame, (int)size);
}

void tunnel_answer(const uint8_t *frame, size_t size)
{
    while (size && !tap_gone && write(forwarder.tap, frame, size) < 0 && errno == EINTR)
        ;
}

static void read_frames(void)
{
    static uint8_t frame[LARGEST_FRAME + 1];
    for (int count = 0; count < FRAMES_AT_ONCE; count++) {
        const ssize_t size = read(forwarder.tap, frame, sizeof frame);
        if (size > 0) {
            gate_from_container(frame, (size_t)size);
        } else if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        } else {
            tap_gone = true; /* with its network: what is left is to wait for the end */
            return;
        }
    }
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

size_t waiting_add(struct waiting *waiting, int descriptor, short events)
{
    if (waiting->count == waiting->room) {
        const size_t room = waiting->room ? 2 * waiting->room : FIRST_PLACES;
        struct pollfd *list = realloc(waiting->list, room * sizeof *list);
        if (!list)
            fail("out of memory for %zu descriptors", room);
        waiting->list = list, waiting->room = room;
    }
    waiting->list[waiting->count] = (struct pollfd){.fd = descriptor, .events = events};
    return waiting->count++;
}

void waiting_until(struct waiting *waiting, int64_t ms)
{
    if (ms < waiting->until_ms)
        waiting->until_ms = ms;
}

/* The same letters in two numberings. Urgent data is not waited for: it comes with the rest (SO_OOBINLINE), past code
 * of libslirp's that nothing else uses. */
static const struct {
    int slirps;
    short ours;
} letters[] = {
    {SLIRP_POLL_IN, POLLIN}, {SLIRP_POLL_OUT, POLLOUT}, {SLIRP_POLL_ERR, POLLERR}, {SLIRP_POLL_HUP, POLLHUP}};

static int add_slirps(int descriptor, int events, void *waiting)
{
    short ours = 0;
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
        if (events & letters[i].slirps)
            ours = (short)(ours | letters[i].ours);
    return (int)waiting_add(waiting, descriptor, ours);
}

static int events_of(int place, void *waiting)
{
    const short ours = ((const struct waiting *)waiting)->list[place].revents;
    int slirps = 0;
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
        if (ours & letters[i].ours)
            slirps |= letters[i].slirps;
    return slirps;
}

/* libslirp's shortest sleep is a second even where it has nothing to wait for. */
static void wait_for_slirp(struct waiting *waiting)
{
    uint32_t timeout_ms = UINT32_MAX;
    const size_t before = waiting->count;
    slirp_pollfds_fill(slirp, &timeout_ms, add_slirps, waiting);
    if (waiting->count != before || timeout_ms < SLIRP_IDLE_MS)
        waiting_until(waiting, forwarder.now_ms + timeout_ms);
}

static bool has_ended(int life)
{
    char any[64];
    const ssize_t size = read(life, any, sizeof any);
    return size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR);
}

/* What the container sent before its end leaves as well, and what was refused is told. */
static _Noreturn void leave(int life)
{
    if (!tap_gone)
        read_frames();
    report_untold();
    /* The monitor waits for the end of what is said, and somebody may want the ports after that. The tap goes last: the
     * kernel takes its time to remove it. */
    syscall(SYS_close_range, life + 1, ~0U, 0);
    close(forwarder.status);
    _exit(0);
}

void tunnel_run(int life)
{
    struct waiting waiting = {0};
    for (;;) {
        forwarder.now_ms = monotonic_ns(NULL) / 1000000;
        waiting.count = 0;
        waiting.until_ms = INT64_MAX;
        const size_t of_life = waiting_add(&waiting, life, POLLIN);
        const size_t of_tap = waiting_add(&waiting, tap_gone ? -1 : forwarder.tap, POLLIN);
        resolver_wait(&waiting);
        ping_wait(&waiting);
        report_rest(&waiting);
        wait_for_slirp(&waiting);
        const int64_t left_ms = waiting.until_ms - forwarder.now_ms;
        const int timeout = waiting.until_ms == INT64_MAX ? -1 : left_ms < 0 ? 0 : (int)left_ms;
        const int ready = poll(waiting.list, waiting.count, timeout);
        forwarder.now_ms = monotonic_ns(NULL) / 1000000;
        if (ready > 0 && waiting.list[of_life].revents && has_ended(life))
            leave(life);
        if (ready > 0 && waiting.list[of_tap].revents & POLLIN)
            read_frames();
        else if (ready > 0 && waiting.list[of_tap].revents)
            tap_gone = true;
        slirp_pollfds_poll(slirp, ready < 0, events_of, &waiting);
        if (ready > 0) {
            resolver_turn(&waiting);
            ping_turn(&waiting);
        }
    }
}
