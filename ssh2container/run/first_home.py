"""A kept home below the user's own: made at the first login, by the user's own uid.

Root may not be able to write there (NFS with root_squash), and users of LDAP cannot be enumerated, so
``ssh2containerctl enable`` cannot make it. Whatever the user has put in the way is only their own:
the planner looks at the result as at any other source.
"""

from __future__ import annotations

import os

from ssh2container.errors import SessionError
from ssh2container.plan.host import read_skel
from ssh2container.plan.operations import carry_out
from ssh2container.plan.operations.filesystem import MakeTree
from ssh2container.plan.sources import that_answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.plan.account import Account
    from ssh2container.policy.policy import Home


def make(home: Home, account: Account, session: str) -> None:
    """Make the home and fill it from ``skel``, unless something is there already.

    It appears under its name when it is complete. Raises SessionError, with nothing half made left
    under that name.
    """
    that_answer((account.home,))
    place = home.source or ""
    if os.path.lexists(place):
        return
    staged = f"{place}.{session}"
    try:
        os.makedirs(staged, 0o700)
        entries = tuple(
            (f"{staged}/{name}", mode, content)
            for name, mode, content in (read_skel(home.skel) if home.skel else ())
        )
        carry_out(MakeTree("the home", entries))
        os.rename(staged, place)
    except OSError as error:
        _discard(staged)
        if os.path.isdir(place):
            return  # another login was first
        raise failure(place, error) from None


def failure(place: str, error: OSError) -> SessionError:
    """Return what a login says whose home cannot be made at ``place``."""
    return SessionError(
        f"cannot make the home {place}",
        error.strerror or "",
        "create it as the user, or name another directory in home.source",
        "home",
        error.errno or 0,
    )


def _discard(staged: str) -> None:
    for directory, below, names in os.walk(staged, topdown=False):
        for name in (*names, *(name for name in below if os.path.islink(f"{directory}/{name}"))):
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)
