"""Files of root's that follow from policies, but for what somebody has changed by hand since."""

from __future__ import annotations

import contextlib
import os
import subprocess

from ssh2container.admin import atomic, cgroups
from ssh2container.admin.change import Change, make_directories, read_or_none
from ssh2container.admin.sshd.render import is_sealed, seal
from ssh2container.errors import SessionError

UNITS = "/etc/systemd/system"
"""Where the administrator's units and drop-ins lie (systemd.unit(5))."""
_SYSTEMD_SECONDS = 60.0


class SealedFile(Change):
    """A file with exactly this text, sealed, or none for ""; one that was changed by hand is kept.

    wanted: the text without its seal.
    """

    def __init__(self, path: str, wanted: str = "") -> None:
        self.path = path
        self._before: str | None = None
        self._wanted = ""
        self.want(wanted)

    def want(self, text: str) -> None:
        """Set what is to be in the file, "" for no file."""
        self._wanted = seal(text) if text else ""

    @property
    def kept(self) -> bool:
        """Whether the file in place is an administrator's, as it is not how we wrote it."""
        return self._before is not None and not is_sealed(self._before)

    def describe(self) -> str:
        """See :class:`Change`."""
        if self.kept:
            return f"leave {self.path}, which was changed by hand"
        return f"write {self.path}" if self._wanted else f"remove {self.path}"

    def done(self) -> bool:
        """See :class:`Change`."""
        self._before = read_or_none(self.path)
        return self.kept or (self._before or "") == self._wanted

    def do(self) -> None:
        """See :class:`Change`."""
        self.write()

    def undo(self) -> None:
        """See :class:`Change`."""
        self.restore()

    def write(self) -> None:
        """Put the file into place; whoever reads it has not done so then."""
        self._place(self._wanted)

    def restore(self) -> None:
        """Put what was there before into place."""
        self._place(self._before or "")

    def _place(self, content: str) -> None:
        directory = os.path.dirname(self.path)
        if content:
            make_directories(directory)
            atomic.write(self.path, content)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        if directory.endswith(".d"):
            with contextlib.suppress(OSError):  # others have drop-ins there, too
                os.rmdir(directory)


def systemctl(*words: str) -> None:
    """Have a running systemd do something; nothing where none runs. Raises SessionError in its words."""
    if not os.path.isdir(cgroups.RUNS):
        return
    try:
        answer = subprocess.run(
            ["systemctl", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=_SYSTEMD_SECONDS,
        )  # fmt: skip
        said = answer.stderr.strip().replace("\n", "; ") if answer.returncode else ""
        failed = answer.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as error:
        failed, said = True, str(error)
    if failed:
        what = "does not read its files" if words == _RELOAD else f"does not do this: {' '.join(words)}"
        raise SessionError(f"systemd {what}", said, f"run systemctl {' '.join(words)}", "limits")


_RELOAD = ("daemon-reload",)


def reload() -> None:
    """Have a running systemd read its files: slices that run get their new limits at once.

    Raises SessionError in systemd's words.
    """
    systemctl(*_RELOAD)
