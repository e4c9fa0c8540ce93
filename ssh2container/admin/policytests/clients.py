"""What a policy test does from outside: real clients, with ``ssh2containerctl try`` in the place of ssh."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = tuple[list[str], str]
    """Arguments, and what goes to standard input."""

CONTENT = "written by a policy test of ssh2container\n"


class Bench:
    """A directory in which a client works.

    directory: belongs to the user. connector: a program that stands for ssh: it ignores what
    comes before ``--`` and the host after it, and opens a session that runs the rest.
    """

    def __init__(self, directory: str, control: list[str], policies: str, key: str = "") -> None:
        self.directory = directory
        self.local = f"{directory}/local"
        self.fetched = f"{directory}/fetched"
        self.status = f"{directory}/status"
        self.connector = f"{directory}/connect"
        options = [*(["--policy", policies] if policies else []), *(["--key", key] if key else [])]
        command = shlex.join([*control, "try", *options, "--"])
        with open(self.local, "w", encoding="utf-8") as file:
            file.write(CONTENT)
        status = shlex.quote(self.status)
        with open(self.connector, "w", encoding="utf-8") as file:
            file.write(
                "#!/bin/sh\n"
                'while [ "$1" != -- ]; do shift; done\nshift 2\n'
                # Some clients close their pipes before the server has ended, which sshd hides from a
                # session; without cat it would take that for a lost connection.
                f'{{ {command} "$*"; echo $? >>{status}; }} | cat\nexit "$(tail -n 1 {status})"\n'
            )
        os.chmod(self.connector, 0o755)  # noqa: S103 - the client runs as the user
        self.direct = [*shlex.split(command)]

    def ended(self) -> list[int]:
        """Return the statuses of the sessions that the client opened."""
        try:
            with open(self.status, encoding="utf-8") as file:
                return [int(line) for line in file]
        except FileNotFoundError:
            return []


def login(bench: Bench, _: str) -> Command:
    """Log in without a command, with an input that ends at once."""
    return bench.direct[:-1], ""


def run(bench: Bench, command: str) -> Command:
    """Hand over a command as one string, as ssh does."""
    return [*bench.direct, command], ""


def sftp(batch: str) -> Callable[[Bench, str], Command]:
    """Return an action that runs one batch of the sftp client; {} is the path."""

    def action(bench: Bench, path: str) -> Command:
        server = f"{bench.connector} -- host internal-sftp"
        lines = batch.replace("{}", path).replace("LOCAL", bench.local).replace("FETCHED", bench.fetched)
        return ["sftp", "-q", "-b", "-", "-D", server], lines + "\n"

    return action


def scp_get(bench: Bench, path: str) -> Command:
    """Fetch by the protocol that came before sftp."""
    return ["scp", "-q", "-O", "-S", bench.connector, f"host:{path}", bench.fetched], ""


def scp_put(bench: Bench, path: str) -> Command:
    """Store by the protocol that came before sftp."""
    return ["scp", "-q", "-O", "-S", bench.connector, bench.local, f"host:{path}"], ""


def rsync_get(bench: Bench, path: str) -> Command:
    """Fetch by rsync."""
    return ["rsync", "-e", f"{bench.connector} --", f"host:{path}", bench.fetched], ""


def rsync_put(bench: Bench, path: str) -> Command:
    """Store by rsync."""
    return ["rsync", "-e", f"{bench.connector} --", bench.local, f"host:{path}"], ""


def git_fetch(_: Bench, path: str) -> Command:
    """Read references; the environment names the connector."""
    return ["git", "ls-remote", f"host:{path}"], ""


def git_push(_: Bench, path: str) -> Command:
    """Push a commit of an empty tree, as a dry run."""
    script = (
        "set -e; git init -q work; cd work; "
        "commit=$(git -c user.name=t -c user.email=t commit-tree -m test $(git mktree </dev/null)); "
        'exec git push --dry-run "$1" "$commit:refs/heads/ssh2container-policy-test"'
    )
    return ["sh", "-c", script, "sh", f"host:{path}"], ""


ACTIONS: dict[str, Callable[[Bench, str], Command]] = {
    "login": login,
    "run": run,
    "sftp list": sftp("ls {}"),
    "sftp get": sftp("get {} FETCHED"),
    "sftp put": sftp("put LOCAL {}"),
    "sftp remove": sftp("rm {}"),
    "sftp rename": sftp("rename {} {}.renamed"),
    "sftp mkdir": sftp("mkdir {}"),
    "scp get": scp_get,
    "scp put": scp_put,
    "rsync get": rsync_get,
    "rsync put": rsync_put,
    "git fetch": git_fetch,
    "git push": git_push,
}
MAKES = frozenset(("sftp put", "scp put", "rsync put", "sftp mkdir"))
"""Actions that leave something at their path; it must not be there before."""
NEEDS = frozenset(("sftp remove", "sftp rename"))
"""Actions for which the tester makes a file at the path, where the path is on a volume or in a kept home."""
