"""``ssh2containerctl status``."""

from __future__ import annotations

import sys

import click

from ssh2container import __version__
from ssh2container.admin.cli import output
from ssh2container.admin.language import building, compiler
from ssh2container.policy import store
from ssh2container.policy.store import STANDARD

_MOST_NAMED = 10


@click.command("status", short_help="Show which policies are in force.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, as_json: bool) -> None:
    """Show what is in force: who is admitted, which files there are, whether logins find them compiled.

    Exit status: 0 all is well, 1 something is not compiled or has no place in group_order.
    """
    settings = store.site(STANDARD)
    etc = STANDARD.configuration
    users = compiler.names_in(f"{etc}/users")
    groups = compiler.names_in(f"{etc}/groups")
    profiles = sorted({*compiler.names_in(f"{etc}/profiles"), *compiler.names_in(STANDARD.shipped)})
    stale = [name for name, usable in building.fresh(STANDARD).items() if not usable]
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
                "not_compiled": stale,
            }
        )
    else:
        listed = "users with a file of their own, or a group with one"
        rows = [
            ("version", __version__),
            ("admitted", listed if settings.admit == "listed" else "everybody"),
            ("users with a file", _named(users)),
            ("groups in their order", " < ".join(settings.group_order) or "none"),
            ("groups without order", _named(settings.unlisted)),
            ("profiles", ", ".join(profiles)),
            ("not compiled", _named(stale)),
        ]
        output.table(("WHAT", "STATE"), rows)
    sys.exit(1 if stale or settings.unlisted else 0)


def _named(names: list[str] | tuple[str, ...]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{len(names)}: " + ", ".join(names[:_MOST_NAMED]) + more
