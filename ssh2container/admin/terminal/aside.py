"""Running something of a user's or an image's beside our terminal, and never on it.

Those of its standard descriptors that are our terminal become one of its own, which is relayed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import termios
from typing import TYPE_CHECKING

from ssh2container.admin.terminal import pairs, relays
from ssh2container.errors import EXIT_OURS
from ssh2container.kernel import process

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_OFLAG = 1
"""Where termios(3) has the modes of output, in what tcgetattr(3) is for Python."""


def is_needed() -> bool:
    """Tell whether any of our standard descriptors is a terminal."""
    return any(os.isatty(descriptor) for descriptor in (0, 1, 2))


def run(act: Callable[[], Any]) -> int:
    """Call ``act`` in a child with a terminal of its own; return the child's raw wait status.

    Raises SessionError. ``act`` ends its process; whatever it leaves behind instead is status 125.
    """
    ours = [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)]
    keys = ours[0] == 0
    shown_on = next((descriptor for descriptor in ours if descriptor), 0)
    master, slave = pairs.open_pair(shown_on)
    if not keys:
        _leave_lines_alone(slave)
    pid = os.fork()
    if pid == 0:
        try:
            process.die_with_parent(signal.SIGHUP)
            os.close(master)
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for descriptor in ours:
                os.dup2(slave, descriptor)
            os.close(slave)
            act()
        finally:
            os._exit(EXIT_OURS)
    os.close(slave)
    try:
        return relays.Terminal(relays.Child(pid), master, keys=keys, shown_on=shown_on).run()
    except BaseException:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise


def _leave_lines_alone(slave: int) -> None:
    """Where nothing is typed, ours is not in raw mode and makes line ends by itself."""
    modes = termios.tcgetattr(slave)
    modes[_OFLAG] &= ~termios.OPOST
    termios.tcsetattr(slave, termios.TCSANOW, modes)
