"""``ssh2containerctl test``."""

from __future__ import annotations

import glob
import os
import sys

import click

from ssh2container.admin.cli import completing, output
from ssh2container.admin.policy import test_file
from ssh2container.admin.policy.yaml.problems import PolicyError, Problem
from ssh2container.admin.policytests import report, running
from ssh2container.policy.store import STANDARD

SECTION = "Policies"

_COLOURS = {running.KEPT: "green", running.BROKEN: "red", running.ERROR: "yellow"}


@click.command("test", short_help="Run policy tests in real sessions.")
@click.argument("paths", nargs=-1, metavar="[FILE|DIRECTORY]...", type=click.Path())
@click.option(
    "--policies",
    metavar="PATH",
    default="",
    type=click.Path(),
    help="Test the policies of this directory instead of /etc/ssh2container.",
)
@click.option(
    "--user",
    "users",
    multiple=True,
    metavar="NAME",
    shell_complete=completing.users,
    help="Only this user's tests (repeatable).",
)
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option("--junit", "form", flag_value="junit", help="Print JUnit XML.")
def command(paths: tuple[str, ...], policies: str, users: tuple[str, ...], form: str | None) -> None:
    """Run policy tests: those in /etc/ssh2container/tests unless others are named.

    Each line of a test is tried in a real session of its user, with real clients.

    Exit status: 0 all promises are kept, 1 some are broken or could not be tried, 126 a file is not valid.
    """
    promises = _read(paths)
    for user in users:
        if not any(promise.user == user for promise in promises):
            raise click.UsageError(f"no policy test is about {user}")
    promises = [promise for promise in promises if not users or promise.user in users]
    results = []
    out = output.Paper()
    with output.progress("testing", len(promises)) as advance:
        for result in running.run(promises, os.path.abspath(policies) if policies else ""):
            advance(str(result.promise))
            results.append(result)
    if form == "json":
        output.print_report({"results": [result.as_dict() for result in results]})
    elif form == "junit":
        click.echo(report.junit(results), nl=False)
    else:
        for result in results:
            why = report.said(result) if result.verdict == running.BROKEN else result.reason
            shown = f": {why}" if why else ""
            colour = _COLOURS[result.verdict]
            out.print((f"{result.verdict:6}", colour), f" {result.promise}", (shown, "dim"))
        bad = [result for result in results if result.verdict != running.KEPT]
        for result in bad:
            out.print(f"{result.promise.place}: {result.promise}")
        click.echo(f"{len(results) - len(bad)} kept, {len(bad)} not")
    sys.exit(1 if any(result.verdict != running.KEPT for result in results) else 0)


def _read(paths: tuple[str, ...]) -> list[test_file.Promise]:
    files: list[str] = []
    for path in paths or (f"{STANDARD.configuration}/tests",):
        files += sorted(glob.glob(glob.escape(path) + "/*.yaml")) if os.path.isdir(path) else [path]
    promises: list[test_file.Promise] = []
    problems: list[Problem] = []
    for path in files:
        try:
            promises += test_file.read(path)
        except PolicyError as error:
            problems += error.problems
        except FileNotFoundError:
            problems.append(Problem(path, 0, 0, "there is no such file"))
    if problems:
        raise PolicyError(problems)
    return promises
