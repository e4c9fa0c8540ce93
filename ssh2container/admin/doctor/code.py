"""The program itself: who could change what a login runs, and whether it starts as fast as it should."""

from __future__ import annotations

import importlib.util
import os
import re
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

from ssh2container.admin.account import SHELLS, listed_shells
from ssh2container.admin.change import read_or_none
from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import NOTE, OK, PROBLEM, WARNING, Finding
from ssh2container.admin.doctor.ownership import way_to, weakness
from ssh2container.admin.install import bundle
from ssh2container.admin.sshd import CONTROL, SHELL, VERSIONS
from ssh2container.kernel import landlock
from ssh2container.policy import store
from ssh2container.policy.cold import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_LINE = f"#!{PYTHON} -ISB"
_FOR_OTHERS, _EXECUTE_ONLY = 0o077, 0o011
LAUNCHED = VERSIONS + "/login"
"""The script that the static launcher starts (native/launcher/launcher.c)."""
_ELF = "\x7fELF"
_PLACES = (
    SHELL,
    CONTROL,
    store.STANDARD.configuration,
    "/usr/share/ssh2container",
    "/var/lib/ssh2container",
)


def import_path() -> set[str]:
    """Return where the login shell's interpreter and the administrator's look for modules."""
    found: set[str] = set()
    for options in ("-ISBc", "-IBc"):
        answer = subprocess.run(
            [PYTHON, options, "import sys; print('\\n'.join(sys.path))"],
            capture_output=True,
            text=True,
            check=True,
        )
        found.update(line for line in answer.stdout.splitlines() if os.path.exists(line))
    return found


@check.of_host("code", place=30)
def examine() -> Iterator[Finding]:
    """Yield what is wrong with the program on this host."""
    weak = {}
    for start in (PYTHON, *import_path(), *_PLACES):
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
            "the interpreter, its modules, the program and the policies belong to root only",
        )
    yield from _entry()
    yield from _first_process()
    yield from forwarder(f"{VERSIONS}/current/forwarder")
    yield from _modules()
    yield from _bytecode()
    yield from _shells()


def _entry() -> Iterator[Finding]:
    """Yield whether the login shell still starts the pinned interpreter, and by which of its two ways."""
    path, text = SHELL, read_or_none(SHELL) or ""
    if text.startswith(_ELF):
        path, text = LAUNCHED, read_or_none(LAUNCHED) or ""
        short = f"{VERSIONS}/current/start.so"
        why = why_unused(short, bundle.path_of(f"{VERSIONS}/current"), sys.implementation.cache_tag)
        if why:
            yield Finding(
                NOTE,
                "code.start",
                short,
                f"{why}: the interpreter starts the ordinary way, about 4 ms slower",
                "run install.sh where there is a C compiler",
            )
    else:
        yield Finding(
            NOTE,
            "code.launcher",
            SHELL,
            "is a script: a client's LD_PRELOAD acts before its first line if sshd accepts it",
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


def why_unused(library: str, bundled: str, tag: str) -> str:
    """Return why logins do not take the short way through the interpreter's start, "" where they do.

    library: of native/launcher/start.c, which stands on a provisional interface of one minor version.
    bundled: the bundle for this interpreter. tag: the interpreter's cache tag.
    """
    try:
        with open(library, "rb") as file:
            built = re.search(rb"ssh2container-start:([a-z0-9-]+);", file.read())
    except FileNotFoundError:
        return "does not exist"
    other = built[1].decode() if built else "another interpreter"
    if other != tag:
        return f"is not in use, as it was built for {other}, not for {tag}"
    return "" if os.path.exists(bundled) else "is not in use, as there is no bundle for this interpreter"


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
            f"its mode is {mode:04o}: whoever can read it can look into its processes",
            f"chmod 711 {path}",
        )


def forwarder(path: str) -> Iterator[Finding]:
    """Yield whether the forwarder of private networks starts, and is closed to the users it runs for."""
    remedy = "apt-get install libslirp-dev, and run install.sh"
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        why = "does not exist: policies with network_mode: private are refused"
        yield Finding(NOTE, "code.forwarder", path, why, remedy)
        return
    if mode & _FOR_OTHERS != _EXECUTE_ONLY:
        yield Finding(
            PROBLEM,
            "code.forwarder",
            path,
            f"its mode is {mode:04o}: users could look into what they run",
            f"chmod 711 {path}",
        )
    # Without descriptors it ends with a line about them; without its library it gets nowhere (ld.so(8)).
    tried = subprocess.run([path], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if tried.returncode != 1:
        said = tried.stderr.strip() or f"ends with status {tried.returncode}"
        yield Finding(PROBLEM, "code.forwarder", path, f"cannot be started: {said}", remedy)
    if landlock.abi() < 1:
        yield Finding(
            NOTE,
            "code.forwarder",
            path,
            "the kernel has no Landlock: behind it stands the list of its system calls alone",
            "boot a kernel with landlock among its security modules (lsm=)",
        )


def _modules() -> Iterator[Finding]:
    """Yield links of the version's directory that lead nowhere, as after an upgrade of the distribution."""
    current = f"{VERSIONS}/current"
    if not os.path.isdir(current):
        yield Finding(
            PROBLEM, "code.version", current, "is a broken link: nobody can log in", "run install.sh"
        )
        return
    for name in os.listdir(current):
        path = os.path.join(current, name)
        if not os.path.exists(path):
            yield Finding(
                PROBLEM,
                "code.modules",
                path,
                "is a broken link: nobody can log in",
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
            f"{len(missing)} modules have no up-to-date bytecode for this Python: every login compiles them",
            "run install.sh again",
        )
    path = bundle.path_of(os.path.dirname(package))
    newest = max((os.stat(source).st_mtime for source in sources), default=0)
    if not os.path.exists(path):
        yield Finding(
            WARNING,
            "code.bundle",
            path,
            "does not exist: every login imports module by module, about 6 ms slower",
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
    if SHELL in listed_shells():
        yield Finding(
            WARNING,
            "routes.chsh",
            SHELLS,
            f"lists {SHELL}: whoever gets a process outside a container may chsh to a shell of the host",
            "remove the line, unless a program needs it there (docs/installation.md)",
        )
    else:
        yield Finding(
            OK, "routes.chsh", "", "chsh is refused to users of the login shell (not in /etc/shells)"
        )
