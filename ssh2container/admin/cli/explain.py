"""``ssh2containerctl explain``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ssh2container.admin.account import advised
from ssh2container.admin.cli import completing, moment, output, public_key
from ssh2container.admin.login import summary, verdict

if TYPE_CHECKING:
    from ssh2container.admin.cli.output import Paper
    from ssh2container.policy.key_rules import Used

SECTION = "Policies"

_HEAD = "bold"
_PHASES = {
    "limits": "The user's service manager, while process 1 is at work",
    "network": "The forwarder, outside, while process 1 is at work",
    "networks": "The monitor, before it starts process 1",
    "mapping": "Outside, while process 1 waits",
    "monitor": "The monitor, which stays outside",
    "init": "Process 1 of the container, until it holds no right",
    "createRuntime": "Hooks outside, while process 1 waits",
    "startContainer": "Hooks inside, behind the walls of the payload",
    "poststop": "Hooks outside, when nothing of the container is left",
    "payload": "The payload, just before its program",
}


@click.command("explain", short_help="Explain what a login would do, step by step.")
@click.argument("user", shell_complete=completing.users)
@click.argument("words", nargs=-1, metavar="[-- CMD...]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--at", type=moment.MOMENT, metavar="TIME", help="Explain a login at TIME: YYYY-MM-DD [HH:MM] [ZONE]."
)
@click.option(
    "--image", default="", metavar="NAME", shell_complete=completing.images, help="Choose one of the images."
)
@click.option(
    "--key",
    type=public_key.PUBLIC_KEY,
    metavar="KEY",
    help="Explain a login with a key: a fingerprint (SHA256:…), or the file of a public key or certificate.",
)
@click.option("--terminal/--no-terminal", default=None, help="Assume a terminal, or none.")
def command(
    user: str,
    words: tuple[str, ...],
    *,
    as_json: bool,
    at: float | None,
    image: str,
    key: Used | None,
    terminal: bool | None,
) -> None:
    """Print the plan of a login of USER that runs CMD, or a shell: what is printed is what runs.

    The container is made and CMD is looked up in it, but not run: the exit status is that of the login,
    as far as it can be known without running anything. Without --key it is a login without a key, or with
    one that no rule of the policy's keys names.

    Exit status: 0 it would run; 125 the container cannot be made; 126 the login would be refused;
    127 there is no such program inside.
    """
    answer = verdict.of_login(user, words, terminal=terminal, at=at or 0.0, image=image, key=key)
    error = None if answer.error is None else advised(answer.error, user)
    if as_json:
        told = None if error is None else verdict.describe(error)
        output.print_report({**(answer.explained or {"user": user}), "status": answer.status, "error": told})
    elif answer.explained is not None:
        _show(answer.explained)
    if error is not None:
        output.failure(error)
        sys.exit(answer.status)


def print_summary(out: Paper, lines: dict[str, str]) -> None:
    """Print what the user can do, a line for each thing."""
    for beginning, words in summary.text(lines):
        out.print((beginning, _HEAD), f" {words}")


def _show(explained: dict[str, Any]) -> None:
    out = output.Paper()
    if explained["rule"]:
        out.print(("The policy of the key:", _HEAD), f" {explained['rule']}")
    print_summary(out, explained["summary"])
    out.print(("New namespaces:", _HEAD), f" {', '.join(explained['namespaces'])}")
    phase = reason = ""
    for number, step in enumerate(explained["operations"], 1):
        if step["phase"] != phase:
            phase = step["phase"]
            out.print((_PHASES[phase], _HEAD))
        why = [_blame(step["key"], step["origin"])] if step["key"] else []
        out.print(f"{number:4}  {step['describe']}", *why)
        if step["reason"] != reason:
            reason = step["reason"]
            out.print("      ", (reason, "dim italic"))
    place = _blame(explained["program_key"], explained["program_origin"])
    out.print(("Then:", _HEAD), f" {explained['program']}", place)
    out.print(f"      in {explained['directory']}")
    for one in explained["variables"]:
        out.print(f"      with {one['describe']}", _blame(one["key"], one["origin"]))
    out.print(("What its network reaches", _HEAD))
    for one in explained["reach"]:
        out.print(f"      {one['describe']}", _remark(one["key"]))
    _list(out, "Meanwhile the monitor will", explained["meanwhile"])
    _show_what_it_comes_to(out, explained)
    _list(out, "Jobs, each a login of its own", explained["schedule"])


def _list(out: Paper, head: str, listed: list[dict[str, Any]]) -> None:
    if listed:
        out.print((head, _HEAD))
    for one in listed:
        out.print(f"      {one['describe']}", _blame(one["key"], one["origin"]))


def _show_what_it_comes_to(out: Paper, explained: dict[str, Any]) -> None:
    if explained["keys"]:
        out.print(("Keys with a policy of their own", _HEAD), " (explain --key KEY shows it)")
    for one in explained["keys"]:
        out.print(f"      {one['rule']}: extends {', '.join(one['extends'])}", _remark(one["origin"]))
    _list(out, "What it can have the host run", explained["host_commands"])
    if explained["units"]:
        out.print(("What asks for protection that it does not get inside", _HEAD))
    for one in explained["units"]:
        out.print(f"      {one['unit']}: {one['means']}")
    if explained["costs"]:
        out.print(("What it costs", _HEAD))
    for one in explained["costs"]:
        out.print(f"      {one['describe']}", _remark(one["key"]))
    if explained["weaker"]:
        out.print(("Weaker than the default", _HEAD))
    for one in explained["weaker"]:
        out.print(f"      {one['key']}: {one['means']}", _remark(one["origin"]))


def _blame(key: str, origin: str | None) -> tuple[str, str]:
    return _remark(f"{key}, {origin or 'built-in'}")


def _remark(text: str) -> tuple[str, str]:
    return f"  # {text}", "dim"
