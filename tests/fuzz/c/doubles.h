/* Doubles of the system calls that the parsers make: what the kernel would answer comes from the fuzzer's input.
 *
 * Included before each of the product's files (cc -include). Every header that those need comes first, so that the
 * names below are changed in the code alone. tests/fuzz/run refuses an object that still calls something real.
 */
#ifndef DOUBLES_H
#define DOUBLES_H
#define _GNU_SOURCE

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- the input ------------------------------------------------------------------------------------------------- */

extern jmp_buf fuzz_over; /* where the code under test goes when it ends the process, or the input is used up */

void fuzz_begin(const uint8_t *data, size_t size);
void fuzz_end(void); /* frees what the code under test has left to its exec or exit */
bool fuzz_done(void);
uint8_t fuzz_byte(void); /* 0 when the input is used up */
void fuzz_bytes(void *into, size_t size);
uint8_t *fuzz_block(size_t size); /* memory of exactly this size, freed by fuzz_end() */
uint8_t *fuzz_rest(size_t most, size_t *size);
char *fuzz_text(size_t most);
int fuzz_open(void); /* a descriptor */
_Noreturn void fuzz_fail(const char *what);

/* What belongs to one target. */
extern uint8_t *fuzz_texts; /* a script's texts: system calls that get one may write to the margin behind it */
extern size_t fuzz_texts_size;
extern const void *fuzz_file; /* what mmap() finds in a file */
extern size_t fuzz_file_size;
extern bool fuzz_counts; /* whether poll() checks that no descriptor is lost */
pid_t fuzz_fork(void);

/* ---- the calls ------------------------------------------------------------------------------------------------- */

_Noreturn void fuzz__exit(int status);
long fuzz_syscall(long number, ...);
int fuzz_any(void);        /* 0, or an error */
int fuzz_descriptor(void); /* a new one, or an error */
int fuzz_stat(struct stat *found);
int fuzz_close(int descriptor);
void fuzz_close_range(unsigned first, unsigned last);
ssize_t fuzz_write(int descriptor, const void *data, size_t size);
ssize_t fuzz_read(int descriptor, void *data, size_t size);
const char *fuzz_path(const char *path); /* reads it all */
DIR *fuzz_opendir(int descriptor);       /* takes it when there is no error */
struct dirent *fuzz_readdir(DIR *listing);
int fuzz_dirfd(DIR *listing);
int fuzz_closedir(DIR *listing);
int fuzz_poll(struct pollfd *polled, nfds_t count);
ssize_t fuzz_recvmsg(int end, struct msghdr *message, int flags);
ssize_t fuzz_send(int end, const void *data, size_t size, int flags);
ssize_t fuzz_sendmsg(int end, const struct msghdr *message, int flags);
int fuzz_credentials(void *who, socklen_t *size);
pid_t fuzz_waitpid(int *status, int flags);
int fuzz_kill(pid_t pid, int number);
int fuzz_pipe(int *ends);
int fuzz_clock(struct timespec *now);
void *fuzz_mmap(size_t size);
int fuzz_seals(void);
int fuzz_ioctl(unsigned long request, ...);
int fuzz_execve(const char *path, char *const *words, char *const *variables);
ssize_t fuzz_readlink(char *into, size_t size);
void *fuzz_malloc(size_t size);
void *fuzz_reallocarray(void *old, size_t count, size_t size);
char *fuzz_strdup(const char *text);
int fuzz_asprintf(char **into, const char *form, ...) __attribute__((format(printf, 2, 3)));
void fuzz_free(void *block);

#ifndef FUZZ_ITSELF
#define _exit(status) fuzz__exit(status)
#define syscall(...) fuzz_syscall(__VA_ARGS__)
#define mkdir(path, mode) (fuzz_path(path), (void)(mode), fuzz_any())
#define mkdirat(directory, path, mode) (fuzz_path(path), fuzz_any())
#define chmod(path, mode) (fuzz_path(path), (void)(mode), fuzz_any())
#define fchmod(descriptor, mode) ((void)(descriptor), (void)(mode), fuzz_any())
#define symlink(target, path) (fuzz_path(target), fuzz_path(path), fuzz_any())
#define unlink(path) (fuzz_path(path), fuzz_any())
#define unlinkat(directory, path, flags) (fuzz_path(path), (void)(directory), fuzz_any())
#define fchownat(directory, path, uid, gid, flags) (fuzz_path(path), (void)(uid), (void)(gid), fuzz_any())
#define fchown(descriptor, uid, gid) fuzz_any()
#define stat(path, found) (fuzz_path(path), fuzz_stat(found))
#define lstat(path, found) (fuzz_path(path), fuzz_stat(found))
#define fstat(descriptor, found) ((void)(descriptor), fuzz_stat(found))
#define fstatat(directory, path, found, flags) (fuzz_path(path), fuzz_stat(found))
#define access(path, how) (fuzz_path(path), fuzz_any())
#define open(path, ...) (fuzz_path(path), fuzz_descriptor())
#define openat(directory, path, ...) (fuzz_path(path), (void)(directory), fuzz_descriptor())
#define close(descriptor) fuzz_close(descriptor)
#define close_range(first, last, flags) (fuzz_close_range(first, last), 0)
#define write(descriptor, data, size) fuzz_write(descriptor, data, size)
#define read(descriptor, data, size) fuzz_read(descriptor, data, size)
#define pread(descriptor, data, size, offset) fuzz_read(descriptor, data, size)
#define pwrite(descriptor, data, size, offset) fuzz_write(descriptor, data, size)
#define lseek(descriptor, offset, whence) fuzz_any()
#define opendir(path) (fuzz_path(path), fuzz_opendir(-1))
#define fdopendir(descriptor) fuzz_opendir(descriptor)
#define readdir(listing) fuzz_readdir(listing)
#define dirfd(listing) fuzz_dirfd(listing)
#define closedir(listing) fuzz_closedir(listing)
#define prctl(...) fuzz_any()
#define umask(mode) ((void)(mode), (mode_t)022)
#define chdir(path) (fuzz_path(path), fuzz_any())
#define setsid() 1
#define setrlimit(...) fuzz_any()
#define getrlimit(what, limit) (memset(limit, 0, sizeof *(limit)), fuzz_any())
#define poll(polled, count, timeout) ((void)(timeout), fuzz_poll(polled, count))
#define recvmsg(end, message, flags) fuzz_recvmsg(end, message, flags)
#define send(end, data, size, flags) fuzz_send(end, data, size, flags)
#define sendmsg(end, message, flags) fuzz_sendmsg(end, message, flags)
#define socket(family, kind, protocol) fuzz_descriptor()
#define bind(end, address, size) ((void)fuzz_write(end, address, size), fuzz_any())
#define nanosleep(pause, left) ((void)(pause), 0)
#define accept4(listener, address, size, flags) ((void)(listener), fuzz_descriptor())
#define getsockopt(end, level, name, who, size) ((void)(end), fuzz_credentials(who, size))
#define signalfd(descriptor, set, flags) ((void)(set), fuzz_descriptor())
#define sigprocmask(how, set, before) ((void)(set), 0)
#define sigaction(number, new_action, before) ((void)(number), (void)(new_action), 0)
#define signal(number, action) ((void)(number), (void)(action))
#define waitpid(pid, status, flags) fuzz_waitpid(status, flags)
#define kill(pid, number) fuzz_kill(pid, number)
#define pipe2(ends, flags) fuzz_pipe(ends)
#define socketpair(family, kind, protocol, ends) fuzz_pipe(ends)
#define unshare(flags) ((void)(flags), fuzz_any())
#define dup2(from, to) ((void)(from), (void)(to), fuzz_any())
#define dup3(from, to, flags) ((void)(from), (void)(to), fuzz_any())
#define fcntl(descriptor, ...) ((void)(descriptor), fuzz_seals())
#define isatty(descriptor) ((void)(descriptor), fuzz_byte() & 1)
#define ioctl(descriptor, ...) ((void)(descriptor), fuzz_ioctl(__VA_ARGS__))
#define clock_gettime(clock, now) fuzz_clock(now)
#define mmap(at, size, protection, flags, file, offset) ((void)(at), (void)(file), fuzz_mmap(size))
#define memfd_create(name, flags) (fuzz_byte() & 1 ? 3 : 4)
#define execve(path, words, variables) fuzz_execve(path, words, variables)
#define readlink(path, into, size) (fuzz_path(path), fuzz_readlink(into, size))
#define malloc(size) fuzz_malloc(size)
#define calloc(count, size) memset(fuzz_malloc((count) * (size)), 0, (count) * (size))
#define reallocarray(old, count, size) fuzz_reallocarray(old, count, size)
#define strdup(text) fuzz_strdup(text)
#define asprintf(into, ...) fuzz_asprintf(into, __VA_ARGS__)
#define free(block) fuzz_free(block)
#endif
#endif
