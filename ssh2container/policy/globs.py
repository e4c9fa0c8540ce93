"""File name patterns in a listed command, expanded inside the container where the files are.

The shell that would do it does not run, so ``scp -f *.txt`` and ``rsync … dir/*`` need this.
Patterns are glob(7)'s, over bytes; a pattern that matches nothing stays as it was typed, as in sh.
"""

from __future__ import annotations

import posix as os

from ssh2container import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_BACKSLASH, _STAR, _QUESTION, _OPEN, _CLOSE = b"\\*?[]"
_WILDCARDS = (_STAR, _QUESTION, _OPEN)


def expand(words: Sequence[bytes], home: bytes) -> list[bytes]:
    """Return ``words`` with every pattern replaced by the names it matches, in order.

    words: plain bytes, or ``policy.commands.Word`` that may carry a pattern.
    home: what a leading ``~`` stands for.
    """
    result: list[bytes] = []
    for word in words:
        pattern: bytes | None = getattr(word, "pattern", None)
        if pattern is None:
            result.append(bytes(word))
            continue
        literal = bytes(word)
        if pattern == b"~" or pattern.startswith(b"~/"):
            pattern = _escape(home) + pattern[1:]
            literal = home + literal[1:]
        result.extend(_paths(pattern) or [literal])
    return result


def matches(name: bytes, pattern: bytes) -> bool:
    """Tell whether ``pattern`` matches the whole of ``name``; neither holds a slash."""
    position = at = 0
    star = -1
    retry = 0
    while position < len(name):
        if at < len(pattern) and pattern[at] == _STAR:
            star, retry, at = at, position, at + 1
            continue
        length = _one(name[position], pattern, at)
        if length:
            at += length
            position += 1
        elif star >= 0:
            # The last star takes one more character; earlier stars need no second try.
            retry += 1
            position, at = retry, star + 1
        else:
            return False
    return all(byte == _STAR for byte in pattern[at:])


def _one(byte: int, pattern: bytes, at: int) -> int:
    """Return the length of the pattern's element at ``at`` when it matches ``byte``, else 0."""
    if at >= len(pattern):
        return 0
    element = pattern[at]
    if element == _QUESTION:
        return 1
    if element == _BACKSLASH and at + 1 < len(pattern):
        return 2 if pattern[at + 1] == byte else 0
    if element == _OPEN:
        inside = _bracket(byte, pattern, at)
        if inside is not None:
            return inside
    return 1 if element == byte else 0


def _bracket(byte: int, pattern: bytes, at: int) -> int | None:
    """Match a bracket expression; None when the bracket has no end and is a plain character."""
    position = at + 1
    negated = pattern[position : position + 1] in (b"!", b"^")
    position += negated
    start = position
    found = False
    while position < len(pattern):
        if pattern[position] == _CLOSE and position > start:
            return position + 1 - at if found != negated else 0
        first, position = _member(pattern, position)
        last = first
        if pattern[position : position + 1] == b"-" and pattern[position + 1 : position + 2] not in (
            b"",
            b"]",
        ):
            last, position = _member(pattern, position + 1)
        found = found or first <= byte <= last
    return None


def _member(pattern: bytes, position: int) -> tuple[int, int]:
    if pattern[position] == _BACKSLASH and position + 1 < len(pattern):
        position += 1
    return pattern[position], position + 1


def _paths(pattern: bytes) -> list[bytes]:
    found = [b"/"] if pattern.startswith(b"/") else [b""]
    for part in pattern.strip(b"/").split(b"/"):
        if any(byte in part for byte in _WILDCARDS):
            found = [path for base in found for path in _entries(base, part)]
        else:
            name = _unescape(part)
            found = [path for path in (_join(base, name) for base in found) if paths.exists(path)]
    return [path + b"/" for path in found if paths.is_directory(path)] if pattern.endswith(b"/") else found


def _entries(base: bytes, part: bytes) -> list[bytes]:
    try:
        names = os.listdir(base or b".")
    except OSError:
        return []
    hidden = part.startswith((b".", b"\\."))
    return [
        _join(base, name) for name in sorted(names) if name.startswith(b".") == hidden and matches(name, part)
    ]


def _join(base: bytes, name: bytes) -> bytes:
    return base + name if base in (b"", b"/") else base + b"/" + name


def _escape(text: bytes) -> bytes:
    return b"".join(
        b"\\" + text[i : i + 1] if text[i] in b"*?[]\\" else text[i : i + 1] for i in range(len(text))
    )


def _unescape(text: bytes) -> bytes:
    result = bytearray()
    position = 0
    while position < len(text):
        byte, position = _member(text, position)
        result.append(byte)
    return bytes(result)
