# Longer than 300 lines: a process is found, named and read in its memory under the same distrust of /proc.
"""The sshds that run: which files each was started with, and whether it has read them as they are now.

sshd reads its configuration when it starts and on SIGHUP, and hands what it read to the process of each
connection (sshd.c, load_server_config). The text is thus in the memory of the process that listens, where
root finds it; where that memory cannot be read, the times of the files and of the process have to do.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssh2container.admin import cgroups
from ssh2container.admin.change import Change, read_or_none
from ssh2container.admin.sshd import MARK, SENTINEL
from ssh2container.admin.sshd.effective import complaint, effective_globally
from ssh2container.errors import SessionError
from ssh2container.plan.sshd_files import CONFIG, Files

if TYPE_CHECKING:
    from collections.abc import Iterator

_WITH_VALUE = "bcCEfghkopu"
"""Options of sshd(8) that take a value."""
_LISTENING = "0A"
"""The state of a listening socket in /proc/net/tcp (include/net/tcp_states.h)."""
_LARGEST_HEAP_BYTES = 64 << 20
_UNITS = ("ssh.service", "sshd.service")
_DEADLINE_SECONDS, _PAUSE_SECONDS = 10.0, 0.05
_OTHER_SERVERS = ("dropbear", "tinysshd", "lshd")


@dataclass(frozen=True, slots=True)
class Server:
    """A listening sshd.

    config: the file it was started with. options: its ``-o`` options, which outdo the file.
    replaced: whether the program on disk is another than the one that runs.
    """

    pid: int
    config: str
    options: tuple[str, ...]
    replaced: bool

    @property
    def command(self) -> list[str]:
        """The command that makes it read its files; live connections stay."""
        unit = _unit(self.pid)
        # Units of the distribution know how; another one may have no ExecReload.
        if unit in _UNITS and os.path.isdir(cgroups.RUNS):
            return ["/usr/bin/systemctl", "reload", unit]
        return ["/bin/kill", "-HUP", str(self.pid)]

    @property
    def reload(self) -> str:
        """The same as one types it."""
        return " ".join(self.command).replace("/usr/bin/", "").replace("/bin/", "")


def servers() -> list[Server]:
    """Return the sshds of this host that listen, in the order of their pids."""
    listening = _listening_sockets()
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            program = os.readlink(f"/proc/{pid}/exe")
            if os.path.basename(program.removesuffix(" (deleted)")) != "sshd" or not _of_this_host(pid):
                continue
            if not listening & _sockets(pid):
                continue
            config, options = _arguments(pid)
            found.append(Server(pid, config, options, program.endswith(" (deleted)")))
    return found


def others() -> list[tuple[int, str]]:
    """Return (pid, name) of servers for ssh that are not OpenSSH's: no drop-in holds for them."""
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            name = os.path.basename(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)"))
            if name in _OTHER_SERVERS and _of_this_host(pid):
                found.append((pid, name))
    return found


def without_drop_in() -> list[Server]:
    """Return the running sshds in whose files our drop-in is not: it closes nothing in them."""
    found = []
    for server in servers():
        files = Files(server.config)
        ours = any(SENTINEL.encode() in text or MARK.encode() in text for text in files.texts.values())
        if not ours and not files.unreadable:
            found.append(server)
    return found


def unread(server: Server, files: Files) -> list[str]:
    """Return which of ``files`` the server has not read as they are now, and those that are gone."""
    memory = _memory(server.pid)
    if memory is not None and any(_normal(text) in memory for text in files.texts.values()):
        missing = [path for path, text in files.texts.items() if _normal(text) not in memory]
        return missing + _gone(memory, files)
    since = read_at(server)
    return [
        path for path in (*files.paths, *files.directories) if since is not None and _changed(path) > since
    ]


class Reload(Change):
    """The running sshds read their files, where they are not as they were when they read them."""

    def __init__(self) -> None:
        self._stale: list[Server] = []

    def describe(self) -> str:
        """See :class:`Change`."""
        commands = [server.reload for server in self._stale or stale()]
        return f"make the running sshd read its files ({', '.join(commands) or 'it has'})"

    def done(self) -> bool:
        """See :class:`Change`."""
        self._stale = stale()
        return not self._stale

    def do(self) -> None:
        """See :class:`Change`; raises :class:`SessionError` when sshd refuses or ignores its files."""
        for server in self._stale:
            refused = complaint(server.config)
            if refused:
                raise SessionError("cannot reload sshd", f"it would refuse its files: {refused}", step="sshd")
            answer = subprocess.run(server.command, capture_output=True, text=True, check=False)
            if answer.returncode:
                raise SessionError(f"{server.reload} failed", answer.stderr.strip(), step="sshd")
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while stale():
            if time.monotonic() > deadline:
                raise SessionError(
                    "sshd was told to read its files and has not done so",
                    "",
                    "look at its log, or restart it",
                    "sshd",
                )
            time.sleep(_PAUSE_SECONDS)

    def undo(self) -> None:
        """Do it once more: the change before this one has put the former file back."""
        self._stale = stale()
        self.do()


def stale() -> list[Server]:
    """Return the running sshds that have not read their files as they are now."""
    return [server for server in servers() if unread(server, Files(server.config))]


def read_at(server: Server) -> float | None:
    """Return when the server last read its configuration, in seconds since 1970; None: nobody knows.

    A process that starts itself anew on SIGHUP keeps its pid and its age; but it writes its PidFile again.
    """
    times = [_started(server.pid)]
    with contextlib.suppress(OSError, SessionError, ValueError):
        path = effective_globally(server.config, server.options).get("pidfile", "none")
        with open(path, encoding="ascii") as file:
            if int(file.read()) == server.pid:
                times.append(os.stat(path).st_mtime)
    known = [time for time in times if time is not None]
    return max(known) if known else None


def _unit(pid: int) -> str:
    """Return the systemd unit that a process belongs to, "" without one (proc(5), cgroup)."""
    last = (read_or_none(f"/proc/{pid}/cgroup") or "").strip().rpartition("/")[2]
    return last if last.endswith(".service") else ""


def _pids() -> Iterator[int]:
    return iter(sorted(int(name) for name in os.listdir("/proc") if name.isdigit()))


def _of_this_host(pid: int) -> bool:
    """Tell a process of this host from one of a container, whose paths mean other files."""
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/root/etc/passwd"), os.stat("/etc/passwd"))
    except OSError:
        return False


def _listening_sockets() -> set[str]:
    found = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"/proc/net/{name}", encoding="ascii") as file:
            next(file, "")
            for line in file:
                words = line.split()
                if words[3] == _LISTENING:
                    found.add(f"socket:[{words[9]}]")
    return found


def _sockets(pid: int) -> set[str]:
    directory = f"/proc/{pid}/fd"
    found = set()
    for name in os.listdir(directory):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"{directory}/{name}"))
    return found


def _arguments(pid: int) -> tuple[str, tuple[str, ...]]:
    """Return the configuration and the ``-o`` options of a command line.

    A listener's title is "sshd: /usr/sbin/sshd -D -f FILE [listener] 0 of 10-100 startups".
    """
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        raw = os.fsdecode(file.read().rstrip(b"\0"))
    words = raw.split("\0")
    if len(words) == 1:
        words = raw.partition(" [listener]")[0].removeprefix("sshd: ").split(" ")
    return parse_arguments(words[1:])


def parse_arguments(words: list[str]) -> tuple[str, tuple[str, ...]]:
    """Return the file after ``-f`` and what follows each ``-o``, as getopt(3) reads them (pure)."""
    config, options = CONFIG, []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("-") or word in ("-", "--"):
            continue
        for at, letter in enumerate(word[1:], 1):
            if letter not in _WITH_VALUE:
                continue
            value = word[at + 1 :] or (waiting.pop(0) if waiting else "")
            if letter == "f" and value:
                config = value
            elif letter == "o":
                options.append(value)
            elif letter == "p":
                options.append(f"Port={value}")
            break
    return config, tuple(options)


def _normal(text: bytes) -> bytes:
    """Return a file as sshd keeps it: every line without the white space before it."""
    return b"".join(line.lstrip(b" \t\r") for line in text.splitlines(keepends=True))


def _memory(pid: int) -> bytes | None:
    """Return the writable private memory of a process that is no file's; None where it cannot be read."""
    parts = []
    try:
        with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps:
            ranges = [line.split() for line in maps]
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for words in ranges:
                if words[1] != "rw-p" or (len(words) > 5 and words[5] != "[heap]"):  # noqa: PLR2004
                    continue
                start, end = (int(number, 16) for number in words[0].split("-"))
                if end - start <= _LARGEST_HEAP_BYTES:
                    memory.seek(start)
                    parts.append(memory.read(end - start))
    except (OSError, ValueError):
        return None
    return b"\0".join(parts)


def _gone(memory: bytes, files: Files) -> list[str]:
    """Return files that the server has read by an Include and that do not exist any more."""
    found = set()
    for directory in files.directories:
        start = os.fsencode(directory.rstrip("/") + "/")
        at = memory.find(start)
        while at >= 0:
            end = memory.find(b"\0", at)
            name = os.fsdecode(memory[at : end if end >= 0 else at + 1])
            plain = name.isprintable() and not set(name) & set("*?[")
            if plain and name.endswith(".conf") and not os.path.lexists(name):
                found.add(name)
            at = memory.find(start, at + 1)
    return sorted(found)


def _changed(path: str) -> float:
    try:
        found = os.stat(path)
    except OSError:
        return 0.0
    return max(found.st_mtime, found.st_ctime)


def _started(pid: int) -> float | None:
    """Return when a process was started (proc(5): stat, field 22, in ticks since boot)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        with open("/proc/stat", encoding="ascii") as file:
            booted = next(int(line.split()[1]) for line in file if line.startswith("btime "))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return booted + ticks / os.sysconf("SC_CLK_TCK")
