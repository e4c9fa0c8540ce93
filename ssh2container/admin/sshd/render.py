"""The sshd_config drop-in as text: a pure function of who may do what."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING

from ssh2container.admin.sshd import GROUP, MARK, SENTINEL
from ssh2container.errors import SessionError
from ssh2container.plan.choice import VARIABLE
from ssh2container.plan.entrance import KEY_FILES
from ssh2container.plan.program import OWN_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_HEADER = """\
# {path}
# Written by "ssh2containerctl sshd-config"; change the policies and run it again rather than this file.
# sshd keeps the first value that it reads, so this file has to come before others that set the same.
# What sshd makes of it for one user:  sshd -T -C user=NAME,host=h,addr=127.0.0.1

# sshd does not allow this keyword inside Match: it holds for everybody. It closes ~/.ssh/environment and
# "environment=" in authorized_keys, which would set LD_PRELOAD before the login shell's first line.
PermitUserEnvironment no
"""

_AGENT = """
# The policy of {who} has allow_agent_forwarding. DisableForwarding below would override it, and the first
# value wins, hence this block. Every other kind of forwarding is closed by name below.
Match {criteria}
    DisableForwarding no
    AllowAgentForwarding yes
"""

_OWN_KEYS = """
# The policy of {who} has authorized_keys: home. What the user writes there can only restrict: a key's
# command= is what runs, in the container, and what this file closes stays closed.
Match {criteria}
    AuthorizedKeysFile {files}
"""

_WHY = {
    "groups": "Groups that have a policy; members who keep a shell of the host are named, and left alone.",
    "users": "Users who have a policy of their own and are in none of the groups above.",
    "everybody": "config.yaml says admit: everybody. Who keeps a shell of the host is named, and left alone.",
}

_FORCE = """\
    # sshd then starts the login shell for subsystems too, internal-sftp included, which would otherwise run
    # inside sshd and read any file of the host. The shell itself sees to a key's "command=". A site that
    # needs signals from clients leaves it out (--without-force-command) and has to use an external
    # "Subsystem sftp".
    ForceCommand {sentinel}
"""

_REST = """\
    # The container takes the place of a chroot, in which the login shell does not exist.
    ChrootDirectory none
    # Replaces the global list: a broad one lets the client set LD_PRELOAD for the login shell.
    AcceptEnv LANG LC_* GIT_PROTOCOL {variable}
    # Tells the login shell that this block holds, and where sshd looks for keys.
    SetEnv "{mark}={key_files}"{own_keys}
    ExposeAuthInfo yes
    # DisableForwarding alone forgot X11 and agents until OpenSSH 10.0 and tunnels for longer.
    DisableForwarding yes
    AllowTcpForwarding no
    AllowStreamLocalForwarding no
    AllowAgentForwarding no
    X11Forwarding no
    PermitTunnel no
    GatewayPorts no
    # ~/.ssh/rc is run before the session, with whatever the user wrote into it.
    PermitUserRC no
    MaxSessions 10
"""

_SAFE_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.@+")
_SAFE_PATTERN = _SAFE_NAME | frozenset("/%:=~,")


@dataclass(frozen=True, slots=True)
class Covered:
    """For whom the drop-in has to hold: everybody whom a policy admits.

    groups: those with a policy, beside our own. users: those with a policy who are in no such group.
    everybody: whether all are admitted. spared: who keeps a shell of the host all the same.
    """

    groups: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    everybody: bool = False
    spared: tuple[str, ...] = ()


def drop_in(
    *,
    path: str,
    agent_users: Iterable[str] = (),
    agents_outside: Iterable[str] = (),
    own_keys: Mapping[tuple[str, bool], Sequence[str]] = MappingProxyType({}),
    force_command: bool = True,
    group: str = GROUP,
    covered: Covered = Covered(),
    key_files: Sequence[str] = KEY_FILES,
) -> str:
    """Return the drop-in's text.

    path: where it is going to lie, for its first line.
    agent_users: users in our group whose policy allows agent forwarding; agents_outside: those who are not.
    own_keys: (file that sshd is to look in, too, whether of our group) -> users who write it themselves.
    force_command: have sshd start every session through the sentinel.
    key_files: what AuthorizedKeysFile says on this host.
    Raises :class:`SessionError` for the name of a user who needs a block and whom a Match line cannot hold:
    in a pattern list ``*``, ``?``, ``!`` and ``,`` have a meaning of their own (ssh_config(5), PATTERNS).
    Also for ``own_keys`` without ``force_command``: sshd itself would run what a user's own key says.
    """
    text = _HEADER.format(path=path)
    for names, criteria in ((agent_users, f"Group {group} User "), (agents_outside, "User ")):
        users = sorted(set(names))
        for name in users:
            _require_safe(name)
        if users:
            text += _AGENT.format(criteria=criteria + ",".join(users), who=", ".join(users))
    files = " ".join(name for name in key_files if _SAFE_PATTERN.issuperset(name))
    text += _own_key_blocks(own_keys, files, group, force_command=force_command)
    body = _FORCE.format(sentinel=SENTINEL) if force_command else ""
    owners = ",".join(sorted({name for names in own_keys.values() for name in names}))
    told = f' "{OWN_KEYS.decode()}={owners}"' if owners else ""
    body += _REST.format(mark=MARK, key_files=files, own_keys=told, variable=VARIABLE.decode())
    text += f"\nMatch Group {group}\n{body}"
    spared = sorted({"root", *(name for name in covered.spared if name and _SAFE_NAME.issuperset(name))})
    but_not = ",".join(["*", *(f"!{name}" for name in spared)])
    if covered.groups:
        text += f"\n# {_WHY['groups']}\nMatch Group {_patterns(covered.groups)} User {but_not}\n{body}"
    if covered.users:
        text += f"\n# {_WHY['users']}\nMatch User {_patterns(covered.users)}\n{body}"
    if covered.everybody:
        text += f"\n# {_WHY['everybody']}\nMatch User {but_not}\n{body}"
    return seal(text)


def _own_key_blocks(
    own_keys: Mapping[tuple[str, bool], Sequence[str]], files: str, group: str, *, force_command: bool
) -> str:
    text = ""
    for (pattern, member), users in sorted(own_keys.items()):
        for name in users:
            _require_safe(name, "authorized_keys: home")
        names = ",".join(sorted(users))
        if not force_command:
            raise SessionError(
                "cannot leave out ForceCommand",
                f"the policy of {names} has authorized_keys: home, and sshd itself would run internal-sftp "
                'for a key with command="internal-sftp"',
                "keep ForceCommand (--with-force-command), or take authorized_keys out of the policy",
                step="sshd-config",
            )
        if not _SAFE_PATTERN.issuperset(pattern):
            raise SessionError(
                f"cannot name {pattern!r} in sshd_config",
                "AuthorizedKeysFile takes letters, digits and _ - . @ + / % : = ~ , only",
                f"keep the home of {names} elsewhere, or take authorized_keys out of the policy",
                step="sshd-config",
            )
        criteria = f"Group {group} User {names}" if member else f"User {names}"
        both = " ".join(dict.fromkeys((*files.split(), pattern)))
        text += _OWN_KEYS.format(who=names, criteria=criteria, files=both)
    return text


def _require_safe(name: str, key: str = "allow_agent_forwarding") -> None:
    if not name or not _SAFE_NAME.issuperset(name):
        raise SessionError(
            f"cannot name the user {name!r} in sshd_config",
            "a Match line takes letters, digits and _ - . @ + only",
            f"remove {key} from that user's policy",
            step="sshd-config",
        )


def _patterns(names: Iterable[str]) -> str:
    """Return a pattern list; a character that it cannot hold stands for any: it closes more, not less."""
    found = ("".join(c if c in _SAFE_NAME else "?" for c in name) for name in names if name)
    return ",".join(sorted(set(found)))


_SEAL = "# digest: "


def seal(text: str) -> str:
    """Append a line by which :func:`is_sealed` tells whether somebody has changed the text."""
    return f"{text}{_SEAL}{_digest(text)}\n"


def is_sealed(text: str) -> bool:
    """Return whether ``text`` is as :func:`seal` left it."""
    body, mark, digest = text.rpartition(_SEAL)
    return bool(mark) and digest.strip() == _digest(body)


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()
