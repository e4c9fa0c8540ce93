/* The policy's hooks inside (hooks.startContainer): before any payload, one after the other, each confined as one.
 *
 * Nothing else is in here yet. So what a hook has started and left behind, in whatever session or group, is ended by
 * one kill(2) of everybody, which no fork escapes.
 */
#define _GNU_SOURCE
#include "container.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LONGEST_SAID = 3000, /* bytes of its standard error that are passed on; all of it is read */
    BURYING_MS = 2000,   /* how long what was killed may take to be gone */
    MASK = 022,
};

/* One hook as the order has it: what to execute, its words and variables, how long it may take. */
struct hook {
    struct items path, words, variables;
    int64_t most_ms;
    bool ignored; /* whether a failure refuses nothing */
};

/* One hook as it goes. said: the other side of its standard error, -1 when nobody has it open any more. tells: where it
 * says why it is not executed. */
struct going {
    pid_t child;
    int said, tells, signals;
    int status;
    uint8_t text[LONGEST_SAID];
    size_t size;
};

static _Noreturn void fail(const struct container *container, const char *why, int number)
{
    uint8_t message[LONGEST_MESSAGE];
    send_message(container->channel, message,
                 pack_error(message, SESSION_ERROR, "cannot run the policy's hooks", why, number, "hook"));
    _exit(OURS);
}

/* A number of few digits; what is none is 0. */
static int64_t number_of(struct items item)
{
    enum { MOST_DIGITS = 9 };
    int64_t value = 0;
    if (item.left > MOST_DIGITS)
        return 0;
    for (size_t i = 0; i < item.left; i++) {
        if (item.at[i] < '0' || item.at[i] > '9')
            return 0;
        value = 10 * value + item.at[i] - '0';
    }
    return value;
}

static bool read_hook(struct hook *hook, struct items from)
{
    struct items most, ignored;
    if (!take(&from, &hook->path) || !take(&from, &hook->words) || !take(&from, &hook->variables) ||
        !take(&from, &most) || !take(&from, &ignored))
        return false;
    hook->most_ms = number_of(most);
    hook->ignored = number_of(ignored) != 0;
    return hook->path.left && hook->most_ms;
}

/* ---- the hook's own process -------------------------------------------------------------------------------------- */

static _Noreturn void give_up(int tells)
{
    const int32_t number = errno;
    (void)!write(tells, &number, sizeof number);
    _exit(OURS);
}

static char **list_of(struct items from, int tells)
{
    struct words words = {0};
    for (struct items item; take(&from, &item);)
        if (!add_word(&words, string(tells, item)))
            give_up(tells);
    if (from.left || (!words.list && !(words.list = calloc(1, sizeof *words.list)))) {
        errno = EBADMSG;
        give_up(tells);
    }
    return words.list;
}

static _Noreturn void become(struct container *container, const struct hook *hook, int said, int tells)
{
    sigset_t none;
    setsid();
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(said, 2) < 0)
        give_up(tells);
    close_others(&tells);
    char *path = string(tells, hook->path);
    char **words = list_of(hook->words, tells), **variables = list_of(hook->variables, tells);
    if (chdir("/"))
        give_up(tells);
    umask(MASK);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    confine(container, tells);
    if (container->order->flags & FLAG_REHEARSED) {
        errno = error_of_execution(path, 0);
        if (!errno)
            _exit(0);
    } else {
        execve(path, words, variables);
    }
    give_up(tells);
}

/* ---- pid 1 ------------------------------------------------------------------------------------------------------ */

static void start(struct container *container, const struct hook *hook, struct going *going)
{
    int said[2], tells[2];
    if (pipe2(said, O_CLOEXEC) || pipe2(tells, O_CLOEXEC))
        fail(container, reason(errno), errno);
    going->child = container->fork();
    if (going->child < 0)
        fail(container, reason(errno), errno);
    if (going->child == 0)
        become(container, hook, said[1], tells[1]);
    close(said[1]);
    close(tells[1]);
    /* Whoever was handed the other end, and lives on elsewhere, holds nobody up. */
    fcntl(said[0], F_SETFL, O_NONBLOCK);
    going->said = said[0];
    going->tells = tells[0];
}

/* Take in some of what it says; the beginning is kept. */
static void hear(struct going *going)
{
    uint8_t more[LONGEST_SAID];
    const ssize_t got = read(going->said, more, sizeof more);
    if (got <= 0) {
        close(going->said);
        going->said = -1;
        return;
    }
    size_t kept = sizeof going->text - going->size;
    kept = (size_t)got < kept ? (size_t)got : kept;
    memcpy(going->text + going->size, more, kept);
    going->size += kept;
}

/* Wait for a signal or a word for so many milliseconds. */
static void listen_to(struct going *going, int64_t left)
{
    struct signalfd_siginfo waiting[8];
    struct pollfd polled[] = {{.fd = going->signals, .events = POLLIN}, {.fd = going->said, .events = POLLIN}};
    if (poll(polled, 2, (int)left) <= 0)
        return;
    if (polled[0].revents)
        (void)!read(going->signals, waiting, sizeof waiting);
    if (polled[1].revents)
        hear(going);
}

/* Wait until it has ended; false where its time was over first. */
static bool await_end(struct going *going, int64_t most_ms)
{
    for (const int64_t until = now_ms() + most_ms;;) {
        int status;
        pid_t ended;
        while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
            if (ended == going->child) {
                going->status = status;
                return true;
            }
        const int64_t left = until - now_ms();
        if (left <= 0)
            return false;
        listen_to(going, left);
    }
}

/* End all that is in here but this process, and wait until it is gone; false where that takes too long. */
static bool bury(struct going *going)
{
    for (const int64_t until = now_ms() + BURYING_MS;;) {
        pid_t ended;
        kill(-1, SIGKILL);
        do
            ended = waitpid(-1, NULL, WNOHANG);
        while (ended > 0);
        if (ended < 0)
            break;
        const int64_t left = until - now_ms();
        if (left <= 0)
            return false;
        listen_to(going, left);
    }
    while (going->said >= 0)
        hear(going);
    return true;
}

/* Tell how it ended, with what it said; true where the next may run. */
static bool report(const struct container *container, const struct hook *hook, uint32_t index,
                   const struct going *going, enum hook_end end, int32_t number)
{
    uint8_t message[LONGEST_MESSAGE] = {HOOK};
    size_t at = 1;
    memcpy(message + at, &index, sizeof index);
    at += sizeof index;
    message[at++] = (uint8_t)end;
    memcpy(message + at, &number, sizeof number);
    at += sizeof number;
    memcpy(message + at, going->text, going->size);
    send_message(container->channel, message, at + going->size);
    return end != HOOK_LEFT && (hook->ignored || (end == HOOK_EXITED && number == 0));
}

static bool run(struct container *container, const struct hook *hook, uint32_t index, int signals)
{
    uint8_t told[LONGEST_MESSAGE];
    int32_t number;
    struct going going = {.signals = signals};
    start(container, hook, &going);
    const bool in_time = await_end(&going, hook->most_ms);
    if (!bury(&going))
        return report(container, hook, index, &going, HOOK_LEFT, 0);
    const ssize_t got = read(going.tells, told, sizeof told);
    close(going.tells);
    if (got > (ssize_t)sizeof number) {
        send_message(container->channel, told, (size_t)got); /* it could not be confined */
        return false;
    }
    if (got == sizeof number) {
        memcpy(&number, told, sizeof number);
        return report(container, hook, index, &going, HOOK_NOT_RUN, number);
    }
    return in_time ? report(container, hook, index, &going, HOOK_EXITED, going.status)
                   : report(container, hook, index, &going, HOOK_LATE, 0);
}

/* Run all of them, and end with the first whose failure counts. signals: tells of children that ended. */
void run_hooks(struct container *container, int signals)
{
    struct items left = container->hooks;
    uint32_t index = 0;
    for (struct items item; take(&left, &item); index++) {
        struct hook hook;
        if (!read_hook(&hook, item))
            fail(container, "they are cut off", EBADMSG);
        if (!run(container, &hook, index, signals))
            _exit(OURS);
    }
    if (left.left)
        fail(container, "they are cut off", EBADMSG);
}
