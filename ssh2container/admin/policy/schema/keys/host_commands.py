"""Keys of what sessions may have the host run."""

from __future__ import annotations

from ssh2container.admin.policy.schema.declaration import Setting
from ssh2container.admin.policy.types.host_commands import HostCommands

SETTINGS = [
    Setting(
        "host_commands",
        HostCommands(),
        {},
        "Names inside, each of which runs one program of root's on the host, as the user or as another who "
        "is not root, with the arguments that are named or accepted here, and without an environment.",
        'host_commands: {submit: {path: /opt/submit, args: [--for, "%u"], accept: ["[a-z0-9]{1,20}"]}}',
    ),
]
