"""The monitor's relay between the client's terminal and the payload's own.

The pair belongs to the container's devpts: the payload finds its terminal under /dev/pts, and what
it pushes into that terminal's input (TIOCSTI) never reaches the client's (pts(4), tty_ioctl(4)).
"""

from __future__ import annotations

import errno
import fcntl
import posix as os
import select
import time

from .views import PLACE, Views

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssh2container.record.recorder import Recorder

_TCGETS, _TCSETS = 0x5401, 0x5402
_TIOCGWINSZ, _TIOCSWINSZ = 0x5413, 0x5414
_SIZE_OF_TERMIOS, _SIZE_OF_WINSIZE = 60, 8
_CHUNK = 4096
_FULL = 4095
"""What one read of a busy terminal returns at most: there may be more (n_tty.c, N_TTY_BUF_SIZE)."""
_ROUNDS = 16
"""So many pieces are copied before anything else is looked at, and recorded as shown at once: some 1 ms."""
_IFLAGS = 0o1 | 0o2 | 0o10 | 0o20 | 0o40 | 0o100 | 0o200 | 0o400 | 0o2000
"""IGNBRK BRKINT PARMRK INPCK ISTRIP INLCR IGNCR ICRNL IXON, as cfmakeraw(3) clears them."""
_OPOST = 0o1
_LFLAGS = 0o1 | 0o2 | 0o10 | 0o100 | 0o100000
"""ISIG ICANON ECHO ECHONL IEXTEN."""
_CSIZE_PARENB, _CS8 = 0o60 | 0o400, 0o60
_RESET = b"\x1b[?1047l\x1b[?1000;1002;1003;1004;1006;2004l\x1b[?25h\x1b[0m\x1b>\x1b[?1l\r"


def likeness(descriptor: int | None = None) -> bytes:
    """Return the modes and the window size of a terminal, by default of :func:`outer`."""
    if descriptor is None:
        descriptor = outer()
    modes: bytes = fcntl.ioctl(descriptor, _TCGETS, bytes(_SIZE_OF_TERMIOS))
    size: bytes = fcntl.ioctl(descriptor, _TIOCGWINSZ, bytes(_SIZE_OF_WINSIZE))
    return modes + size


class Relay:
    """Copies between the client's terminal and the payload's, one read and one write a keystroke.

    outer: the client's terminal, in raw mode until :meth:`restore`. master: our side of the
    payload's. Bytes that one side does not take yet are kept, and the other side is not read
    meanwhile. Where only the payload's output goes to a terminal, nothing is read from that: other
    programs, say a pager behind a pipe, may be reading there.

    greeting: shown first. active: when something was typed or shown last, of time.monotonic().
    traffic: how many bytes were typed and shown. held: whether the payload waits for its recording.
    """

    def __init__(self, poll: select.epoll, master: int, greeting: bytes = b"") -> None:
        self._poll = poll
        self.master = master
        os.set_blocking(master, False)
        shown_on = outer()
        self._typing = shown_on == 0
        self.outer = _reopen(shown_on)
        self._modes: bytes = fcntl.ioctl(self.outer, _TCGETS, bytes(_SIZE_OF_TERMIOS))
        if self._typing:
            fcntl.ioctl(self.outer, _TCSETS, _raw(self._modes))
        self._inward, self._outward = b"", greeting
        self._interest: dict[int, int] = {}
        self._open = {self.outer, master}
        self._watch(self.outer, reading=self._typing, writing=bool(greeting))
        self._watch(master, reading=not greeting, writing=False)
        self.hung_up = False
        self.active = time.monotonic()
        self._typed, self._shown = 0, len(greeting)
        self.recorder: Recorder | None = None
        self.held = False
        self.views = Views(greeting)
        self.resize()

    @property
    def traffic(self) -> tuple[int, int]:
        """How many bytes were typed and shown."""
        return self._typed, self._shown

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the client's window."""
        found = fcntl.ioctl(self.outer, _TIOCGWINSZ, bytes(_SIZE_OF_WINSIZE))
        return int.from_bytes(found[2:4], "little"), int.from_bytes(found[:2], "little")

    def resize(self) -> None:
        """Give the payload's terminal the client's window size; the kernel tells the programs."""
        fcntl.ioctl(self.master, _TIOCSWINSZ, fcntl.ioctl(self.outer, _TIOCGWINSZ, bytes(_SIZE_OF_WINSIZE)))
        self.views.resize(*self.size)
        if self.recorder is not None:
            self.recorder.resize(*self.size)

    def handle(self, descriptor: int, events: int) -> None:
        """Act on what the poll told about one of the two sides."""
        if descriptor == self.outer and events & (select.EPOLLHUP | select.EPOLLERR):
            self.hung_up = True
            return
        if events & select.EPOLLOUT:
            self.flush()
        if descriptor == self.outer and events & select.EPOLLIN and not self._inward:
            self._inward = self._read(self.outer)
            self._note_typed(self._inward)
        elif descriptor == self.master and events & (select.EPOLLIN | select.EPOLLHUP) and not self._outward:
            self._show()
        self.flush()

    def is_lost(self) -> bool:
        """Tell whether the client's terminal has hung up, even if that has not been handled yet."""
        now = select.poll()
        now.register(self.outer, 0)
        return any(events & select.POLLHUP for _, events in now.poll(0))

    def tell(self, line: str, *, final: bool = False) -> None:
        """Show a line of ours between what the payload shows; it starts with a bell.

        final: the session ends now. A full-screen program may be there: the line has to be seen after it.
        """
        message = f"\a\r\nssh2container: {line}\r\n".encode("utf-8", "backslashreplace")
        if final and self._typing:
            message = _RESET + message
        active = self.active
        self._outward += message
        self._note_shown((message,))
        self.active = active
        self.flush()

    def view(self, session: str) -> None:
        """Show what this terminal shows to the administrator who listens for a view of ``session``."""
        self.views.add(PLACE + session, *self.size)

    def drain(self, seconds: float | None = None) -> None:
        """Copy what the payload left in its terminal; for when it is gone.

        seconds: how long a client that reads nothing is waited for; None as long as it is there.
        """
        if seconds is None:
            os.set_blocking(self.outer, True)
        else:
            end = time.monotonic() + seconds
            writable = select.poll()
            writable.register(self.outer, select.POLLOUT)
        while not self.hung_up:
            if not self._outward:
                if self.master not in self._open:
                    return
                self._outward = self._read(self.master)
                self._note_shown((self._outward,))
                if not self._outward:
                    return
            if seconds is not None and not writable.poll(max(0, end - time.monotonic()) * 1000):
                return
            self._outward = self._write(self.outer, self._outward)

    def abandon(self) -> None:
        """Let go of the client's terminal, which has hung up, and hang up the payload's in turn.

        The kernel does for it what it does for any terminal: SIGHUP and SIGCONT to the leader of the
        session and to what runs in the foreground, the end of file for all (tty_ioctl(4)).
        """
        self._close(self.outer)
        if self.master >= 0:
            self._close(self.master)
            os.close(self.master)
            self.master = -1

    def restore(self, *, reset: bool = False) -> None:
        """Give the client's terminal its modes back, after its output has been sent (TCSETSW).

        reset: also leave what a program that was ended in the middle had switched on: the second
        screen, a hidden cursor, colours, reports of the mouse, of focus and of pasting.
        """
        if reset and self._typing:
            try:
                os.write(self.outer, _RESET)
            except OSError:
                pass  # gone, or it takes nothing any more
        try:
            fcntl.ioctl(self.outer, _TCSETS + 1, self._modes)
        except OSError:
            pass  # the client is gone, and its terminal with it

    def flush(self) -> None:
        """Write what waits, as far as each side takes it, and watch for what can go on."""
        if self._inward:
            self._inward = self._write(self.master, self._inward)
        if self._outward:
            self._outward = self._write(self.outer, self._outward)
        self.held = held = self.recorder is not None and self.recorder.full
        self._watch(self.outer, reading=self._typing and not self._inward, writing=bool(self._outward))
        self._watch(self.master, reading=not self._outward and not held, writing=bool(self._inward))

    def _show(self) -> None:
        """Copy what the payload shows: once, and on while it comes in pieces as large as can be."""
        pieces = []
        for _ in range(_ROUNDS):
            piece = self._read(self.master)
            if not piece:
                break
            pieces.append(piece)
            self._outward = self._write(self.outer, piece)
            if len(piece) < _FULL or self._outward:
                break
        if pieces:
            self._note_shown(pieces)

    def _note_typed(self, data: bytes) -> None:
        self.active = time.monotonic()
        self._typed += len(data)
        if self.recorder is not None and self.recorder.wants_input and data:
            self.recorder.input(data)

    def _note_shown(self, pieces: Sequence[bytes]) -> None:
        self.active = time.monotonic()
        self._shown += sum(map(len, pieces))
        self.views.output(pieces)
        if self.recorder is not None:
            self.recorder.output(pieces)

    def _watch(self, descriptor: int, *, reading: bool, writing: bool) -> None:
        """Poll a side for what can be used; hang-up is told in any case, so master may have to rest."""
        if descriptor not in self._open:
            return
        events = (select.EPOLLIN if reading else 0) | (select.EPOLLOUT if writing else 0)
        before = self._interest.get(descriptor)
        if before == events:
            return
        if before is None:
            self._poll.register(descriptor, events)
        elif events or descriptor == self.outer:
            self._poll.modify(descriptor, events)
        else:
            self._poll.unregister(descriptor)
            del self._interest[descriptor]
            return
        self._interest[descriptor] = events

    def _read(self, descriptor: int) -> bytes:
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data:
            self._close(descriptor)
        return data

    def _write(self, descriptor: int, data: bytes) -> bytes:
        try:
            return data[os.write(descriptor, data) :]
        except BlockingIOError:
            return data
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._close(descriptor)
            return b""

    def _close(self, descriptor: int) -> None:
        """Stop watching a side that has hung up: the payload's last holder gone, or the client."""
        if descriptor in self._open:
            self._open.discard(descriptor)
            if self._interest.pop(descriptor, None) is not None:
                self._poll.unregister(descriptor)
        if descriptor == self.outer:
            self.hung_up = True


def outer() -> int:
    """Return the first of the standard descriptors that is a terminal, -1 when none is."""
    for descriptor in (0, 1, 2):
        if os.isatty(descriptor):
            return descriptor
    return -1


def _reopen(descriptor: int) -> int:
    """Open the terminal anew, not blocking: the flag would otherwise reach everybody who shares it.

    A terminal of another user, as under su, cannot be opened; then the shared one has to do.
    """
    try:
        return os.open(os.ttyname(descriptor), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)


def _raw(modes: bytes) -> bytes:
    """Return ``modes`` (struct termios of the kernel) as cfmakeraw(3) would leave them."""
    flags = [int.from_bytes(modes[at : at + 4], "little") for at in (0, 4, 8, 12)]
    flags[0] &= ~_IFLAGS
    flags[1] &= ~_OPOST
    flags[2] = flags[2] & ~_CSIZE_PARENB | _CS8
    flags[3] &= ~_LFLAGS
    return b"".join(flag.to_bytes(4, "little") for flag in flags) + modes[16:]
