"""Words of sshd_config and of neighbours that are no keys of a policy, and what to write in their place."""

from __future__ import annotations

from ssh2container.admin.policy.schema import compose

_WORDS = {
    # Compose's older names, and words that are near to its own
    "userns": "use userns_mode",
    "working_directory": compose.SERVICE["working_dir"].why,
    # sshd_config, in any case
    "forcecommand": "use access.interactive and access.commands",
    "acceptenv": "use accept_env",
    "setenv": "use environment",
    "chrootdirectory": "use image and home",
    "allowagentforwarding": "use allow_agent_forwarding",
    "allowtcpforwarding": "use allow_forwarding",
    "allowstreamlocalforwarding": "use allow_forwarding",
    "x11forwarding": "use allow_forwarding",
    "permitopen": "use egress",
    "permittty": "use access.interactive",
    "maxsessions": "use sessions.max",
    "clientaliveinterval": "use sessions.idle_timeout",
    "banner_file": "use banner",
    "subsystem": "use access.sftp",
    # neighbours
    "env": "use environment",
    "mounts": "use volumes",
    "binds": "use volumes",
    "memory": "use mem_limit",
    "network": "use network_mode",
    "sftp": "it belongs below access",
    "commands": "it belongs below access",
    "login": "it belongs below access",
    "interactive": "it belongs below access",
    "message": "it belongs below access",
    "size": "it belongs below storage_opt",
    "admit": "it belongs in config.yaml",
    "group_order": "it belongs in config.yaml",
    "site_limits": "it belongs in config.yaml",
}


def elsewhere(word: str) -> str:
    """Return what to write in place of a word of another language, "" when it is unknown there too."""
    key = compose.SERVICE.get(word) or compose.TOP.get(word)
    if key is not None:
        return key.why
    return _WORDS.get(word) or _WORDS.get(word.lower(), "")
