"""Tar streams: the one form in which every source hands over its files, and their way into a tree."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from ssh2container.admin.images.ids import Range
from ssh2container.admin.images.sandbox import sandbox
from ssh2container.admin.images.unpack.rules import Count, HostileError
from ssh2container.errors import SessionError
from ssh2container.run import packets

if TYPE_CHECKING:
    import _socket

Progress = Callable[[str, int, int], None]
"""Called with a sentence, the bytes done and the bytes in all (0 = unknown)."""


class Defaults(NamedTuple):
    """What an image says about a session in it; the names are plan.image.Image's."""

    environment: tuple[tuple[str, str], ...] = ()
    user: str = ""
    working_directory: str = ""
    command: tuple[str, ...] = ()


class Stream:
    """A pipeline of processes whose last writes a tar; ``layered``: whiteouts have their meaning.

    gzip: the unpacker itself decompresses it. whole: somebody vouches that nothing is missing, see
    headers.Tar; where programs write the tar, they do.
    neutralised, warnings: what its source has to add to what the unpacker says, once it has ended.
    excuse: told status and complaint of a program that failed; says whether the tar is good all the same.
    """

    def __init__(
        self,
        what: str,
        first: IO[bytes] | subprocess.Popen[bytes] | None,
        *,
        layered: bool = False,
        gzip: bool = False,
        whole: bool = False,
    ) -> None:
        self.what = what
        self.layered = layered
        self.gzip = gzip
        self.neutralised: dict[str, list[str]] = {}
        self.warnings: list[str] = []
        self.excuse: Callable[[Stream, int, bytes], bool] = lambda *_: False
        self._whole = whole
        self._processes: list[subprocess.Popen[bytes]] = []
        self.output: IO[bytes] | None = None
        if isinstance(first, subprocess.Popen):
            self._add(first)
        else:
            self.output = first

    @property
    def whole(self) -> bool:
        """Say whether somebody vouches that nothing is missing."""
        return self._whole or self.gzip or bool(self._processes)

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
            excused = status == broken_pipe or self.excuse(self, status, sandbox.complaint(process))
            if status and not excused:
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
    """What came out: counts, what was neutralised (sentence → the first members), and warnings."""

    entries: int
    size: int
    neutralised: dict[str, list[str]]
    warnings: tuple[str, ...] = ()


def unpack(streams: Iterable[Stream], root: str, ids: Range, count: Count, progress: Progress) -> Unpacked:
    """Unpack ``streams`` in order into ``root``, a directory of the range's first id.

    Raises HostileError for a member that breaks a rule, SessionError for what fails.
    """
    neutralised: dict[str, list[str]] = {}
    warnings: list[str] = []
    settings = {
        "max_size": count.limits.size,
        "max_entries": count.limits.entries,
        "entries": count.entries,
        "size": count.size,
        "ids": ids.count,
    }
    argv = sandbox.python("unpack.unpack", "sys.exit(m.main(sys.argv[1:]))", "/image", json.dumps(settings))
    ours, theirs = packets.pair()
    with contextlib.closing(ours):
        with contextlib.closing(theirs):
            process = sandbox.unpacking(ids, root).start(argv, stdin=theirs.fileno())
        try:
            for stream in streams:
                with contextlib.ExitStack() as cleanup:
                    cleanup.callback(stream.stop)
                    done = _unpack_one(stream, ours, process, progress)
                    stream.finish()
                count.entries, count.size = done["entries"], done["size"]
                for what, names in (*done["neutralised"].items(), *stream.neutralised.items()):
                    neutralised.setdefault(what, []).extend(names)
                warnings += stream.warnings
        finally:
            sandbox.end(process)
    return Unpacked(count.entries, count.size, neutralised, tuple(warnings))


def _unpack_one(
    stream: Stream, channel: _socket.socket, process: subprocess.Popen[bytes], progress: Progress
) -> dict[str, Any]:
    """Hand ``stream`` to the unpacker and wait until it is done with it."""
    settings = {"layered": stream.layered, "gzip": stream.gzip, "whole": stream.whole}
    if stream.output is None:
        raise SessionError(f"{stream.what} cannot be read", "nothing writes it", step="image")
    with contextlib.suppress(BrokenPipeError):
        packets.send_descriptor(channel, b"T" + json.dumps(settings).encode(), stream.output.fileno())
    stream.output.close()
    for told in _reports(process):
        if "error" in told:
            _diagnose(stream, told)
        progress(stream.what, told["size"], 0)
        if "done" in told:
            return told
    process.wait()
    raise sandbox.failed("the unpacker", process.returncode, sandbox.complaint(process))


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
