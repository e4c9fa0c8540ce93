/* Messages (messages.h). */
#define _GNU_SOURCE
#include "messages.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Wait for the next message; attached descriptors that nobody asked for stay outside, as does what is too long. */
int receive(int end, struct content *content)
{
    char kind;
    union {
        char bytes[CMSG_SPACE(MOST_DESCRIPTORS * sizeof(int))];
        struct cmsghdr aligned;
    } control;
    struct iovec parts[] = {{&kind, 1}, {content->bytes, sizeof content->bytes}};
    struct msghdr message = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t got;
    content->attached = content->size = 0;
    do
        got = recvmsg(end, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return GONE;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) {
            content->attached = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(content->descriptors, CMSG_DATA(part), content->attached * sizeof(int));
        }
    }
    content->size = (size_t)got - 1;
    return (unsigned char)kind;
}

/* The same where no descriptor is wanted: those that came are closed. */
int receive_word(int end, struct content *content)
{
    const int kind = receive(end, content);
    while (content->attached)
        close(content->descriptors[--content->attached]);
    return kind;
}

/* Whoever does not take it is gone: the end of file says so. Nobody may hold pid 1 up. */
void send_message(int end, const void *message, size_t size)
{
    (void)!send(end, message, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int send_descriptor(int end, char kind, int descriptor)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control = {{0}};
    struct iovec part = {&kind, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
    return sendmsg(end, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

const char *reason(int number)
{
    const char *words = strerrordesc_np(number);
    return words ? words : "an unknown error";
}

static size_t pack(uint8_t *message, size_t at, const char *item)
{
    uint32_t length = (uint32_t)strnlen(item, LONGEST_MESSAGE);
    if (length > LONGEST_MESSAGE - at - sizeof length)
        length = (uint32_t)(LONGEST_MESSAGE - at - sizeof length);
    memcpy(message + at, &length, sizeof length);
    memcpy(message + at + sizeof length, item, length);
    return at + sizeof length + length;
}

/* Write an error for the other side to raise into message, of LONGEST_MESSAGE bytes, and return its size. */
size_t pack_error(uint8_t *message, enum error kind, const char *what, const char *why, int number, const char *step)
{
    enum { LONGEST_WORDS = 1024 };
    char digits[2][12];
    char cut[2][LONGEST_WORDS];
    snprintf(digits[0], sizeof digits[0], "%d", (int)kind);
    snprintf(digits[1], sizeof digits[1], "%d", number);
    snprintf(cut[0], sizeof cut[0], "%s", what);
    snprintf(cut[1], sizeof cut[1], "%s", why);
    const char *fields[] = {digits[0], cut[0], cut[1], "", step, digits[1]};
    size_t at = 0;
    message[at++] = ERROR;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        at = pack(message, at, fields[i]);
    return at;
}

/* phase: of enum phase: before pid 1's program, what makes the container, what stands before a payload's program. */
size_t pack_failure(uint8_t *message, char phase, uint32_t record, int number)
{
    int32_t numbers[] = {(int32_t)record, number};
    message[0] = FAILED;
    message[1] = (uint8_t)phase;
    memcpy(message + 2, numbers, sizeof numbers);
    return 2 + sizeof numbers;
}

/* Take the next item; false at the end, or where the rest is no item, which leaves something over. */
bool take(struct items *from, struct items *item)
{
    uint32_t length;
    if (from->left < sizeof length)
        return false;
    memcpy(&length, from->at, sizeof length);
    if (length > from->left - sizeof length)
        return false;
    item->at = from->at + sizeof length;
    item->left = length;
    from->at += sizeof length + length;
    from->left -= sizeof length + length;
    return true;
}
