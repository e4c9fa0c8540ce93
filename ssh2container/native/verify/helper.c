/* What only an executed program can show; the probes of `ssh2containerctl verify` start it from memory.
 *
 * The installer builds it without any library (native/build.sh), as VERSION/verify-helper. Without a compiler the
 * probes that need it report "skipped".
 *
 * helper ids          real and effective ids, and whether the kernel asked for secure execution
 * helper descriptors  the open descriptors above 2
 * helper int80        one system call through the 32-bit gate; ended by SIGSYS where the filter works
 * helper crash        die by SIGSEGV
 * Exit status 77: this machine has no such thing.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

enum { NOT_HERE = 77, LAST_DESCRIPTOR = 1024 };

static int ids(void)
{
    printf("%u %u %u %u secure %lu\n", getuid(), geteuid(), getgid(), getegid(), getauxval(AT_SECURE));
    return 0;
}

static int descriptors(void)
{
    for (int number = 3; number < LAST_DESCRIPTOR; number++) {
        if (fcntl(number, F_GETFD) >= 0) {
            printf("%d\n", number);
        }
    }
    return 0;
}

static int int80(void)
{
#if defined(__x86_64__) || defined(__i386__)
    long result = 20; /* getpid in the 32-bit table */
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    printf("getpid is %ld\n", result);
    return 0;
#else
    puts("only x86 has int 0x80");
    return NOT_HERE;
#endif
}

static int crash(void)
{
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    return 1;
}

int main(int count, char **words)
{
    static const struct {
        const char *name;
        int (*run)(void);
    } known[] = {
        {"ids", ids},
        {"descriptors", descriptors},
        {"int80", int80},
        {"crash", crash},
    };
    for (unsigned i = 0; count == 2 && i < sizeof known / sizeof *known; i++) {
        if (!strcmp(words[1], known[i].name)) {
            return known[i].run();
        }
    }
    return 2;
}
