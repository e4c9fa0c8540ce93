"""Those whose payloads pid 1 looks after: the session's monitor, and whoever joins the container later.

Nobody joins from outside by setns(2): who may ask connects to the listener, is known by its uid
(SO_PEERCRED, unix(7)), and pid 1 forks the payload from its own locked-down state.
"""

from __future__ import annotations

import _socket
import fcntl
import gc
import os
import select
import time

from ssh2container.errors import EXIT_OURS, SessionError
from ssh2container.kernel import process
from ssh2container.plan.program import Program

from . import channel, payload, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import NoReturn

    from ssh2container.plan.make import Plan
else:
    import _signal as signal  # what signal wraps; that one imports enum (12 ms)

_FIRST_LOGIN_S = 20.0
"""How long a shared container waits for the login that it was made for."""
_LEAVING_S = 0.5
"""How long a payload may take over SIGHUP when the other end is gone."""
_LARGEST_REQUEST = 4 << 20
_F_GET_SEALS, _SEALED = 1034, 0xF
_UNMAPPED = 65534
_NEVER = float("inf")


class Member:
    """One payload and who waits for it. child: its pid, 0 before it is started."""

    __slots__ = ("child", "deadline", "end", "pieces", "told")

    def __init__(self, end: _socket.socket) -> None:
        self.end = end
        self.child = 0
        self.told = -1
        self.pieces: list[bytes] = []
        self.deadline = 0.0


class Members:
    """The second half of pid 1's life: it answers, passes signals on, reaps, and ends in time.

    owner: the channel to the monitor, or to the owner of a shared container. Its end is the end.
    listener: where others ask, or None.
    """

    def __init__(self, plan: Plan, owner: _socket.socket, listener: _socket.socket | None) -> None:
        self._plan = plan
        self._owner = owner
        self._listener = listener
        self._main: Member | None = None
        self._members: dict[int, Member] = {}
        self._admitted = False
        self._alone_since = time.monotonic()
        self._stopping = 0.0
        self._signals = process.signal_descriptor((signal.SIGCHLD,))
        self._poll = select.poll()
        self._on: dict[int, Callable[[], None]] = {}
        self._watch(self._signals, self._reap)
        if listener is not None:
            self._watch(listener.fileno(), self._accept)

    def attend_session(self, slave: int) -> NoReturn:
        """Start the plan's program for the monitor, and end when it or the monitor ends."""
        self._main = Member(self._owner)
        self._start(self._main, self._plan, slave, ())
        process.replace_standard_descriptors()
        self._attend()

    def attend_shared(self) -> NoReturn:
        """Serve one login after the other, and end when the last has gone for long enough."""
        self._watch(self._owner.fileno(), self._hear_owner)
        self._owner.send(channel.STARTED)
        self._attend()

    def _attend(self) -> NoReturn:
        gc.freeze()
        gc.enable()
        while True:
            for action in [self._on.get(descriptor) for descriptor, _ in self._poll.poll(self._remaining())]:
                # An action before it may have closed this one's descriptor.
                if action is not None and action in self._on.values():
                    action()
            now = time.monotonic()
            for member in [m for m in self._members.values() if m.deadline and m.deadline <= now]:
                member.deadline = 0.0
                _kill(member.child, signal.SIGKILL)
            if self._members:
                self._alone_since = now
            if self._stopping:
                if self._stopping <= now:
                    os._exit(0)
            elif self._end_of_wait() <= now:
                self._stop()

    def _remaining(self) -> int | None:
        """Return the milliseconds until something is due, None when nothing is."""
        due = min([m.deadline for m in self._members.values() if m.deadline], default=_NEVER)
        due = min(due, self._stopping or self._end_of_wait())
        return None if due == _NEVER else max(0, int((due - time.monotonic()) * 1000) + 1)

    def _end_of_wait(self) -> float:
        """Return when a shared container that nobody uses begins to end."""
        if self._main is not None or self._members:
            return _NEVER
        if not self._admitted:
            return self._alone_since + _FIRST_LOGIN_S
        if self._listener is None:
            return self._alone_since
        return _NEVER if self._plan.linger < 0 else self._alone_since + self._plan.linger

    def _stop(self) -> None:
        """Let nobody in any more and ask everything inside to end; pid 1 ends with the last, or in time."""
        self._refuse_others()
        self._stopping = time.monotonic() + self._plan.grace
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGCONT):
            try:
                os.kill(-1, number)
            except ProcessLookupError:
                os._exit(0)

    def _refuse_others(self) -> None:
        if self._listener is not None:
            self._forget(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def _watch(self, descriptor: int, action: Callable[[], None]) -> None:
        self._on[descriptor] = action
        self._poll.register(descriptor, select.POLLIN)

    def _forget(self, descriptor: int) -> None:
        if self._on.pop(descriptor, None):
            self._poll.unregister(descriptor)

    def _start(self, member: Member, plan: Plan, slave: int, standard: tuple[int, ...]) -> None:
        """Fork the payload; ``standard`` become its 0-2 where it does not inherit ours."""
        member.told, tells = os.pipe2(os.O_CLOEXEC)
        self._members[member.end.fileno()] = member
        try:
            member.child = os.fork()
            if member.child == 0:
                payload.run(plan, tells, slave, standard)
        except OSError:
            os.close(member.told)
            raise
        finally:
            os.close(tells)
            if slave >= 0:
                os.close(slave)
        self._watch(member.told, lambda: self._hear_start(member))

    def _hear_start(self, member: Member) -> None:
        """Pass on that the program runs, or why it does not."""
        piece = os.read(member.told, 65536)
        if piece:
            member.pieces.append(piece)
            return
        self._forget(member.told)
        os.close(member.told)
        member.told = -1
        _send(member, b"".join(member.pieces) or channel.STARTED)
        if member.pieces and member is self._main:
            os._exit(EXIT_OURS)
        self._watch(member.end.fileno(), lambda: self._hear(member))

    def _hear(self, member: Member) -> None:
        kind, content, _ = channel.receive(member.end)
        if kind == channel.SIGNAL and len(content) == 1:
            _kill(member.child, content[0])
        elif member is self._main:
            os._exit(EXIT_OURS)  # the monitor is gone; the kernel ends whatever is left in here
        elif not kind:
            self._forget(member.end.fileno())
            _kill(member.child, signal.SIGHUP)
            member.deadline = time.monotonic() + min(_LEAVING_S, self._plan.grace)

    def _hear_owner(self) -> None:
        kind, _, _ = channel.receive(self._owner)
        if kind != channel.END:
            os._exit(EXIT_OURS)
        if not self._stopping:
            self._stop()

    def _reap(self) -> None:
        """Collect all that ended; the payload's status is its session's."""
        process.read_signals(self._signals)
        while True:
            try:
                ended, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                if self._stopping:
                    os._exit(0)
                return
            if ended == 0:
                return
            for member in self._members.values():
                if member.child == ended:
                    self._end(member, status)
                    break

    def _end(self, member: Member, status: int) -> None:
        while member.told >= 0:
            self._hear_start(member)
        _send(member, channel.STATUS + status.to_bytes(4, "little"))
        if member is self._main:
            os._exit(0)
        self._part(member)

    def _part(self, member: Member) -> None:
        self._forget(member.end.fileno())
        self._members.pop(member.end.fileno(), None)
        member.end.close()

    def _accept(self) -> None:
        """Let in who is of the listener's own uid; whom we cannot know stays outside."""
        listener = self._listener
        if listener is None:
            return
        try:
            descriptor, _ = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001
        except BlockingIOError:
            return  # whoever it was has gone again
        except OSError:
            self._refuse_others()  # out of descriptors: better nobody in than busy for ever
            return
        end = _socket.socket(fileno=descriptor)
        if not _uid(end) == _uid(listener) != _UNMAPPED:
            end.close()
            return
        member = Member(end)
        self._watch(end.fileno(), lambda: self._admit(member))

    def _admit(self, member: Member) -> None:
        """Answer the first message: the version of this protocol and the container that is meant."""
        kind, content, _ = channel.receive(member.end)
        if kind != channel.HELLO or content[:1] != channel.VERSION:
            self._part(member)
            return
        digest = content[1:]
        if digest and digest != self._plan.container:
            # The policy is another one now: this container takes nobody in any more.
            _send(member, channel.RETIRED)
            self._part(member)
            self._refuse_others()
            return
        self._admitted = True
        self._members[member.end.fileno()] = member
        self._on[member.end.fileno()] = lambda: self._request(member)
        _send(member, channel.ADMITTED + self._plan.session.encode())

    def _request(self, member: Member) -> None:
        """Start what a member asks for."""
        attached: list[int] = []
        try:
            kind, content, attached = channel.receive_all(member.end)
            self._forget(member.end.fileno())
            if kind != channel.REQUEST or not attached:
                self._part(member)
                return
            plan, like = self._read(attached[0])
            slave = terminal.open_inside(member.end, like) if like else -1
            standard = _standard(content, attached[1:])
            self._start(member, plan, slave, standard)
        except Exception as error:  # noqa: BLE001 - whatever it is, this member must hear of it
            _send(member, channel.pack_error(error))
            self._part(member)
        finally:
            for descriptor in attached:
                os.close(descriptor)

    def _read(self, descriptor: int) -> tuple[Plan, bytes]:
        """Return the plan of a request, and the modes and size of its terminal or b"".

        The file is one in memory that nobody can change any more (memfd_create(2), sealed).
        """
        size = os.fstat(descriptor).st_size
        if fcntl.fcntl(descriptor, _F_GET_SEALS) != _SEALED or size > _LARGEST_REQUEST:
            raise SessionError("cannot read the request", "it is not a sealed file", step="request")
        like, directory, umask, environment, *attempts = channel.unpack(os.pread(descriptor, size, 0))
        plan = self._plan.without()
        if directory:
            plan.directory = os.fsdecode(directory)
        given = dict(pair.split(b"=", 1) for pair in channel.unpack(environment))
        # Who was sent by a login brings the login's own; an administrator adds to the container's.
        plan.environment = given if directory else {**plan.environment, **given}
        plan.program = _program(plan.environment, attempts, int(umask) if umask else None)
        return plan, like


def _program(environment: dict[bytes, bytes], attempts: list[bytes], umask: int | None) -> Program:
    """Return what to execute: a name is looked up on the PATH inside, nothing at all is a shell."""
    found: list[tuple[str, tuple[bytes, ...]]] = []
    for attempt in attempts:
        path, *arguments = channel.unpack(attempt)
        if b"/" in path:
            found.append((os.fsdecode(path), tuple(arguments)))
        else:
            directories = environment.get(b"PATH", b"").split(b":")
            found += [(os.fsdecode(d + b"/" + path), tuple(arguments)) for d in directories if d]
    if not attempts:
        shells = (environment.get(b"SHELL", b"/bin/sh"), b"/bin/sh")
        found = [(os.fsdecode(shell), (b"-" + os.path.basename(shell),)) for shell in shells]
    return Program(tuple(found), umask)


def _uid(end: _socket.socket) -> int:
    """Return the uid, as mapped in here, of who connected, or of who made the listener."""
    credentials = end.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], "little")


def _standard(places: bytes, descriptors: list[int]) -> tuple[int, ...]:
    """Return what becomes descriptor 0, 1 and 2; -1 is what the terminal takes."""
    given = dict(zip(places, descriptors, strict=True))
    for descriptor in descriptors:
        kind = process.kind_of_descriptor(descriptor)
        if kind not in ("tty", "pipe", "socket", "file", "null"):
            raise SessionError("cannot pass a descriptor on", f"it is {kind}", step="descriptors")
    return tuple(given.get(number, -1) for number in (0, 1, 2))


def _send(member: Member, message: bytes) -> None:
    try:
        member.end.send(message)
    except OSError:
        pass  # it is gone: its end of file says so


def _kill(child: int, number: int) -> None:
    try:
        os.killpg(child, number)
    except (OSError, ValueError):
        pass
