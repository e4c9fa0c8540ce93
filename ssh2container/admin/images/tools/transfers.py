"""The programs that sessions find at /run/ssh2container/tools, whatever their image has.

They transfer files, or lead into the container.

Layout below /var/lib/ssh2container/tools: ``current`` is a symbolic link to the directory ``HEX``
(the hash of what it was made from), which holds ``bin/``, ``lib/`` (loader included), ``git-core/``
and ``index``, a marshal dict ``{"format": 1, "tools": {NAME: (argv, environment)}}``. Each program
starts through the loader and libraries beside it, so that a busybox, a musl or an empty image will do.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ssh2container import paths
from ssh2container.admin import atomic
from ssh2container.admin.durable import flush, locked
from ssh2container.admin.images.sandbox import sandbox
from ssh2container.admin.images.tools import closure
from ssh2container.admin.images.unpack.metadata import PROGRAMS
from ssh2container.admin.sshd import SSHD_PROGRAMS
from ssh2container.errors import SessionError
from ssh2container.plan import forwarding
from ssh2container.plan.request import FORWARDED

TOOLS = "/var/lib/ssh2container/tools"
INSIDE = paths.TOOLS
FORMAT = 1
_PARTS = ("SshdSessionPath", "SshdAuthPath")
"""Where sshd looks for the programs that it starts (sshd_config(5))."""
_MODE = 0o755  # sessions of every user bind it

_NSS = ("libnss_files.so.2", "libnss_compat.so.2")
_GIT = ("git-upload-pack", "git-receive-pack", "git-upload-archive")


class Tool(NamedTuple):
    """A program to inject: its name, and where the host has it.

    parts: programs that it starts itself, by the option that says where each is. preloaded: a library for it.
    """

    name: str
    path: str
    parts: tuple[tuple[str, str], ...] = ()
    preloaded: str = ""


def available() -> list[Tool]:
    """Return the programs that the host has."""
    found = [Tool(name, path) for name, places in PROGRAMS.items() if (path := _first(places))]
    return [*found, *_leading_inside()]


def _leading_inside() -> Iterator[Tool]:
    server, connect = FORWARDED
    here = forwarding.VERSION
    sshd = _first(forwarding.SERVERS)
    if sshd and os.path.exists(f"{here}/{forwarding.PRELOADED}"):
        # From OpenSSH 9.8 on; the listening program of that name is nothing without them.
        around = [os.path.dirname(place) for place in PROGRAMS["sftp-server"]]
        parts = [
            (option, path)
            for option, name in zip(_PARTS, SSHD_PROGRAMS[1:], strict=True)
            if (path := _first(f"{directory}/{name}" for directory in around))
        ]
        yield Tool(os.fsdecode(server), sshd, tuple(parts), f"{here}/{forwarding.PRELOADED}")
    if path := _first((f"{here}/{forwarding.CONNECT}",)):
        yield Tool(os.fsdecode(connect), path)


def _first(places: Iterable[str]) -> str:
    return next((place for place in places if os.access(place, os.X_OK)), "")


def refresh(tools: str = TOOLS) -> bool:
    """Build the directory anew if the host's programs have changed; say whether they had.

    Sessions that run keep the one that they have bound. Raises SessionError.
    """
    wanted = available()
    sources = _sources(wanted)
    digest = _digest(sources)
    os.makedirs(tools, exist_ok=True)
    if os.stat(tools).st_mode & 0o777 != _MODE:
        os.chmod(tools, _MODE)
    with locked(tools):
        if os.path.exists(f"{tools}/{digest}/index") and os.readlink(f"{tools}/current") == digest:
            return False
        _sweep(tools)
        staging = f"{tools}/.{secrets.token_hex(8)}"
        try:
            _build(staging, wanted)
            flush(staging)
            if os.path.isdir(f"{tools}/{digest}"):
                os.rename(f"{tools}/{digest}", f"{staging}.old")
            os.rename(staging, f"{tools}/{digest}")
            atomic.link(f"{tools}/current", digest)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        _sweep(tools)
        return True


def _sources(wanted: list[Tool]) -> list[str]:
    """Return every file that the directory is made from."""
    files: set[str] = set()
    for tool in wanted:
        files.update(os.path.realpath(path) for path in filter(None, (tool.preloaded,)))
        for path in (tool.path, *(part for _, part in tool.parts)):
            real = os.path.realpath(path)
            found = closure.linked(real)
            files.update((real, os.path.realpath(found.loader)))
            files.update(os.path.realpath(library) for library in found.libraries.values())
    return sorted(files)


def _digest(sources: list[str]) -> str:
    """Return the content address: the files' hashes, and how we treat them."""
    digest = hashlib.sha256(json.dumps([FORMAT, INSIDE, bool(shutil.which("patchelf"))]).encode())
    for path in sources:
        with open(path, "rb") as file:
            digest.update(path.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _build(staging: str, wanted: list[Tool]) -> None:
    for name in ("", "/bin", "/lib", "/git-core"):
        os.mkdir(staging + name)
        os.chmod(staging + name, 0o755)  # noqa: S103
    direct = shutil.which("patchelf") is not None
    index: dict[str, tuple[tuple[str, ...], tuple[tuple[str, str], ...]]] = {}
    for tool in wanted:
        real = os.path.realpath(tool.path)
        git = tool.name in _GIT
        if (git or tool.parts) and not direct:
            continue  # it starts programs by name, which only one with its own loader path can be
        base = "git" if git else tool.name
        loader = _place_program(staging, real, base, direct=direct)
        if git:
            _link(base, f"{staging}/bin/{tool.name}")
            _link("../bin/git", f"{staging}/git-core/git")
        program = f"{INSIDE}/bin/{tool.name}"
        argv: tuple[str, ...] = (
            (program,) if direct else (f"{INSIDE}/lib/{loader}", "--library-path", f"{INSIDE}/lib", program)
        )
        environment = (("GIT_EXEC_PATH", f"{INSIDE}/git-core"),) if git else ()
        for option, path in tool.parts:
            part = os.path.basename(path)
            _place_program(staging, os.path.realpath(path), part, direct=direct)
            argv += ("-o", f"{option}={INSIDE}/bin/{part}")
        if tool.preloaded:
            library = os.path.basename(tool.preloaded)
            _copy(tool.preloaded, f"{staging}/lib/{library}")
            environment = (("LD_PRELOAD", f"{INSIDE}/lib/{library}"),)
        index[tool.name] = (argv, environment)
    with open(f"{staging}/index", "wb") as file:
        file.write(marshal.dumps({"format": FORMAT, "tools": index}, 4))
    os.chmod(f"{staging}/index", 0o644)


def _place_program(staging: str, real: str, base: str, *, direct: bool) -> str:
    """Copy a program with loader and libraries; return the loader's name."""
    target = f"{staging}/bin/{base}"
    found = closure.linked(real)
    loader = os.path.basename(found.loader)
    if not found.loader:
        raise SessionError(f"{real} is not a dynamic program", "its loader is unknown", step="tools")
    libraries = dict(found.libraries)
    beside = os.path.dirname(next(iter(libraries.values())))
    libraries.update({name: f"{beside}/{name}" for name in _NSS if os.path.exists(f"{beside}/{name}")})
    for name, path in {loader: found.loader, **libraries}.items():
        _copy(path, f"{staging}/lib/{name}")
    if os.path.exists(target):
        return loader
    _copy(real, target)
    if direct:
        patchelf = sandbox.need("patchelf", "preparing the transfer programs")
        argv = [patchelf, "--set-interpreter", f"{INSIDE}/lib/{loader}"]
        # DT_RPATH, not DT_RUNPATH: it also counts for what the libraries themselves need, and it
        # comes before LD_LIBRARY_PATH and the image's own cache (ld.so(8)).
        argv += ["--force-rpath", "--set-rpath", f"{INSIDE}/lib", target]
        result = subprocess.run(argv, capture_output=True, check=False)
        if result.returncode:
            text = result.stderr.decode("utf-8", "replace").strip()
            raise SessionError(f"patchelf failed on {base}", text, step="tools")
    return loader


def _copy(source: str, target: str) -> None:
    if not os.path.exists(target):
        shutil.copyfile(os.path.realpath(source), target)
        os.chmod(target, 0o755)  # noqa: S103


def _link(target: str, path: str) -> None:
    if not os.path.lexists(path):
        os.symlink(target, path)


def _sweep(tools: str) -> None:
    """Remove what is neither current nor bound into a session; the caller has locked ``tools``."""
    current = os.readlink(f"{tools}/current") if os.path.islink(f"{tools}/current") else ""
    for entry in os.listdir(tools):
        path = f"{tools}/{entry}"
        if entry in ("current", current):
            continue
        if os.path.islink(path):
            os.unlink(path)
        elif (entry.startswith(".") and not entry.endswith(".old")) or not _mounted(path):
            shutil.rmtree(path, ignore_errors=True)


def _mounted(path: str) -> bool:
    """Say whether any mount namespace has ``path`` bound (proc(5), the fourth field of mountinfo)."""
    identity = os.path.basename(path).strip(".").removesuffix(".old").encode()
    for process in os.listdir("/proc"):
        if process.isdecimal():
            try:
                with open(f"/proc/{process}/mountinfo", "rb") as file:
                    if any(identity in line.split(b" ")[3] for line in file):
                        return True
            except OSError:
                continue
    return False
