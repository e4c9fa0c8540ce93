"""What can be said of a policy's devices before anyone logs in: which are missing, and which stay shut."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from typing import TYPE_CHECKING

from ssh2container.errors import SessionError
from ssh2container.plan import cdi, device_nodes
from ssh2container.policy import devices, rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ssh2container.admin.policy.lint import Lint
    from ssh2container.plan.device_nodes import Node
    from ssh2container.policy.policy import Policy


def of_user(policy: Policy, name: str, values: Mapping[str, str], *, asked: bool) -> Iterator[Lint]:
    """Yield what is wrong with the devices that sessions of the user ``name`` get.

    values: what specifiers stand for. asked: the user's logins are looked at too, and tell what refuses them.
    """
    for device in devices.of(policy.values):
        if "%i" in device.source:
            continue
        try:
            for node in _nodes(policy, device, values):
                yield from _shut(policy, name, node)
        except SessionError as error:
            if not asked:
                yield device.key, f"{error}: logins are refused", ""


def _nodes(policy: Policy, device: devices.Device, values: Mapping[str, str]) -> Iterator[Node]:
    if not device.named:
        yield from device_nodes.named(device, values)
        return
    for found in cdi.explained((device.source,)).values():
        yield from cdi.nodes(policy, device, found)


def _shut(policy: Policy, name: str, node: Node) -> Iterator[Lint]:
    """Yield that a session cannot open ``node``, by its mode (inode(7)); an access control list says more."""
    try:
        status = os.stat(node.path)
        if "system.posix_acl_access" in os.listxattr(node.path):
            return
    except OSError:
        return  # gone since
    account = pwd.getpwnam(name)
    uid, gids = account.pw_uid, os.getgrouplist(name, account.pw_gid)
    if policy.ranged:
        # Root of a range and the image's users are other ids outside, and setgroups(2) left no group.
        uid, gids = (uid, [account.pw_gid]) if policy.user == "self" else (-1, [])
    place = 6 if status.st_uid == uid else 3 if status.st_gid in gids else 0
    wanted = 6 if node.written else 4
    if status.st_mode >> place & wanted == wanted:
        return
    group = _group(status.st_gid)
    shown = f"{node.path} (mode {stat.S_IMODE(status.st_mode):04o}, group {group})"
    if policy.ranged:
        found = f"a session in a range of ids has no supplementary group, and cannot open {shown}"
        yield node.key, found, "userns_mode: single, or a udev rule that gives the node another mode"
    elif place != 0 or status.st_mode >> 3 & wanted != wanted or group in rules.POWERFUL_GROUPS:
        yield node.key, f"sessions of {name} cannot open {shown}", "a udev rule with another GROUP or MODE"
    else:
        found = f"sessions of {name} cannot open {shown}: {name} is not in that group on the host"
        yield node.key, found, f"gpasswd --add {name} {group}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
