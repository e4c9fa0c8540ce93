"""Keys of rights and system calls."""

from __future__ import annotations

from ssh2container.admin.language.declaration import Setting
from ssh2container.admin.language.entries import ListOf
from ssh2container.admin.language.names import PROFILE_NAME
from ssh2container.admin.language.scalars import Choice, SystemCall, Text

SETTINGS = [
    Setting(
        "cap_add",
        ListOf(
            Choice(
                "CHOWN",
                "DAC_OVERRIDE",
                "FOWNER",
                "FSETID",
                "KILL",
                "NET_BIND_SERVICE",
                "SETGID",
                "SETUID",
            )
        ),
        {},
        "Capabilities of user: root in range mode, from the safe set.",
        "cap_add: [NET_BIND_SERVICE]",
        supported=False,
    ),
    Setting(
        "seccomp.profile",
        Text("the name of a profile", PROFILE_NAME),
        "default",
        "The system-call filter to start from.",
        "seccomp: {profile: default}",
    ),
    Setting(
        "seccomp.allow",
        ListOf(SystemCall()),
        {},
        "System calls to allow beyond the profile.",
        "seccomp: {allow: [ptrace]}",
    ),
    Setting(
        "seccomp.deny",
        ListOf(SystemCall()),
        {},
        "System calls to refuse beyond the profile.",
        "seccomp: {deny: [memfd_create]}",
    ),
    Setting(
        "seccomp.on_violation",
        Choice("errno", "kill", "log"),
        "errno",
        "What a refused system call gets: an error, death, or an error and a record in the kernel's log.",
        "seccomp: {on_violation: kill}",
    ),
]
