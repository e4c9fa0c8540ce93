/* System calls by number, for Python: the one thing that its own modules lack.
 *
 * syscall(name, number, *arguments): integers are passed as they are, bytes-like objects by
 * address; -1 becomes OSError(errno, text, name). clone(number, flags): fork into new namespaces.
 * Built on the stable ABI of CPython 3.11, so one build serves every later version.
 * ctypes does the same and costs each login 3 ms (docs/performance.md).
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <errno.h>
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

/* A clone without a stack is a fork; the interpreter has to be told before and after, as os.fork() does. */
static PyObject *door_clone(PyObject *self, PyObject *arguments)
{
    (void)self;
    long number;
    unsigned long flags;
    int pidfd = -1;

    if (!PyArg_ParseTuple(arguments, "lk", &number, &flags)) {
        return NULL;
    }
    PyOS_BeforeFork();
    long pid = syscall(number, flags, 0L, &pidfd, 0L, 0L);
    int failed = errno;
    if (pid == 0) {
        PyOS_AfterFork_Child();
        pidfd = -1;
    } else {
        PyOS_AfterFork_Parent();
    }
    errno = failed;
    return pid == -1 ? PyErr_SetFromErrno(PyExc_OSError) : Py_BuildValue("li", pid, pidfd);
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

static PyMethodDef methods[] = {
    {"syscall", door_syscall, METH_VARARGS, "syscall(name, number, *arguments) -> int"},
    {"clone", door_clone, METH_VARARGS, "clone(number, flags) -> (pid, pidfd), (0, -1) in the child"},
    {"address", door_address, METH_O, "address(buffer) -> int, valid while the buffer is kept"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_syscall", "System calls by number.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__syscall(void)
{
    return PyModule_Create(&module);
}
