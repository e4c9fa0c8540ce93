"""What a user can do, in about ten lines, from the plan of a login: for ``explain``, ``show --summary``.

The lines may be shown to the user: they name no path of the host, and not where recordings go.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.login.explain import reach
from ssh2container.plan import forwarding, whole
from ssh2container.plan.greeting import spell, spell_size
from ssh2container.plan.operations.limits import SetLimit
from ssh2container.policy import devices
from ssh2container.policy.hours import spell_hours, spell_moment
from ssh2container.policy.images import MENU

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssh2container.plan.make import Plan
    from ssh2container.policy.hours import Times
    from ssh2container.policy.policy import Policy

LABELS = {
    "enters": "Enters by",
    "runs": "Runs",
    "sees": "Sees",
    "keeps": "Keeps",
    "reaches": "Reaches",
    "limits": "Is limited to",
    "ends": "Ends",
    "recorded": "Is recorded",
    "open": "May log in",
}
"""Name in JSON -> how its line begins."""
_WHOSE = {
    "session": "a container of its own for each login",
    "connection": "one container for each connection",
    "user": "one container for all logins",
}


def of(policy: Policy, plan: Plan, times: Times | None, images: Sequence[str]) -> dict[str, str]:
    """Return a line for each of :data:`LABELS`.

    policy: the expanded one that ``plan`` was made of. times: when the account is open, as it was written.
    images: those that the user can choose among.
    """
    return {
        "enters": _enters(policy),
        "runs": _runs(policy, plan, images),
        "sees": _sees(policy, plan),
        "keeps": _keeps(policy, plan),
        "reaches": "; ".join(words for _, words in reach(policy)),
        "limits": _limits(policy, plan),
        "ends": _ends(policy),
        "recorded": _recorded(policy),
        "open": "at any time" if times is None else _when(times),
    }


def text(summary: dict[str, str]) -> list[tuple[str, str]]:
    """Return (beginning, rest) of each line for people."""
    width = max(map(len, LABELS.values())) + 1
    return [(f"{LABELS[name]}:".ljust(width), words) for name, words in summary.items()]


def _enters(policy: Policy) -> str:
    access = policy.access
    if access.command is not None:
        return f"{' '.join(access.command)}, whatever a client asks for"
    ways = []
    if access.interactive is True:
        ways.append("a shell")
    elif access.interactive:
        ways.append(f"{' '.join(access.interactive)} in place of a shell")
    if access.commands == "any":
        ways.append("any command")
    elif access.commands != "none":
        ways.append("the commands " + ", ".join(map(str, access.commands)))
    if access.sftp is not None:
        ways.append("sftp, for reading" if access.sftp.read_only else "sftp")
    if policy.values[forwarding.KEY]:
        ways.append("an sshd inside, with forwarding")
    if not ways:
        return "nothing"
    words = "; ".join(ways)
    return words + ("; shells and commands only with a terminal" if access.terminal == "required" else "")


def _runs(policy: Policy, plan: Plan, images: Sequence[str]) -> str:
    name = os.fsdecode(plan.payload.environment[b"USER"])
    of_what = "a whole system" if isinstance(plan.container.scope, whole.SystemScope) else "programs"
    image = plan.container.image.name
    others = [one for one in images if one != image]
    way = "by choice from a menu" if policy.values[MENU] else "by choice"
    choice = f" (or, {way}, {', '.join(others)})" if others else ""
    return f"{of_what} of the image {image}{choice} as {name}; {_WHOSE[policy.container_per]}"


def _home(plan: Plan) -> str:
    return os.fsdecode(plan.payload.environment[b"HOME"])


def _sees(policy: Policy, plan: Plan) -> str:
    found = ["the image's files"]
    found += [f"{volume.target} (for reading)" for volume in policy.volumes if volume.read_only]
    if policy.home is not None and policy.home.read_only:
        found.append(f"{_home(plan)} (for reading)")
    found += [device.target or device.source for device in devices.of(policy.values)]
    return "; ".join(found)


def _keeps(policy: Policy, plan: Plan) -> str:
    kept = [volume.target for volume in policy.volumes if not volume.read_only]
    if policy.home is not None and not policy.home.read_only:
        kept.insert(0, _home(plan))
    gone = "at logout" if policy.container_per == "session" else "with the container"
    rest = f"{spell_size(policy.storage_opt.size)} at most, is gone {gone}"
    return (
        f"{', '.join(kept)}; what is written elsewhere, {rest}"
        if kept
        else f"nothing; what is written, {rest}"
    )


def _limits(policy: Policy, plan: Plan) -> str:
    each = {one.name: one.soft for one in plan.payload.operations if isinstance(one, SetLimit)}
    found = []
    if policy.limits is not None:
        found.append(policy.limits.words())
    found += [
        f"{value} {words}"
        for value, words in (
            (policy.sessions.max, "sessions at a time"),
            (each["nproc"], "processes"),
            (each["nofile"], "open files for each"),
        )
        if value is not None and value >= 0
    ]
    if policy.user_limits is not None:
        found.append(f"all sessions together {policy.user_limits.words()}")
    return "; ".join(found) or "nothing"


def _ends(policy: Policy) -> str:
    limits = policy.sessions
    found = []
    if limits.max_duration is not None:
        found.append(f"after {spell(limits.max_duration)}")
    if limits.idle_timeout is not None:
        found.append(f"when nothing is typed or shown for {spell(limits.idle_timeout)}")
    if policy.container_per == "user" and policy.linger:
        found.append(f"its container {spell(policy.linger)} after the last login")
    return "; ".join(found) or "with the login"


def _recorded(policy: Policy) -> str:
    found = ["that it began and how it ended"]
    if policy.record.terminal:
        found.append("what the terminal shows" + (", and what is typed" if policy.record.input else ""))
    if policy.record.transfers != "none":
        found.append("the names of transferred files")
    return "; ".join(found)


def _when(times: Times) -> str:
    parts = [] if times.start is None else [f"from {spell_moment(times.start)}"]
    if times.hours is not None:
        parts.append("; ".join(spell_hours(entry) for entry in times.hours))
    if times.end is not None:
        parts.append(f"until {spell_moment(times.end)}")
    return f"{', '.join(parts)}; sessions end then"
