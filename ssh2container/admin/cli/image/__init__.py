"""``ssh2containerctl image``: the images that sessions run in."""

from __future__ import annotations

import click

from ssh2container.admin.cli.image import create, manage

SECTION = "Images and filters"


@click.group("image", short_help="Import, list, check and remove images.")
def command() -> None:
    """Manage images, from which the roots of sessions are made. All but list and info need root."""


for _verb in (*create.VERBS, *manage.VERBS):
    command.add_command(_verb)
