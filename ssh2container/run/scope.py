"""The scope around a session: having the user's manager make it around process 1.

The manager is asked as soon as process 1 exists, by as little code as that takes, and answers while the order
of process 1 is written and the rest is imported; only the payload waits. What the manager says counts for
nothing: the session is limited when the kernel says so, of process 1 (/proc/PID/cgroup) and of the control
group (its own files). Imported only for a policy with limits.
"""

from __future__ import annotations

import posix as os
import time

from ssh2container.kernel import process
from ssh2container.paths import CGROUPS
from ssh2container.plan.limits import unit

from . import dbus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ssh2container.plan.limits import Bound, Scope

    from .cgroup import Cgroup

_RUNTIME = "/run/user/%d/"
_PATIENCE_S = 1.0
"""How long a login waits in all. A manager that lives takes some milliseconds."""
_FIRST_S = 0.5
"""The part of it that is for the first of the two sockets."""
_MANAGER, _OBJECT = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
_NOT_THERE = tuple(
    f"org.freedesktop.DBus.Error.{name}" for name in ("NameHasNoOwner", "ServiceUnknown", "NoReply")
)
"""What a bus says that the manager has not joined yet: the first to ask may have started the bus itself."""
_EXISTS = "org.freedesktop.systemd1.UnitExists"
"""What a manager says that is so busy that it reads both calls at once: it will do what the first asks."""
_AWAY = "the user's service manager is out of reach"


def _sockets() -> tuple[tuple[str, int], ...]:
    """Return (socket, serial of the call) in the order in which they are tried.

    The manager has one of its own, for when there is no bus; systemd promises nothing about it.
    """
    runtime = _RUNTIME % os.getuid()
    return (runtime + "bus", 2), (runtime + "systemd/private", 1)


class Placing:
    """A process on its way into its scope.

    name: of the container. pid: of its process 1, which belongs to the user's own uid until this is settled.
    """

    def __init__(self, scope: Scope, name: str, pid: int) -> None:
        """Ask the manager, without waiting for anything."""
        self._scope = scope
        self._unit = unit(name)
        self._pid = pid
        self._until = time.monotonic() + _PATIENCE_S
        self._left = list(_sockets())
        self._whys: list[str] = []
        self._path = self._asked = ""
        if scope.divided:
            from . import whole

            whole.prepare(scope)  # type: ignore[arg-type]
        self._conversation = self._ask()

    def settle(self) -> Cgroup:
        """Wait until process 1 is limited; of ``best`` one that is not has a ``why``. Raises Refusal."""
        from .cgroup import Cgroup

        why = self._why_not()
        if self._conversation is not None:
            self._conversation.close()
        found = Cgroup(self._scope, self._path, why)
        if self._scope.divided and not why:
            from . import whole

            whole.divide(self._scope, self._path, self._pid)  # type: ignore[arg-type]
        if why and self._scope.is_required:
            found.close()
            raise self._scope.refusal(why)
        return found

    def _ask(self) -> dbus.Conversation | None:
        """Ask at the next socket that takes us; None where there is none left."""
        while self._left:
            path, serial = self._left.pop(0)
            values: tuple[Any, ...] = self._unit, "fail", self._scope.properties(self._pid), []
            message = dbus.call(
                serial,
                _MANAGER,
                _OBJECT,
                _MANAGER + ".Manager.StartTransientUnit",
                "ssa(sv)a(sa(sv))",
                values,
            )
            conversation = dbus.Conversation(path, _with_hello(message, serial), serial)
            try:
                conversation.begin()
            except dbus.Unusable as error:
                conversation.close()
                self._whys.append(f"{path}: {error}")
            else:
                self._asked = path
                return conversation
        return None

    def _why_not(self) -> str:
        """Return why process 1 is not limited, "" when it is."""
        from . import dbus_answer

        while self._conversation is not None:
            until = min(self._until, time.monotonic() + _FIRST_S) if self._left else self._until
            try:
                dbus_answer.await_answer(self._conversation, until)
            except dbus_answer.Declined as error:
                # One socket may have been too slow: what it was asked for has been done by now, or will be.
                if not self._is_inside():
                    if self._left and str(error).startswith(_NOT_THERE):
                        self._next(str(error))
                        continue
                    if not str(error).startswith(_EXISTS) or self._await():
                        return f"the user's service manager declines: {error}"
            except dbus.Unusable as error:
                self._next(str(error))
                continue
            return self._await()
        return f"{_AWAY} ({'; '.join(self._whys)})"

    def _next(self, why: str) -> None:
        """Give up the socket that was asked, and ask at the next."""
        self._whys.append(f"{self._asked}: {why}")
        if self._conversation is not None:
            self._conversation.close()
        self._conversation = self._ask()

    def _await(self) -> str:
        """Wait until the kernel says that the limits hold; return what it says instead, or ""."""
        length = dbus.SHORT_S
        while True:
            why = "it said so and did not move process 1"
            if self._is_inside():
                missing = unmet(CGROUPS + self._path, self._scope.limits)
                if not missing:
                    return ""
                why = f"the kernel does not hold the session to {missing}"
                never = _without_controller(self._path, self._scope.limits)
                if never:
                    return f"{why}: the user's service manager has no controller {never}"
            try:
                length = dbus.pause(self._until, length)
            except dbus.Unusable:
                return why if self._path else f"the user's service manager is of no use: {why}"

    def _is_inside(self) -> bool:
        found = cgroup_of(self._pid)
        if found.endswith("/" + self._unit):
            self._path = found
        return bool(self._path)


def silence() -> str:
    """Return why the manager of the user who asks does not answer, "" when it does: for the doctor."""
    from . import dbus_answer

    whys = []
    for path, serial in _sockets():
        # One alone would wait there: the manager reads a handshake in pieces of 256 bytes, and looks at what
        # came with the last piece when more comes.
        calls = (
            (number, _MANAGER, _OBJECT, "org.freedesktop.DBus.Peer.Ping") for number in (serial, serial + 1)
        )
        pings = b"".join(dbus.call(*one) for one in calls)
        conversation = dbus.Conversation(path, _with_hello(pings, serial), serial + 1)
        try:
            dbus_answer.await_answer(conversation, time.monotonic() + _FIRST_S)
        except (dbus.Unusable, dbus_answer.Declined) as error:
            whys.append(f"{path}: {error}")
        else:
            return ""
        finally:
            conversation.close()
    return f"{_AWAY} ({'; '.join(whys)})"


def _with_hello(message: bytes, serial: int) -> bytes:
    """Return a call of that serial as a socket takes it: a bus wants to be greeted first."""
    bus = "org.freedesktop.DBus"
    return dbus.call(1, bus, "/org/freedesktop/DBus", bus + ".Hello") + message if serial > 1 else message


def cgroup_of(pid: int) -> str:
    """Return the control group of ``pid`` in the unified hierarchy, "" where it has none (cgroups(7))."""
    try:
        text = process.read_file(f"/proc/{pid}/cgroup").decode("utf-8", "surrogateescape")
    except OSError:
        return ""
    found = [line[3:] for line in text.splitlines() if line.startswith("0::/")]
    return found[0].rstrip("/") if found else ""


def _without_controller(path: str, limits: tuple[Bound, ...]) -> str:
    """Return the controllers for want of which what is missing at ``path`` never comes, "" where it may.

    A manager hands on what it was given, and no more (cgroups(7), cgroup.controllers).
    """
    above, manager, _ = path.partition(f"/user@{os.getuid()}.service/")
    try:
        given = process.read_file(f"{CGROUPS}{above}{manager}cgroup.controllers").decode("ascii", "replace")
    except OSError:
        return ""
    wanted = {bound.files[0].partition(".")[0] for bound in limits if not _is_met(CGROUPS + path, bound)}
    absent = wanted - {*given.split()}
    return ", ".join(sorted(absent)) if absent == wanted else ""


def unmet(directory: str, limits: tuple[Bound, ...]) -> str:
    """Return the limits that the files in ``directory`` do not confirm, "" when all hold."""
    return ", ".join(bound.words for bound in limits if not _is_met(directory, bound))


def _is_met(directory: str, bound: Bound) -> bool:
    for name in bound.files:
        try:
            text = process.read_file(f"{directory}/{name}").decode("ascii", "replace")
        except OSError:
            continue
        return bound.is_met(text)
    # A kernel without an account of swap has no such file: nothing is to be counted where there is none.
    return bound.files == ("memory.swap.max",) and not _has_swap()


def _has_swap() -> bool:
    try:
        return process.read_file("/proc/swaps").count(b"\n") > 1
    except OSError:
        return True
