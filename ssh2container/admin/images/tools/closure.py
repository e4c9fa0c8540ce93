"""What a program of the host needs to run elsewhere: interpreter, loader, libraries, links on the way.

Only the host's own, root-owned programs are looked at: ldd(1) lets the loader itself say what it
would load.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from ssh2container.errors import SessionError
from ssh2container.plan.environment import ROOT_PATH

_LIBRARY = re.compile(r"^\s*(?:(\S+) => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_MISSING = re.compile(r"^\s*(\S+) => not found", re.MULTILINE)
_ELF = b"\x7fELF"


class Linked(NamedTuple):
    """loader: the path of the program's interpreter; libraries: soname → path."""

    loader: str
    libraries: dict[str, str]


def which(program: str) -> str | None:
    """Return the path of ``program`` on the host's standard PATH, or itself if it is one."""
    if program.startswith("/"):
        return program if os.path.exists(program) else None
    return shutil.which(program, path=ROOT_PATH)


def is_elf(path: str) -> bool:
    """Say whether ``path`` is a binary program or library."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == _ELF
    except OSError:
        return False


def shebang(path: str) -> str:
    """Return the interpreter that the script ``path`` names, "" for no script."""
    with open(path, "rb") as file:
        line = file.readline(256)
    words = line[2:].split() if line.startswith(b"#!") else []
    if words and os.path.basename(words[0]) == b"env":
        words = [word for word in words[1:] if not word.startswith(b"-") and b"=" not in word]
    return os.fsdecode(words[0]) if words else ""


def linked(path: str) -> Linked:
    """Return what the loader would load for the binary ``path``; raises SessionError if it cannot."""
    result = subprocess.run(
        ["ldd", path], capture_output=True, check=False, env={"PATH": ROOT_PATH, "LC_ALL": "C"}
    )
    text = result.stdout.decode("utf-8", "replace")
    missing = _MISSING.search(text)
    if missing:
        raise SessionError(f"{path} lacks the library {missing.group(1)}", step="image")
    loader, libraries = "", {}
    for soname, found in _LIBRARY.findall(text):
        if not soname or soname.startswith("/"):
            loader = found
        else:
            libraries[soname] = found
    return Linked(loader, libraries)


def with_links(path: str) -> list[str]:
    """Return ``path`` and, of symbolic links in any of its components, every step to the file.

    ``/usr/bin/awk`` gives itself, ``/etc/alternatives/awk`` and ``/usr/bin/mawk``.
    """
    steps: list[str] = []
    todo = [os.path.normpath(path)]
    while todo:
        current = todo.pop()
        head, tail = "/", current.split("/")[1:]
        for index, part in enumerate(tail):
            here = os.path.join(head, part)
            if os.path.islink(here):
                steps.append(here)
                target = os.path.normpath(os.path.join(head, os.readlink(here)))
                todo.append(os.path.join(target, *tail[index + 1 :]))
                break
            head = here
        else:
            steps.append(current)
    return steps


def closure(programs: Iterable[str]) -> set[str]:
    """Return every path, links included, that the files ``programs`` need to run elsewhere."""
    needed: set[str] = set()
    todo = list(programs)
    looked_at: set[str] = set()
    while todo:
        path = todo.pop()
        steps = with_links(path)
        needed.update(steps)
        real = os.path.realpath(path)
        if real in looked_at or not os.path.isfile(real):
            continue
        looked_at.add(real)
        if is_elf(real):
            found = linked(real)
            todo.extend([*found.libraries.values(), *([found.loader] if found.loader else [])])
        elif interpreter := shebang(real):
            todo.extend(filter(None, [which(interpreter)]))
    return needed
