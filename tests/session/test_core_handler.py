"""Whatever a payload does with its limits, no core handler of the host starts for it (core(5))."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.host import run
from support.kernel import PATTERN, core_pattern
from support.login import inside, live, login, python_inside, start
from support.users import MakeUser, User

CONTROL = "/usr/bin/ssh2containerctl"
# Reads all of the core: the kernel then marks the death with the flag that WCOREDUMP asks for.
HANDLER = "|/usr/bin/sha256sum"
CRASH = """
import os, signal
child = os.fork()
if not child:
    os.kill(os.getpid(), signal.SIGSEGV)
print(os.WCOREDUMP(os.waitpid(child, 0)[1]))
"""
SHOW = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE), flush=True)"


def core_limit(pid: int) -> list[str]:
    """The soft and the hard limit of a process, as the kernel spells them."""
    with open(f"/proc/{pid}/limits", encoding="ascii") as file:
        return next(line.split()[4:6] for line in file if line.startswith("Max core file size"))


@pytest.fixture
def handler() -> Iterator[None]:
    """A core handler on this machine, for the moment of a test."""
    with core_pattern(HANDLER):
        yield


@pytest.mark.usefixtures("handler")
def test_the_handler_of_this_test_would_start() -> None:
    done = run(["bash", "-c", f"ulimit -c 0; exec python3 -c '{CRASH}'"]).ok()
    assert done.text == "True\n"


LOWERINGS = [
    "",
    "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 1))",
    "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
    "import subprocess, os; subprocess.run(['prlimit', '--core=0:0', '-p', str(os.getpid())])",
    "import resource\ntry: resource.prlimit(0, resource.RLIMIT_CORE, (0, 0))\nexcept PermissionError: pass",
]


@pytest.mark.usefixtures("handler")
@pytest.mark.parametrize("lower", LOWERINGS)
def test_no_handler_starts_after_the_limit_was_lowered(user: User, lower: str) -> None:
    assert python_inside(user, f"{lower}\n{CRASH}").text.splitlines()[-1:] == ["False"]


@pytest.mark.usefixtures("handler")
def test_the_shell_of_the_session_may_crash(user: User) -> None:
    with open(os.devnull, "r+b") as null:
        session = start(user, "-c", "ulimit -c 0; kill -SEGV $$", stdin=null, stdout=null, stderr=null)
        _, status = os.waitpid(session.pid, 0)
        session.returncode = os.waitstatus_to_exitcode(status)
    assert os.WTERMSIG(status) == signal.SIGSEGV
    assert not os.WCOREDUMP(status)  # it is the monitor that dies so, outside


@pytest.mark.usefixtures("handler")
@pytest.mark.parametrize("core", ["0", "1", "{soft: 0, hard: 1}", "{soft: 0, hard: -1}", "-1"])
def test_no_policy_brings_the_handler_back(make_user: MakeUser, core: str) -> None:
    user = make_user(f"image: host\nulimits: {{core: {core}}}\n")
    assert python_inside(user, CRASH).ok().text == "False\n"


@pytest.mark.usefixtures("handler")
def test_exec_dies_as_the_command_and_starts_none(user: User) -> None:
    with live(user):
        (session,) = json.loads(run([CONTROL, "sessions", "--json", user.name]).ok().text)["sessions"]
        name = session["id"]
        words = [CONTROL, "exec", name, "--", "sh", "-c", "ulimit -c 0; kill -SEGV $$"]
        with open(os.devnull, "r+b") as null:
            actions = [(os.POSIX_SPAWN_DUP2, null.fileno(), number) for number in (0, 1, 2)]
            pid = os.posix_spawn(CONTROL, words, os.environ, file_actions=actions)
            _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGSEGV
    assert not os.WCOREDUMP(status)


def test_a_login_that_crashes_before_it_is_a_session_starts_none(user: User) -> None:
    """A client may send ^\\ to a terminal that is not raw yet; no limit but 1 helps, and it is set first."""
    with live(user) as session:
        assert core_limit(session.monitor) == ["1", "1"]


@pytest.mark.usefixtures("handler")
def test_a_hard_limit_of_0_is_refused_where_there_is_a_handler(user: User) -> None:
    done = login(user, "-c", "true", before=["prlimit", "--core=0:0"])
    assert done.status == 126
    assert "limits.conf(5)" in done.errors


@pytest.mark.parametrize("core", ["0", "1", "-1"])
def test_a_hard_limit_of_0_is_kept_where_there_is_none(make_user: MakeUser, core: str) -> None:
    """Which limits.conf(5) may say, and was no reason to refuse a login before."""
    user = make_user(f"image: host\nulimits: {{core: {core}}}\n")
    with core_pattern("core"):
        done = python_inside(user, f"{SHOW}\n{CRASH}", before=["prlimit", "--core=0:0"]).ok()
    assert done.text == "(0, 0)\nFalse\n"


@pytest.mark.usefixtures("handler")
def test_a_soft_limit_of_0_is_no_obstacle(user: User) -> None:
    done = python_inside(user, f"{SHOW}\n{CRASH}", before=["prlimit", "--core=0:unlimited"]).ok()
    assert done.text == "(1, 1)\nFalse\n"


@pytest.mark.parametrize("value", ["@/run/nobody.sock", "@@/run/nobody.sock", HANDLER, "core"])
def test_the_doctor_knows_the_handlers_that_no_limit_holds(tmp_path: Path, value: str) -> None:
    """Since Linux 6.16 the pattern may name a socket, for which the kernel asks no limit."""
    (tmp_path / "pattern").write_text(f"{value}\n")
    shown = f"mount --bind {tmp_path}/pattern {PATTERN} && exec {CONTROL} doctor --host --json"
    done = run(["unshare", "--mount", "sh", "-c", shown])
    assert "kernel.uidmap" in done.text
    assert ("kernel.core_pattern" in done.text) == value.startswith("@")


def test_a_profile_that_sets_the_limit_stays_quiet(user: User) -> None:
    done = inside(
        user, "ulimit -c 0 && ulimit -S -c 0 && ulimit -H -c 0 && prlimit --core=0 true && echo so"
    ).ok()
    assert (done.text, done.err) == ("so\n", b"")
    assert (
        python_inside(user, "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))").text
        == "(1, 1)\n"
    )
