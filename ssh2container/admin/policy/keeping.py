"""Whether what is uploaded outlives the session: a put that succeeds and is gone at logout is a loss.

A shell greets people with what is kept and what is not; a client that only transfers shows no greeting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssh2container.policy.policy import Command, Policy

_RECEIVERS = frozenset(
    ("borg", "cat", "dd", "git-receive-pack", "rrsync", "rsync", "scp", "tar", "tee", "unison")
)
"""Programs that clients start to have files written."""
_TO_HOME = frozenset(("rrsync", "rsync", "scp", "tar", "unison"))
"""Those of them to which people give names relative to the home."""
_NOT_WITHOUT = frozenset(("open", "write"))
"""The requests of sftp without which no file is written."""


def loss(policy: Policy) -> tuple[str, str] | None:
    """Return (what is lost, what to do) for a policy without a shell that loses uploads."""
    access = policy.access
    if access.interactive is not False or not access.login:
        return None
    by_sftp = (
        access.sftp is not None and not access.sftp.read_only and _NOT_WITHOUT.isdisjoint(access.sftp.deny)
    )
    named = () if isinstance(access.commands, str) else tuple(map(_receiver, access.commands))
    programs = sorted({name for name in named if name})
    ways = [*(["sftp"] if by_sftp else []), *(["any command"] if access.commands == "any" else programs)]
    if not ways or _keeps_home(policy):
        return None
    kept = [volume.target for volume in policy.volumes if not volume.read_only]
    if not kept:
        what = (
            f"what arrives by {', '.join(ways)} goes into memory and is discarded at logout: nothing is kept"
        )
        hint = "volumes: [/srv/git:/git:rw]" if programs == ["git-receive-pack"] and not by_sftp else HOME
        return what, f"give it a place that is kept, for example {hint}"
    start = None if access.sftp is None else access.sftp.start_directory
    inside = start is not None and any((start + "/").startswith(target.rstrip("/") + "/") for target in kept)
    ways = [way for way in ways if way in _TO_HOME or (way == "sftp" and not inside)]
    if not ways:
        return None
    what = f"what arrives by {', '.join(ways)} without a path goes into memory and is discarded at logout"
    where = f"sftp: {{start_directory: {kept[0]}}}, " if "sftp" in ways else ""
    return what, f"{where}or {HOME}: the volumes alone are kept ({', '.join(kept)})"


HOME = "home: {source: /srv/homes/%u}"
"""The place that is made where nobody names another."""


def _receiver(command: Command) -> str:
    """Return the name of a listed command by which files are written, "" for any other."""
    name = command.words[0].rpartition("/")[2]
    return name if name in _RECEIVERS and "--sender" not in command.words else ""


def _keeps_home(policy: Policy) -> bool:
    return policy.home is not None and not policy.home.read_only
