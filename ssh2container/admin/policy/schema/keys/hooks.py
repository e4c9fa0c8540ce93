"""Keys of programs of the administrator's that run beside a session."""

from __future__ import annotations

from ssh2container.admin.policy.schema.declaration import Setting
from ssh2container.admin.policy.types.hooks import Hooks

SETTINGS = [
    Setting(
        "hooks.createRuntime",
        Hooks(),
        {},
        "Programs of the host to run as the user outside, one after the other, when the container is made "
        "and nothing runs in it yet; one that fails refuses the login.",
        "hooks: {createRuntime: [{path: /etc/ssh2container/hooks/opened, timeout: 5}]}",
    ),
    Setting(
        "hooks.startContainer",
        Hooks(),
        {},
        "Programs of the image to run inside, behind the same walls as what the user runs, before that; one "
        "that fails refuses the login.",
        'hooks: {startContainer: [{path: /usr/bin/install, args: [install, -d, -m, "0700", /tmp/work]}]}',
    ),
    Setting(
        "hooks.poststop",
        Hooks(),
        {},
        "Programs of the host to run as the user outside when nothing of the container is left; failures are "
        "logged.",
        'hooks: {poststop: [{path: /etc/ssh2container/hooks/closed, env: ["MODE=quiet"]}]}',
    ),
]
