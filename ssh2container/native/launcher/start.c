/* The interpreter's start without what no login needs: 3 ms instead of 6 (docs/performance.md).
 *
 * The launcher has the dynamic linker load this library into /usr/bin/python3 (LD_PRELOAD, ld.so(8)), where it takes
 * the place of the program's main(). It initialises the interpreter's core alone ("Multi-Phase Initialization" in
 * CPython's documentation of PyConfig): no search for its files, no encodings, no text streams, no zip files. Then it
 * runs the bundle (admin/install/bundle.py, loading.py). What is missing is made up for when a session imports
 * something that is neither in the bundle nor in the interpreter, such as the reader of YAML.
 *
 * Whatever is not as it was at the installation (another Python, no bundle for it) means that Python's own main() runs,
 * and with it the script that is named on the command line, which does the same in twice the time.
 *
 * STDLIB and DYNLOAD are the two directories of modules on sys.path, PREFIX is sys.prefix; the installer asks Python.
 * WRITTEN, which may be missing, lists the pages of the program's data that its core writes to, as pairs of an offset
 * from the program's begin and a size; the installer measures them (admin/install/written.py).
 */
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <marshal.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define INTERPRETER L"/usr/bin/python3"
#define LONGEST_PATH 4096
#define POPULATE_WRITE 23   /* MADV_POPULATE_WRITE, madvise(2), since Linux 5.14 */
#define FILLED (1024 << 10) /* bytes of them that a login needs at least */

enum { OPTIONS_AND_SCRIPT = 3, OURS = 125 };

typedef int Main(int, char **, char **);
typedef int Start(Main *, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);

static Main *pythons_main;

static _Noreturn void fail(void)
{
    static const char line[] =
        "ssh2container: the installation is incomplete; an administrator runs install.sh again\n";
    (void)!write(2, line, sizeof line - 1);
    _exit(OURS);
}

static void must(PyStatus status)
{
    if (PyStatus_Exception(status))
        fail();
}

/* Put the directory of this very file into PLACE: all of a login is of one version. */
static int find_place(char *place)
{
    Dl_info found;
    if (!dladdr(&pythons_main, &found) || !found.dli_fname || strlen(found.dli_fname) >= LONGEST_PATH)
        return 0;
    strcpy(place, found.dli_fname);
    char *slash = strrchr(place, '/');
    return slash ? (*slash = 0, 1) : 0;
}

/* For the doctor, who reads it in this file: the interpreter that the library was built for, as its cache tag. */
#define SPELT(number) #number
#define TAG(major, minor) "ssh2container-start:cpython-" SPELT(major) SPELT(minor) ";"
__attribute__((used)) static const char built_for[] = TAG(PY_MAJOR_VERSION, PY_MINOR_VERSION);

/* Return the content of the bundle that belongs to the running Python; NULL where there is none. */
static char *map_bundle(const char *place, size_t *size)
{
    char path[LONGEST_PATH + 64];
    snprintf(path, sizeof path, "%s/cpython-%d%d-%lx.bundle", place, PY_MAJOR_VERSION, PY_MINOR_VERSION, Py_Version);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat found;
    if (file < 0)
        return NULL;
    void *data = MAP_FAILED;
    if (!fstat(file, &found) && found.st_size > 0) {
        *size = (size_t)found.st_size;
        data = mmap(NULL, *size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    }
    close(file);
    return data == MAP_FAILED ? NULL : data;
}

static PyObject *complete(PyObject *self, PyObject *nothing)
{
    (void)self, (void)nothing;
    PyStatus status = _Py_InitializeMain();
    if (PyStatus_Exception(status)) {
        PyErr_SetString(PyExc_ImportError, status.err_msg ? status.err_msg : "cannot complete the interpreter");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef complete_method = {"complete", complete, METH_NOARGS, "Do the other half of the start."};

/* The memory of Python's objects, in pieces of 1 MiB; a login fills more than the first. Having the kernel hand out
 * many pages at once takes half of the time that as many page faults do. */
static void *new_arena(void *bytes_left, size_t size)
{
    size_t *left = bytes_left;
    void *made = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED)
        return NULL;
    if (*left)
        madvise(made, *left < size ? *left : size, POPULATE_WRITE);
    *left -= *left < size ? *left : size;
    return made;
}

static void drop_arena(void *bytes_left, void *arena, size_t size)
{
    (void)bytes_left;
    munmap(arena, size);
}

/* Have the kernel copy at once the pages of the program's data that will be copied anyhow, each on its first write. */
static void copy_what_is_written(void)
{
#ifdef WRITTEN
    static const struct {
        size_t offset, size;
    } runs[] = {WRITTEN};
    /* The program's headers lie in its first page. */
    char *begin = (char *)(getauxval(AT_PHDR) & -getauxval(AT_PAGESZ));
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        madvise(begin + runs[i].offset, runs[i].size, POPULATE_WRITE);
#endif
}

static void start_core(const char *place, int count, char **words)
{
    static size_t filled = FILLED;
    PyObjectArenaAllocator arenas = {&filled, new_arena, drop_arena};
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1, before.configure_locale = 0;
    must(Py_PreInitialize(&before));
    PyObject_SetArenaAllocator(&arenas);

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config._init_main = 0;
    config.site_import = config.write_bytecode = config.parse_argv = config.install_signal_handlers = 0;
    config.module_search_paths_set = 1;
    wchar_t *first = Py_DecodeLocale(place, NULL);
    if (!first)
        fail();
    must(PyWideStringList_Append(&config.module_search_paths, first));
    must(PyWideStringList_Append(&config.module_search_paths, L"" STDLIB));
    must(PyWideStringList_Append(&config.module_search_paths, L"" DYNLOAD));
    PyMem_RawFree(first);
    wchar_t **paths[] = {&config.prefix, &config.base_prefix, &config.exec_prefix, &config.base_exec_prefix};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        must(PyConfig_SetString(&config, paths[i], L"" PREFIX));
    must(PyConfig_SetString(&config, &config.stdlib_dir, L"" STDLIB));
    must(PyConfig_SetString(&config, &config.executable, INTERPRETER));
    must(PyConfig_SetString(&config, &config.base_executable, INTERPRETER));
    must(PyConfig_SetBytesArgv(&config, count, words));
    must(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
}

/* Call start() of loading.py, the first of the bundle's contents; it does not return. */
static void run(char *data, size_t size, int count, char **words)
{
    PyObject *contents = PyMarshal_ReadObjectFromString(data, (Py_ssize_t)size);
    PyObject *names = PyDict_New(), *list = PyList_New(0);
    if (!contents || !names || !list || PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins()))
        fail();
    for (int i = 0; i < count; i++) {
        PyObject *word = PyBytes_FromString(words[i]);
        if (!word || PyList_Append(list, word))
            fail();
    }
    PyObject *code = PyTuple_GetItem(contents, 0);
    if (!code || !PyEval_EvalCode(code, names, names))
        fail();
    PyObject *start = PyDict_GetItemString(names, "start");
    PyObject *view = PyMemoryView_FromMemory(data, (Py_ssize_t)size, PyBUF_READ);
    PyObject *given = Py_BuildValue("(NNN)", view, contents, list);
    PyObject *named =
        Py_BuildValue("{s:O,s:N}", "launched", Py_True, "complete", PyCFunction_New(&complete_method, NULL));
    if (start && given && named)
        PyObject_Call(start, given, named);
    fail();
}

/* The one variable that brought this library here has done its work: /proc/PID/environ shows none either. */
static void forget_environment(char **variables)
{
    for (char **variable = variables; *variable; variable++)
        memset(*variable, 0, strlen(*variable));
    clearenv();
}

static int our_main(int count, char **words, char **variables)
{
    char place[LONGEST_PATH];
    size_t size = 0;
    char *data = NULL;

    forget_environment(variables);
    if (count >= OPTIONS_AND_SCRIPT && Py_Version >> 16 == PY_VERSION_HEX >> 16 && find_place(place))
        data = map_bundle(place, &size);
    if (!data)
        return pythons_main(count, words, variables);
    copy_what_is_written();
    start_core(place, count - OPTIONS_AND_SCRIPT + 1, words + OPTIONS_AND_SCRIPT - 1);
    PyGC_Disable(); /* until the session waits: looking for garbage costs a login 1 ms */
    run(data, size, count - OPTIONS_AND_SCRIPT, words + OPTIONS_AND_SCRIPT);
    return OURS;
}

/* What every program's first instruction calls, with its main() (LSB, "Interfaces for libc"). */
int __libc_start_main(Main *main, int count, char **words, void (*begin)(void), void (*end)(void), void (*unload)(void),
                      void *stack_end)
{
    Start *real = (Start *)(void *)dlsym(RTLD_NEXT, "__libc_start_main");
    if (!real)
        fail();
    pythons_main = main;
    return real(our_main, count, words, begin, end, unload, stack_end);
}
