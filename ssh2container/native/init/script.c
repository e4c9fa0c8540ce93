/* Longer than 300 lines: every step that a script can have, beside what is checked before it is taken. */
/* The interpreter of scripts (script.h): the only code that makes a container, in pid 1 and wherever else. */
#define _GNU_SOURCE
#include "script.h"

#include "messages.h"
#include "system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define FROM_424(name, number) {#name, number}
#define CALL(name) {#name, SYS_##name}

/* Those from 424 on have the same number everywhere; the C library's headers may be older than they. */
const struct call script_calls[] = {
    CALL(mount),
    CALL(umount2),
    CALL(pivot_root),
    CALL(chdir),
    CALL(prctl),
    CALL(capset),
    CALL(keyctl),
    CALL(sethostname),
    CALL(setgroups),
    CALL(setresgid),
    CALL(setresuid),
    CALL(setxattr),
    CALL(removexattr),
    CALL(prlimit64),
    CALL(socket),
    CALL(ioctl),
    CALL(close),
    CALL(clock_gettime),
    CALL(unshare),
    FROM_424(open_tree, 428),
    FROM_424(move_mount, 429),
    FROM_424(openat2, 437),
    FROM_424(mount_setattr, 442),
    FROM_424(landlock_create_ruleset, 444),
    FROM_424(landlock_restrict_self, 446),
    {NULL, 0},
};

enum {
    LANDLOCK_ADD_RULE = 445,
    PATH_BENEATH = 1,
    SET_MODE_FILTER = 1,
    LAST_CAPABILITY = 63,
    DEEPEST = 64,
    MOST_LOOKS = 50000,
};

static int broken(void)
{
    errno = EBADMSG;
    return -1;
}

/* The text at an offset, NULL unless all of its length lies inside. */
static char *text(const struct script *script, int64_t offset, int64_t length)
{
    if (offset < 0 || length < 0 || (uint64_t)offset >= script->size ||
        (uint64_t)length > script->size - (uint64_t)offset) {
        errno = EBADMSG;
        return NULL;
    }
    return (char *)script->texts + offset;
}

static int64_t *slot(struct script *script, int64_t number)
{
    if (number < 0 || number >= SLOTS) {
        errno = EBADMSG;
        return NULL;
    }
    return &script->slots[number];
}

static int keep(struct script *script, uint32_t result, int64_t value)
{
    if (result) {
        int64_t *place = slot(script, (int64_t)result - 1);
        if (!place)
            return -1;
        *place = value;
    }
    return 0;
}

/* ---- plain system calls -------------------------------------------------------------------------------------- */

static bool is_listed(long number)
{
    for (const struct call *call = script_calls; call->name; call++)
        if (call->number == number)
            return true;
    return false;
}

static int make_call(struct script *script, const struct record *record)
{
    long values[ARGUMENTS];
    if (!is_listed(record->call))
        return broken();
    for (int i = 0; i < ARGUMENTS; i++) {
        const int64_t argument = record->arguments[i];
        const int64_t *place;
        switch (record->kinds >> (2 * i) & 3) {
        case KIND_NUMBER:
            values[i] = (long)argument;
            break;
        case KIND_TEXT: /* what the kernel writes behind it stays within the margin */
            if (!(values[i] = (long)text(script, argument, 0)))
                return -1;
            break;
        case KIND_SLOT:
            if (!(place = slot(script, argument)))
                return -1;
            values[i] = (long)*place;
            break;
        default:
            return broken();
        }
    }
    long result = syscall(record->call, values[0], values[1], values[2], values[3], values[4], values[5]);
    return result < 0 ? -1 : keep(script, record->result, result);
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

static int write_all(int file, const char *data, size_t left)
{
    while (left) {
        ssize_t done = write(file, data, left);
        if (done < 0)
            return -1;
        data += done, left -= (size_t)done;
    }
    return 0;
}

static int make_directory(const char *path, mode_t mode, bool exactly)
{
    struct stat found;
    if (mkdir(path, mode) == 0) {
        /* mkdir(2) ignores these two. */
        return exactly && mode & (S_ISUID | S_ISGID) ? chmod(path, mode) : 0;
    }
    if (errno != EEXIST)
        return -1;
    if (stat(path, &found))
        return -1;
    if (!S_ISDIR(found.st_mode)) {
        errno = EEXIST;
        return -1;
    }
    return exactly ? chmod(path, mode) : 0;
}

/* kind, mode or -1 for the default, path, content, its length */
static int make(struct script *script, const int64_t *of)
{
    const char *path = text(script, of[2], 0);
    if (!path)
        return -1;
    if (of[0] == MADE_DIRECTORY)
        return make_directory(path, of[1] < 0 ? 0700 : (mode_t)of[1], of[1] >= 0);
    const char *content = text(script, of[3], of[4]);
    if (!content)
        return -1;
    if (of[0] == MADE_LINK)
        return symlink(content, path);
    if (of[0] != MADE_FILE)
        return broken();
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, of[1] < 0 ? 0600 : (mode_t)of[1]);
    if (file < 0)
        return -1;
    int result = write_all(file, content, (size_t)of[4]);
    int number = errno;
    close(file);
    errno = number;
    return result;
}

static int open_exactly(int directory, const char *path, uint64_t resolve)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                           .resolve = resolve | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS};
    return (int)syscall(437 /* openat2 */, directory, path, &how, sizeof how);
}

static int make_at(int parent, const char *name, bool directory)
{
    if (directory)
        return mkdirat(parent, name, 0755);
    int file = openat(parent, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    return file < 0 ? -1 : close(file);
}

/* Open path, made if missing with all above it; path is changed on the way and whole again afterwards. */
static int open_or_make(char *path, bool directory, int depth)
{
    int place = open_exactly(AT_FDCWD, path, 0);
    if (place >= 0 || errno != ENOENT)
        return place;
    char *name = strrchr(path, '/');
    if (!name || name == path + strlen(path) - 1 || depth == 0) {
        errno = ENOENT;
        return -1;
    }
    int parent;
    if (name == path) {
        parent = open_exactly(AT_FDCWD, "/", 0);
    } else {
        *name = 0;
        parent = open_or_make(path, true, depth - 1);
        *name = '/';
    }
    if (parent < 0)
        return -1;
    place = make_at(parent, name + 1, directory) ? -1 : open_exactly(parent, name + 1, RESOLVE_BENEATH);
    int number = errno;
    close(parent);
    errno = number;
    return place;
}

/* path, whether it is a directory */
static int open_place(struct script *script, const struct record *record)
{
    char path[PATH_MAX];
    const char *given = text(script, record->arguments[0], 0);
    if (!given)
        return -1;
    size_t length = strnlen(given, sizeof path);
    if (length >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(path, given, length + 1);
    int place = open_or_make(path, record->arguments[1] != 0, DEEPEST);
    return place < 0 ? -1 : keep(script, record->result, place);
}

/* kind, path or slot, device, inode: not what is meant is ESTALE */
static int expect(struct script *script, const int64_t *of)
{
    struct stat found;
    const int64_t *place;
    const char *path;
    if (of[0] == EXPECT_OPEN) {
        if (!(place = slot(script, of[1])) || fstat((int)*place, &found))
            return -1;
    } else if (!(path = text(script, of[1], 0)) || lstat(path, &found)) {
        return -1;
    }
    bool same = of[0] == EXPECT_DEVICE ? found.st_rdev == (dev_t)of[2]
                                       : found.st_dev == (dev_t)of[2] && found.st_ino == (ino_t)of[3];
    errno = ESTALE;
    return same ? 0 : -1;
}

static bool is_dot(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Give what directory holds, and itself, to uid and gid; takes the descriptor. */
static int give(int directory, uid_t uid, gid_t gid, int depth)
{
    DIR *listing = fdopendir(directory);
    if (!listing) {
        close(directory);
        return -1;
    }
    int result = depth ? 0 : broken();
    const struct dirent *entry;
    while (result == 0 && (errno = 0, entry = readdir(listing))) {
        if (is_dot(entry->d_name))
            continue;
        int below = openat(directory, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below >= 0)
            result = give(below, uid, gid, depth - 1);
        else if (errno == ENOTDIR || errno == ELOOP)
            result = fchownat(directory, entry->d_name, uid, gid, AT_SYMLINK_NOFOLLOW);
        else
            result = -1;
    }
    if (result == 0 && errno == 0)
        result = fchown(directory, uid, gid);
    else
        result = -1;
    int number = errno;
    closedir(listing);
    errno = number;
    return result;
}

/* path, uid, gid */
static int give_tree(struct script *script, const int64_t *of)
{
    const char *path = text(script, of[0], 0);
    if (!path)
        return -1;
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return directory < 0 ? -1 : give(directory, (uid_t)of[1], (gid_t)of[2], DEEPEST);
}

/* path, content, its length, whether a kernel may lack the file or allow no such value */
static int write_file(struct script *script, const int64_t *of)
{
    const char *path = text(script, of[0], 0), *content = text(script, of[1], of[2]);
    if (!path || !content)
        return -1;
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return of[3] && errno == ENOENT ? 0 : -1;
    ssize_t done = write(file, content, (size_t)of[2]);
    int number = done < 0 ? errno : EIO;
    close(file);
    errno = number;
    return done == of[2] || (of[3] && number == EINVAL) ? 0 : -1;
}

static int note_device(struct script *script, const struct record *record)
{
    struct stat found;
    const char *path = text(script, record->arguments[0], 0);
    return !path || lstat(path, &found) ? -1 : keep(script, record->result, (int64_t)found.st_dev);
}

/* path, slot with the device that it was on: a mask that is not in place is ESTALE */
static int expect_empty(struct script *script, const int64_t *of)
{
    struct stat found;
    const char *path = text(script, of[0], 0);
    const int64_t *before = slot(script, of[1]);
    if (!path || !before || lstat(path, &found))
        return -1;
    DIR *listing = opendir(path);
    if (!listing)
        return -1;
    bool empty = found.st_dev != (dev_t)*before;
    for (const struct dirent *entry; empty && (entry = readdir(listing));)
        empty = is_dot(entry->d_name);
    closedir(listing);
    errno = ESTALE;
    return empty ? 0 : -1;
}

/* ---- network --------------------------------------------------------------------------------------------------- */

/* A struct sockaddr_in6 with a new address, its size: the kernel checks it in a worker of its own (addrconf), and until
 * then nobody can use it, duplicates looked for or not. It takes microseconds, or what the machine's load makes of it.
 */
static int await_address(const struct script *script, const int64_t *of)
{
    const struct timespec pause = {.tv_nsec = 200000};
    const void *address = text(script, of[0], of[1]);
    const int probe = address ? socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    if (probe < 0)
        return -1;
    int done, left = MOST_LOOKS;
    while ((done = bind(probe, address, (socklen_t)of[1])) && errno == EADDRNOTAVAIL && left--)
        nanosleep(&pause, NULL);
    const int wrong = errno;
    close(probe);
    errno = wrong;
    return done;
}

/* ---- confinement ----------------------------------------------------------------------------------------------- */

/* Landlock wants the file system's own idea of what a rule may hold: of_files for what is no directory. */
static int allow(int64_t rules, int directory, const char *path, uint64_t rights, uint64_t of_files, int flags)
{
    struct __attribute__((packed)) {
        uint64_t rights;
        int32_t parent;
    } rule;
    struct stat found;
    int place = openat(directory, path, O_PATH | O_CLOEXEC | flags);
    if (place < 0)
        return -1;
    int result = fstat(place, &found);
    if (result == 0 && !S_ISLNK(found.st_mode)) {
        rule.rights = S_ISDIR(found.st_mode) ? rights : rights & of_files;
        rule.parent = place;
        result = (int)syscall(LANDLOCK_ADD_RULE, (int)rules, PATH_BENEATH, &rule, 0);
    }
    int number = errno;
    close(place);
    errno = number;
    return result;
}

/* slot of the rule set, path, rights, those of them that files have */
static int allow_path(struct script *script, const int64_t *of)
{
    const int64_t *rules = slot(script, of[0]);
    const char *path = text(script, of[1], 0);
    return !rules || !path ? -1 : allow(*rules, AT_FDCWD, path, (uint64_t)of[2], (uint64_t)of[3], 0);
}

static bool is_among(const char *name, const char *names, int64_t length)
{
    for (const char *end = names + length; names < end; names += strlen(names) + 1)
        if (!strcmp(name, names))
            return true;
    return false;
}

/* slot of the rule set, names without a rule, their length, rights, those of them that files have */
static int allow_root(struct script *script, const int64_t *of)
{
    const int64_t *rules = slot(script, of[0]);
    const char *closed = text(script, of[1], of[2]);
    if (!rules || !closed)
        return -1;
    DIR *listing = opendir("/");
    if (!listing)
        return -1;
    int result = 0;
    const struct dirent *entry;
    while (result == 0 && (errno = 0, entry = readdir(listing)))
        if (!is_dot(entry->d_name) && !is_among(entry->d_name, closed, of[2]))
            result = allow(*rules, dirfd(listing), entry->d_name, (uint64_t)of[3], (uint64_t)of[4], O_NOFOLLOW);
    int number = errno;
    closedir(listing);
    errno = number;
    return result == 0 && number == 0 ? 0 : -1;
}

/* flags, flags for a kernel that does not know those or -1, instructions, their length */
static int load_filter(struct script *script, const int64_t *of)
{
    char *instructions = text(script, of[2], of[3]);
    if (!instructions)
        return -1;
    if (of[3] % (int64_t)sizeof(struct sock_filter) || of[3] / (int64_t)sizeof(struct sock_filter) > BPF_MAXINSNS)
        return broken();
    struct sock_fprog program = {
        .len = (unsigned short)(of[3] / (int64_t)sizeof(struct sock_filter)),
        .filter = (struct sock_filter *)(void *)instructions,
    };
    long result = syscall(SYS_seccomp, SET_MODE_FILTER, of[0], &program);
    if (result < 0 && errno == EINVAL && of[1] >= 0)
        result = syscall(SYS_seccomp, SET_MODE_FILTER, of[1], &program);
    return result < 0 ? -1 : 0;
}

/* the last capability, a bit for each that is kept */
static int drop_bounding_set(const int64_t *of)
{
    if (of[0] < 0 || of[0] > LAST_CAPABILITY)
        return broken();
    for (int64_t capability = 0; capability <= of[0]; capability++)
        if (!((uint64_t)of[1] >> capability & 1) && prctl(PR_CAPBSET_DROP, (unsigned long)capability, 0, 0, 0))
            return -1;
    return 0;
}

/* ---- the monitor ----------------------------------------------------------------------------------------------- */

/* tells: whether the monitor does nothing before it knows that this is what is waited for */
static int await(int channel, bool tells)
{
    struct content content;
    if (tells && channel >= 0)
        send_message(channel, (char[]){WAITING}, 1);
    if (channel >= 0 && receive_word(channel, &content) != GO)
        _exit(OURS);
    return 0;
}

static int be_attended(int channel)
{
    struct pollfd end = {.fd = channel};
    if (channel >= 0 && poll(&end, 1, 0) > 0 && end.revents & POLLHUP)
        _exit(OURS);
    return 0;
}

/* slot: its descriptor is the monitor's from then on as well */
static int hand_over(struct script *script, const int64_t *of)
{
    const int64_t *place = slot(script, of[0]);
    if (!place || script->channel < 0)
        return broken();
    return send_descriptor(script->channel, TAP, (int)*place);
}

/* ---- a whole system -------------------------------------------------------------------------------------------- */

static int descriptor(struct script *script, int64_t number)
{
    const int64_t *place = slot(script, number);
    return place ? (int)*place : -1;
}

/* slots of the pseudoterminal's two sides */
static int keep_console(struct script *script, const int64_t *of)
{
    script->system.master = descriptor(script, of[0]);
    script->system.slave = descriptor(script, of[1]);
    return script->system.master < 0 || script->system.slave < 0 ? broken() : 0;
}

/* Be counted, from the fork to here, apart from the system, whose root of control groups may hold no process. */
static int step_aside(struct system *system, int aside)
{
    char word = 0;
    if (write(aside, "0", 1) != 1)
        return -1;
    close(aside);
    /* Not a word: it has told the monitor what failed. */
    if (write(system->told, &word, 1) != 1 || read(system->told, &word, 1) != 1) {
        end_system(system);
        _exit(OURS);
    }
    return 0;
}

/* the signal that asks the system to end; slots: where this process is counted, and the others that it starts; the root
 * of the control groups; the system's program and its length */
static int split(struct script *script, const int64_t *of)
{
    struct system *system = &script->system;
    int ends[2];
    char word;
    const int aside = descriptor(script, of[1]);
    system->logins = descriptor(script, of[2]);
    system->groups = descriptor(script, of[3]);
    system->request = (const uint8_t *)text(script, of[4], of[5]);
    system->request_size = (size_t)of[5];
    system->stop_signal = (int)of[0];
    if (!script->fork || system->is_whole || !system->request)
        return broken();
    if (unshare(CLONE_NEWPID) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return -1;
    system->is_whole = true;
    system->init = script->fork();
    if (system->init < 0)
        return -1;
    system->told = ends[system->init ? 0 : 1];
    close(ends[system->init ? 1 : 0]);
    if (system->init) {
        system->skips = true;
        return step_aside(system, aside);
    }
    close(aside);
    if (read(system->told, &word, 1) != 1)
        _exit(OURS);
    return 0;
}

static int end_split(struct script *script)
{
    struct system *system = &script->system;
    if (!system->is_whole)
        return broken();
    system->skips = false;
    return system->init || write(system->told, "", 1) == 1 ? 0 : -1;
}

static int carry_out(struct script *script, const struct record *record)
{
    const int64_t *of = record->arguments;
    switch (record->step) {
    case STEP_CALL:
        return make_call(script, record);
    case STEP_MAKE:
        return make(script, of);
    case STEP_PLACE:
        return open_place(script, record);
    case STEP_EXPECT:
        return expect(script, of);
    case STEP_GIVE:
        return give_tree(script, of);
    case STEP_ALLOW:
        return allow_path(script, of);
    case STEP_ALLOW_ROOT:
        return allow_root(script, of);
    case STEP_FILTER:
        return load_filter(script, of);
    case STEP_BOUND:
        return drop_bounding_set(of);
    case STEP_WRITE:
        return write_file(script, of);
    case STEP_DEVICE:
        return note_device(script, record);
    case STEP_EMPTY:
        return expect_empty(script, of);
    case STEP_AWAIT:
        return await(script->channel, of[0]);
    case STEP_ALIVE:
        return be_attended(script->channel);
    case STEP_HAND:
        return hand_over(script, of);
    case STEP_CONSOLE:
        return keep_console(script, of);
    case STEP_SPLIT:
        return split(script, of);
    case STEP_READY:
        return await_address(script, of);
    case STEP_MADE:
        return end_split(script);
    default:
        return broken();
    }
}

void script_start(struct script *script)
{
    for (int i = 0; i < SLOTS; i++)
        script->slots[i] = -1;
    script->system.master = script->system.slave = script->system.groups = script->system.logins = -1;
}

bool script_run(struct script *script, struct failure *failure)
{
    /* What is made gets its mode exactly. */
    mode_t before = umask(0);
    for (size_t i = 0; i < script->count; i++) {
        if (script->system.skips && script->records[i].step != STEP_MADE)
            continue;
        if (carry_out(script, &script->records[i])) {
            failure->record = (uint32_t)i;
            failure->number = errno;
            umask(before);
            return false;
        }
    }
    umask(before);
    return true;
}
