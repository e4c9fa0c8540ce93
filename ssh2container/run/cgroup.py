"""What a session uses of its limits, as its control group says, and telling the person of kills.

Source: the kernel's Documentation/admin-guide/cgroup-v2.rst. Imported only for a policy with limits.
"""

from __future__ import annotations

import posix as os
import time

from ssh2container.kernel import process
from ssh2container.kernel.offering import offer
from ssh2container.paths import CGROUPS
from ssh2container.plan.limits import unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.plan.limits import Scope

    from .terminal import Relay

_LONGEST_FILE = 4096
_QUIET_S = 10.0
"""How long nothing more is said of kills: what is started again and again is killed again and again."""


class Cgroup:
    """A control group that a session is in.

    path: below :data:`.paths.CGROUPS`, "" where the session is in none of its own. why: what does not hold.
    events: a descriptor of memory.events, which poll(2) reports by POLLPRI when it changes, or -1.
    """

    def __init__(self, scope: Scope, path: str, why: str = "", *, is_shared: bool = False) -> None:
        """is_shared: others were in it before, and stay: what they have used is not this session's."""
        self._scope = scope
        self._is_shared = is_shared
        self.path = path
        self.why = why
        self.events = self._directory = -1
        if path:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            try:
                # What was opened stays this group, whatever happens to its name.
                self._directory = os.open(CGROUPS + path, flags | os.O_DIRECTORY)
                self.events = os.open("memory.events", flags, dir_fd=self._directory)
            except OSError:
                pass  # it has just ended, or nothing counts its memory
        self._before = self._killed = self._told = 0
        self._quiet_until = 0.0
        self._has_events = self.events >= 0
        self._before, self._killed = self.kills(), 0

    def kills(self) -> int:
        """Return how many programs were killed for want of memory since this was made, as far as is known.

        Nobody can tell any more once the group is removed, some milliseconds after process 1 has ended.
        """
        if self.events >= 0:
            try:
                text = os.pread(self.events, _LONGEST_FILE, 0).decode("ascii", "replace")
            except OSError:
                text = ""
                os.close(self.events)
                self.events = -1
            self._killed = max(self._killed, (number_of(text, "oom_kill") or 0) - self._before)
        return self._killed

    def tell_of_kills(self, relay: Relay | None, *, is_final: bool = False) -> None:
        """Say to the person that programs were killed, where that was not just said.

        relay: of the terminal; without one it is a line on standard error. is_final: the session ends.
        """
        kills, now = self.kills(), time.monotonic()
        if kills <= self._told or (now < self._quiet_until and not is_final):
            return
        self._told, self._quiet_until = kills, now + _QUIET_S
        allowed = self._scope.memory
        most = f"the {allowed} of memory that it may use" if allowed else "the memory that there is"
        line = f"killed, as this session needed more than {most}; an administrator can allow more (mem_limit)"
        if relay is not None:
            relay.tell(line, final=is_final)
        else:
            offer(2, f"ssh2container: {line}\n".encode())

    def usage(self) -> dict[str, str]:
        """Return fields of a record: what was used of which limits. Call it while process 1 lives."""
        if not self.path:
            return {"limits": f"none: {self.why}"}
        found: dict[str, str | int | None] = {
            "limits": self._scope.words + (f"; but {self.why}" if self.why else "")
        }
        if self._has_events:
            found["oom_kills"] = self.kills()
        if not self._is_shared:
            found["memory_peak"] = self._read("memory.peak").strip()
            found["pids_peak"] = self._read("pids.peak").strip()
            found["pids_refused"] = number_of(self._read("pids.events"), "max")
            cpu = self._read("cpu.stat")
            found["cpu_usec"] = number_of(cpu, "usage_usec")
            found["cpu_user_usec"] = number_of(cpu, "user_usec")
            found["cpu_system_usec"] = number_of(cpu, "system_usec")
            found["cpu_throttled"] = number_of(cpu, "nr_throttled")
        return {name: str(value) for name, value in found.items() if value not in (None, "")}

    def close(self) -> None:
        """Let go of it."""
        for descriptor in (self.events, self._directory):
            if descriptor >= 0:
                os.close(descriptor)
        self.events = self._directory = -1

    def _read(self, name: str) -> str:
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._directory)
        except OSError:
            return ""
        try:
            return os.read(descriptor, _LONGEST_FILE).decode("ascii", "replace")
        except OSError:
            return ""
        finally:
            os.close(descriptor)


def of_container(scope: Scope, name: str, entry: str) -> Cgroup:
    """Return what a container that logins share is counted in, of which its registry entry names the place.

    name: of the container. entry: the file.
    """
    try:
        text = process.read_file(entry, os.O_NOFOLLOW).decode("utf-8", "surrogateescape")
    except OSError:
        text = ""
    found = [line.partition(" ")[2] for line in text.splitlines() if line.startswith("cgroup /")]
    if found and found[0].endswith("/" + unit(name)):
        return Cgroup(scope, found[0], is_shared=True)
    return Cgroup(scope, "", "the container was made without", is_shared=True)


def number_of(text: str, name: str) -> int | None:
    """Return the number of one line of a file of ``name number`` lines; None where it has none."""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == name and words[1].isdecimal():  # noqa: PLR2004
            return int(words[1])
    return None
