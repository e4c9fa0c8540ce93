/* Messages between pid 1 and those outside; ssh2container/run/channel.py is the other side, and has these names from
 * here. */
#ifndef MESSAGES_H
#define MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OURS = 125, LONGEST_MESSAGE = 4096, MOST_DESCRIPTORS = 4 };

enum message {
    GONE = 0, /* the end, or nothing that makes sense */
    STARTED = 'S',
    STATUS = 'X',
    TERMINAL = 'T',
    TAP = 'N',
    WAITING = 'W',
    HOOK = 'J',
    GO = 'G',
    ORDER = 'O',
    ERROR = 'E',
    FAILED = 'F',
    SIGNAL = 'K',
    END = 'Z',
    HELLO = 'H',
    ADMITTED = 'A',
    RETIRED = 'R',
    REQUEST = 'Q',
};
#define VERSION '3'

/* Which script a failed record is of. */
enum phase { OPENING = 'o', MAKING = 'i', CONFINING = 'p' };

/* How a hook ended: by itself, killed as its time was over, not executed, with processes left that cannot be ended.
 * The number behind it in HOOK is a wait status, or an errno for HOOK_NOT_RUN. */
enum hook_end { HOOK_EXITED = 0, HOOK_LATE = 1, HOOK_NOT_RUN = 2, HOOK_LEFT = 3 };

/* What kind of error the other side raises. */
enum error { SESSION_ERROR = 0, REFUSAL = 1, NOT_FOUND = 2 };

/* Items that are still to be read, each behind its length (channel.pack). */
struct items {
    const uint8_t *at;
    size_t left;
};

/* A message without its kind. */
struct content {
    uint8_t bytes[LONGEST_MESSAGE];
    size_t size;
    int descriptors[MOST_DESCRIPTORS];
    size_t attached;
};

int receive(int end, struct content *content);
int receive_word(int end, struct content *content);
void send_message(int end, const void *message, size_t size);
int send_descriptor(int end, char kind, int descriptor);
size_t pack_error(uint8_t *message, enum error kind, const char *what, const char *why, int number, const char *step);
size_t pack_failure(uint8_t *message, char phase, uint32_t record, int number);
const char *reason(int number);
bool take(struct items *from, struct items *item);

#endif
