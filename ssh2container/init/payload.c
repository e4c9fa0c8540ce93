/* The payload: pid 1's child on its way to becoming the user's program.
 *
 * Everything that a request says is read here, in the child: what is broken in it breaks nothing else. Whatever goes
 * wrong is told through the pipe `tells`, which the exec closes.
 */
#define _GNU_SOURCE
#include "container.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { LARGEST_REQUEST = 4 << 20, SIZE_OF_MODES = 60, SIZE_OF_WINDOW = 8, TELLS = 3 };
enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };
/* The kernel's struct termios is shorter than the C library's. */
#define KERNEL_TCSETS 0x5402

/* Strings of the container's own order last as long as it; those of a request lie in its file. */
struct request {
    struct items like, directory, umask, environment, attempts;
};

static _Noreturn void fail(int tells, enum error kind, const char *what, const char *why, int number, const char *step)
{
    uint8_t message[LONGEST_MESSAGE];
    (void)!write(tells, message, pack_error(message, kind, what, why, number, step));
    _exit(OURS);
}

static _Noreturn void fail_errno(int tells, const char *what, const char *step)
{
    const int number = errno;
    fail(tells, SESSION_ERROR, what, reason(number), number, step);
}

static _Noreturn void fail_request(int tells, const char *why)
{
    fail(tells, SESSION_ERROR, "cannot read the request", why, 0, "request");
}

static char *string(int tells, struct items item)
{
    char *copy = malloc(item.left + 1);
    if (!copy)
        fail_errno(tells, "cannot prepare the program", "request");
    memcpy(copy, item.at, item.left);
    copy[item.left] = 0;
    return copy;
}

static void read_request(struct request *request, struct items from, int tells)
{
    if (!take(&from, &request->like) || !take(&from, &request->directory) || !take(&from, &request->umask)
        || !take(&from, &request->environment))
        fail_request(tells, "it is cut off");
    request->attempts = from;
}

/* The file is one in memory that nobody can change any more (memfd_create(2), sealed). */
static struct items open_request(int file, int tells)
{
    struct stat found;
    if (fcntl(file, F_GET_SEALS) != SEALS || fstat(file, &found))
        fail_request(tells, "it is not a sealed file");
    if (found.st_size <= 0 || found.st_size > LARGEST_REQUEST)
        fail_request(tells, "it is empty or too large");
    void *mapped = mmap(NULL, (size_t)found.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (mapped == MAP_FAILED)
        fail_errno(tells, "cannot read the request", "request");
    return (struct items){mapped, (size_t)found.st_size};
}

/* ---- descriptors and the terminal ------------------------------------------------------------------------------ */

/* A directory or a device among them would be a way out of the container. */
static void check_descriptor(int descriptor, int tells)
{
    struct stat found;
    if (fstat(descriptor, &found))
        fail_errno(tells, "cannot pass a descriptor on", "descriptors");
    const mode_t mode = found.st_mode;
    if (S_ISFIFO(mode) || S_ISSOCK(mode) || S_ISREG(mode))
        return;
    if (S_ISCHR(mode) && (found.st_rdev == makedev(1, 3) || isatty(descriptor)))
        return;
    const char *kind = S_ISCHR(mode) ? "it is a device" : S_ISDIR(mode) ? "it is a directory" : "it is a block device";
    fail(tells, SESSION_ERROR, "cannot pass a descriptor on", kind, 0, "descriptors");
}

/* Open a terminal pair of the container's own, send the other side out, return ours; number: its name in /dev/pts.
 *
 * It starts with the modes and the window size of the client's, so that the program's first byte already meets both.
 */
static int open_terminal(struct items like, int end, int tells, unsigned *number)
{
    static const char what[] = "cannot open a terminal in the container";
    int unlocked = 0;
    if (like.left != SIZE_OF_MODES + SIZE_OF_WINDOW)
        fail_request(tells, "its terminal has no modes");
    int master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) || ioctl(master, TIOCGPTN, number))
        fail_errno(tells, what, "terminal");
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0 || ioctl(slave, KERNEL_TCSETS, like.at) || ioctl(slave, TIOCSWINSZ, like.at + SIZE_OF_MODES)
        || send_descriptor(end, TERMINAL, master))
        fail_errno(tells, what, "terminal");
    close(master);
    return slave;
}

/* Take the terminal as the controlling one; it replaces those of 0-2 that are one. Others, say a file, stay. */
static void adopt_terminal(int slave, int tells)
{
    if (ioctl(slave, TIOCSCTTY, 0))
        fail_errno(tells, "cannot take the terminal over", "terminal");
    for (int number = 0; number < 3; number++)
        if (isatty(number) && dup2(slave, number) < 0)
            fail_errno(tells, "cannot take the terminal over", "terminal");
}

static void set_standard(const struct demand *demand, int slave, int tells)
{
    for (int number = 0; number < 3; number++) {
        int descriptor = demand->standard[number] < 0 ? slave : demand->standard[number];
        if (dup2(descriptor, number) < 0)
            fail_errno(tells, "cannot pass a descriptor on", "descriptors");
    }
}

/* ---- environment and program ----------------------------------------------------------------------------------- */

static bool has(const struct words *words, size_t count, const char *pair)
{
    const size_t length = strcspn(pair, "=") + 1;
    for (size_t i = 0; i < count; i++)
        if (!strncmp(words->list[i], pair, length))
            return true;
    return false;
}

/* Add variables but those that are there already. */
static void add_pairs(struct words *environment, struct items pairs, int tells)
{
    const size_t before = environment->count;
    for (struct items pair; take(&pairs, &pair);) {
        char *copy = string(tells, pair);
        if (!strchr(copy, '='))
            fail_request(tells, "a variable has no value");
        if (!has(environment, before, copy) && !add_word(environment, copy))
            fail_errno(tells, "cannot prepare the program", "request");
    }
    if (pairs.left)
        fail_request(tells, "it is cut off");
}

static const char *variable(const struct words *environment, const char *name, const char *otherwise)
{
    const size_t length = strlen(name);
    for (size_t i = 0; i < environment->count; i++)
        if (!strncmp(environment->list[i], name, length) && environment->list[i][length] == '=')
            return environment->list[i] + length + 1;
    return otherwise;
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* What the attempts have come to so far. */
struct attempts {
    char **environment;
    const char *first; /* path of the first one */
    size_t count;
    int refused; /* the error that counts, 0 while files were only missing */
    bool over;
};

static void attempt(struct attempts *so_far, char *path, char **arguments)
{
    if (!so_far->count++)
        so_far->first = path;
    if (so_far->over)
        return;
    execve(path, arguments, so_far->environment);
    if (errno != ENOENT && errno != ENOTDIR) {
        so_far->refused = errno;
        so_far->over = errno != EACCES;
    }
}

/* The words of one attempt after its path; a word may carry a pattern behind a zero byte. */
static void add_words(struct words *words, struct items from, const char *home, int tells)
{
    for (struct items item; take(&from, &item);) {
        char *word = string(tells, item);
        const size_t length = strlen(word);
        bool good = length == item.left ? add_word(words, word) : expand(words, word, word + length + 1, home);
        if (!good)
            fail_errno(tells, "cannot prepare the program", "execute");
    }
    if (from.left)
        fail_request(tells, "it is cut off");
}

/* A name without a slash is looked up on the PATH inside. */
static void try_attempt(struct attempts *so_far, struct items from, const struct words *environment, int tells)
{
    struct items item;
    struct words words = {0};
    if (!take(&from, &item))
        fail_request(tells, "it names no program");
    char *path = string(tells, item);
    add_words(&words, from, variable(environment, "HOME", "/"), tells);
    if (!words.count)
        fail_request(tells, "it has no arguments");
    if (strchr(path, '/')) {
        attempt(so_far, path, words.list);
        return;
    }
    char *places = strdup(variable(environment, "PATH", "")), *place, *whole;
    while (places && (place = strsep(&places, ":")))
        if (*place && asprintf(&whole, "%s/%s", place, path) > 0)
            attempt(so_far, whole, words.list);
    if (!so_far->count)
        so_far->first = path;
}

/* Nothing at all is a login shell. */
static void try_shells(struct attempts *so_far, const struct words *environment)
{
    const char *shells[] = {variable(environment, "SHELL", "/bin/sh"), "/bin/sh"};
    for (int i = 0; i < 2; i++) {
        char *arguments[] = {NULL, NULL};
        if (asprintf(&arguments[0], "-%s", name_of(shells[i])) > 0)
            attempt(so_far, (char *)(uintptr_t)shells[i], arguments);
    }
}

static _Noreturn void execute(const struct container *container, struct items from, const struct words *environment,
                              int tells)
{
    struct attempts so_far = {.environment = environment->list};
    if (!from.left)
        try_shells(&so_far, environment);
    for (struct items item; take(&from, &item);)
        try_attempt(&so_far, item, environment, tells);
    if (from.left || !so_far.first)
        fail_request(tells, "it is cut off");
    char *what, *why;
    const char *name = so_far.count == 1 ? so_far.first : name_of(so_far.first);
    const struct items image = container->image;
    if (asprintf(&what, "cannot run %s", name) < 0
        || asprintf(&why, "it is not in the image %.*s", (int)image.left, (const char *)image.at) < 0)
        fail_errno(tells, "cannot run the program", "execute");
    const int number = so_far.refused;
    if (!number)
        fail(tells, NOT_FOUND, what, why, ENOENT, "execute");
    fail(tells, number == EACCES || number == ENOEXEC ? REFUSAL : SESSION_ERROR, what, reason(number), number, "execute");
}

/* ---- the way --------------------------------------------------------------------------------------------------- */

static void close_others(int *tells)
{
    if (*tells != TELLS) {
        if (dup3(*tells, TELLS, O_CLOEXEC) < 0)
            fail_errno(*tells, "cannot prepare the program", "descriptors");
        *tells = TELLS;
    }
    if (close_range(TELLS + 1, ~0U, 0))
        fail_errno(*tells, "cannot prepare the program", "descriptors");
}

/* Start in the home, or in / when the home cannot be entered, as login(1) does. */
static void enter(const char *directory)
{
    if (chdir(directory))
        (void)!chdir("/");
}

static void confine(struct container *container, int tells)
{
    struct failure failure;
    uint8_t message[LONGEST_MESSAGE];
    if (script_run(&container->confining, &failure))
        return;
    (void)!write(tells, message, pack_failure(message, 'p', failure.record, failure.number));
    _exit(OURS);
}

/* Become the program; returns only where the order says that the caller is what runs in its place. */
void start_payload(struct container *container, const struct demand *demand, int tells)
{
    const bool joined = demand->file >= 0;
    struct request own, wanted;
    struct words environment = {0};
    sigset_t none;
    unsigned terminal = 0;
    int slave = -1;

    setsid();
    read_request(&own, container->request, tells);
    wanted = own;
    if (joined) {
        read_request(&wanted, open_request(demand->file, tells), tells);
        for (int number = 0; number < 3; number++)
            if (demand->standard[number] >= 0)
                check_descriptor(demand->standard[number], tells);
    }
    if (wanted.like.left)
        slave = open_terminal(wanted.like, demand->end, tells, &terminal);
    if (joined)
        set_standard(demand, slave, tells);
    if (slave >= 0)
        adopt_terminal(slave, tells);
    close_others(&tells);

    /* Who was sent by a login brings the login's own; an administrator adds to the container's. */
    if (joined && slave >= 0) {
        char *name;
        if (asprintf(&name, "SSH_TTY=/dev/pts/%u", terminal) < 0 || !add_word(&environment, name))
            fail_errno(tells, "cannot prepare the program", "request");
    }
    add_pairs(&environment, wanted.environment, tells);
    if (!wanted.directory.left)
        add_pairs(&environment, own.environment, tells);
    enter(string(tells, wanted.directory.left ? wanted.directory : own.directory));
    if (wanted.umask.left)
        umask((mode_t)strtoul(string(tells, wanted.umask), NULL, 10) & 0777);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    confine(container, tells);
    if (!joined && container->order->flags & FLAG_CALL) {
        close(tells);
        return;
    }
    if (!environment.list && !add_word(&environment, strdup("HOME=/")))
        fail_errno(tells, "cannot prepare the program", "request");
    execute(container, wanted.attempts, &environment, tells);
}
