"""One lane of tests while it runs: its machine, its pytest, what that prints and what it comes to."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterable

from support import lane as lane_init
from support.copying import Source
from support.deal import Plan
from support.outcome import OWN_INIT, STDOUT, TOLD, VARIABLE, Outcome
from support.room import Obstacle
from support.times import LaneTimes

_FIRST_USER, _USERS = 10000, 8000


class Lane:
    """A lane while it runs.

    lines: what its pytest has printed and is held back for the end. ended: a line for one that ended early.
    """

    def __init__(self, plan: Plan, directory: str, shared: Iterable[str] = ()) -> None:
        """directory: where its machine is made. shared: the trees of this machine that it has overlays of."""
        self.plan = plan
        self._shared = list(shared)
        self._told: Outcome | None = None
        self._remover: threading.Thread | None = None
        self._root = "/" if plan.in_place else f"{directory}/root"
        self.lines: list[str] = []
        self.status: int | None = None
        self.outcome = Outcome(3)
        self.ended = ""
        self.times = LaneTimes(plan.name, 0.0, 0.0)
        self._process: subprocess.Popen[str] | None = None
        self._began = 0.0

    def make(self, source: Source, number: int, checkout: str) -> None:
        """Make its files. Raises OSError, subprocess.CalledProcessError."""
        if self.plan.in_place:
            return
        os.makedirs(os.path.dirname(self._root), mode=0o755, exist_ok=True)
        source.copy(self._root)
        _number_users(f"{self._root}/etc/login.defs", _FIRST_USER + number * _USERS)
        place = self._root + os.path.dirname(checkout)
        if checkout not in self._shared and not os.path.exists(self._root + checkout):
            os.makedirs(place, exist_ok=True)
            subprocess.run(["cp", "--archive", "--reflink=auto", "-t", place, checkout], check=True)

    def start(self, command: list[str]) -> None:
        """Start its machine, which then waits. Raises Obstacle."""
        own_network = [] if self.plan.online else ["--net"]
        network = lane_init.SHARED_NETWORK if self.plan.online else lane_init.OWN_NETWORK
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--ipc", "--uts", *own_network,
             "--fork", "--kill-child", "/usr/bin/python3", "-IB", lane_init.__file__, self._root,
             ":".join(self._shared), network, *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            text=True, errors="backslashreplace", env={**os.environ, VARIABLE: STDOUT, OWN_INIT: "1"},
        )  # fmt: skip
        assert self._process.stdout
        said = []
        for line in self._process.stdout:
            if line == lane_init.READY + "\n":
                return
            said.append(line.strip())
        self.status = self._process.wait()
        raise Obstacle(f"the machine of the lane {self.plan.name} does not start: {said[-1] if said else ''}")

    def begin(self, printed: queue.SimpleQueue[tuple[Lane, str | None]]) -> None:
        """Let its tests begin; each line and then None go to ``printed``."""
        process = self._process
        assert process
        assert process.stdin
        self._began = time.monotonic()
        process.stdin.write("go\n")
        process.stdin.flush()

        def read() -> None:
            assert process.stdout
            for line in process.stdout:
                if line.startswith(TOLD):
                    self._told = Outcome.parse(line.removeprefix(TOLD))
                else:
                    printed.put((self, line.rstrip("\n")))
            printed.put((self, None))

        threading.Thread(target=read, daemon=True).start()

    def interrupt(self) -> None:
        """Have its pytest stop as Ctrl-C would."""
        if self._process and self._process.poll() is None:
            with open(
                f"/proc/{self._process.pid}/task/{self._process.pid}/children", encoding="ascii"
            ) as file:
                for pid in file.read().split():
                    os.kill(int(pid), signal.SIGTERM)

    def end(self) -> None:
        """End everything in it."""
        if self._process and self.status is None:
            self._process.kill()  # --kill-child: pid 1 of the lane goes with it, and all others with that
            self.wait()
        if self._remover:
            self._remover.join()

    def wait(self) -> None:
        """Note how it has ended."""
        assert self._process
        _, status, used = os.wait4(self._process.pid, 0)
        self._process.returncode = self.status = os.waitstatus_to_exitcode(status)
        self.times.seconds = time.monotonic() - self._began
        self.times.processor = used.ru_utime + used.ru_stime
        self.outcome = self._outcome()
        if not self.plan.in_place:
            # While others still run: nobody waits for it then.
            self._remover = threading.Thread(target=remove, args=(os.path.dirname(self._root),))
            self._remover.start()

    def _outcome(self) -> Outcome:
        """What it came to; a lane that did not get to its end is an error."""
        known = self._told
        if known is not None and known.status == self.status:
            return known
        counts = dict(known.counts) if known else {}
        counts["error"] = counts.get("error", 0) + 1
        self.ended = (
            f"ERROR lane {self.plan.name} - its pytest ended with status {self.status} before its end"
        )
        return Outcome(3, counts, known.files if known else {})


def _number_users(login_defs: str, first: int) -> None:
    """Have useradd number a lane's users apart from those of others: the kernel counts some things by uid."""
    with open(login_defs, encoding="utf-8") as file:
        text = file.read()
    for kind in ("UID", "GID"):
        for which, number in (("MIN", first), ("MAX", first + _USERS - 1)):
            text = re.sub(rf"(?m)^{kind}_{which}\s.*$", f"{kind}_{which} {number}", text)
    with open(login_defs, "w", encoding="utf-8") as file:
        file.write(text)


def remove(place: str) -> None:
    """Remove the machines in ``place``. What is mounted there is not followed: it would be of others."""
    if os.path.isdir(place):
        subprocess.run(["rm", "-r", "-f", "--one-file-system", "--", place], check=True)
