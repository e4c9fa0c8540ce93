"""The program that makes what is not compiled: what it is given, what it may answer, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from support.host import DEADLINE_SECONDS, children, until
from support.policies import Tree, chain

from ssh2container.admin.seccomp import build
from ssh2container.errors import Refusal, SessionError
from ssh2container.policy import cold, filters, store
from ssh2container.policy.policy import Seccomp

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture
def as_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``admin``: nothing in this process makes the parts.

    The program runs in the tests' interpreter, as a checkout has no libraries beside it.
    """
    monkeypatch.setattr(cold, "here", None)
    monkeypatch.setattr(cold, "_COMMAND", (sys.executable, "-IB", *cold._COMMAND[2:]))


@pytest.fixture
def tree(tmp_path: os.PathLike[str]) -> Tree:
    return chain(os.fspath(tmp_path))


@pytest.mark.usefixtures("as_a_login")
def test_it_makes_what_this_process_would_make(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    spawn = os.posix_spawn

    def noting(*words: object, **options: object) -> int:
        started.append(spawn(*words, **options))  # type: ignore[arg-type]
        return started[-1]

    monkeypatch.setattr("posix.posix_spawn", noting)
    made = tree.load("alice", "staff")
    assert len(started) == 1, "one program makes all parts"
    monkeypatch.undo()
    assert made == tree.load("alice", "staff")
    assert len(tree.logged) == 8, "four parts, twice"


@pytest.mark.usefixtures("as_a_login")
@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("users/alice", "hostnam: x\nimage: [1]\n"),
        ("users/alice", "extends: [nosuch]"),
        ("users/alice", b"hostname: \xff\n"),
        ("users/alice", "&a [*a, *a]"),
        ("config", "group_order: 7"),
        ("enforced", "mem_limit: -1"),
    ],
)
def test_an_error_is_the_same_line_and_status(
    tree: Tree, part: str, text: str | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.write(part, text)
    with pytest.raises(Refusal) as told:
        tree.load("alice")
    monkeypatch.undo()
    with pytest.raises(Refusal) as here:
        tree.load("alice")
    assert (str(told.value), told.value.step) == (str(here.value), here.value.step)


@pytest.mark.usefixtures("as_a_login")
def test_a_file_that_cannot_be_read_is_the_same_error(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chmod(tree.write("users/alice", ""), 0o666)
    with pytest.raises(Refusal) as told:
        tree.load("alice")
    monkeypatch.undo()
    with pytest.raises(Refusal) as here:
        tree.load("alice")
    assert str(told.value) == str(here.value)


def plays(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Have ``program`` run in its place."""
    monkeypatch.setattr(cold, "_COMMAND", (sys.executable, "-ISBc", program))


ANSWERS = (
    ("raise SystemExit", "it ended without an answer"),
    ("import os; os.read(0, 9); os.write(1, b'm\\x10\\0\\0\\0half')", "it ended without an answer"),
    ("import os; os.read(0, 9); os.write(1, b'm\\xff\\xff\\xff\\xff'); os.read(0, 9999); os.read(0, 1)",
     "larger than"),
    ("import os, time; os.read(0, 9); time.sleep(1000)", "it has not answered for"),
    ("import os, time; os.read(0, 9); os.write(1, b'm\\xff\\0\\0\\0some'); time.sleep(1000)",
     "it has not answered for"),
    ("import time; time.sleep(1000)", "it has not answered for"),
)  # fmt: skip


@pytest.fixture
def no_child_is_left() -> Iterator[None]:
    before = {child.pid for child in children(os.getpid())}
    descriptors = set(os.listdir("/proc/self/fd"))
    yield
    assert {child.pid for child in children(os.getpid())} == before
    assert set(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.usefixtures("as_a_login", "no_child_is_left")
@pytest.mark.parametrize(("program", "why"), ANSWERS)
def test_one_that_fails_ends_the_session_and_itself(
    tree: Tree, program: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plays(monkeypatch, program)
    monkeypatch.setattr(cold, "PATIENCE_S", 0.2 if "sleep" in program else DEADLINE_SECONDS)
    with pytest.raises(SessionError, match=why) as told:
        tree.load("alice")
    assert told.value.status == SessionError.status
    assert told.value.remedy


@pytest.mark.usefixtures("no_child_is_left")
def test_a_request_that_it_does_not_take_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    plays(monkeypatch, "import time; time.sleep(1000)")
    monkeypatch.setattr(cold, "PATIENCE_S", 0.2)
    program = cold.Program()
    try:
        with pytest.raises(SessionError, match="it has not answered for"):
            program.programs(Seccomp("default", ("x" * 200_000,), (), "errno"), (), 0)
    finally:
        program.close()


@pytest.mark.usefixtures("no_child_is_left")
def test_it_has_no_environment_no_terminal_and_no_signal_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    plays(
        monkeypatch,
        "import os\n"
        "blocked = [line for line in open('/proc/self/status') if line.startswith('SigBlk')]\n"
        "found = set(os.environ) - {'LC_CTYPE'}, os.getsid(0) == os.getpid(), blocked\n"
        "text = repr(found).encode(); os.read(0, 4)\n"
        "os.write(1, b'b' + len(text).to_bytes(4, 'little') + text)",
    )
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    program = cold.Program()
    try:
        with pytest.raises(RuntimeError) as told:
            program.part("config", store.STANDARD)
    finally:
        program.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    assert str(told.value) == "(set(), True, ['SigBlk:\\t0000000000000000\\n'])"


@pytest.mark.needs_root  # who may look at the descriptors of a process that leaves no core
@pytest.mark.usefixtures("as_a_login", "no_child_is_left")
def test_it_holds_no_descriptor_of_the_session(tree: Tree) -> None:
    """Not even one that a library left open for it."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    program = cold.Program()
    try:
        program.part("config", tree.places)
        (child,) = [child.pid for child in children(os.getpid()) if b"admin/cold.py" in child.command()]
        held = {os.readlink(f"/proc/{child}/fd/{name}") for name in os.listdir(f"/proc/{child}/fd")}
    finally:
        program.close()
    assert os.readlink(f"/proc/self/fd/{writer}") not in held
    os.close(reader)
    os.close(writer)


def test_it_does_not_outlive_the_session() -> None:
    program = (
        f"import sys; sys.path.insert(0, {ROOT!r})\n"
        "from ssh2container.policy import cold\nrunning = cold.Program()\n"
        "print(flush=True); sys.stdin.read()"
    )
    session = subprocess.Popen(
        [sys.executable, "-ISBc", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert session.stdout
    session.stdout.readline()
    (child,) = children(session.pid)
    session.kill()
    session.communicate()
    until(lambda: not os.path.exists(f"/proc/{child.pid}"), "it has ended")


@pytest.mark.usefixtures("as_a_login", "files_of_root")
def test_a_filter_is_the_one_that_this_process_builds() -> None:
    program = cold.Program()
    wanted = Seccomp("default", ("ptrace",), (), "log")
    try:
        assert filters.unpack(program.programs(wanted, (), 0), "the program")[2] == build.programs(wanted)
    finally:
        program.close()


def test_what_makes_a_policy_loads_little() -> None:
    """A login whose policy is not compiled waits for its start: it takes nothing that verbs alone need."""
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; import ssh2container.admin.policy.compile.compiler;"
        " print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-ISB", "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "yaml" in loaded
    assert not loaded & {"dataclasses", "glob", "inspect", "json", "pwd", "subprocess", "typing"}
