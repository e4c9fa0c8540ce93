"""Comparing a recording with what the audit trail says about it.

While a session is recorded, its monitor says in the audit trail, every ten seconds and at the end, how
many bytes there are so far and what their digest is. Whoever changes a recording afterwards would have
to change the log, too.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import TYPE_CHECKING

from ssh2container.errors import SessionError
from ssh2container.record.keeper import DIGEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ssh2container.admin.auditlog.read import Record

VERIFIED, INCOMPLETE, CHANGED, UNKNOWN = "verified", "incomplete", "changed", "unknown"
_CHUNK = 1 << 20
_LONGEST_SIZE = 18
"""Digits: anybody may write to the log, and int() refuses thousands of them by an error of its own."""


class Verdict:
    """What became of a recording.

    state: "verified" to its end; "incomplete" when the trail does not know its end (the session still
    runs, or was killed); "changed"; or "unknown" when the trail does not know it at all.
    good: the bytes that are proven. text: the finding in words.
    """

    __slots__ = ("good", "state", "text")

    def __init__(self, state: str, good: int, text: str) -> None:
        self.state = state
        self.good = good
        self.text = text


class Claim:
    """What the trail says: the first ``size`` bytes have this digest; ``final``: there are no more."""

    __slots__ = ("digest", "final", "size")

    def __init__(self, size: int, digest: str, *, final: bool) -> None:
        self.size = size
        self.digest = digest
        self.final = final


def session_of(path: str) -> str:
    """Return the id of the session that a recording is of, by its name."""
    return os.path.basename(path).removesuffix(".cast").rpartition("-")[2]


def claims(path: str, records: Iterable[Record]) -> list[Claim]:
    """Return what the audit trail says about the recording at ``path``, the shortest part first.

    A record that another uid wrote than it claims is left out, as is one of another than the session's.
    """
    name, session = os.path.basename(path), session_of(path)
    found = {}
    owner = None
    for record in records:
        fields = record.fields
        if record.forged or fields.get("session") != session:
            continue
        if owner is None:
            owner = fields.get("uid")
        if fields["event"] != "recording" or fields.get("uid") != owner:
            continue
        size = fields.get("bytes", "")
        good = size.isascii() and size.isdecimal() and len(size) <= _LONGEST_SIZE
        if os.path.basename(fields.get("path", "")) == name and good:
            claim = Claim(int(size), fields.get("digest", ""), final=fields.get("final") == "yes")
            found[claim.size, claim.final, claim.digest] = claim
    return [found[key] for key in sorted(found)]


def verify(path: str, said: list[Claim]) -> Verdict:
    """Compare the recording at ``path`` with ``said``. Raises SessionError when it cannot be read."""
    if not said:
        return Verdict(UNKNOWN, 0, "the audit trail says nothing about this recording")
    digest = blake2b(digest_size=DIGEST_BYTES)
    good = read = 0
    try:
        with open(path, "rb") as file:
            for claim in said:
                while read < claim.size and (piece := file.read(min(_CHUNK, claim.size - read))):
                    digest.update(piece)
                    read += len(piece)
                if read < claim.size:
                    return Verdict(CHANGED, good, f"cut off: {read} of at least {claim.size} bytes are left")
                if digest.hexdigest() != claim.digest:
                    return Verdict(CHANGED, good, f"changed between byte {good} and byte {claim.size}")
                good = claim.size
            rest = len(file.read(_CHUNK))
    except OSError as error:
        raise SessionError(f"cannot read {path}", error.strerror or "", "run it as root", "replay") from None
    if not said[-1].final:
        return Verdict(
            INCOMPLETE, good, f"the first {good} bytes are as recorded; the trail does not know the end"
        )
    if rest:
        return Verdict(CHANGED, good, f"longer than recorded: something follows byte {good}")
    return Verdict(VERIFIED, good, f"all {good} bytes are as recorded")
