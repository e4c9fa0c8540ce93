"""What a plain session may cost, in things that can be counted: modules, system calls, processes, files.

No clock is read here; docs/performance.md has the times and tests/benchmarks measures them. Whoever exceeds
a budget has to decide: either the new cost goes, or the figure here changes, with its reason.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter

import pytest
from support.host import run
from support.login import finish, start
from support.tracing import strace
from support.users import SHELL, User

INTERPRETER = "/usr/bin/python3"
MODULES_AT_LAUNCH = """
import os, sys
before = set(sys.modules)
sys.path.insert(0, os.path.realpath("/usr/lib/ssh2container/current"))
from ssh2container import shell
from ssh2container.record import registry
def start(plan, log):
    registry.own.leave()
    print(*sorted(set(sys.modules) - before))
    sys.stdout.flush()
    os._exit(0)
shell.session([b"-c", b"true"], os.environb, start=start)
"""
BUNDLE = """
import glob, marshal, posix, sys
directory = posix.readlink("/usr/lib/ssh2container/current")
sys.path.insert(0, f"/usr/lib/ssh2container/{directory}")
from ssh2container.loading import Bundle
for name in [name for name in sys.modules if name.startswith("ssh2container")]:
    del sys.modules[name]
(path,) = glob.glob(f"{sys.path[0]}/*-{sys.hexversion:x}.bundle")
with open(path, "rb") as file:
    data = file.read()
_, now, later, left = marshal.loads(data)
class Telling(Bundle):
    def missing(self, module, name):
        found = super().missing(module, name)
        sys.stderr.write(f"{module.__name__} {name}\\n")
        sys.stderr.flush()
        return found
bundle = Telling(data, later, left, None)
sys.meta_path[:0] = [bundle]
bundle.make(now)
from ssh2container.shell import main
main([word.encode() for word in sys.argv[2:]])
"""
FOREIGN = "__future__ _blake2 _stat _struct binascii errno fcntl gc grp marshal posix pwd time"
"""All but the first, which the bundle leaves out, are C, and most are part of the interpreter."""
OWN = """
errors kernel kernel._syscall kernel.capabilities kernel.landlock kernel.libc kernel.mounts
kernel.names kernel.namespaces kernel.process kernel.script kernel.signals kernel.sockets paths plan
plan.account
plan.accounts plan.environment plan.greeting plan.host plan.image plan.insider plan.make plan.operations
plan.operations.confinement plan.operations.filesystem plan.operations.identity plan.operations.landlock
plan.operations.limits plan.operations.network plan.operations.proc plan.operations.steps
plan.operations.volumes plan.program plan.request plan.sources plan.tools plan.tree plan.upper plan.walls
policy
policy.commands policy.filters policy.layers policy.merge policy.policy policy.rules policy.specifiers
policy.store record record.audit record.registry run run.channel run.launch run.order shell
"""
"""Everything that is imported before pid 1 starts. While it makes the container the rest follows."""

CALLS = {
    "monitor": (450, "reads four parts of the policy and two filters, observes the host, two records"),
    "pid 1": (
        440,
        "36 mounts, 20 trees, 40 entries, 41 capabilities, 62 signals, the payload; ten more or less",
    ),
    "payload": (85, "15 Landlock rules, a filter"),
}
"""Process -> (system calls at most, what for); the monitor's without those of a bare interpreter."""
FORKS = 2
"""pid 1 and the payload. No helper: only userns_mode: range has two."""
EXECUTED = ["/usr/bin/ssh2container", INTERPRETER]
"""The static launcher, the interpreter; then pid 1 and the payload's shell."""
INIT = "init"
"""pid 1's program, which is executed by descriptor."""
LOCALES = ("/usr/lib/locale/", "/usr/share/locale/")
MAY_READ = re.compile(
    r"/usr/lib/ssh2container/(login|[^/]+(/[^/]+\.bundle|(/ssh2container/kernel)?|/.*\.so))"
    r"|/var/lib/ssh2container/compiled/(policy/(config|defaults|enforced|users/[^/]+)|seccomp/[0-9a-f]+)"
    r"|/run/ssh2container/[0-9]+(/\.?[0-9a-f]+)?"
    r"|/etc/(ld\.so\.cache|nsswitch\.conf|passwd|group|skel(/.*)?)"
    r"|/proc/(sys/kernel/cap_last_cap|sys/user/max_user_namespaces|self/(uid_map|gid_map|setgroups)|[0-9]+/stat)"
    r"|(/usr)?/lib(/x86_64-linux-gnu|/aarch64-linux-gnu)/lib[a-z_.0-9-]+|/dev/null"
)
"""Every path that a session's monitor may open beside what the interpreter itself does."""


class Trace:
    """The calls of one session up to the payload's program, by process in order of birth."""

    def __init__(self, user: User, command: list[str]) -> None:
        self.calls: dict[str, Counter[str]] = {}
        self.executed: list[str] = []
        self.opened: list[tuple[str, str]] = []
        with tempfile.NamedTemporaryFile("r", errors="replace") as log:
            trace = strace(log=log.name, user=user.name)
            run([*trace, *command], env=user.environment(), cwd=user.home).ok()
            lines = log.read().splitlines()
        running: set[str] = set()
        for line in lines:
            # A call that strace shows in two halves counts where it begins.
            match = re.match(r"(\d+) +(\w+)\((.*)", line)
            if match and match.group(1) not in running:
                self._note(match.group(1), match.group(2), match.group(3), running)

    def _note(self, pid: str, name: str, rest: str, running: set[str]) -> None:
        calls = self.calls.setdefault(pid, Counter())
        calls[name] += 1
        path = re.search(r'"(.*?)"', rest)
        if name == "execveat" and " = -1 " not in rest:
            self.executed.append(INIT)
        elif name == "execve" and " = -1 " not in rest and path:
            self.executed.append(path.group(1))
            if len(self.calls) > 1:
                running.add(pid)
        elif name in ("open", "openat") and "ENOENT" not in rest and path:
            self.opened.append((pid, path.group(1)))


@pytest.fixture(scope="module")
def trace(shared_user: User) -> Trace:
    run(["ssh2containerctl", "compile"]).ok()
    return Trace(shared_user, [SHELL, "-c", "true"])


@pytest.fixture(scope="module")
def bare(shared_user: User) -> Trace:
    """The interpreter alone, which costs what its makers decide."""
    return Trace(shared_user, [INTERPRETER, "-ISBc", "pass"])


def test_modules_of_a_plain_session(user: User) -> None:
    """Each module costs a session about 0.05 ms; what only some sessions need is imported for those."""
    run(["ssh2containerctl", "compile"]).ok()
    done = finish(start(user, before=[INTERPRETER, "-ISB", "-c", MODULES_AT_LAUNCH])).ok()
    imported = set(done.text.split())
    ours = {name for name in imported if name.startswith("ssh2container")}
    assert ours == {"ssh2container", *(f"ssh2container.{name}" for name in OWN.split())}
    assert imported - ours <= set(FOREIGN.split())


def test_a_plain_session_makes_nothing_that_is_deferred(user: User) -> None:
    """What it uses leaves admin/install/deferred.txt: asking for it costs more than having it."""
    run(["ssh2containerctl", "compile"]).ok()
    plain, told = (
        finish(start(user, *words, before=[INTERPRETER, "-ISB", "-c", BUNDLE])).ok()
        for words in (["-c", "true"], ["-c", "/usr/lib/openssh/sftp-server"])
    )
    # The launcher, which is not in front here, does this one itself.
    assert plain.errors.splitlines() == ["ssh2container.kernel.process keep_from_core_handlers"]
    assert "ssh2container.plan.program " in told.errors, "an SFTP session's own definitions are not deferred"


def test_system_calls_of_a_plain_session(trace: Trace, bare: Trace) -> None:
    assert len(trace.calls) == 1 + FORKS
    counts = {
        process: sum(calls.values()) for process, calls in zip(CALLS, trace.calls.values(), strict=True)
    }
    (base,) = (sum(calls.values()) for calls in bare.calls.values())
    counts["monitor"] -= base
    over = {name: (count, *CALLS[name]) for name, count in counts.items() if count > CALLS[name][0]}
    assert not over, "process: (calls, budget, reason)"


def test_programs_and_processes_of_a_plain_session(trace: Trace) -> None:
    kinds = ("clone", "clone3", "fork", "vfork")
    assert sum(calls[name] for calls in trace.calls.values() for name in kinds) == FORKS
    # Without a C compiler there is no launcher: the script is the login shell.
    assert trace.executed in ([*EXECUTED, INIT, "/bin/bash"], [EXECUTED[0], INIT, "/bin/bash"])


def test_only_the_core_of_the_interpreter_starts(trace: Trace) -> None:
    """Under the launcher no file of Python's own is looked for, as nothing imports one (launcher/start.c)."""
    if EXECUTED[0] not in trace.executed or INTERPRETER not in trace.executed:
        pytest.skip("no static program could be linked here")
    monitor = next(iter(trace.calls))
    opened = [path for pid, path in trace.opened if pid == monitor]
    assert any(path.endswith("/start.so") for path in opened)
    assert not [path for path in opened if path.startswith("/usr/lib/python3")]


def test_nothing_else_is_read(trace: Trace, bare: Trace) -> None:
    """No YAML, no search for modules, no library but those of the two C modules."""
    of_interpreter = {path for _, path in bare.opened}
    monitor = next(iter(trace.calls))
    opened = {path for pid, path in trace.opened if pid == monitor} - of_interpreter
    odd = {path for path in opened if not MAY_READ.fullmatch(path) and not path.startswith(LOCALES)}
    assert not odd
