"""A user as the host knows him, as far as enrolling needs it."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from ssh2container.admin.enrol.change import read_or_none
from ssh2container.admin.sshd import GROUP
from ssh2container.errors import SessionError

SHELL = "/usr/bin/ssh2container"
"""What stands in passwd: the one path that never changes with a version."""

POWERFUL_GROUPS = {
    "docker": "starts containers as root",
    "podman": "reaches a container service of root's",
    "lxd": "starts containers as root",
    "incus": "starts containers as root",
    "incus-admin": "starts containers as root",
    "libvirt": "starts virtual machines as root",
    "sudo": "may become root",
    "wheel": "may become root",
    "admin": "may become root",
    "adm": "reads the logs",
    "systemd-journal": "reads the logs",
    "disk": "reads and writes every block device",
    "shadow": "reads the password hashes",
    "kmem": "reads the memory",
    "root": "root's group owns many files",
}
"""Groups whose membership is worth more than the container: supplementary groups that the container's
user namespace does not map still grant access to files of the host (docker.sock, logs, devices)."""


@dataclass(frozen=True, slots=True)
class Account:
    """One user: his passwd entry and his groups."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str
    groups: tuple[str, ...]
    local: bool

    @property
    def powerful(self) -> tuple[str, ...]:
        """His groups that are worth more than the container."""
        return tuple(name for name in self.groups if name in POWERFUL_GROUPS)

    @property
    def enrolled(self) -> bool:
        """Whether the login shell is ours."""
        return self.shell == SHELL


def group_name(gid: int) -> str:
    """Return a group's name, its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def find(name: str) -> Account:
    """Look a user up by name, in NSS.

    Raises :class:`SessionError` when there is no such user.
    """
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise SessionError(
            f"no user {name!r}",
            "neither /etc/passwd nor another source of names knows him",
            "make the user first, for example: useradd --create-home NAME",
            "account",
        ) from None
    groups = tuple(group_name(gid) for gid in os.getgrouplist(name, entry.pw_gid))
    lines = (read_or_none("/etc/passwd") or "").splitlines()
    local = any(line.split(":", 1)[0] == name for line in lines)
    return Account(name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell, groups, local)


def enrolled_names() -> list[str]:
    """Return the users whose login shell is ours or who are in our group, as far as NSS lists them."""
    names = {entry.pw_name for entry in pwd.getpwall() if entry.pw_shell == SHELL}
    try:
        group = grp.getgrnam(GROUP)
    except KeyError:
        return sorted(names)
    names.update(group.gr_mem)
    names.update(entry.pw_name for entry in pwd.getpwall() if entry.pw_gid == group.gr_gid)
    return sorted(names)
