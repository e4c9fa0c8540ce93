"""Programs that read hostile input run here: own namespaces, unprivileged ids, no network, few files.

``Sandbox.start`` is subprocess.Popen for such a program; ``confine`` is what it starts.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from typing import IO, Any

import ssh2container
from ssh2container.admin.images.ids import Range
from ssh2container.errors import SessionError
from ssh2container.plan.environment import ROOT_PATH
from ssh2container.policy.cold import PYTHON

_PACKAGE = os.path.dirname(os.path.abspath(ssh2container.__file__))
_PACKAGE_INSIDE = "/package/ssh2container"
_START = "import sys; sys.path[:0] = {paths!r}; import ssh2container.admin.images.{module} as m; {call}"
_CHOWN, _DAC_OVERRIDE, _FOWNER, _SYS_CHROOT = 0, 1, 3, 18
_MEMORY_BYTES = 4 << 30
_POLL_SECONDS = 0.2
_LOGGED = re.compile(r'time="[^"]*" level=\w+ msg=("(?:[^"\\]|\\.)*"|\S+)')


class Sandbox:
    """Where a program may read ``readable`` and write ``writable``: target inside → path outside.

    ids: the host's ids that are 0, 1, … inside. network: share the host's (registries only).
    memory, largest_file: bytes, 0 = no limit; tmp: size of /tmp.
    capabilities: kept, in the sandbox's own user namespace; None keeps all (and nested namespaces).
    """

    def __init__(
        self,
        ids: Range,
        *,
        readable: dict[str, str] | None = None,
        writable: dict[str, str] | None = None,
        network: bool = False,
        capabilities: tuple[int, ...] | None = (),
        memory: int = _MEMORY_BYTES,
        tmp: str = "64m",
        largest_file: int = 0,
    ) -> None:
        self.ids = ids
        self.readable = readable or {}
        self.writable = writable or {}
        self.network = network
        self.capabilities = capabilities
        self.memory = memory
        self.tmp = tmp
        self.largest_file = largest_file

    def start(
        self,
        argv: list[str],
        *,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.PIPE,
        directory: str = "/",
        environment: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start ``argv`` inside; the process dies with us. Raises SessionError without the right to.

        Its standard error goes to a file, which never fills up like a pipe: see :func:`complaint`.
        """
        if os.geteuid() != 0:
            raise SessionError("cannot handle images", "this needs root", "run it with sudo", step="image")
        rlimits = {"NOFILE": 4096}
        if self.memory:
            rlimits["AS"] = self.memory
        if self.largest_file:
            rlimits["FSIZE"] = self.largest_file
        settings = {
            "parent": os.getpid(),
            "argv": argv,
            "base": self.ids.base,
            "count": self.ids.count,
            "readable": {**self.readable, _PACKAGE_INSIDE: _PACKAGE},
            "writable": self.writable,
            "network": self.network,
            "nested": self.capabilities is None,
            "capabilities": None if self.capabilities is None else list(self.capabilities),
            "rlimits": rlimits,
            "bpf": base64.b64encode(_filter()).decode(),
            "tmp": self.tmp,
            "directory": directory,
            "environment": {
                "PATH": ROOT_PATH,
                "LANG": "C.UTF-8",
                "HOME": "/tmp",
                "TMPDIR": "/tmp",
                **(environment or {}),
            },
        }
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process object
        process = subprocess.Popen(
            [PYTHON, "-IB", "-c", program("sandbox.confine", "m.os._exit(m.main())"), json.dumps(settings)],
            stdin=stdin,
            stdout=stdout,
            stderr=errors,
        )
        process.stderr = errors
        return process

    def run(
        self, argv: list[str], *, stdin: int | IO[Any] | None = subprocess.DEVNULL, directory: str = "/"
    ) -> bytes:
        """Run ``argv`` inside to its end and return what it printed; raises SessionError."""
        process = self.start(argv, stdin=stdin, directory=directory)
        try:
            output = process.stdout.read() if process.stdout else b""
            if process.wait():
                raise failed(argv[0], process.returncode, complaint(process))
            return output
        finally:
            end(process)


@functools.cache
def _filter() -> bytes:
    """Return what keeps a program that a hostile image has taken over from starting a core handler."""
    # pyseccomp runs ldconfig at import; only this needs it.
    from ssh2container.admin.seccomp import build, floor, rules, syscalls

    table = rules.Table()
    table.unknown = rules.ALLOW
    floor.keep_core_limit(table, syscalls.native())
    return build.assemble(table, syscalls.native())


def unpacking(ids: Range, root: str) -> Sandbox:
    """Return the sandbox of the unpacker, which writes below ``root`` and nowhere else."""
    return Sandbox(ids, writable={"/image": root}, capabilities=(_CHOWN, _DAC_OVERRIDE, _FOWNER, _SYS_CHROOT))


def scratch(ids: Range, directory: str, readable: dict[str, str] | None = None) -> Sandbox:
    """Return a sandbox for a tool that writes files with owners into ``directory`` (/scratch)."""
    return Sandbox(
        ids,
        readable=readable,
        writable={"/scratch": directory},
        capabilities=(_CHOWN, _DAC_OVERRIDE, _FOWNER),
    )


def python(module: str, call: str, *arguments: str) -> list[str]:
    """Return the argv that, inside, makes ``call`` on the room's module ``module`` (as ``m``)."""
    return [PYTHON, "-ISB", "-c", _START.format(paths=["/package"], module=module, call=call), *arguments]


def program(module: str, call: str) -> str:
    """Return the same for ``python -c`` outside, with this very package."""
    return _START.format(paths=[os.path.dirname(_PACKAGE)], module=module, call=call)


def complaint(process: subprocess.Popen[bytes]) -> bytes:
    """Return the end of what ``process`` wrote to its standard error."""
    if process.stderr is None or process.stderr.closed:
        return b""
    longest = 1 << 16
    size = process.stderr.seek(0, os.SEEK_END)
    process.stderr.seek(max(0, size - longest))
    return process.stderr.read(longest)


def end(process: subprocess.Popen[bytes]) -> None:
    """End ``process`` if it still runs, and close our ends."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for file in (process.stdout, process.stderr):
        if file is not None:
            file.close()


def watch(process: subprocess.Popen[bytes], tool: str, look: Callable[[], None]) -> None:
    """Wait until ``process`` ends, and ``look`` at what it has done by then, some times a second.

    Raises SessionError where it fails, and what ``look`` raises, which ends it.
    """
    status = None
    try:
        while status is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(_POLL_SECONDS)
                break
            look()
        if status:
            raise failed(tool, status, complaint(process))
    finally:
        end(process)


def failed(tool: str, status: int, errors: bytes) -> SessionError:
    """Return the error of a tool that ended with ``status``."""
    lines = [_said(line) for line in errors.decode("utf-8", "backslashreplace").splitlines() if line.strip()]
    # apt's way, and that of tools around it: what is wrong may be followed by what they do about it.
    lines = [line for line in lines if line.startswith("E: ")] or lines
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return SessionError(f"{os.path.basename(tool)} {how}", " / ".join(lines[-3:]), step="image")


def _said(line: str) -> str:
    """Return what a line of a tool's complaint says, without the fields that skopeo's logger puts around."""
    found = _LOGGED.fullmatch(line.strip())
    if found is None:
        return line.strip()
    text = found[1]
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


PACKAGES = {
    "bsdtar": "libarchive-tools",
    "blkid": "util-linux",
    "btrfs": "btrfs-progs",
    "bzip2": "bzip2",
    "debugfs": "e2fsprogs",
    "guestfish": "guestfish (and a kernel in /boot: linux-image-amd64)",
    "gzip": "gzip",
    "lz4": "lz4",
    "mmdebstrap": "mmdebstrap",
    "patchelf": "patchelf",
    "rdsquashfs": "squashfs-tools-ng",
    "qemu-img": "qemu-utils",
    "sfdisk": "fdisk",
    "skopeo": "skopeo",
    "sqfs2tar": "squashfs-tools-ng",
    "tar": "tar",
    "xz": "xz-utils",
    "zstd": "zstd",
}
"""Tool → the Debian package that has it."""


def need(tool: str, purpose: str) -> str:
    """Return the path of ``tool``; raises SessionError that names the package to install."""
    path = shutil.which(tool, path=ROOT_PATH)
    if path is None:
        raise SessionError(
            f"{purpose} needs {tool}",
            "it is not installed",
            f"install the package {PACKAGES[tool]}",
            step="image",
        )
    return path
