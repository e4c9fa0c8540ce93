"""Reading a policy file from disk: only what nobody but its owner can have changed.

The way to the file is walked one component at a time without following links, each directory
and the file itself is checked through the descriptor that is then used, so there is no moment
between the check and the use (CWE-367).
"""

from __future__ import annotations

import os
import stat

from ssh2container.admin.policy.yaml.problems import PolicyError, Problem
from ssh2container.policy.layers import identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.policy.layers import Identity

SIZE_LIMIT_BYTES = 256 * 1024
"""A policy is a page; this holds about 5000 lines. It bounds the parser's time and memory."""

# Characters that a reader does not see, or sees elsewhere than they stand (CVE-2021-42574), and
# those that YAML 1.1 takes for line breaks while editors do not.
_INVISIBLE = frozenset(
    chr(code)
    for first, last in (
        (0x00, 0x08),
        (0x0B, 0x0C),
        (0x0E, 0x1F),
        (0x7F, 0x9F),
        (0x200B, 0x200F),
        (0x2028, 0x202E),
        (0x2066, 0x2069),
        (0xFEFF, 0xFEFF),
        (0xFFFE, 0xFFFF),
    )
    for code in range(first, last + 1)
)


class Source:
    """A file's text and what it was when it was read."""

    __slots__ = ("identity", "path", "text")

    def __init__(self, path: str, text: str, seen: Identity) -> None:
        self.path = path
        self.text = text
        self.identity = seen

    def line(self, number: int) -> str:
        """Return line ``number``, counted from 1, or "" when there is none."""
        lines = self.text.split("\n")
        return lines[number - 1].rstrip("\r") if 0 < number <= len(lines) else ""


def read_trusted(path: str, anchor: str = "/", owner: int = 0, *, tabs: bool = False) -> Source:
    """Read a policy file that decides about logins.

    path: absolute.
    anchor: the directory from which on every component is checked; a path outside of it is
    checked from the root on, for root. "" trusts everything: for checking a work tree.
    tabs: as of :func:`read_any`.
    owner: the uid that must own them all.

    Raises FileNotFoundError when there is no such file, PolicyError when it cannot be trusted.
    """
    if not anchor:
        return read_any(path, tabs=tabs)
    if os.path.commonpath((path, anchor)) != anchor:
        anchor, owner = "/", 0
    descriptor = _walk(path, anchor, owner)
    try:
        status = os.fstat(descriptor)
        _require_regular(path, status)
        _require_trusted(path, status, owner)
        return _read(path, descriptor, tabs=tabs)
    finally:
        os.close(descriptor)


def read_any(path: str, *, tabs: bool = False) -> Source:
    """Read a policy file anywhere, e.g. in a work tree: nobody logs in by it, so owners do not matter.

    tabs: for files of other languages, which may be indented by them.

    Raises FileNotFoundError when there is no such file, PolicyError when it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise _refused(path, f"cannot open the file: {_reason(error)}") from error
    try:
        _require_regular(path, os.fstat(descriptor))
        return _read(path, descriptor, tabs=tabs)
    finally:
        os.close(descriptor)


def decode(path: str, data: bytes, *, tabs: bool = False) -> str:
    """Turn a file's bytes into text that shows everything it says.

    Raises PolicyError for a byte order mark, NUL and other invisible characters, bytes that are
    not UTF-8, and, unless ``tabs``, tabs in the indentation.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        raise _refused(path, "the file starts with a byte order mark", "save it as UTF-8 without BOM", 1, 1)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line, column = _position(before)
        found = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise _refused(path, found, "save the file as UTF-8", line, column) from None
    problems = []
    for number, line_text in enumerate(text.split("\n"), 1):
        line_text = line_text.removesuffix("\r")  # noqa: PLW2901 - CRLF files are welcome
        indentation = line_text[: len(line_text) - len(line_text.lstrip(" \t"))]
        if "\t" in indentation and not tabs:
            problems.append(
                Problem(path, number, indentation.index("\t") + 1, "a tab in the indentation",
                        hint="indent with spaces", text=line_text)
            )  # fmt: skip
        if not _INVISIBLE.isdisjoint(line_text) or "\r" in line_text:
            column = next(i for i, c in enumerate(line_text, 1) if c in _INVISIBLE or c == "\r")
            found = f"invisible character U+{ord(line_text[column - 1]):04X}"
            problems.append(Problem(path, number, column, found, hint="remove it", text=line_text))
    if problems:
        raise PolicyError(problems)
    return text


def _walk(path: str, anchor: str, owner: int) -> int:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    here = os.open(anchor, flags)
    try:
        _require_trusted(anchor, os.fstat(here), owner)
        *directories, name = os.path.relpath(path, anchor).split("/")
        walked = anchor.rstrip("/")
        for directory in directories:
            walked += "/" + directory
            below = _open_below(here, directory, walked, flags)
            os.close(here)
            here = below
            _require_trusted(walked, os.fstat(here), owner)
        # O_NONBLOCK: opening a FIFO would wait for a writer.
        return _open_below(here, name, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    finally:
        os.close(here)


def _open_below(directory: int, name: str, path: str, flags: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=directory)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        try:
            link = stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
        except (OSError, ValueError):
            link = False
        if link:
            raise _refused(path, "it is a symbolic link", "put the file itself there") from None
        raise _refused(path, f"cannot open it: {_reason(error)}") from None


def _require_regular(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, "it is not a regular file")


def _require_trusted(path: str, status: os.stat_result, owner: int) -> None:
    if status.st_uid != owner:
        remedy = f"chown {owner} {path}"
        raise _refused(path, f"it belongs to uid {status.st_uid}, not to uid {owner}", remedy)
    if status.st_mode & 0o022:
        found = f"it is writable by users other than its owner (mode {stat.S_IMODE(status.st_mode):04o})"
        raise _refused(path, found, f"chmod go-w {path}")


def _read(path: str, descriptor: int, *, tabs: bool = False) -> Source:
    before = os.fstat(descriptor)
    data = b""
    while len(data) <= SIZE_LIMIT_BYTES:
        try:
            piece = os.read(descriptor, SIZE_LIMIT_BYTES + 1 - len(data))
        except OSError as error:
            raise _refused(path, f"cannot read it: {_reason(error)}") from None
        if not piece:
            break
        data += piece
    if len(data) > SIZE_LIMIT_BYTES:
        raise _refused(path, f"the file is larger than {SIZE_LIMIT_BYTES // 1024} KiB")
    return Source(path, decode(path, data, tabs=tabs), identity(before))


def _position(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _refused(path: str, found: str, hint: str = "", line: int = 0, column: int = 0) -> PolicyError:
    return PolicyError([Problem(path, line, column, found, hint=hint)])
