"""Compiling a whole installation: every part of every chain, and every system-call filter."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from typing import TYPE_CHECKING

from ssh2container.admin.policy import origins
from ssh2container.admin.policy.compile import compiler
from ssh2container.admin.policy.yaml.problems import PolicyError, Problem
from ssh2container.errors import Refusal, SessionError
from ssh2container.plan.insider import SET_ID, of_root
from ssh2container.policy import images, key_rules, keyed, layers, rules, store
from ssh2container.policy.filters import INIT, SYS_BOOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ssh2container.policy.layers import Part
    from ssh2container.policy.policy import Policy, Seccomp
    from ssh2container.policy.store import Places

    Advance = Callable[[str], None]


class Built:
    """What a compilation did.

    written, unchanged, removed: names of parts. filters: paths of system-call filters.
    problems: why some parts were not compiled; logins that need them are refused with the same words.
    """

    __slots__ = ("filters", "problems", "removed", "unchanged", "written")

    def __init__(self) -> None:
        self.written: list[str] = []
        self.unchanged: list[str] = []
        self.removed: list[str] = []
        self.filters: list[str] = []
        self.problems: list[Problem] = []


def build(places: Places, advance: Advance = lambda _: None) -> Built:
    """Compile every part that is valid, remove what has no source any more.

    Raises SessionError when the compiled files cannot be written.
    """
    built = Built()
    valid = set()
    for name in compiler.part_names(places):
        advance(name)
        try:
            part = _settled(name, places)
        except PolicyError as error:
            known = {problem.key() for problem in built.problems}
            built.problems += [problem for problem in error.problems if problem.key() not in known]
            continue
        valid.add(name)
        if name == "config":
            built.problems += compiler.unlisted(places, part.layers[0][2])
        try:
            fresh = compiler.write(name, part, places)
        except OSError as error:
            remedy = "run it as root" if isinstance(error, PermissionError) else ""
            raise SessionError(
                f"cannot write {places.compiled}/{name}",
                error.strerror or "",
                remedy,
                "compile",
                error.errno or 0,
            ) from None
        (built.written if fresh else built.unchanged).append(name)
    built.removed = compiler.remove_others(valid, places)
    return built


def _settled(name: str, places: Places) -> Part:
    """Make a part from files whose next change will show in their times.

    The kernel stamps files with the time of its last tick (at most 10 ms ago): a file that was written
    twice in one tick, once before and once after we read it, looks unchanged.
    """
    part = compiler.part(name, places)
    for _ in range(_ATTEMPTS):
        now = time.time_ns()
        newest = max((seen[4] for _, seen in part.sources if seen), default=0)
        if not now - _TICK_NANOSECONDS < newest <= now:
            break
        time.sleep(_TICK_NANOSECONDS / 1e9)
        part = compiler.part(name, places)
    return part


_TICK_NANOSECONDS = 20_000_000
_ATTEMPTS = 50


def build_filters(built: Built, places: Places) -> None:
    """Build the system-call filters of all policies that can be made without asking who logs in.

    What cannot be built joins the problems: it concerns the users of that policy alone.
    """
    # pyseccomp runs ldconfig at import; only this step needs it.
    from ssh2container.admin.seccomp import build as filters

    wanted: dict[tuple[Seccomp, frozenset[int], int], None] = {}
    for policy in policies(places):
        # Which of them a login needs depends on how the sources are mounted then.
        wanted[policy.seccomp, frozenset(), 0] = None
        wanted[policy.seccomp, frozenset(), stat.S_ISGID] = None
        if any(one.ranged for one in images.choices(policy)):
            wanted[INIT, of_root(policy) & SYS_BOOT, 0] = None
            wanted[policy.seccomp, of_root(policy), 0] = None
            wanted[policy.seccomp, of_root(policy), SET_ID] = None
    try:
        built.filters = filters.compile_all(list(wanted))
    except (OSError, ValueError, RuntimeError, LookupError) as error:
        built.filters = list(getattr(error, "written", ()))
        message = f"cannot build a system-call filter: {error}"
        hint = "correct seccomp in the policies: ssh2containerctl check"
        built.problems.append(Problem(places.configuration, 0, 0, message, hint=hint))


def policies(places: Places) -> Iterator[Policy]:
    """Yield the policies of each user with a file, of a member of each group alone, and of a member of none.

    Those of their keys follow each of them. Those that are not valid are left out.
    """
    for below in ("users", "groups"):
        for name in compiler.names_in(f"{places.configuration}/{below}"):
            try:
                groups = _groups(name) if below == "users" else (name,)
                user = name if below == "users" else NOBODY
                yield from _every(store.load(user, groups, places, _silent))
            except Refusal:
                continue
    try:
        made = [compiler.part(name, places).layers for name in ("defaults", "enforced")]
        policy = store.merged(*made)
        rules.require(policy)
    except Refusal:
        return
    yield from _every(policy)


def _every(policy: Policy) -> Iterator[Policy]:
    """Yield a policy, and those of its keys that are valid."""
    yield policy
    for name in policy.values[key_rules.KEY]:
        with contextlib.suppress(Refusal):
            yield keyed.of_key(policy, name)


def _silent(_: str) -> None:
    """Log nothing: stale compiled files are what this module is about to renew."""


NOBODY = "nobody-in-particular"


def _groups(name: str) -> tuple[str, ...]:
    try:
        return origins.groups_of(name)
    except Refusal:
        return ()


def fresh(places: Places) -> dict[str, bool]:
    """Return part -> whether its compiled file may be used now."""
    state = {}
    for name in compiler.part_names(places):
        path = os.path.join(places.compiled, name)
        try:
            layers.read(path, places.owner)
        except (FileNotFoundError, layers.Unusable):
            state[name] = False
        else:
            state[name] = True
    return state
