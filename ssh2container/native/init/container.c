/* pid 1 of the container: makes it as it was ordered, then looks after its payloads (members.c). */
#define _GNU_SOURCE
#include "container.h"
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static _Noreturn void fail(int channel, const char *what, const char *why, int number)
{
    uint8_t message[LONGEST_MESSAGE];
    send_message(channel, message, pack_error(message, SESSION_ERROR, what, why, number, "order"));
    _exit(OURS);
}

static bool lies_inside(const struct order *order, uint32_t at, uint64_t size)
{
    return at >= sizeof *order && at <= order->size && size <= order->size - at;
}

static uint32_t add_to_crc(uint32_t crc, const void *data, size_t size)
{
    enum { POLYNOMIAL = (int)0xEDB88320 };
    static uint32_t table[256];
    const uint8_t *at = data;
    for (uint32_t i = 0; !table[255] && i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? (uint32_t)POLYNOMIAL : 0);
        table[i] = value;
    }
    while (size--)
        crc = table[(crc ^ *at++) & 0xFF] ^ crc >> 8;
    return crc;
}

static uint32_t check_of(const struct order *order)
{
    struct order head = *order;
    head.check = 0;
    return ~add_to_crc(add_to_crc(~0U, &head, sizeof head), order + 1, order->size - sizeof head);
}

static bool is_whole(const struct order *order)
{
    const uint64_t records = ((uint64_t)order->making + order->confining) * sizeof(struct record);
    return order->magic == ORDER_MAGIC && order->records % sizeof(int64_t) == 0 &&
           lies_inside(order, order->records, records) &&
           lies_inside(order, order->texts, (uint64_t)order->texts_size + MARGIN) &&
           lies_inside(order, order->request, order->request_size) &&
           lies_inside(order, order->names, order->names_size) && order->grace_ms >= 0 &&
           check_of(order) == order->check;
}

/* Map the order, which nobody else may change: what a script notes in it is our own, unless a clock is to be read. */
static struct order *map_order(int channel, int file)
{
    static const char what[] = "cannot read the container specification";
    struct stat found;
    struct order *order;
    if (fstat(file, &found) || found.st_size < (off_t)sizeof *order || found.st_size > UINT32_MAX)
        fail(channel, what, "it is cut off", EBADMSG);
    void *mapped = mmap(NULL, (size_t)found.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    if (mapped == MAP_FAILED)
        fail(channel, what, reason(errno), errno);
    order = mapped;
    if (order->size != (uint64_t)found.st_size || !is_whole(order))
        fail(channel, what, "invalid format", EBADMSG);
    if (order->flags & FLAG_WRITABLE) {
        mapped = mmap(mapped, (size_t)found.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
        if (mapped == MAP_FAILED)
            fail(channel, what, reason(errno), errno);
    }
    return order;
}

static void read_order(struct container *container, struct order *order)
{
    uint8_t *base = (uint8_t *)order;
    struct script making = {
        .records = (const struct record *)(const void *)(base + order->records),
        .count = order->making,
        .texts = base + order->texts,
        .size = order->texts_size,
        .channel = container->channel,
        .fork = container->fork,
    };
    script_start(&making);
    container->order = order;
    container->making = container->confining = making;
    container->confining.records += order->making;
    container->confining.count = order->confining;
    container->confining.channel = -1;
    container->request = (struct items){base + order->request, order->request_size};
    struct items names = {base + order->names, order->names_size};
    if (!take(&names, &container->session) || !take(&names, &container->digest) || !take(&names, &container->image))
        fail(container->channel, "cannot read the container specification", "it has no name", EBADMSG);
    if (names.left && !take(&names, &container->hooks))
        fail(container->channel, "cannot read the container specification", "its hooks are cut off", EBADMSG);
}

/* Whatever the caller did with signals: from here on each has its default action, and waits. */
static void reset_signals(void)
{
    sigset_t all;
    const struct sigaction standard = {.sa_handler = SIG_DFL};
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    for (int number = 1; number <= SIGRTMAX; number++)
        if (number != SIGKILL && number != SIGSTOP)
            sigaction(number, &standard, NULL);
}

/* kept: so many descriptors above 2, in any order; -1 for none. */
void close_all_but(const int *kept, int count)
{
    for (int next = 3;;) {
        int lowest = INT_MAX;
        for (int i = 0; i < count; i++)
            if (kept[i] >= next && kept[i] < lowest)
                lowest = kept[i];
        if (lowest > next)
            close_range((unsigned)next, lowest == INT_MAX ? ~0U : (unsigned)lowest - 1, 0);
        if (lowest == INT_MAX)
            return;
        next = lowest + 1;
    }
}

/* The monitor writes the order while this program starts. */
static void await_order(int channel)
{
    struct content content;
    if (receive_word(channel, &content) != ORDER)
        _exit(OURS);
}

/* Make the container around this process and stay until it ends.
 *
 * channel: to the monitor, or to the owner of a shared container. order: the file that it writes. listener: where
 * others may ask for a program, or -1. Returns only in a payload that runs no program (FLAG_CALL).
 */
void run_container(int channel, int order, int listener, pid_t (*fork_payload)(void))
{
    struct failure failure;
    struct container container = {.channel = channel, .listener = listener, .fork = fork_payload};
    const int kept[] = {channel, order, listener};
    reset_signals();
    setsid();
    close_all_but(kept, 3);
    await_order(channel);
    read_order(&container, map_order(channel, order));
    close(order);
    if (!script_run(&container.making, &failure)) {
        uint8_t message[LONGEST_MESSAGE];
        send_message(channel, message, pack_failure(message, MAKING, failure.record, failure.number));
        end_system(&container.making.system);
        _exit(OURS);
    }
    attend(&container);
}
