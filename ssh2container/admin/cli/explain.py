"""``ssh2containerctl explain``."""

from __future__ import annotations

import click
from rich.markup import escape

from ssh2container.admin import explain
from ssh2container.admin.cli import completing, output
from ssh2container.errors import printable

_PHASES = {
    "mapping": "Outside, while process 1 waits",
    "monitor": "The monitor, which stays outside",
    "init": "Process 1 of the container, until it holds no right",
    "payload": "The payload, just before its program",
}


@click.command("explain", short_help="Explain what a login would do, step by step.")
@click.argument("user", shell_complete=completing.users)
@click.argument("words", nargs=-1, metavar="[-- CMD...]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--terminal/--no-terminal", default=None, help="Assume a terminal, or none.")
def command(user: str, words: tuple[str, ...], *, as_json: bool, terminal: bool | None) -> None:
    """Print the plan of a login of USER that runs CMD, or a shell: what is printed is what runs.

    Exit status: 0 planned, 126 the login would be refused.
    """
    explained = explain.explain(user, words, terminal=terminal)
    if as_json:
        output.print_json(explained.as_json())
        return
    out = output.console()
    out.print(f"[bold]New namespaces:[/] {', '.join(explained.namespaces())}")
    phase = reason = ""
    for number, step in enumerate(explained.steps(), 1):
        if step["phase"] != phase:
            phase = step["phase"]
            out.print(f"[bold]{_PHASES[phase]}[/]")
        why = (
            f"  [dim]# {escape(step['key'])}, {escape(step['origin'] or 'built-in')}[/]"
            if step["key"]
            else ""
        )
        out.print(f"{number:4}  {escape(printable(step['describe']))}{why}")
        if step["reason"] != reason:
            reason = step["reason"]
            out.print(f"      [dim italic]{reason}[/]")
    program = explained.program()
    place = f"  [dim]# {program['key']}, {escape(program['origin'] or 'built-in')}[/]"
    out.print(f"[bold]Then:[/] {escape(printable(program['describe'] or ''))}{place}")
    out.print(f"      in {escape(printable(explained.plan.directory))}")
    for variable, key, origin in explained.variables():
        out.print(f"      with {escape(printable(variable))}  [dim]# {escape(key)}, {escape(origin)}[/]")
    if explained.meanwhile():
        out.print("[bold]Meanwhile the monitor will[/]")
    for item in explained.meanwhile():
        origin = escape(item["origin"] or "built-in")
        out.print(f"      {escape(printable(item['describe']))}  [dim]# {escape(item['key'])}, {origin}[/]")
    if explained.costs:
        out.print("[bold]What it costs[/]")
    for key, cost in explained.costs:
        out.print(f"      {escape(printable(cost))}  [dim]# {escape(key)}[/]")
    if explained.weaker:
        out.print("[bold]Weaker than the default[/]")
        for key, means, place in explained.weaker:
            out.print(f"      {escape(key)}: {escape(printable(means))}  [dim]# {escape(place)}[/]")
