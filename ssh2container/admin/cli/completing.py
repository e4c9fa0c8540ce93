"""What the shell completes after a verb: users, groups, sessions, images, networks and more.

A completion says nothing on errors and takes no time worth mentioning: what it cannot find out as the
user who types, it leaves out.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import click
    from click.shell_completion import CompletionItem

    Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _completer(find: Callable[[], Iterable[tuple[str, str]]]) -> Completer:
    """Return what click asks; ``find``: (name, help) of everything that there is."""

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        given = {word for value in ctx.params.values() if isinstance(value, tuple) for word in value}
        try:
            return [
                CompletionItem(name, help=about or None)
                for name, about in sorted(set(find()))
                if name.startswith(incomplete) and name not in given
            ]
        except (OSError, SessionError):
            return []

    return complete


def _users() -> Iterable[tuple[str, str]]:
    from ssh2container.admin.account import enrolled_names
    from ssh2container.admin.policy.compile import compiler
    from ssh2container.policy.store import STANDARD

    yield from ((name, "") for name in enrolled_names())
    yield from ((name, "") for name in compiler.names_in(f"{STANDARD.configuration}/users"))


def _accounts() -> Iterable[tuple[str, str]]:
    """Everybody who could be enabled: people, as login.defs(5) has it."""
    import pwd

    from ssh2container.admin.account import FIRST_UID, LAST_UID

    for entry in pwd.getpwall():
        if FIRST_UID <= entry.pw_uid < LAST_UID:
            yield entry.pw_name, entry.pw_gecos.partition(",")[0]


def _groups() -> Iterable[tuple[str, str]]:
    """Name groups with a policy, those with members that the name service lists, and those of people."""
    import grp

    from ssh2container.admin.account import FIRST_UID
    from ssh2container.admin.policy.compile import compiler
    from ssh2container.policy.store import STANDARD

    yield from ((name, "") for name in compiler.names_in(f"{STANDARD.configuration}/groups"))
    yield from ((one.gr_name, "") for one in grp.getgrall() if one.gr_mem or one.gr_gid >= FIRST_UID)


def _sessions(*, containers: bool = False) -> Iterable[tuple[str, str]]:
    from ssh2container.admin.sessions.live import Listing

    if os.geteuid():
        return
    listing = Listing()
    try:
        for live in (*listing.sessions, *(listing.containers if containers else ())):
            fields = live.hint.fields
            yield live.id, f"{live.who.name} {fields.get('command') or fields.get('kind', '')}".strip()
    finally:
        listing.close()


def _images() -> Iterable[tuple[str, str]]:
    from ssh2container.admin.images.store.store import Store

    yield from Store().names().items()


def _profiles() -> Iterable[tuple[str, str]]:
    from ssh2container.admin.policy.compile import compiler
    from ssh2container.policy.store import STANDARD

    yield from ((name, "shipped") for name in compiler.names_in(STANDARD.shipped))
    yield from ((name, "") for name in compiler.names_in(f"{STANDARD.configuration}/profiles"))


def _own_profiles() -> Iterable[tuple[str, str]]:
    return (pair for pair in _profiles() if not pair[1])


def _networks() -> Iterable[tuple[str, str]]:
    from ssh2container.admin.networks import definitions

    return ((name, one.words()) for name, one in definitions.known().items())


def _own_networks() -> Iterable[tuple[str, str]]:
    from ssh2container.admin.networks import bridges

    return ((name, "") for name in bridges.ours())


def _filters() -> Iterable[tuple[str, str]]:
    """Profiles of system calls, by the names that policies use."""
    from ssh2container.policy.filters import PROFILES

    for directory in PROFILES:
        if os.path.isdir(directory):
            yield from ((name.removesuffix(".json"), "") for name in os.listdir(directory))


def _subjects() -> Iterable[tuple[str, str]]:
    """Whom the log may be asked about."""
    yield from _users()
    yield from _sessions()


def _recordings() -> Iterable[tuple[str, str]]:
    from ssh2container.admin.recordings.collector import DIRECTORY
    from ssh2container.admin.recordings.verifying import session_of

    for user in os.listdir(DIRECTORY):
        for name in os.listdir(f"{DIRECTORY}/{user}"):
            yield session_of(name), f"{user} {name.partition('-')[0]}"


def services(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the services of the Compose file that was named before."""
    from ssh2container.admin.convert import compose

    # While an option has no value yet, click has put no argument to its name.
    words = ctx.params.get("words") or ctx.args
    path = words[0] if words else ""
    return _completer(lambda: ((one.name, "") for one in compose.services(path, {})))(ctx, _param, incomplete)


users = _completer(_users)
accounts = _completer(_accounts)
groups = _completer(_groups)
sessions = _completer(_sessions)
sessions_and_containers = _completer(lambda: _sessions(containers=True))
profiles = _completer(_profiles)
own_profiles = _completer(_own_profiles)
images = _completer(_images)
recordings = _completer(_recordings)
networks = _completer(_networks)
own_networks = _completer(_own_networks)
filters = _completer(_filters)
subjects = _completer(_subjects)
