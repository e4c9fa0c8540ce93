/* Scripts: what the operations of a plan come to, as records that this program carries out one after the other.
 *
 * ssh2container/kernel/script.py writes them and says what each field means; both sides run on one machine, so
 * numbers are its own. A script comes from the monitor, which runs with no right that the reader lacks; all the same
 * nothing in it is believed: every offset, length, slot and system call is checked before it is used.
 */
#ifndef SCRIPT_H
#define SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { ARGUMENTS = 6, SLOTS = 512, MARGIN = 128 };

enum step {
    STEP_CALL = 1,   /* a system call of the list; its result may go to a slot */
    STEP_MAKE,       /* a directory, file or symbolic link */
    STEP_PLACE,      /* open a mount point, made if missing, without following a link */
    STEP_EXPECT,     /* a path, or what a slot has open, has to be the file that is meant */
    STEP_GIVE,       /* change the owner of a tree */
    STEP_ALLOW,      /* a Landlock rule for a path */
    STEP_ALLOW_ROOT, /* Landlock rules for what lies at the root, but for some names */
    STEP_FILTER,     /* load a system-call filter */
    STEP_BOUND,      /* drop the bounding set */
    STEP_WRITE,      /* write a text, in one call, to a file that is there */
    STEP_DEVICE,     /* note the device number of a path in a slot */
    STEP_EMPTY,      /* a directory has to be empty and on another device than noted */
    STEP_AWAIT,      /* wait for the monitor's word */
    STEP_ALIVE,      /* the monitor has to be there still */
    STEP_HAND,       /* hand what a slot has open to the monitor */
    STEP_CONSOLE,    /* slots have both sides of the system's console open */
    STEP_SPLIT,      /* from here on there are two: this process, and process 1 of a whole system */
    STEP_READY,      /* wait until an address of this network can be used */
    STEP_MADE,       /* what lies since STEP_SPLIT was for the system's process alone; both go on */
};

/* What STEP_MAKE makes, and what STEP_EXPECT looks at. */
enum made { MADE_DIRECTORY = 0, MADE_FILE = 1, MADE_LINK = 2 };
enum expected { EXPECT_PATH = 0, EXPECT_OPEN = 1, EXPECT_DEVICE = 2 };

enum kind { KIND_NUMBER = 0, KIND_TEXT = 1, KIND_SLOT = 2 };

/* One step. kinds: two bits for each argument of a call. result: the slot it goes to, counted from 1, or 0. */
struct record {
    uint16_t step;
    uint16_t call;
    uint16_t kinds;
    uint16_t reserved;
    uint32_t result;
    uint32_t padding;
    int64_t arguments[ARGUMENTS];
};

/* A whole system: process 1 of pids of its own, which are below ours, so that nothing in it reaches this process.
 *
 * init: its process; 0 in that itself. told: between the two; the system's exec closes it. master, slave: of its
 * console. groups: the root of its control groups. logins: where the others that we start in it are counted.
 * request, request_size: its program. skips: records up to STEP_MADE are not ours. */
struct system {
    bool is_whole, skips;
    pid_t init;
    int told, master, slave, groups, logins, stop_signal;
    const uint8_t *request;
    size_t request_size;
};

/* texts: strings and structures, each ended by a zero byte; MARGIN zero bytes follow the last, outside size. */
struct script {
    const struct record *records;
    size_t count;
    uint8_t *texts;
    size_t size;
    int channel;
    pid_t (*fork)(void);
    struct system system;
    int64_t slots[SLOTS];
};

struct failure {
    uint32_t record;
    int32_t number; /* an errno; EBADMSG for an invalid record */
};

/* The system calls that a script may make: name and number, ended by {NULL, 0}. */
struct call {
    const char *name;
    long number;
};
extern const struct call script_calls[];

void script_start(struct script *script);
bool script_run(struct script *script, struct failure *failure);

#endif
