"""Start-up under attack: death at every system call, storms of signals, hardly any resources."""

from __future__ import annotations

import os
import re
import resource
import signal

import pytest
from support.host import DEADLINE_SECONDS, processes, until
from support.leaks import tidy_after_a_killed_monitor
from support.login import start
from support.tracing import traced
from support.users import User

MARK = "ran-inside"
ECHO = f"echo {MARK}"


def calls(user: User) -> dict[str, int]:
    """How often one process of a session makes each call, from the first exec to the last exit."""
    done, log = traced(user, ECHO)
    assert done.ok().text == MARK + "\n"
    counts: dict[tuple[str, str], int] = {}
    for line in log.splitlines():
        if match := re.match(r"(\d+) +(\w+)\(", line):
            key = match.group(1), match.group(2)
            counts[key] = counts.get(key, 0) + 1
    names = {name for _, name in counts}
    return {
        name: max(count for (_, called), count in counts.items() if called == name) for name in sorted(names)
    }


def test_sigkill_at_every_system_call_leaves_nothing(user: User) -> None:
    """Whichever of the three processes makes the call, at the first, a middle and the last time it does."""
    tried = killed = 0
    for name, count in calls(user).items():
        for number in sorted({1, (count + 1) // 2, count}):
            done, log = traced(user, ECHO, name, fault=f"signal=KILL:when={number}", ends=True)
            tried += 1
            killed += "killed by SIGKILL" in log
            place = f"{name} number {number}: {done}"
            assert done.out in (b"", MARK.encode() + b"\n"), place
            assert "Traceback" not in done.errors, place
            until(lambda: not processes(user.uid), f"nothing is left after {place}")
            tidy_after_a_killed_monitor(user)
    assert tried > 60
    assert killed > tried // 2


@pytest.mark.parametrize("name", ["INT", "HUP", "STOP", "TERM", "USR1", "PIPE", "ALRM", "QUIT", "WINCH"])
def test_storms_of_signals_during_start_up(user: User, name: str) -> None:
    """Whatever arrives while the container is made: it runs as asked, or ends; it never runs by halves."""
    number = signal.Signals["SIG" + name]
    for pause in range(12):
        process = start(user, "-c", f"echo {MARK}")
        for _ in range(20 * (pause + 1)):
            process.send_signal(number)
            os.sched_yield()
            if number == signal.SIGSTOP:
                process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
        assert out in (b"", MARK.encode() + b"\n"), (out, err)
        # Before its first line the interpreter has the default actions: to end by the signal is right.
        assert process.returncode in (0, 125, -number, 128 + number), (process.returncode, err)
        assert b"Traceback" not in err
        until(lambda: not processes(user.uid), "nothing is left")
        tidy_after_a_killed_monitor(user)


LIMITS = [
    ("NOFILE", (0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 24)),
    ("NPROC", (1, 2)),
    ("FSIZE", (0, 1, 4096)),
    ("AS", (1 << 20, 16 << 20, 32 << 20, 64 << 20)),
    ("DATA", (1 << 16, 1 << 20)),
    ("STACK", (4096, 65536)),
    ("MEMLOCK", (0,)),
    ("SIGPENDING", (0,)),
    ("MSGQUEUE", (0,)),
    ("CORE", (0,)),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in LIMITS for value in values])
def test_tiny_limits_fail_closed(user: User, name: str, value: int) -> None:
    """Less than a session needs: no session. Never one that runs outside, and nothing is left."""
    number = getattr(resource, "RLIMIT_" + name)

    program = (
        f"import os, resource, sys; resource.setrlimit({number}, ({value}, {value}));"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    done_process = start(user, "-c", "cat /proc/self/status", before=["/usr/bin/python3", "-ISc", program])
    out, err = done_process.communicate(timeout=DEADLINE_SECONDS)
    if out:
        assert b"Seccomp:\t2" in out, err
        assert b"NoNewPrivs:\t1" in out
        assert b"CapBnd:\t0000000000000000" in out
    else:
        assert done_process.returncode != 0
        if name == "FSIZE":
            assert (done_process.returncode, err[:15]) == (125, b"ssh2container: "), err
    until(lambda: not processes(user.uid), "nothing is left")
