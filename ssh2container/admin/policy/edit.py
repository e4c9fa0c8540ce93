"""Changing a policy file so that no broken version is ever in force, in the way of visudo."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
from typing import TYPE_CHECKING

from ssh2container.admin import atomic
from ssh2container.admin.policy import check_file
from ssh2container.admin.policy.yaml import files
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.policy.check_policy import Findings
    from ssh2container.policy.store import Places

TEMPLATE = """\
# yaml-language-server: $schema=/usr/share/ssh2container/policy.schema.json
# The policy of {what}. All keys: man ssh2container.yaml; a start: extends: [shell]

"""


class Draft:
    """A copy of one file of the chain, to be edited, checked, and put in its place.

    part: "users/NAME", "groups/NAME", "defaults", "enforced", "config" or "profiles/NAME".

    Raises SessionError when somebody else edits it, or it cannot be read.
    """

    def __init__(self, part: str, places: Places) -> None:
        self.part = part
        self.places = places
        self.target = places.source(part)
        self._lock = self._take_lock()
        self._directory = ""
        try:
            self.before = self._read_target()
            self._directory = tempfile.mkdtemp(prefix="ssh2containerctl-edit-")
            # The same last two names as in its place, so that messages name what is edited.
            self.path = os.path.join(self._directory, part + ".yaml")
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            with open(self.path, "wb") as file:
                file.write(self._start())
        except BaseException:
            self.close()
            raise

    def edit(self) -> None:
        """Run the administrator's editor on the draft.

        Raises SessionError when there is none or it fails.
        """
        given = os.environ.get("VISUAL") or os.environ.get("EDITOR") or _default_editor()
        try:
            command = shlex.split(given) or [given]
        except ValueError as error:
            raise SessionError(f"cannot run the editor {given}", str(error), "correct $EDITOR") from None
        try:
            with _interrupts_are_the_editors():
                status = subprocess.run([*command, self.path], check=False).returncode
        except OSError as error:
            raise SessionError(f"cannot run the editor {command[0]}", error.strerror or "") from None
        if status:
            raise SessionError(
                f"the editor {command[0]} ended with status {status}", remedy="nothing was changed"
            )

    def changed(self) -> bool:
        """Tell whether the draft differs from what is in force."""
        try:
            with open(self.path, "rb") as file:
                return file.read() != self._start()
        except OSError as error:
            raise SessionError(
                f"cannot read what was edited, {self.path}", error.strerror or "", "nothing was changed"
            ) from None

    def check(self) -> Findings:
        """Check the draft in the place it is meant for: with the other files of the chain."""
        return check_file.draft(self.path, self.part, self.places)

    def install(self) -> None:
        """Put the draft in its place, atomically.

        Raises SessionError when that cannot be done.
        """
        try:
            os.makedirs(os.path.dirname(self.target), mode=0o755, exist_ok=True)
            with open(self.path, "rb") as draft:
                atomic.write(self.target, draft.read())
        except OSError as error:
            raise SessionError(
                f"cannot write {self.target}", error.strerror or "", number=error.errno or 0
            ) from None

    def close(self) -> None:
        """Remove the draft and let others edit."""
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
        os.close(self._lock)

    def _take_lock(self) -> int:
        """Lock the configuration directory itself: a lock file would need a place and a cleaner."""
        try:
            descriptor = os.open(self.places.configuration, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SessionError(f"cannot open {self.places.configuration}", error.strerror or "") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise SessionError("somebody else is editing the policies", remedy="try again later") from None
        return descriptor

    def _read_target(self) -> bytes | None:
        """Return what is in force, byte for byte, whatever is wrong with it: an editor can mend it."""
        try:
            # O_NONBLOCK: opening a FIFO would wait for a writer.
            with open(os.open(self.target, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
                text = file.read(files.SIZE_LIMIT_BYTES + 1) if regular else b""
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SessionError(f"cannot read {self.target}", error.strerror or "") from None
        if not regular:
            raise SessionError(f"cannot edit {self.target}", "it is not a regular file", "remove it")
        if len(text) > files.SIZE_LIMIT_BYTES:
            limit = f"it is larger than {files.SIZE_LIMIT_BYTES // 1024} KiB"
            raise SessionError(f"cannot edit {self.target}", limit, "shorten it by other means")
        return text

    def _start(self) -> bytes:
        """Return what the editor is shown first."""
        if self.before is not None:
            return self.before
        return TEMPLATE.format(what=self.part.replace("/", " ")).encode()


@contextlib.contextmanager
def _interrupts_are_the_editors() -> Iterator[None]:
    """Let ^C end nothing but what the editor takes it for: the terminal sends it to both.

    A handler that does nothing, because an ignored signal would stay ignored in the editor.
    """
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _default_editor() -> str:
    return next((name for name in ("sensible-editor", "editor", "vi", "nano") if shutil.which(name)), "vi")
