"""``ssh2containerctl adopt``."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ssh2container.admin import account
from ssh2container.admin.adopt import choosing, doing, plan, records, returning, unconfirmed, words
from ssh2container.admin.change import carry_out, make_directories
from ssh2container.admin.cli import bulk, completing, enrolment, members, output
from ssh2container.admin.durable import locked
from ssh2container.admin.foreign import choose
from ssh2container.admin.policy.types.numbers import seconds_of
from ssh2container.errors import EXIT_REFUSED, SessionError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SECTION = "Users"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What stands on the command line beside the choice."""

    users: tuple[str, ...]
    group: str
    everybody: bool
    canary: str
    confirm_within: str
    yes: bool
    dry_run: bool
    as_json: bool
    reload_sshd: bool
    kill: bool

    @property
    def within(self) -> float:
        """Return the seconds after which all is taken back, 0 for never."""
        return seconds_of(self.confirm_within) if self.confirm_within else 0.0


@click.command("adopt", short_help="Take existing accounts over, with a way back.")
@click.argument("users", nargs=-1, metavar="[USER]...", shell_complete=completing.accounts)
@members.option
@click.option("--all", "everybody", is_flag=True, help="All people of this host; with --undo, all adopted.")
@click.option(
    "--home",
    type=click.Choice([plan.KEEP, plan.COPY, plan.MOVE]),
    default=plan.MOVE,
    show_default=True,
    help="Leave the home in its place, writable inside; copy it; or move it.",
)
@click.option(
    "--homes", default=plan.HOMES, show_default=True, metavar="DIR", help="Where homes are kept then."
)
@click.option(
    "--profile", default="", metavar="NAME", shell_complete=completing.profiles, help="What policies extend."
)
@click.option(
    "--from", "foreign", type=click.Choice(choose.NAMES), help="Whose configuration says what they may."
)
@click.option("--leave-groups", is_flag=True, help="Take members of groups like sudo and adm out of them.")
@click.option("--force", is_flag=True, help="Also yourself, and who becomes root by sudo's rules.")
@click.option("--canary", default="", metavar="N%|GROUP", help="Only a part of them for now.")
@click.option("--confirm-within", default="", metavar="TIME", help="Take it back unless confirmed by then.")
@click.option("--confirm", is_flag=True, help="Confirm what waits for it.")
@click.option("--undo", is_flag=True, help="Give accounts back as they were.")
@click.option("--kill", is_flag=True, help="With --undo: end running sessions.")
@click.option("--unconfirmed", "waiting", is_flag=True, hidden=True)
@enrolment.reload_sshd
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    users: tuple[str, ...],
    *,
    home: str,
    homes: str,
    profile: str,
    foreign: str | None,
    leave_groups: bool,
    force: bool,
    confirm: bool,
    undo: bool,
    waiting: bool,
    **others: Any,  # noqa: ANN401
) -> None:
    """Take over accounts that exist: show what becomes of each, ask, and give them the login shell.

    Read are the home, groups, sudo rules, crontab, jobs of at, user units, .forward, keys with options, the
    last login and running processes. A policy keeps what can be kept. Root, system accounts, accounts that
    nobody logs in to, who is contained already, administrators and yourself are left alone, each with a line
    that says why. --undo gives an account back as it was, whenever a run was interrupted.
    With --from, the configuration of the project that restricts the accounts today becomes their policies;
    what a policy cannot say is listed with its place.

    Exit status: 0 done, 1 it failed for a user, 125 only root may, 126 a user was refused.
    """
    if os.geteuid() != 0:
        raise SessionError("cannot take accounts over", "only root may", "run it with sudo", "adopt")
    if waiting:
        sys.exit(_wait())
    if confirm:
        waits = unconfirmed.confirm()
        click.echo(f"confirmed: {', '.join(waits.users)}")
        return
    asked = _Asked(users, **others)
    if sum((bool(users), bool(asked.group), asked.everybody)) != 1:
        raise click.UsageError("name USERs, or --group, or --all")
    _ = asked.within
    make_directories(records.DIRECTORY, 0o700)
    with locked(records.DIRECTORY):
        if undo:
            sys.exit(_give_back(asked))
        choice = plan.Choice(
            home, choosing.place_of_homes(homes), profile, leave_groups, force, foreign or ""
        )
        sys.exit(_take_over(asked, choice))


def _wait() -> int:
    """Be what waits for the time: a timer's service, or a process of its own."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    failures = unconfirmed.give_back(click.echo)
    for failure in failures:
        click.echo(failure, err=True)
    return 1 if failures else 0


def _names(asked: _Asked) -> list[str]:
    if asked.group:
        return choosing.members(asked.group)
    return choosing.people() if asked.everybody else list(asked.users)


def _take_over(asked: _Asked, choice: plan.Choice) -> int:
    accounts, errors = choosing.meant(_names(asked))
    if errors:
        for line in errors:
            click.echo(f"ssh2containerctl: {line}", err=True)
        return 1
    _finish({one.name for one in accounts}, asked)
    accounts, _ = choosing.meant(one.name for one in accounts)  # as they are since
    with output.progress("reading accounts", len(accounts)) as advance:
        todo, left = choosing.planned(accounts, choice, advance)
    later: list[str] = []
    if asked.canary:
        first = choosing.first_of(todo, asked.canary)
        later = [one.name for one in todo if one not in first]
        todo = first
    if not asked.as_json:
        _show(todo, left, later)
    report: dict[str, Any] = {
        "plans": [words.as_json(one) for one in todo],
        "left_alone": [{"user": name, "why": why} for name, why in left],
        "later": later,
        "users": [],
    }
    refused = EXIT_REFUSED if left and asked.users else 0
    if not todo or asked.dry_run or not _agreed(todo, asked):
        if asked.as_json:
            output.print_report(report)
        else:
            click.echo("nothing was changed")
        return refused
    done = _do(todo, asked)
    report["users"] = done.users
    if asked.as_json:
        output.print_report(report)
    return max(done.status, refused)


def _finish(names: set[str], asked: _Asked) -> None:
    """Give back who was left half taken over, or half given back, by a run that was ended."""
    for name in choosing.unfinished():
        record = records.of(name)
        if name in names and record is not None:
            if asked.dry_run:
                raise SessionError(
                    f"cannot plan for {name}",
                    "an interrupted run has left this account between two states",
                    f"give it back first: ssh2containerctl adopt --undo {name}",
                    "adopt",
                )
            returning.give_back(record, lambda _state, _change: None)
            click.echo(
                f"{name} was left by a run that was interrupted, and is as it was before that", err=True
            )


def _show(todo: Sequence[plan.Planned], left: Sequence[tuple[str, str]], later: Sequence[str]) -> None:
    for one in todo:
        click.echo(f"{one.name}:")
        output.table(words.ROWS, words.table(one))
        for line in words.notes(one):
            click.echo(f"  {line}")
        click.echo("")
    if len(todo) > 1:
        output.table(words.COLUMNS, words.summary(todo))
    for name, why in left:
        click.echo(f"left alone: {name} {why}")
    if later:
        click.echo(f"left for later: {', '.join(later)}")


def _agreed(todo: Sequence[plan.Planned], asked: _Asked) -> bool:
    if asked.yes:
        return True
    if asked.as_json or not sys.stdin.isatty():
        raise SessionError(
            "cannot ask whether to go on",
            "there is no terminal to ask on",
            "say --yes, or --dry-run",
            "adopt",
        )
    whom = todo[0].name if len(todo) == 1 else f"these {len(todo)} accounts"
    return click.confirm(f"Take over {whom}?", default=False, err=True)


def _do(todo: Sequence[plan.Planned], asked: _Asked) -> bulk.Bulk:
    waits = unconfirmed.arm([one.name for one in todo], asked.within) if asked.within else None
    plans = {one.name: one for one in todo}

    def take(name: str, tell: bulk.Tell) -> list[str]:
        carry_out(doing.adopting(plans[name]), tell)
        return []

    done = bulk.Bulk("taking over", "adopted")
    well = done.carry_out(list(plans), take)
    if waits is not None:
        unconfirmed.count_from_now(asked.within)
    if not asked.as_json:
        done.show()
        _advise(well, waits)
    try:
        enrolment.offer_reload(wanted=asked.reload_sshd, quiet=asked.as_json)
    except (SessionError, OSError) as error:
        output.failure(
            error if isinstance(error, SessionError) else SessionError("cannot reload sshd", str(error))
        )
        done.status = max(done.status, 1)
    return done


def _advise(well: Sequence[str], waits: unconfirmed.Unconfirmed | None) -> None:
    if waits is not None:
        click.echo(f"taken back unless confirmed in time, by {waits.means}: ssh2containerctl adopt --confirm")
    if well:
        click.echo("the way back: ssh2containerctl adopt --undo USER, or --all")


def _give_back(asked: _Asked) -> int:
    names = records.names() if asked.everybody else _names(asked)
    found = {name: records.of(name) for name in names}
    if asked.group:
        found = {name: record for name, record in found.items() if record is not None}
    errors = [name for name, record in found.items() if record is None]
    for name in errors:
        click.echo(f"ssh2containerctl: {name} was not taken over, and has no way back", err=True)
    if errors:
        return 1
    if not found:
        click.echo("nobody is taken over")
        return 0
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # this login may be one of those that end

    def back(name: str, tell: bulk.Tell) -> list[str]:
        record = found[name]
        if record is None:
            return []
        if asked.dry_run:
            return _would(record, tell)
        notes = returning.give_back(record, tell, kill=asked.kill)
        unconfirmed.forget([name])
        return notes

    done = bulk.Bulk("giving back", "as before")
    done.carry_out(list(found), back)
    if asked.as_json:
        output.print_report({"users": done.users})
    else:
        done.show()
    return done.status


def _would(record: records.Record, tell: bulk.Tell) -> list[str]:
    notes: list[str] = []
    carry_out(returning.returning(account.find(record.name), record, notes), tell, dry_run=True)
    return notes
