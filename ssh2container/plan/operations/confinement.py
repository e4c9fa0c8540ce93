"""The rights that the session gives up, in the one order that works (capabilities(7))."""

from __future__ import annotations

from ssh2container.kernel import capabilities

from . import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script

_PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS = 28, 38
_SECCOMP_FILTER_FLAG_LOG = 1 << 1
_SET_ID = {0: ", no set-ID bits", 0o2000: ", no set-user-ID bit", 0o6000: ""}


class DropBoundingSet(Operation):
    """Drop every capability but ``keep`` from the bounding set."""

    __slots__ = ("keep", "last")
    step = "bounding-set"
    why = "no program can gain a capability that is not in it"

    def __init__(self, last: int, keep: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.last = last
        self.keep = keep

    @property
    def calls(self) -> tuple[str, ...]:
        return ("prctl",) * (self.last + 1 - len(self.keep))

    def describe(self) -> str:
        return f"drop capabilities 0-{self.last} from the bounding set" + _but(self.keep)

    def write(self, script: Script) -> None:
        script.bound(self.last, self.keep)


class LockSecurebits(Operation):
    """Lock the securebits: uid 0 and executing a file give no capability.

    pings: whether ping has to work, which asks to keep capabilities over a change of ids (KEEP_CAPS).
    """

    __slots__ = ("pings",)
    step = "securebits"
    why = "being uid 0 inside, or executing a file, must not bring capabilities back"

    def __init__(self, *, pings: bool = False) -> None:
        super().__init__()
        self.pings = pings

    @property
    def calls(self) -> tuple[str, ...]:
        return ("prctl",)

    def describe(self) -> str:
        return "lock the securebits: neither uid 0 nor an executed file gives a capability"

    def write(self, script: Script) -> None:
        bits = capabilities.SECUREBITS_LOCKED
        if self.pings:
            bits &= ~capabilities.KEEP_CAPS_LOCKED
        script.call("prctl", _PR_SET_SECUREBITS, bits, 0, 0, 0)


class SetCapabilities(Operation):
    """Leave exactly ``keep`` in the permitted and effective sets."""

    __slots__ = ("keep",)
    step = "capabilities"
    why = "only setting up the container needed them"

    def __init__(self, keep: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.keep = keep

    @property
    def calls(self) -> tuple[str, ...]:
        return ("capset",)

    def describe(self) -> str:
        return "give up all capabilities" + _but(self.keep)

    def write(self, script: Script) -> None:
        script.call("capset", *capabilities.sets(self.keep))


class NoNewPrivileges(Operation):
    """Nothing that is executed from here on gains rights."""

    __slots__ = ()
    step = "no-new-privileges"
    why = "sudo, su and the like must gain nothing inside"

    @property
    def calls(self) -> tuple[str, ...]:
        return ("prctl",)

    def describe(self) -> str:
        return "set no_new_privs: setuid files and file capabilities have no effect"

    def write(self, script: Script) -> None:
        script.call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


class LoadFilter(Operation):
    """Load the compiled seccomp filter, the last thing before the payload is executed."""

    __slots__ = ("bits", "bpf", "name")
    step = "seccomp"
    why = "system calls that no session needs must not reach the kernel"

    def __init__(self, name: str, bpf: bytes, key: str = "", bits: int | None = None) -> None:
        """Take the program; bits: the set-ID bits that it lets files have, None for who makes none."""
        super().__init__(key)
        self.name = name
        self.bpf = bpf
        self.bits = bits

    @property
    def calls(self) -> tuple[str, ...]:
        return ("seccomp",)

    def describe(self) -> str:
        said = "" if self.bits is None else _SET_ID[self.bits]
        return f"load the seccomp filter {self.name} ({len(self.bpf) // 8} instructions{said})"

    def write(self, script: Script) -> None:
        script.filter(self.bpf)


class RecordViolations(Operation):
    """Have what the filter refuses as a violation written to the kernel's log."""

    __slots__ = ("bpf",)
    step = "seccomp"
    why = LoadFilter.why

    def __init__(self, bpf: bytes, key: str = "") -> None:
        super().__init__(key)
        self.bpf = bpf

    @property
    def calls(self) -> tuple[str, ...]:
        return ("seccomp",)

    def describe(self) -> str:
        return f"record refused system calls in the kernel's log ({len(self.bpf) // 8} instructions)"

    def write(self, script: Script) -> None:
        script.filter(self.bpf, _SECCOMP_FILTER_FLAG_LOG)


def _but(keep: frozenset[int]) -> str:
    return " but " + ", ".join(str(number) for number in sorted(keep)) if keep else ""
