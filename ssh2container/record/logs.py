"""The two doors of the system's log: journald's own protocol, and the socket that every syslog has.

Sources: systemd's "Native Journal Protocol", syslog(3), RFC 3164.
"""

from __future__ import annotations

import _socket
import errno
import posix as os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"
IDENTIFIER = "ssh2container"
FIELD_PREFIX = "SSH2CONTAINER_"
_AUTHPRIV = 10
_INFO, _WARNING = 6, 4
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PATIENCE_MS = 2000
_ABSENT = (errno.ENOENT, errno.ECONNREFUSED)


def send(text: str, fields: dict[str, str], *, warning: bool, wait: bool) -> str:
    """Send one record; return why it could not be delivered, or "".

    text: the whole record on one line, without control characters; fields: the same, one by one.
    wait: whether to give a log that is busy two seconds; otherwise the record is dropped.
    """
    severity = _WARNING if warning else _INFO
    number, why = _deliver(JOURNAL, lambda: _journal_entry(severity, text, fields), wait=wait)
    if number in _ABSENT:
        number, why = _deliver(SYSLOG, lambda: _syslog_line(severity, text), wait=wait)
    return why


def _deliver(path: str, make: Callable[[], bytes], *, wait: bool) -> tuple[int, str]:
    kind = _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
    try:
        sender = _socket.socket(_socket.AF_UNIX, kind)
    except OSError as error:
        return error.errno or -1, f"{path}: {error.strerror}"
    try:
        sender.connect(path)
        message = make()
        try:
            sender.send(message)
        except BlockingIOError:
            if not wait:
                raise
            ready = select.poll()
            ready.register(sender.fileno(), select.POLLOUT)
            ready.poll(_PATIENCE_MS)
            sender.send(message)
    except OSError as error:
        return error.errno or -1, f"{path}: {error.strerror}"
    finally:
        sender.close()
    return 0, ""


def _syslog_line(severity: int, text: str) -> bytes:
    now = time.localtime()
    stamp = f"{_MONTHS[now.tm_mon - 1]} {now.tm_mday:2} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    line = f"<{_AUTHPRIV << 3 | severity}>{stamp} {IDENTIFIER}[{os.getpid()}]: {text}"
    return line.encode("utf-8", "backslashreplace")


def _journal_entry(severity: int, text: str, fields: dict[str, str]) -> bytes:
    lines = [
        f"MESSAGE={text}",
        f"PRIORITY={severity}",
        f"SYSLOG_FACILITY={_AUTHPRIV}",
        f"SYSLOG_IDENTIFIER={IDENTIFIER}",
        f"SYSLOG_PID={os.getpid()}",
        *(f"{FIELD_PREFIX}{name.upper()}={value}" for name, value in fields.items()),
    ]
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
