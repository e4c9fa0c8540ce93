"""Which services put what they run for a user into the user's slice: those whose sessions have pam_systemd.

Sources: pam.conf(5), pam.d(5), pam_systemd(8).
"""

from __future__ import annotations

import os

DIRECTORIES = ("/etc/pam.d", "/usr/lib/pam.d")
MODULE = "pam_systemd.so"
_DEEPEST = 16


def puts_into_slice(service: str, directories: tuple[str, ...] = DIRECTORIES) -> bool | None:
    """Tell whether a session of ``service`` runs pam_systemd, None where there is no such service."""
    lines = _lines(service, directories)
    return None if lines is None else _has(lines, directories, _DEEPEST)


def _has(lines: list[list[str]], directories: tuple[str, ...], depth: int) -> bool:
    for words in lines:
        included = ""
        if words[0] == "@include" and len(words) > 1:
            included = words[1]
        elif words[0].lstrip("-") == "session":
            rest = words[1:]
            if rest and rest[0].startswith("["):
                closing = next((n for n, word in enumerate(rest) if word.endswith("]")), len(rest))
                rest = ["[]", *rest[closing + 1 :]]
            if len(rest) > 1 and os.path.basename(rest[1]) == MODULE:
                return True
            if len(rest) > 1 and rest[0] in ("include", "substack"):
                included = rest[1]
        if included and depth and _has(_lines(included, directories) or [], directories, depth - 1):
            return True
    return False


def _lines(service: str, directories: tuple[str, ...]) -> list[list[str]] | None:
    for directory in directories:
        path = os.path.join(directory, service)
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read().replace("\\\n", " ")
        except OSError:
            continue
        found = [line.partition("#")[0].split() for line in text.splitlines()]
        return [words for words in found if words]
    return None
