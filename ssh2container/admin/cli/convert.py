"""``ssh2containerctl convert``."""

from __future__ import annotations

import os
import sys

import click

from ssh2container.admin import atomic
from ssh2container.admin.cli import completing, output
from ssh2container.admin.convert import command_line, convert
from ssh2container.admin.policy.yaml.problems import PolicyError
from ssh2container.policy.store import STANDARD

SECTION = "Policies"


class _Command(click.Command):
    """Takes the options of a call of an engine for that call's own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = args[: args.index("--")] if "--" in args else args
        at = next((place for place in range(len(words)) if command_line.begins(words[place:])), None)
        if at is not None:
            args = [*args[:at], "--", *args[at:]]
        return super().parse_args(ctx, args)


@click.command(
    "convert", short_help="Write a policy from a Compose file, a Quadlet unit or a podman run.", cls=_Command
)
@click.argument(
    "words", nargs=-1, required=True, metavar="FILE | (podman|docker) run ARGS...", type=click.Path()
)
@click.option("--service", metavar="NAME", default="", shell_complete=completing.services,
              help="Of a Compose file, this service alone.")  # fmt: skip
@click.option(
    "--output",
    "target",
    metavar="FILE",
    type=click.Path(),
    help="Write the policy to FILE, which must not be there; several to the directory FILE.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(words: tuple[str, ...], service: str, target: str | None, *, as_json: bool) -> None:
    """Write a policy from what is there already.

    FILE is a Compose file (.yaml, .yml) or a Quadlet unit (.container, with its drop-ins). In its place stand
    the words of a call of podman run or docker run; the options of convert precede them.

    The policy goes to standard output, or to a file. What has to be done first, what was left out and what
    means something else is said on standard error, each with its place, and stands in the policy as comments.

    Exit status: 0 written, 1 the file cannot be converted.
    """
    if len(words) > 1 and not command_line.is_one(words):
        raise click.UsageError("one FILE, or a call: podman run or docker run, and its words")
    try:
        made = convert.checked(words, os.environ, service, STANDARD)
    except PolicyError as error:
        output.problems(error.problems, stderr=True)
        sys.exit(1)
    if len(made) > 1 and target is None and not as_json:
        names = ", ".join(one.name for one in made)
        raise click.UsageError(
            f"there are several services ({names}): name one with --service, or a directory with --output"
        )
    if target is not None:
        _write(made, target)
    if as_json:
        output.print_report({"policies": [one.as_dict() for one in made]})
        return
    for one in made:
        if target is None:
            click.echo(one.text, nl=False)
        _say(one)


def _say(one: convert.Converted) -> None:
    output.problems([note.problem("is left out") for note in one.left_out], stderr=True)
    output.problems([note.problem("is not quite the same") for note in one.differs], stderr=True)
    if one.prepare:
        click.echo("To do first:", err=True)
        for line in one.prepare:
            click.echo(f"  {line}", err=True)


def _write(made: list[convert.Converted], target: str) -> None:
    """Write each policy under a name of its own; none is written where one cannot be."""
    places = [target]
    if len(made) > 1 or os.path.isdir(target):
        try:
            os.makedirs(target, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"cannot make {target}: {error.strerror}") from None
        places = [os.path.join(target, f"{one.name}.yaml") for one in made]
    for place in places:
        if os.path.lexists(place):
            raise click.UsageError(f"{place} is there already: remove it, or write to another file")
    for one, place in zip(made, places, strict=True):
        try:
            atomic.write(place, one.text)
        except OSError as error:
            raise click.ClickException(f"cannot write {place}: {error.strerror}") from None
