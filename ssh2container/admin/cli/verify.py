"""``ssh2containerctl verify``."""

from __future__ import annotations

import itertools
import os
import pwd
import sys
import time
from typing import TYPE_CHECKING

import click

from ssh2container import __version__
from ssh2container.admin.cli import completing, output, public_key
from ssh2container.admin.verify import report
from ssh2container.admin.verify.sessions import Starter
from ssh2container.admin.verify.verdicts import EXPECTED, FAIL, PASS, SKIPPED, WEAK

if TYPE_CHECKING:
    from ssh2container.policy.key_rules import Used

SECTION = "The host"

_COLOURS = {PASS: "green", WEAK: "cyan", EXPECTED: "blue", SKIPPED: "yellow", FAIL: "bold red"}


@click.command("verify", short_help="Run the escape probes inside a user's session.")
@click.argument("user", required=False, shell_complete=completing.users)
@click.option("--all", "everything", is_flag=True, help="Also list the probes that passed.")
@click.option(
    "--image", default="", metavar="NAME", shell_complete=completing.images, help="Choose one of the images."
)
@click.option(
    "--key",
    type=public_key.PUBLIC_KEY,
    metavar="KEY",
    help="Under the policy of KEY: a fingerprint, or the file of a public key or certificate.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(user: str | None, *, everything: bool, image: str, key: Used | None, as_json: bool) -> None:
    """Open real sessions as USER under the user's own policy and try to break out, in more than 400 ways.

    Each attempt is a separate process behind the session's walls. USER defaults to yourself.

    Results: "pass"; "weak pass", refused only because this kernel or image lacks what is attacked;
    "expected-by-policy", with the key that allows it; "skipped", with the reason; "fail".

    Exit status: 0 nothing failed, 1 an attempt succeeded, 125 no session could be opened, 126 there is no
    such user, or only root may.
    """
    if not user and os.getuid() == 0:
        raise click.UsageError("name the USER to verify: root has no sessions")
    name = user or pwd.getpwuid(os.getuid()).pw_name
    with output.progress("verifying") as advance:
        rows = report.verify(Starter(name, image=image, key=key), advance)
    numbers = report.counts(rows)
    if as_json:
        made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        about = {**report.about(name), "version": __version__, "time": made}
        output.print_report({**about, "counts": numbers, "probes": rows})
    else:
        _print(rows, everything=everything)
        click.echo(f"{len(rows)} probes: " + ", ".join(f"{count} {kind}" for kind, count in numbers.items()))
    sys.exit(1 if numbers[FAIL] else 0)


def _print(rows: list[report.Row], *, everything: bool) -> None:
    out = output.Paper()
    for group, members in itertools.groupby(sorted(rows, key=_group), key=_group):
        listed = list(members)
        numbers = report.counts(listed)
        short = ", ".join(f"{count} {kind}" for kind, count in numbers.items() if count)
        out.print((group, "bold"), f": {short}")
        for row in listed:
            if row["result"] == PASS and not everything:
                continue
            colour = _COLOURS[row["result"]]
            key = f" ({row['key']})" if row["key"] else ""
            detail = f"{row['name']}{key}: {row['detail']}"
            out.print("  ", (f"{row['result']:18}", colour), f" {detail}")
            if row["result"] == FAIL:
                out.print(f"  {'':18} source: {row['source']}")


def _group(row: report.Row) -> str:
    return row["group"]
