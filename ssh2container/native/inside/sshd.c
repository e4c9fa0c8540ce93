/* What makes the host's own sshd the server of one session, inside its container; preloaded (ld.so(8)).
 *
 * sshd is made to serve all accounts of a machine as root. Here it serves one, the session's, with that one's rights.
 * Where it asks who it is and whom it serves, it is told what this container knows, and what is read nowhere else:
 *
 * - Whatever name the client gives, the account is the session's own, without a password: the connection in which this
 *   one runs has authenticated its client already, and nobody else has its descriptors (docs/security.md).
 * - Root inside holds no right over other ids, or only those of its map, so sshd is never to change any: it sees a uid
 *   that is not 0, as if an ordinary user had started it, and leaves ids, groups and root directory as they are.
 * - The private host key comes in a variable, not in a file, so that a container that exists already needs nothing.
 * - What the shell of a session gets is the environment of every session of the policy, not sshd's own idea of it.
 *
 * What the kernel enforces is not touched: none of this gives a process more than it has.
 *
 * Written for OpenSSH 9.2 to 10 (session.c, auth.c, auth-passwd.c, sshpty.c, audit-linux.c; from 9.8 on sshd-session,
 * later sshd-auth inherit the preloading). Built by native/build.sh; ssh2container/plan/forwarding.py starts it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <shadow.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEY_FILE "/run/ssh2container/host_key" /* HOST_KEY in ssh2container/plan/forwarding.py; no such file exists */
#define KEY_VARIABLE "SSH2CONTAINER_HOST_KEY"
#define EXPORTED __attribute__((visibility("default")))

enum { NOT_ROOT = 65533, TERMINAL_OWNER_IS_RIGHT = 0, MOST_VARIABLES = 4096 };

static struct passwd account;

static uid_t shown(long uid)
{
    return uid == 0 ? NOT_ROOT : (uid_t)uid;
}

EXPORTED uid_t getuid(void)
{
    return shown(syscall(SYS_getuid));
}

EXPORTED uid_t geteuid(void)
{
    return shown(syscall(SYS_geteuid));
}

static char *variable(const char *name, char *otherwise)
{
    char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static struct passwd *the_account(void)
{
    account.pw_name = variable("USER", "user");
    account.pw_passwd = "";
    account.pw_uid = getuid();
    account.pw_gid = getgid();
    account.pw_gecos = "";
    account.pw_dir = variable("HOME", "/");
    account.pw_shell = variable("SHELL", "/bin/sh");
    /* An image without any shell can still be forwarded into; sshd asks for a program there. */
    if (access(account.pw_shell, X_OK))
        account.pw_shell = "/proc/self/exe";
    return &account;
}

EXPORTED struct passwd *getpwnam(const char *name)
{
    (void)name;
    return the_account();
}

EXPORTED struct passwd *getpwuid(uid_t uid)
{
    (void)uid;
    return the_account();
}

/* The shadow entry of an account that is neither locked nor expires (shadow(5): -1 is an empty field). */
EXPORTED struct spwd *getspnam(const char *name)
{
    static struct spwd entry;
    entry = (struct spwd){
        .sp_namp = (char *)name,
        .sp_pwdp = "",
        .sp_lstchg = -1,
        .sp_min = -1,
        .sp_max = -1,
        .sp_warn = -1,
        .sp_inact = -1,
        .sp_expire = -1,
    };
    return &entry;
}

/* The kernel's audit belongs to the host; sshd takes this answer for a kernel without it, any other for a failure. */
EXPORTED int audit_open(void);
EXPORTED int audit_open(void)
{
    errno = EPROTONOSUPPORT;
    return -1;
}

/* A terminal belongs to who opened it (devpts); its group is one that the map may not have. */
EXPORTED int chown(const char *path, uid_t owner, gid_t group)
{
    if (strncmp(path, "/dev/pts/", 9) == 0)
        return TERMINAL_OWNER_IS_RIGHT;
    return (int)syscall(SYS_fchownat, AT_FDCWD, path, owner == NOT_ROOT ? 0 : owner, group, 0);
}

/* A file in memory with the private host key, for its only reader. */
static int open_key(void)
{
    const char *key = getenv(KEY_VARIABLE);
    if (!key) {
        errno = ENOENT;
        return -1;
    }
    size_t left = strlen(key);
    int file = memfd_create("host_key", MFD_CLOEXEC);
    if (file < 0 || fchmod(file, S_IRUSR | S_IWUSR))
        return -1;
    while (left) {
        ssize_t written = write(file, key, left);
        if (written <= 0) {
            close(file);
            return -1;
        }
        key += written;
        left -= (size_t)written;
    }
    return lseek(file, 0, SEEK_SET) ? -1 : file;
}

static int open_other(const char *path, int flags, mode_t mode)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

static int open_any(const char *path, int flags, mode_t mode)
{
    return strcmp(path, KEY_FILE) == 0 ? open_key() : open_other(path, flags, mode);
}

static mode_t mode_of(int flags, va_list rest)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

EXPORTED int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return open_any(path, flags, mode);
}

EXPORTED int open64(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return open_any(path, flags, mode);
}

/* What programs compiled with _FORTIFY_SOURCE call where no mode is given. */
EXPORTED int __open_2(const char *path, int flags);
EXPORTED int __open_2(const char *path, int flags)
{
    return open_any(path, flags, 0);
}
EXPORTED int __open64_2(const char *path, int flags);
EXPORTED int __open64_2(const char *path, int flags)
{
    return open_any(path, flags, 0);
}

static int begins(const char *text, const char *name, size_t length)
{
    return strncmp(text, name, length) == 0 && text[length] == '=';
}

static int is_one_of(const char *text, const char *const *names)
{
    for (; *names; names++)
        if (begins(text, *names, strlen(*names)))
            return 1;
    return 0;
}

/* sshd replaces its own environment by the new one before it calls execve(2), so ours was kept at the start. */
static char **kept;

__attribute__((constructor)) static void keep(void)
{
    static const char *const ours[] = {"LD_PRELOAD", KEY_VARIABLE, NULL};
    extern char **environ;
    size_t count = 0, to = 0;
    /* No other program of the user's looks into it, as where root has started it: it holds the client's connection. */
    prctl(PR_SET_DUMPABLE, 0);
    while (environ[count])
        count++;
    kept = calloc(count + 1, sizeof *kept);
    for (size_t at = 0; kept && at < count; at++)
        if (!is_one_of(environ[at], ours))
            kept[to++] = strdup(environ[at]);
}

/* Adds the session's variables to those that sshd has made, and has the session's where both have one. */
EXPORTED int execve(const char *path, char *const words[], char *const variables[])
{
    /* These sshd knows better: they belong to one terminal or channel. */
    static const char *const of_channel[] = {
        "TERM", "DISPLAY", "SSH_TTY", "SSH_AUTH_SOCK", "SSH_ORIGINAL_COMMAND", NULL,
    };
    char *merged[MOST_VARIABLES + 1];
    size_t count = 0;
    for (size_t at = 0; variables && variables[at] && count < MOST_VARIABLES; at++)
        merged[count++] = variables[at];
    for (size_t at = 0; kept && kept[at]; at++) {
        size_t length = strcspn(kept[at], "="), to = 0;
        while (to < count && !begins(merged[to], kept[at], length))
            to++;
        if (to < count && is_one_of(kept[at], of_channel))
            continue;
        if (to < MOST_VARIABLES)
            merged[to] = kept[at];
        if (to == count && count < MOST_VARIABLES)
            count++;
    }
    merged[count] = NULL;
    return (int)syscall(SYS_execve, path, words, merged);
}
