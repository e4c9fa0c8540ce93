"""``ssh2containerctl seccomp show|diff|simulate|learn``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from ssh2container.admin.cli import completing, output
from ssh2container.admin.learn import lesson
from ssh2container.admin.policy import origins
from ssh2container.admin.seccomp import bpf, build, moby, profile, rules, syscalls, views
from ssh2container.errors import SessionError
from ssh2container.policy import filters, store
from ssh2container.policy.policy import Seccomp

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ssh2container.admin.seccomp.rules import Table
    from ssh2container.admin.seccomp.syscalls import Machine

SECTION = "Images and filters"


class Choice:
    """The filter that the options name: a user's, or a profile's without a policy."""

    def __init__(
        self, user: str | None, profile_name: str, machine: str | None, kept: tuple[str, ...]
    ) -> None:
        self.machine: Machine = syscalls.MACHINES[machine] if machine else syscalls.native()
        self.seccomp = Seccomp(profile_name, (), (), "errno")
        if user is not None:
            self.seccomp = store.load(user, origins.groups_of(user)).seccomp
        self.kept = tuple(name if name.startswith("CAP_") else "CAP_" + name for name in kept)
        for name in self.kept:
            if name not in profile.CAPABILITIES:
                raise SessionError(f"there is no capability {name}", "see capabilities(7)")
        try:
            self.profile = _profile(self.seccomp, user)
            self.table: Table = build.decide(self.profile, self.seccomp, self.kept, self.machine)
        except OSError as problem:
            place = problem.filename or self.seccomp.profile
            raise SessionError(f"cannot read the profile {place}", problem.strerror or str(problem)) from None
        except ValueError as problem:
            raise SessionError(f"cannot use the profile {self.seccomp.profile}", str(problem)) from None

    def program(self) -> bytes:
        """Return the BPF that a login loads."""
        try:
            return build.assemble(self.table, self.machine)
        except (build.BuildError, bpf.BadProgramError) as problem:
            raise SessionError(f"cannot build {self.seccomp.profile}", str(problem)) from None


def _profile(seccomp: Seccomp, user: str | None) -> profile.Profile:
    if user is not None or "/" not in seccomp.profile:
        return build.profile_of(seccomp)
    # Only looked at: it may be anybody's, and lie anywhere.
    with open(seccomp.profile, "rb") as file:
        return profile.read(seccomp.profile, file.read())


def choosing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose a filter."""
    for option in (
        click.option("--user", metavar="USER", shell_complete=completing.users,
                     help="The filter of USER's effective policy."),
        click.option(
            "--profile", "profile_name", default="default", show_default=True, metavar="PROFILE",
            shell_complete=completing.filters, help="A profile by name or path.",
        ),
        click.option(
            "--machine", type=click.Choice(sorted(syscalls.MACHINES)), help="The machine, default: this one."
        ),
        click.option(
            "--capability", "kept", multiple=True, metavar="CAP",
            help="As for a payload that keeps CAP (repeatable).",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    ):  # fmt: skip
        function = option(function)
    return function


@click.group("seccomp", short_help="Show, compare, try and learn system-call filters.")
def command() -> None:
    """Show, compare, try and learn system call filters."""


@command.command("show")
@choosing
@click.option("--bpf", "as_bpf", is_flag=True, help="Write the raw BPF to standard output.")
def show(
    user: str | None,
    profile_name: str,
    machine: str | None,
    kept: tuple[str, ...],
    *,
    as_json: bool,
    as_bpf: bool,
) -> None:
    """Show how a filter answers every system call.

    Exit status: 0 shown, 125 the profile cannot be used, 126 the user has no valid policy.
    """
    choice = Choice(user, profile_name, machine, kept)
    program = choice.program()
    if as_bpf:
        if sys.stdout.isatty():
            raise click.UsageError("BPF is binary: send it to a file or a pipe")
        sys.stdout.buffer.write(program)
        return
    found = views.summary(choice.table, choice.machine)
    instructions = len(program) // bpf.INSTRUCTION_BYTES
    if as_json:
        output.print_report(
            {
                "profile": choice.profile.name,
                "machine": choice.machine.name,
                "instructions": instructions,
                "answers": found.plain,
                "conditional": found.conditional,
                "unknown_numbers": found.unknown,
                "foreign_architectures": found.foreign,
                "unknown_names": choice.profile.unknown_names(),
            }
        )
        return
    click.echo(f"{choice.profile.name} on {choice.machine.name}: {instructions} instructions")
    for answer, names in sorted(found.plain.items(), key=lambda item: -len(item[1])):
        click.echo(f"\n{answer} ({len(names)}):")
        click.echo(click.wrap_text(" ".join(names), width=100, initial_indent="  ", subsequent_indent="  "))
    click.echo("\nby their arguments, where the first matching line decides:")
    for name, lines in found.conditional.items():
        click.echo(f"  {name}")
        for line in lines:
            click.echo(f"    {line}")
    click.echo(f"\nnumbers without a name: {found.unknown}; foreign architectures and x32: {found.foreign}")
    if choice.seccomp.on_violation == "log":
        click.echo("each EPERM is recorded in the kernel's log")
    unknown = choice.profile.unknown_names()
    if unknown:
        click.echo(f"names in the profile that no machine has: {' '.join(unknown)}", err=True)


@command.command("diff")
@choosing
@click.option("--with", "other", metavar="PROFILE", shell_complete=completing.filters,
              help="Compare with this profile instead of moby's.")  # fmt: skip
def diff(
    user: str | None,
    profile_name: str,
    machine: str | None,
    kept: tuple[str, ...],
    other: str | None,
    *,
    as_json: bool,
) -> None:
    """Compare a filter with moby's default profile, call by call.

    docs/seccomp.md gives the reason for each difference of the shipped profile.

    Exit status: 0 compared, 125 a profile cannot be used, 126 the user has no valid policy.
    """
    choice = Choice(user, profile_name, machine, kept)
    if other is None:
        name, other_table = moby.ORIGIN, moby.profile().table(choice.machine, choice.kept)
    else:
        second = Choice(None, other, machine, kept)
        name, other_table = second.profile.name, second.table
    found = views.differences(choice.table, other_table, choice.machine)
    if as_json:
        output.print_report(
            {
                "ours": choice.profile.name,
                "theirs": name,
                "machine": choice.machine.name,
                "differences": [each._asdict() for each in found],
            }
        )
        return
    click.echo(f"ours:   {choice.profile.name}\ntheirs: {name}")
    for ours, theirs, names in views.grouped(found):
        click.echo(f"\nours {ours}, theirs {theirs} ({len(names)}):")
        click.echo(click.wrap_text(" ".join(names), width=100, initial_indent="  ", subsequent_indent="  "))
    click.echo("\nby their arguments, where the first matching line decides:")
    for each in found:
        if views.depends(each):
            click.echo(f"  {each.name}")
            for side, lines in (("ours", each.ours), ("theirs", each.theirs)):
                for number, line in enumerate(lines):
                    click.echo(f"    {'' if number else side:6}  {line}")


@command.command("simulate", context_settings={"ignore_unknown_options": True})
@choosing
@click.argument("call")
@click.argument("arguments", nargs=-1, metavar="[ARGUMENT]…")
def simulate(
    user: str | None,
    profile_name: str,
    machine: str | None,
    kept: tuple[str, ...],
    call: str,
    arguments: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Show what a filter returns for CALL with these ARGUMENTs; missing ones are 0.

    CALL is a name or a number as in C; an ARGUMENT is a number or a constant such as AF_ALG, or several
    joined by "|". The answer comes from running the BPF that a login loads.

    Exit status: 0 answered, 125 the profile cannot be used, 126 the user has no valid policy.
    """
    choice = Choice(user, profile_name, machine, kept)
    try:
        number = views.call(call, choice.machine)
        values = views.six(views.argument(text) for text in arguments)
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None
    if number is None:
        raise click.UsageError(f"{choice.machine.name} has no call {call}")
    action = bpf.run(bpf.decode(choice.program()), number, choice.machine.token, values)
    answer = rules.describe(action)
    if as_json:
        output.print_report(
            {
                "machine": choice.machine.name,
                "call": syscalls.label(number, choice.machine),
                "number": number,
                "arguments": list(values),
                "answer": answer,
                "passes": rules.lets_pass(action),
            }
        )
        return
    shown = ", ".join(f"{value:#x}" for value in values[: max(len(arguments), 1)])
    click.echo(f"{syscalls.label(number, choice.machine)}({shown}): {answer}")


@command.command("learn")
@click.argument("user", shell_complete=completing.users)
@click.argument("words", nargs=-1, required=True, metavar="-- CMD…")
@click.option("--output", "-o", "path", metavar="FILE", help="Default: /etc/ssh2container/seccomp/USER.json.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--no-trials", "skip_trials", is_flag=True, help="Do not try CMD without each call.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def learn(
    user: str, words: tuple[str, ...], path: str | None, *, force: bool, skip_trials: bool, as_json: bool
) -> None:
    """Run CMD in a session of USER and write a profile that permits what it called.

    CMD runs once with this terminal, once under the learnt profile, and once without each of the
    calls, then with /dev/null: whatever it does to writable volumes, it does each time. Calls that
    USER's own filter refuses with EPERM are executed in the first run, and reported.

    Exit status: 0 written, 125 nothing was learnt or written, 126 the user has no valid policy.
    """
    machine = syscalls.native()
    path = path or os.path.join(filters.PROFILES[0], f"{user}.json")
    if os.path.lexists(path) and not force:
        raise SessionError(f"{path} exists", "", "name another with --output, or replace it with --force")
    policy = store.load(user, origins.groups_of(user))
    with output.progress("learning") as advance:
        found = lesson.teach(policy, user, words, trials=not skip_trials, told=advance)
    try:
        lesson.write(path, lesson.document(found, machine, words))
    except OSError as problem:
        raise SessionError(f"cannot write {path}", problem.strerror or "") from None
    beyond = [syscalls.label(number, machine) for number in found.learnt.violations()]
    used = sorted({syscalls.label(number, machine) for number, _ in found.learnt.used})
    spared = lesson.spared_names(found, machine)
    if as_json:
        output.print_report(
            {
                "profile": path,
                "rounds": found.rounds,
                "used": used,
                "spare": spared if found.spare is not None else None,
                "beyond_policy": beyond,
                "calls": sum(found.learnt.used.values()),
            }
        )
        return
    click.echo(f"{path}: {len(used)} system calls, seen {sum(found.learnt.used.values())} times", err=True)
    if spared:
        click.echo(f"CMD passes without one of: {' '.join(spared)}", err=True)
    if beyond:
        click.echo(f"USER's own filter refuses: {' '.join(beyond)}", err=True)
    if os.path.dirname(os.path.abspath(path)) == filters.PROFILES[0]:
        name = os.path.basename(path).removesuffix(".json")
        click.echo(f"use it with  seccomp: {{profile: {name}}}", err=True)
    else:
        click.echo(f"policies can name it once it is in {filters.PROFILES[0]}", err=True)
