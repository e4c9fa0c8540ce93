"""``ssh2containerctl check``."""

from __future__ import annotations

import os
import sys

import click

from ssh2container.admin.cli import output
from ssh2container.admin.policy import check, check_file, check_policy, diff
from ssh2container.admin.policy.yaml.problems import ERROR
from ssh2container.policy.store import STANDARD

SECTION = "Policies"


@click.command("check", short_help="Check policies: all errors at once, with their places.")
@click.argument("paths", nargs=-1, metavar="[FILE|DIRECTORY]...", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings too.")
def command(paths: tuple[str, ...], *, as_json: bool, strict: bool) -> None:
    """Check policies; without FILE, everything that is installed.

    A FILE may be anywhere; its name says what it is (users/NAME.yaml, config.yaml, tests/NAME.yaml,
    ...). A DIRECTORY is checked as a whole, as if it were /etc/ssh2container.

    Exit status: 0 no errors, 1 errors; with --strict also warnings.
    """
    findings = check_policy.Findings()
    trees = [diff.elsewhere(path) for path in paths if os.path.isdir(path)]
    parts = sum(check.count(places) for places in (trees if paths else [STANDARD]))
    with output.progress("checking", parts + len(paths)) as advance:
        if not paths:
            findings = check.installation(STANDARD, advance)
        for path in paths:
            advance(path)
            found = check.tree(path, advance) if os.path.isdir(path) else check_file.file(path, STANDARD)
            findings.add(*found.all())
    problems = findings.all()
    errors = sum(problem.severity == ERROR for problem in problems)
    if as_json:
        output.print_report({"problems": [problem.as_dict() for problem in problems]})
    else:
        output.problems(problems)
        click.echo(f"{_count(errors, 'error')}, {_count(len(problems) - errors, 'warning')}")
    sys.exit(1 if errors or (strict and problems) else 0)


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
