"""What sshd gives every session, for logins that are made without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.sshd import SHELL

if TYPE_CHECKING:
    import pwd


def environment(entry: pwd.struct_passwd, shell: str = SHELL) -> dict[str, str]:
    """Return the variables that sshd sets whatever the client sends (sshd(8), LOGIN PROCESS).

    shell: what stands in passwd, or would after ``enable``.
    """
    return {
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
        "HOME": entry.pw_dir,
        "SHELL": shell,
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/games",
    }
