"""The second wall around files: what the mounts leave writable by mistake, Landlock does not."""

from __future__ import annotations

from ssh2container.kernel import landlock

from . import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script

CLOSED = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "sys", "usr")
"""Directories at the root of any image below which a session writes to nothing but what it is given."""
_DEVICES = ("/dev", "/proc")
"""Where existing files are written to, but none is made: terminals, /proc/self/oom_score_adj."""


class RestrictFiles(Operation):
    """Refuse to change anything but the session's writable places (landlock(7)).

    version: the kernel's ABI. writable: the places that the plan mounted writable.
    closed: names at the root that are written to only where ``writable`` lies below them; the image's
    other directories at the root stay writable for whom their modes allow it, in memory.
    everything: a whole system with a root of its own changes any file; device nodes stay refused.
    scoped: no abstract socket and no process outside is reached; for a session on the host's network.
    """

    __slots__ = ("closed", "everything", "scoped", "version", "writable")
    step = "landlock"

    def __init__(
        self,
        version: int,
        writable: tuple[str, ...],
        closed: frozenset[str],
        *,
        everything: bool,
        scoped: bool,
        key: str = "",
    ) -> None:
        super().__init__(key)
        self.version = version
        self.writable = writable
        self.closed = closed
        self.everything = everything
        self.scoped = scoped and bool(landlock.scopes(version))

    @property
    def calls(self) -> tuple[str, ...]:
        return ("landlock_restrict_self",)

    def describe(self) -> str:
        if self.everything:
            where = "everywhere, but make no device node"
        else:
            others = "the root's directories but " + " ".join(sorted(self.closed))
            where = "only below " + " ".join((*self.writable, *_DEVICES)) + f" and {others}"
        scope = "; reach no abstract socket and signal no process outside" if self.scoped else ""
        return f"restrict files with Landlock (ABI {self.version}): write {where}{scope}"

    def write(self, script: Script) -> None:
        rights = landlock.known(self.version)
        change = rights & ~(landlock.MAKE_CHAR | landlock.MAKE_BLOCK | landlock.IOCTL_DEV)
        use = landlock.WRITE_FILE | landlock.TRUNCATE | landlock.IOCTL_DEV
        files = landlock.OF_FILES
        scoped = landlock.scopes(self.version) if self.scoped else 0
        request = landlock.request(self.version, rights, scoped)
        rules = script.slot()
        script.call("landlock_create_ruleset", request, len(request), 0, result=rules)
        script.allow(rules, "/", change if self.everything else landlock.READ, files)
        for path in _DEVICES:
            script.allow(rules, path, (landlock.READ | use) & rights, files)
        if not self.everything:
            for path in self.writable:
                script.allow(rules, path, change, files)
            script.allow_root(rules, self.closed, change, files)
        script.call("landlock_restrict_self", rules, 0)
        script.close(rules)
