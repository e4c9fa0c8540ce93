"""The resource limits that a login starts with: those of the running sshd, and what pam_limits makes of them.

A rehearsal under the limits of whoever asks would say that a login starts which its own limits refuse.
Sources: limits.conf(5), pam_limits(8), pam.conf(5), getrlimit(2); the order of precedence is that of
Linux-PAM's pam_limits.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import re
import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssh2container.admin.change import read_or_none
from ssh2container.admin.login import pam
from ssh2container.admin.sshd import running
from ssh2container.admin.sshd.effective import effective_globally
from ssh2container.errors import SessionError
from ssh2container.plan.operations.limits import RESOURCES
from ssh2container.plan.sshd_files import CONFIG

if TYPE_CHECKING:
    import pwd
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

PAM = pam.DIRECTORIES[0]
LIMITS = "/etc/security/limits.conf"
FRAGMENTS = "/etc/security/limits.d/*.conf"
UNLIMITED = resource.RLIM_INFINITY
_FIELDS = 4
_DEEPEST = 8
_KIBIBYTES = frozenset(("as", "core", "data", "fsize", "memlock", "rss", "stack"))
_MINUTE_S = 60
_HIGHEST_NICE = 20
_NONE = frozenset(("-1", "-", "unlimited", "infinity"))
_USER, _GROUP, _ALL_GROUP, _ALL, _DEFAULT, _NOWHERE = range(6)
"""How near to the user a line is: the nearest decides, of two as near the later one."""
_ENOUGH = {"core": "1", "nofile": "524288", "nproc": "65536"}
"""What a remedy writes: no session needs more. 1 is what keeps a core handler from starting (core(5))."""


@dataclass(slots=True)
class Limit:
    """One limit of a login, as setrlimit(2) takes it.

    soft_place, hard_place: "FILE:LINE" that says so, "" for what sshd hands down. pid: of that sshd, or 0.
    """

    name: str
    soft: int
    hard: int
    soft_place: str = ""
    hard_place: str = ""
    pid: int = 0
    nearness: tuple[int, int] = (_NOWHERE, _NOWHERE)

    def __str__(self) -> str:
        values = ["unlimited" if value == UNLIMITED else str(value) for value in (self.soft, self.hard)]
        places = dict.fromkeys(place for place in (self.hard_place, self.soft_place) if place)
        where = " and ".join(places) or f"the sshd that runs (pid {self.pid})"
        return f"{where}: {self.name} is {values[0]}, at most {values[1]}"

    @property
    def remedy(self) -> str:
        """Return the command that sets it to what is enough for every session."""
        enough = _ENOUGH.get(self.name, "unlimited")
        places = dict.fromkeys(place for place in (self.hard_place, self.soft_place) if place)
        if not places:
            return (
                f"prlimit --pid {self.pid} --{self.name}={enough}:{enough}"
                f" (for good: Limit{self.name.upper()}={enough.replace('unlimited', 'infinity')} in its unit)"
            )
        commands = []
        for place in places:
            path, _, number = place.rpartition(":")
            words = (read_or_none(path) or "").splitlines()[int(number) - 1].split()
            commands.append(f"sed -i '{number}c\\{words[0]} {words[1]} {words[2]} {enough}' {path}")
        return " && ".join(commands)

    @property
    def pair(self) -> tuple[int, int]:
        """The soft and the hard limit."""
        return self.soft, self.hard


def of_login(entry: pwd.struct_passwd, groups: Sequence[str]) -> dict[str, Limit]:
    """Return the limits of a login of a user that differ from those of this process, by name.

    groups: the names of the user's groups. Nothing where we may not look at sshd or raise a limit.
    """
    if os.geteuid() != 0:
        return {}
    try:
        pid, with_pam = _server()
        limits = {
            name: Limit(name, *resource.prlimit(pid, number), pid=pid) for name, number in RESOURCES.items()
        }
    except (SessionError, ProcessLookupError):
        return {}  # no sshd, or one that refuses its files, which the doctor tells
    if with_pam:
        for arguments in _modules("sshd"):
            _apply(limits, entry, groups, _files(arguments))
    return {
        name: limit
        for name, limit in limits.items()
        if limit.pair != resource.getrlimit(RESOURCES[name]) and _can_set(limit)
    }


def wrapped(limits: Iterable[Limit]) -> list[str]:
    """Return the words that start a program under ``limits`` (prlimit(1))."""
    words = [f"--{limit.name}={_word(limit.soft)}:{_word(limit.hard)}" for limit in limits]
    return ["/usr/bin/prlimit", *words, "--"] if words else []


def blame(
    found: dict[str, Any], login: dict[str, Limit], ask: Callable[[Iterable[Limit]], dict[str, Any]]
) -> None:
    """Say in each answer that fails for want of a limit of the login which that is, and what to do.

    found: what the rehearsal says under all of ``login``; ask: gives what it says under some of them.
    """
    failing = _failing(found)
    if not failing:
        return
    anyway = _failing(ask(()))
    if failing <= anyway:
        return
    low = [limit for limit in login.values() if _failing(ask((limit,))) - anyway]
    for answer in found.get("answers", (found,)):
        if low and answer["status"] and _key(answer) not in anyway:
            answer["why"] = f"{answer['why']}; {'; '.join(map(str, low))}"
            answer["remedy"] = " && ".join(limit.remedy for limit in low)


def _failing(found: dict[str, Any]) -> set[tuple[str, ...]]:
    """Return which requests fail; where none could be looked at, all of them stand for that."""
    return {_key(answer) for answer in found.get("answers", (found,)) if answer["status"]}


def _key(answer: dict[str, Any]) -> tuple[str, ...]:
    return (answer.get("rule", ""), *answer.get("words", ("*",)))


def _word(value: int) -> str:
    return "unlimited" if value == UNLIMITED else str(value)


@functools.cache
def _server() -> tuple[int, bool]:
    """Return the sshd that hands its limits down (0: none runs, so our own), and whether it asks PAM."""
    found = running.servers()
    usual = [server for server in found if server.config == CONFIG]
    server = usual[0] if usual else None
    options = () if server is None else server.options
    with_pam = effective_globally(CONFIG, options).get("usepam", "no") == "yes"
    return (0 if server is None else server.pid), with_pam


def _can_set(limit: Limit) -> bool:
    """Whether a child of ours can be given ``limit``: our own hard one is raised for that."""
    number = RESOURCES[limit.name]
    soft, hard = resource.getrlimit(number)
    if hard == UNLIMITED or UNLIMITED != limit.hard <= hard:
        return True
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(number, (soft, limit.hard))
        return True
    return False


def _modules(service: str, depth: int = 0) -> Iterator[list[str]]:
    """Yield the arguments of each pam_limits in the session stack of a service."""
    text = (read_or_none(f"{PAM}/{service}") or "").replace("\\\n", " ")
    for line in text.splitlines():
        found = re.fullmatch(
            r"\s*(@include|-?session)\s+(\[[^]]*\]\s+\S+|\S+(?:\s+\S+)?)(.*)", line.split("#")[0]
        )
        if not found or depth > _DEEPEST:
            continue
        words = found[2].split("]")[-1].split()
        if found[1] == "@include" or words[0] in ("include", "substack"):
            yield from _modules(words[-1], depth + 1)
        elif os.path.basename(words[-1]) == "pam_limits.so":
            yield found[3].split()


def _files(arguments: Sequence[str]) -> list[str]:
    named = [word.removeprefix("conf=") for word in arguments if word.startswith("conf=")]
    return named or [LIMITS, *sorted(glob.glob(FRAGMENTS))]


def _apply(
    limits: dict[str, Limit], entry: pwd.struct_passwd, groups: Sequence[str], files: Iterable[str]
) -> None:
    """Change ``limits`` as the files say it for a user."""
    lines = []
    for path in files:
        for number, line in enumerate((read_or_none(path) or "").splitlines(), 1):
            words = line.split("#")[0].split()
            if len(words) >= _FIELDS or (len(words) == 2 and words[1] == "-"):  # noqa: PLR2004
                nearness = _nearness(words[0], entry, groups)
                if nearness is not None and len(words) < _FIELDS:
                    return  # "DOMAIN -": no limits for this user
                if nearness is not None:
                    lines.append((words[1:], nearness, f"{path}:{number}"))
    for (kind, name, value, *_), nearness, place in lines:
        limit, amount = limits.get(name), _amount(name, value.lower())
        if limit is None or amount is None:
            continue
        if kind in ("soft", "-") and nearness <= limit.nearness[0]:
            limit.soft, limit.soft_place, limit.nearness = amount, place, (nearness, limit.nearness[1])
        if kind in ("hard", "-") and nearness <= limit.nearness[1]:
            limit.hard, limit.hard_place, limit.nearness = amount, place, (limit.nearness[0], nearness)
    for limit in limits.values():
        if limit.hard != UNLIMITED and not 0 <= limit.soft <= limit.hard:
            limit.soft = limit.hard


def _nearness(domain: str, entry: pwd.struct_passwd, groups: Sequence[str]) -> int | None:
    """Return how near a line's domain is to a user who is not root, None for one that is not theirs."""
    if domain == entry.pw_name:
        return _USER
    if domain in ("*", "%"):
        return _DEFAULT if domain == "*" else _ALL
    if domain[:1] in ("@", "%"):
        if domain[1:] in groups or _is_within(domain[1:], entry.pw_gid):
            return _GROUP if domain[0] == "@" else _ALL_GROUP
        return None
    return _USER if _is_within(domain, entry.pw_uid) else None


def _is_within(text: str, number: int) -> bool:
    """Tell whether ``text`` is a range with that number in it: ":MAX" that one, "MIN:", "MIN:MAX"."""
    found = re.fullmatch(r"(\d*):(\d*)", text)
    if not found or text == ":":
        return False
    if not found[1]:
        return number == int(found[2])
    return int(found[1]) <= number <= (int(found[2]) if found[2] else number)


def _amount(name: str, value: str) -> int | None:
    """Return the value of a line as setrlimit(2) takes it, None for one that pam_limits ignores."""
    if name == "nofile" and value in _NONE:
        return int((read_or_none("/proc/sys/fs/nr_open") or "1048576").split()[0])
    if value in _NONE and name != "nice":
        return UNLIMITED
    if not re.fullmatch(r"[+-]?\d+", value):
        return None
    number = int(value)
    if name == "nice":
        return _HIGHEST_NICE - max(-_HIGHEST_NICE, min(number, _HIGHEST_NICE - 1))
    if name == "cpu":
        return number * _MINUTE_S
    return number * 1024 if name in _KIBIBYTES else number
