"""Keys of what comes from the client's environment."""

from __future__ import annotations

from ssh2container.admin.language.declaration import Setting
from ssh2container.admin.language.entries import Environment, ListOf
from ssh2container.admin.language.scalars import Flag, Text

SETTINGS = [
    Setting(
        "environment",
        Environment(),
        {},
        "Variables of the session; one without a value is taken from the client.",
        "environment: {EDITOR: nano}",
    ),
    Setting(
        "accept_env",
        ListOf(Text("a name, with * and ? as wildcards", r"[A-Za-z_*?][A-Za-z0-9_*?]{0,254}")),
        {name: name for name in ("TERM", "LANG", "LC_*", "TZ", "GIT_PROTOCOL")},
        "Variables of the client that reach the session, if sshd's AcceptEnv lets them through.",
        'accept_env: [TERM, LANG, "LC_*", GIT_PROTOCOL]',
    ),
    Setting(
        "allow_agent_forwarding",
        Flag(),
        False,
        "Give the session the one socket of the client's agent.",
        "allow_agent_forwarding: true",
    ),
]
