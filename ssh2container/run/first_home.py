"""A kept home below the user's own: made at the first login, by the user's own uid.

Root may not be able to write there (NFS with root_squash), and users of LDAP cannot be enumerated, so
``ssh2containerctl enable`` cannot make it. Whatever the user has put in the way is only his own:
the planner looks at the result as at any other source.
"""

from __future__ import annotations

import os

from ssh2container.errors import SessionError
from ssh2container.plan.host import read_skel, specifier_values
from ssh2container.plan.operations import carry_out
from ssh2container.plan.operations.filesystem import MakeTree
from ssh2container.policy import specifiers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.plan.account import Account
    from ssh2container.policy.policy import Home


def make(home: Home, account: Account, session: str) -> None:
    """Make the home and fill it from ``skel``, unless something is there already.

    It appears under its name when it is complete. Raises SessionError, with nothing half made left
    under that name.
    """
    place = specifiers.expand(home.source or "", specifier_values(account, session))
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
        raise SessionError(
            f"cannot make the home {place}",
            error.strerror or "",
            "make it as the user, or name another place in home.source",
            "home",
            error.errno or 0,
        ) from None


def _discard(staged: str) -> None:
    for directory, below, names in os.walk(staged, topdown=False):
        for name in (*names, *(name for name in below if os.path.islink(f"{directory}/{name}"))):
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)
