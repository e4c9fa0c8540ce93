"""``ssh2containerctl compile``."""

from __future__ import annotations

import sys

import click

from ssh2container.admin.cli import output
from ssh2container.admin.images import transfers
from ssh2container.admin.language import building, compiler
from ssh2container.policy.store import STANDARD


@click.command("compile", short_help="Compile the policies for fast logins.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, as_json: bool) -> None:
    """Compile all policies and system-call filters, so that logins need not read YAML.

    Also refreshes the transfer programs that sessions find in images without any.

    Logins work without it, some 30 ms slower; what is compiled is used only while it is newer than
    its sources. systemd runs it when a file below /etc/ssh2container changes.

    Exit status: 0 all compiled, 1 some policies are not valid.
    """
    with output.progress("compiling", len(list(compiler.part_names(STANDARD))) + 2) as advance:
        built = building.build(STANDARD, advance)
        advance("system-call filters")
        building.build_filters(built, STANDARD)
        advance("transfer programs")
        renewed = transfers.refresh()
    if as_json:
        output.print_json(
            {
                "written": built.written,
                "unchanged": built.unchanged,
                "removed": built.removed,
                "filters": built.filters,
                "transfer_programs_renewed": renewed,
                "problems": [problem.as_dict() for problem in built.problems],
            }
        )
    else:
        output.problems(built.problems, stderr=True)
        total = len(built.written) + len(built.unchanged)
        anew, removed = len(built.written), len(built.removed)
        click.echo(f"{total} policy files compiled ({anew} of them anew), {removed} removed")
        click.echo(f"{len(built.filters)} system-call filters built")
        if renewed:
            click.echo("transfer programs for images built anew")
    sys.exit(1 if built.problems else 0)
