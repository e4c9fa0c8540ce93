"""Whether the limits over everything of a user are what the policies say, and what has changed them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ssh2container.admin import cgroups
from ssh2container.admin.accounts import slice_state, slices
from ssh2container.admin.accounts.enable import policy_if_valid
from ssh2container.admin.change import read_or_none
from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import NOTE, OK, PROBLEM, WARNING, Finding
from ssh2container.admin.login import pam
from ssh2container.admin.sshd.effective import binary, effective_globally
from ssh2container.admin.sshd.render import is_sealed
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ssh2container.admin.account import Account
    from ssh2container.policy.limits import Limits

    Wanted = tuple[str, str, Limits, bool]
    """The unit, whose it is, the limits, whether they are required."""


@check.of_users("limits", place=40)
def of_users(accounts: Sequence[Account], _advance: Callable[[str], None]) -> Iterator[Finding]:
    """Yield whether user_limits of ``accounts``, and site_limits, are in force."""
    wanted = [*_of_site(), *_of_accounts(accounts)]
    shown = slice_state.show([unit for unit, *_ in wanted])
    good = True
    for unit, whose, limits, required in wanted:
        for finding in _of_unit(unit, whose, limits, shown.get(unit), required=required):
            good = False
            yield finding
    if any(whose for _, whose, *_ in wanted):
        for finding in _of_services():
            good = False
            yield finding
    yield from _of_weights(accounts)
    if wanted and good:
        yield Finding(OK, "limits.users", "", "user_limits and site_limits are in force")


def _of_services() -> Iterator[Finding]:
    """Yield which services run what users ask for outside of their slices, where no limit of a user holds."""
    for service in SERVICES:
        if pam.puts_into_slice(service) is False:
            yield Finding(
                WARNING,
                "limits.services",
                service,
                f"what {service} starts for users stays out of their slices: user_limits do not hold there",
                f"echo 'session optional {pam.MODULE}' >>/etc/pam.d/{service}",
            )
    if binary() is not None and _without_pam():
        yield Finding(
            WARNING,
            "limits.services",
            "sshd",
            "UsePAM is no: logins stay out of users' slices, so user_limits do not hold for them",
            "write UsePAM yes into /etc/ssh/sshd_config",
        )


def _of_weights(accounts: Sequence[Account]) -> Iterator[Finding]:
    """Yield whose share of busy devices counts nowhere, as no device looks at it."""
    if cgroups.unable(["IOWeight"]) or cgroups.weighs_devices():
        return
    for account in accounts:
        policy = policy_if_valid(account) if account.enrolled else None
        both = () if policy is None else (policy.limits, policy.user_limits)
        if any(found and found.io and found.io.weight is not None for found in both):
            yield Finding(
                WARNING,
                "limits.weight",
                account.name,
                "no block device here shares by weight: blkio_config.weight changes nothing",
                "echo bfq >/sys/block/DISK/queue/scheduler; systemctl daemon-reload",
            )


SERVICES = ("sshd", "cron", "crond", "atd")
"""The names in pam.d(5) of what starts programs for users without a session of theirs around it."""


def _without_pam() -> bool:
    try:
        return effective_globally().get("usepam") == "no"
    except SessionError:
        return False  # said of sshd itself


def _of_site() -> Iterator[Wanted]:
    try:
        found = slices.of_site()
    except SessionError:
        return  # said of config.yaml itself
    if found is not None:
        yield slices.SITE_UNIT, "", found, False


def _of_accounts(accounts: Sequence[Account]) -> Iterator[Wanted]:
    for account in accounts:
        policy = policy_if_valid(account) if account.enrolled else None
        if policy is not None and policy.user_limits is not None:
            unit = slices.unit_of(account.uid)
            yield unit, account.name, policy.user_limits, policy.limits_required


def _of_unit(
    unit: str, whose: str, limits: Limits, properties: slice_state.Properties | None, *, required: bool
) -> Iterator[Finding]:
    why = slices.unable(limits)
    key = "user_limits" if whose else "site_limits"
    if why:
        found = Finding(
            PROBLEM,
            "limits.users",
            whose,
            f"{key} hold nobody: {why}",
            "run systemd with cgroups of version 2 here, or leave the key out of the policy",
        )
        yield found if required else replace(found, level=WARNING)
        return
    path = slices.path_of(unit)
    text = read_or_none(path)
    if text is not None and not is_sealed(text):
        yield Finding(
            NOTE,
            "limits.changed",
            whose,
            f"{path} was changed by hand, and is left as it is",
            f"to have it written from the policies again: rm {path}; ssh2containerctl compile",
        )
    if properties is None:
        yield Finding(
            WARNING, "limits.users", whose, f"systemd does not tell what {unit} has", "systemctl status"
        )
        return
    differing = list(slice_state.differences(limits, properties))
    if not differing:
        return
    others = [name for name in slice_state.drop_ins(properties) if name != path]
    by = f" (other drop-ins: {', '.join(others)})" if others and text is not None else ""
    yield Finding(
        WARNING,
        "limits.users",
        whose,
        f"{unit} has other limits than {key}: {'; '.join(differing)}{by}",
        "ssh2containerctl compile"
        if text is None
        else f"systemctl cat {unit} shows what overrides the policy",
    )
