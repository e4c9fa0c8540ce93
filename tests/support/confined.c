/* What can still be done behind the forwarder's walls: each attempt prints its name and what came of it.
 *
 * Built with native/forwarder/confine.c by the tests. Argument: a file outside the directories it may read. */
#define _GNU_SOURCE
#include "../../ssh2container/native/forwarder/forwarder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct forwarder forwarder = {.errors = 2};

static void tell(const char *name, long result)
{
    char line[128];
    const int size = snprintf(line, sizeof line, "%s %s\n", name, result < 0 ? strerrorname_np(errno) : "works");
    (void)!write(1, line, (size_t)size);
}

int main(int count, char **words)
{
    bool landlock;
    const struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(9)};
    char byte;
    struct iovec piece = {&byte, 1};
    const int bound = socket(AF_INET, SOCK_STREAM, 0);
    const char *wrong = confine_begin();
    wrong = wrong ? wrong : confine_limit();
    wrong = wrong ? wrong : confine_finish(&landlock);
    if (count != 2 || wrong) {
        dprintf(1, "%s: %s\n", wrong ? wrong : "usage", strerror(errno));
        return 1;
    }
    tell("landlock", landlock ? 0 : -1);
    tell("read-resolver", open("/etc/resolv.conf", O_RDONLY));
    tell("connect-socket", socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    tell("datagram", sendto(socket(AF_INET, SOCK_DGRAM, 0), "", 0, 0, (const struct sockaddr *)&any, sizeof any));
    tell("memory", malloc(1 << 20) ? 0 : -1);
    tell("read-elsewhere", open(words[1], O_RDONLY));
    tell("list", open("/etc", O_RDONLY | O_DIRECTORY));
    tell("write", open("/etc/resolv.conf", O_WRONLY));
    tell("make", open("/tmp/made-by-the-forwarder", O_RDONLY | O_CREAT, 0600));
    tell("execute", execl("/bin/true", "true", NULL));
    tell("fork", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    tell("signal", kill(getppid(), 0));
    tell("signal-thread", syscall(SYS_tgkill, getppid(), getppid(), 0));
    tell("trace", ptrace(PTRACE_SEIZE, getppid(), 0, 0));
    tell("peek", process_vm_readv(getppid(), &piece, 1, &piece, 1, 0));
    tell("listen", bind(bound, (const struct sockaddr *)&any, sizeof any));
    tell("listen-without-port", listen(bound, 1));
    tell("local-socket", socket(AF_UNIX, SOCK_STREAM, 0));
    tell("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
    tell("packets", socket(AF_PACKET, SOCK_RAW, 0));
    tell("code", mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
    tell("type-ahead", ioctl(0, TIOCSTI, "x"));
    tell("namespace", syscall(SYS_unshare, 0x10000000));
    tell("dumpable", prctl(PR_SET_DUMPABLE, 1));
    tell("limits", syscall(SYS_prlimit64, 0, 0, NULL, NULL));
    return 0;
}
