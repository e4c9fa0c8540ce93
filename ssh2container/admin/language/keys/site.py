"""Keys of config.yaml."""

from __future__ import annotations

from ssh2container.admin.language.declaration import Setting
from ssh2container.admin.language.scalars import Choice, Text, Words

GROUP_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.@ \\-]{0,254}\$?"

SETTINGS = [
    Setting(
        "admit",
        Choice("listed", "everybody"),
        "listed",
        "Who may log in: users with a file of their own or of a group, or everybody.",
        "admit: listed",
    ),
    Setting(
        "group_order",
        Words(Text("the name of a group", GROUP_NAME), "a list of group names", minimum=0, unique=True),
        (),
        "The groups that have a file below groups/, the strongest last.",
        "group_order: [students, staff]",
    ),
    Setting(
        "audit",
        Choice("best_effort", "required"),
        "best_effort",
        "What happens when the log cannot be reached: the login goes on, or it is refused.",
        "audit: best_effort",
    ),
    Setting(
        "audit_format",
        Choice("fields", "ecs"),
        "fields",
        "How audit records are written: as fields, or as one JSON object with the names of the Elastic "
        "Common Schema.",
        "audit_format: ecs",
    ),
]
