"""Who the session is: ids, host name, keys, and who may look at its processes."""

from __future__ import annotations

from ssh2container.kernel import process

from . import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script

_PR_SET_DUMPABLE = 4
_KEYCTL_JOIN_SESSION_KEYRING = 1


class MapOwnIds(Operation):
    """Map the user's own uid and gid, and nobody else's, into the user namespace."""

    __slots__ = ("gid", "gid_inside", "uid", "uid_inside")
    step = "identity-map"
    why = "no other id of the host exists inside, so none can be taken"
    opening = True

    def __init__(self, uid_inside: int, uid: int, gid_inside: int, gid: int, key: str = "") -> None:
        super().__init__(key)
        self.uid_inside = uid_inside
        self.uid = uid
        self.gid_inside = gid_inside
        self.gid = gid

    def describe(self) -> str:
        return (
            f"map uid {self.uid} to {self.uid_inside} and gid {self.gid} to {self.gid_inside}"
            " in the user namespace, with setgroups denied"
        )

    def write(self, script: Script) -> None:
        script.write("/proc/self/uid_map", b"%d %d 1" % (self.uid_inside, self.uid))
        script.write("/proc/self/setgroups", b"deny")
        script.write("/proc/self/gid_map", b"%d %d 1" % (self.gid_inside, self.gid))


class ForbidNestedNamespaces(Operation):
    """No user namespace below the session's own: the first of two locks (seccomp is the other)."""

    __slots__ = ()
    step = "nested-namespaces"
    why = "most escapes through the kernel begin with a new namespace"

    def describe(self) -> str:
        return "forbid nested user namespaces (user.max_user_namespaces = 0 inside)"

    def write(self, script: Script) -> None:
        script.write("/proc/sys/user/max_user_namespaces", b"0")


class NumberProcesses(Operation):
    """Number the processes after pid 1 from a random one on (proc_sys_kernel(5), ns_last_pid).

    Programs write their pids into lock files, and files in a kept home outlive the session: to the next one
    the lock of a process 2 would seem to be its own shell's, or a live one.
    """

    __slots__ = ("last",)
    step = "process-numbers"
    why = "a pid in a lock that another session left must not be in use in this one"

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def describe(self) -> str:
        return "number the processes after pid 1 from a random pid on"

    def write(self, script: Script) -> None:
        # Needs CONFIG_CHECKPOINT_RESTORE, and a pid_max that is not lower than any kernel's default.
        script.write("/proc/sys/kernel/ns_last_pid", b"%d" % self.last, wished=True)


class SetHostname(Operation):
    """Name the session's own UTS namespace."""

    __slots__ = ("name",)
    step = "hostname"
    why = "the host's name stays private"

    def __init__(self, name: str, key: str = "") -> None:
        super().__init__(key)
        self.name = name

    def describe(self) -> str:
        return f"set the host name {self.name}"

    def write(self, script: Script) -> None:
        name = self.name.encode()
        script.call("sethostname", name, len(name))


class NewSessionKeyring(Operation):
    """Leave the caller's session keyring behind."""

    __slots__ = ()
    step = "keyring"
    why = "the caller's keys stay outside"

    @property
    def calls(self) -> tuple[str, ...]:
        return ("keyctl",)

    def describe(self) -> str:
        return "join a new anonymous session keyring"

    def write(self, script: Script) -> None:
        script.call("keyctl", _KEYCTL_JOIN_SESSION_KEYRING, 0)


class DieWithParent(Operation):
    """The kernel ends the process when the one that started it is gone (PR_SET_PDEATHSIG)."""

    __slots__ = ("signal", "who")
    step = "parent-death"
    why = "when the login is gone, nothing of the session may remain"

    def __init__(self, signal: int, who: str) -> None:
        super().__init__()
        self.signal = signal
        self.who = who

    @property
    def calls(self) -> tuple[str, ...]:
        return ("prctl",)

    def describe(self) -> str:
        return f"{self.who}: have the kernel send signal {self.signal} when its parent dies"

    def write(self, script: Script) -> None:
        script.call("prctl", process.PR_SET_PDEATHSIG, self.signal, 0, 0, 0)
        # Only now: the parent may have died before the kernel was told to watch it.
        script.expect_monitor()

    def apply(self, init: int) -> None:
        process.die_with_parent(self.signal)


class HideFromTracers(Operation):
    """Nobody of the same uid may trace the process or open its /proc entries (PR_SET_DUMPABLE)."""

    __slots__ = ("who",)
    step = "not-dumpable"
    why = "other processes of the same user would control it, and what it has open"

    def __init__(self, who: str) -> None:
        super().__init__()
        self.who = who

    @property
    def calls(self) -> tuple[str, ...]:
        return ("prctl",)

    def describe(self) -> str:
        return f"{self.who}: make it not dumpable, so that nobody can trace it or open its memory"

    def write(self, script: Script) -> None:
        script.call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)

    def apply(self, init: int) -> None:
        process.set_dumpable(dumpable=False)
