"""Keys of what is recorded and shown."""

from __future__ import annotations

from ssh2container.admin.language.declaration import Setting
from ssh2container.admin.language.scalars import Choice, Flag, Optional, Text

SETTINGS = [
    Setting(
        "record.terminal",
        Flag(),
        False,
        "Record what interactive sessions print.",
        "record: {terminal: true}",
        supported=False,
    ),
    Setting(
        "record.input",
        Flag(),
        False,
        "Record what the user types too, passwords included.",
        "record: {input: true}",
        supported=False,
    ),
    Setting(
        "record.transfers",
        Choice("none", "names", "hashes"),
        "none",
        "What is kept of transferred files.",
        "record: {transfers: names}",
        supported=False,
    ),
    Setting(
        "record.on_failure",
        Choice("end_session", "go_on"),
        "end_session",
        "What happens when the recording cannot be written.",
        "record: {on_failure: end_session}",
        supported=False,
    ),
    Setting(
        "banner",
        Optional(Text("a text", limit=4096), "none"),
        None,
        "A text shown before an interactive session.",
        'banner: "Authorised use only"',
        supported=False,
    ),
    Setting(
        "motd",
        Optional(Text("a text", limit=4096), "none"),
        None,
        "A text shown when an interactive session starts.",
        'motd: "Welcome to the lab"',
        supported=False,
    ),
]
