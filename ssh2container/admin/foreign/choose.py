"""Which project's configuration is read for an account."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.foreign import (
    cagefs,
    chroot_sftp,
    firejail,
    jailbash,
    jailkit,
    lshell,
    podmansh,
    rssh,
)
from ssh2container.admin.policy.yaml.problems import PolicyError
from ssh2container.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssh2container.admin.foreign.told import Subject, Told

_READERS: dict[str, tuple[tuple[str, ...], Callable[[Subject], Told]]] = {
    "cagefs": (cagefs.SHELLS, cagefs.read),
    "chroot-sftp": (chroot_sftp.SHELLS, chroot_sftp.read),
    "firejail": (firejail.SHELLS, firejail.read),
    "jailbash": (jailbash.SHELLS, jailbash.read),
    "jailkit": (jailkit.SHELLS, jailkit.read),
    "lshell": (lshell.SHELLS, lshell.read),
    "podmansh": (podmansh.SHELLS, podmansh.read),
    "rssh": (rssh.SHELLS, rssh.read),
}
"""Name -> (the login shells that it is, none where it is no shell; what reads it)."""
NAMES = tuple(_READERS)
OF_SSHD = "chroot-sftp"
"""The one that sshd itself holds to, whatever the login shell is."""


def is_shell(name: str) -> bool:
    """Tell whether a project is a login shell, so that the account's own gives it nothing else."""
    return name in _READERS and bool(_READERS[name][0])


def told(name: str, subject: Subject) -> Told:
    """Return what the configuration of ``name`` says of an account.

    Raises Refusal where it says nothing of it, or cannot be followed: with every place at which it cannot.
    """
    shells, read = _READERS[name]
    shell = subject.account.shell
    if shells and os.path.basename(shell) not in shells:
        raise Refusal(
            f"has the login shell {shell}, which is not {name}'s", f"--from {name} is for those who have"
        )
    try:
        found = read(subject)
        found.draft.settle()
    except PolicyError as error:
        places = "; ".join(str(problem) for problem in error.problems)
        raise Refusal(f"has a configuration of {name} that cannot be followed", places) from None
    return found
