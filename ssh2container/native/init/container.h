/* The container as pid 1 knows it: the order that it was started with, and what its parts share. */
#ifndef CONTAINER_H
#define CONTAINER_H

#include "messages.h"
#include "script.h"

#include <sys/types.h>

/* REHEARSED: everything is made, and in place of the program is told whether it would run.
 * COUNTED: this process is in a control group that goes with it: it stays, with nothing left to do, until the other
 * side has read what was used there. */
enum flag { FLAG_WRITABLE = 1, FLAG_CALL = 2, FLAG_SHARED = 4, FLAG_REHEARSED = 8, FLAG_COUNTED = 16 };

/* Head of the file in memory that the monitor hands over (run/order.py): places and sizes are bytes from its start. */
struct order {
    uint64_t magic;
    uint32_t size, flags;
    uint32_t records, making, confining; /* where they are; how many of each phase */
    uint32_t texts, texts_size;
    uint32_t request, request_size;
    uint32_t names, names_size;
    uint32_t check;              /* CRC-32 of the whole file, with 0 in this place: by halves it is not carried out */
    int64_t linger_ms, grace_ms; /* linger: -1 for as long as somebody listens */
};
#define ORDER_MAGIC 0x3130726564726f73ULL /* "sorder01" */

struct container {
    const struct order *order;
    struct script making, confining;
    struct items request;                /* what the first payload is, and the rest of what later ones start from */
    struct items session, digest, image; /* names: the session's, of the way it was made, of the image */
    struct items hooks;                  /* those inside, in order */
    int channel, listener;
    pid_t (*fork)(void);
};

/* Who wants a program run, and how: its connection; the request's file, or -1 for the container's own. is_system: it is
 * process 1 of the whole system that the container holds. */
struct demand {
    int end, file;
    bool is_system;
    int standard[3]; /* what become 0-2, -1 for the terminal; only with a file */
};

int64_t now_ms(void);
void start_payload(struct container *container, const struct demand *demand, int tells);
void attend(struct container *container);
void run_hooks(struct container *container, int signals);
char *string(int tells, struct items item);
void close_others(int *tells);
void confine(struct container *container, int tells);
int error_of_execution(const char *path, int depth);
void close_all_but(const int *kept, int count);
void run_container(int channel, int order, int listener, pid_t (*fork_payload)(void));

bool matches(const uint8_t *name, size_t name_size, const uint8_t *pattern, size_t pattern_size);
struct words {
    char **list;
    size_t count, room;
};
bool add_word(struct words *words, char *word);
bool expand(struct words *words, const char *literal, const char *pattern, const char *home);

#endif
