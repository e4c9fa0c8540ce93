"""``ssh2containerctl replay``."""

from __future__ import annotations

import glob
import os
import re
import sys

import click

from ssh2container.admin.auditlog import read
from ssh2container.admin.cli import completing, output
from ssh2container.admin.recordings import asciicast, collector, player, verifying
from ssh2container.admin.recordings.screen import Screen
from ssh2container.errors import SessionError

SECTION = "Sessions"

_MOST_NAMED = 8


@click.command("replay", short_help="Replay or verify a recorded session.")
@click.argument("recording", metavar="RECORDING|SESSION", shell_complete=completing.recordings)
@click.option("--speed", type=click.FloatRange(0.01, 1000), default=1.0, show_default=True, help="How fast.")
@click.option(
    "--idle-limit", type=click.FloatRange(0), metavar="SECONDS", help="Cut pauses that are longer than this."
)
@click.option("--verify", is_flag=True, help="Compare the recording with the audit trail; do not play it.")
@click.option(
    "--file",
    "log",
    type=click.Path(exists=True, dir_okay=False),
    help="Read the audit trail from this syslog file.",
)
@click.option("--json", "as_json", is_flag=True, help="With --verify: print JSON.")
def command(
    recording: str, speed: float, idle_limit: float | None, log: str | None, *, verify: bool, as_json: bool
) -> None:
    """Replay a RECORDING: a file, or the id of a session that the collector recorded. q or ^C ends it.

    A unique prefix of an id is enough, and so is the name of a user with one recording.

    Only drawing sequences reach your terminal.

    Exit status: 0 played, or verified; 1 not verified; 125 it cannot be read.
    """
    path = _find(recording)
    if not verify:
        _play(path, speed, idle_limit)
        return
    verdict = verifying.verify(path, verifying.claims(path, read.records((log,) if log else ())))
    if as_json:
        output.print_report(
            {"recording": path, "state": verdict.state, "bytes": verdict.good, "text": verdict.text}
        )
    else:
        click.echo(f"{path}: {verdict.state}: {verdict.text}")
    sys.exit(verdict.state != verifying.VERIFIED)


def _find(recording: str) -> str:
    """Return the file that is meant: itself, or by a session's id, its beginning, or a user's name."""
    if "/" in recording or os.path.exists(recording):
        return recording
    name = glob.escape(recording)
    found = glob.glob(f"{collector.DIRECTORY}/*/*-{name}.cast")
    if not found and re.fullmatch("[0-9a-f]{1,10}", recording):
        found = glob.glob(f"{collector.DIRECTORY}/*/*-{name}*.cast")
    found = found or glob.glob(f"{collector.DIRECTORY}/{name}/*.cast")
    if not found:
        raise SessionError(
            f"cannot find a recording of {recording}",
            f"there is none below {collector.DIRECTORY}",
            "name its file, its session or its user",
            "replay",
        )
    if len(found) > 1:
        latest = sorted(map(verifying.session_of, sorted(found, key=os.path.basename)[-_MOST_NAMED:]))
        more = f"name one of {', '.join(latest)}" + (" (the latest)" if len(found) > _MOST_NAMED else "")
        raise SessionError(f"there are {len(found)} recordings of {recording}", more, "", "replay")
    return found[0]


def _play(path: str, speed: float, idle_limit: float | None) -> None:
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
            cast = asciicast.Cast(file, path)
            with Screen(cast.width, cast.height) as screen:
                ended = player.play(cast.events(), screen.show, screen.pause, speed, idle_limit)
    except OSError as error:
        raise SessionError(f"cannot read {path}", error.strerror or "", "run it as root", "replay") from None
    if sys.stdout.isatty():
        how = ": " + _how(ended) if ended else ""
        click.echo(f"ssh2containerctl: the recording ends here{how}", err=True)


def _how(ended: str) -> str:
    if not ended.removeprefix("-").isdecimal():
        return "unknown status"
    return f"signal {ended[1:]}" if ended.startswith("-") else f"status {ended}"
