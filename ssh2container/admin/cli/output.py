"""What all verbs print with: tables, problems with a marker, JSON, progress.

rich takes as long to import as the interpreter, click and a verb together: whoever needs it imports it where
it is needed.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from typing import TYPE_CHECKING

import click

from ssh2container import __version__
from ssh2container.admin.policy.yaml.problems import ERROR, PolicyError
from ssh2container.errors import SessionError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from rich.console import Console

    from ssh2container.admin.policy.yaml.problems import Problem


class Paper:
    """Where lines go: a terminal has their styles drawn by rich, all else gets the text alone.

    A piece is text, or text with a style in rich's words. It may come from anywhere: what a terminal
    would obey is shown as escapes.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        self._stderr = stderr
        self._console = console(stderr=stderr) if (sys.stderr if stderr else sys.stdout).isatty() else None

    def print(self, *pieces: str | tuple[str, str]) -> None:
        """Print one line."""
        split = [(piece, "") if isinstance(piece, str) else piece for piece in pieces]
        shown = [(printable(text), style) for text, style in split]
        if self._console is None:
            click.echo("".join(text for text, _ in shown), err=self._stderr)
            return
        from rich.text import Text

        self._console.print(Text.assemble(*shown))


def console(*, stderr: bool = False) -> Console:
    """Return what draws on a terminal."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)


def print_json(value: object) -> None:
    """Print a document for another program as it is."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=True))


def print_report(value: dict[str, Any]) -> None:
    """Print what holds on this host for another program, which may collect from many hosts and versions."""
    print_json({"host": socket.gethostname(), "version": __version__, **value})


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below headings. What stands in cells may come from anywhere: it is shown as it is."""
    if sys.stdout.isatty():
        from rich.table import Table
        from rich.text import Text

        grid = Table(box=None, header_style="bold", pad_edge=False, show_edge=False)
        for column in columns:
            grid.add_column(column, overflow="fold")
        for row in rows:
            grid.add_row(*(Text(printable(cell)) for cell in row))
        console().print(grid, soft_wrap=False)
        return
    lines = [columns, *[[printable(cell) for cell in row] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def failure(error: SessionError) -> None:
    """Print why a verb failed on stderr; for a policy, every error in it."""
    if isinstance(error, PolicyError):
        problems(error.problems, stderr=True)
        return
    click.echo(f"ssh2containerctl: {error}", err=True)


def problems(found: Sequence[Problem], *, stderr: bool = False) -> None:
    """Print findings: the place, the line with a marker, what is allowed."""
    out = Paper(stderr=stderr)
    for problem in found:
        colour = "red" if problem.severity == ERROR else "yellow"
        out.print((problem.place(), "bold"), ": ", (problem.severity, colour), f": {problem.message}")
        if problem.text:
            shown, marker = _marked(problem.text, problem.column)
            out.print(f"    {shown}")
            out.print("    ", (marker, colour))
        for label, text in (("allowed", problem.allowed), ("hint", problem.hint)):
            if text:
                out.print(f"    {label}: {text}")


def _marked(text: str, column: int) -> tuple[str, str]:
    """Return a line, shortened around ``column``, and the marker that goes below it."""
    context = 60
    start = max(0, column - context)
    # One for each, so that the marker stays below its column; some are two cells wide.
    shown = "".join(c if c.isprintable() else "?" for c in text[start : column + context])
    before = shown[: column - 1 - start]
    return shown, " " * _width(before) + "^"


def _width(text: str) -> int:
    """Return how many cells of a terminal ``text`` takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


@contextlib.contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Callable[[str], None]]:
    """Yield a function that is told each item; a bar appears on a terminal, nothing elsewhere.

    total: the number of items, None when nobody knows it.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[item]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
    with bars:
        task = bars.add_task(description, total=total, item="")

        def advance(item: str) -> None:
            bars.update(task, advance=1, item=printable(item))

        yield advance
