"""``ssh2containerctl status``."""

from __future__ import annotations

import os
import pwd
import sys
from typing import TYPE_CHECKING

import click

from ssh2container import __version__
from ssh2container.admin.account import enrolled_names, find, with_the_shell
from ssh2container.admin.accounts import enable, slice_state, slices
from ssh2container.admin.cli import completing, output
from ssh2container.admin.policy import origins
from ssh2container.admin.policy.compile import build, compiler
from ssh2container.admin.quotas import homes, quota
from ssh2container.errors import Refusal, SessionError, printable
from ssh2container.policy import key_rules, limits, specifiers, store
from ssh2container.policy.store import STANDARD

if TYPE_CHECKING:
    from typing import Any

    from ssh2container.admin.account import Account
    from ssh2container.policy.policy import Policy

SECTION = "Users"

_MOST_NAMED = 10


@click.command("status", short_help="Show which policies are in force, and for whom.")
@click.argument("chosen", nargs=-1, metavar="[USER]...", shell_complete=completing.users)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(chosen: tuple[str, ...], *, as_json: bool) -> None:
    """Show what is in force: policies, whom they admit, who is enabled, whether logins find them compiled.

    It also shows to what systemd limits everything of a user. With USER, it shows whether they are enabled,
    what their kept homes hold and may hold, and how many keys have a policy of their own, as explain lists.

    Exit status: 0 all is well, 1 something is not compiled or is missing from group_order, or somebody has
    the login shell whom no policy admits, 125 there is no such user.
    """
    if chosen:
        _show_users(chosen, as_json=as_json)
        return
    told = _of_everybody()
    if as_json:
        output.print_report(told)
    else:
        output.table(("WHAT", "STATE"), _rows(told))
    amiss = ("not_compiled", "groups_without_order", "enrolled_without_policy")
    sys.exit(1 if any(told[key] for key in amiss) else 0)


def _of_everybody() -> dict[str, Any]:
    """Return what is told where no user is asked for."""
    settings = store.site(STANDARD)
    etc = STANDARD.configuration
    enrolled = with_the_shell()
    site = limits.of(compiler.part("config", STANDARD).layers[0][2], "site_limits.")
    return {
        "version": __version__,
        "admit": settings.admit,
        "group_order": list(settings.group_order),
        "groups_without_order": list(settings.unlisted),
        "users": compiler.names_in(f"{etc}/users"),
        "groups": compiler.names_in(f"{etc}/groups"),
        "profiles": sorted({*compiler.names_in(f"{etc}/profiles"), *compiler.names_in(STANDARD.shipped)}),
        **{name: os.path.exists(f"{etc}/{name}.yaml") for name in ("defaults", "enforced")},
        "enrolled": enrolled,
        "closed_members": [name for name in enrolled_names() if name not in enrolled],
        "enrolled_without_policy": (
            [] if settings.admit == "everybody" else [name for name in enrolled if not _has_policy(name)]
        ),
        "not_compiled": [name for name, usable in build.fresh(STANDARD).items() if not usable],
        "limited": _limited(),
        "site_limits": "" if site is None else site.words(),
    }


def _rows(told: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the same as lines of a table."""
    admitted = {"listed": "users with a file of their own, or a group with one", "everybody": "everybody"}
    limited: dict[str, str] = told["limited"]
    return [
        ("version", told["version"]),
        ("admitted", admitted[told["admit"]]),
        ("enrolled", _named(told["enrolled"])),
        ("in the group, with another shell", _named(told["closed_members"])),
        ("enrolled, but refused: no policy", _named(told["enrolled_without_policy"])),
        ("for everybody: defaults.yaml", "in force" if told["defaults"] else "none"),
        ("over all others: enforced.yaml", "in force" if told["enforced"] else "none"),
        ("users with a file", _named(told["users"])),
        ("groups in their order", " < ".join(told["group_order"]) or "none"),
        ("groups without order", _named(told["groups_without_order"])),
        ("profiles", ", ".join(told["profiles"])),
        ("not compiled", _named(told["not_compiled"])),
        *((f"everything of {name} together", words) for name, words in [*limited.items()][:_MOST_NAMED]),
        ("users limited so", str(len(limited) or "none")),
        ("all contained users together", told["site_limits"] or "not limited"),
    ]


def _limited() -> dict[str, str]:
    """Return whose slice has a drop-in of ours -> what is in force there, as systemd tells."""
    uids = slices.uids()
    shown = slice_state.show([slices.unit_of(uid) for uid in uids])
    found = {}
    for uid in uids:
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = f"uid {uid}"
        properties = shown.get(slices.unit_of(uid))
        found[name] = "systemd does not tell" if properties is None else slice_state.in_force(properties)
    return found


def _show_users(names: tuple[str, ...], *, as_json: bool) -> None:
    accounts = [find(name) for name in names]
    told = [_of_user(account) for account in accounts]
    if as_json:
        output.print_report({"users": told})
        return
    heads = ("USER", "STATE", "HOME", "USED", "LIMIT", "FILES", "LIMIT", "KEYS")
    output.table(
        heads,
        [
            (
                one["user"],
                "enabled" if one["enabled"] else "not enabled",
                one["home"] or one["problem"] or "in memory",
                *(_amount(one[key], size=True) for key in ("used_bytes", "limit_bytes")),
                *(_amount(one[key], size=False) for key in ("inodes_used", "limit_inodes")),
                str(len(one["keys"]) or "-"),
            )
            for one in told
        ],
    )
    for one in told:
        if one["home"] and one["problem"]:
            click.echo(f"{one['user']}: {printable(one['problem'])}", err=True)


def _of_user(account: Account) -> dict[str, Any]:
    """Return what is told of a user; None where nobody counts, or there is no limit."""
    home, use, problem, keys = None, None, "", []
    try:
        policy = enable.policy_of(account)
        keys = [] if policy is None else [rule.name for rule in key_rules.of(policy.values)]
        if policy is None:
            problem = "no policy"
        elif policy.home is not None and policy.home.source and "%i" not in policy.home.source:
            home = os.path.normpath(specifiers.expand(policy.home.source, enable.specifier_values(account)))
        record = homes.recorded(account.uid)
        if record is not None:
            home = home or record.path
            use = homes.use(record)
        problem = problem or _missing(account, policy, record, use)
    except (SessionError, OSError) as error:
        problem = str(error)
    return {
        "user": account.name,
        "enabled": account.enrolled,
        "home": home,
        "used_bytes": use and use.used,
        "limit_bytes": use and use.size,
        "inodes_used": use and use.inodes_used,
        "limit_inodes": use and use.inodes,
        "keys": keys,
        "problem": problem or None,
    }


def _missing(
    account: Account, policy: Policy | None, record: homes.Record | None, use: quota.Use | None
) -> str:
    """Say which quota the policy names and the home has not, "" where it has it, or nobody is contained.

    record: what was set for the user, or None; use: what of it is in force, or None. Raises SessionError.
    """
    wanted = homes.wanted(policy, enable.specifier_values(account)) if account.enrolled else None
    if wanted is None:
        return "" if record is None or use else "the quota is gone: ssh2containerctl doctor says more"
    path, named = wanted
    if use is not None and record is not None and (record.path, use.quota) == (path, named):
        return ""
    held = "none" if use is None or use.quota == quota.Quota(None, None) else homes.words(use.quota)
    return (
        f"the policy names a quota of {homes.words(named)}, and the home has {held}: ssh2containerctl doctor"
    )


def _amount(value: int | None, *, size: bool) -> str:
    return "-" if value is None else quota.shown(value) if size else str(value)


def _has_policy(name: str) -> bool:
    """Tell whether a login of ``name`` would find a policy, whatever that says."""
    etc = STANDARD.configuration
    try:
        groups = origins.groups_of(name)
    except Refusal:
        return False  # in the group, but no user any more
    return os.path.exists(f"{etc}/users/{name}.yaml") or not {*groups}.isdisjoint(
        compiler.names_in(f"{etc}/groups")
    )


def _named(names: list[str] | tuple[str, ...]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{len(names)}: " + ", ".join(names[:_MOST_NAMED]) + more
