"""Whether a user's service manager is there when a login asks it to limit a session.

A manager that runs is asked, as the user. One that does not may still come with the login: pam_systemd(8)
starts it, and linger keeps it (loginctl(1)). Sources: user@.service(5), systemd.resource-control(5).
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from ssh2container.admin import cgroups
from ssh2container.admin.change import read_or_none
from ssh2container.admin.login import pam
from ssh2container.admin.sessions import impersonate
from ssh2container.admin.sshd import running
from ssh2container.admin.sshd.effective import effective_globally
from ssh2container.errors import SessionError
from ssh2container.paths import CGROUPS
from ssh2container.plan.sshd_files import CONFIG
from ssh2container.run import scope

if TYPE_CHECKING:
    import pwd
    from collections.abc import Sequence

OR_BEST = ", or write limits: best"
"""The end of a remedy for whose policy requires limits, and may do without (docs/limits.md)."""
LINGER = "/var/lib/systemd/linger/"
_MASKS = ("/etc/systemd/system/user@%d.service", "/run/systemd/system/user@%d.service")
_CONTROLLERS = CGROUPS + "/user.slice/user-%d.slice/user@%d.service/cgroup.controllers"


def why_not(user: pwd.struct_passwd, properties: Sequence[str]) -> tuple[str, str]:
    """Return why a login of ``user`` could not be limited and what to do; ("", "") when it can.

    properties: the names of those that the scope of a session gets.
    """
    name, uid = user.pw_name, user.pw_uid
    why = cgroups.unable(properties)
    if why:
        return why, "run systemd with cgroups of version 2 here" + OR_BEST
    masks = [mask % uid for mask in _MASKS if os.path.islink(mask % uid)]
    if masks:
        return f"user@{uid}.service is masked ({masks[0]})", f"systemctl unmask user@{uid}.service"
    delegated = read_or_none(_CONTROLLERS % (uid, uid))
    if delegated is None:
        return _why_absent(name, uid)
    missing = cgroups.absent(properties, delegated)
    if missing:
        remedy = f"systemctl daemon-reload; systemctl restart user@{uid}.service"
        return f"user@{uid}.service has no controller {', '.join(missing)}", remedy
    said = _silence(user)
    return said, f"systemctl restart user@{uid}.service" if said else ""


def _silence(user: pwd.struct_passwd) -> str:
    if os.geteuid() == user.pw_uid:
        return scope.silence()
    try:
        return str(impersonate.ask(impersonate.Identity.of(user.pw_uid, user.pw_gid), scope.silence))
    except SessionError as error:
        return error.reason()


def _why_absent(name: str, uid: int) -> tuple[str, str]:
    """Return why no manager comes with a login, ("", "") when one does."""
    if os.path.exists(LINGER + name):
        return (
            f"user@{uid}.service does not run although its user lingers",
            f"systemctl start user@{uid}.service",
        )
    usual = [server for server in running.servers() if server.config == CONFIG]
    options = usual[0].options if usual else ()
    try:
        with_pam = effective_globally(CONFIG, options).get("usepam", "no") == "yes"
    except SessionError:
        return "", ""  # said of sshd itself; a user who asks cannot read its keys
    if not with_pam:
        return (
            "sshd starts no service manager (UsePAM no)",
            f"UsePAM yes; or: loginctl enable-linger {shlex.quote(name)}",
        )
    if not pam.puts_into_slice("sshd"):
        return (
            "no pam_systemd in the session stack of sshd",
            f"pam-auth-update --enable systemd; or: loginctl enable-linger {shlex.quote(name)}",
        )
    return "", ""
