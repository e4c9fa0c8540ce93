"""``ssh2containerctl usage``."""

from __future__ import annotations

import csv
import sys
import time
from typing import TYPE_CHECKING

import click

from ssh2container.admin.adopt.choosing import members
from ssh2container.admin.auditlog import read
from ssh2container.admin.auditlog import usage as adding
from ssh2container.admin.cli import completing, output, sessions_table
from ssh2container.admin.sessions import account
from ssh2container.errors import SessionError, printable

if TYPE_CHECKING:
    from ssh2container.admin.auditlog.usage import Figures, Usage

SECTION = "Sessions"

_COLUMNS = (
    "SESSIONS", "CONNECTED", "CPU", "MEMORY", "TYPED", "SHOWN", "UPLOADED", "DOWNLOADED", "OOM", "REFUSED",
    "ENDED",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t")
"""What a spreadsheet takes for the beginning of a formula."""
_UNITS = {"connected_ms": 1_000, "cpu_usec": 1_000_000}
"""How many are a second."""
_KIB, _MIB = 1 << 10, 1 << 20


@click.command("usage", short_help="Show who used how much, and when.")
@click.argument("users", nargs=-1, metavar="[USER]...", shell_complete=completing.users)
@click.option(
    "--group", default="", metavar="GROUP", shell_complete=completing.groups, help="All members of a group."
)
@click.option("--since", default="", metavar="TIME", help="Count from here, e.g. yesterday or 2026-01-31.")
@click.option("--until", default="", metavar="TIME", help="Count to here.")
@click.option(
    "--by", type=click.Choice(adding.KEYS), multiple=True, help="A line for each (repeatable); user."
)
@click.option(
    "--file", "paths", multiple=True, type=click.Path(exists=True, dir_okay=False),
    help="Read this syslog file (repeatable, the oldest first).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values (RFC 4180).")
def command(
    users: tuple[str, ...],
    group: str,
    since: str,
    until: str,
    by: tuple[str, ...],
    paths: tuple[str, ...],
    *,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Add up what sessions have used, of all users or of each USER, as the audit trail has it.

    A session counts on the day on which it ended, with what its last record says; those that have not ended
    are left out, and a line says how many. A figure that no record has is "-", in JSON null, in CSV empty.

    CONNECTED is time with a session, CPU processor time, MEMORY the most of any session, TYPED and SHOWN are
    bytes of terminals, UPLOADED and DOWNLOADED of recorded transfers; OOM are programs killed for want of
    memory, REFUSED those that a limit of processes refused, ENDED sessions that a limit has ended.

    Exit status: 0 shown, 125 no log can be read, or USER is neither a user nor in the log.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    by = tuple(dict.fromkeys(by)) or ("user",)
    who = {*users, *(members(group) if group else ())}
    used = adding.Usage(by, who)
    if who or not group:
        used.read(read.records(paths, since, until, adding.EVENTS))
    for name in users:
        if name not in used.seen and not account.exists(name):
            raise SessionError(f"cannot find {name} in the log", "no user has this name", "", "usage")
    if as_json:
        output.print_report(_report(used, by))
        return
    if as_csv:
        _print_csv(used, by)
    elif used.rows:
        _print_table(used, by)
    else:
        click.echo("no records", err=True)
    for line in _left_out(used):
        click.echo(f"ssh2containerctl: {line}", err=True)


def _all(figures: Figures) -> dict[str, int | None]:
    return {name: figures.get(name) for name in adding.FIGURES}


def _report(used: Usage, by: tuple[str, ...]) -> dict[str, object]:
    return {
        "first": used.first or None,
        "last": used.last or None,
        "by": by,
        "rows": [{**dict(zip(by, key, strict=True)), **_all(row)} for key, row in sorted(used.rows.items())],
        "total": _all(used.total()),
        "not_ended": used.begun,
        "left_out": {"bad": used.bad, "forged": used.forged, "strange": used.strange},
    }


def _print_csv(used: Usage, by: tuple[str, ...]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow((*by, *adding.FIGURES))
    for key, row in sorted(used.rows.items()):
        cells = [printable(cell) for cell in key]
        cells = [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells]
        writer.writerow((*cells, *_all(row).values()))


def _print_table(used: Usage, by: tuple[str, ...]) -> None:
    rows = [(*key, *_cells(row)) for key, row in sorted(used.rows.items())]
    if len(rows) > 1:
        rows.append(("(all)", *[""] * (len(by) - 1), *_cells(used.total())))
    if sys.stdout.isatty():
        first, last = (time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) for at in (used.first, used.last))
        click.echo(f"Records from {first} to {last}")
    output.table((*(name.upper() for name in by), *_COLUMNS), rows)


def _cells(figures: Figures) -> tuple[str, ...]:
    known = _all(figures)
    seconds = {name: figures[name] / unit for name, unit in _UNITS.items() if name in figures}
    transferred = ("input", "output", "uploaded", "downloaded")
    return (
        str(figures.get("sessions", 0)),
        sessions_table.length(seconds.get("connected_ms")),
        sessions_table.length(seconds.get("cpu_usec")),
        sessions_table.size(known["memory"]),
        *(_bytes(known[name]) for name in transferred),
        *(
            "-" if known[name] is None else str(known[name])
            for name in ("oom_kills", "pids_refused", "ended")
        ),
    )


def _bytes(number: int | None) -> str:
    """Say what was typed or transferred, which may be little."""
    if number is None or number >= _MIB:
        return sessions_table.size(number)
    return str(number) if number < _KIB else f"{number / _KIB:.1f}K"


def _left_out(used: Usage) -> list[str]:
    """Say what the figures do not tell of."""
    without = used.total().get("without_cpu", 0)
    said = [
        (used.begun, "begun and not ended in this time: they run yet, or left no last record; left out"),
        (without, "without processor time of their own: it is that of a shared container, or unknown"),
    ]
    lines = [f"{_of(number, 'session')} {what}" for number, what in said if number]
    said = [
        (used.bad, "whose figures or time are none"),
        (used.forged, "that another user wrote"),
        (used.strange, "without the form of a record"),
    ]
    return lines + [f"left out: {_of(number, 'record')} {what}" for number, what in said if number]


def _of(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
