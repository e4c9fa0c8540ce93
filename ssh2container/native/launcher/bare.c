/* The launcher's own C library: its start, and each system call that it makes.
 *
 * The start of a static program of glibc asks the processor what it can do, by some hundred CPUID instructions. On a
 * virtual machine each of them goes to the hypervisor, 0.2 ms together, and the launcher has no use for the answer.
 * launcher.c is plain C and can be linked with any other library; build.sh leaves this one out where the processor is
 * none of those below.
 *
 * Errors are -1 without errno, for which the launcher has no use either.
 */
#include <asm/unistd.h>
#include <elf.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>

struct stat;
struct rlimit;

enum { LAST_ERRNO = 4095 };
enum { READ_WRITE = 3, PRIVATE_ANONYMOUS = 0x22 }; /* mmap(2) */

/* What the stack protector compares: build.sh has it in this variable, as there is no thread's own memory. */
uintptr_t __stack_chk_guard;

/* Called by what the compiler hardens. */
_Noreturn void __stack_chk_fail(void);
_Noreturn void __chk_fail(void);
char *__strcpy_chk(char *to, const char *from, size_t size);
long __readlink_chk(const char *path, char *to, size_t size, size_t room);
void *memcpy(void *to, const void *from, size_t size);
_Noreturn void begin(long *stack);

int main(int count, char **words, char **variables);
_Noreturn void _exit(int status);
int access(const char *path, int mode);
void *calloc(size_t count, size_t size);
int close_range(unsigned first, unsigned last, int flags);
int execve(const char *path, char *const *words, char *const *variables);
int fstat(int descriptor, struct stat *found);
long lseek(int descriptor, long offset, int whence);
int memfd_create(const char *name, unsigned flags);
int open(const char *path, int flags, ...);
long readlink(const char *path, char *to, size_t size);
int setrlimit(unsigned resource, const struct rlimit *limit);
void (*signal(int number, void (*action)(int)))(int);
char *strcpy(char *to, const char *from);
size_t strlen(const char *text);
long write(int descriptor, const void *from, size_t size);

/* The kernel leaves the number of words, the words, the variables and the auxiliary vector on the stack. */
#if defined(__x86_64__)
__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");

static long call(long number, long a, long b, long c, long d, long e)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = 0;
    long result = number;
    __asm__ volatile("syscall"
                     : "+a"(result)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result < 0 && result >= -LAST_ERRNO ? -1 : result;
}
#elif defined(__aarch64__)
__asm__(".globl _start\n_start: mov x29, #0\n mov x30, #0\n mov x0, sp\n b begin\n");

static long call(long number, long a, long b, long c, long d, long e)
{
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = 0;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0 < 0 && x0 >= -LAST_ERRNO ? -1 : x0;
}
#endif

void begin(long *stack)
{
    char **words = (char **)(stack + 1), **variables = words + stack[0] + 1, **end = variables;
    while (*end)
        end++;
    for (Elf64_auxv_t *each = (Elf64_auxv_t *)(end + 1); each->a_type != AT_NULL; each++)
        if (each->a_type == AT_RANDOM) /* the first byte is zero, to end what overruns as a text */
            __stack_chk_guard = *(uintptr_t *)each->a_un.a_val << 8;
    _exit(main((int)stack[0], words, variables));
}

void _exit(int status)
{
    for (;;)
        call(__NR_exit_group, status, 0, 0, 0, 0);
}

void __stack_chk_fail(void)
{
    __builtin_trap();
}

void __chk_fail(void)
{
    __builtin_trap();
}

int access(const char *path, int mode)
{
    return (int)call(__NR_faccessat, AT_FDCWD, (long)path, mode, 0, 0);
}

void *calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    long made = call(__NR_mmap, 0, (long)bytes, READ_WRITE, PRIVATE_ANONYMOUS, -1);
    return made == -1 ? NULL : (void *)made;
}

int close_range(unsigned first, unsigned last, int flags)
{
    return (int)call(__NR_close_range, first, last, flags, 0, 0);
}

int execve(const char *path, char *const *words, char *const *variables)
{
    return (int)call(__NR_execve, (long)path, (long)words, (long)variables, 0, 0);
}

int fstat(int descriptor, struct stat *found)
{
    return (int)call(__NR_fstat, descriptor, (long)found, 0, 0, 0);
}

long lseek(int descriptor, long offset, int whence)
{
    return call(__NR_lseek, descriptor, offset, whence, 0, 0);
}

int memfd_create(const char *name, unsigned flags)
{
    return (int)call(__NR_memfd_create, (long)name, flags, 0, 0, 0);
}

int open(const char *path, int flags, ...)
{
    return (int)call(__NR_openat, AT_FDCWD, (long)path, flags, 0, 0);
}

long readlink(const char *path, char *to, size_t size)
{
    return call(__NR_readlinkat, AT_FDCWD, (long)path, (long)to, (long)size, 0);
}

long __readlink_chk(const char *path, char *to, size_t size, size_t room)
{
    if (size > room)
        __chk_fail();
    return readlink(path, to, size);
}

int setrlimit(unsigned resource, const struct rlimit *limit)
{
    return (int)call(__NR_prlimit64, 0, resource, (long)limit, 0, 0);
}

/* For SIG_IGN and SIG_DFL, which need no way back from a handler. */
void (*signal(int number, void (*action)(int)))(int)
{
    struct {
        void (*action)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } wanted = {action, 0, NULL, 0};
    call(__NR_rt_sigaction, number, (long)&wanted, 0, sizeof wanted.mask, 0);
    return NULL;
}

size_t strlen(const char *text)
{
    size_t length = 0;
    while (text[length])
        length++;
    return length;
}

void *memcpy(void *to, const void *from, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((char *)to)[i] = ((const char *)from)[i];
    return to;
}

char *strcpy(char *to, const char *from)
{
    return memcpy(to, from, strlen(from) + 1);
}

char *__strcpy_chk(char *to, const char *from, size_t room)
{
    if (strlen(from) >= room)
        __chk_fail();
    return strcpy(to, from);
}

long write(int descriptor, const void *from, size_t size)
{
    return call(__NR_write, descriptor, (long)from, (long)size, 0, 0);
}
