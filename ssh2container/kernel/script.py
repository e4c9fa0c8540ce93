"""Scripts: what operations come to, as records that ``ssh2container/native/init/script.c`` carries out.

An operation writes its steps; pid 1, a program of its own, performs them in order and names the record
that failed. Strings and structures lie in one text behind the records, and a result that a later step
needs, say a descriptor, in a numbered slot.
"""

from __future__ import annotations

import _struct

from ssh2container import paths

from . import _syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NUMBERS = _syscall.NUMBERS
"""Name -> number of the system calls that a script may make."""

PROTOCOL = _syscall.PROTOCOL
"""Name -> value of what scripts, orders and messages are written with (``native/init``, the headers)."""

_CALL, _TEXT, _SLOT = PROTOCOL["STEP_CALL"], PROTOCOL["KIND_TEXT"], PROTOCOL["KIND_SLOT"]
_DIRECTORY, _FILE, _LINK = (PROTOCOL["MADE_" + name] for name in ("DIRECTORY", "FILE", "LINK"))
_AT_PATH, _AT_SLOT, _AT_DEVICE = (PROTOCOL["EXPECT_" + name] for name in ("PATH", "OPEN", "DEVICE"))
_ARGUMENTS = PROTOCOL["ARGUMENTS"]
_DEFAULT_MODE = -1
MARGIN = bytes(PROTOCOL["MARGIN"])
"""Behind the texts, so that nothing that the kernel answers is written past their end."""
_EINVAL, _EMFILE = 22, 24
_SLOTS = PROTOCOL["SLOTS"]
_CLOCK_MONOTONIC = 1
_pack = _struct.Struct("=4H2I6q").pack


class Slot:
    """Where a result is kept: given to a later step as an argument."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Script:
    """Steps in order, with the texts they speak of. texts: may be shared with another script's.

    at: for each record what its error is about, a path or the call's name.
    """

    __slots__ = ("_free", "_known", "_last", "_names", "at", "records", "texts")

    def __init__(self, texts: bytearray | None = None) -> None:
        self.texts = bytearray() if texts is None else texts
        self.records: list[bytes] = []
        self.at: list[str] = []
        self._known: dict[bytes, int] = {}
        self._free: list[int] = []
        self._last = 0
        self._names: dict[str, Slot] = {}

    def text(self, content: bytes) -> int:
        """Return where ``content`` lies, a zero byte behind it."""
        found = self._known.get(content)
        if found is None:
            self._known[content] = found = len(self.texts)
            self.texts += content
            self.texts.append(0)
        return found

    def path(self, path: str) -> int:
        """Return where ``path`` lies. Raises OSError: a zero byte inside would cut it short unseen."""
        if "\0" in path:
            raise OSError(_EINVAL, "the path has a NUL byte in it", path)
        return self.text(paths.fsencode(path))

    def slot(self) -> Slot:
        """Return a slot that nothing else uses until it is closed."""
        if self._free:
            return Slot(self._free.pop())
        if self._last == _SLOTS:
            raise OSError(_EMFILE, "too much is attached at once")
        self._last += 1
        return Slot(self._last - 1)

    def named(self, name: str) -> Slot:
        """Return the slot of something that a later operation calls by the same name, until it is closed."""
        found = self._names.get(name)
        if found is None:
            self._names[name] = found = self.slot()
        return found

    def call(
        self, name: str, *arguments: int | str | bytes | Slot, result: Slot | None = None, at: str = ""
    ) -> None:
        """Make the system call ``name``; paths and structures are passed by address."""
        values: list[int] = []
        kinds = 0
        for place, argument in enumerate(arguments):
            if argument.__class__ is int:
                values.append(argument)
                continue
            if argument.__class__ is Slot:
                kinds |= _SLOT << 2 * place
                values.append(argument.number)
                continue
            kinds |= _TEXT << 2 * place
            is_path = argument.__class__ is str
            values.append(self.path(argument) if is_path else self.text(argument))  # type: ignore[arg-type]
        kept = 0 if result is None else result.number + 1
        values += (0,) * (_ARGUMENTS - len(values))
        self.records.append(_pack(_CALL, NUMBERS[name], kinds, 0, kept, 0, *values))
        self.at.append(at or name)

    def close(self, slot: Slot) -> None:
        """Close the descriptor in ``slot``, which is free from then on."""
        self.call("close", slot)
        self._free.append(slot.number)
        for name, named in [*self._names.items()]:
            if named is slot:
                del self._names[name]

    def directory(self, path: str, mode: int | None) -> None:
        """Make a directory (0700 without a mode); one that is there gets the mode."""
        mode = _DEFAULT_MODE if mode is None else mode
        self._step("STEP_MAKE", path, _DIRECTORY, mode, self.path(path), 0, 0)

    def file(self, path: str, mode: int | None, content: bytes) -> None:
        """Make a file (0600 without a mode)."""
        mode = _DEFAULT_MODE if mode is None else mode
        self._step("STEP_MAKE", path, _FILE, mode, self.path(path), self.text(content), len(content))

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link."""
        self._step("STEP_MAKE", path, _LINK, 0, self.path(path), self.path(target), 0)

    def place(self, path: str, *, directory: bool) -> Slot:
        """Open a mount point, made if missing with all above it, following no symbolic link."""
        slot = self.slot()
        self._step("STEP_PLACE", path, self.path(path), directory, result=slot)
        return slot

    def expect(self, what: str | Slot, identity: tuple[int, int], at: str = "") -> None:
        """Make sure that a path, or a slot's descriptor, is the (device, inode) meant, else ESTALE."""
        if isinstance(what, str):
            self._step("STEP_EXPECT", at or what, _AT_PATH, self.path(what), *map(_signed, identity))
        else:
            self._step("STEP_EXPECT", at, _AT_SLOT, what.number, *map(_signed, identity))

    def expect_device(self, path: str, device: int) -> None:
        """Make sure that a path is the device node meant, else ESTALE."""
        self._step("STEP_EXPECT", path, _AT_DEVICE, self.path(path), _signed(device), 0)

    def give(self, path: str, uid: int, gid: int) -> None:
        """Change the owner of a directory and all in it."""
        self._step("STEP_GIVE", path, self.path(path), uid, gid)

    def allow(self, rules: Slot, path: str, rights: int, of_files: int) -> None:
        """Add a Landlock rule; of ``rights`` a path that is no directory gets those in ``of_files``."""
        self._step("STEP_ALLOW", path, rules.number, self.path(path), rights, of_files)

    def allow_root(self, rules: Slot, closed: Iterable[str], rights: int, of_files: int) -> None:
        """Add a Landlock rule for everything at the root but the names in ``closed`` and links."""
        names = b"".join(paths.fsencode(name) + b"\0" for name in sorted(closed))
        self._step("STEP_ALLOW_ROOT", "/", rules.number, self.text(names), len(names), rights, of_files)

    def filter(self, bpf: bytes, flags: int = 0, otherwise: int = -1) -> None:
        """Load a compiled seccomp filter. otherwise: flags for a kernel that does not know ``flags``."""
        self._step("STEP_FILTER", "seccomp", flags, otherwise, self.text(bpf), len(bpf))

    def bound(self, last: int, keep: Iterable[int]) -> None:
        """Drop every capability up to ``last`` but ``keep`` from the bounding set."""
        self._step("STEP_BOUND", "prctl", last, sum(1 << number for number in keep))

    def write(self, path: str, content: bytes, *, wished: bool = False) -> None:
        """Write ``content`` in one call to a file that is there.

        wished: go on where the kernel lacks the file (ENOENT) or allows no such value (EINVAL).
        """
        self._step("STEP_WRITE", path, self.path(path), self.text(content), len(content), wished)

    def device(self, path: str) -> Slot:
        """Note the device that ``path`` is on."""
        slot = self.slot()
        self._step("STEP_DEVICE", path, self.path(path), result=slot)
        return slot

    def expect_empty(self, path: str, before: Slot) -> None:
        """Make sure that ``path`` is an empty directory on another device than before; else ESTALE."""
        self._step("STEP_EMPTY", path, self.path(path), before.number)

    def await_word(self, *, tell: bool = False) -> None:
        """Wait until the monitor gives the word. tell: say first that this is what is waited for."""
        self._step("STEP_AWAIT", "", tell)

    def expect_monitor(self) -> None:
        """End unless the monitor is there: the kernel may have been told too late to watch it."""
        self._step("STEP_ALIVE", "")

    def await_address(self, address: bytes, at: str) -> None:
        """Wait until an IPv6 address of this network can be used; EADDRNOTAVAIL after some ten seconds.

        address: its struct sockaddr_in6 (ipv6(7)). at: the interface, for messages.
        """
        self._step("STEP_READY", at, self.text(address), len(address))

    def hand_over(self, slot: Slot) -> None:
        """Hand the descriptor in ``slot`` to the monitor (``TAP``)."""
        self._step("STEP_HAND", "sendmsg", slot.number)

    def console(self, master: Slot, slave: Slot) -> None:
        """Have a whole system's console on these two sides of a terminal."""
        self._step("STEP_CONSOLE", "", master.number, slave.number)

    def split(self, stop_signal: int, aside: Slot, logins: Slot, groups: Slot, request: bytes) -> None:
        """Start process 1 of a whole system; what follows, until :meth:`made`, is done in it alone.

        aside, logins: "cgroup.procs" of where this process, and who logs in, is counted. groups: the
        directory of the system's control groups. request: its program.
        """
        slots = (aside.number, logins.number, groups.number)
        self._step("STEP_SPLIT", "clone", stop_signal, *slots, self.text(request), len(request))

    def made(self) -> None:
        """Have both processes go on."""
        self._step("STEP_MADE", "")

    def clock(self) -> int:
        """Note the time of CLOCK_MONOTONIC and return where it will lie in the texts (struct timespec)."""
        at = len(self.texts)
        self.texts += bytes(16)
        call = NUMBERS["clock_gettime"]
        self._raw(_pack(_CALL, call, _TEXT << 2, 0, 0, 0, _CLOCK_MONOTONIC, at, 0, 0, 0, 0), "clock_gettime")
        return at

    def finish(self) -> bytearray:
        """Return the texts as the interpreter wants them."""
        return self.texts + MARGIN

    def run(self) -> tuple[int, int] | None:
        """Carry the script out in this process; return (record, errno) of the step that failed."""
        record, number = _syscall.run(b"".join(self.records), self.finish())
        return (record, number) if number else None

    def _step(self, kind: str, at: str, *arguments: int, result: Slot | None = None) -> None:
        kept = 0 if result is None else result.number + 1
        values = arguments + (0,) * (_ARGUMENTS - len(arguments))
        self._raw(_pack(PROTOCOL[kind], 0, 0, 0, kept, 0, *values), at)

    def _raw(self, record: bytes, at: str) -> None:
        self.records.append(record)
        self.at.append(at)


def _signed(number: int) -> int:
    """Return a number of 64 bits as the record has it."""
    return number - (1 << 64) if number >> 63 else number
