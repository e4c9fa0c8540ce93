"""Putting the drop-in in place: kept only when sshd accepts it."""

from __future__ import annotations

import fnmatch
import os

from ssh2container.admin.change import WriteFile, read_or_none
from ssh2container.admin.sshd import DROP_IN
from ssh2container.admin.sshd.effective import complaint
from ssh2container.admin.sshd.render import is_sealed
from ssh2container.errors import SessionError
from ssh2container.plan.sshd_files import CONFIG


class PlaceDropIn(WriteFile):
    """The drop-in, written and then shown to ``sshd -t``: what sshd refuses is taken back at once."""

    def __init__(self, text: str, path: str = DROP_IN, config: str = CONFIG) -> None:
        super().__init__(path, text)
        self.config = config

    def do(self) -> None:
        """See :class:`Change`; raises :class:`SessionError` with sshd's words."""
        before = complaint(self.config)
        if before:
            raise SessionError(
                f"cannot place {self.path}",
                f"sshd already refuses its configuration: {before}",
                f"make sshd -t -f {self.config} pass first",
                "sshd-config",
            )
        super().do()
        after = complaint(self.config)
        if after:
            self.undo()
            raise SessionError(
                f"sshd refuses {self.path}", after, "the previous state was restored", "sshd-config"
            )


def exists(path: str = DROP_IN) -> bool:
    """Return whether there is a drop-in."""
    return os.path.lexists(path)


def is_ours(path: str = DROP_IN) -> bool:
    """Return whether the drop-in is as we wrote it; a changed one belongs to the administrator."""
    return is_sealed(read_or_none(path) or "")


def forces_command(path: str = DROP_IN) -> bool:
    """Return whether the drop-in in place has ForceCommand; one that is not there yet will have it."""
    text = read_or_none(path)
    return text is None or any(line.split()[:1] == ["ForceCommand"] for line in text.splitlines())


def is_read(path: str = DROP_IN, config: str = CONFIG) -> bool:
    """Return whether sshd reads ``path``: whether an Include of ``config`` covers it."""
    for line in (read_or_none(config) or "").splitlines():
        words = line.split()
        if not words:
            continue
        if words[0].lower() == "match":
            return False
        if words[0].lower() == "include":
            patterns = (os.path.join(os.path.dirname(config), word.strip('"')) for word in words[1:])
            if any(fnmatch.fnmatch(path, pattern) for pattern in patterns):
                return True
    return False
