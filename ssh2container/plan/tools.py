"""The transfer programs of the host that sessions find in any image (docs/images.md)."""

from __future__ import annotations

import marshal
import posix as os

from ssh2container import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

TOOLS = "/var/lib/ssh2container/tools/current"
INSIDE = paths.TOOLS
"""Where they are in a session: never on PATH, so that nothing of an image is shadowed."""
_FORMAT = 1
_LIMIT_BYTES = 65536

Starts = dict[str, tuple[tuple[str, ...], tuple[tuple[str, str], ...]]]


class Tools:
    """The directory as it is now: its path, and how each program is started.

    starts: name -> (beginning of the argument vector, environment to add).
    """

    __slots__ = ("path", "starts")

    def __init__(self, path: str, starts: Starts) -> None:
        self.path = path
        self.starts = starts

    @classmethod
    def find(cls, link: str = TOOLS) -> Tools | None:
        """Return the directory that ``link`` leads to, None where none was built yet."""
        try:
            path = f"{paths.parent(link)}/{os.readlink(link)}"
            descriptor = os.open(path + "/index", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            index = marshal.loads(os.read(descriptor, _LIMIT_BYTES))
        except (ValueError, EOFError, TypeError):
            return None
        finally:
            os.close(descriptor)
        return cls(path, index["tools"]) if index.get("format") == _FORMAT else None

    def start(
        self, name: str, arguments: tuple[bytes, ...]
    ) -> tuple[str, tuple[bytes, ...], Mapping[bytes, bytes]] | None:
        """Return (path, argument vector, environment to add) that runs ``name``, None if it is missing.

        arguments: what follows the program's name.
        """
        if name not in self.starts:
            return None
        argv, environment = self.starts[name]
        words = tuple(paths.fsencode(word) for word in argv)
        # A program that is started by itself sees its own name; one started by the loader its path.
        words = (name.encode(),) if len(words) == 1 else words
        added = {paths.fsencode(key): paths.fsencode(value) for key, value in environment}
        return argv[0], (*words, *arguments), added
