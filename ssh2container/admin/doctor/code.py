"""The program itself: who could change what a login runs, and whether it starts as fast as it should."""

from __future__ import annotations

import grp
import importlib.util
import os
import pwd
import stat
import subprocess
from typing import TYPE_CHECKING

from ssh2container.admin import bundle
from ssh2container.admin.doctor.finding import NOTE, OK, PROBLEM, WARNING, Finding
from ssh2container.admin.enrol.account import SHELL
from ssh2container.admin.enrol.change import read_or_none

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERPRETER = "/usr/bin/python3"
VERSIONS = "/usr/lib/ssh2container"
_FIRST_LINE = "#!/usr/bin/python3 -ISB"
_FOR_OTHERS, _EXECUTE_ONLY = 0o077, 0o011
_LAUNCHED = VERSIONS + "/login"
"""The script that the static launcher starts (launcher/launcher.c)."""
_ELF = "\x7fELF"
_PLACES = (
    SHELL,
    "/usr/bin/ssh2containerctl",
    "/etc/ssh2container",
    "/usr/share/ssh2container",
    "/var/lib/ssh2container",
)


def weakness(path: str) -> str:
    """Return why somebody else than root could change ``path``, "" if nobody can.

    A directory counts with what it holds by name only: who can write there can replace it.
    An access list shows in the group bits of the mode, as its mask (acl(5)).
    """
    found = os.lstat(path)
    if found.st_uid != 0:
        return f"belongs to uid {found.st_uid}"
    if stat.S_ISLNK(found.st_mode):
        return ""
    others = found.st_mode & 0o002 or (found.st_mode & 0o020 and _has_members(found.st_gid))
    if others and not (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
        return f"is writable by others (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def _has_members(gid: int) -> bool:
    """Return whether anybody but root is in a group; Debian's "staff" is empty and owns /usr/local."""
    try:
        members = grp.getgrgid(gid).gr_mem
    except KeyError:
        return False
    return bool(members) or any(entry.pw_gid == gid and entry.pw_uid != 0 for entry in pwd.getpwall())


def way_to(path: str) -> Iterator[str]:
    """Yield every directory and link on the way to ``path``, and what it leads to."""
    seen: set[str] = set()
    waiting = [path]
    while waiting:
        current = os.path.normpath(waiting.pop())
        if current in seen:
            continue
        seen.add(current)
        yield current
        if os.path.islink(current):
            waiting.append(os.path.join(os.path.dirname(current), os.readlink(current)))
        if current != "/":
            waiting.append(os.path.dirname(current))


def import_path() -> set[str]:
    """Return where the login shell's interpreter and the administrator's look for modules."""
    found: set[str] = set()
    for options in ("-ISBc", "-IBc"):
        answer = subprocess.run(
            [INTERPRETER, options, "import sys; print('\\n'.join(sys.path))"],
            capture_output=True,
            text=True,
            check=True,
        )
        found.update(line for line in answer.stdout.splitlines() if os.path.exists(line))
    return found


def examine() -> Iterator[Finding]:
    """Yield what is wrong with the program on this host."""
    weak = {}
    for start in (INTERPRETER, *import_path(), *_PLACES):
        if not os.path.lexists(start):
            yield Finding(PROBLEM, "code.missing", start, "does not exist", "run install.sh")
            continue
        for path in way_to(start):
            why = weakness(path)
            if why:
                weak[path] = why
    for directory, below, names in os.walk(os.path.realpath(f"{VERSIONS}/current")):
        for path in (os.path.join(directory, name) for name in (*below, *names)):
            for step in way_to(path) if os.path.islink(path) and "/skeleton/" not in path else (path,):
                why = weakness(step) if os.path.lexists(step) else ""
                if why:
                    weak[step] = why
    for path, why in weak.items():
        yield Finding(
            PROBLEM,
            "code.ownership",
            path,
            f"{why}: that account can become every user who logs in",
            f"chown root:root {path} && chmod go-w {path}",
        )
    if not weak:
        yield Finding(
            OK,
            "code.ownership",
            "",
            "the interpreter, its modules, the program and the policies are root's alone",
        )
    yield from _entry()
    yield from _first_process()
    yield from _modules()
    yield from _bytecode()
    yield from _shells()


def _entry() -> Iterator[Finding]:
    """Yield whether the login shell still starts the pinned interpreter, and by which of its two ways."""
    path, text = SHELL, read_or_none(SHELL) or ""
    if text.startswith(_ELF):
        path, text = _LAUNCHED, read_or_none(_LAUNCHED) or ""
        short = f"{VERSIONS}/current/start.so"
        if not os.path.exists(short):
            yield Finding(
                NOTE,
                "code.start",
                short,
                "does not exist: the interpreter starts as for any program, some 4 ms longer",
                "run install.sh where there is a C compiler",
            )
    else:
        yield Finding(
            NOTE,
            "code.launcher",
            SHELL,
            "is a script: a client's LD_PRELOAD acts before its first line where sshd lets it in",
            "keep AcceptEnv narrow, or run install.sh where there is a C compiler",
        )
    first = text.partition("\n")[0]
    if first != _FIRST_LINE:
        yield Finding(
            PROBLEM,
            "code.interpreter",
            path,
            f"begins with {first!r}, expected {_FIRST_LINE!r}",
            "run install.sh",
        )


def _first_process() -> Iterator[Finding]:
    """Yield whether pid 1 of containers can be started, and is closed to the users whose it is."""
    path = f"{VERSIONS}/current/init"
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError as error:
        yield Finding(
            PROBLEM, "code.init", path, f"{error.strerror}: no container can be started", "run install.sh"
        )
        return
    if mode & _FOR_OTHERS != _EXECUTE_ONLY:
        yield Finding(
            PROBLEM,
            "code.init",
            path,
            f"its mode is {mode:04o}: only who cannot read it is kept from looking into its processes",
            f"chmod 711 {path}",
        )


def _modules() -> Iterator[Finding]:
    """Yield links of the version's directory that lead nowhere, as after an upgrade of the distribution."""
    current = f"{VERSIONS}/current"
    if not os.path.isdir(current):
        yield Finding(PROBLEM, "code.version", current, "leads nowhere: nobody can log in", "run install.sh")
        return
    for name in os.listdir(current):
        path = os.path.join(current, name)
        if not os.path.exists(path):
            yield Finding(
                PROBLEM,
                "code.modules",
                path,
                "leads nowhere: nobody can log in",
                "the distribution's Python was upgraded: run install.sh again",
            )
    others = sorted(
        name
        for name in os.listdir(VERSIONS)
        if name != os.path.basename(os.path.realpath(current))
        and os.path.isdir(f"{VERSIONS}/{name}")
        and not os.path.islink(f"{VERSIONS}/{name}")
    )
    if others:
        yield Finding(
            NOTE,
            "code.versions",
            "",
            f"older versions are kept: {', '.join(others)}",
            "install.sh removes them",
        )


def _bytecode() -> Iterator[Finding]:
    """Yield whether bytecode and bundle are of this interpreter and of these sources."""
    missing, sources = [], []
    package = os.path.realpath(f"{VERSIONS}/current/ssh2container")
    for directory, _, names in os.walk(package):
        for name in names:
            source = os.path.join(directory, name)
            if name.endswith(".py"):
                sources.append(source)
                if not _is_fresh(source):
                    missing.append(source)
    if missing:
        yield Finding(
            WARNING,
            "code.bytecode",
            missing[0],
            f"{len(missing)} modules have no fresh bytecode for this Python: every login compiles them",
            "run install.sh again",
        )
    path = bundle.path_of(os.path.dirname(package))
    newest = max((os.stat(source).st_mtime for source in sources), default=0)
    if not os.path.exists(path):
        yield Finding(
            WARNING,
            "code.bundle",
            path,
            "does not exist: every login imports module by module, some 6 ms longer",
            "run install.sh again",
        )
    elif os.stat(path).st_mtime < newest:
        yield Finding(
            WARNING,
            "code.bundle",
            path,
            "is older than the code that it was made from: logins do not see the change",
            f"rm {path}, and run install.sh",
        )


def _is_fresh(source: str) -> bool:
    """Return whether the bytecode of ``source`` is of this interpreter and of this source (PEP 552)."""
    try:
        with open(importlib.util.cache_from_source(source), "rb") as file:
            header = file.read(16)
    except FileNotFoundError:
        return False
    written = os.stat(source)
    if header[:4] != importlib.util.MAGIC_NUMBER:
        return False
    return int.from_bytes(header[8:12], "little") == int(written.st_mtime) & 0xFFFFFFFF


def _shells() -> Iterator[Finding]:
    """Yield whether users could give themselves another shell."""
    listed = SHELL in (read_or_none("/etc/shells") or "").split()
    if listed:
        yield Finding(
            WARNING,
            "routes.chsh",
            "/etc/shells",
            f"lists {SHELL}: whoever gets a process outside a container may chsh to a shell of the host",
            "remove the line, unless a program needs it there (docs/installation.md)",
        )
    else:
        yield Finding(
            OK, "routes.chsh", "", "chsh is refused to users of the login shell (not in /etc/shells)"
        )
