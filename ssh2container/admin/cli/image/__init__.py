"""``ssh2containerctl image``: the images that sessions run in."""

from __future__ import annotations

import click

from ssh2container.admin.cli.image import keeping, making


@click.group(name="image", short_help="Import, list, check and remove images.")
def command() -> None:
    """Images: what the root of a session is made of. All but list and info have to be run as root."""


for _verb in (*making.VERBS, *keeping.VERBS):
    command.add_command(_verb)
