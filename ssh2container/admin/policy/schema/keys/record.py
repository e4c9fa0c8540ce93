"""Keys of what is recorded and shown."""

from __future__ import annotations

from ssh2container.admin.policy.schema.declaration import Setting
from ssh2container.admin.policy.types.scalars import Choice, Flag, Optional, Path, Text

SETTINGS = [
    Setting(
        "record.terminal",
        Flag(),
        False,
        "Record what interactive sessions print.",
        "record: {terminal: true}",
    ),
    Setting(
        "record.input",
        Flag(),
        False,
        "Record what the user types too, passwords included.",
        "record: {input: true}",
    ),
    Setting(
        "record.to",
        Choice("collector", "user_directory"),
        "collector",
        "Who keeps the recordings: a service with a uid of its own, or the user's own uid, which can "
        "change them.",
        "record: {to: collector}",
    ),
    Setting(
        "record.directory",
        Path("an absolute path on the host"),
        "%h/.ssh2container/recordings",
        "The directory on the host for record.to: user_directory; the session makes it.",
        "record: {to: user_directory, directory: /srv/recordings/%u}",
    ),
    Setting(
        "record.transfers",
        Choice("none", "names", "hashes"),
        "none",
        "What is kept of transferred files: names is path, direction, size and duration of each.",
        "record: {transfers: names}",
        supported=("none", "names"),
    ),
    Setting(
        "record.on_failure",
        Choice("end_session", "go_on"),
        "end_session",
        "What happens when the recording cannot be written.",
        "record: {on_failure: end_session}",
    ),
    Setting(
        "banner",
        Optional(Text("a text", limit=4096), "none"),
        None,
        "A text that a login's terminal shows first.",
        'banner: "Authorised use only"',
    ),
    Setting(
        "motd",
        Optional(Text("a text", limit=4096), "none"),
        None,
        "A text that a login's terminal shows right before the shell starts.",
        'motd: "Welcome to the lab"',
    ),
    Setting(
        "welcome",
        Flag(),
        True,
        "Whether a user's first login, and the first one after a change, shows what is kept and what is "
        "discarded at logout; ~/.hushlogin in a kept home hides it, too.",
        "welcome: false",
    ),
]
