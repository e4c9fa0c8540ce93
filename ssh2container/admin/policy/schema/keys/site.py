"""Keys of config.yaml."""

from __future__ import annotations

from ssh2container.admin.policy.schema.declaration import Setting
from ssh2container.admin.policy.schema.keys import bounds
from ssh2container.admin.policy.types.scalars import Choice, Text, Words
from ssh2container.admin.policy.types.site_networks import Definitions

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
        Words(
            Text("the name of a group", GROUP_NAME), "a group name, or a list of them", minimum=0, unique=True
        ),
        (),
        "The groups that have a file below groups/, the one with the highest precedence last.",
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
    Setting(
        "networks",
        Definitions(),
        {},
        "What the networks are that policies name; one that is not listed is the host's bridge of that name.",
        "networks: {lab: {driver: bridge, driver_opts: {parent: br0}, ipam: {config: [{subnet: 10.0.0.0/24, "
        "gateway: 10.0.0.1}]}}}",
    ),
    Setting(
        "site_limits",
        Choice("none"),
        "none",
        "Limits over everything of all contained users together.",
        "site_limits: {mem_limit: 24g, pids_limit: 8000}",
        mapping="limits",
    ),
    *bounds.settings("site_limits", "all contained users"),
]
