"""Ending sessions: asked first, then killed; by pidfd, as the user."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from ssh2container.admin.sessions import impersonate, kernel
from ssh2container.errors import printable
from ssh2container.record import audit, logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssh2container.admin.sessions.live import Live

# A shell at its prompt ignores SIGTERM and obeys SIGHUP; whoever is stopped hears of neither before CONT.
_ASKING = (signal.SIGTERM, signal.SIGHUP, signal.SIGCONT)


def end(sessions: Sequence[Live], grace_s: float) -> dict[str, str]:
    """End ``sessions`` and return id -> "ended", "killed", or "stays" for what even that did not end.

    grace_s: seconds between asking and killing, for all together.
    """
    for live in sessions:
        record(live, "kill")
        signal_monitor(live, _ASKING)
    deadline = time.monotonic() + grace_s
    results = {}
    for live in sessions:
        if kernel.ended(live.pidfd, max(0.0, deadline - time.monotonic())):
            results[live.id] = "ended"
            continue
        signal_monitor(live, (signal.SIGKILL,))
        killed_s = 5.0
        results[live.id] = "killed" if kernel.ended(live.pidfd, killed_s) else "stays"
    return results


def signal_monitor(live: Live, numbers: Sequence[int]) -> None:
    """Signal the session's monitor; the kernel asks whether the user might."""

    def act() -> None:
        for number in numbers:
            try:
                signal.pidfd_send_signal(live.pidfd, number)
            except ProcessLookupError:
                return

    impersonate.ask(live.who, act, keep=(live.pidfd,))


def record(live: Live, event: str, *, warning: bool = False, **more: str) -> None:
    """Say in the audit trail who did what to a session."""
    fields = {
        "event": event,
        "session": live.id,
        "user": live.who.name,
        "by": printable(os.environ.get("SUDO_USER", "") or str(os.getuid())),
        **{name: printable(value) for name, value in more.items() if value},
    }
    logs.send(audit.as_fields(fields), fields, warning=warning, wait=False)
