/* What the forwarder gives up before the first packet: libslirp reads what hostile programs write.
 *
 * Afterwards it can open sockets of IPv4 and IPv6 to send and to connect, use what it has open, and read the directory
 * of resolv.conf; not listen, execute, look at or signal other processes, or get more memory or descriptors. */
#define _GNU_SOURCE
#include "forwarder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the numbers of system calls are known for x86_64 and aarch64"
#endif

enum {
    FIRST_OTHER = 5,     /* descriptor behind those that were handed over */
    TURN_NS = 300000,    /* a few windows of data; the kernel's own is 3 ms */
    KEPT_FOR_OURS = 200, /* questions, pings, files */
    MEMORY = 640 << 20,  /* of address space: a connection takes 256 kB of it, and a frame 64 */
};

_Static_assert(2 * KEPT_FOR_OURS == 400, "what confine_limit() says");

/* ---- at the start --------------------------------------------------------------------------------------------------
 */

static void reset_signals(void)
{
    static const struct {
        unsigned long handler, flags, restorer, mask;
    } by_default; /* as the kernel has it: the C library keeps two signals to itself, and posix_spawn ignores them */
    sigset_t none;
    for (int number = 1; number < NSIG; number++)
        syscall(SYS_rt_sigaction, number, &by_default, NULL, sizeof by_default.mask);
    signal(SIGPIPE, SIG_IGN); /* libslirp sends to peers that may be gone */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Ask for short turns, as both sides wait for this: among others that want the processor it comes sooner and goes
 * sooner, and has no more of it in all. Linux has that since 6.12 (sched_setattr(2)), and before it changes nothing. */
static void take_short_turns(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime_ns, deadline_ns, period_ns;
    } how;
    if (syscall(SYS_sched_getattr, 0, &how, sizeof how, 0) || how.policy != SCHED_OTHER)
        return;
    how.runtime_ns = TURN_NS;
    syscall(SYS_sched_setattr, 0, &how, 0);
}

const char *confine_begin(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct nothing[_LINUX_CAPABILITY_U32S_3] = {0};
    reset_signals();
    take_short_turns();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL))
        return "cannot be bound to the life of its parent";
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0))
        return "cannot refuse new privileges";
    if (syscall(SYS_close_range, FIRST_OTHER, ~0U, 0))
        return "cannot close other descriptors";
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) || syscall(SYS_capset, &header, nothing))
        return "cannot drop capabilities";
    return NULL;
}

static bool limit(int what, rlim_t most)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)what, &now))
        return false;
    if (now.rlim_max != RLIM_INFINITY && now.rlim_max < most)
        most = now.rlim_max;
    return !setrlimit((__rlimit_resource_t)what, &(struct rlimit){most, most});
}

const char *confine_limit(void)
{
    struct rlimit descriptors;
    if (!limit(RLIMIT_NOFILE, DESCRIPTORS) || !limit(RLIMIT_AS, MEMORY) || !limit(RLIMIT_NPROC, 0) ||
        !limit(RLIMIT_FSIZE, 0) || !limit(RLIMIT_MEMLOCK, 0) || getrlimit(RLIMIT_NOFILE, &descriptors))
        return "cannot limit memory and descriptors";
    if (descriptors.rlim_cur < 2 * KEPT_FOR_OURS) {
        errno = EMFILE;
        return "the limit on open files (nofile) is below 400";
    }
    forwarder.most_sockets = (size_t)descriptors.rlim_cur - KEPT_FOR_OURS;
    return NULL;
}

/* ---- Landlock (landlock(7)) ----------------------------------------------------------------------------------------
 */

enum { CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446, PATH_BENEATH = 1, READ_FILE = 1 << 2 };

/* Everything that the kernel's version of Landlock can refuse. */
static int make_ruleset(void)
{
    static const uint64_t files[] = {0, 0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF};
    const int known = (int)(sizeof files / sizeof *files) - 1;
    const long version = syscall(CREATE_RULESET, NULL, 0, 1);
    if (version < 1)
        return -1;
    const struct {
        uint64_t files, ports, scopes;
    } all = {files[version < known ? version : known], version >= 4 /* to listen */, version >= 6 ? 3 : 0};
    const size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    return (int)syscall(CREATE_RULESET, &all, size, 0);
}

static bool let_read(int ruleset, const char *directory)
{
    struct {
        uint64_t allowed;
        int32_t parent;
    } __attribute__((packed)) rule = {READ_FILE, open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (rule.parent < 0)
        return errno == ENOENT || errno == EACCES || errno == ENOTDIR;
    const long result = syscall(ADD_RULE, ruleset, PATH_BENEATH, &rule, 0);
    close(rule.parent);
    return !result;
}

/* The file is replaced when it changes, so what may be read is its directory, and those where others keep theirs. */
static const char *restrict_files(bool *landlock)
{
    static const char *const homes[] = {"/etc", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager",
                                        "/run/connman"};
    const int ruleset = make_ruleset();
    *landlock = ruleset >= 0;
    if (!*landlock)
        return errno == ENOSYS || errno == EOPNOTSUPP ? NULL : "cannot use Landlock";
    bool made = true;
    for (size_t i = 0; i < sizeof homes / sizeof *homes; i++)
        made = made && let_read(ruleset, homes[i]);
    char *real = realpath("/etc/resolv.conf", NULL);
    if (real) {
        *strrchr(real, '/') = 0;
        made = made && let_read(ruleset, *real ? real : "/");
        free(real);
    }
    if (!made || syscall(RESTRICT_SELF, ruleset, 0))
        return "cannot restrict itself with Landlock";
    close(ruleset);
    return NULL;
}

/* ---- system calls (seccomp(2)) -------------------------------------------------------------------------------------
 */

/* Those that take any arguments. */
static const uint16_t calls[] = {
    SYS_read,         SYS_write,        SYS_writev,     SYS_recvfrom,   SYS_recvmsg,         SYS_sendto,
    SYS_sendmsg,      SYS_ppoll,        SYS_connect,    SYS_accept,     SYS_accept4,         SYS_getsockname,
    SYS_getpeername,  SYS_setsockopt,   SYS_getsockopt, SYS_shutdown,   SYS_close,           SYS_clock_gettime,
    SYS_munmap,       SYS_mremap,       SYS_brk,        SYS_madvise,    SYS_futex,           SYS_newfstatat,
    SYS_fstat,        SYS_lseek,        SYS_getrandom,  SYS_getpid,     SYS_gettid,          SYS_rt_sigprocmask,
    SYS_rt_sigaction, SYS_rt_sigreturn, SYS_exit,       SYS_exit_group, SYS_restart_syscall, SYS_close_range,
#ifdef SYS_poll
    SYS_poll,         SYS_stat,
#endif
};

enum { LONGEST_FILTER = 256, ALLOW = SECCOMP_RET_ALLOW, REFUSE = SECCOMP_RET_ERRNO | EPERM };

static struct sock_filter filter[LONGEST_FILTER];
static unsigned short filter_size;

static void add(unsigned code, unsigned yes, unsigned no, uint32_t value)
{
    if (filter_size < LONGEST_FILTER)
        filter[filter_size] = (struct sock_filter){(uint16_t)code, (uint8_t)yes, (uint8_t)no, value};
    filter_size++;
}

static void load(size_t offset)
{
    add(BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static void end_with(uint32_t result)
{
    add(BPF_RET | BPF_K, 0, 0, result);
}

static void load_argument(unsigned number)
{
    load(offsetof(struct seccomp_data, args) + 8 * number); /* the lower half: both architectures are little-endian */
}

/* One of a list of values for an argument of a call; then nothing else is asked. */
static void allow_values(long call, unsigned argument, uint32_t mask, const uint32_t *values, unsigned count)
{
    add(BPF_JMP | BPF_JEQ | BPF_K, 0, 3 + 2 * count, (uint32_t)call);
    load_argument(argument);
    add(BPF_ALU | BPF_AND | BPF_K, 0, 0, mask);
    for (unsigned i = 0; i < count; i++) {
        add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, values[i]);
        end_with(ALLOW);
    }
    end_with(REFUSE);
}

static const char *restrict_calls(void)
{
    static const uint32_t none[] = {0}, families[] = {AF_INET, AF_INET6};
    static const uint32_t requests[] = {FIONREAD, FIONBIO, SIOCGIFINDEX};
    static const uint32_t commands[] = {F_GETFD, F_SETFD, F_GETFL, F_SETFL};
    const uint32_t own[] = {(uint32_t)getpid()};
    load(offsetof(struct seccomp_data, arch));
    add(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, ARCHITECTURE);
    end_with(SECCOMP_RET_KILL_PROCESS);
    load(offsetof(struct seccomp_data, nr)); /* those of x32 have a bit more, and are on no list */
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, calls[i]);
        end_with(ALLOW);
    }
    allow_values(SYS_socket, 0, ~0U, families, 2);
    allow_values(SYS_ioctl, 1, ~0U, requests, 3);
    allow_values(SYS_fcntl, 1, ~0U, commands, 4);
    allow_values(SYS_openat, 2, O_ACCMODE | O_CREAT | O_TRUNC | O_PATH | (O_TMPFILE & ~O_DIRECTORY), none, 1);
    allow_values(SYS_mmap, 2, PROT_EXEC, none, 1);
    allow_values(SYS_mprotect, 2, PROT_EXEC, none, 1);
    allow_values(SYS_tgkill, 0, ~0U, own, 1); /* abort(3) */
    end_with(REFUSE);
    if (filter_size > LONGEST_FILTER) {
        errno = E2BIG;
        return "the filter of system calls is too long";
    }
    const struct sock_fprog program = {filter_size, filter};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? "cannot load its filter of system calls" : NULL;
}

const char *confine_finish(bool *landlock)
{
    const char *wrong = restrict_files(landlock);
    return wrong ? wrong : restrict_calls();
}
