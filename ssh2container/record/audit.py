"""The audit trail: one structured record per event, to the system's log.

Fields are ``name="value"`` pairs with stable names (docs/audit.md); values are escaped, so that
nothing a client sends can forge a field, a line or an escape sequence. A log that does not answer
holds up nobody, unless the site says ``audit: required``: then a record that cannot be delivered
ends the session.
"""

from __future__ import annotations

import posix as os
import time

from ssh2container import paths
from ssh2container.errors import SessionError, printable
from ssh2container.policy import store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal

    from ssh2container.policy.store import Site

_LONGEST_VALUE = 1024


def unwritten(why: str) -> SessionError:
    """Return what ends a login under ``audit: required`` when no record can be written."""
    return SessionError(
        "cannot write the audit record",
        why,
        "an administrator repairs the system log, or removes audit: required",
        "audit",
    )


class Session:
    """The records of one login: everything that is known about it goes into each of them.

    id: names the session in the log, in messages to the user, and in ``%i``.
    """

    def __init__(self, environment: Mapping[bytes, bytes]) -> None:
        self.id = os.urandom(5).hex()
        self._started = time.monotonic()
        self._known: dict[str, str] = {"session": self.id, "uid": str(os.getuid())}
        address = paths.fsdecode(environment.get(b"SSH_CONNECTION", b"")).split(" ")
        if len(address) > 1:
            self._known["client"], self._known["port"] = address[:2]
        self._authentication = environment.get(b"SSH_USER_AUTH", b"")
        self._obeying = False
        self._lost = 0
        self.required = False
        self._format: Callable[[dict[str, str]], str] = as_fields

    def obey(self, site: Site | None) -> None:
        """Write the records as the site wants them from here on."""
        self._obeying = True
        if site is not None:
            self.required = site.audit == "required"
            if site.audit_format == "ecs":
                from . import ecs

                self._format = ecs.as_ecs

    def know(self, **fields: str) -> None:
        """Add ``fields`` to every record from here on."""
        self._known.update(fields)

    def write(self, event: str, *, warning: bool = False, **fields: str) -> None:
        """Write one record. Raises SessionError only under ``audit: required``."""
        if self._authentication:
            from . import authentication

            self._known.update(authentication.describe(self._authentication))
            self._authentication = b""
        record = {"event": event}
        for name, value in {**self._known, **fields}.items():
            if value:
                record[name] = printable(value[:_LONGEST_VALUE])
        if self._lost:
            record["lost"] = str(self._lost)
        # Here, as the first record of most sessions is written while pid 1 makes the container.
        from . import logs

        failure = logs.send(self._format(record), record, warning=warning, wait=self.required)
        self._lost = self._lost + 1 if failure else 0
        if failure and self.required:
            raise unwritten(failure)

    def note(self, text: str) -> None:
        """Write a record of something that an administrator should look at and that stops nobody."""
        self.write("note", warning=True, text=text)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> Literal[False]:
        if error is not None:
            try:
                self._write_failure(error)
            except SessionError:
                pass  # the session ends in any case, with the reason it already has
        return False

    def _write_failure(self, error: BaseException) -> None:
        # A server of the policies that hangs would hang this, too.
        if not self._obeying and not (isinstance(error, SessionError) and error.step == "answering"):
            try:
                self.obey(store.site(log=_ignore))
            except (SessionError, OSError):
                pass  # no settings to be had: the record counts more than its form
        if isinstance(error, SessionError):
            self.write(
                "refused" if error.status != SessionError.status else "failed",
                warning=True,
                status=str(error.status),
                step=error.step,
                errno=str(error.number or ""),
                reason=str(error),
            )
        else:
            self.write("failed", warning=True, status="125", reason=describe_bug(error))

    def close(
        self,
        reason: str,
        exit_code: int | None,
        signal: int | None,
        traffic: tuple[int, int] | None,
        usage: Mapping[str, str],
        ran_at: float,
    ) -> None:
        """Write the last record of a session that ran.

        reason: what ended it. exit_code, signal: of its payload, one of them None.
        traffic: bytes that were typed and shown; None without a terminal, where nobody sees them.
        usage: more fields, of a session with limits: what it used of them.
        ran_at: when its program was executed, of time.monotonic(); 0.0 where it never was.
        """
        self.know(**usage)
        typed, shown = ("", "") if traffic is None else (str(traffic[0]), str(traffic[1]))
        self.write(
            "close",
            reason=reason,
            exit="" if exit_code is None else str(exit_code),
            signal="" if signal is None else str(signal),
            duration=f"{time.monotonic() - self._started:.3f}",
            start_usec=str(round((ran_at - self._started) * 1e6)) if ran_at else "",
            input=typed,
            output=shown,
        )


def _ignore(_: str) -> None:
    """Say nothing: whoever loads the policy says it."""


def as_fields(record: dict[str, str]) -> str:
    """Return ``event=… name="value" …``."""
    parts = ["event=" + record["event"]]
    for name, value in record.items():
        if name != "event":
            shown = value.replace("\\", "\\\\").replace('"', '\\"')
            parts.append(f'{name}="{shown}"')
    return " ".join(parts)


def describe_bug(error: BaseException) -> str:
    """Return an unforeseen error with the places it came through, for the log only."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{paths.basename(code.co_filename)}:{trace.tb_lineno}:{code.co_name}")
        trace = trace.tb_next
    return f"{type(error).__name__}: {error} [{' < '.join(reversed(places))}]"
