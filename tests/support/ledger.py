"""What a test run has made on this machine, on disk, so that the next run can clean up after a crash."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess

from ssh2container.admin.mountpoints import is_mount_point
from support.host import processes, run, until

CACHE = "/var/cache/ssh2container-tests"
ROOT = f"{CACHE}/runs"


def _start_time(pid: int) -> str:
    """The process's start in clock ticks since boot (field 22 of proc_pid_stat(5)): names it for ever."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[19]


def remove_user(name: str, uid: int | None) -> None:
    """End what the user still runs, then remove the user and his home."""
    if uid is not None:
        end_processes(uid)
    subprocess.run(["/usr/sbin/userdel", "--force", "--remove", name], capture_output=True, check=False)
    subprocess.run(["/usr/sbin/groupdel", name], capture_output=True, check=False)


def end_processes(uid: int) -> None:
    """SIGKILL to every process of ``uid``, until there is none."""

    def gone() -> bool:
        left = [process for process in processes(uid) if process.state != "Z"]
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        return not left

    until(gone, f"no process of uid {uid}")


def remove_path(path: str) -> None:
    """Remove a file, or a directory and what is in it; what is mounted on it is unmounted."""
    while is_mount_point(path):
        run(["umount", path]).ok()
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


class Ledger:
    """Notes each thing before it is made; :meth:`settle` removes everything noted, newest first."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        os.makedirs(directory, exist_ok=True)

    @classmethod
    def open(cls) -> Ledger:
        """This run's ledger; the ledgers of runs that crashed are settled first."""
        os.makedirs(ROOT, exist_ok=True)
        mine = f"{os.getpid()}-{_start_time(os.getpid())}"
        for name in os.listdir(ROOT):
            pid, _, start = name.partition("-")
            try:
                alive = _start_time(int(pid)) == start
            except (FileNotFoundError, ProcessLookupError):
                alive = False
            if not alive:
                Ledger(f"{ROOT}/{name}").settle()
        return cls(f"{ROOT}/{mine}")

    def _note(self, kind: str, value: str) -> None:
        with open(f"{self._directory}/notes", "a", encoding="utf-8") as file:
            file.write(f"{kind} {value}\n")
            file.flush()
            os.fsync(file.fileno())

    def note_user(self, name: str) -> None:
        self._note("user", name)

    def note_path(self, path: str) -> None:
        self._note("path", path)

    def settle(self) -> None:
        """Remove what is noted and still there, then the ledger itself."""
        try:
            with open(f"{self._directory}/notes", encoding="utf-8") as file:
                notes = file.read().splitlines()
        except FileNotFoundError:
            notes = []
        for note in reversed(notes):
            kind, _, value = note.partition(" ")
            if kind == "user":
                remove_user(value, _uid(value))
            else:
                remove_path(value)
        shutil.rmtree(self._directory)


def _uid(name: str) -> int | None:
    """The user's id as /etc/passwd has it now (the pwd module may have read it before)."""
    with open("/etc/passwd", encoding="utf-8") as file:
        for line in file:
            fields = line.split(":")
            if fields[0] == name:
                return int(fields[2])
    return None
