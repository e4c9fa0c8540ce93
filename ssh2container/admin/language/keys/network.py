"""Keys of the network."""

from __future__ import annotations

from ssh2container.admin.language.declaration import Setting
from ssh2container.admin.language.interfaces import EgressRules, Networks, Ports
from ssh2container.admin.language.scalars import Choice

SETTINGS = [
    Setting(
        "network_mode",
        Choice("none", "host", "private", instead={"bridge": "there is no bridge in this version"}),
        "none",
        "The network: none has only its own loopback, host shares the host's, private is its own "
        "with a way out.",
        "network_mode: none",
        supported=("none", "host"),
    ),
    Setting(
        "ports",
        Ports(),
        {},
        "Ports of a private network to publish on the host, on 127.0.0.1 unless an address is given.",
        'ports: ["127.0.0.1:8080:80/tcp"]',
        supported=False,
    ),
    Setting(
        "egress",
        EgressRules(),
        {},
        "The destinations that a private network may reach; without any, all.",
        'egress: [{to: 10.0.0.0/8, ports: [443, "8000-8010"], protocol: tcp}]',
        supported=False,
    ),
    Setting(
        "networks",
        Networks(),
        {},
        "Link-layer interfaces on bridges of the host.",
        "networks: {br0: {ipv4_address: 10.0.0.7/24, gateway: 10.0.0.1}}",
        supported=False,
    ),
]
