"""Words of Compose and sshd_config that are no keys here: accepted without effect, or answered with ours."""

from __future__ import annotations

ACCEPTED: dict[str, tuple[object, ...]] = {
    "cap_drop": (("ALL",), ("all",)),
    "init": ("true",),
    "read_only": ("false",),
    "privileged": ("false",),
    "tty": ("true", "false"),
    "stdin_open": ("true", "false"),
    "restart": ("no", "never"),
}
"""Compose key -> the values that describe what is always so here."""

INSTEAD = {
    "cap_drop": "a session has no capabilities but those of cap_add",
    "privileged": "use user: root with userns_mode: range, root inside alone",
    "read_only": "use read_only at home and volumes; what else can be written is in memory",
}
"""Compose key -> our keys for what its other values are used for."""

_ELSEWHERE = {
    # Compose
    "services": "a policy describes one container: write its keys at the top of the file",
    "version": "remove it; the language has one version",
    "name": "remove it; the file's name is the user's or group's",
    "container_name": "use hostname",
    "domainname": "use hostname",
    "build": "import the image with ssh2containerctl image import, then use image",
    "command": "use access.interactive for what runs at login",
    "entrypoint": "use access.interactive for what runs at login, shell for the shells",
    "working_dir": "a session starts in its home",
    "env_file": "use environment",
    "depends_on": "a session has no services to wait for",
    "security_opt": "use seccomp; no_new_privs is always set",
    "devices": "devices are never passed in",
    "device_cgroup_rules": "devices are never passed in",
    "gpus": "devices are never passed in",
    "pid": "every session has process ids of its own",
    "ipc": "every session has IPC of its own",
    "uts": "every session has a host name of its own; use hostname",
    "cgroup": "every session has a cgroup view of its own",
    "userns": "use userns_mode",
    "deploy": "use ulimits",
    "mem_reservation": "use ulimits",
    "mem_swappiness": "use ulimits",
    "memswap_limit": "use ulimits",
    "cpu_count": "this version does not share out processors",
    "cpu_percent": "this version does not share out processors",
    "cpu_period": "this version does not share out processors",
    "cpu_quota": "this version does not share out processors",
    "cpu_shares": "this version does not share out processors",
    "cpuset": "this version does not share out processors",
    "blkio_config": "use ulimits and storage_opt",
    "oom_score_adj": "use ulimits",
    "oom_kill_disable": "use ulimits",
    "shm_size": "use storage_opt.size, which /dev/shm counts into",
    "sysctls": "kernel settings are read-only inside",
    "group_add": "groups are the host's, see userns_mode",
    "expose": "use ports",
    "dns": "the host's resolver settings are used",
    "dns_search": "the host's resolver settings are used",
    "extra_hosts": "put them into the image's /etc/hosts",
    "links": "a session has no neighbours; use network_mode",
    "mac_address": "use networks",
    "volumes_from": "use volumes",
    "configs": "use volumes",
    "secrets": "policies are readable by their users: use volumes",
    "logging": "use record",
    "labels": "use an x- key",
    "annotations": "use an x- key",
    "profiles": "use extends",
    "include": "use extends",
    "healthcheck": "a session ends with its payload",
    "stop_signal": "a session ends by HUP, then TERM, then KILL after stop_grace_period",
    "platform": "an image has the host's architecture",
    "runtime": "ssh2container is the runtime",
    "scale": "use sessions.max",
    "pull_policy": "images are imported with ssh2containerctl image import",
    "working_directory": "a session starts in its home",
    # sshd_config, in any case
    "forcecommand": "use access.interactive and access.commands",
    "acceptenv": "use accept_env",
    "setenv": "use environment",
    "chrootdirectory": "use image and home",
    "allowagentforwarding": "use allow_agent_forwarding",
    "allowtcpforwarding": "sshd's forwarding is outside the container: see sshd_config(5)",
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
    "memory": "use ulimits",
    "network": "use network_mode",
    "sftp": "it belongs below access",
    "commands": "it belongs below access",
    "login": "it belongs below access",
    "interactive": "it belongs below access",
    "message": "it belongs below access",
    "size": "it belongs below storage_opt",
    "admit": "it belongs into config.yaml",
    "group_order": "it belongs into config.yaml",
}


def elsewhere(word: str) -> str:
    """Return what to write in place of a word of another language, "" when it is unknown there too."""
    return _ELSEWHERE.get(word) or _ELSEWHERE.get(word.lower(), "")
