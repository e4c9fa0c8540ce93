"""What becomes of everything that an account has today: what a plan shows, line by line. Pure."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from ssh2container.admin.adopt import facts as known
from ssh2container.admin.adopt import plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.adopt.facts import Facts
    from ssh2container.policy.policy import Policy

_MOST_SHOWN = 3
_STILL_OPENING = {
    "permitopen": "ssh -L",
    "permitlisten": "ssh -R",
    "tunnel": "a tun device",
    "port-forwarding": "port forwarding",
    "agent-forwarding": "agent forwarding",
    "x11-forwarding": "X11",
    "user-rc": "~/.ssh/rc",
}


def rows(facts: Facts, choice: plan.Choice, written: plan.Draft, policy: Policy) -> tuple[plan.Row, ...]:
    """Return what becomes of everything that was read. policy: what ``written`` comes to."""
    return (
        *_of_shell(facts, choice, written),
        *_of_home(facts, choice, policy),
        *_of_groups(facts, choice),
        *_of_sudo(facts),
        *_of_clock(facts),
        *_of_home_files(facts, choice),
        *_of_network(facts, policy),
        *_of_keys(facts, policy),
        *_of_processes(facts),
    )


def _of_shell(facts: Facts, choice: plan.Choice, written: plan.Draft) -> Iterator[plan.Row]:
    shell = facts.account.shell or "/bin/sh"
    if choice.foreign:
        today = f"{facts.sshd.forced} {facts.sshd.chroot}".strip() or shell
        yield plan.Row("login", today, f"what {choice.foreign} is configured to let in", plan.CHANGED)
    elif facts.sshd.forced or facts.sshd.chroot or not facts.known_shell:
        yield plan.Row("login", shell, "what the profile lets in", plan.CHANGED)
    elif written.left_out:
        yield plan.Row("login shell", shell, plan.DEFAULT_SHELL, plan.CHANGED)
    else:
        yield plan.Row("login shell", shell, "the same, in a container", plan.KEPT)


def _of_home(facts: Facts, choice: plan.Choice, policy: Policy) -> Iterator[plan.Row]:
    home, name = facts.home.path, facts.account.name
    if choice.home == plan.APART:
        kept = policy.home.source if policy.home is not None else ""
        seen = f"sessions have {kept}" if kept else "sessions have one in memory"
        yield plan.Row("home", home, f"stays in its place; {seen}", plan.KEPT)
        return
    if choice.home == plan.KEEP:
        yield plan.Row(
            "home",
            home,
            "the same: what sessions write to .ssh, .forward or user units acts outside of any container",
            plan.OPEN,
        )
        return
    how = "moved to" if choice.home == plan.MOVE else "copied to"
    yield plan.Row("home", home, f"{how} {choice.homes}/{name}, seen as {home}", plan.KEPT)
    yield plan.Row(
        "other files of the host", "what permissions allow", "/usr, some of /etc, and volumes", plan.ENDS
    )
    below = [key.place for key in facts.keys if key.place.startswith(home.rstrip("/") + "/")]
    if below:
        afterwards = "sshd reads those of today; ssh-copy-id inside changes nothing (authorized_keys: home)"
        yield plan.Row("own keys", f"{len(below)} in {home}", afterwards, plan.CHANGED)
    if choice.home == plan.MOVE and facts.home.leads:
        yield plan.Row(
            "read by other programs", ", ".join(facts.home.leads), f"no longer found below {home}", plan.ENDS
        )


def _of_groups(facts: Facts, choice: plan.Choice) -> Iterator[plan.Row]:
    powerful = facts.account.powerful
    others = [name for name in facts.account.groups[1:] if name not in powerful]
    if powerful and choice.leave_groups:
        yield plan.Row("groups of administrators", ", ".join(powerful), "taken out of them", plan.ENDS)
    if others:
        yield plan.Row("groups", ", ".join(others), "kept, for what volumes bring in", plan.CHANGED)


def _of_sudo(facts: Facts) -> Iterator[plan.Row]:
    if facts.sudo:
        yield plan.Row("sudo", _some(facts.sudo), "nothing inside gains rights", plan.ENDS)


def _of_clock(facts: Facts) -> Iterator[plan.Row]:
    aside = "set aside, and put back by --undo"
    if facts.crontab is not None and (jobs := known.cron_jobs(facts.crontab.text)):
        yield plan.Row("crontab", _some(jobs), aside, plan.ENDS)
    if facts.at_jobs:
        times = tuple(_at(job) for job in facts.at_jobs)
        yield plan.Row("jobs of at", f"{len(times)}: {_some(times)}", aside, plan.ENDS)
    if facts.lingers:
        yield plan.Row("lingering manager", "runs from boot on", "no longer", plan.ENDS)


def _at(job: known.Saved) -> str:
    """Return when a job of at runs, in the host's time."""
    when = known.at_minute(os.path.basename(job.path))
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))


def _of_home_files(facts: Facts, choice: plan.Choice) -> Iterator[plan.Row]:
    moved = choice.home == plan.MOVE
    if facts.units:
        today = f"{len(facts.units)}: {_some(facts.units)}"
        if moved:
            yield plan.Row("user units", today, "found by no manager of the host", plan.ENDS)
        else:
            yield plan.Row("user units", today, "a manager of the host still runs them, outside", plan.OPEN)
    if facts.forward:
        if known.only_addresses(facts.forward) and choice.home != plan.KEEP:
            yield plan.Row(".forward", _some(facts.forward), "as it is; not changed from inside", plan.KEPT)
        elif moved:
            yield plan.Row(
                ".forward", _some(facts.forward), "mail stays in the mailbox of the host", plan.ENDS
            )
        else:
            yield plan.Row(".forward", _some(facts.forward), "mail still runs it, outside", plan.OPEN)
    if facts.mail:
        yield plan.Row("mailbox of the host", f"{facts.mail} bytes", "not seen inside", plan.ENDS)


def _of_network(facts: Facts, policy: Policy) -> Iterator[plan.Row]:
    if policy.network_mode == "none" and not policy.networks:
        yield plan.Row("network", "the host's", "none (network_mode: private)", plan.ENDS)
    elif policy.network_mode != "host":
        yield plan.Row("network", "the host's", "one of the session's own", plan.CHANGED)
    forwards = [
        word for word in facts.sshd.forwards if word != "the agent" or not policy.allow_agent_forwarding
    ]
    if policy.values["allow_forwarding"] and set(forwards) & {"ports", "sockets"}:
        yield plan.Row(
            "forwarding of ports", "to the host", "into the container (client-config)", plan.CHANGED
        )
        forwards = [word for word in forwards if word not in ("ports", "sockets")]
    if forwards:
        yield plan.Row("forwarded by sshd", ", ".join(forwards), "closed", plan.ENDS)


def _of_keys(facts: Facts, policy: Policy) -> Iterator[plan.Row]:
    for key in facts.keys:
        for name, value in key.options:
            shown = f"{name}={value}" if value else name
            if name == "command":
                yield plan.Row(f"key {key.label}", shown, "runs inside, and nothing else does", plan.KEPT)
            elif name in ("from", "expiry-time", "principals", "cert-authority"):
                yield plan.Row(f"key {key.label}", shown, "sshd holds to it", plan.KEPT)
            elif name in _STILL_OPENING:
                inside = bool(policy.values["allow_forwarding"]) and name in ("permitopen", "permitlisten")
                if not inside:
                    yield plan.Row(f"key {key.label}", shown, f"{_STILL_OPENING[name]} is closed", plan.ENDS)
            elif name == "environment":
                yield plan.Row(f"key {key.label}", shown, "not set inside", plan.ENDS)


def _of_processes(facts: Facts) -> Iterator[plan.Row]:
    if facts.processes:
        today = f"{len(facts.processes)}: {_some(facts.processes)}"
        yield plan.Row("running processes", today, "run on outside until they end", plan.OPEN)


def _some(values: tuple[str, ...]) -> str:
    more = len(values) - _MOST_SHOWN
    return "; ".join(values[:_MOST_SHOWN]) + (f"; and {more} more" if more > 0 else "")
