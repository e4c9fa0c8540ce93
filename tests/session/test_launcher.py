"""The static launcher and the script behave the same; only the launcher outlives a hostile environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from support.host import DEADLINE_SECONDS, run
from support.ledger import Ledger
from support.login import inside, live, login, start
from support.users import SHELL, MakeUser, User

SCRIPT = "/usr/lib/ssh2container/login"
EVERYTHING = 'image: host\naccept_env: ["*"]\n'


def is_launcher() -> bool:
    with open(SHELL, "rb") as file:
        return file.read(4) == b"\x7fELF"


pytestmark = pytest.mark.skipif(not is_launcher(), reason="no static program could be linked here")


@pytest.fixture
def script(ledger: Ledger, checkout: str) -> Iterator[str]:
    """The login shell as it is without a launcher."""
    path = "/usr/local/bin/ssh2container-script"
    ledger.note_path(path)
    shutil.copy(f"{checkout}/bin/ssh2container", path)
    os.chmod(path, 0o755)
    yield path
    os.unlink(path)


@pytest.fixture
def both(make_user: MakeUser, script: str) -> Callable[[], tuple[User, User]]:
    """Two users of one policy: one behind the launcher, one behind the script."""
    return lambda: (make_user(EVERYTHING), make_user(EVERYTHING, shell=script))


COMMANDS: tuple[tuple[str, ...], ...] = (
    ("-c", "exit 7"),
    ("-c", "kill -TERM $$"),
    ("-c", "echo out; echo err >&2"),
    ("-c", "nosuchprogram"),
    ("-c", "printf %s 'a b'; readlink /proc/self/fd/3 || echo closed"),
    ("--version",),
    ("--help",),
    ("-x",),
    ("-c",),
    ("-c", "a", "b"),
    ("--", "-c", "true"),
    ("-c", "x" * 100_000),
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words)[:30])
def test_both_answer_alike(both: Callable[[], tuple[User, User]], words: tuple[str, ...]) -> None:
    first, second = (login(user, *words) for user in both())
    assert (first.status, first.out) == (second.status, second.out)
    assert first.err.count(b"\n") == second.err.count(b"\n")


VARIABLES = {
    "PLAIN": "value",
    "EMPTY": "",
    "WITH_EQUALS": "a=b=c",
    "BYTES": "\udcff\udc80",
    "LINES": "one\ntwo\n",
    "LC_ALL": "xx_YY.ISO-8859-1",
    "LONG": "x" * 4000,
    "TZ": "Asia/Tokyo",
}


def test_both_hand_on_the_same_environment(both: Callable[[], tuple[User, User]]) -> None:
    show = "env -0 | tr '\\0' '\\1' | sort -z"
    seen = []
    for user in both():
        done = inside(user, show, environment=VARIABLES).ok()
        text = done.out.replace(user.name.encode(), b"USER").replace(user.shell.encode(), b"SHELL")
        seen.append({line for line in text.split(b"\1") if not line.startswith((b"_=", b"SSH2CONTAINER"))})
    assert seen[0] == seen[1]
    assert b"BYTES=\xff\x80" in seen[0]


HOSTILE = (
    "LD_PRELOAD",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_DEBUG",
    "GLIBC_TUNABLES",
    "PYTHONSTARTUP",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONBREAKPOINT",
    "OPENSSL_CONF",
    "OPENSSL_MODULES",
    "GCONV_PATH",
    "LOCPATH",
    "NLSPATH",
    "HOSTALIASES",
    "BASH_ENV",
    "ENV",
    "SHELLOPTS",
    "BASH_FUNC_x%%",
    "IFS",
    "PS4",
    "TMPDIR",
    "LC_ALL",
    "LANGUAGE",
    "MALLOC_TRACE",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_variable_acts_before_the_container(
    user: User, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """Each points at a library, module or file that would leave a mark outside or say something."""
    directory = prepared(tmp_path_factory)
    mark = f"{directory}/mark-{user.uid}"
    value = {
        "LD_PRELOAD": f"{directory}/evil.so",
        "LD_AUDIT": f"{directory}/evil.so",
        "LD_DEBUG": "all",
        "GLIBC_TUNABLES": "glibc.malloc.check=3",
        "PYTHONSTARTUP": f"{directory}/sitecustomize.py",
        "OPENSSL_CONF": f"{directory}/openssl.cnf",
        "PYTHONINSPECT": "1",
        "PYTHONHOME": "/nonexistent",
        "BASH_ENV": f"{directory}/rc",
        "ENV": f"{directory}/rc",
        "BASH_FUNC_x%%": "() { :; }; touch " + mark,
        "LC_ALL": "../../../" + directory,
        "MALLOC_TRACE": mark,
    }.get(name, directory)
    done = login(user, "-c", "echo ran", environment={name: value, "MARK": mark})
    assert (done.status, done.out) == (0, b"ran\n")
    # A locale that does not exist is let in; the shell inside says so.
    assert done.err == b"" or (name == "LC_ALL" and b"setlocale" in done.err)
    assert not os.path.exists(mark)


def prepared(factory: pytest.TempPathFactory) -> str:
    """A directory that the user can read, with what each variable may lead to."""
    directory = str(factory.mktemp("hostile"))
    os.chmod(directory, 0o777)
    parent = os.path.dirname(directory)
    while parent != "/":
        os.chmod(parent, os.stat(parent).st_mode | 0o011)
        parent = os.path.dirname(parent)
    write(f"{directory}/evil.c", EVIL)
    run(["gcc", "-shared", "-fPIC", "-o", f"{directory}/evil.so", f"{directory}/evil.c"]).ok()
    write(f"{directory}/sitecustomize.py", "import os; open(os.environ['MARK'], 'w').close()\n")
    shutil.copy(f"{directory}/sitecustomize.py", f"{directory}/marshal.py")
    write(f"{directory}/openssl.cnf", f".include {directory}/missing\nopenssl_conf = none\n")
    write(f"{directory}/rc", 'touch "$MARK"\n')
    return directory


EVIL = """
#include <stdlib.h>
#include <fcntl.h>
unsigned la_version(unsigned version) { return version; }
__attribute__((constructor)) static void act(void)
{
    const char *mark = getenv("MARK");
    if (mark) open(mark, O_CREAT | O_WRONLY, 0666);
}
"""


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def test_the_preloaded_library_would_have_acted(
    make_user: MakeUser, script: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The attack is real: it works on the script, whose interpreter is dynamic."""
    user = make_user(EVERYTHING, shell=script)
    directory = prepared(tmp_path_factory)
    mark = f"{directory}/mark"
    login(user, "-c", "true", environment={"LD_PRELOAD": f"{directory}/evil.so", "MARK": mark})
    assert os.path.exists(mark)


def test_the_interpreter_has_no_environment(user: User) -> None:
    process = start(user, "-c", "echo up; cat", environment={"SECRET": "kept"})
    try:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        with open(f"/proc/{process.pid}/environ", "rb") as file:
            variables = [item for item in file.read().split(b"\0") if item]
        assert not [item for item in variables if not item.startswith(b"LC_CTYPE=")]  # which Python may add
    finally:
        process.communicate(timeout=DEADLINE_SECONDS)


def test_a_directory_is_refused_before_the_interpreter(user: User) -> None:
    """The interpreter alone would end with status 1 and words of its own."""
    descriptor = os.open("/tmp", os.O_RDONLY | os.O_DIRECTORY)
    try:
        done = login_with(user, descriptor)
    finally:
        os.close(descriptor)
    assert done == (126, b"", 1)


def login_with(user: User, stdin: int) -> tuple[int, bytes, int]:
    process = start(user, "-c", "echo ran", stdin=stdin)
    out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert err.startswith(b"ssh2container: ")
    return process.returncode, out, err.count(b"\n")


def test_the_script_of_the_launcher_is_no_way_in(user: User) -> None:
    """Called without the launcher it has no environment to read: one line, and no session."""
    done = login(user, "-c", "echo ran", before=(SCRIPT,))
    assert (done.status, done.out) in ((125, b""), (126, b""))
    assert "Traceback" not in done.errors


def test_neither_lets_a_crash_of_its_own_start_a_core_handler(both: Callable[[], tuple[User, User]]) -> None:
    """The core limit is one of exactly 1, for the monitor too (core(5))."""
    for user in both():
        with live(user) as session, open(f"/proc/{session.monitor}/limits", encoding="ascii") as file:
            (line,) = [line for line in file if line.startswith("Max core file size")]
            assert line.split()[4:6] == ["1", "1"]
