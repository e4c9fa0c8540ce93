"""Keys of the network."""

from __future__ import annotations

from ssh2container.admin.policy.schema.declaration import Setting
from ssh2container.admin.policy.types.egress import Egress
from ssh2container.admin.policy.types.links import Networks
from ssh2container.admin.policy.types.numbers import Count
from ssh2container.admin.policy.types.ports import Ports
from ssh2container.admin.policy.types.scalars import Choice, Optional

SETTINGS = [
    Setting(
        "network_mode",
        Choice(
            "none",
            "host",
            "private",
            instead={
                "bridge": "there is no bridge in this version; private has a way out and published ports",
                **dict.fromkeys(("slirp4netns", "pasta", "nat"), "write private"),
            },
        ),
        "none",
        "The network: none has only its own loopback, private a way out under rules (egress, ports), host"
        " shares the host's.",
        "network_mode: private",
    ),
    Setting(
        "egress",
        Egress(),
        "internet",
        "Where a private network leads: internet is all but the host itself, link-local and private ranges;"
        " a list is what it names alone.",
        'egress: [internet, "10.1.2.3:5432/tcp", "git.example.org:443"]',
    ),
    Setting(
        "egress_log",
        Choice("none", "refused"),
        "none",
        "Whether the audit trail has a record of what a private network was refused.",
        "egress_log: refused",
    ),
    Setting(
        "ports",
        Ports(),
        {},
        "Ports of a private network to publish on the host, on 127.0.0.1 unless an address is written.",
        'ports: ["127.0.0.1:8080:80/tcp"]',
    ),
    Setting(
        "networks",
        Networks(),
        {},
        "The networks of the host that a session is on, by their names in config.yaml, or bridges by theirs.",
        "networks: {br0: {ipv4_address: 10.0.0.7/24, gateway: 10.0.0.1}}",
    ),
    Setting(
        "network_pool",
        Optional(Count(1, 64), "auto"),
        None,
        "How many sessions on networks are prepared for, for each user; auto is sessions.max where that is "
        "written, else 4.",
        "network_pool: 8",
    ),
]
