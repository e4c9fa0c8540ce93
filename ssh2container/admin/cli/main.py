"""``ssh2containerctl``: one verb a file, each imported only when it runs."""

from __future__ import annotations

import errno
import importlib
import os
import sys

import click

from ssh2container import __version__
from ssh2container.admin import statuses
from ssh2container.admin.cli import output, verbs
from ssh2container.errors import EXIT_OURS, SessionError


class Verbs(click.Group):
    """Finds the verb ``foo-bar`` as ``command`` in ``admin/cli/foo_bar.py`` (:mod:`verbs`)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs that this version has, by their headings."""
        return [*verbs.found()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        verb = verbs.found().get(cmd_name)
        if verb is None:
            return None
        command: click.Command = importlib.import_module(verb.module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the closest verb when there is none of that name."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if close:
                error.message += f" Did you mean '{close[0]}'?"
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        every = verbs.found().values()
        width = max(len(verb.name) for verb in every)
        for heading in verbs.SECTIONS:
            with formatter.section(heading):
                formatter.write_dl(
                    [(verb.name.ljust(width), verb.help) for verb in every if verb.section == heading]
                )

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Complete a verb or an option without importing a verb."""
        item = click.shell_completion.CompletionItem
        matching = [
            item(verb.name, help=verb.help)
            for verb in verbs.found().values()
            if verb.name.startswith(incomplete)
        ]
        return matching + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> object:
        """Run a verb; every error of ours ends with its line and its documented status."""
        try:
            return super().invoke(ctx)
        except SessionError as error:
            output.failure(error)
            sys.exit(error.status)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # nobody reads on, for which click has an end of its own
            where = f"{error.filename}: " if error.filename else ""
            remedy = "run it as root" if os.geteuid() != 0 and isinstance(error, PermissionError) else ""
            output.failure(
                SessionError(f"cannot {ctx.invoked_subcommand}", f"{where}{error.strerror or error}", remedy)
            )
            sys.exit(EXIT_OURS)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=statuses.short(),
)
@click.version_option(__version__, "--version", "-V", message="%(prog)s %(version)s")
def command() -> None:
    """Administer ssh2container: policies, images, sessions, and the host around them."""


def main() -> None:
    """Run the command line of this process."""
    # What root writes here has to be readable at every user's login.
    os.umask(0o022)
    command(prog_name="ssh2containerctl")
