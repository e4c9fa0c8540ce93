"""The host's logs: a session neither fills them nor puts entries in them (part of processes and IPC).

Whoever can send to a log can send what breaks a reader on its form (two fields of one name), and so much
that the records of others are lost, whose logins ``audit: required`` then refuses.
"""

from __future__ import annotations

import os
import socket
import stat
from errno import EACCES, ECONNREFUSED, EINVAL, ENOENT, EPERM, EPROTONOSUPPORT, EPROTOTYPE
from typing import TYPE_CHECKING

from ssh2container.admin.verify.probe import refusal
from ssh2container.admin.verify.probes.mountinfo import mountinfo, volume_targets
from ssh2container.admin.verify.probes.processes import GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ssh2container.admin.verify.surroundings import Surroundings

_NAMES = (
    "/dev/log", "/run/systemd/journal/dev-log", "/run/systemd/journal/socket", "/run/systemd/journal/syslog",
    "/run/log", "/var/run/log",
)  # fmt: skip
_STREAM = "/run/systemd/journal/stdout"
_ABSTRACT = ("\0/dev/log", "\0/run/systemd/journal/socket")
_STRANGE = b"MESSAGE=one\nMESSAGE=two\nSYSLOG_IDENTIFIER=ssh2container\n"
"""A native entry that journalctl prints with a list in the place of a text."""
_SYSLOG = b"<86>ssh2container[1]: verify"
_AUDIT, _AUDIT_USER_AVC = 9, 1107
_NONE = (ENOENT, EACCES, ECONNREFUSED, EPERM)
_MOST_LOOKED_AT = 3000
_NOT_FILES = {"proc", "sysfs", "devpts", "mqueue", "cgroup2"}


def _send(address: str, kind: socket.SocketKind, entry: bytes) -> None:
    with socket.socket(socket.AF_UNIX, kind) as end:
        end.setblocking(False)
        end.connect(address)
        end.send(entry)


def _audit() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _AUDIT) as end:
        text = b"verify\0"
        length = (16 + len(text)).to_bytes(4, "little")
        head = length + _AUDIT_USER_AVC.to_bytes(2, "little") + (5).to_bytes(2, "little") + bytes(8)
        end.sendto(head + text, (0, 0))
        answer = end.recv(4096)
    number = -int.from_bytes(answer[16:20], "little", signed=True)
    if number:
        raise OSError(number, os.strerror(number))


def _kernel_log() -> None:
    handle = os.open("/dev/kmsg", os.O_WRONLY)
    try:
        os.write(handle, b"verify\n")
    finally:
        os.close(handle)


def _excuse(surroundings: Surroundings) -> str:
    return "volumes" if volume_targets(surroundings) else ""


_BY_NAME: dict[str, Callable[[], object]] = {
    **{f"{name}": lambda name=name: _send(name, socket.SOCK_DGRAM, _SYSLOG) for name in _NAMES},  # type: ignore[misc]
    _STREAM: lambda: _send(_STREAM, socket.SOCK_STREAM, b"verify\n\n6\n0\n0\n0\n0\nline\n"),
    "an abstract socket": lambda: _send(_ABSTRACT[0], socket.SOCK_DGRAM, _SYSLOG),
    "the journal's abstract socket": lambda: _send(_ABSTRACT[1], socket.SOCK_DGRAM, _STRANGE),
    "the kernel's audit trail": _audit,
    "/dev/kmsg": _kernel_log,
}
for _way, _attempt in _BY_NAME.items():
    GROUP.refused(
        f"an entry in the host's log by {_way}",
        "syslog(3), systemd-journald.service(8), netlink(7)",
        lambda _, attempt=_attempt: attempt(),  # type: ignore[misc]
        *_NONE,
        EPROTONOSUPPORT,
        excuse=_excuse,
    )


def _sockets(surroundings: Surroundings) -> Iterator[str]:
    """Yield every socket in the file tree of the session, whatever it is called there."""
    looked = 0
    for mount in mountinfo():
        if mount.kind in _NOT_FILES or mount.point.startswith("/proc"):
            continue
        if os.path.isfile(mount.point) or mount.point.startswith("/usr"):
            continue
        if not os.path.isdir(mount.point):
            yield mount.point
            continue
        if mount.point == "/":
            continue  # the image's files: no process listens there
        for place, directories, names in os.walk(mount.point):
            looked += len(directories) + len(names)
            if looked > _MOST_LOOKED_AT:
                break
            for name in names:
                path = f"{place}/{name}"
                if path != surroundings.path_socket and stat.S_ISSOCK(os.lstat(path).st_mode):
                    yield path


@GROUP.check("no socket takes entries for a log", "systemd-journald.service(8); unix(7)", excuse=_excuse)
def _any_name(surroundings: Surroundings) -> str:
    """Undo the hiding first: a log's socket counts by what it is, not by its name."""
    tried = 0
    for path in _sockets(surroundings):
        for entry in (_STRANGE, _SYSLOG):
            tried += 1
            refusal(
                lambda path=path, entry=entry: _send(path, socket.SOCK_DGRAM, entry),  # type: ignore[misc]
                (*_NONE, EPROTOTYPE, EINVAL),
            )
    return f"{tried} tried"
