"""Verbs that only root can carry out say so before they begin."""

from __future__ import annotations

import os

import click

from ssh2container.errors import SessionError


class RootCommand(click.Command):
    """A verb for root; its help is everybody's."""

    def invoke(self, ctx: click.Context) -> object:
        """Refuse before anything is fetched, read or asked."""
        if os.geteuid() != 0:
            raise SessionError(
                f"cannot {self.name} images", "the image store is root's", "run it with sudo", "image"
            )
        return super().invoke(ctx)
