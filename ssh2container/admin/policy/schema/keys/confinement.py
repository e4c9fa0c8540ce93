"""Keys of rights and system calls."""

from __future__ import annotations

from ssh2container.admin.policy.schema.declaration import Setting
from ssh2container.admin.policy.types.capabilities import Capability
from ssh2container.admin.policy.types.entries import ListOf
from ssh2container.admin.policy.types.names import PROFILE_NAME
from ssh2container.admin.policy.types.scalars import Choice, SystemCall, Text

SETTINGS = [
    Setting(
        "cap_add",
        ListOf(Capability()),
        {},
        "Capabilities of root in a range of ids; all but NET_RAW and SETFCAP it has anyway.",
        "cap_add: [NET_RAW]",
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
