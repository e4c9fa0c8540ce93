/* Longer than 300 lines: the whole way of a process from the fork to its program, in the order in which it goes. */
/* The payload: pid 1's child on its way to becoming the user's program.
 *
 * Everything that a request says is read here, in the child: what is broken in it breaks nothing else. Whatever goes
 * wrong is told through the pipe `tells`, which the exec closes.
 */
#define _GNU_SOURCE
#include "container.h"
#include "uploads.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { LARGEST_REQUEST = 4 << 20, SIZE_OF_MODES = 60, SIZE_OF_WINDOW = 8, TELLS = 3 };
enum { SIZE_OF_LIKENESS = SIZE_OF_MODES + SIZE_OF_WINDOW, SIZE_OF_ECHO = 4096, FEEDING_MS = 1000 };
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

char *string(int tells, struct items item)
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
    if (!take(&from, &request->like) || !take(&from, &request->directory) || !take(&from, &request->umask) ||
        !take(&from, &request->environment))
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

/* Hand what was typed before there was a terminal to it, as another one has edited it: the modes in which it is taken
 * unchanged, how many bytes of it are echoed, the text. Nobody sees the echo; it tells when the text has been taken. */
static int feed_terminal(struct items typed, int master, int slave)
{
    uint32_t echoed;
    uint8_t echo[SIZE_OF_ECHO];
    const uint8_t *text = typed.at + SIZE_OF_MODES + sizeof echoed;
    const size_t length = typed.left - SIZE_OF_MODES - sizeof echoed;
    memcpy(&echoed, typed.at + SIZE_OF_MODES, sizeof echoed);
    if (ioctl(slave, KERNEL_TCSETS, typed.at))
        return -1;
    if (write(master, text, length) < 0)
        return -1;
    while (echoed) {
        struct pollfd heard = {.fd = master, .events = POLLIN};
        if (poll(&heard, 1, FEEDING_MS) <= 0)
            break; /* whatever holds it up, the program starts */
        const ssize_t got = read(master, echo, echoed < sizeof echo ? echoed : sizeof echo);
        if (got <= 0)
            break;
        echoed -= (uint32_t)got;
    }
    return 0;
}

/* Open a terminal pair of the container's own, send the other side out, return ours; number: its name in /dev/pts.
 *
 * It starts with the modes and the window size of the client's, so that the program's first byte already meets both.
 * A whole system's is its console, which is there already.
 */
static int open_terminal(struct items like, const struct demand *demand, const struct system *system, int tells,
                         unsigned *number)
{
    static const char what[] = "cannot open a terminal in the container";
    int unlocked = 0;
    struct items typed = {like.at + SIZE_OF_LIKENESS, like.left - SIZE_OF_LIKENESS};
    if (like.left < SIZE_OF_LIKENESS || (typed.left && typed.left <= SIZE_OF_MODES + sizeof(uint32_t)))
        fail_request(tells, "its terminal has no modes");
    int master = demand->is_system ? system->master : open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) || ioctl(master, TIOCGPTN, number))
        fail_errno(tells, what, "terminal");
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0 || (typed.left && feed_terminal(typed, master, slave)) || ioctl(slave, KERNEL_TCSETS, like.at) ||
        ioctl(slave, TIOCSWINSZ, like.at + SIZE_OF_MODES) || send_descriptor(demand->end, TERMINAL, master))
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
    bool over, rehearsed;
};

/* ---- a rehearsal: all of a session but its program -------------------------------------------------------------- */

enum {
    SIZE_OF_START = 256,
    MOST_INTERPRETERS = 5
}; /* as in the kernel's BINPRM_BUF_SIZE and search_binary_handler() */
#if defined __x86_64__
enum { NATIVE = EM_X86_64 };
#elif defined __aarch64__
enum { NATIVE = EM_AARCH64 };
#else
enum { NATIVE = EM_NONE }; /* unknown here: any is taken */
#endif

/* The path of the program that a script names in its first line, "" for none (execve(2), Interpreter scripts). */
static void interpreter_of_script(char start[SIZE_OF_START], char **found)
{
    start[strcspn(start, "\n")] = 0;
    *found = start + 2 + strspn(start + 2, " \t");
    (*found)[strcspn(*found, " \t")] = 0;
}

/* The error with which the kernel refuses an ELF file: another machine's, or without its dynamic linker (elf(5)). */
static int error_of_elf(int file, const char start[SIZE_OF_START])
{
    Elf64_Ehdr head;
    memcpy(&head, start, sizeof head);
    if (head.e_ident[EI_CLASS] != ELFCLASS64)
        return 0; /* whether the kernel runs what has 32 bits is not ours to know */
    if (NATIVE != EM_NONE && head.e_machine != NATIVE)
        return ENOEXEC;
    for (unsigned i = 0; i < head.e_phnum; i++) {
        Elf64_Phdr part;
        char linker[SIZE_OF_START] = "";
        const off_t at = (off_t)(head.e_phoff + (uint64_t)i * head.e_phentsize);
        if (pread(file, &part, sizeof part, at) != sizeof part)
            return ENOEXEC;
        if (part.p_type != PT_INTERP)
            continue;
        if (pread(file, linker, sizeof linker - 1, (off_t)part.p_offset) < 1)
            return ENOEXEC;
        return access(linker, X_OK) ? errno : 0;
    }
    return 0;
}

/* The error that execve(2) would give, 0 for none. */
int error_of_execution(const char *path, int depth)
{
    char start[SIZE_OF_START + 1] = "", *interpreter;
    struct stat found;
    if (access(path, X_OK) || stat(path, &found))
        return errno;
    if (!S_ISREG(found.st_mode))
        return EACCES;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return errno == EACCES ? 0 : errno; /* a program need not be readable */
    const ssize_t size = read(file, start, SIZE_OF_START);
    int error = ENOEXEC;
    if (size >= (ssize_t)sizeof(Elf64_Ehdr) && !memcmp(start, ELFMAG, SELFMAG)) {
        error = error_of_elf(file, start);
    } else if (size > 2 && !memcmp(start, "#!", 2)) {
        interpreter_of_script(start, &interpreter);
        error = depth >= MOST_INTERPRETERS ? ELOOP
                : *interpreter             ? error_of_execution(interpreter, depth + 1)
                                           : ENOEXEC;
    }
    close(file);
    return error;
}

static void attempt(struct attempts *so_far, char *path, char **arguments)
{
    if (!so_far->count++)
        so_far->first = path;
    if (so_far->over)
        return;
    if (so_far->rehearsed) {
        errno = error_of_execution(path, 0);
        if (!errno)
            _exit(0);
    } else {
        execve(path, arguments, so_far->environment);
    }
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
    struct attempts so_far = {.environment = environment->list, .rehearsed = container->order->flags & FLAG_REHEARSED};
    if (!from.left)
        try_shells(&so_far, environment);
    for (struct items item; take(&from, &item);)
        try_attempt(&so_far, item, environment, tells);
    if (from.left || !so_far.first)
        fail_request(tells, "it is cut off");
    char *what, *why;
    const char *name = so_far.count == 1 ? so_far.first : name_of(so_far.first);
    const struct items image = container->image;
    if (asprintf(&what, "cannot run %s", name) < 0 ||
        asprintf(&why, "it is not in the image %.*s", (int)image.left, (const char *)image.at) < 0)
        fail_errno(tells, "cannot run the program", "execute");
    const int number = so_far.refused;
    if (!number)
        fail(tells, NOT_FOUND, what, why, ENOENT, "execute");
    fail(tells, number == EACCES || number == ENOEXEC ? REFUSAL : SESSION_ERROR, what, reason(number), number,
         "execute");
}

/* ---- uploads ------------------------------------------------------------------------------------------------- */

/* Put a process between the client and sftp-server, which knows no way to refuse what overwrites, and lets a client set
 * modes that the umask would not leave.
 *
 * It has what the server has and no more; the data to the client does not pass it.
 */
static void put_between(const struct container *container, const struct uploads *uploads, int tells)
{
    static const char what[] = "cannot watch over the uploads";
    int ends[2];
    if (!container->fork || pipe2(ends, O_CLOEXEC))
        fail_errno(tells, what, "sftp");
    const pid_t relay = container->fork();
    if (relay < 0)
        fail_errno(tells, what, "sftp");
    if (relay == 0) {
        /* Its end is the server's, whose standard output it must not hold open. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) || dup2(ends[1], 1) < 0 || close_range(2, ~0U, 0))
            _exit(OURS);
        pass_requests(0, 1, uploads);
        _exit(0);
    }
    if (dup2(ends[0], 0) < 0)
        fail_errno(tells, what, "sftp");
    close(ends[0]);
    close(ends[1]);
}

/* ---- the way --------------------------------------------------------------------------------------------------- */

void close_others(int *tells)
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

void confine(struct container *container, int tells)
{
    struct failure failure;
    uint8_t message[LONGEST_MESSAGE];
    if (script_run(&container->confining, &failure))
        return;
    (void)!write(tells, message, pack_failure(message, CONFINING, failure.record, failure.number));
    _exit(OURS);
}

/* What is to run: the system's own process 1, what a member asks for, or what the container was made for. */
static struct request read_wanted(const struct container *container, const struct demand *demand,
                                  const struct request *own, int tells)
{
    const struct system *system = &container->making.system;
    struct request wanted = *own;
    if (demand->is_system) {
        read_request(&wanted, (struct items){system->request, system->request_size}, tells);
        wanted.like = own->like;
    } else if (system->is_whole && write(system->logins, "0", 1) != 1) {
        fail_errno(tells, "cannot enter the control group of those who log in to the system", "system");
    }
    if (demand->file < 0)
        return wanted;
    read_request(&wanted, open_request(demand->file, tells), tells);
    for (int number = 0; number < 3; number++)
        if (demand->standard[number] >= 0)
            check_descriptor(demand->standard[number], tells);
    return wanted;
}

/* Give it its terminal and its standard descriptors; return the terminal, -1 for none of its own, and its number. */
static int connect_standard(const struct container *container, const struct demand *demand, struct items like,
                            int tells, unsigned *terminal)
{
    const struct system *system = &container->making.system;
    const bool joined = demand->file >= 0;
    int slave = -1;
    if (like.left)
        slave = open_terminal(like, demand, system, tells, terminal);
    else if (demand->is_system)
        slave = system->slave;
    if (joined || (demand->is_system && !(container->order->flags & FLAG_CALL)))
        set_standard(demand, slave, tells);
    /* The console of a system becomes the controlling terminal of who logs in there. */
    if (slave >= 0 && !demand->is_system)
        adopt_terminal(slave, tells);
    else if (joined && isatty(0))
        /* An administrator brings a terminal of their own; that of another session stays that session's. */
        (void)!ioctl(0, TIOCSCTTY, 0);
    return slave;
}

/* Become the program; returns only where the order says that the caller is what runs in its place. */
void start_payload(struct container *container, const struct demand *demand, int tells)
{
    const bool joined = demand->file >= 0;
    struct request own;
    struct words environment = {0};
    sigset_t none;
    unsigned terminal = 0;

    setsid();
    read_request(&own, container->request, tells);
    const struct request wanted = read_wanted(container, demand, &own, tells);
    const int slave = connect_standard(container, demand, wanted.like, tells, &terminal);
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
    /* A decimal number, or none; behind it what is held against uploads. */
    struct uploads uploads = {0};
    char *rest = string(tells, wanted.umask);
    if (*rest >= '0' && *rest <= '9') {
        uploads.mask = strtoul(rest, &rest, 10) & 0777;
        umask((mode_t)uploads.mask);
    }
    uploads.rule = *rest;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    confine(container, tells);
    if (!joined && container->order->flags & FLAG_CALL) {
        close(tells);
        return;
    }
    if (!environment.list && !add_word(&environment, strdup("HOME=/")))
        fail_errno(tells, "cannot prepare the program", "request");
    if (uploads.rule == MODES_ONLY || uploads.rule == ONLY_NEW || uploads.rule == NOTHING_OLD)
        put_between(container, &uploads, tells);
    execute(container, wanted.attempts, &environment, tells);
}
