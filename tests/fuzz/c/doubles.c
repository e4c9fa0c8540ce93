/* The doubles (doubles.h). */
#define FUZZ_ITSELF
#include "doubles.h"

#include <stdarg.h>

enum { FIRST = 100, DESCRIPTORS = 48, CHILDREN = 32, FIRST_CHILD = 2, MARGIN = 128, LISTINGS = 66 };
enum { LANDLOCK_ADD_RULE = 445, OPENAT2 = 437, SYSTEM_CALL_ARGUMENTS = 6 };

jmp_buf fuzz_over;
uint8_t *fuzz_texts;
size_t fuzz_texts_size;
const void *fuzz_file;
size_t fuzz_file_size;
bool fuzz_counts;

static const uint8_t *input;
static size_t left;
static void **blocks;
static size_t block_count, block_room;
static bool is_open[DESCRIPTORS], lives[CHILDREN];
static int listings;
static int64_t milliseconds;
static void *mapped;

void fuzz_fail(const char *what)
{
    fprintf(stderr, "fuzz: %s\n", what);
    abort();
}

/* ---- the input ------------------------------------------------------------------------------------------------- */

void fuzz_begin(const uint8_t *data, size_t size)
{
    input = data, left = size;
    memset(is_open, 0, sizeof is_open);
    memset(lives, 0, sizeof lives);
    listings = 0, milliseconds = 1, mapped = NULL;
    fuzz_texts = NULL, fuzz_texts_size = 0, fuzz_file = NULL, fuzz_file_size = 0, fuzz_counts = false;
}

void fuzz_end(void)
{
    while (block_count)
        free(blocks[--block_count]);
}

bool fuzz_done(void)
{
    return !left;
}

uint8_t fuzz_byte(void)
{
    return (uint8_t)(left ? left--, *input++ : 0);
}

void fuzz_bytes(void *into, size_t size)
{
    const size_t there = size < left ? size : left;
    memcpy(into, input, there);
    memset((uint8_t *)into + there, 0, size - there);
    input += there, left -= there;
}

static void *kept(void *block)
{
    if (!block)
        fuzz_fail("out of memory");
    if (block_count == block_room) {
        block_room = block_room ? 2 * block_room : 64;
        blocks = reallocarray(blocks, block_room, sizeof *blocks);
        if (!blocks)
            fuzz_fail("out of memory");
    }
    return blocks[block_count++] = block;
}

uint8_t *fuzz_block(size_t size)
{
    return kept(malloc(size ? size : 1));
}

uint8_t *fuzz_rest(size_t most, size_t *size)
{
    *size = left < most ? left : most;
    uint8_t *block = fuzz_block(*size);
    fuzz_bytes(block, *size);
    return block;
}

char *fuzz_text(size_t most)
{
    size_t length = fuzz_byte();
    if (length > 250) /* now and then as long as may be */
        length *= 64;
    if (length > most)
        length = most;
    char *text = (char *)fuzz_block(length + 1);
    fuzz_bytes(text, length);
    text[length] = 0;
    return text;
}

int fuzz_open(void)
{
    for (int i = 0; i < DESCRIPTORS; i++) {
        if (!is_open[i]) {
            is_open[i] = true;
            return FIRST + i;
        }
    }
    errno = EMFILE;
    return -1;
}

/* ---- the calls ------------------------------------------------------------------------------------------------- */

void fuzz__exit(int status)
{
    (void)status;
    longjmp(fuzz_over, 1);
}

static int error(void)
{
    static const int numbers[] = {ENOENT, EEXIST, EACCES,  ENOTDIR, ELOOP,  EINVAL, EPERM,        EBUSY,
                                  ENOSYS, ESRCH,  ENOEXEC, EMFILE,  ENOMEM, EAGAIN, ECONNABORTED, E2BIG};
    errno = numbers[fuzz_byte() % (sizeof numbers / sizeof *numbers)];
    return -1;
}

int fuzz_any(void)
{
    return fuzz_byte() & 1 ? error() : 0;
}

int fuzz_descriptor(void)
{
    return fuzz_byte() & 1 ? error() : fuzz_open();
}

const char *fuzz_path(const char *path)
{
    if (strlen(path) == SIZE_MAX) /* reads all of it, wherever it ends */
        fuzz_fail("a path without an end");
    return path;
}

static void touch(const volatile void *data, size_t size)
{
    const volatile uint8_t *at = data;
    uint8_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum ^= at[i];
    if (size && sum == 1 && at[0] == 2 && errno == INT_MAX)
        fuzz_fail("never");
}

/* A text that the kernel gets may be written to, within the margin. */
static void touch_margin(long value)
{
    uint8_t *at = (uint8_t *)value;
    if (fuzz_texts && at >= fuzz_texts && at < fuzz_texts + fuzz_texts_size)
        for (volatile uint8_t *end = at + MARGIN, *here = at; here < end; here++)
            *here = *here;
}

long fuzz_syscall(long number, ...)
{
    long values[SYSTEM_CALL_ARGUMENTS];
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < SYSTEM_CALL_ARGUMENTS; i++) {
        /* Not more than each of them has been given. */
        if ((number == OPENAT2 && i >= 4) || (number == LANDLOCK_ADD_RULE && i >= 4) ||
            (number == SYS_seccomp && i >= 3))
            values[i] = 0;
        else
            values[i] = va_arg(arguments, long);
    }
    va_end(arguments);
    if (number == SYS_seccomp) {
        const struct sock_fprog *program = (const struct sock_fprog *)values[2];
        touch(program->filter, program->len * sizeof *program->filter);
        return fuzz_any();
    }
    if (number == LANDLOCK_ADD_RULE) {
        touch((const void *)values[2], 12);
        return fuzz_any();
    }
    for (int i = 0; i < SYSTEM_CALL_ARGUMENTS; i++)
        touch_margin(values[i]);
    return fuzz_descriptor();
}

int fuzz_stat(struct stat *found)
{
    static const mode_t kinds[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, S_IFREG};
    const uint8_t how = fuzz_byte();
    memset(found, 0, sizeof *found);
    if (how & 0x80)
        return error();
    found->st_mode = kinds[how & 7] | 0644;
    found->st_dev = how >> 3 & 3, found->st_ino = how >> 5 & 3;
    found->st_rdev = makedev(how >> 3 & 1, 3);
    found->st_size = fuzz_file ? (off_t)fuzz_file_size : how;
    return 0;
}

int fuzz_close(int descriptor)
{
    if (descriptor >= FIRST && descriptor < FIRST + DESCRIPTORS) {
        if (!is_open[descriptor - FIRST])
            fuzz_fail("a descriptor is closed twice");
        is_open[descriptor - FIRST] = false;
    }
    return 0;
}

void fuzz_close_range(unsigned first, unsigned last)
{
    for (unsigned i = 0; i < DESCRIPTORS; i++)
        if (FIRST + i >= first && FIRST + i <= last)
            is_open[i] = false;
}

ssize_t fuzz_write(int descriptor, const void *data, size_t size)
{
    (void)descriptor;
    touch(data, size);
    const uint8_t how = fuzz_byte();
    if (how == 255)
        return error();
    return (ssize_t)(how > 128 && size > how ? how : size);
}

ssize_t fuzz_read(int descriptor, void *data, size_t size)
{
    (void)descriptor;
    const uint8_t how = fuzz_byte();
    if (how == 255)
        return error();
    if (how == 254) {
        errno = EINTR;
        return -1;
    }
    size_t got = how > 200 ? size : how < size ? how : size;
    if (fuzz_done())
        got = 0;
    fuzz_bytes(data, got);
    return (ssize_t)got;
}

/* A directory holds some entries with names from the input. */
DIR *fuzz_opendir(int descriptor)
{
    static char opened[LISTINGS];
    if (fuzz_byte() & 1 || listings == LISTINGS) {
        error();
        return NULL;
    }
    fuzz_close(descriptor);
    return (DIR *)(void *)&opened[listings++];
}

struct dirent *fuzz_readdir(DIR *listing)
{
    static struct dirent entry;
    (void)listing;
    const uint8_t length = fuzz_byte();
    if (!length || fuzz_done())
        return NULL;
    if (length == 255) {
        error();
        return NULL;
    }
    fuzz_bytes(entry.d_name, length);
    entry.d_name[length] = 0;
    entry.d_type = length & 1 ? DT_DIR : DT_REG;
    for (char *at = entry.d_name; *at; at++)
        if (*at == '/')
            *at = '.';
    if (!entry.d_name[0])
        strcpy(entry.d_name, ".");
    return &entry;
}

int fuzz_dirfd(DIR *listing)
{
    (void)listing;
    return FIRST + DESCRIPTORS;
}

int fuzz_closedir(DIR *listing)
{
    (void)listing;
    listings--;
    return 0;
}

int fuzz_poll(struct pollfd *polled, nfds_t count)
{
    enum { OWN = 3, EACH = 2 };
    int told = 0, lives_on = 0;
    if (fuzz_done())
        longjmp(fuzz_over, 1);
    milliseconds += 16 * (int64_t)fuzz_byte();
    for (nfds_t i = 0; i < count; i++) {
        polled[i].revents = 0;
        if (polled[i].fd < 0)
            continue;
        if (polled[i].fd >= FIRST && polled[i].fd < FIRST + DESCRIPTORS && !is_open[polled[i].fd - FIRST])
            fuzz_fail("a closed descriptor is waited for");
        if (fuzz_byte() & 1)
            polled[i].revents = POLLIN, told++;
    }
    for (int i = 0; i < DESCRIPTORS; i++)
        lives_on += is_open[i];
    if (fuzz_counts && (nfds_t)lives_on > OWN + EACH * (count - OWN))
        fuzz_fail("a descriptor is lost");
    return told;
}

ssize_t fuzz_recvmsg(int end, struct msghdr *message, int flags)
{
    (void)end;
    if (!(flags & MSG_CMSG_CLOEXEC))
        fuzz_fail("descriptors come without close-on-exec");
    const uint8_t how = fuzz_byte();
    if (how == 0)
        return 0;
    if (how == 255)
        return error();
    size_t size = how > 240 ? 1 + 4096 + how : how, got = 0;
    for (size_t i = 0; i < message->msg_iovlen && size; i++) {
        const size_t part = size < message->msg_iov[i].iov_len ? size : message->msg_iov[i].iov_len;
        fuzz_bytes(message->msg_iov[i].iov_base, part);
        size -= part, got += part;
    }
    size_t room = message->msg_controllen, attached = fuzz_byte() % 6;
    message->msg_controllen = 0;
    message->msg_flags = size ? MSG_TRUNC : 0;
    if (attached && room > CMSG_LEN(0)) {
        /* As many as there is room for: the kernel closes the others. */
        const size_t most = (room - CMSG_LEN(0)) / sizeof(int);
        int descriptors[6];
        size_t count = 0;
        for (; count < attached && count < most; count++)
            if ((descriptors[count] = fuzz_open()) < 0)
                break;
        if (count) {
            struct cmsghdr *header = message->msg_control;
            header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(count * sizeof(int));
            memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
            const size_t space = CMSG_SPACE(count * sizeof(int));
            message->msg_controllen = space < room ? space : room;
        }
    }
    return (ssize_t)got;
}

ssize_t fuzz_send(int end, const void *data, size_t size, int flags)
{
    (void)end, (void)flags;
    touch(data, size);
    return (ssize_t)size;
}

ssize_t fuzz_sendmsg(int end, const struct msghdr *message, int flags)
{
    (void)end, (void)flags;
    touch(message->msg_control, message->msg_controllen);
    return fuzz_any();
}

int fuzz_credentials(void *who, socklen_t *size)
{
    static const uid_t uids[] = {0, 1000, 65534, 1000};
    const uint8_t how = fuzz_byte();
    if (*size < sizeof(struct ucred) || how & 0x80)
        return error();
    *(struct ucred *)who = (struct ucred){.pid = 1, .uid = uids[how & 3], .gid = uids[how & 3]};
    return 0;
}

pid_t fuzz_fork(void)
{
    const uint8_t how = fuzz_byte();
    if (how == 255)
        return error();
    if (how > 240)
        return 0;
    for (int i = 0; i < CHILDREN; i++) {
        if (!lives[i]) {
            lives[i] = true;
            return FIRST_CHILD + i;
        }
    }
    errno = EAGAIN;
    return -1;
}

pid_t fuzz_waitpid(int *status, int flags)
{
    const uint8_t how = fuzz_byte();
    int first = 0, ended = how % CHILDREN - 1;
    while (first < CHILDREN && !lives[first])
        first++;
    if (first == CHILDREN) {
        errno = ECHILD;
        return -1;
    }
    if (ended < 0 || !lives[ended]) {
        if (flags & WNOHANG)
            return 0;
        ended = first;
    }
    if (status)
        *status = how << 8;
    lives[ended] = false;
    return FIRST_CHILD + ended;
}

/* A number that was waited for may be somebody else's. */
int fuzz_kill(pid_t pid, int number)
{
    (void)number;
    const pid_t child = (pid < 0 ? -pid : pid) - FIRST_CHILD; /* alone, or with its group */
    if (pid != -1 && (child < 0 || child >= CHILDREN || !lives[child]))
        fuzz_fail("a signal for a process that is not ours");
    return fuzz_any();
}

int fuzz_pipe(int *ends)
{
    if (fuzz_byte() & 0x80)
        return error();
    if ((ends[0] = fuzz_open()) < 0)
        return -1;
    if ((ends[1] = fuzz_open()) < 0) {
        fuzz_close(ends[0]);
        errno = EMFILE;
        return -1;
    }
    return 0;
}

int fuzz_clock(struct timespec *now)
{
    *now = (struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000};
    return 0;
}

/* A file in memory; its second mapping comes in the place of the first. */
void *fuzz_mmap(size_t size)
{
    if (size != fuzz_file_size)
        fuzz_fail("not all of a file is mapped, or more than that");
    if (fuzz_byte() == 255) {
        error();
        return MAP_FAILED;
    }
    if (!mapped)
        mapped = memcpy(fuzz_block(size), fuzz_file, size);
    return mapped;
}

int fuzz_seals(void)
{
    const int all = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    return fuzz_byte() == 255 ? 0 : all;
}

int fuzz_ioctl(unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *pointer =
        request == TIOCGPTN || request == TIOCSWINSZ || request == 0x5402 ? va_arg(arguments, void *) : NULL;
    va_end(arguments);
    if (request == TIOCGPTPEER)
        return fuzz_descriptor();
    if (request == TIOCGPTN)
        *(unsigned *)pointer = fuzz_byte();
    else if (request == TIOCSWINSZ)
        touch(pointer, sizeof(struct winsize));
    else if (request == 0x5402)
        touch(pointer, 36); /* the kernel's struct termios */
    return fuzz_byte() == 255 ? error() : 0;
}

int fuzz_execve(const char *path, char *const *words, char *const *variables)
{
    fuzz_path(path);
    for (; *words; words++)
        fuzz_path(*words);
    for (; *variables; variables++)
        fuzz_path(*variables);
    if (fuzz_byte() == 255)
        longjmp(fuzz_over, 1);
    return error();
}

ssize_t fuzz_readlink(char *into, size_t size)
{
    const uint8_t how = fuzz_byte();
    if (how == 0)
        return error();
    const size_t length = how < size ? how : size;
    fuzz_bytes(into, length);
    return (ssize_t)length;
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

void *fuzz_malloc(size_t size)
{
    return fuzz_block(size);
}

static size_t place_of(const void *block)
{
    for (size_t i = block_count; i--;)
        if (blocks[i] == block)
            return i;
    fuzz_fail("memory that is not ours");
}

void *fuzz_reallocarray(void *old, size_t count, size_t size)
{
    if (!old)
        return fuzz_block(count * size);
    const size_t place = place_of(old);
    void *made = reallocarray(old, count, size);
    if (!made)
        fuzz_fail("out of memory");
    return blocks[place] = made;
}

char *fuzz_strdup(const char *text)
{
    const size_t size = strlen(text) + 1;
    return memcpy(fuzz_block(size), text, size);
}

int fuzz_asprintf(char **into, const char *form, ...)
{
    va_list arguments;
    va_start(arguments, form);
    const int length = vasprintf(into, form, arguments);
    va_end(arguments);
    if (length < 0)
        fuzz_fail("out of memory");
    kept(*into);
    return length;
}

void fuzz_free(void *block)
{
    if (block) {
        const size_t place = place_of(block);
        blocks[place] = blocks[--block_count];
        free(block);
    }
}
