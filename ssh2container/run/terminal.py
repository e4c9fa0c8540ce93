# Longer than 300 lines: one terminal from taking over to giving back; each more module costs a login time.
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

_TCGETS, TCSETS = 0x5401, 0x5402
_TIOCGWINSZ, _TIOCSWINSZ = 0x5413, 0x5414
_FIONREAD = 0x541B
SIZE_OF_TERMIOS, _SIZE_OF_WINSIZE = 60, 8
_AT_CONTROL, _CONTROLS = 17, 19
_VEOF, _VTIME, _VMIN, _VEOL, _VEOL2 = 4, 5, 6, 11, 16
_ICANON, _ECHO, _EXTPROC = 0o2, 0o10, 0o200000
_CHUNK = 4096
_LINE = 8192
"""More than the line discipline holds: one read gives one line, however long (n_tty.c, N_TTY_BUF_SIZE)."""
_MOST_LINES = 4096
"""So many lines are taken one by one; a client that types on and on holds no login up."""
_FULL = 4095
"""What one read of a busy terminal returns at most: there may be more (n_tty.c, N_TTY_BUF_SIZE)."""
_ROUNDS = 16
"""So many pieces are copied before anything else is looked at, and recorded as shown at once: about 1 ms."""
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
    modes: bytes = fcntl.ioctl(descriptor, _TCGETS, bytes(SIZE_OF_TERMIOS))
    size: bytes = fcntl.ioctl(descriptor, _TIOCGWINSZ, bytes(_SIZE_OF_WINSIZE))
    return modes + size


class Taken:
    """The client's terminal between :func:`take_over` and the relay.

    modes: those that it had. typed: what was typed by then, as its line discipline has edited and echoed it.
    ends: where in it the end of file was typed, of which the line discipline leaves no byte to a reader.
    """

    __slots__ = ("ends", "modes", "typed")

    def __init__(self, modes: bytes) -> None:
        self.modes = modes
        self.typed = b""
        self.ends: list[int] = []

    def with_ends(self, end: bytes) -> bytes:
        """Return what was typed with ``end`` wherever the end of file was."""
        pieces: list[bytes] = []
        start = 0
        for at in self.ends:
            pieces += (self.typed[start:at], end)
            start = at
        return b"".join((*pieces, self.typed[start:]))

    def take_lines(self) -> None:
        """Read the finished lines while their ends can be told from zero bytes that were typed."""
        after = (b"\n"[0], self.modes[_AT_CONTROL + _VEOL], self.modes[_AT_CONTROL + _VEOL2])
        waiting = select.poll()
        waiting.register(0, select.POLLIN)
        for _ in range(_MOST_LINES):
            if waiting.poll(0) != [(0, select.POLLIN)]:
                return  # no whole line is there, or nobody any more
            line = os.read(0, _LINE)
            self.typed += line
            if not line or not line[-1] or line[-1] not in after:
                self.ends.append(len(self.typed))

    def take_rest(self, *, edited: bool) -> None:
        """Read what is left once nothing is edited any more: a line that nobody has finished.

        In what the line discipline has edited an end of file is a zero byte now. It can only have come
        since :meth:`take_lines`, and so with a line or alone: any other zero byte was typed.
        """
        waiting: bytes = fcntl.ioctl(0, _FIONREAD, bytes(4))
        size = int.from_bytes(waiting, "little")
        if not size:
            return
        rest = os.read(0, size)
        if edited and (b"\n" in rest or rest == b"\0"):
            for piece in rest.split(b"\0"):
                self.typed += piece
                self.ends.append(len(self.typed))
            self.ends.pop()
        else:
            self.typed += rest


_taken: list[Taken] = []
"""That of this process's client, if it has been taken over."""


def take_over() -> bytes:
    """Put the client's terminal into raw mode, and return what the payload's starts with.

    That is its likeness and, behind it, what was typed so far: the client's terminal has edited it line by
    line and echoed it already. pid 1 hands it to the payload's terminal as what it is, before any program
    reads there (``native/init/payload.c``). From here on the payload's terminal edits and echoes.
    """
    shown_on = outer()
    like = likeness(shown_on)
    if shown_on != 0:
        return like
    modes = like[:SIZE_OF_TERMIOS]
    taken = Taken(modes)
    _taken[:] = [taken]
    raw, edited = _raw(modes), _edits(modes)
    if edited:
        taken.take_lines()
    fcntl.ioctl(0, TCSETS, raw)
    # At once: what comes from now on nobody has edited or echoed.
    taken.take_rest(edited=edited)
    return like + (_feed(taken) if taken.typed or taken.ends else b"")


def typed_ahead() -> bytes:
    """Return what was typed before the client's terminal was taken over."""
    if not _taken:
        return b""
    taken = _taken[0]
    return taken.with_ends(taken.modes[_AT_CONTROL + _VEOF : _AT_CONTROL + _VEOF + 1])


def give_back() -> None:
    """Undo :func:`take_over` where no relay came of it."""
    if _taken:
        try:
            fcntl.ioctl(0, TCSETS, _taken[0].modes)
        except OSError:
            pass  # the client is gone, and its terminal with it


def _edits(modes: bytes) -> bool:
    """Tell whether a terminal of these modes edits lines."""
    flags = int.from_bytes(modes[12:16], "little")
    return bool(flags & _ICANON and not flags & _EXTPROC)


def _feed(taken: Taken) -> bytes:
    """Return modes in which the payload's terminal takes all that unchanged, the size of the echo, the text.

    The echo, which nobody sees, tells pid 1 when all of it has been taken. The end of file is typed anew, by
    a byte that is not in the text; where there is none, all of them being there, it is lost.
    """
    modes, text = taken.modes, taken.typed
    edits = _edits(modes)
    control = bytearray(_CONTROLS)
    for kept in (_VTIME, _VMIN, _VEOL, _VEOL2):
        control[kept] = modes[_AT_CONTROL + kept]
    if edits:
        used = {*text}
        usual = modes[_AT_CONTROL + _VEOF]
        end = usual if usual and usual not in used else next((c for c in range(1, 256) if c not in used), 0)
        control[_VEOF] = end
        if end:
            text = taken.with_ends(bytes((end,)))
    words = (0, 0, int.from_bytes(modes[8:12], "little"), _ECHO | (_ICANON if edits else 0))
    packed = b"".join(word.to_bytes(4, "little") for word in words) + modes[16:17] + control
    return packed.ljust(SIZE_OF_TERMIOS, b"\0") + len(taken.typed).to_bytes(4, "little") + text


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
        self._modes: bytes = fcntl.ioctl(self.outer, _TCGETS, bytes(SIZE_OF_TERMIOS))
        if self._typing and _taken:
            self._modes = _taken[0].modes
        elif self._typing:
            fcntl.ioctl(self.outer, TCSETS, _raw(self._modes))
        self._inward, self._outward = b"", greeting
        self._interest: dict[int, int] = {}
        self._open = {self.outer, master}
        self._watch(self.outer, reading=self._typing, writing=bool(greeting))
        self._watch(master, reading=not greeting, writing=False)
        self.hung_up = False
        self.active = time.monotonic()
        self._typed, self._shown = len(typed_ahead()), len(greeting)
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

    def drained(self) -> bool:
        """Show more of what the payload, which is gone, left in its terminal; tell whether that was all."""
        while not self.hung_up:
            if not self._outward:
                self._outward = self._read(self.master) if self.master in self._open else b""
                if not self._outward:
                    return True
                self._note_shown((self._outward,))
            self._outward = self._write(self.outer, self._outward)
            if self._outward:
                return False
        return True

    def lose(self) -> None:
        """Let go of the client's terminal, which has hung up; what the payload's shows is thrown away.

        The payload's stays, for a system that says there how it ends: it would wait for one that is gone.
        """
        self._close(self.outer)
        self._outward = b""
        self.flush()

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
        """Give the client's terminal its modes back.

        At once (TCSETS): what was written has been processed already, and a line that takes nothing any
        more would keep us waiting.

        reset: also leave what a program that was ended in the middle had switched on: the second
        screen, a hidden cursor, colours, reports of the mouse, of focus and of pasting.
        """
        if reset and self._typing:
            try:
                os.write(self.outer, _RESET)
            except OSError:
                pass  # gone, or it takes nothing any more
        try:
            fcntl.ioctl(self.outer, TCSETS, self._modes)
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
