"""``ssh2containerctl forget``."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ssh2container.admin.change import carry_out
from ssh2container.admin.cli import bulk, completing, enrolment, output
from ssh2container.admin.forgetting import holdings, trees, whom
from ssh2container.admin.forgetting.holdings import ARCHIVE, KEEP, REMOVE
from ssh2container.admin.quotas.quota import shown
from ssh2container.errors import Refusal, SessionError, printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ssh2container.admin.forgetting.holdings import Choice, Holding
    from ssh2container.admin.forgetting.whom import Former

SECTION = "Users"
_COLUMNS = ("user", "what", "where", "size", "then")


@dataclass(frozen=True, slots=True)
class _Meant:
    """Somebody, and what is held of them."""

    former: Former
    held: list[Holding]

    def rows(self) -> list[tuple[str, ...]]:
        """Return a line for each thing that is held."""
        return [
            (self.former.label, one.what, one.where, "" if one.size is None else shown(one.size), one.then)
            for one in self.held
        ]

    def as_json(self) -> dict[str, Any]:
        """Return it for another program."""
        return {
            "user": self.former.name,
            "uid": self.former.uid,
            "deleted": self.former.account is None,
            "held": [
                {"what": one.what, "where": one.where, "size": one.size, "then": one.then}
                for one in self.held
            ],
        }


@click.command("forget", short_help="Remove what is still held of deleted or disabled users.")
@click.argument("users", nargs=-1, metavar="[USER|UID]...", shell_complete=completing.users)
@click.option("--gone", is_flag=True, help="Everybody whose account was deleted.")
@click.option(
    "--homes",
    type=click.Choice([KEEP, ARCHIVE, REMOVE]),
    default=KEEP,
    show_default=True,
    help="What becomes of kept homes.",
)
@click.option(
    "--recordings",
    type=click.Choice([KEEP, REMOVE]),
    default=KEEP,
    show_default=True,
    help="What becomes of recordings.",
)
@click.option(
    "--to", default=trees.ARCHIVES, show_default=True, metavar="DIR", help="Where homes are archived."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only list what is held.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    users: tuple[str, ...],
    *,
    gone: bool,
    homes: str,
    recordings: str,
    to: str,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """List what is still held of USERs who are deleted or disabled, ask, and remove it.

    That is the policy and what was compiled of it, the runtime directory and its tmpfiles.d entry, limits,
    networks, host key, quota, ranges of ids that enable gave, and the records. Homes and recordings stay
    unless --homes and --recordings say otherwise; an archive is root's alone. The home of a uid that another
    account has now is never touched. The account itself is not either.

    Nothing of this can be undone: a home or recording that was removed is gone, and an archive is unpacked by
    hand. A user who is enabled or has sessions is refused.

    Exit status: 0 done, 1 it failed, 126 refused.
    """
    if os.geteuid() != 0:
        raise SessionError("cannot forget anybody", "only root may", "run it with sudo", "forget")
    if bool(users) == gone:
        raise click.UsageError("name USERs, or --gone")
    if not to.startswith("/") or not to.isprintable():
        raise click.UsageError("--to: name a directory by its absolute path")
    choice = holdings.Choice(homes, recordings, os.path.normpath(to))
    meant, status = _meant(users, choice)
    if not as_json:
        _show(meant)
    report: dict[str, Any] = {"held": [one.as_json() for one in meant], "users": []}
    todo = [one for one in meant if holdings.changes(one.held)]
    if todo and not dry_run and _agreed(todo, yes=yes, as_json=as_json):
        done = _do(todo, choice)
        status = max(status, done.status)
        report["users"] = done.users
        if not as_json:
            done.show()
    elif not as_json:
        click.echo("nothing was changed")
    if as_json:
        output.print_report(report)
    sys.exit(status)


def _meant(users: Sequence[str], choice: Choice) -> tuple[list[_Meant], int]:
    """Return who is meant and can be forgotten, and the exit status for the others, who are told of."""
    status = 0
    found: dict[Former, _Meant] = {}
    formers: list[Former] = [] if users else whom.gone()
    for word in users:
        try:
            named = whom.named(word)
        except SessionError as error:
            output.failure(error)
            status = max(status, enrolment.status_of(error))
            continue
        formers += named
    with output.progress("looking", len(formers)) as advance:
        for former in formers:
            advance(former.label)
            try:
                held = _held(former, choice, named=bool(users))
                if held or users:
                    found[former] = _Meant(former, held)
            except SessionError as error:
                output.failure(error)
                status = max(status, enrolment.status_of(error))
    return list(found.values()), status


def _held(former: Former, choice: Choice, *, named: bool) -> list[Holding]:
    held = holdings.of(former, choice)
    if not held and named and former.account is None:
        raise SessionError(
            f"no user {former.label!r}",
            "there is no such account, and nothing is held of one",
            "see who is: ssh2containerctl forget --gone --dry-run",
            "forget",
        )
    return held


def _show(meant: Sequence[_Meant]) -> None:
    rows = [row for one in meant for row in one.rows()]
    if rows:
        output.table(_COLUMNS, rows)
    for one in meant:
        if not one.held:
            click.echo(printable(f"nothing is held of {one.former.label}"))
        if one.former.now:
            click.echo(
                printable(
                    f"the uid {one.former.uid} of {one.former.label} is {one.former.now}'s now: what is kept"
                    " under that number is left alone"
                )
            )
    if not meant:
        click.echo("nothing is held of deleted accounts")


def _agreed(todo: Sequence[_Meant], *, yes: bool, as_json: bool) -> bool:
    if yes:
        return True
    if as_json or not sys.stdin.isatty():
        raise SessionError(
            "cannot ask whether to go on",
            "there is no terminal to ask on",
            "say --yes, or --dry-run",
            "forget",
        )
    lost = [one.where for each in todo for one in each.held if one.for_good]
    if lost:
        click.echo(printable(f"gone for good then: {', '.join(lost)}"), err=True)
    whom_words = todo[0].former.label if len(todo) == 1 else f"these {len(todo)}"
    return click.confirm(f"Forget {whom_words}? Nothing brings it back.", default=False, err=True)


def _do(todo: Sequence[_Meant], choice: Choice) -> bulk.Bulk:
    """Do what was agreed to, and no more: who was enabled meanwhile, say, is refused."""
    by_label = {f"{one.former.label}" + _distinct(one, todo): one for one in todo}

    def forget(label: str, tell: bulk.Tell) -> list[str]:
        former, agreed = by_label[label].former, by_label[label].held
        again = whom.named(former.name) if former.name else [whom.of_number(former.uid or 0)]
        if former.account is not None and former not in again:
            raise Refusal(
                f"cannot forget {label}", "the account has changed since it was listed", step="forget"
            )
        now = holdings.of(former if former.account is not None else _still_gone(former, again), choice)
        known = {(one.what, one.where) for one in agreed}
        carry_out(holdings.changes([one for one in now if (one.what, one.where) in known]), tell)
        return [f"{one.where} {one.then}" for one in now if one.what in ("kept home", "recordings")]

    done = bulk.Bulk("forgetting", "forgotten")
    done.carry_out(list(by_label), forget)
    return done


def _still_gone(former: Former, again: Sequence[Former]) -> Former:
    if any(one.account is not None for one in again):
        raise Refusal(f"cannot forget {former.label}", "there is such an account again", step="forget")
    return next((one for one in again if one.uid == former.uid), former)


def _distinct(one: _Meant, todo: Sequence[_Meant]) -> str:
    same = [other for other in todo if other.former.label == one.former.label]
    return f" (uid {one.former.uid})" if len(same) > 1 else ""
