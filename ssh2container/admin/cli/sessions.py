"""``ssh2containerctl sessions``."""

from __future__ import annotations

import json
import math
import sys
import time
from typing import TYPE_CHECKING

import click

from ssh2container.admin.cli import completing, output, sessions_table, top
from ssh2container.admin.sessions import account, report
from ssh2container.admin.sessions.live import Listing
from ssh2container.admin.sessions.usage import Moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from ssh2container.admin.cli.sessions_table import Report, Table

SECTION = "Sessions"

_SAMPLE_S = 0.2
"""So long processors are watched for what they do now: twenty of the kernel's ticks."""
_INTERVAL_S = 2.0
_KEYS = (
    "q quit   c cpu   m memory   p processes   w writable   i idle   s since   u user   r reverse   b by user"
)
_SORT_KEYS = {name[0]: name for name in sessions_table.SORTS}


@click.command("sessions", short_help="List running sessions, and what they use.")
@click.argument("users", nargs=-1, metavar="[USER]...", shell_complete=completing.users)
@click.option(
    "--user",
    "more",
    multiple=True,
    metavar="USER",
    shell_complete=completing.users,
    help="The same as USER, for who is used to kill --user.",
)
@click.option("--watch", is_flag=True, help="Refresh the list, until q or ^C.")
@click.option(
    "--interval", type=click.FloatRange(0.2, 3600), metavar="SECONDS", help="With --watch: how often; 2."
)
@click.option("--sort", type=click.Choice(sessions_table.SORTS), help="What comes first; with --watch, cpu.")
@click.option(
    "--by", type=click.Choice(["session", "user"]), default="session", help="A line for each; session."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch, one line each time.")
def command(
    users: tuple[str, ...],
    *,
    more: tuple[str, ...],
    watch: bool,
    interval: float | None,
    sort: str | None,
    by: str,
    as_json: bool,
) -> None:
    """List the sessions of all users, or of each USER: who, since when, from where, what they use and may.

    CPU is what is used now, 100% being one processor; TIME is what has been used. After a slash stands the
    limit, where there is one. With --watch, keys choose what comes first: the last line names them.

    Each session is verified against the kernel; an entry that is not true is reported on standard error and
    left out. The command and the address were written with the user's rights.

    Exit status: 0 listed, 125 the sessions could not be examined, or there is no such USER.
    """
    if interval is not None and not watch:
        raise click.UsageError("--interval is for --watch")
    if interval is not None and math.isnan(interval):  # not a number, which no range excludes
        raise click.UsageError("--interval takes seconds")
    if as_json and (sort or by == "user"):
        raise click.UsageError("--json has everything: --sort and --by are for tables")
    users = tuple(dict.fromkeys((*users, *more)))
    for name in users:
        account.require(name)
    pause_s = interval or _INTERVAL_S
    view = _View(_Looking(users), by, sort or ("cpu" if watch else ""))
    if not watch:
        view.look()
        _print(view, as_json=as_json)
    elif top.usable() and not as_json:
        top.show(view, pause_s)
    else:
        _repeat(view, pause_s, as_json=as_json)


class _Looking:
    """Looking at sessions, once or again and again."""

    def __init__(self, users: tuple[str, ...]) -> None:
        self._users = users
        self._listing: Listing | None = None
        self._before: Moment | None = None

    def now(self) -> Report:
        """Return what there is. Raises SessionError."""
        listing = self._listing = Listing(self._users, self._listing)
        if self._before is None and (listing.sessions or listing.containers):
            self._before = Moment(listing)
            time.sleep(_SAMPLE_S)
        moment = Moment(listing)
        found = report.of(listing, moment, self._before)
        self._before = moment
        return found


class _View(top.Picture):
    """What is shown of the last look, and in which order."""

    def __init__(self, looking: _Looking, by: str, sort: str) -> None:
        self._looking = looking
        self._by = by
        self._sort = sort
        self._reverse = False
        self.report: Report = {}

    def look(self) -> None:
        """Look anew. Raises SessionError."""
        self.report = self._looking.now()

    def table(self) -> Table:
        """Return the table that was asked for."""
        make = sessions_table.of_users if self._by == "user" else sessions_table.of_sessions
        return make(self.report, self._sort, reverse=self._reverse)

    def key(self, typed: str) -> None:
        """Sort by something else, or the other way round, or show users in place of sessions."""
        if typed in _SORT_KEYS:
            self._sort, self._reverse = _SORT_KEYS[typed], False
        elif typed == "r":
            self._reverse = not self._reverse
        elif typed == "b":
            self._by = "session" if self._by == "user" else "user"

    def lines(self, columns: int, rows: int) -> Sequence[Text]:
        """Return what a window so large shows: the sums, the table as far as it has room, the keys."""
        from rich.text import Text

        table, left_out = sessions_table.fit(self.table(), columns)
        room = max(1, rows - 2)
        shown = table[:room]
        hidden = len(table) - len(shown)
        above = f"{time.strftime('%H:%M:%S')}  {sessions_table.headline(self.report)}, by {self._sort}"
        below = [f"{hidden} more"] if hidden else []
        below += [f"{len(self.report['strange'])} left out"] if self.report["strange"] else []
        below += [f"too narrow for {' '.join(left_out)}"] if left_out else []
        last = "; ".join(below)
        lines = [
            Text(above, style="reverse"),
            *shown,
            Text(f"{last}   {_KEYS}" if last else _KEYS, style="dim"),
        ]
        for line in lines:
            line.no_wrap = True
            line.truncate(columns, overflow="ellipsis")
        return lines


def _repeat(view: _View, pause_s: float, *, as_json: bool) -> None:
    """Print again and again, for a pipe, a file, or a terminal that cannot be drawn on."""
    try:
        while True:
            view.look()
            if as_json:
                click.echo(json.dumps({"time": round(time.time(), 3), **view.report}))
            else:
                click.echo(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {sessions_table.headline(view.report)}")
                _print(view, as_json=False)
            sys.stdout.flush()
            time.sleep(pause_s)
    except KeyboardInterrupt:
        pass


def _print(view: _View, *, as_json: bool) -> None:
    found = view.report
    if as_json:
        output.print_report(found)
        return
    table = view.table()
    if not found["sessions"] and not found["containers"]:
        click.echo("no sessions")
    elif sys.stdout.isatty():
        out = output.console()
        lines, left_out = sessions_table.fit(table, out.width, cut=False)
        for line in lines:
            out.print(line, soft_wrap=True)
        if left_out:
            click.echo(f"ssh2containerctl: the terminal is too narrow for {', '.join(left_out)}", err=True)
    else:
        output.table(table.columns, table.rows)
    for line in found["strange"]:
        click.echo(f"ssh2containerctl: left out: {line}", err=True)
