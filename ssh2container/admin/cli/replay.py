"""``ssh2containerctl replay``."""

from __future__ import annotations

import glob
import os
import re
import sys

import click

from ssh2container.admin import trail
from ssh2container.admin.cli import completing, output
from ssh2container.admin.replay import asciicast, collector, player, verifying
from ssh2container.admin.replay.screen import Screen
from ssh2container.errors import SessionError


@click.command("replay", short_help="Replay or verify a recorded session.")
@click.argument("recording", metavar="RECORDING|SESSION", shell_complete=completing.recordings)
@click.option("--speed", type=click.FloatRange(0.01, 1000), default=1.0, show_default=True, help="How fast.")
@click.option(
    "--idle-limit", type=click.FloatRange(0), metavar="SECONDS", help="Cut pauses that are longer than this."
)
@click.option("--verify", is_flag=True, help="Compare the recording with the audit trail; do not play it.")
@click.option(
    "--file", "log", type=click.Path(exists=True, dir_okay=False), help="The trail is in this syslog file."
)
@click.option("--json", "as_json", is_flag=True, help="With --verify: print JSON.")
def command(
    recording: str, speed: float, idle_limit: float | None, log: str | None, *, verify: bool, as_json: bool
) -> None:
    """Replay a RECORDING, a file or the id of a session that the collector keeps. q or ^C ends it.

    Only what draws reaches your terminal. Exit status: 0 played, or verified; 1 not verified; 125 it
    cannot be read.
    """
    path = _find(recording)
    if not verify:
        _play(path, speed, idle_limit)
        return
    verdict = verifying.verify(path, verifying.claims(path, trail.records((log,) if log else ())))
    if as_json:
        output.print_json(
            {"recording": path, "state": verdict.state, "bytes": verdict.good, "text": verdict.text}
        )
    else:
        click.echo(f"{path}: {verdict.state}: {verdict.text}")
    sys.exit(verdict.state != verifying.VERIFIED)


def _find(recording: str) -> str:
    if not re.fullmatch("[0-9a-f]{10}", recording) or os.path.exists(recording):
        return recording
    found = glob.glob(f"{collector.DIRECTORY}/*/*-{recording}.cast")
    if not found:
        raise SessionError(
            f"cannot find a recording of session {recording}",
            f"there is none below {collector.DIRECTORY}",
            "name its file",
            "replay",
        )
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
