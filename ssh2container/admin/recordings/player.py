"""Playing a recording at a speed, with long pauses cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ssh2container.admin.recordings.asciicast import Event


def play(
    events: Iterator[Event],
    show: Callable[[str], None],
    pause: Callable[[float], bool],
    speed: float = 1.0,
    idle_limit: float | None = None,
) -> str:
    """Show what was shown, and return how the session ended, "" where the recording does not say.

    show: is given what the session has shown, as it is. pause: waits for so many seconds, and
    returns False when the viewer has had enough. idle_limit: the longest pause, in recorded seconds.
    """
    ended = ""
    before = 0.0
    for event in events:
        gap = max(0.0, event.at - before)
        if idle_limit is not None:
            gap = min(gap, idle_limit)
        before = event.at
        if gap and not pause(gap / speed):
            return ended
        if event.code == "o":
            show(event.data)
        elif event.code == "x":
            ended = event.data
    return ended
