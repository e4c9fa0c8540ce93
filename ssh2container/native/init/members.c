/* Longer than 300 lines: one loop waits for all whom pid 1 looks after, and each step knows of the others. */
/* The second half of pid 1's life: whose payloads it looks after.
 *
 * The session's monitor, and whoever joins the container later. Nobody joins from outside by setns(2): who may ask
 * connects to the listener, is known by its uid (SO_PEERCRED, unix(7)), and pid 1 forks the payload from its own
 * locked-down state. It passes signals on, reaps, and ends in time.
 */
#define _GNU_SOURCE
#include "container.h"
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    FIRST_LOGIN_MS = 20000, /* how long a shared container waits for the login that it was made for */
    LEAVING_MS = 500,       /* how long a payload may take over SIGHUP when the other end is gone */
    COLLECTING_MS = 500,    /* how long what a session leaves may take to end once it is killed */
    UNMAPPED = 65534,
    FIRST_MEMBER = 4, /* its place in the poll set */
};
#define NEVER INT64_MAX

/* GREETING until it is admitted; ASKING until it wants a program; STARTING until that runs; RUNNING; LEAVING when the
 * other end is gone; OVER when the member can be forgotten. */
enum state { GREETING, ASKING, STARTING, RUNNING, LEAVING, OVER };

/* One payload and who waits for it. told: where the payload says why it does not run. */
struct member {
    enum state state;
    int end, told;
    pid_t child;
    int64_t deadline;
    bool failed;
};

/* owner: the channel to the monitor, or to the owner of a shared container; its end is the end. */
struct members {
    struct container *container;
    struct member *list;
    size_t count, room;
    struct pollfd *polled;
    int signals;
    bool shared, admitted;
    int64_t alone_since, stopping;
};

int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct system *system_of(const struct members *members)
{
    return &members->container->making.system;
}

/* End as who cannot go on: nobody waits for us any more, or nothing runs. */
static _Noreturn void give_up(const struct members *members)
{
    end_system(system_of(members));
    _exit(OURS);
}

static void kill_group(const struct member *member, int number)
{
    if (member->child > 1)
        kill(-member->child, number);
}

static bool is_main(const struct members *members, const struct member *member)
{
    return !members->shared && member->end == members->container->channel;
}

static bool is_counted(const struct member *member)
{
    return member->state != GREETING && member->state != OVER;
}

static bool is_used(const struct members *members)
{
    for (size_t i = 0; i < members->count; i++)
        if (is_counted(&members->list[i]))
            return true;
    return false;
}

static void refuse_others(struct members *members)
{
    if (members->container->listener >= 0)
        close(members->container->listener);
    members->container->listener = -1;
}

/* Kill what is left in here and collect it; what does not end is left to the kernel. What the kernel kills as we end
 * it collects for nobody, and its processor time would be in no account (zap_pid_ns_processes). */
static void collect_rest(const struct members *members)
{
    struct signalfd_siginfo waiting[8];
    struct pollfd ended = {.fd = members->signals, .events = POLLIN};
    const int64_t until = now_ms() + COLLECTING_MS;
    for (;;) {
        pid_t collected;
        do
            collected = waitpid(-1, NULL, WNOHANG);
        while (collected > 0);
        const int64_t left = until - now_ms();
        if (collected < 0 || left <= 0)
            return;
        kill(-1, SIGKILL);
        if (poll(&ended, 1, (int)left) > 0)
            (void)!read(ended.fd, waiting, sizeof waiting);
    }
}

/* End, and the kernel ends whatever is left in here; where it is counted not before the other side has read it, who
 * then ends itself or us. An owner is told, a monitor has had the status. */
static _Noreturn void leave(const struct members *members)
{
    static const uint8_t over[1 + sizeof(int32_t)] = {STATUS};
    struct content content;
    if (members->shared)
        collect_rest(members);
    if (members->container->order->flags & FLAG_COUNTED) {
        if (members->shared)
            send_message(members->container->channel, over, sizeof over);
        while (receive_word(members->container->channel, &content) != GONE)
            continue;
    }
    _exit(0);
}

/* Let nobody in any more and have the system end by itself, in its order; in time it is killed. */
static void ask_system_to_end(struct members *members)
{
    const struct system *system = system_of(members);
    if (members->stopping)
        return;
    refuse_others(members);
    members->stopping = now_ms() + members->container->order->grace_ms;
    kill(system->init, system->stop_signal);
}

/* Let nobody in any more and ask everything inside to end; pid 1 ends with the last, or in time. */
static void stop(struct members *members)
{
    static const int numbers[] = {SIGHUP, SIGTERM, SIGCONT};
    if (system_of(members)->is_whole) {
        ask_system_to_end(members);
        return;
    }
    refuse_others(members);
    members->stopping = now_ms() + members->container->order->grace_ms;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (kill(-1, numbers[i]) && errno == ESRCH)
            leave(members);
}

static void part(struct member *member)
{
    close(member->end);
    member->state = OVER;
    /* Its number may be another's from now on. */
    member->child = 0;
}

/* ---- a payload's life ------------------------------------------------------------------------------------------ */

/* Fork the payload; true in the child, where something else than a program is to run. */
static bool start(struct members *members, struct member *member, const struct demand *demand)
{
    int pipe[2];
    if (pipe2(pipe, O_CLOEXEC))
        goto failed;
    pid_t child = members->container->fork();
    if (child == 0) {
        start_payload(members->container, demand, pipe[1]);
        return true;
    }
    close(pipe[1]);
    if (child < 0) {
        close(pipe[0]);
        goto failed;
    }
    member->child = child;
    member->told = pipe[0];
    member->state = STARTING;
    return false;
failed:;
    uint8_t message[LONGEST_MESSAGE];
    const int number = errno;
    send_message(member->end, message,
                 pack_error(message, SESSION_ERROR, "cannot start the program", reason(number), number, "fork"));
    if (is_main(members, member))
        _exit(OURS);
    part(member);
    return false;
}

/* Pass on that the program runs, or why it does not. */
static void hear_start(struct members *members, struct member *member)
{
    char said[LONGEST_MESSAGE];
    ssize_t got;
    do
        got = read(member->told, said, sizeof said);
    while (got < 0 && errno == EINTR);
    if (got > 0) {
        member->failed = true;
        if (is_main(members, member))
            end_system(system_of(members));
        send_message(member->end, said, (size_t)got);
        return;
    }
    close(member->told);
    member->told = -1;
    member->state = RUNNING;
    if (!member->failed)
        send_message(member->end, (char[]){STARTED}, 1);
    else if (is_main(members, member))
        give_up(members);
}

static void hear(struct members *members, struct member *member)
{
    struct content content;
    const int kind = receive_word(member->end, &content);
    if (kind == SIGNAL && content.size == 1)
        kill_group(member, content.bytes[0]);
    else if (kind == END && is_main(members, member) && system_of(members)->is_whole)
        ask_system_to_end(members);
    else if (is_main(members, member))
        give_up(members); /* the monitor is gone; the kernel ends whatever is left in here */
    else if (kind == GONE) {
        const int64_t grace = members->container->order->grace_ms;
        member->state = LEAVING;
        kill_group(member, SIGHUP);
        member->deadline = now_ms() + (grace < LEAVING_MS ? grace : LEAVING_MS);
    }
}

static void end(struct members *members, struct member *member, int status)
{
    uint8_t message[1 + sizeof(int32_t)] = {STATUS};
    const int32_t raw = status;
    while (member->told >= 0)
        hear_start(members, member);
    memcpy(message + 1, &raw, sizeof raw);
    if (is_main(members, member))
        collect_rest(members); /* a monitor that has the status kills us */
    send_message(member->end, message, sizeof message);
    if (is_main(members, member))
        leave(members);
    part(member);
}

/* Collect all that ended; the payload's status is its session's. */
static void reap(struct members *members)
{
    struct signalfd_siginfo waiting[8];
    (void)!read(members->signals, waiting, sizeof waiting);
    for (;;) {
        int status;
        const pid_t ended = waitpid(-1, &status, WNOHANG);
        if (ended < 0 && errno == ECHILD && members->stopping)
            leave(members);
        if (ended <= 0)
            return;
        const bool is_system = ended == system_of(members)->init;
        if (is_system)
            clear_away(system_of(members));
        for (size_t i = 0; i < members->count; i++)
            if (members->list[i].child == ended && members->list[i].state != OVER)
                end(members, &members->list[i], status);
        if (is_system)
            leave(members);
    }
}

/* ---- who joins ------------------------------------------------------------------------------------------------- */

/* The uid, as mapped in here, of who connected, or of who made the listener. */
static uid_t uid_of(int end)
{
    struct ucred who;
    socklen_t size = sizeof who;
    return getsockopt(end, SOL_SOCKET, SO_PEERCRED, &who, &size) ? UNMAPPED : who.uid;
}

static struct member *add(struct members *members, int end)
{
    if (members->count == members->room) {
        const size_t room = members->room ? 2 * members->room : 4;
        struct member *list = reallocarray(members->list, room, sizeof *list);
        if (!list)
            return NULL;
        members->list = list;
        struct pollfd *polled = reallocarray(members->polled, room + FIRST_MEMBER, sizeof *polled);
        if (!polled)
            return NULL;
        members->polled = polled;
        members->room = room;
    }
    struct member *member = &members->list[members->count++];
    *member = (struct member){.state = GREETING, .end = end, .told = -1};
    return member;
}

/* Let in who is of the listener's own uid; whom we cannot know stays outside. */
static void let_in(struct members *members)
{
    const int listener = members->container->listener;
    const int end = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (end < 0) {
        /* Whoever it was has gone again; or we are out of descriptors: better nobody in than busy for ever. */
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            refuse_others(members);
        return;
    }
    const uid_t uid = uid_of(end);
    if (uid == UNMAPPED || uid != uid_of(listener) || !add(members, end))
        close(end);
}

static bool is(const struct items *item, const uint8_t *bytes, size_t size)
{
    return item->left == size && !memcmp(item->at, bytes, size);
}

/* Answer the first message: the version of this protocol and the container that is meant. */
static void admit(struct members *members, struct member *member)
{
    struct content content;
    const struct container *container = members->container;
    const int kind = receive_word(member->end, &content);
    if (kind != HELLO || content.size < 1 || content.bytes[0] != VERSION) {
        part(member);
        return;
    }
    if (content.size > 1 && !is(&container->digest, content.bytes + 1, content.size - 1)) {
        /* The policy is another one now: this container takes nobody in any more. */
        send_message(member->end, (char[]){RETIRED}, 1);
        part(member);
        refuse_others(members);
        return;
    }
    uint8_t message[LONGEST_MESSAGE] = {ADMITTED};
    const size_t length = container->session.left < sizeof message ? container->session.left : sizeof message - 1;
    memcpy(message + 1, container->session.at, length);
    members->admitted = true;
    member->state = ASKING;
    send_message(member->end, message, 1 + length);
}

/* Start what a member asks for: a file, then the descriptors that become those of 0-2 that the message names. */
static bool serve(struct members *members, struct member *member)
{
    struct content content;
    struct demand demand = {.end = member->end, .standard = {-1, -1, -1}};
    bool good = receive(member->end, &content) == REQUEST && content.attached && content.size == content.attached - 1;
    bool in_child = false;
    for (size_t i = 0; good && i < content.size; i++) {
        if (content.bytes[i] > 2)
            good = false;
        else
            demand.standard[content.bytes[i]] = content.descriptors[i + 1];
    }
    if (good) {
        demand.file = content.descriptors[0];
        in_child = start(members, member, &demand);
    } else {
        part(member);
    }
    for (size_t i = 0; !in_child && i < content.attached; i++)
        close(content.descriptors[i]);
    return in_child;
}

/* ---- the wait -------------------------------------------------------------------------------------------------- */

static void hear_owner(struct members *members)
{
    struct content content;
    if (receive_word(members->container->channel, &content) != END)
        give_up(members);
    if (!members->stopping)
        stop(members);
}

/* When a shared container that nobody uses begins to end. */
static int64_t end_of_wait(const struct members *members)
{
    if (!members->shared || is_used(members))
        return NEVER;
    if (!members->admitted)
        return members->alone_since + FIRST_LOGIN_MS;
    if (members->container->listener < 0)
        return members->alone_since;
    const int64_t linger = members->container->order->linger_ms;
    return linger < 0 ? NEVER : members->alone_since + linger;
}

/* Milliseconds until something is due, -1 when nothing is. */
static int remaining(const struct members *members)
{
    int64_t due = members->stopping ? members->stopping : end_of_wait(members);
    for (size_t i = 0; i < members->count; i++)
        if (members->list[i].deadline && members->list[i].deadline < due)
            due = members->list[i].deadline;
    if (due == NEVER)
        return -1;
    const int64_t left = due - now_ms();
    return left < 0 ? 0 : left >= INT_MAX ? INT_MAX : (int)left;
}

static void act_on_time(struct members *members)
{
    const int64_t now = now_ms();
    for (size_t i = 0; i < members->count; i++) {
        struct member *member = &members->list[i];
        if (member->deadline && member->deadline <= now) {
            member->deadline = 0;
            kill_group(member, SIGKILL);
        }
    }
    if (members->stopping && members->stopping <= now) {
        if (!system_of(members)->is_whole)
            leave(members);
        members->stopping = NEVER;
        kill(system_of(members)->init, SIGKILL);
    }
    if (!members->stopping && end_of_wait(members) <= now)
        stop(members);
}

static int descriptor_of(const struct member *member)
{
    return member->state == STARTING ? member->told : member->state == LEAVING ? -1 : member->end;
}

/* Act on what a member's descriptor told; true in a payload. */
static bool act(struct members *members, struct member *member)
{
    switch (member->state) {
    case GREETING:
        admit(members, member);
        return false;
    case ASKING:
        return serve(members, member);
    case STARTING:
        hear_start(members, member);
        return false;
    case RUNNING:
        hear(members, member);
        return false;
    default:
        return false;
    }
}

static void forget_those_that_are_over(struct members *members)
{
    size_t kept = 0;
    for (size_t i = 0; i < members->count; i++)
        if (members->list[i].state != OVER)
            members->list[kept++] = members->list[i];
    members->count = kept;
}

/* One round; true in a payload. */
static bool turn(struct members *members)
{
    struct pollfd *polled = members->polled;
    const size_t count = members->count;
    polled[0] = (struct pollfd){.fd = members->signals, .events = POLLIN};
    polled[1] = (struct pollfd){.fd = members->shared ? members->container->channel : -1, .events = POLLIN};
    polled[2] = (struct pollfd){.fd = members->container->listener, .events = POLLIN};
    polled[3] = (struct pollfd){.fd = system_of(members)->master, .events = POLLIN};
    for (size_t i = 0; i < count; i++)
        polled[FIRST_MEMBER + i] = (struct pollfd){.fd = descriptor_of(&members->list[i]), .events = POLLIN};
    const int told = poll(polled, FIRST_MEMBER + count, remaining(members));
    /* Before any of them is let go of: the last may have been here for long without a word. */
    if (is_used(members))
        members->alone_since = now_ms();
    if (told > 0) {
        const bool signalled = polled[0].revents, owned = polled[1].revents, asked = polled[2].revents;
        if (polled[3].revents)
            drain_console(system_of(members));
        for (size_t i = 0; i < count; i++)
            if (polled[FIRST_MEMBER + i].revents && act(members, &members->list[i]))
                return true;
        if (signalled)
            reap(members);
        if (owned)
            hear_owner(members);
        if (asked && members->container->listener >= 0)
            let_in(members);
    }
    act_on_time(members);
    forget_those_that_are_over(members);
    return false;
}

static void replace_standard_descriptors(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int number = 0; number < 3; number++)
        if (null < 0 || dup2(null, number) < 0)
            _exit(OURS);
    close(null);
}

/* Hold on to what is for both and no more: what was opened for the system's tree is the system's. */
static void part_from_system(struct container *container)
{
    struct system *system = &container->making.system;
    if (!(container->order->flags & FLAG_SHARED)) {
        /* Its console is the monitor's. */
        close(system->master);
        system->master = -1;
    }
    const int kept[] = {container->channel, container->listener, system->told,  system->master,
                        system->slave,      system->groups,      system->logins};
    close_all_but(kept, sizeof kept / sizeof *kept);
}

/* Wait until a system that logins share runs, or tell why it does not. */
static void await_system(const struct members *members)
{
    struct system *system = system_of(members);
    char said[LONGEST_MESSAGE];
    const ssize_t got = read(system->told, said, sizeof said);
    if (got) {
        end_system(system);
        send_message(members->container->channel, said, got < 0 ? 0 : (size_t)got);
        _exit(OURS);
    }
    close(system->told);
}

/* Serve the monitor, or one login after the other; returns only in a payload that runs no program. */
void attend(struct container *container)
{
    sigset_t ended;
    struct members members = {.container = container, .shared = container->order->flags & FLAG_SHARED};
    struct system *system = system_of(&members);
    const struct demand own = {
        .end = container->channel, .file = -1, .standard = {-1, -1, -1}, .is_system = system->is_whole};
    if (system->is_whole && !system->init) {
        start_payload(container, &own, system->told);
        return;
    }
    if (system->is_whole)
        part_from_system(container);
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    members.signals = signalfd(-1, &ended, SFD_NONBLOCK | SFD_CLOEXEC);
    if (members.signals < 0)
        _exit(OURS);
    if (container->hooks.left)
        run_hooks(container, members.signals);
    members.alone_since = now_ms();
    if (members.shared) {
        /* The poll set has room for members from the first on. */
        if (!add(&members, -1))
            _exit(OURS);
        members.count = 0;
        if (system->is_whole)
            await_system(&members);
        send_message(container->channel, (char[]){STARTED}, 1);
    } else {
        struct member *main = add(&members, container->channel);
        if (!main)
            _exit(OURS);
        if (system->is_whole)
            main->child = system->init, main->told = system->told, main->state = STARTING;
        else if (start(&members, main, &own))
            return;
        replace_standard_descriptors();
    }
    while (!turn(&members))
        continue;
}
