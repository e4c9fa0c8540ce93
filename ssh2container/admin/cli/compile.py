"""``ssh2containerctl compile``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from ssh2container.admin.accounts import enable, home_quota, host_key, jobs, networks, slices, trees
from ssh2container.admin.change import Change, carry_out
from ssh2container.admin.cli import enrolment, output
from ssh2container.admin.images.store.store import Store
from ssh2container.admin.images.tools import transfers
from ssh2container.admin.policy.at_rest import until_read
from ssh2container.admin.policy.compile import build, compiler
from ssh2container.admin.policy.yaml.problems import Problem
from ssh2container.errors import SessionError, printable
from ssh2container.policy.store import STANDARD

if TYPE_CHECKING:
    from collections.abc import Callable

SECTION = "Policies"


@click.command("compile", short_help="Compile the policies for fast logins.")
@enrolment.reload_sshd
@click.option("--no-sshd", is_flag=True, help="Leave the sshd drop-in alone.")
@click.option(
    "--no-limits",
    is_flag=True,
    help="Leave users' slices, the quotas of homes, users' networks and their jobs alone.",
)
@click.option(
    "--only-limits",
    is_flag=True,
    help="Only renew users' slices, the quotas of homes, users' networks and their jobs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, reload_sshd: bool, no_sshd: bool, no_limits: bool, only_limits: bool, as_json: bool) -> None:
    """Compile all policies and system call filters, so that logins need not read YAML.

    It also refreshes the transfer programs that sessions use in images without any, the trees of images that
    policies with a range of ids need, and the sshd drop-in, so that it covers everybody whom a policy admits.

    A running sshd uses the new drop-in once it is reloaded: asked for on a terminal, done by --reload-sshd,
    otherwise the command is printed. A drop-in that sshd -t refuses is taken back at once; one that was
    changed by hand, or does not exist, is left alone, as is any with --no-sshd.

    Limits over everything of a user (user_limits) and of everybody (site_limits, in config.yaml) become
    drop-ins of systemd's slices, in force at once for what runs already; one changed by hand is left alone.
    What kept homes may hold (home.size, home.inodes) becomes quotas of their file systems, and networks of
    the administrator's become namespaces for sessions, for whoever is enabled. Where a policy has
    allow_forwarding, the host key of the user's containers is made. Jobs (schedule) become timers of systemd,
    or a file below /etc/cron.d where systemd does not run.

    Logins work without it, about 30 ms slower; a compiled file is used only while its sources are unchanged.
    systemd runs this when a file below /etc/ssh2container changes.

    Exit status: 0 all compiled, 1 some policies are not valid, sshd refuses the drop-in, or limits that a
    policy requires cannot be set, or nobody runs the jobs that one has.
    """
    if only_limits:
        sys.exit(0 if _renew_limits_until_read(quiet=as_json) else 1)
    with output.progress("compiling", len(list(compiler.part_names(STANDARD))) + 3) as advance:
        built = build.build(STANDARD, advance)
        advance("system-call filters")
        build.build_filters(built, STANDARD)
        advance("transfer programs")
        renewed = transfers.refresh()
        advance("images")
        prepared = _prepare(built)
    failed = not no_sshd and not _refresh_sshd(reload=reload_sshd, quiet=as_json)
    failed = not _make_host_keys(quiet=as_json) or failed
    failed = (not no_limits and not _renew_limits(quiet=as_json)) or failed
    if as_json:
        output.print_report(
            {
                "written": built.written,
                "unchanged": built.unchanged,
                "removed": built.removed,
                "filters": built.filters,
                "transfer_programs_renewed": renewed,
                "images_prepared": prepared,
                "problems": [problem.as_dict() for problem in built.problems],
            }
        )
    else:
        output.problems(built.problems, stderr=True)
        total = len(built.written) + len(built.unchanged)
        anew, removed = len(built.written), len(built.removed)
        click.echo(f"{total} policy files compiled ({anew} of them new or changed), {removed} removed")
        click.echo(f"{len(built.filters)} system-call filters built")
        if renewed:
            click.echo("transfer programs for images rebuilt")
        for sentence in prepared:
            click.echo(f"done: {sentence}")
    sys.exit(1 if built.problems or failed else 0)


def _prepare(built: build.Built) -> list[str]:
    """Make the images' trees that policies need; what cannot be made joins the problems."""
    prepared: list[str] = []
    try:
        prepared.extend(trees.prepare_all(Store(), build.policies(STANDARD)))
    except SessionError as error:
        built.problems.append(Problem(STANDARD.configuration, 0, 0, str(error)))
    return prepared


def _refresh_sshd(*, reload: bool, quiet: bool) -> bool:
    """Render the drop-in anew where it is in place; return whether that went well."""
    if os.geteuid() != 0:
        return True
    try:
        carry_out([enable.RefreshDropIn()], _teller(quiet=quiet))
        enrolment.offer_reload(wanted=reload, quiet=quiet)
    except SessionError as error:
        output.failure(error)
        return False
    return True


def _make_host_keys(*, quiet: bool) -> bool:
    """Make the host keys that policies need by now; return whether that went well."""
    if os.geteuid() != 0:
        return True
    try:
        carry_out([*host_key.missing(enable.policy_if_valid)], _teller(quiet=quiet))
    except SessionError as error:
        output.failure(error)
        return False
    return True


def _renew_limits_until_read(*, quiet: bool) -> bool:
    """Set the limits, and anew where a policy was edited meanwhile; return whether all hold."""
    good, at_rest = until_read(lambda: _renew_limits(quiet=quiet))
    if not at_rest:
        click.echo("ssh2containerctl: the policies' files change all the time: limits may be older", err=True)
    return good and at_rest


def _renew_limits(*, quiet: bool) -> bool:
    """Renew slices, quotas, networks and jobs as the policies are now; return whether all hold."""
    if os.geteuid() != 0:
        return True
    limits = slices.RenewLimits(enable.policy_of)
    quotas = home_quota.RenewQuotas(enable.policy_of, enable.specifier_values)
    pools = networks.RenewNetworks(enable.policy_of)
    scheduled = jobs.RenewJobs(enable.policy_of)
    try:
        carry_out((limits, quotas, pools, scheduled), _teller(quiet=quiet))
    except SessionError as error:
        output.failure(error)
        return False
    failed = [*limits.failed, *quotas.failed, *pools.failed, *scheduled.failed]
    for sentence in (*failed, *quotas.left):
        click.echo(f"ssh2containerctl: {printable(sentence)}", err=True)
    return not failed


def _teller(*, quiet: bool) -> Callable[[str, Change], None]:
    """Return what tells the changes that were made."""

    def tell(state: str, change: Change) -> None:
        if state == "done" and not quiet:
            click.echo(f"{state}: {change.describe()}")

    return tell
