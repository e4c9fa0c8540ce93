"""Sessions that are: hints of the registry that the kernel confirms, and those that only the kernel knows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.sessions import hints, impersonate, kernel, unlisted
from ssh2container.errors import SessionError, printable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

    from ssh2container.admin.sessions.hints import Hint
    from ssh2container.admin.sessions.kernel import Process


class Live:
    """A session, or a shared container, whose monitor (or owner) the kernel has confirmed.

    pidfd: of that process, open until :meth:`close`. container: the shared one it is in, or None.
    """

    def __init__(self, who: impersonate.Identity, hint: Hint, pidfd: int, monitor: Process) -> None:
        self.who = who
        self.hint = hint
        self.pidfd = pidfd
        self.monitor = monitor
        self.container: Live | None = None

    @property
    def id(self) -> str:
        """What the user's log and messages call it."""
        return self.hint.id

    def close(self) -> None:
        """Let go of the process."""
        os.close(self.pidfd)

    def facts(self, init: Process | None) -> dict[str, Any]:
        """Return who and what it is; init: its container's pid 1. Texts were written by the user's uid."""
        fields = self.hint.fields
        found: dict[str, Any] = {
            "id": self.id,
            "user": self.who.name,
            "uid": self.who.uid,
            "since": self.monitor.since,
            "starting": self.hint.is_starting,
            "image": fields.get("image", ""),
            "monitor": self.monitor.pid,
            "init": None if init is None else init.pid,
            "pid_namespace": None if init is None else init.namespace,
        }
        if not self.hint.is_container:
            found |= {
                "from": fields.get("client", ""),
                "kind": fields.get("kind", ""),
                "command": fields.get("command", ""),
                "terminal": self.monitor.terminal != 0,
                "idle": self.monitor.idle(),
                "container": None if self.container is None else self.container.id,
            }
        return found


class Listing:
    """All live sessions and shared containers; strange: lines about entries that are neither."""

    def __init__(self, names: Sequence[str] = (), former: Listing | None = None) -> None:
        """Look at the users ``names``, or at all. Raises SessionError.

        former: an earlier look at the same users. What cannot have changed since is taken over from it: to
        read a user's entries takes a child that becomes this user. It is of no use afterwards.
        """
        kernel.allow_descriptors()
        self._looks: dict[int, _Look] = {}
        for uid, gid in hints.users().items():
            look = None if former is None else former._looks.get(uid)  # noqa: SLF001
            if look is not None and look.holds(uid):
                self._looks[uid] = look
                continue
            who = impersonate.Identity.of(uid, gid)
            if not names or who.name in names:
                self._looks[uid] = _Look(who)
        looks = self._looks.values()
        self.sessions = [live for look in looks for live in look.sessions]
        self.containers = [live for look in looks for live in look.containers]
        self.strange = [line for look in looks for line in look.strange]
        known = {live.monitor.pid for live in (*self.sessions, *self.containers)}
        self._beside = [Live(*found) for found in unlisted.beside(known, names)]
        self.sessions += self._beside
        if former is not None:
            former._let_go(but=self._looks.values())  # noqa: SLF001

    def close(self) -> None:
        """Let go of all processes."""
        self._let_go()

    def _let_go(self, but: Collection[_Look] = ()) -> None:
        kept = {id(look) for look in but}
        for look in self._looks.values():
            if id(look) not in kept:
                look.close()
        for live in self._beside:
            live.close()
        self._looks, self._beside = {}, []


class _Look:
    """What there is of one user."""

    def __init__(self, who: impersonate.Identity) -> None:
        self.sessions: list[Live] = []
        self.containers: list[Live] = []
        self.strange: list[str] = []
        self._state = hints.state(who.uid)
        self._settled = True
        try:
            found, strange = hints.read(who)
        except SessionError as error:
            self.strange.append(str(error))
            self._settled = False
            return
        self.strange += strange
        self._verify(who, found)
        self._settled = self._settled and not self.strange

    def holds(self, uid: int) -> bool:
        """Tell whether nothing can have changed since: no entry has come or gone, and nobody has ended."""
        return (
            self._settled
            and self._state is not None
            and self._state == hints.state(uid)
            and not any(kernel.ended(live.pidfd) for live in (*self.sessions, *self.containers))
        )

    def close(self) -> None:
        """Let go of the processes."""
        for live in (*self.sessions, *self.containers):
            live.close()

    def _verify(self, who: impersonate.Identity, found: Sequence[Hint]) -> None:
        containers: dict[str, Live] = {}
        sessions = []
        for hint in found:
            self._settled = self._settled and bool(hint.fields) and not hint.is_starting
            if not hint.fields:
                continue  # it is starting and has not said anything yet
            pid, started = hint.claim
            held = kernel.hold(pid, started, who.uid)
            if held is None:
                self.strange.append(
                    printable(f"{who.name}: the entry {hint.name} names process {pid}, which is not its own")
                )
                continue
            live = Live(who, hint, *held)
            if hint.is_container:
                containers[live.id] = live
            else:
                sessions.append(live)
        for live in sessions:
            live.container = containers.get(live.hint.fields.get("container", ""))
        self.sessions += sessions
        self.containers += containers.values()


_SEE = "see: ssh2containerctl sessions"
_MOST_NAMED = 8


def find(listing: Listing, name: str) -> Live:
    """Return the session or container that ``name`` names, as people say it.

    An id, or so much of its beginning that no other begins so; a user's name, where the user has one session;
    USER/ID where users have made two of one id. Raises SessionError, with candidates where there are more.
    """
    user, slash, wanted = name.rpartition("/")
    everything = [*listing.sessions, *listing.containers]
    found = [live for live in everything if live.id == wanted and user in ("", live.who.name)]
    if not found and wanted:
        found = [live for live in everything if live.id.startswith(wanted) and user in ("", live.who.name)]
    if not slash:
        # A container that lingers is meant only where there is no session.
        found += [live for live in listing.sessions if live.who.name == name and live not in found]
        found = found or [live for live in listing.containers if live.who.name == name]
    if not found:
        raise SessionError(
            f"cannot find session {name}",
            "no live session has this id, an id that begins so, or this user",
            _SEE,
        )
    if len(found) > 1:
        raise SessionError(f"there are {len(found)} sessions {name}", f"name one of {_named(found)}", _SEE)
    return found[0]


def _named(found: Sequence[Live]) -> str:
    """Return names that tell ``found`` apart."""
    ids = [live.id for live in found]
    names = [live.id if ids.count(live.id) == 1 else f"{live.who.name}/{live.id}" for live in found]
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
