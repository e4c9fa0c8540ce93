"""How a session fails: one line for the person, one record for the log, one exit status.

Every step that cannot be carried out raises one of these. Nothing between the step and
``shell.main`` catches them, so a failed step always ends the session (fail closed).
"""

from __future__ import annotations

EXIT_OURS = 125
"""The container could not be made or broke: not the payload's doing."""
EXIT_REFUSED = 126
"""The policy, or the way we were called, does not allow it."""
EXIT_NOT_FOUND = 127
"""The program asked for does not exist inside the container."""


class SessionError(Exception):
    """A step failed; the session ends with :data:`EXIT_OURS`.

    what: the step and the object it failed on, e.g. ``"cannot mount the image debian:12"``.
    why: the reason in words, without a final stop.
    remedy: what the reader can do about it.
    step: a stable short name of the step, for the log.
    number: the errno, 0 when there is none.
    """

    status = EXIT_OURS

    def __init__(self, what: str, why: str = "", remedy: str = "", step: str = "", number: int = 0) -> None:
        super().__init__(what, why, remedy, step, number)
        self.what = what
        self.why = why
        self.remedy = remedy
        self.step = step
        self.number = number

    def reason(self) -> str:
        """Return what failed and why, without what to do about it."""
        return f"{self.what}: {self.why}" if self.why else self.what

    def __str__(self) -> str:
        line = self.reason()
        if self.remedy:
            line += "; " + self.remedy
        return printable(line)


class Refusal(SessionError):
    """Policy, request or caller forbid the session; it ends with :data:`EXIT_REFUSED`."""

    status = EXIT_REFUSED


class NotFound(SessionError):
    """The payload's program is not in the container; the session ends with 127."""

    status = EXIT_NOT_FOUND


def printable(text: str) -> str:
    """``text`` on one line, without anything that a terminal or a log would obey.

    Control characters, escape sequences and bytes that are not UTF-8 (surrogates from
    ``os.fsdecode``) are shown as backslash escapes.
    """
    if text.isprintable():
        return text
    # Written out, as the codec that does it would be imported: perhaps from inside a container.
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    number = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if number <= _LAST_OF_TWO_DIGITS:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= _LAST_OF_FOUR_DIGITS else f"\\U{number:08x}"


_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LAST_OF_TWO_DIGITS, _LAST_OF_FOUR_DIGITS = 0xFF, 0xFFFF
