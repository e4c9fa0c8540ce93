/* Longer than 300 lines: one module for the interpreter, as a second one would cost each login its loading. */
/* What Python's own modules lack: system calls by number, and pid 1.
 *
 * syscall(name, number, *arguments): integers are passed as they are, bytes-like objects by address; -1 becomes
 * OSError(errno, text, name). spawn starts the program of pid 1 (ssh2container/native/init) without a copy of this
 * process; run and contain are the code of that program in this one. Built on the stable ABI of CPython 3.11, so one
 * build serves every later version. ctypes does the same and costs each login 3 ms (docs/performance.md).
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "../init/container.h"
#include "../init/uploads.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <malloc.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_ARGUMENTS 6
#define LARGEST_ENTRY (16 << 20) /* bytes; a group may have very many members */

static PyObject *fail(PyObject *name)
{
    return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, name);
}

static PyObject *door_syscall(PyObject *self, PyObject *arguments)
{
    (void)self;
    Py_ssize_t count = PyTuple_Size(arguments) - 2;
    long values[MOST_ARGUMENTS] = {0};
    Py_buffer views[MOST_ARGUMENTS];
    int held = 0;
    long result = -1;

    if (count < 0 || count > MOST_ARGUMENTS) {
        PyErr_SetString(PyExc_TypeError, "syscall(name, number, up to six arguments)");
        return NULL;
    }
    PyObject *name = PyTuple_GetItem(arguments, 0);
    long number = PyLong_AsLong(PyTuple_GetItem(arguments, 1));
    for (Py_ssize_t i = 0; i < count && !PyErr_Occurred(); i++) {
        PyObject *argument = PyTuple_GetItem(arguments, i + 2);
        if (PyLong_Check(argument)) {
            values[i] = (long)PyLong_AsUnsignedLongMask(argument);
        } else if (argument != Py_None && PyObject_GetBuffer(argument, &views[held], PyBUF_SIMPLE) == 0) {
            values[i] = (long)views[held++].buf;
        }
    }
    if (!PyErr_Occurred()) {
        result = syscall(number, values[0], values[1], values[2], values[3], values[4], values[5]);
    }
    int failed = errno;
    while (held > 0) {
        PyBuffer_Release(&views[--held]);
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    errno = failed;
    return result == -1 ? fail(name) : PyLong_FromLong(result);
}

static PyObject *door_address(PyObject *self, PyObject *object)
{
    (void)self;
    Py_buffer view;
    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    unsigned long address = (unsigned long)view.buf;
    PyBuffer_Release(&view);
    return PyLong_FromUnsignedLong(address);
}

/* ---- through a network that root prepared ---------------------------------------------------------------------- */

enum { OWNER_OF = 0xb701 }; /* NS_GET_USERNS, ioctl_ns(2) */

/* What a process in between leaves for the one that started it, and that shares its descriptors. */
struct passage {
    int pid, pidfd, number;
};

/* Enter a prepared network namespace by the user namespace that owns it, which is the user's. The user namespace that
 * is made next is a child of that one, and no capability in it counts over the network (user_namespaces(7)). */
static int enter(int network)
{
    const int owner = ioctl(network, OWNER_OF);
    if (owner < 0)
        return -1;
    const int failed = setns(owner, CLONE_NEWUSER) || setns(network, CLONE_NEWNET);
    const int number = errno;
    close(owner);
    errno = number;
    return failed ? -1 : 0;
}

static void await_passage(pid_t between)
{
    while (waitpid(between, NULL, __WALL) < 0 && errno == EINTR)
        ;
}

/* Clone without a stack, from a process that has entered NETWORK and is gone when this returns: what it starts is our
 * own child (CLONE_PARENT). */
static pid_t fork_through(int network, unsigned long flags, int *pidfd)
{
    struct passage *passage = mmap(NULL, sizeof *passage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (passage == MAP_FAILED)
        return -1;
    *passage = (struct passage){-1, -1, ECHILD};
    const pid_t between = (pid_t)syscall(SYS_clone, (unsigned long)CLONE_FILES | SIGCHLD, 0L, 0L, 0L, 0L);
    if (between == 0) {
        if (!enter(network)) {
            const long pid = syscall(SYS_clone, flags | CLONE_PARENT | SIGCHLD, 0L, &passage->pidfd, 0L, 0L);
            if (pid == 0)
                return 0;
            passage->pid = (int)pid;
        }
        passage->number = errno;
        _exit(0);
    }
    struct passage result = {-1, -1, errno};
    if (between > 0) {
        await_passage(between);
        result = *passage;
    }
    munmap(passage, sizeof *passage);
    if (pidfd)
        *pidfd = result.pidfd;
    errno = result.number;
    return result.pid;
}

/* A clone without a stack is a fork. NETWORK: to go through, or -1. */
static pid_t fork_into(int network, unsigned long flags, int *pidfd)
{
#ifdef __s390__
#error "clone(2) has its arguments in another order here"
#endif
    return network >= 0 ? fork_through(network, flags, pidfd)
                        : (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0L, pidfd, 0L, 0L);
}

/* The interpreter has to be told before a fork and after it, as os.fork() does. */
static pid_t fork_interpreter(int network, unsigned long flags, int *pidfd)
{
    PyOS_BeforeFork();
    pid_t pid = fork_into(network, flags, pidfd);
    int failed = errno;
    if (pid == 0) {
        PyOS_AfterFork_Child();
    } else {
        PyOS_AfterFork_Parent();
    }
    errno = failed;
    return pid;
}

static PyObject *door_clone(PyObject *self, PyObject *arguments)
{
    (void)self;
    unsigned long flags;
    int pidfd = -1, network = -1;

    if (!PyArg_ParseTuple(arguments, "k|i", &flags, &network)) {
        return NULL;
    }
    pid_t pid = fork_interpreter(network, flags | CLONE_PIDFD, &pidfd);
    if (pid == -1) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("ii", (int)pid, pid ? pidfd : -1);
}

static bool read_script(struct script *script, const Py_buffer *records, const Py_buffer *texts)
{
    if (records->len % (Py_ssize_t)sizeof(struct record) || texts->len < MARGIN) {
        return false;
    }
    *script = (struct script){
        .records = records->buf,
        .count = (size_t)records->len / sizeof(struct record),
        .texts = texts->buf,
        .size = (size_t)texts->len - MARGIN,
        .channel = -1,
    };
    script_start(script);
    return true;
}

/* ---- pid 1 as a program ---------------------------------------------------------------------------------------- */

enum { FIRST = 3, HANDED = 3, OUT_OF_THE_WAY = 16, STACK = 65536 };
enum { OPEN_TREE = 428, CLONE_OF_TREE = 1 | O_CLOEXEC }; /* OPEN_TREE_CLONE, open_tree(2) */

struct program {
    const char *path;
    int descriptors[HANDED];
    struct script opening;
    /* How it is started, and what came of it; network: prepared by root, to go through, or -1. */
    int flags, network, pid, pidfd;
};

static int hand_over_descriptors(const struct program *program)
{
    int moved[HANDED];
    for (int i = 0; i < HANDED; i++) {
        moved[i] = -1;
        if (program->descriptors[i] >= 0 &&
            (moved[i] = fcntl(program->descriptors[i], F_DUPFD_CLOEXEC, OUT_OF_THE_WAY)) < 0)
            return -1;
    }
    if (syscall(SYS_close_range, FIRST, OUT_OF_THE_WAY - 1, 0))
        return -1;
    for (int i = 0; i < HANDED; i++)
        if (moved[i] >= 0 && dup2(moved[i], FIRST + i) < 0)
            return -1;
    return (int)syscall(SYS_close_range, OUT_OF_THE_WAY, ~0U, 0);
}

/* The rights over the new user namespace do not outlive an exec by who is not root there, unless they are ambient. */
static int keep_rights(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    if (syscall(SYS_capget, &header, sets))
        return -1;
    sets[0].inheritable = sets[0].permitted;
    sets[1].inheritable = sets[1].permitted;
    if (syscall(SYS_capset, &header, sets))
        return -1;
    const uint64_t held = sets[0].permitted | (uint64_t)sets[1].permitted << 32;
    for (unsigned long capability = 0; capability < 64; capability++)
        if (held >> capability & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0))
            return -1;
    return 0;
}

static void run_opening(struct script *opening, int channel)
{
    struct failure failure;
    uint8_t message[LONGEST_MESSAGE];
    opening->channel = channel;
    if (!script_run(opening, &failure)) {
        send_message(channel, message, pack_failure(message, OPENING, failure.record, failure.number));
        _exit(OURS);
    }
}

/* Execute the program from a mount of its own, which the kernel drops with the process.
 *
 * What a process executes keeps the mount that it lies on alive, and a mount that is detached but alive keeps those
 * below it, which are locked in a namespace of less privilege (disconnect_mount, fs/namespace.c): from a mount of the
 * host's, pid 1 would hold every file system of the host, and none could be let go of while the session lasts.
 */
static void execute_apart(const char *path)
{
    char name[] = "init";
    char *arguments[] = {name, NULL}, *nothing[] = {NULL};
    int file = (int)syscall(OPEN_TREE, AT_FDCWD, path, CLONE_OF_TREE);
    if (file >= 0)
        syscall(SYS_execveat, file, "", arguments, nothing, AT_EMPTY_PATH);
}

/* In the child, perhaps in this process's memory while that waits: nothing but system calls, and messages. */
static int become_program(void *given)
{
    struct program *program = given;
    uint8_t message[LONGEST_MESSAGE];
    int channel = program->descriptors[0];
    if (!hand_over_descriptors(program)) {
        channel = FIRST;
        run_opening(&program->opening, channel);
        if (!keep_rights())
            execute_apart(program->path);
    }
    const int number = errno;
    send_message(
        channel, message,
        pack_error(message, SESSION_ERROR, "cannot start pid 1 of the container", reason(number), number, "start"));
    _exit(OURS);
}

/* Run FUNCTION in a new process on our own memory until it ends or executes a program; not on our stack, of which a
 * limit may leave little. */
static int start_on_our_memory(int (*function)(void *), int flags, struct program *program, int *pidfd)
{
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return -1;
    const int pid = clone(function, stack + STACK, flags | CLONE_VM | CLONE_VFORK | SIGCHLD, program, pidfd);
    const int failed = errno;
    munmap(stack, STACK);
    errno = failed;
    return pid;
}

/* In between, with our memory and our descriptors: start the program from inside the prepared network. */
static int pass_through(void *given)
{
    struct program *program = given;
    program->pid = -1;
    if (!enter(program->network))
        program->pid = start_on_our_memory(become_program, program->flags | CLONE_PARENT, program, &program->pidfd);
    _exit(0);
}

static void start_program(struct program *program)
{
    if (program->network < 0) {
        program->pid = start_on_our_memory(become_program, program->flags, program, &program->pidfd);
        return;
    }
    const int between = start_on_our_memory(pass_through, CLONE_FILES, program, NULL);
    const int failed = errno;
    if (between > 0)
        await_passage(between);
    errno = failed;
}

/* spawn(path, flags, descriptors, opening records, texts, copied, network): an opening that waits for us needs a copy
 * of our memory; any other runs in it, and we go on when the program has been executed. */
static PyObject *door_spawn(PyObject *self, PyObject *arguments)
{
    (void)self;
    struct program program = {.network = -1, .pid = -1, .pidfd = -1};
    unsigned long flags;
    Py_buffer records, texts;
    int copied;

    if (!PyArg_ParseTuple(arguments, "yk(iii)y*w*p|i", &program.path, &flags, &program.descriptors[0],
                          &program.descriptors[1], &program.descriptors[2], &records, &texts, &copied,
                          &program.network)) {
        return NULL;
    }
    program.flags = (int)flags | CLONE_PIDFD;
    if (!read_script(&program.opening, &records, &texts)) {
        PyErr_SetString(PyExc_ValueError, "no whole script");
    } else if (copied) {
        program.pid = (int)fork_into(program.network, flags | CLONE_PIDFD, &program.pidfd);
        if (program.pid == 0) {
            become_program(&program);
        }
    } else {
        start_program(&program);
    }
    if (program.pid == -1 && !PyErr_Occurred()) {
        PyErr_SetFromErrno(PyExc_OSError);
    }
    PyBuffer_Release(&records);
    PyBuffer_Release(&texts);
    return program.pid == -1 ? NULL : Py_BuildValue("ii", program.pid, program.pidfd);
}

/* ---- pid 1 in this process ------------------------------------------------------------------------------------- */

static PyObject *door_run(PyObject *self, PyObject *arguments)
{
    (void)self;
    Py_buffer records, texts;
    PyObject *result = NULL;

    if (!PyArg_ParseTuple(arguments, "y*w*", &records, &texts)) {
        return NULL;
    }
    struct script script;
    if (!read_script(&script, &records, &texts)) {
        PyErr_SetString(PyExc_ValueError, "no whole script");
    } else {
        struct failure failure = {0, 0};
        script_run(&script, &failure);
        result = Py_BuildValue("Ii", failure.record, failure.number);
    }
    PyBuffer_Release(&records);
    PyBuffer_Release(&texts);
    return result;
}

static pid_t fork_payload(void)
{
    return fork_interpreter(-1, 0, NULL);
}

static PyObject *door_contain(PyObject *self, PyObject *arguments)
{
    (void)self;
    int channel, order, listener;
    Py_buffer records, texts;
    struct script opening;
    if (!PyArg_ParseTuple(arguments, "(iii)y*w*", &channel, &order, &listener, &records, &texts)) {
        return NULL;
    }
    if (!read_script(&opening, &records, &texts)) {
        PyErr_SetString(PyExc_ValueError, "no whole script");
        return NULL;
    }
    run_opening(&opening, channel);
    run_container(channel, order, listener, fork_payload);
    Py_RETURN_NONE;
}

/* ---- file name patterns ---------------------------------------------------------------------------------------- */

static PyObject *door_expand(PyObject *self, PyObject *arguments)
{
    (void)self;
    const char *literal, *pattern, *home;
    struct words words = {0};
    if (!PyArg_ParseTuple(arguments, "yyy", &literal, &pattern, &home)) {
        return NULL;
    }
    if (!expand(&words, literal, pattern, home)) {
        return PyErr_NoMemory();
    }
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < words.count; i++) {
        PyObject *word = PyBytes_FromString(words.list[i]);
        if (!word || PyList_Append(list, word)) {
            Py_CLEAR(list);
        }
        Py_XDECREF(word);
    }
    free(words.list);
    return list;
}

static PyObject *door_matches(PyObject *self, PyObject *arguments)
{
    (void)self;
    const char *name, *pattern;
    Py_ssize_t name_size, pattern_size;
    if (!PyArg_ParseTuple(arguments, "y#y#", &name, &name_size, &pattern, &pattern_size)) {
        return NULL;
    }
    return PyBool_FromLong(
        matches((const uint8_t *)name, (size_t)name_size, (const uint8_t *)pattern, (size_t)pattern_size));
}

/* ---- names of users and groups --------------------------------------------------------------------------------- */

/* Why the name service does not find somebody: 0 if it knows that there is nobody of that kind, -1 if it finds them,
 * else the errno of what did not answer. Python's pwd and grp raise KeyError for both (getpwnam(3), getgrnam(3), RETURN
 * VALUE). */
static PyObject *door_unknown(PyObject *self, PyObject *arguments)
{
    (void)self;
    const char *kind, *name;
    unsigned long id;
    if (!PyArg_ParseTuple(arguments, "szk", &kind, &name, &id)) {
        return NULL;
    }
    const bool user = !strcmp(kind, "user");
    struct passwd entry, *found_user = NULL;
    struct group group, *found_group = NULL;
    int error = ERANGE;
    char *room = NULL;
    for (size_t size = 4096; error == ERANGE && size <= LARGEST_ENTRY; size *= 4) {
        free(room);
        room = malloc(size);
        if (!room) {
            return PyErr_NoMemory();
        }
        Py_BEGIN_ALLOW_THREADS error = user   ? name ? getpwnam_r(name, &entry, room, size, &found_user)
                                                     : getpwuid_r((uid_t)id, &entry, room, size, &found_user)
                                       : name ? getgrnam_r(name, &group, room, size, &found_group)
                                              : getgrgid_r((gid_t)id, &group, room, size, &found_group);
        Py_END_ALLOW_THREADS
    }
    free(room);
    return PyLong_FromLong(!error && (found_user || found_group) ? -1 : error);
}

/* What was allocated to make the container and is free again goes back to the kernel. */
static PyObject *door_trim(PyObject *self, PyObject *nothing)
{
    (void)self, (void)nothing;
    malloc_trim(0);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"syscall", door_syscall, METH_VARARGS, "syscall(name, number, *arguments) -> int"},
    {"clone", door_clone, METH_VARARGS, "clone(flags, network) -> (pid, pidfd), (0, -1) in the child"},
    {"spawn", door_spawn, METH_VARARGS,
     "spawn(path, flags, descriptors, records, texts, copied, network) -> (pid, pidfd)"},
    {"run", door_run, METH_VARARGS, "run(records, texts) -> (record, errno) of the failure, errno 0 for none"},
    {"contain", door_contain, METH_VARARGS, "contain(descriptors, records, texts): be pid 1; returns in the payload"},
    {"expand", door_expand, METH_VARARGS, "expand(literal, pattern, home) -> words"},
    {"matches", door_matches, METH_VARARGS, "matches(name, pattern) -> bool"},
    {"unknown", door_unknown, METH_VARARGS,
     "unknown(kind, name or None, id) -> errno, 0 where there is nobody, -1 where there is"},
    {"trim", door_trim, METH_NOARGS, "trim(): give free memory back to the kernel"},
    {"address", door_address, METH_O, "address(buffer) -> int, valid while the buffer is kept"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_syscall", "System calls by number, and pid 1.", -1, methods, NULL, NULL, NULL, NULL,
};

/* What Python's own modules lack, beside the calls that a script may make. */
static const struct call other_calls[] = {
    {"seccomp", SYS_seccomp},
    {"signalfd4", SYS_signalfd4},
    {"rt_sigaction", SYS_rt_sigaction},
    {"rt_sigprocmask", SYS_rt_sigprocmask},
    {"pidfd_send_signal", 424},
    {"close_range", 436},
    {"pidfd_getfd", 438},
    {"quotactl_fd", 443},
    {"socketpair", SYS_socketpair},
    {"socket", SYS_socket},
    {"bind", SYS_bind},
    {"listen", SYS_listen},
    {"connect", SYS_connect},
    {"setsockopt", SYS_setsockopt},
    {"sendto", SYS_sendto},
    {"recvmsg", SYS_recvmsg},
    {"renameat2", SYS_renameat2},
    {"setns", SYS_setns},
    {"wait4", SYS_wait4},
    {"getrusage", SYS_getrusage},
    {NULL, 0},
};

static int add_numbers(PyObject *known, const struct call *call)
{
    int result = 0;
    for (; result == 0 && call->name; call++) {
        PyObject *number = PyLong_FromLong(call->number);
        result = number ? PyDict_SetItemString(known, call->name, number) : -1;
        Py_XDECREF(number);
    }
    return result;
}

/* NUMBERS: name -> number of calls on this machine. */
static PyObject *numbers(void)
{
    PyObject *known = PyDict_New();
    if (known && (add_numbers(known, script_calls) || add_numbers(known, other_calls))) {
        Py_CLEAR(known);
    }
    return known;
}

/* PROTOCOL: what scripts, orders and messages are written with, by the names that the headers give it. */
#define NAMED(name) {#name, name}
static const struct call words_of_protocol[] = {
    NAMED(STEP_CALL),    NAMED(STEP_MAKE),       NAMED(STEP_PLACE),   NAMED(STEP_EXPECT),   NAMED(STEP_GIVE),
    NAMED(STEP_ALLOW),   NAMED(STEP_ALLOW_ROOT), NAMED(STEP_FILTER),  NAMED(STEP_BOUND),    NAMED(STEP_WRITE),
    NAMED(STEP_DEVICE),  NAMED(STEP_EMPTY),      NAMED(STEP_AWAIT),   NAMED(STEP_ALIVE),    NAMED(STEP_HAND),
    NAMED(TAP),          NAMED(KIND_NUMBER),     NAMED(KIND_TEXT),    NAMED(KIND_SLOT),     NAMED(MADE_DIRECTORY),
    NAMED(MADE_FILE),    NAMED(MADE_LINK),       NAMED(EXPECT_PATH),  NAMED(EXPECT_OPEN),   NAMED(EXPECT_DEVICE),
    NAMED(ARGUMENTS),    NAMED(SLOTS),           NAMED(MARGIN),       NAMED(FLAG_WRITABLE), NAMED(FLAG_CALL),
    NAMED(FLAG_SHARED),  NAMED(FLAG_REHEARSED),  NAMED(FLAG_COUNTED), NAMED(ORDER_MAGIC),   NAMED(STARTED),
    NAMED(STATUS),       NAMED(TERMINAL),        NAMED(GO),           NAMED(ORDER),         NAMED(ERROR),
    NAMED(FAILED),       NAMED(SIGNAL),          NAMED(END),          NAMED(HELLO),         NAMED(ADMITTED),
    NAMED(RETIRED),      NAMED(REQUEST),         NAMED(VERSION),      NAMED(OPENING),       NAMED(MAKING),
    NAMED(CONFINING),    NAMED(ONLY_NEW),        NAMED(NOTHING_OLD),  NAMED(MODES_ONLY),    NAMED(WAITING),
    NAMED(HOOK),         NAMED(HOOK_EXITED),     NAMED(HOOK_LATE),    NAMED(HOOK_NOT_RUN),  NAMED(HOOK_LEFT),
    NAMED(STEP_CONSOLE), NAMED(STEP_READY),      NAMED(STEP_SPLIT),   NAMED(STEP_MADE),     {NULL, 0},
};

static PyObject *protocol(void)
{
    PyObject *known = PyDict_New();
    if (known && add_numbers(known, words_of_protocol)) {
        Py_CLEAR(known);
    }
    return known;
}

PyMODINIT_FUNC PyInit__syscall(void)
{
    PyObject *self = PyModule_Create(&module), *known = numbers(), *words = protocol();
    if (!self || !known || !words || PyModule_AddObjectRef(self, "NUMBERS", known) ||
        PyModule_AddObjectRef(self, "PROTOCOL", words)) {
        Py_CLEAR(self);
    }
    Py_XDECREF(known);
    Py_XDECREF(words);
    return self;
}
