"""``ssh2containerctl status``."""

from __future__ import annotations

import os
import sys

import click

from ssh2container import __version__
from ssh2container.admin.cli import output
from ssh2container.admin.enrol.account import enrolled_names
from ssh2container.admin.language import building, compiler, provenance
from ssh2container.errors import Refusal
from ssh2container.policy import store
from ssh2container.policy.store import STANDARD

_MOST_NAMED = 10


@click.command("status", short_help="Show which policies are in force.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, as_json: bool) -> None:
    """Show what is in force: policies, whom they admit, who is enrolled, whether logins find them compiled.

    Exit status: 0 all is well, 1 something is not compiled or has no place in group_order, or somebody has
    the login shell whom no policy admits.
    """
    settings = store.site(STANDARD)
    etc = STANDARD.configuration
    users = compiler.names_in(f"{etc}/users")
    groups = compiler.names_in(f"{etc}/groups")
    profiles = sorted({*compiler.names_in(f"{etc}/profiles"), *compiler.names_in(STANDARD.shipped)})
    stale = [name for name, usable in building.fresh(STANDARD).items() if not usable]
    everyones = {name: os.path.exists(f"{etc}/{name}.yaml") for name in ("defaults", "enforced")}
    enrolled = enrolled_names()
    homeless = [] if settings.admit == "everybody" else [name for name in enrolled if not _has_policy(name)]
    if as_json:
        output.print_json(
            {
                "version": __version__,
                "admit": settings.admit,
                "group_order": list(settings.group_order),
                "groups_without_order": list(settings.unlisted),
                "users": users,
                "groups": groups,
                "profiles": profiles,
                **everyones,
                "enrolled": enrolled,
                "enrolled_without_policy": homeless,
                "not_compiled": stale,
            }
        )
    else:
        listed = "users with a file of their own, or a group with one"
        rows = [
            ("version", __version__),
            ("admitted", listed if settings.admit == "listed" else "everybody"),
            ("enrolled", _named(enrolled)),
            ("enrolled, but refused: no policy", _named(homeless)),
            ("for everybody: defaults.yaml", "in force" if everyones["defaults"] else "none"),
            ("over all others: enforced.yaml", "in force" if everyones["enforced"] else "none"),
            ("users with a file", _named(users)),
            ("groups in their order", " < ".join(settings.group_order) or "none"),
            ("groups without order", _named(settings.unlisted)),
            ("profiles", ", ".join(profiles)),
            ("not compiled", _named(stale)),
        ]
        output.table(("WHAT", "STATE"), rows)
    sys.exit(1 if stale or settings.unlisted or homeless else 0)


def _has_policy(name: str) -> bool:
    """Tell whether a login of ``name`` would find a policy, whatever that says."""
    etc = STANDARD.configuration
    try:
        groups = provenance.groups_of(name)
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
