"""``ssh2containerctl edit``."""

from __future__ import annotations

import sys

import click

from ssh2container.admin.cli import completing, output
from ssh2container.admin.policy import edit
from ssh2container.admin.policy.compile import build, compiler
from ssh2container.policy.store import STANDARD

SECTION = "Policies"


@click.command("edit", short_help="Edit a policy safely.")
@click.argument("user", required=False, shell_complete=completing.users)
@click.option("--group", metavar="GROUP", shell_complete=completing.groups, help="Edit the file of a group.")
@click.option(
    "--profile",
    metavar="NAME",
    shell_complete=completing.own_profiles,
    help="Edit a profile in /etc/ssh2container/profiles.",
)
@click.option("--file", "name", type=click.Choice(compiler.FOR_EVERYBODY),
              help="Edit one of the files that apply to everybody.")  # fmt: skip
def command(user: str | None, group: str | None, profile: str | None, name: str | None) -> None:
    """Edit the policy of USER with $VISUAL or $EDITOR; a new one starts from a template.

    The file is installed and compiled only if it has no errors.

    Exit status: 0 changed or left unchanged, 1 given up.
    """
    chosen = [
        prefix + given
        for prefix, given in (("users/", user), ("groups/", group), ("profiles/", profile), ("", name))
        if given
    ]
    if len(chosen) != 1:
        raise click.UsageError("name one of USER, --group, --profile, --file")
    if "/" in chosen[0].partition("/")[2] or chosen[0].rpartition("/")[2].startswith("."):
        raise click.UsageError("a name cannot be a path")
    draft = edit.Draft(chosen[0], STANDARD)
    try:
        sys.exit(_edit(draft))
    finally:
        draft.close()


def _edit(draft: edit.Draft) -> int:
    while True:
        draft.edit()
        if not draft.changed():
            click.echo(f"{draft.target} is unchanged")
            return 0
        findings = draft.check()
        output.problems(findings.all(), stderr=True)
        if not findings.errors():
            break
        click.echo("e edit again, x leave without saving", err=True)
        # Without a terminal there is nobody to ask: broken text is never installed.
        again = (
            sys.stdin.isatty() and click.prompt("What now?", type=click.Choice(["e", "x"]), err=True) == "e"
        )
        if not again:
            click.echo(f"{draft.target} is unchanged", err=True)
            return 1
    draft.install()
    built = build.build(STANDARD)
    build.build_filters(built, STANDARD)
    click.echo(f"{draft.target} is in force")
    output.problems(built.problems, stderr=True)
    return 0
