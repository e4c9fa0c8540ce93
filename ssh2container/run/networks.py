"""Taking one of the network namespaces that root has prepared (:mod:`ssh2container.plan.pools`).

It is this process's, the monitor's or the owner's, until that ends: the lock on it goes with the process,
whatever ends it. What it is to those who wait for a container is a way out, as a forwarder is.
"""

from __future__ import annotations

import errno
import fcntl
import posix as os

from ssh2container.errors import Refusal, SessionError
from ssh2container.kernel import interfaces, process
from ssh2container.plan.pools import LOCK, NAMESPACE, STEP
from ssh2container.record import registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.plan.pools import Interface, Pool, Slot
    from ssh2container.record.audit import Session

_LONGEST_MARK = 64
_HIDDEN = "-"
"""In the mark in place of when pid 1 started, where the host's /proc does not show it (proc(5), hidepid)."""
_AGAIN = "an administrator runs ssh2containerctl compile"
_FACTS = ("networks", "addresses")
"""What records say: the names of the networks, and the session's addresses on them."""
_held: list[Taken] = []


class Way:
    """What a session has of networks. facts: what its records say of them."""

    status = -1
    """Nobody speaks of it: see ``run.forwarding.Forwarder``, of which this is the quiet kind."""

    def __init__(self, facts: dict[str, str]) -> None:
        self.facts = facts

    def record_in(self, log: Session) -> None:
        """Have all records of the session from here on say :attr:`facts`."""
        log.know(**self.facts)

    def await_ready(self) -> bool:
        """Return whether pid 1 waits to be told that it is ready."""
        return False

    def hear(self) -> bool:
        """Tell whether it says more."""
        return False

    def bury(self) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


class Taken(Way):
    """One that was taken. namespace: a descriptor of it until :meth:`entered`, then -1."""

    def __init__(self, slot: Slot, networks: str, lock: int, namespace: int) -> None:
        super().__init__({"networks": networks})
        self.slot = slot
        self.namespace = namespace
        self._lock = lock
        self._init = 0

    def entered(self, init: int) -> None:
        """Note that the process ``init`` is in it: whoever wants it next waits for the end of that."""
        os.close(self.namespace)
        self.namespace = -1
        self._init = init
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{init} {registry.started(init) or _HIDDEN}\n".encode(), 0)

    def await_ready(self) -> bool:
        """Look at what is inside, now that somebody is. Raises Refusal where an interface is gone."""
        static = [one for interface in self.slot.interfaces for one in interface.addresses]
        try:
            names, dealt = self._look(self._init)
        except OSError:  # hidepid (proc(5)), or it has ended, of which whoever waits for it will hear
            names, dealt = self._look_from_inside()
        self.facts["addresses"] = ", ".join(dict.fromkeys(static + dealt))
        for interface in self.slot.interfaces:
            if interface.name not in names:
                raise _gone(interface, f"{interface.name} is gone, with {interface.parent}", _AGAIN)
        return True

    def _look(self, whose: int | str) -> tuple[set[str], list[str]]:
        """Return the names of the interfaces, and the addresses where a lease says them."""
        dealt = () if all(interface.addresses for interface in self.slot.interfaces) else (whose,)
        return interfaces.names_of(whose), [one for who in dealt for one in interfaces.addresses_of(who)]

    def _look_from_inside(self) -> tuple[set[str], list[str]]:
        """Do :meth:`_look` where the host's /proc does not show what it takes. Raises SessionError."""
        from ssh2container.kernel import prepared

        def look() -> bytes:
            names, dealt = self._look("self")
            return f"{' '.join(names)}\n{' '.join(dealt)}".encode()

        try:
            said = prepared.ask_inside(f"{self.slot.place}/{NAMESPACE}", look).decode()
        except OSError as error:
            what = "cannot look at the session's networks"
            raise SessionError(what, error.strerror or "", _AGAIN, STEP, error.errno or 0) from None
        names, _, dealt = said.partition("\n")
        return set(names.split()), dealt.split()

    def end(self) -> None:
        """Give it back: nobody is inside any more."""
        self.leave()

    def leave(self) -> None:
        """Give it back."""
        # A mark that stays would count as the next process of that number where /proc hides it.
        if self._init and self._lock >= 0 and not _exists(self._init):
            os.ftruncate(self._lock, 0)
        for descriptor in (self.namespace, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self.namespace = self._lock = -1


def take(pool: Pool) -> Taken:
    """Return a free one, in place of what this process has had.

    Raises Refusal where there is none, with ENETDOWN where what it stands on is gone or down.
    """
    give_back()
    # The one that nobody has used for longest: what the kernel still knows of its last session is oldest.
    for slot in sorted(pool.slots, key=_last_used):
        taken = _try(slot, pool.networks)
        if taken is not None:
            _held.append(taken)
            try:
                _require_connected(slot)
            except BaseException:
                give_back()
                raise
            return taken
    count = len(pool.slots)
    why = "the one that is prepared is in use" if count == 1 else f"all {count} that are prepared are in use"
    if pool.outdated:
        why += f", and {pool.outdated} more are of the policy as it was"
    raise Refusal(
        f"there is no free network for {pool.name}",
        why,
        "log out of a session first, or an administrator writes a larger network_pool",
        STEP,
    )


def facts() -> dict[str, str]:
    """Return what records say of the one that this process has."""
    return {name: text for taken in _held for name, text in taken.facts.items()}


def of_container(entry: str) -> Way:
    """Return what a container that logins share has, of which its registry entry says the facts.

    entry: the file.
    """
    try:
        text = process.read_file(entry, os.O_NOFOLLOW).decode("utf-8", "surrogateescape")
    except OSError:
        text = ""
    pairs = (line.partition(" ") for line in text.splitlines())
    return Way({name: value for name, _, value in pairs if name in _FACTS})


def give_back() -> None:
    """Give back what this process has taken."""
    while _held:
        _held.pop().leave()


def _gone(interface: Interface, why: str, remedy: str) -> Refusal:
    where = {"bridge": "the bridge ", "macvlan": "", "interface": "the interface "}[interface.driver]
    what = f"cannot connect the session to {where}{interface.parent}"
    return Refusal(what, why, remedy, STEP, errno.ENETDOWN)


def _require_connected(slot: Slot) -> None:
    """Raise Refusal where the host's side of an interface leads nowhere.

    A bridge or interface without carrier will do: a cable can come back, and others on the bridge are there.
    """
    for index, interface in enumerate(slot.interfaces):
        if interface.driver == "interface":
            continue
        try:
            parent = interfaces.find(interface.parent)
            end = interfaces.find(slot.host_end(index)) if interface.driver == "bridge" else None
        except OSError as error:
            raise _gone(interface, f"cannot look at it: {error.strerror}", "") from None
        if parent is None:
            raise _gone(
                interface, "it is not there", "an administrator makes it, then: ssh2containerctl compile"
            )
        if not parent.is_up:
            raise _gone(interface, "it is down", f"an administrator runs ip link set {interface.parent} up")
        if interface.driver == "bridge" and (end is None or end.master != parent.index or not end.is_up):
            raise _gone(interface, "it was made anew, or the session's interface was taken off it", _AGAIN)


def _try(slot: Slot, networks: str) -> Taken | None:
    try:
        lock = os.open(f"{slot.place}/{LOCK}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None  # root is making it anew
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_there = os.stat(f"{slot.place}/{LOCK}").st_ino == os.fstat(lock).st_ino
        if is_there and not _has_somebody(lock):
            return Taken(
                slot, networks, lock, os.open(f"{slot.place}/{NAMESPACE}", os.O_RDONLY | os.O_CLOEXEC)
            )
    except OSError:
        pass
    os.close(lock)
    return None


def _has_somebody(lock: int) -> bool:
    """Tell whether the last pid 1 is there: a killed monitor's lock is free before that has ended."""
    pid, _, start = os.pread(lock, _LONGEST_MARK, 0).decode("ascii", "replace").strip().partition(" ")
    if not pid.isdecimal() or not start:
        return False
    now = registry.started(int(pid))
    # Where the host's /proc shows nobody else's processes, one that has the number now counts as that one.
    return now == start if now and start != _HIDDEN else _exists(int(pid))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _last_used(slot: Slot) -> float:
    try:
        return os.stat(f"{slot.place}/{LOCK}").st_mtime
    except OSError:
        return 0.0
