/* What Python's own modules lack: system calls by number, and pid 1.
 *
 * syscall(name, number, *arguments): integers are passed as they are, bytes-like objects by address; -1 becomes
 * OSError(errno, text, name). spawn starts the program of pid 1 (ssh2container/init) without a copy of this process;
 * run and contain are the code of that program in this one. Built on the stable ABI of CPython 3.11, so one build
 * serves every later version. ctypes does the same and costs each login 3 ms (docs/performance.md).
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "../init/container.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_ARGUMENTS 6

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
        } else if (argument != Py_None
                   && PyObject_GetBuffer(argument, &views[held], PyBUF_SIMPLE) == 0) {
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

/* A clone without a stack is a fork; the interpreter has to be told before and after, as os.fork() does. */
static pid_t fork_interpreter(unsigned long flags, int *pidfd)
{
    PyOS_BeforeFork();
#ifdef __s390__
#error "clone(2) has its arguments in another order here"
#endif
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0L, pidfd, 0L, 0L);
    int failed = errno;
    if (pid == 0) {
        PyOS_AfterFork_Child();
    } else {
        PyOS_AfterFork_Parent();
    }
    errno = failed;
    return (pid_t)pid;
}

static PyObject *door_clone(PyObject *self, PyObject *arguments)
{
    (void)self;
    unsigned long flags;
    int pidfd = -1;

    if (!PyArg_ParseTuple(arguments, "k", &flags)) {
        return NULL;
    }
    pid_t pid = fork_interpreter(flags | CLONE_PIDFD, &pidfd);
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

struct program {
    const char *path;
    int descriptors[HANDED];
    struct script opening;
};

static int hand_over_descriptors(const struct program *program)
{
    int moved[HANDED];
    for (int i = 0; i < HANDED; i++) {
        moved[i] = -1;
        if (program->descriptors[i] >= 0
            && (moved[i] = fcntl(program->descriptors[i], F_DUPFD_CLOEXEC, OUT_OF_THE_WAY)) < 0)
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
        send_message(channel, message, pack_failure(message, 'o', failure.record, failure.number));
        _exit(OURS);
    }
}

/* In the child, perhaps in this process's memory while that waits: nothing but system calls, and messages. */
static int become_program(void *given)
{
    struct program *program = given;
    uint8_t message[LONGEST_MESSAGE];
    char name[] = "init";
    char *arguments[] = {name, NULL}, *nothing[] = {NULL};
    int channel = program->descriptors[0];
    if (!hand_over_descriptors(program)) {
        channel = FIRST;
        run_opening(&program->opening, channel);
        if (!keep_rights())
            execve(program->path, arguments, nothing);
    }
    const int number = errno;
    send_message(channel, message,
                 pack_error(message, SESSION_ERROR, "cannot start pid 1 of the container", reason(number), number, "start"));
    _exit(OURS);
}

/* spawn(path, flags, descriptors, opening records, texts, copied): an opening that waits for us needs a copy of our
 * memory; any other runs in it, and we go on when the program has been executed. */
static PyObject *door_spawn(PyObject *self, PyObject *arguments)
{
    (void)self;
    struct program program = {0};
    unsigned long flags;
    Py_buffer records, texts;
    int pidfd = -1, copied, pid = -1;

    if (!PyArg_ParseTuple(arguments, "yk(iii)y*w*p", &program.path, &flags, &program.descriptors[0],
                          &program.descriptors[1], &program.descriptors[2], &records, &texts, &copied)) {
        return NULL;
    }
    if (!read_script(&program.opening, &records, &texts)) {
        PyErr_SetString(PyExc_ValueError, "no whole script");
    } else if (copied) {
        pid = (int)syscall(SYS_clone, flags | CLONE_PIDFD | SIGCHLD, 0L, &pidfd, 0L, 0L);
        if (pid == 0) {
            become_program(&program);
        }
    } else {
        /* Not on our own stack, of which a limit may leave little. */
        char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        if (stack != MAP_FAILED) {
            pid = clone(become_program, stack + STACK, (int)flags | CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
                        &program, &pidfd);
            int failed = errno;
            munmap(stack, STACK);
            errno = failed;
        }
    }
    if (pid == -1 && !PyErr_Occurred()) {
        PyErr_SetFromErrno(PyExc_OSError);
    }
    PyBuffer_Release(&records);
    PyBuffer_Release(&texts);
    return pid == -1 ? NULL : Py_BuildValue("ii", pid, pidfd);
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
    return fork_interpreter(0, NULL);
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

/* What was allocated to make the container and is free again goes back to the kernel. */
static PyObject *door_trim(PyObject *self, PyObject *nothing)
{
    (void)self, (void)nothing;
    malloc_trim(0);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"syscall", door_syscall, METH_VARARGS, "syscall(name, number, *arguments) -> int"},
    {"clone", door_clone, METH_VARARGS, "clone(flags) -> (pid, pidfd), (0, -1) in the child"},
    {"spawn", door_spawn, METH_VARARGS, "spawn(path, flags, descriptors, records, texts, copied) -> (pid, pidfd)"},
    {"run", door_run, METH_VARARGS, "run(records, texts) -> (record, errno) of the failure, errno 0 for none"},
    {"contain", door_contain, METH_VARARGS, "contain(descriptors, records, texts): be pid 1; returns in the payload"},
    {"expand", door_expand, METH_VARARGS, "expand(literal, pattern, home) -> words"},
    {"matches", door_matches, METH_VARARGS, "matches(name, pattern) -> bool"},
    {"trim", door_trim, METH_NOARGS, "trim(): give free memory back to the kernel"},
    {"address", door_address, METH_O, "address(buffer) -> int, valid while the buffer is kept"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_syscall", "System calls by number, and pid 1.", -1, methods, NULL, NULL, NULL, NULL,
};

/* What Python's own modules lack, beside the calls that a script may make. */
static const struct call other_calls[] = {
    {"seccomp", SYS_seccomp}, {"signalfd4", SYS_signalfd4}, {"rt_sigaction", SYS_rt_sigaction},
    {"rt_sigprocmask", SYS_rt_sigprocmask}, {"pidfd_send_signal", 424}, {"close_range", 436},
    {"pidfd_getfd", 438}, {"socketpair", SYS_socketpair}, {"socket", SYS_socket}, {"bind", SYS_bind},
    {"listen", SYS_listen}, {NULL, 0},
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

PyMODINIT_FUNC PyInit__syscall(void)
{
    PyObject *self = PyModule_Create(&module), *known = numbers();
    if (!self || !known || PyModule_AddObjectRef(self, "NUMBERS", known)) {
        Py_CLEAR(self);
    }
    Py_XDECREF(known);
    return self;
}
