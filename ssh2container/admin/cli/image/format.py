"""How the image verbs talk: progress on a terminal, sizes and times for people."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import click

from ssh2container.admin.images.store import gc
from ssh2container.admin.images.store.store import Version
from ssh2container.errors import printable

_SHOWN = 3


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Give a progress callback; a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bars.update(task, description=printable(what), completed=done, total=total or None)

        yield tell


def say(name: str, version: Version) -> None:
    """Tell what a name is now, and what was neutralised in it."""
    info = version.info
    click.echo(f"{name} is {version.digest[:19]}: {info['entries']} entries, {shown_size(info['size'])}")
    for what, members in info["neutralised"].items():
        shown = ", ".join(printable(member) for member in members[:_SHOWN])
        click.echo(f"  {printable(what)}: {shown}{', …' if len(members) > _SHOWN else ''}")
    for sentence in info["warnings"]:
        click.echo(f"  warning: {printable(sentence)}", err=True)


def report_collected(fates: list[gc.Fate], *, quiet: bool, dry_run: bool = False) -> None:
    """Tell what became of each version. quiet: nothing where nothing was removed."""
    gone = [fate for fate in fates if not fate.kept]
    verb = "would remove" if dry_run else "removed"
    for fate in fates:
        if not fate.kept:
            click.echo(f"{verb} {fate.version.digest[:19]}, {shown_size(fate.size)}")
        elif "session" in fate.kept:
            click.echo(f"kept {fate.version.digest[:19]}: {fate.kept}")
    if not quiet and not gone:
        click.echo("nothing to remove")


def shown_size(count: int) -> str:
    """Return bytes as people read them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1 << 10 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count = count / (1 << 10)  # type: ignore[assignment]
    raise AssertionError(count)


def shown_time(seconds: int) -> str:
    """Return seconds since 1970 as the local time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
