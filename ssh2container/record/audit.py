"""The audit trail: one structured record per event, to the system's log.

Records go to /dev/log without ever waiting: a log that does not answer never holds up a login.
Fields are ``name="value"`` pairs with stable names (docs/audit.md); values are escaped, so that
nothing a client sends can forge a field, a line or an escape sequence.
"""

from __future__ import annotations

import _socket
import os
import time

from ssh2container.errors import SessionError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

IDENTIFIER = "ssh2container"
LOG = "/dev/log"
_AUTHPRIV = 10 << 3
_INFO, _WARNING = 6, 4
_LONGEST_VALUE = 1024
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Session:
    """The records of one login: everything that is known about it goes into each of them.

    id: names the session in the log, in messages to the user, and in ``%i``.
    """

    def __init__(self, environment: Mapping[bytes, bytes]) -> None:
        self.id = os.urandom(5).hex()
        self._started = time.monotonic()
        self._known: dict[str, str] = {"session": self.id, "uid": str(os.getuid())}
        if connection := environment.get(b"SSH_CONNECTION"):
            self._known["client"] = os.fsdecode(connection).partition(" ")[0]

    def know(self, **fields: str) -> None:
        """Add ``fields`` to every record from here on."""
        self._known.update(fields)

    def write(self, event: str, *, warning: bool = False, **fields: str) -> None:
        """Write one record; a log that cannot be reached is no reason to stop."""
        parts = [f"event={event}"]
        for name, value in {**self._known, **fields}.items():
            if value:
                parts.append(f'{name.rstrip("_")}="{_escape(value)}"')
        _send(_WARNING if warning else _INFO, " ".join(parts))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> Literal[False]:
        if isinstance(error, SessionError):
            self.write(
                "refused" if error.status != SessionError.status else "failed",
                warning=True,
                status=str(error.status),
                step=error.step,
                errno=str(error.number or ""),
                reason=str(error),
            )
        elif error is not None:
            self.write("failed", warning=True, status="125", reason=describe_bug(error))
        return False

    def close(self, *, reason: str, exit_code: int | None, signal: int | None) -> None:
        """Write the last record of a session that ran."""
        self.write(
            "close",
            reason=reason,
            exit="" if exit_code is None else str(exit_code),
            signal="" if signal is None else str(signal),
            duration=f"{time.monotonic() - self._started:.3f}",
        )


def describe_bug(error: BaseException) -> str:
    """Return an unforeseen error with the places it came through, for the log only."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{os.path.basename(code.co_filename)}:{trace.tb_lineno}:{code.co_name}")
        trace = trace.tb_next
    return f"{type(error).__name__}: {error} [{' < '.join(reversed(places))}]"


def _escape(value: str) -> str:
    shown = printable(value[:_LONGEST_VALUE])
    return shown.replace("\\", "\\\\").replace('"', '\\"') if '"' in shown else shown


def _send(severity: int, text: str) -> None:
    now = time.localtime()
    stamp = f"{_MONTHS[now.tm_mon - 1]} {now.tm_mday:2} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    line = f"<{_AUTHPRIV | severity}>{stamp} {IDENTIFIER}[{os.getpid()}]: {text}"
    kind = _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
    sender = _socket.socket(_socket.AF_UNIX, kind)
    try:
        sender.sendto(line.encode("utf-8", "backslashreplace"), LOG)
    except OSError:
        pass
    finally:
        sender.close()
