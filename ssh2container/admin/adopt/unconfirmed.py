"""Taking over for a while: what takes itself back unless somebody confirms it in time.

A file of root's names the accounts and the time. What waits for that time is a timer of systemd's where that
runs, a process in a session of its own elsewhere, which no logout ends. ``enable --runtime`` has somebody
wait again after a boot.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ssh2container.admin import atomic, cgroups
from ssh2container.admin.adopt import records, returning
from ssh2container.admin.change import make_directories
from ssh2container.admin.durable import locked
from ssh2container.admin.sshd import CONTROL
from ssh2container.errors import Refusal, SessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FILE = f"{records.DIRECTORY}/unconfirmed"
UNIT = "ssh2container-adopt"
WAITING = "--unconfirmed"
"""The option by which what waits is started."""
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """Who is given back, when (seconds since 1970), and in which words what waits is named."""

    users: tuple[str, ...]
    deadline: float
    means: str


def pending() -> Unconfirmed | None:
    """Return what waits to be confirmed, None where nothing does. Raises SessionError for a file not ours."""
    try:
        with open(FILE, encoding="utf-8") as file:
            value = json.load(file)
        return Unconfirmed(tuple(value["users"]), float(value["deadline"]), str(value["means"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SessionError(f"cannot read {FILE}", str(error), step="adopt") from None


def arm(users: Sequence[str], seconds: float) -> Unconfirmed:
    """Have ``users`` given back after ``seconds``, whatever becomes of us.

    Raises Refusal where something waits already, SessionError where nothing can be made to wait.
    """
    before = pending()
    if before is not None:
        raise Refusal(
            "cannot take more accounts over for a while",
            f"{', '.join(before.users)} wait to be confirmed",
            "ssh2containerctl adopt --confirm, or adopt --undo, first",
            "adopt",
        )
    make_directories(records.DIRECTORY, 0o700)
    _write(Unconfirmed(tuple(users), time.time() + seconds, "nothing"))
    try:
        means = _start(seconds)
    except BaseException:
        os.unlink(FILE)
        raise
    waits = Unconfirmed(tuple(users), time.time() + seconds, means)
    _write(waits)
    return waits


def count_from_now(seconds: float) -> None:
    """Have the time begin now, where something waits."""
    waits = pending()
    if waits is not None:
        _write(Unconfirmed(waits.users, time.time() + seconds, waits.means))


def _write(waits: Unconfirmed) -> None:
    atomic.write(FILE, json.dumps(asdict(waits)) + "\n", 0o600)


def _start(seconds: float) -> str:
    command = [CONTROL, "adopt", "--undo", WAITING]
    if _has_systemd():
        answer = subprocess.run(
            [
                "systemd-run",
                "--collect",
                f"--on-active={max(round(seconds), 1)}",
                f"--unit={UNIT}",
                "--timer-property=AccuracySec=1s",
                *command,
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            raise SessionError("systemd-run failed", answer.stderr.strip().replace("\n", "; "), step="adopt")
        return f"{UNIT}.timer of systemd"
    waiting = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    return f"the process {waiting.pid}, which outlives this login"


def confirm() -> Unconfirmed:
    """Have nothing taken back. Raises Refusal where nothing waits."""
    waits = pending()
    if waits is None:
        raise Refusal("nothing to confirm", "no account waits for it", step="adopt")
    os.unlink(FILE)  # whatever waits ends when it finds no file
    if _has_systemd():
        subprocess.run(["systemctl", "stop", f"{UNIT}.timer"], check=False, capture_output=True)
    return waits


def forget(users: Sequence[str]) -> None:
    """Have those who were given back wait no longer."""
    waits = pending()
    if waits is None:
        return
    left = tuple(name for name in waits.users if name not in users)
    if left:
        _write(Unconfirmed(left, waits.deadline, waits.means))
    else:
        os.unlink(FILE)


def wait() -> bool:
    """Return once the time has come; whether anybody is to be given back then. Raises SessionError."""
    while (waits := pending()) is not None:
        left = waits.deadline - time.time()
        if left <= 0:
            return True
        time.sleep(min(left, _POLL_S))
    return False


def give_back(tell: Callable[[str], None]) -> list[str]:
    """Give back whoever was not confirmed in time; return a line for each who could not be.

    Those stay unconfirmed: ``enable --runtime``, after a boot for example, tries again. Of several who
    wait, one is enough: the others return at once. tell: is told a sentence about each who was given back.
    """
    with _alone() as alone:
        while alone and wait():
            # The run that takes them over holds the directory, and the time begins anew at its end.
            with locked(records.DIRECTORY):
                waits = pending()
                if waits is not None and waits.deadline <= time.time():
                    return _each(waits, tell)
    return []


def _each(waits: Unconfirmed, tell: Callable[[str], None]) -> list[str]:
    failures = []
    for name in waits.users:
        try:
            record = records.of(name)
            if record is not None:
                returning.give_back(record, lambda _state, _change: None)
                tell(f"{name} was not confirmed in time, and is as before")
            forget([name])
        except (SessionError, OSError) as error:
            failures.append(str(error))
    return failures


@contextlib.contextmanager
def _alone() -> Iterator[bool]:
    """Tell whether nobody else waits, and keep others from it for the length of a ``with``."""
    descriptor = os.open(f"{records.DIRECTORY}/waiting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def after_boot(tell: Callable[[str], None]) -> list[str]:
    """Do after a boot what would have been done without it: give back, or wait again; failures as above."""
    waits = pending()
    if waits is None:
        return []
    # With systemd by a unit of its own, which may all that giving back takes.
    if waits.deadline <= time.time() and not _has_systemd():
        return give_back(tell)
    if not _is_awaited():
        means = _start(waits.deadline - time.time())
        _write(Unconfirmed(waits.users, waits.deadline, means))
    return []


def _is_awaited() -> bool:
    """Tell whether the timer still runs; where processes wait, one more than needed ends by itself."""
    if not _has_systemd():
        return False
    asking = ["systemctl", "is-active", "--quiet", f"{UNIT}.timer", f"{UNIT}.service"]
    return subprocess.run(asking, check=False).returncode == 0


def _has_systemd() -> bool:
    return os.path.isdir(cgroups.RUNS)
