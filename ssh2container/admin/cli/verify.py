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
from ssh2container.admin.policy import origins
from ssh2container.admin.verify import report
from ssh2container.admin.verify.sessions import Starter
from ssh2container.admin.verify.verdicts import EXPECTED, FAIL, PASS, SKIPPED, WEAK
from ssh2container.errors import SessionError
from ssh2container.plan import choice
from ssh2container.policy import images, store

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
@click.option("--all-images", is_flag=True, help="In each of the images, one after the other.")
@click.option(
    "--key",
    type=public_key.PUBLIC_KEY,
    metavar="KEY",
    help="Under the policy of KEY: a fingerprint, or the file of a public key or certificate.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    user: str | None, *, everything: bool, image: str, all_images: bool, key: Used | None, as_json: bool
) -> None:
    """Open real sessions as USER under the user's own policy and try to break out, in more than 400 ways.

    Each attempt is a separate process behind the session's walls. USER defaults to yourself. Of a policy with
    several images it is the first, unless --image or --all-images says otherwise; the last line names it.

    Results: "pass"; "weak pass", refused only because this kernel or image lacks what is attacked;
    "expected-by-policy", with the key that allows it; "skipped", with the reason; "fail".

    Exit status: 0 nothing failed, 1 an attempt succeeded, 125 no session could be opened, 126 there is no
    such user, or only root may.
    """
    if not user and os.getuid() == 0:
        raise click.UsageError("name the USER to verify: root has no sessions")
    if image and all_images:
        raise click.UsageError("--image or --all-images, not both")
    name = user or pwd.getpwuid(os.getuid()).pw_name
    known = _images(name, key)
    chosen = known if all_images and known else [_chosen(image, known)]
    rows: list[report.Row] = []
    with output.progress("verifying") as advance:
        for one in chosen:
            made = report.verify(Starter(name, image=one, key=key), advance)
            rows += [{**row, "image": one} for row in made]
    numbers = report.counts(rows)
    if as_json:
        made_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        about = {**report.about(name), "version": __version__, "time": made_at, "images": chosen}
        output.print_report({**about, "counts": numbers, "probes": rows})
    else:
        for one in chosen:
            _print([row for row in rows if row["image"] == one], one, everything=everything)
        if len(known) > len(chosen):
            others = ", ".join(other for other in known if other not in chosen)
            click.echo(f"not verified: sessions in the image {others} (--image NAME, --all-images)")
    sys.exit(1 if numbers[FAIL] else 0)


def _images(name: str, key: Used | None) -> list[str]:
    """Return the images of the policy, the default first; none where no policy is valid, as sessions say."""
    try:
        policy = store.load(name, origins.groups_of(name))
        return [*images.of(policy if key is None else public_key.under(policy, key))]
    except SessionError:
        return []


def _chosen(image: str, known: list[str]) -> str:
    """Return the full name of what sessions have, and ``image`` as it is where they will be refused."""
    if not known or not image:
        return known[0] if known else ""
    try:
        return choice.find(image, known)
    except SessionError:
        return image


def _print(rows: list[report.Row], image: str, *, everything: bool) -> None:
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
    short = ", ".join(f"{count} {kind}" for kind, count in report.counts(rows).items())
    click.echo(f"{len(rows)} probes in the image {image}: {short}")


def _group(row: report.Row) -> str:
    return row["group"]
