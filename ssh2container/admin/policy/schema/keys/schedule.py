"""Keys of what runs at times, without a client."""

from __future__ import annotations

from ssh2container.admin.policy.schema.declaration import Setting
from ssh2container.admin.policy.types.schedule import Jobs

SETTINGS = [
    Setting(
        "schedule",
        Jobs(),
        {},
        "Jobs that systemd or cron runs as the user at times, each as a login that asks for its command; a "
        "later file adds to them.",
        'schedule: [{at: "0 4 * * *", command: "tar -cf backup.tar work", output: mail}]',
    ),
]
