"""The two doors of the system's log: journald's own protocol, and the socket that every syslog has.

Sources: systemd's "Native Journal Protocol", syslog(3), RFC 3164.
"""

from __future__ import annotations

import posix as os
import time

from ssh2container.kernel import ends

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
_PATIENCE_S = 5
"""How long a record that is required waits for its place in a log that others flood."""
_ABSENT = (FileNotFoundError, ConnectionRefusedError)


def send(text: str, fields: dict[str, str], *, warning: bool, wait: bool) -> str:
    """Send one record; return why it could not be delivered, or "".

    text: the whole record on one line, without control characters; fields: the same, one by one.
    wait: whether to wait for a place in a log that is busy, a few seconds; otherwise the record is dropped.
    """
    severity = _WARNING if warning else _INFO
    try:
        try:
            _deliver(JOURNAL, lambda: _journal_entry(severity, text, fields), wait=wait)
        except _ABSENT:
            _deliver(SYSLOG, lambda: _syslog_line(severity, text), wait=wait)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return ""


def _deliver(path: str, make: Callable[[], bytes], *, wait: bool) -> None:
    """Send what ``make`` returns. Raises OSError, with the path."""
    try:
        # Who blocks stands in the kernel's queue and is woken in turn. Who polls and then sends finds the
        # place taken, each time, by somebody who does nothing but send.
        sender = ends.connect(path, _PATIENCE_S if wait else 0)
        try:
            ends.send(sender, make())
        finally:
            os.close(sender)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


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
