"""Keys of what comes from the client's environment."""

from __future__ import annotations

from ssh2container.admin.policy.schema.declaration import Setting
from ssh2container.admin.policy.types.entries import Environment, ListOf
from ssh2container.admin.policy.types.scalars import Flag, Text

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
        "Give the session the socket of the client's agent, and nothing else of it.",
        "allow_agent_forwarding: true",
    ),
    Setting(
        "allow_forwarding",
        Flag(),
        False,
        "Whether a client may forward into the container: ssh2container-sshd starts an sshd there, for -L,"
        " -R, -D, -J, agent, X11 and editors (client-config prints how); ssh2container-connect reaches one"
        " place.",
        "allow_forwarding: true",
    ),
]
