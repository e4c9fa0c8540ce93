"""Hooks for tests: programs of root's, and what they wrote down."""

from __future__ import annotations

import os
import shutil
import tempfile
import textwrap

from support.ledger import Ledger
from support.users import User

STAGES = ("createRuntime", "startContainer", "poststop")
OUTSIDE = ("createRuntime", "poststop")


class Hooks:
    """A directory of root's with the hooks of one user, and a file of the user's that they write to."""

    def __init__(self, ledger: Ledger, user: User) -> None:
        self.directory = tempfile.mkdtemp(prefix="hooks-", dir="/etc/ssh2container")
        ledger.note_path(self.directory)
        os.chmod(self.directory, 0o755)
        self.user = user
        self.notes = f"{user.home}/notes"
        self._stages: dict[str, list[str]] = {stage: [] for stage in STAGES}

    def program(self, name: str, text: str, mode: int = 0o755) -> str:
        """The path of a new program. text: of a shell script, or of what its first line names."""
        path = f"{self.directory}/{name}"
        text = textwrap.dedent(text).lstrip()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text if text.startswith("#!") else "#!/bin/sh\n" + text)
        os.chmod(path, mode)
        return path

    def add(self, stage: str, path: str, more: str = "") -> None:
        """Have the policy name a hook. more: of its other fields, in YAML."""
        self._stages[stage].append(f"{{path: {path}{', ' if more else ''}{more}}}")

    def script(self, stage: str, text: str, more: str = "") -> str:
        """Have the policy name a new hook outside, which finds the file of notes in NOTES."""
        path = self.program(f"{stage}-{len(self._stages[stage])}", text)
        self.add(stage, path, ", ".join(part for part in (f'env: ["NOTES={self.notes}"]', more) if part))
        return path

    def inside(self, text: str, more: str = "") -> None:
        """Have the policy name a hook inside that is a shell command."""
        quoted = text.replace("'", "''")
        self.add("startContainer", "/bin/sh", f"args: [sh, -c, '{quoted}']{', ' if more else ''}{more}")

    def policy(self, more: str = "") -> str:
        """The user's policy."""
        lines = [f"  {stage}: [{', '.join(named)}]" for stage, named in self._stages.items() if named]
        return "\n".join(["image: host", "hooks:", *lines, textwrap.dedent(more).strip(), ""])

    def said(self) -> str:
        """What they wrote down so far."""
        try:
            with open(self.notes, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def forget(self) -> None:
        """Have them begin anew."""
        if os.path.exists(self.notes):
            os.unlink(self.notes)

    def remove(self) -> None:
        shutil.rmtree(self.directory)
