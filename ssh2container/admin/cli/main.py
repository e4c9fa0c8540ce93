"""``ssh2containerctl``: one verb a file, each imported only when it runs."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

import click

from ssh2container import __version__
from ssh2container.admin.cli import output
from ssh2container.errors import SessionError

VERBS = {
    "check": "Check policies: all errors at once, with their places.",
    "show": "Show a user's effective policy and where each value was written.",
    "explain": "Explain what a login would do, step by step.",
    "compile": "Compile the policies for fast logins.",
    "schema": "Print the JSON Schema of a policy, for editors.",
    "test": "Run policy tests in real sessions.",
    "try": "Run a session as a login would, without ssh.",
    "edit": "Edit a policy safely.",
    "diff": "Compare a user's effective policy under two versions.",
    "log": "Show why sessions were refused, and how they ended.",
    "status": "Show the state of policies and sessions.",
    "enable": "Give a user the login shell.",
    "disable": "Take the login shell from a user.",
    "image": "Import, list, check and remove images.",
    "sessions": "List running sessions.",
    "watch": "Watch a session's terminal.",
    "exec": "Run a command in a running session.",
    "kill": "End sessions.",
    "replay": "Replay a recorded session.",
    "seccomp": "Show and build system-call filters.",
    "sshd-config": "Write the part of sshd_config that belongs to the policies.",
    "doctor": "Find every way around the login shell on this host.",
    "verify": "Run the escape probes inside a user's session.",
}
"""Verb -> one line of help, so that help and completion import no verb."""


class Verbs(click.Group):
    """Finds the verb ``foo-bar`` as ``command`` in ``admin/cli/foo_bar.py``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs that this version has, in the order of the table."""
        return [verb for verb in VERBS if _module(verb)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        name = _module(cmd_name) if cmd_name in VERBS else ""
        if not name:
            return None
        command: click.Command = importlib.import_module(name).command
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
        with formatter.section("Commands"):
            formatter.write_dl([(verb, VERBS[verb]) for verb in self.list_commands(ctx)])

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Complete a verb or an option without importing a verb."""
        item = click.shell_completion.CompletionItem
        verbs = [
            item(verb, help=VERBS[verb]) for verb in self.list_commands(ctx) if verb.startswith(incomplete)
        ]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> object:
        """Run a verb; every error of ours ends with its line and its documented status."""
        try:
            return super().invoke(ctx)
        except SessionError as error:
            output.failure(error)
            sys.exit(error.status)


def _module(verb: str) -> str:
    name = "ssh2container.admin.cli." + verb.replace("-", "_")
    return name if importlib.util.find_spec(name) else ""


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done; 1 errors were found, or it could not be done; 2 wrong usage; "
    "125 a container could not be made; 126 refused by a policy.",
)
@click.version_option(__version__, "--version", "-V", message="%(prog)s %(version)s")
def command() -> None:
    """Administer ssh2container: policies, images, sessions, and the host around them."""


def main() -> None:
    """Run the command line of this process."""
    # What root writes here has to be readable at every user's login.
    os.umask(0o022)
    command(prog_name="ssh2containerctl")
