"""The kind of `cap_add`: which capabilities root of a range may be given, and why not the others.

Root of a range has its capabilities over its own user namespace alone (user_namespaces(7)). What is refused
either opens large parts of the kernel to whoever has it there, undoes a wall of the session, or counts on the
host alone, where nobody has it, so that nothing would come of it.
"""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind

from __future__ import annotations

from ssh2container.admin.capabilities import NAMES
from ssh2container.admin.policy.types.kinds import INVALID, Kind, Report
from ssh2container.admin.policy.yaml.nodes import Node
from ssh2container.admin.policy.yaml.problems import did_you_mean, quoted
from ssh2container.plan.insider import ADDED_CAPABILITIES, ROOT_CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ON_THE_HOST = "it counts on the host alone, so that nothing would come of it"
_WHY_NOT = {
    "DAC_READ_SEARCH": "it opens files by handle, past every path (open_by_handle_at(2)); see DAC_OVERRIDE",
    "SETPCAP": "it undoes the lock on the securebits and the bounding set",
    "NET_BROADCAST": "the kernel asks for it nowhere",
    "NET_ADMIN": "it changes the session's network, its filters and queues: most holes of the kernel that a"
    " container could use were there; egress, ports and networks say what a session reaches",
    "IPC_LOCK": _ON_THE_HOST,
    "IPC_OWNER": "root inside made what is in the session's own IPC namespace, or may become who did",
    "SYS_ADMIN": "it mounts, and reaches hundreds of places in the kernel that are closed to sessions",
    "SYS_BOOT": "it ends the whole container at once; log out, or kill what should end",
    "SYS_PTRACE": "it reads and changes every process inside, whoever's it is",
    "SYS_RESOURCE": "it undoes the limits of the session, that on user namespaces too",
    "MKNOD": "nobody can make device nodes in a user namespace (mknod(2), EPERM): use devices",
    "AUDIT_WRITE": "the host's audit log is the host's",
    "BPF": "it loads programs into the kernel, whose verifier has had many holes",
    "PERFMON": "it measures other users' processes, and the kernel itself",
    "CHECKPOINT_RESTORE": "it chooses process ids and replaces the program that a process shows",
}


GAINS = {
    "NET_RAW": "Raw sockets of IP in a network of the session's own, for ping and traceroute; the system-call"
    " filter still refuses packet sockets.",
    "SETFCAP": "Capabilities on files (setcap(8)), which some packages set; they count in the session alone.",
}
"""What a session gains by those that root of a range does not have anyway."""


def reason(name: str) -> str:
    """Return why no policy can give ``name``, "" where one can."""
    number = NAMES.index(name)
    if number in ROOT_CAPABILITIES or number in ADDED_CAPABILITIES.values():
        return ""
    return _WHY_NOT.get(name, _ON_THE_HOST)


SAFE = tuple(name for name in NAMES if not reason(name))
"""What cap_add takes."""


class Capability(Kind):
    """A capability by its name, in capitals, with or without CAP_ before it."""

    name = "capability"
    allowed = " | ".join(SAFE)

    def read(self, node: Node, report: Report) -> Any:
        text = self.text(node, report)
        if text is None:
            return INVALID
        name = text.removeprefix("CAP_")
        if name in SAFE:
            return name
        if name.upper() == "ALL":
            hint = "name each: all of them would be the host's root for most of the kernel"
        elif name.upper() in NAMES:
            hint = reason(name.upper()) or f"write {name.upper()}, in capitals"
        else:
            hint = did_you_mean(name, NAMES)
        return report.fail(node, f"found {quoted(text)}", self.allowed, hint)

    def write(self, value: str) -> str:
        return value

    def schema(self) -> dict[str, Any]:
        return {"enum": [*SAFE, *(f"CAP_{name}" for name in SAFE)]}
