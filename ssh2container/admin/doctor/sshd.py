"""Ways around the login shell that sshd's effective configuration leaves open (pure)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ssh2container.admin.doctor.finding import NOTE, OK, PROBLEM, WARNING, Finding
from ssh2container.admin.sshd import SENTINEL
from ssh2container.plan.choice import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.sshd.effective import Effective

_FORWARDING = (
    ("allowtcpforwarding", "AllowTcpForwarding", "-L, -R, -D and -W reach the host's network as the user"),
    (
        "allowstreamlocalforwarding",
        "AllowStreamLocalForwarding",
        "-L and -R with socket paths connect to unix sockets of the host as the user (D-Bus, docker.sock)",
    ),
    ("x11forwarding", "X11Forwarding", "sshd runs xauth on the host as the user"),
    ("permittunnel", "PermitTunnel", "-w joins a tun device of the host"),
    ("gatewayports", "GatewayPorts", "forwarded ports listen on all addresses"),
)
_NARROW = ("LANG", "LANGUAGE", "LC_", "GIT_PROTOCOL", "TERM", "COLORTERM", "TZ", "NO_COLOR")
_CHOOSES = VARIABLE.decode()
"""Names (or their beginnings) that do nothing to a program before its first line."""
_MANY_SESSIONS = 10


def judge(
    sshd: Effective, *, agent_allowed: bool = False, images_to_choose: bool = False
) -> Iterator[Finding]:
    """Yield what ``sshd`` leaves open for its user.

    agent_allowed: whether the user's policy has allow_agent_forwarding. images_to_choose: whether it has
    several images.
    """
    user = sshd.user
    drop_in = "put the drop-in in place (ssh2containerctl sshd-config --write) and keep it before other files"
    yield from _entry(sshd, drop_in)
    for keyword, name, why in _FORWARDING:
        value = sshd.get(keyword, "no")
        if value == "no":
            yield Finding(OK, f"sshd.{keyword}", user, f"{name} is no")
        else:
            yield Finding(
                PROBLEM, f"sshd.{keyword}", user, f"{name} is {value}: {why}", drop_in, {"value": value}
            )
    yield from _agent(sshd, agent_allowed, drop_in)
    yield from _before_the_shell(sshd, drop_in)
    if images_to_choose:
        yield from _choice(sshd)
    yield from _keys(sshd)
    sessions = sshd.get("maxsessions", "10")
    if sessions.isdigit() and int(sessions) > _MANY_SESSIONS:
        yield Finding(
            NOTE, "sshd.maxsessions", user, f"MaxSessions is {sessions}: that many sessions in one connection"
        )


def _entry(sshd: Effective, drop_in: str) -> Iterator[Finding]:
    """Yield whether every request, subsystems too, starts the login shell."""
    user, forced, sftp = sshd.user, sshd.get("forcecommand", "none"), sshd.subsystem("sftp")
    check = "sshd.internal-sftp"
    if forced == SENTINEL:
        yield Finding(OK, check, user, "every request, subsystems too, starts the login shell (ForceCommand)")
    elif forced.split(" ")[0] == "internal-sftp":
        yield Finding(
            PROBLEM,
            check,
            user,
            "ForceCommand internal-sftp runs inside sshd and never starts the login shell",
            drop_in,
        )
    elif sftp.split(" ")[0] == "internal-sftp":
        yield Finding(
            PROBLEM,
            check,
            user,
            "Subsystem sftp internal-sftp runs inside sshd: the user can read every host "
            "file that the uid may read",
            f"set ForceCommand {SENTINEL} for the group, or an external sftp-server",
        )
    else:
        yield Finding(OK, check, user, f"sftp is {'the external ' + sftp if sftp else 'not offered'}")
    if forced not in ("none", SENTINEL) and forced.split(" ")[0] != "internal-sftp":
        yield Finding(NOTE, "sshd.forcecommand", user, f"ForceCommand is {forced}: only that is run, inside")
    chroot = sshd.get("chrootdirectory", "none")
    if chroot != "none":
        yield Finding(
            PROBLEM,
            "sshd.chrootdirectory",
            user,
            f"ChrootDirectory {chroot}: the login shell does not exist in it",
            "remove ChrootDirectory for this user",
        )


def _agent(sshd: Effective, allowed: bool, drop_in: str) -> Iterator[Finding]:  # noqa: FBT001
    """Yield whether agent forwarding is what the policy says."""
    check, user = "sshd.allowagentforwarding", sshd.user
    opened = sshd.get("allowagentforwarding") == "yes" and sshd.get("disableforwarding", "no") == "no"
    if opened and not allowed:
        yield Finding(
            PROBLEM, check, user, "AllowAgentForwarding is yes and the policy does not allow it", drop_in
        )
    elif allowed and not opened:
        yield Finding(
            WARNING,
            check,
            user,
            "the policy allows agent forwarding, sshd does not",
            "run: ssh2containerctl sshd-config --write",
        )
    else:
        yield Finding(
            OK, check, user, f"agent forwarding is {'allowed' if opened else 'off'}, as the policy says"
        )


def _choice(sshd: Effective) -> Iterator[Finding]:
    """Yield whether sshd hands on by what a client chooses its image."""
    check = "sshd.image-choice"
    if any(fnmatchcase(_CHOOSES, pattern) for pattern in sshd.words("acceptenv")):
        yield Finding(
            OK, check, sshd.user, f"sshd accepts {_CHOOSES}, which chooses one of the policy's images"
        )
    else:
        yield Finding(
            WARNING,
            check,
            sshd.user,
            f"the policy has several images, and sshd does not accept {_CHOOSES}: who chooses one by it gets"
            " the first",
            "run: ssh2containerctl sshd-config --write --reload",
        )


def _before_the_shell(sshd: Effective, drop_in: str) -> Iterator[Finding]:
    """Yield what acts before the shell's first line: rc files and environment."""
    user = sshd.user
    if sshd.get("permituserrc", "yes") == "no":
        yield Finding(OK, "sshd.permituserrc", user, "PermitUserRC is no")
    elif sshd.get("forcecommand", "none") != "none":
        yield Finding(
            NOTE, "sshd.permituserrc", user, "PermitUserRC is yes; ForceCommand keeps it from being used"
        )
    else:
        yield Finding(
            PROBLEM,
            "sshd.permituserrc",
            user,
            "PermitUserRC is yes: ~/.ssh/rc is run before every session",
            drop_in,
        )
    value = sshd.get("permituserenvironment", "no")
    if value == "no":
        yield Finding(OK, "sshd.permituserenvironment", user, "PermitUserEnvironment is no")
    else:
        yield Finding(
            PROBLEM,
            "sshd.permituserenvironment",
            user,
            f"PermitUserEnvironment is {value}: ~/.ssh/environment acts before the shell's first line",
            "set PermitUserEnvironment no above every Match",
        )
    broad = [name for name in sshd.words("acceptenv") if not name.startswith(_NARROW) and name != _CHOOSES]
    if broad:
        yield Finding(
            PROBLEM,
            "sshd.acceptenv",
            user,
            f"AcceptEnv takes {' '.join(broad)}: a client can set what acts before the shell's first line",
            drop_in,
            {"broad": broad},
        )
    else:
        yield Finding(
            OK, "sshd.acceptenv", user, f"AcceptEnv is {' '.join(sshd.words('acceptenv')) or 'empty'}"
        )


def _keys(sshd: Effective) -> Iterator[Finding]:
    """Yield whether the user's own key file can loosen what sshd says.

    Options in authorized_keys only restrict, but for environment= (closed above) and command=, which
    ForceCommand overrides.
    """
    files = [
        name
        for name in sshd.words("authorizedkeysfile")
        if name != "none" and (not name.startswith("/") or "%h" in name)
    ]
    if not files:
        yield Finding(OK, "sshd.authorizedkeysfile", sshd.user, "AuthorizedKeysFile is not below the home")
        return
    if sshd.get("forcecommand", "none") != "none":
        return
    yield Finding(
        NOTE,
        "sshd.authorizedkeysfile",
        sshd.user,
        f"AuthorizedKeysFile {' '.join(files)} is below the home: whoever can write there can add keys",
        "use AuthorizedKeysFile /etc/ssh/authorized_keys/%u where the host's home is bound into sessions",
        {"files": files},
    )
