"""Sessions that are: hints of the registry that the kernel confirms."""

from __future__ import annotations

import os
import re

from ssh2container.admin import impersonate
from ssh2container.admin.sessions import hints, kernel
from ssh2container.errors import SessionError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ssh2container.admin.sessions.hints import Hint
    from ssh2container.admin.sessions.kernel import Process, Snapshot


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

    def facts(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return what an administrator wants to know. Texts were written by the user's uid."""
        owner = self.container or self
        init = snapshot.init_of(owner.monitor)
        inside = [] if init is None else snapshot.inside(init)
        fields = self.hint.fields
        found: dict[str, Any] = {
            "id": self.id,
            "user": self.who.name,
            "uid": self.who.uid,
            "since": self.monitor.since,
            "image": fields.get("image", ""),
            "monitor": self.monitor.pid,
            "init": None if init is None else init.pid,
            "pid_namespace": None if init is None else init.namespace,
            "memory": kernel.memory([self.monitor, *inside]),
            "processes": len(inside),
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

    def __init__(self, names: Sequence[str] = ()) -> None:
        """Look at the users ``names``, or at all. Raises SessionError."""
        self.sessions: list[Live] = []
        self.containers: list[Live] = []
        self.strange: list[str] = []
        for who in hints.users():
            if not names or who.name in names:
                self._look_at(who)

    def _look_at(self, who: impersonate.Identity) -> None:
        try:
            found, strange = hints.read(who)
        except SessionError as error:
            self.strange.append(str(error))
            return
        self.strange += strange
        containers: dict[str, Live] = {}
        sessions = []
        for hint in found:
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

    def close(self) -> None:
        """Let go of all processes."""
        for live in (*self.sessions, *self.containers):
            live.close()

    def as_json(self) -> dict[str, Any]:
        """Return everything, for another program."""
        snapshot = kernel.Snapshot()
        return {
            "sessions": [live.facts(snapshot) for live in self.sessions],
            "containers": [live.facts(snapshot) for live in self.containers],
            "strange": self.strange,
        }


def find(listing: Listing, name: str) -> Live:
    """Return the session or container ``name``: ID, or USER/ID where users have made two of one id.

    Raises SessionError.
    """
    user, _, wanted = name.rpartition("/")
    if not re.fullmatch(hints.ID, wanted):
        raise SessionError(
            f"{name!r} names no session", "an id has ten digits 0-9 a-f", "see: ssh2containerctl sessions"
        )
    found = [
        live
        for live in (*listing.sessions, *listing.containers)
        if live.id == wanted and user in ("", live.who.name)
    ]
    if not found:
        raise SessionError(
            f"cannot find session {name}", "no live session has this id", "see: ssh2containerctl sessions"
        )
    if len(found) > 1:
        names = " or ".join(f"{live.who.name}/{live.id}" for live in found)
        raise SessionError(f"there are {len(found)} sessions {name}", "an entry is forged", f"say {names}")
    return found[0]
