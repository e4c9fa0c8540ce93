"""The files that sshd reads, line by line in its order: for what ``sshd -T`` cannot be asked.

What a keyword comes to for one connection is sshd's own answer (``admin/sshd/effective.py``). Read here is
which conditions there are to ask about, where a value was written, and, in a session, where keys are kept.
"""

from __future__ import annotations

import posix as os

from ssh2container import paths
from ssh2container.kernel.process import read_file

from .environment import matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = "/etc/ssh/sshd_config"
_BASE = "/etc/ssh"
"""Where a relative Include begins, whatever file it stands in (sshd_config(5), Include)."""
_DEEPEST = 16
"""Files within files that sshd follows (servconf.h, SERVCONF_MAX_DEPTH)."""
_BLANK = " \t\r"


class Block:
    """A Match line: where it stands, and its criteria as (name in lower case, value) pairs."""

    __slots__ = ("around", "criteria", "line", "path", "words")

    def __init__(self, path: str, line: int, words: list[str], around: Block | None) -> None:
        self.path = path
        self.line = line
        self.words = words
        self.criteria = _criteria(words)
        self.around = around

    @property
    def place(self) -> str:
        """Return FILE:LINE."""
        return f"{self.path}:{self.line}"

    def __str__(self) -> str:
        return " ".join(("Match", *self.words))


class Line:
    """One setting: its keyword in lower case, its words, and the Match block that it stands in."""

    __slots__ = ("block", "keyword", "number", "path", "words")

    def __init__(
        self, path: str, number: int, keyword: str, words: tuple[str, ...], block: Block | None
    ) -> None:
        self.path = path
        self.number = number
        self.keyword = keyword
        self.words = words
        self.block = block

    @property
    def place(self) -> str:
        """Return FILE:LINE."""
        return f"{self.path}:{self.number}"


class Files:
    """All that one configuration file leads to.

    paths: each file in the order of reading. lines: their settings, without Include and Match.
    blocks: the Match lines. directories: where an Include looks. unreadable: what could not be read.
    """

    __slots__ = ("blocks", "directories", "lines", "paths", "texts", "unreadable")

    def __init__(self, config: str = CONFIG) -> None:
        self.paths: list[str] = []
        self.lines: list[Line] = []
        self.blocks: list[Block] = []
        self.directories: list[str] = []
        self.unreadable: list[str] = []
        self.texts: dict[str, bytes] = {}
        self._read(config, None, 0)

    def values(self, keyword: str) -> Iterator[Line]:
        """Yield every line that sets ``keyword``, in the order of reading."""
        return (line for line in self.lines if line.keyword == keyword)

    def _read(self, path: str, around: Block | None, depth: int) -> None:
        try:
            raw = read_file(path, os.O_NONBLOCK)
        except OSError:
            self.unreadable.append(path)
            return
        self.paths.append(path)
        self.texts[path] = raw
        block = around
        for number, text in enumerate(paths.fsdecode(raw).split("\n"), 1):
            keyword, words = parse(text)
            if keyword == "include" and depth < _DEEPEST:
                for pattern in words:
                    for name in self._expand(pattern):
                        self._read(name, block, depth + 1)
            elif keyword == "match":
                block = Block(path, number, words, around)
                self.blocks.append(block)
            elif keyword:
                self.lines.append(Line(path, number, keyword, tuple(words), block))

    def _expand(self, pattern: str) -> list[str]:
        """Return the files that an Include means, in the order of their names (glob(7))."""
        whole = pattern if pattern.startswith("/") else f"{_BASE}/{pattern}"
        found = [""]
        for part in whole.split("/")[1:]:
            if not set(part) & set("*?["):
                found = [f"{directory}/{part}" for directory in found]
                continue
            self.directories += [directory or "/" for directory in found]
            found = [f"{directory}/{name}" for directory in found for name in _listed(directory, part)]
        return [path for path in found if paths.exists(path)]


def parse(text: str) -> tuple[str, list[str]]:
    """Return a line's keyword in lower case and its words; "" for a line without any."""
    text = text.strip(_BLANK + "\f")
    if not text or text[0] == "#":
        return "", []
    end = next((at for at, one in enumerate(text) if one in " \t="), len(text))
    rest = text[end:].lstrip(_BLANK)
    if rest.startswith("="):
        rest = rest[1:].lstrip(_BLANK)
    return text[:end].strip('"').lower(), split(rest)


def split(text: str) -> list[str]:
    """Return the words of a line, quotes taken off; a word that begins with # ends it."""
    words: list[str] = []
    at, length = 0, len(text)
    while at < length:
        if text[at] in _BLANK:
            at += 1
            continue
        if text[at] == "#":
            break
        word, quote = "", ""
        while at < length and (quote or text[at] not in _BLANK):
            one = text[at]
            if one == "\\" and text[at + 1 : at + 2] in ("'", '"', "\\"):
                at += 1
                word += text[at]
            elif one == quote:
                quote = ""
            elif not quote and one in "'\"":
                quote = one
            else:
                word += one
            at += 1
        words.append(word)
    return words


_WITHOUT_VALUE = ("all", "invalid-user")


def _criteria(words: list[str]) -> tuple[tuple[str, str], ...]:
    """Return the criteria of a Match line; OpenSSH 10 also takes NAME=VALUE."""
    found = []
    waiting = list(words)
    while waiting:
        name, equals, value = waiting.pop(0).partition("=")
        if not equals and name.lower() not in _WITHOUT_VALUE:
            value = waiting.pop(0) if waiting else ""
        found.append((name.lower(), value))
    return tuple(found)


def _listed(directory: str, pattern: str) -> list[str]:
    try:
        names = os.listdir(directory or "/")
    except OSError:
        return []
    if "[" in pattern:
        import fnmatch

        fits = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    else:
        fits = [name for name in names if matches(paths.fsencode(name), paths.fsencode(pattern))]
    return sorted(name for name in fits if not name.startswith(".") or pattern.startswith("."))
