"""``ssh2containerctl try``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ssh2container.admin import try_
from ssh2container.admin.cli import completing, public_key

if TYPE_CHECKING:
    from ssh2container.policy.key_rules import Used

SECTION = "Users"


@click.command(
    "try",
    short_help="Run a session as a login would, without ssh.",
)
@click.option("--policy", metavar="FILE", help="Use FILE instead of the user's own policy file.")
@click.option(
    "--user",
    metavar="NAME",
    shell_complete=completing.users,
    help="The user whose session it is (root only; default: the caller).",
)
@click.option(
    "--image", default="", metavar="NAME", shell_complete=completing.images, help="Choose one of the images."
)
@click.option(
    "--key",
    type=public_key.PUBLIC_KEY,
    metavar="KEY",
    help="Run it as a login with KEY does: a fingerprint, or the file of a public key or certificate.",
)
@click.option("--timing", is_flag=True, help="Report on standard error where the start-up time went.")
@click.argument("words", nargs=-1, metavar="[-- CMD...]")
def command(
    policy: str | None,
    user: str | None,
    words: tuple[str, ...],
    *,
    image: str,
    key: Used | None,
    timing: bool,
) -> None:
    """Run a session exactly as a login does, without ssh: a shell, or CMD.

    CMD is joined with spaces and passed on as one string, as ssh does.

    Exit status: the session's own; 125 the container could not be made, 126 refused, 127 there is no such
    program.
    """
    try_.run(user, policy, words, image=image, timing=timing, key=key)
