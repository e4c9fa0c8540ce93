"""``ssh2containerctl sessions``."""

from __future__ import annotations

import time

import click

from ssh2container.admin.cli import completing, output
from ssh2container.admin.sessions.live import Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_COLUMNS = ("ID", "USER", "SINCE", "FROM", "IDLE", "MEMORY", "PROC", "IMAGE", "COMMAND")
_DAY_S = 86400
_LONGEST_COMMAND = 60
_CLEAR = "\x1b[H\x1b[2J"


@click.command("sessions", short_help="List running sessions.")
@click.argument("users", nargs=-1, metavar="[USER]...", shell_complete=completing.users)
@click.option("--watch", is_flag=True, help="Renew the list every two seconds, until ^C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(users: tuple[str, ...], *, watch: bool, as_json: bool) -> None:
    """List the sessions of all users, or of each USER: who, since when, from where, how much.

    Each is verified against the kernel; an entry that is not true is named on standard error and left
    out. What the command and the address say was written with the user's rights. Exit status: 0 listed,
    125 could not look.
    """
    if not watch:
        _show(users, as_json=as_json)
        return
    try:
        while True:
            if output.console().is_terminal and not as_json:
                click.echo(_CLEAR, nl=False)
            _show(users, as_json=as_json)
            time.sleep(2)
    except KeyboardInterrupt:
        pass


def _show(users: tuple[str, ...], *, as_json: bool) -> None:
    listing = Listing(users)
    try:
        found = listing.as_json()
    finally:
        listing.close()
    if as_json:
        output.print_json(found)
        return
    used = {session["container"] for session in found["sessions"]}
    rows = [_row(session) for session in found["sessions"]]
    rows += [_row(container) for container in found["containers"] if container["id"] not in used]
    if rows:
        output.table(_COLUMNS, rows)
    else:
        click.echo("no sessions")
    for line in found["strange"]:
        click.echo(f"ssh2containerctl: left out: {line}", err=True)


def _row(session: dict[str, Any]) -> tuple[str, ...]:
    shown = session.get("command") or session.get("kind") or "(a container that lingers)"
    if session.get("container"):
        shown = f"{shown} [in {session['container']}]"
    return (
        session["id"],
        session["user"],
        _moment(session["since"]),
        session.get("from") or "-",
        _length(session.get("idle")),
        f"{session['memory'] / (1 << 20):.1f}M",
        str(session["processes"]),
        session["image"],
        shown if len(shown) <= _LONGEST_COMMAND else shown[: _LONGEST_COMMAND - 3] + "...",
    )


def _moment(when: float) -> str:
    form = "%H:%M:%S" if time.time() - when < _DAY_S else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(when))


def _length(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
