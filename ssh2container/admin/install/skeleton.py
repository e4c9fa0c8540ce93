"""The skeletons: trees of mount points, owned by root, that lie over an image.

Everything a session mounts on has to exist, as a real directory or file, whatever the image
contains there: a link at /proc or /etc/passwd in a hostile image is covered by ours. The installer
builds them beside the code (``/usr/lib/ssh2container/VERSION/skeleton``).

Beside the mount points there are the few files that are the same in every session: a login pays nothing for
them. They make programs that cannot work inside say so (docs/clients.md), and protect nothing.
"""

from __future__ import annotations

import os

from ssh2container import paths
from ssh2container.admin import atomic
from ssh2container.plan import upper
from ssh2container.plan.host import OLD_TOP

_COMMON = ("dev", "etc", "home", "proc", "run", "sys", "tmp", "var")
_HOST = (
    "media",
    "mnt",
    "opt",
    "root",
    "srv",
    "usr",
    "var/cache",
    "var/lib",
    "var/log",
    "var/mail",
    "var/spool",
)
_ANSWER = (
    "%s cannot work here: this session runs in a container, which has no passwords and no accounts of the "
    "host, and in which nobody can become another user. Ask the administrator of this host."
)
"""What libpam says for each of its programs; %s is the name of the program's service (pam_echo(8))."""
_PAM = "".join(
    f"{kind} requisite pam_echo.so {_ANSWER}\n{kind} requisite pam_deny.so\n" for kind in ("auth", "password")
) + "".join(f"{kind} requisite pam_deny.so\n" for kind in ("account", "session"))
_PAM_SERVICES = ("chfn", "chsh", "passwd", "su", "su-l")
"""Those of an image that are replaced. On the image ``host`` the file ``other`` serves for all (pam.d(5))."""
_STAND_IN = """\
#!/bin/sh
# The login shell puts this in the place of programs that cannot work in a container.
name=${0##*/} status=1
case $name in
    at | crontab) why="in which no cron runs; jobs are in the schedule of the user's policy" ;;
    gpasswd | newgrp | sg) why="which has no groups of the host, and in which nobody can enter another one" ;;
    *mail* | exim4) # the status is sendmail's own EX_UNAVAILABLE (sysexits.h(3head))
        why="from which no mail is sent; send it from your own machine"
        why="$why, or have a job in the schedule of your policy mail what it writes" status=69
        ;;
    *) why="in which nobody can become another user" ;;
esac
echo "$name cannot work here: this session runs in a container, $why. Ask the administrator of this host." >&2
exit "$status"
"""
"""sg(1) is a link to newgrp, batch(1) a script that runs at."""
_BENEATH = ("usr/bin/mail", "usr/bin/mailx", "usr/sbin/sendmail")
"""Names that have the stand-in where an image has nothing of its own there."""
_SHELLS = "# Shells that chsh(1) lets somebody leave (shells(5)).\n" + "".join(
    f"{directory}/{name}\n"
    for name in ("sh", "bash", "rbash", "dash", "zsh", "fish", "ksh", "mksh", "tcsh", "csh")
    for directory in ("/bin", "/usr/bin")
)
_GENERATED = ("passwd", "group", "hosts", "hostname", "nsswitch.conf", "resolv.conf")


def build(directory: str, root: str = "/") -> None:
    """Make ``directory``/host, ``directory``/tree and what lies beneath an image; what is there stays.

    root: the host's root, whose layout (merged /usr or not) the skeleton ``host`` repeats.
    Raises OSError.
    """
    for name in (*_COMMON, *_HOST):
        os.makedirs(f"{directory}/host/{name}", 0o755, exist_ok=True)
    for name in _COMMON:
        os.makedirs(f"{directory}/tree/{name}", 0o755, exist_ok=True)
    for name in OLD_TOP:
        there, here = os.path.join(root, name), f"{directory}/host/{name}"
        if os.path.islink(there):
            _link(os.readlink(there), here)
        elif os.path.isdir(there):
            os.makedirs(here, 0o755, exist_ok=True)
    _link("/run", f"{directory}/host/var/run")
    _link("/run/lock", f"{directory}/host/var/lock")
    _link("/proc/self/mounts", f"{directory}/host/etc/mtab")
    for name in _GENERATED:
        _link(f"{paths.GENERATED}/{name}", f"{directory}/tree/etc/{name}")
    _link("/proc/self/mounts", f"{directory}/tree/etc/mtab")
    _file(f"{directory}/host{upper.STAND_IN}", _STAND_IN, 0o755)
    for name, content in {"pam.d/other": _PAM, "shells": _SHELLS}.items():
        _file(f"{directory}/host{upper.GENERATED}/{name}", content)
    for name in _BENEATH:
        _file(f"{directory}/tree{upper.BENEATH}/{name}", _STAND_IN, 0o755)
    for name in _PAM_SERVICES:
        _file(f"{directory}/tree/etc/pam.d/{name}", _PAM)


def _link(target: str, path: str) -> None:
    if not os.path.islink(path):
        os.symlink(target, path)
    elif os.readlink(path) != target:
        atomic.link(path, target)


def _file(path: str, content: str, mode: int = 0o644) -> None:
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    atomic.write(path, content, mode)
