"""The payload's own terminal, and the monitor's relay between it and the client's.

The pair belongs to the container's devpts: the payload finds its terminal under /dev/pts, and what
it pushes into that terminal's input (TIOCSTI) never reaches the client's (pts(4), tty_ioctl(4)).
"""

from __future__ import annotations

import errno
import fcntl
import os
import select

from . import channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

_TCGETS, _TCSETS = 0x5401, 0x5402
_TIOCSCTTY, _TIOCGWINSZ, _TIOCSWINSZ = 0x540E, 0x5413, 0x5414
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441
_SIZE_OF_TERMIOS, _SIZE_OF_WINSIZE = 60, 8
_CHUNK = 65536
_IFLAGS = 0o1 | 0o2 | 0o10 | 0o20 | 0o40 | 0o100 | 0o200 | 0o400 | 0o2000
"""IGNBRK BRKINT PARMRK INPCK ISTRIP INLCR IGNCR ICRNL IXON, as cfmakeraw(3) clears them."""
_OPOST = 0o1
_LFLAGS = 0o1 | 0o2 | 0o10 | 0o100 | 0o100000
"""ISIG ICANON ECHO ECHONL IEXTEN."""
_CSIZE_PARENB, _CS8 = 0o60 | 0o400, 0o60


def open_inside(monitor: _socket.socket) -> int:
    """In pid 1, rooted in the container: open a terminal pair, send the monitor its side, return ours.

    The new terminal starts with the modes and the window size of the client's, so that the
    payload's first byte already meets both.
    """
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(master, _TIOCSPTLCK, bytes(4))
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        fcntl.ioctl(slave, _TCSETS, fcntl.ioctl(0, _TCGETS, bytes(_SIZE_OF_TERMIOS)))
        fcntl.ioctl(slave, _TIOCSWINSZ, fcntl.ioctl(0, _TIOCGWINSZ, bytes(_SIZE_OF_WINSIZE)))
        channel.send_descriptor(monitor, channel.TERMINAL, master)
    finally:
        os.close(master)
    return slave


def adopt(slave: int) -> None:
    """In the payload, leader of its session: take ``slave`` as the controlling terminal.

    It replaces those of the standard descriptors that are a terminal; others, say a file that su
    was told to write to, stay.
    """
    fcntl.ioctl(slave, _TIOCSCTTY, 0)
    for descriptor in (0, 1, 2):
        if os.isatty(descriptor):
            os.dup2(slave, descriptor)


class Relay:
    """Copies between the client's terminal and the payload's, one read and one write a keystroke.

    outer: the client's terminal, in raw mode until :meth:`restore`. master: our side of the
    payload's. Bytes that one side does not take yet are kept, and the other side is not read
    meanwhile.
    """

    def __init__(self, poll: select.epoll, master: int) -> None:
        self._poll = poll
        self.master = master
        os.set_blocking(master, False)
        self.outer = _reopen(0)
        self._modes: bytes = fcntl.ioctl(self.outer, _TCGETS, bytes(_SIZE_OF_TERMIOS))
        fcntl.ioctl(self.outer, _TCSETS, _raw(self._modes))
        self._inward, self._outward = b"", b""
        self._open = {self.outer, master}
        for descriptor in self._open:
            poll.register(descriptor, select.EPOLLIN)
        self._interest = dict.fromkeys(self._open, select.EPOLLIN)
        self.hung_up = False

    def resize(self) -> None:
        """Give the payload's terminal the client's window size; the kernel tells the programs."""
        fcntl.ioctl(self.master, _TIOCSWINSZ, fcntl.ioctl(self.outer, _TIOCGWINSZ, bytes(_SIZE_OF_WINSIZE)))

    def handle(self, descriptor: int, events: int) -> None:
        """Act on what the poll told about one of the two sides."""
        if descriptor == self.outer and events & (select.EPOLLHUP | select.EPOLLERR):
            self.hung_up = True
            return
        if events & select.EPOLLOUT:
            self._flush()
        if descriptor == self.outer and events & select.EPOLLIN and not self._inward:
            self._inward = self._read(self.outer)
        elif descriptor == self.master and events & (select.EPOLLIN | select.EPOLLHUP) and not self._outward:
            self._outward = self._read(self.master)
        self._flush()

    def drain(self) -> None:
        """Copy what the payload left in its terminal; for when it is gone."""
        os.set_blocking(self.outer, True)
        while not self.hung_up:
            if self._outward:
                self._outward = self._write(self.outer, self._outward)
            elif self.master in self._open and (piece := self._read(self.master)):
                self._outward = piece
            else:
                return

    def abandon(self) -> None:
        """Stop watching the client's terminal: it has hung up."""
        self._close(self.outer)

    def restore(self) -> None:
        """Give the client's terminal its modes back, after its output has been sent (TCSETSW)."""
        try:
            fcntl.ioctl(self.outer, _TCSETS + 1, self._modes)
        except OSError:
            pass  # the client is gone, and its terminal with it

    def _flush(self) -> None:
        if self._inward:
            self._inward = self._write(self.master, self._inward)
        if self._outward:
            self._outward = self._write(self.outer, self._outward)
        self._watch(self.outer, reading=not self._inward, writing=bool(self._outward))
        self._watch(self.master, reading=not self._outward, writing=bool(self._inward))

    def _watch(self, descriptor: int, *, reading: bool, writing: bool) -> None:
        if descriptor in self._open:
            events = (select.EPOLLIN if reading else 0) | (select.EPOLLOUT if writing else 0)
            if self._interest.get(descriptor) != events:
                self._interest[descriptor] = events
                self._poll.modify(descriptor, events)

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
            self._poll.unregister(descriptor)
        if descriptor == self.outer:
            self.hung_up = True


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
