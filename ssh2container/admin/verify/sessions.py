"""Starting verification sessions, each in a process of its own that has become the user."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from typing import IO, TYPE_CHECKING

from ssh2container.errors import Refusal
from ssh2container.plan.choice import VARIABLE
from ssh2container.policy.cold import PYTHON

if TYPE_CHECKING:
    from ssh2container.policy.key_rules import Used

PLACE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
"""The directory that holds the package: a session imports from here and from the system's Python."""
HELPER = os.path.join(PLACE, "verify-helper")
"""The static program, where install.sh puts it."""
_PROGRAM = """
import sys
sys.path[:0] = [{place!r}]
from ssh2container.admin.verify import session
session.main({scenario!r}, {helper!r}, key={key!r})
"""
_PATH = "/usr/local/bin:/usr/bin:/bin"

Stream = int | IO[bytes]


class Starter:
    """Starts sessions of one user.

    name: of the user; the caller has to be that user, or root. program: Python text that runs a scenario, for
    the tests. image: what the sessions choose of the policy's images, "" for nothing. key: with which they
    log in, or None.
    """

    def __init__(
        self, name: str, program: str = _PROGRAM, *, image: str = "", key: Used | None = None
    ) -> None:
        try:
            self.entry = pwd.getpwnam(name)
        except KeyError:
            raise Refusal(f"cannot find the user {name}", "no passwd entry has this name") from None
        if os.geteuid() not in (0, self.entry.pw_uid):
            raise Refusal(
                f"cannot verify {name}", "only root and the user can", f"run as root: verify {name}"
            )
        self._program = program
        self._image = {VARIABLE.decode(): image} if image else {}
        self._key = None if key is None else key.fields()

    def start(
        self, scenario: str, *, stdin: Stream, stdout: Stream, stderr: Stream = subprocess.PIPE
    ) -> subprocess.Popen[bytes]:
        """Start the session of ``scenario``; the returned process is its monitor."""
        entry = self.entry
        helper = HELPER if os.path.isfile(HELPER) else ""
        change: dict[str, object] = {}
        if os.geteuid() == 0:
            change = {
                "user": entry.pw_uid,
                "group": entry.pw_gid,
                "extra_groups": os.getgrouplist(entry.pw_name, entry.pw_gid),
            }
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            [
                sys.executable or PYTHON,
                "-IB",
                "-c",
                self._program.format(place=PLACE, scenario=scenario, helper=helper, key=self._key),
            ],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd="/",
            umask=0o022,
            start_new_session=True,
            env={
                "USER": entry.pw_name,
                "LOGNAME": entry.pw_name,
                "HOME": entry.pw_dir,
                "SHELL": entry.pw_shell,
                "PATH": _PATH,
                "LANG": "C.UTF-8",
                **self._image,
            },
            **change,
        )
        return process
