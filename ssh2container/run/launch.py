"""Starting the container: one program in new namespaces, from a process that never leaves the host's."""

from __future__ import annotations

import errno
import posix as os

from ssh2container.errors import EXIT_OURS, SessionError
from ssh2container.kernel import namespaces, signals, sockets
from ssh2container.plan.operations import perform
from ssh2container.record import registry

from . import channel, order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn, TypeVar

    from ssh2container.kernel import ends
    from ssh2container.kernel.script import Script
    from ssh2container.plan.make import Container, Payload, Plan
    from ssh2container.plan.operations import Operation
    from ssh2container.plan.operations.joining import JoinNetworks
    from ssh2container.plan.private import Forwarding
    from ssh2container.record.audit import Session

    from .cgroup import Cgroup
    from .forwarding import Forwarder
    from .monitor import Monitor
    from .networks import Taken, Way

    Started = tuple[int, int, ends.End, Cgroup | None, Forwarder | Way | None]
    """The pid of pid 1, its pidfd, our end of the channel to it, what it is counted in, its way out."""
    Found = TypeVar("Found")
    Write = Callable[[Container, Payload, bytes, int], None]
    """Writes the file that pid 1 reads: see order.write."""

_REMEDIES = {
    errno.EPERM: "unprivileged user namespaces are forbidden on this host"
    " (kernel.unprivileged_userns_clone, AppArmor or a container around it): ssh2containerctl doctor",
    errno.ENOSPC: "user.max_user_namespaces is used up or 0: ssh2containerctl doctor",
    errno.EINVAL: "the kernel lacks a kind of namespace: ssh2containerctl doctor",
    errno.EAGAIN: "the user's processes have reached their limit (ulimit -u)",
}


def launch(plan: Plan, log: Session, write: Write = order.write) -> Monitor:
    """Start pid 1 on ``plan`` and return the monitor that waits for it. Raises SessionError.

    log: gets the record that the session is open; a site that requires records has it before anything runs.
    write: writes the file that pid 1 reads.
    """
    companions = None
    if plan.watch.accompanied:
        from .companions import Companions

        companions = Companions(plan, log)
    if plan.container.hooks is not None:
        from . import hooks

        hooks.prepare(log)
    if log.required:
        log.write("open")
    if companions is None:
        monitor = _launch(plan, write)
    else:
        monitor = companions.launch(lambda: _launch(plan, write))
        monitor.companions = companions
    if monitor.way is not None:
        monitor.way.record_in(log)
    if not log.required:
        log.write("open")
    if monitor.cgroup is not None and monitor.cgroup.why:
        log.note(f"this session goes on without limits that its policy asks for: {monitor.cgroup.why}")
    return monitor


def _launch(plan: Plan, write: Write) -> Monitor:
    try:
        if plan.container.per != "session" and plan.payload.call is None:
            from . import joining

            return joining.join(plan, start)
        started = start(
            plan.container,
            plan.payload,
            registry.own.entry,
            (*plan.watch.operations, *plan.container.outside),
            terminal=plan.watch.terminal,
            write=write,
        )
    except BaseException:
        give_terminal_back(plan)
        raise
    # Not before: pid 1 makes the container meanwhile.
    monitor = watch(plan, started)
    if monitor.cgroup is not None:
        plan.watch.registration["cgroup"] = monitor.cgroup.path
    if registry.own.entry is not None:
        registry.own.entry.write(plan.watch.registration)
    return monitor


def watch(plan: Plan, started: Started) -> Monitor:
    """Return the monitor of what :func:`start` has started."""
    from .monitor import Monitor

    if plan.container.hooks is None:
        return Monitor(plan, *started)
    from .hooks import Hooked

    return Hooked(plan, *started)


def give_terminal_back(plan: Plan) -> None:
    """Give the client's terminal the modes that it had before :func:`start`."""
    if plan.watch.terminal:
        from . import terminal

        terminal.give_back()


def start(
    container: Container,
    payload: Payload,
    entry: registry.Entry | None,
    outside: Iterable[Operation],
    *,
    terminal: bool = False,
    write: Write = order.write,
) -> Started:
    """Start pid 1. Where it is limited, it is in its scope when this returns; a private network is ready.

    entry: where it listens for those who want another program run inside. outside: operations of this
    process. terminal: whether the payload gets one like the client's. Raises SessionError.
    """
    listener = -1 if entry is None else entry.listen()
    ours, theirs = sockets.pair()
    file = order.new()
    opening = order.opening(container)
    perform(container.before)
    given = (theirs, file, listener)
    pid, pidfd, way = _spawn(container, payload, given, opening)
    os.close(theirs)
    if listener >= 0:
        os.close(listener)
    placing = None
    if container.scope is not None:
        from .scope import Placing

        placing = Placing(container.scope, container.name, pid)
    cgroup = None
    if container.mapping:
        perform(container.mapping, pid)
        if placing is not None:
            # The manager moves the user's own: with its map, pid 1 becomes another uid.
            cgroup = _or_end(placing.settle, pid, pidfd, ours)
        _tell(ours, channel.GO)
    # Meanwhile pid 1 has been starting.
    like = _take_terminal() if terminal else b""
    write(container, payload, like, file)
    _tell(ours, channel.ORDER)
    os.close(file)
    # Not before: pid 1 makes the container meanwhile. And a child of a process that is not dumpable
    # cannot write its own maps.
    perform(outside)
    from ssh2container.kernel import ends

    end = ends.End(ours)
    if container.network is not None:
        way = _or_end(lambda: _forward(container.network, end), pid, pidfd, ours)
    if container.network is not None or placing is not None:
        # Meanwhile others are at work: what comes next anyway.
        from . import monitor  # noqa: F401
    if placing is not None:
        cgroup = cgroup or _or_end(placing.settle, pid, pidfd, ours)
        _tell(ours, channel.GO)
    if way is not None and _or_end(way.await_ready, pid, pidfd, ours):
        _tell(ours, channel.GO)
    if container.hooks is not None:
        _run_hooks(container, end, (pid, pidfd, ours), entry)
    return pid, pidfd, end, cgroup, way


def _take_terminal() -> bytes:
    from .terminal import take_over

    return take_over()


def _forward(network: Forwarding | None, end: ends.End) -> Forwarder | None:
    from .forwarding import Forwarder

    return None if network is None else Forwarder(network, end)


def _run_hooks(
    container: Container, end: ends.End, init: tuple[int, int, int], entry: registry.Entry | None
) -> None:
    from . import hooks

    lock = -1 if entry is None else entry.descriptor
    if _or_end(lambda: hooks.create(container, end, init[:2], lock), *init):
        _tell(end.fileno(), channel.GO)


def _spawn(
    container: Container, payload: Payload, given: tuple[int, int, int], opening: Script
) -> tuple[int, int, Forwarder | Way | None]:
    if container.joins is not None:
        return _spawn_in_networks(container.joins, container, payload, given, opening)
    return *_start_init(container, payload, given, opening), None


def _spawn_in_networks(
    joins: JoinNetworks,
    container: Container,
    payload: Payload,
    given: tuple[int, int, int],
    opening: Script,
) -> tuple[int, int, Taken]:
    from . import networks

    taken = networks.take(joins.pool)
    try:
        pid, pidfd = _start_init(container, payload, given, opening, taken.namespace)
    except BaseException:
        networks.give_back()
        raise
    taken.entered(pid)
    return pid, pidfd, taken


def _start_init(
    container: Container,
    payload: Payload,
    given: tuple[int, int, int],
    opening: Script,
    network: int = -1,
) -> tuple[int, int]:
    try:
        if payload.call is None:
            waits = bool(container.mapping)
            return namespaces.spawn(container.namespaces, given, opening, waits=waits, network=network)
        pid, pidfd = namespaces.clone(container.namespaces, network)
        if pid == 0:
            _call(payload.call, given, opening)
    except OSError as error:
        number = error.errno or 0
        raise SessionError(
            "cannot create the container's namespaces",
            error.strerror or "",
            _REMEDIES.get(number, ""),
            "namespaces",
            number,
        ) from None
    return pid, pidfd


def _or_end(act: Callable[[], Found], pid: int, pidfd: int, end: int) -> Found:
    """Do what pid 1 waits for; where that raises an error, nothing is left of pid 1."""
    try:
        return act()
    except BaseException:
        signals.send(pidfd, signals.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)
        os.close(end)
        raise


def _tell(end: int, message: bytes) -> None:
    try:
        os.write(end, message)
    except OSError:
        pass  # it has ended: what it said of that comes over the channel


def _call(function: Callable[[], int], given: tuple[int, int, int], opening: Script) -> NoReturn:
    """In a copy of this process: be pid 1, and in its payload run ``function`` in place of a program."""
    status = EXIT_OURS
    try:
        namespaces.contain(given, opening)
        status = function()
    finally:
        os._exit(status)
