"""Tar streams: the one form in which every source hands over its files, and their way into a tree."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, NamedTuple

from ssh2container.admin.images import sandbox
from ssh2container.admin.images.ids import Range
from ssh2container.admin.images.safety import Count, HostileError
from ssh2container.errors import SessionError

Progress = Callable[[str, int, int], None]
"""Called with a sentence, the bytes done and the bytes in all (0 = unknown)."""


class Defaults(NamedTuple):
    """What an image says about a session in it; the names are plan.image.Image's."""

    environment: tuple[tuple[str, str], ...] = ()
    user: str = ""
    working_directory: str = ""
    command: tuple[str, ...] = ()


class Stream:
    """A pipeline of processes whose last writes a tar; ``layered``: whiteouts have their meaning."""

    def __init__(
        self, what: str, first: IO[bytes] | subprocess.Popen[bytes] | None, *, layered: bool = False
    ) -> None:
        self.what = what
        self.layered = layered
        self._processes: list[subprocess.Popen[bytes]] = []
        self.output: IO[bytes] | None = None
        if isinstance(first, subprocess.Popen):
            self._add(first)
        else:
            self.output = first

    def _add(self, process: subprocess.Popen[bytes]) -> None:
        self._processes.append(process)
        self.output = process.stdout

    def through(self, box: sandbox.Sandbox, argv: list[str]) -> Stream:
        """Add a program that turns the stream into another."""
        before = self.output
        self._add(box.start(argv, stdin=before))
        if before is not None:
            before.close()
        return self

    def finish(self) -> None:
        """Wait for the programs; raises SessionError for the first that failed."""
        if self.output is not None:
            self.output.close()
        broken_pipe = -13
        for process in self._processes:
            status = process.wait()
            if status and status != broken_pipe:
                raise sandbox.failed(_program_of(process), status, sandbox.complaint(process))

    def stop(self) -> None:
        """End what still runs."""
        for process in self._processes:
            sandbox.end(process)


def _program_of(process: subprocess.Popen[bytes]) -> str:
    arguments = process.args
    if isinstance(arguments, list) and str(arguments[-1]).startswith("{"):
        return str(json.loads(str(arguments[-1]))["argv"][0])
    return str(arguments[0]) if isinstance(arguments, list) else str(arguments)


class Unpacked(NamedTuple):
    """What came out: counts, and what was neutralised (sentence → the first members)."""

    entries: int
    size: int
    neutralised: dict[str, list[str]]


def unpack(streams: Iterable[Stream], root: str, ids: Range, count: Count, progress: Progress) -> Unpacked:
    """Unpack ``streams`` in order into ``root``, a directory of the range's first id.

    Raises HostileError for a member that breaks a rule, SessionError for what fails.
    """
    neutralised: dict[str, list[str]] = {}
    for stream in streams:
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(stream.stop)
            done = _unpack_one(stream, root, ids, count, progress)
            stream.finish()
        count.entries, count.size = done["entries"], done["size"]
        for what, names in done["neutralised"].items():
            neutralised.setdefault(what, []).extend(names)
    return Unpacked(count.entries, count.size, neutralised)


def _unpack_one(stream: Stream, root: str, ids: Range, count: Count, progress: Progress) -> dict[str, Any]:
    settings = {
        "max_size": count.limits.size,
        "max_entries": count.limits.entries,
        "entries": count.entries,
        "size": count.size,
        "ids": ids.count,
        "layered": stream.layered,
    }
    argv = sandbox.python("unpack", "sys.exit(m.main(sys.argv[1:]))", "/image", json.dumps(settings))
    process = sandbox.unpacking(ids, root).start(argv, stdin=stream.output)
    try:
        last: dict[str, Any] = {}
        for last in _reports(process):
            if "error" in last:
                _diagnose(stream, last)
            progress(stream.what, last["size"], 0)
        if process.wait() or "done" not in last:
            raise sandbox.failed("the unpacker", process.returncode, sandbox.complaint(process))
        return last
    finally:
        sandbox.end(process)


def _reports(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    for line in process.stdout or ():
        yield json.loads(line)


def _diagnose(stream: Stream, told: dict[str, Any]) -> None:
    """Raise what the unpacker told; a failed program before it is the better explanation."""
    if told.get("damaged"):
        with contextlib.suppress(OSError):
            stream.finish()
        raise SessionError(
            f"{stream.what} is damaged or cut short", told["error"], "fetch it again", step="image"
        )
    if "errno" in told:
        remedy = ""
        if told["errno"] in (errno.ENOSPC, errno.EDQUOT):
            remedy = "make room on the disk of the image store; the store is as it was before"
        raise SessionError(
            f"cannot unpack {told['member'] or stream.what}", told["error"], remedy, "image", told["errno"]
        )
    raise HostileError(told["member"], told["error"])


def make_root(path: str, ids: Range) -> None:
    """Make the empty root directory that :func:`unpack` fills."""
    os.mkdir(path, 0o755)
    os.chown(path, ids.base, ids.base)
