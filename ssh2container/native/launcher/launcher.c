/* The login shell's first instruction: hands the caller's environment on as data, not as an environment.
 *
 * Whatever a client or a prepared home put into LD_PRELOAD, LD_AUDIT, PYTHONSTARTUP, OPENSSL_CONF, GCONV_PATH,
 * LOCPATH or BASH_ENV acts on the program that is started with it. This program is static, so none of them acts on
 * it, and it starts the pinned interpreter with an empty environment. The variables lie in an anonymous file on
 * descriptor 3, as NAME=VALUE, each ended by a zero byte; the policy decides which of them reach the container.
 *
 * The installer builds it (native/build.sh) and installs the script that it runs as /usr/lib/ssh2container/login.
 * Where there is no C compiler, or it cannot link statically, bin/ssh2container itself is /usr/bin/ssh2container. Both
 * behave the same (tests/session/test_launcher.py).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define INTERPRETER "/usr/bin/python3"
#define SCRIPT "/usr/lib/ssh2container/login"
#define VERSIONS "/usr/lib/ssh2container/"

enum { HANDED = 3, OURS = 125, REFUSED = 126 };

static _Noreturn void fail(const char *line, int status)
{
    (void)!write(2, line, strlen(line));
    _exit(status);
}

/* A client can type ^\ before its terminal is raw, and no limit but 1 keeps that from starting the host's core handler
 * as root (core(5)). Where the login's hard limit is 0 nothing can be set; the plan looks at it (plan/host.py). */
static void keep_from_core_handlers(void)
{
    setrlimit(RLIMIT_CORE, &(struct rlimit){1, 1});
}

static void check_standard_descriptors(void)
{
    for (int number = 0; number < HANDED; number++) {
        struct stat found;
        if (fstat(number, &found) && open("/dev/null", O_RDWR) != number)
            fail("ssh2container: cannot open /dev/null\n", OURS);
        else if (!fstat(number, &found) && (S_ISDIR(found.st_mode) || S_ISBLK(found.st_mode)))
            fail("ssh2container: cannot run with a directory or a disk as standard descriptor: it would be a way"
                 " out of the container; redirect it from a file, a pipe or a terminal\n",
                 REFUSED);
    }
}

static void hand_over(char **variables)
{
    static const char failed[] = "ssh2container: cannot keep the environment: a limit on open files or on the size of"
                                 " files is too small; raise it (ulimit -n, ulimit -f)\n";
    /* What the limit on sizes forbids is an error to report, not death without a word (setrlimit(2)). */
    signal(SIGXFSZ, SIG_IGN);
    if (close_range(HANDED, ~0U, 0) || memfd_create("environment", 0) != HANDED)
        fail(failed, OURS);
    for (; *variables; variables++) {
        size_t left = strlen(*variables) + 1;
        for (const char *at = *variables; left;) {
            ssize_t done = write(HANDED, at, left);
            if (done <= 0)
                fail(failed, OURS);
            at += done, left -= (size_t)done;
        }
    }
    lseek(HANDED, 0, SEEK_SET);
}

/* Return the variable that shortens the interpreter's start (start.c), NULL where that was not built. */
static char *shortened(void)
{
    static char variable[sizeof "LD_PRELOAD=" VERSIONS + NAME_MAX + sizeof "/start.so"] = "LD_PRELOAD=" VERSIONS;
    char *path = variable + strlen("LD_PRELOAD="), *version = path + strlen(VERSIONS);
    ssize_t length = readlink(VERSIONS "current", version, NAME_MAX);
    if (length <= 0)
        return NULL;
    strcpy(version + length, "/start.so");
    return access(path, R_OK) ? NULL : variable;
}

int main(int count, char **words, char **variables)
{
    keep_from_core_handlers();
    char *own[] = {shortened(), NULL};
    char **command = calloc((size_t)count + 4, sizeof *command);
    check_standard_descriptors();
    hand_over(variables);
    if (!command)
        fail("ssh2container: out of memory\n", OURS);
    command[0] = INTERPRETER, command[1] = "-ISB", command[2] = SCRIPT;
    for (int i = 1; i < count; i++)
        command[i + 2] = words[i];
    execve(INTERPRETER, command, own);
    fail("ssh2container: cannot start " INTERPRETER "; an administrator runs: ssh2containerctl doctor\n", OURS);
}
