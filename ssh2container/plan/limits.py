"""What a session may use of the host, and who sees to it: a scope of the user's service manager. Pure.

The manager (systemd --user) has a part of the control group tree to itself, so a session gets its limits
without root (systemd.resource-control(5), org.freedesktop.systemd1(5), cgroups(7) and the kernel's
Documentation/admin-guide/cgroup-v2.rst). Imported only for a policy with limits.
"""

from __future__ import annotations

from ssh2container.errors import Refusal
from ssh2container.kernel.namespaces import CLONE_NEWCGROUP

from .greeting import spell_size
from .operations import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ssh2container.kernel.script import Script
    from ssh2container.policy.limits import Limits

    from .host import Host
    from .make import Container, Payload, Plan

_SECOND_US = 1_000_000
_LARGEST_PAGE = 65_536
_EXACT = 0.01

MEANINGS = {
    "MemoryMax": ("mem_limit", "memory to", "memory.max"),
    "MemorySwapMax": ("memswap_limit", "swap to", "memory.swap.max"),
    "CPUQuotaPerSecUSec": ("cpus", "processors to", "cpu.max"),
    "CPUWeight": ("cpu_shares", "the weight among those who want a processor to", "cpu.weight"),
    "TasksMax": ("pids_limit", "processes and threads to", "pids.max"),
    "IOWeight": ("blkio_config", "the weight among those who want a disk to", "io.weight", "io.bfq.weight"),
    "IOReadBandwidthMax": ("blkio_config", "bytes read a second to", "io.max"),
    "IOWriteBandwidthMax": ("blkio_config", "bytes written a second to", "io.max"),
    "IOReadIOPSMax": ("blkio_config", "reads a second to", "io.max"),
    "IOWriteIOPSMax": ("blkio_config", "writes a second to", "io.max"),
}
"""Property of a unit -> key of the policy, words, files of the control group, of which the first counts."""
_RATES = {
    "IOReadBandwidthMax": "rbps",
    "IOWriteBandwidthMax": "wbps",
    "IOReadIOPSMax": "riops",
    "IOWriteIOPSMax": "wiops",
}
"""Property -> its name in io.max."""


class Bound(Operation):
    """One limit: what the manager is asked for, and how the kernel says that it holds.

    name, value: of the unit's property. files: see :data:`MEANINGS`.
    """

    __slots__ = ("_words", "files", "name", "value")
    step = "limits"
    why = "a session that takes more than its share must harm itself alone"

    def __init__(self, name: str, value: int | tuple[tuple[str, int], ...]) -> None:
        key, self._words, *files = MEANINGS[name]
        super().__init__(key)
        self.name = name
        self.value = value
        self.files = tuple(files)

    def describe(self) -> str:
        return f"limit {self.words}"

    @property
    def words(self) -> str:
        """The limit in words."""
        if isinstance(self.value, tuple):
            return f"{self._words} {', '.join(f'{rate} on {path}' for path, rate in self.value)}"
        if self.name.startswith("Memory"):
            return f"{self._words} {spell_size(self.value)}"
        if self.name == "CPUQuotaPerSecUSec":
            return f"{self._words} {self.value / _SECOND_US:g}"
        return f"{self._words} {self.value}"

    @property
    def asked(self) -> tuple[str, Any]:
        """What is asked for: signature and value."""
        return ("a(st)", list(self.value)) if isinstance(self.value, tuple) else ("t", self.value)

    def is_met(self, text: str) -> bool:
        """Tell whether ``text``, the content of the first file that exists, says what was asked."""
        words = text.split()
        if isinstance(self.value, tuple):
            begin = _RATES[self.name] + "="
            held = [word.removeprefix(begin) for word in words if word.startswith(begin)]
            return all(str(rate) in held for _, rate in self.value)
        if self.name == "CPUQuotaPerSecUSec":
            if len(words) != 2 or not all(map(str.isdecimal, words)) or not int(words[1]):  # noqa: PLR2004
                return False
            held_us = int(words[0]) * _SECOND_US / int(words[1])
            return abs(held_us - self.value) <= max(1, self.value * _EXACT)
        if not words or not words[-1].isdecimal():
            return False  # "max", too
        # The kernel counts memory in whole pages.
        slack = _LARGEST_PAGE if self.name.startswith("Memory") else 1
        return 0 <= self.value - int(words[-1]) < slack


class Scope(Operation):
    """The scope of one container, made by the user's manager around process 1.

    limits: what it holds. is_required: whether a limit that does not hold refuses the login.
    """

    __slots__ = ("is_required", "limits", "name")
    divided = False
    """Whether what is inside divides it (:mod:`.whole`)."""
    step = "limits"
    why = "the kernel counts what is used by everything that process 1 starts, and nothing else"

    def __init__(self, name: str, limits: tuple[Bound, ...], *, is_required: bool) -> None:
        super().__init__("limits")
        self.name = name
        self.limits = limits
        self.is_required = is_required

    def describe(self) -> str:
        otherwise = "or refuse the login" if self.is_required else "or go on without, with a note in the log"
        return f"have the user's service manager put process 1 into {unit(self.name)}, {otherwise}"

    def refusal(self, why: str) -> Refusal:
        """Return what a login is refused with that cannot have it."""
        return Refusal(
            f"cannot limit the session to what its policy allows ({self.words})",
            why,
            "an administrator runs: ssh2containerctl doctor USER; or lets it go on without: limits: best",
            "limits",
        )

    def rehearsed(self, plan: Plan) -> list[Plan]:
        """Return what is to be rehearsed of ``plan``: without this, which a manager would make.

        It may come with the login itself (pam_systemd(8)): who rehearses looks whether it does.
        """
        return [plan.without(EnterScope)]

    def complete(self, container: Container, payload: Payload, host: Host) -> None:
        """Change a plan's ``container`` for it, once the rest is made: nothing, in most."""

    @property
    def words(self) -> str:
        """The limits, for a record."""
        return ", ".join(bound.words for bound in self.limits)

    @property
    def entering(self) -> tuple[Operation, ...]:
        """What process 1 does about it."""
        return (EnterScope(),)

    @property
    def memory(self) -> str:
        """How much memory is allowed, as people say it; "" where that is not limited."""
        found = [bound.value for bound in self.limits if bound.name == "MemoryMax"]
        return spell_size(found[0]) if found and isinstance(found[0], int) else ""

    def _controllers(self) -> list[str]:
        """Return what counts the memory and the processes, and what limits (cgroups(7))."""
        return sorted({"memory", "pids", *(bound.files[0].partition(".")[0] for bound in self.limits)})

    def properties(self, pid: int) -> list[tuple[str, tuple[str, Any]]]:
        """Return what StartTransientUnit is asked for, with process ``pid`` in it."""
        return [
            ("Description", ("s", f"Session {self.name} of ssh2container")),
            ("PIDs", ("au", [pid])),
            # With these, and no more, the files that are read are there: each further one is work for the
            # kernel. A scope without any would end with its first program that is out of memory.
            ("DelegateControllers", ("as", self._controllers())),
            ("CollectMode", ("s", "inactive-or-failed")),
            *((bound.name, bound.asked) for bound in self.limits),
        ]


class EnterScope(Operation):
    """Wait until process 1 is in its scope, and have a control group namespace that begins there.

    The first one begins where sshd has put the login: from there the path to the scope would be seen.
    """

    __slots__ = ()
    step = "limits"
    why = "nothing runs that is not limited, and nothing inside shows where that is on the host"

    def __init__(self) -> None:
        super().__init__("limits")

    def describe(self) -> str:
        return "wait until it is in its scope, and make that the root of the control groups that it sees"

    def write(self, script: Script) -> None:
        script.await_word()
        script.call("unshare", CLONE_NEWCGROUP)


def unit(name: str) -> str:
    """Return the name of the scope of the container ``name``."""
    return f"ssh2container-{name}.scope"


def bounds(limits: Limits) -> tuple[Bound, ...]:
    """Return what each of ``limits`` is asked for as."""
    return tuple(Bound(*found) for found in limits.properties())
