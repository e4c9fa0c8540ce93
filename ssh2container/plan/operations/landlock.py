"""The second wall around files: what the mounts leave writable by mistake, Landlock does not."""

from __future__ import annotations

from ssh2container.kernel import landlock

from . import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script, Slot

CLOSED = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "sys", "usr")
"""Directories at the root of any image below which a session writes to nothing but what it is given."""
_DEVICES = ("/dev", "/proc")
"""Where existing files are written to, but none is made: terminals, /proc/self/oom_score_adj."""


class RestrictReach(Operation):
    """Reach no abstract socket and no process outside, from the host's network (landlock(7), scopes).

    pid 1 enters the domain, so it is one for the container: its logins reach each other's processes and
    sockets as in any container that they share. The payloads' own domains lie in it.
    """

    __slots__ = ("version",)
    step = "landlock-scope"
    why = "neither mounts nor pid namespaces hide the names of sockets on the host's network"

    def __init__(self, version: int, key: str) -> None:
        super().__init__(key)
        self.version = version

    @property
    def calls(self) -> tuple[str, ...]:
        return ("landlock_restrict_self",)

    def describe(self) -> str:
        return (
            f"restrict the container with Landlock (ABI {self.version}): reach no abstract socket and signal"
            " no process outside"
        )

    def write(self, script: Script) -> None:
        # Every domain refuses to rename and link across directories unless it says otherwise.
        rules = rules_for(
            script, landlock.request(self.version, landlock.REFER, landlock.scopes(self.version))
        )
        script.allow(rules, "/", landlock.REFER, landlock.OF_FILES)
        enter(script, rules)


class RestrictFiles(Operation):
    """Refuse to change anything but the session's writable places (landlock(7)).

    version: the kernel's ABI. writable: the places that the plan mounted writable.
    closed: names at the root that are written to only where ``writable`` lies below them; the image's
    other directories at the root stay writable for whom their modes allow it, in memory.
    everything: a whole system with a root of its own changes any file; device nodes stay refused.
    """

    __slots__ = ("closed", "everything", "version", "writable")
    step = "landlock"
    why = "a second barrier: it closes what the mounts leave writable by mistake"

    def __init__(
        self,
        version: int,
        writable: tuple[str, ...],
        closed: frozenset[str],
        *,
        everything: bool,
    ) -> None:
        super().__init__()
        self.version = version
        self.writable = writable
        self.closed = closed
        self.everything = everything

    @property
    def calls(self) -> tuple[str, ...]:
        return ("landlock_restrict_self",)

    def describe(self) -> str:
        if self.everything:
            where = "everywhere, but make no device node"
        else:
            others = "the root's directories but " + " ".join(sorted(self.closed))
            where = "only below " + " ".join((*self.writable, *_DEVICES)) + f" and {others}"
        return f"restrict files with Landlock (ABI {self.version}): write {where}"

    def write(self, script: Script) -> None:
        rights = landlock.known(self.version)
        change = rights & ~(landlock.MAKE_CHAR | landlock.MAKE_BLOCK | landlock.IOCTL_DEV)
        use = landlock.WRITE_FILE | landlock.TRUNCATE | landlock.IOCTL_DEV
        files = landlock.OF_FILES
        rules = rules_for(script, landlock.request(self.version, rights, 0))
        script.allow(rules, "/", change if self.everything else landlock.READ, files)
        for path in _DEVICES:
            script.allow(rules, path, (landlock.READ | use) & rights, files)
        if not self.everything:
            for path in self.writable:
                script.allow(rules, path, change, files)
            script.allow_root(rules, self.closed, change, files)
        enter(script, rules)


def rules_for(script: Script, request: bytes) -> Slot:
    """Make rules that refuse what ``request`` names, and return where they are."""
    rules = script.slot()
    script.call("landlock_create_ruleset", request, len(request), 0, result=rules)
    return rules


def enter(script: Script, rules: Slot) -> None:
    """Put ``rules`` into force for good."""
    script.call("landlock_restrict_self", rules, 0)
    script.close(rules)
