"""What a session's payload tries at the terminal of a command that an administrator runs in the session."""

from __future__ import annotations

import errno
import json
import os

from ssh2container.admin.verify import calls

READY = b"ready\n"
_PTRACE_SEIZE = 0x4206


def spy() -> int:
    """Say so, wait for a word, then try everything at the terminals of processes that are not ours."""
    os.write(1, READY)
    os.read(0, 1)
    own = {1, os.getpid()}
    others = sorted(int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in own)
    went = [way for pid in others for way in _spied(pid)]
    terminals = [f"/dev/pts/{name}" for name in sorted(os.listdir("/dev/pts")) if name.isdigit()]
    went += [f"open {path}" for path in terminals if _opens(path)]
    os.write(1, json.dumps({"processes": len(others), "went": went}).encode() + b"\n")
    os.read(0, 1)
    return 0


def _opens(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def _spied(pid: int) -> list[str]:
    """Return by which ways what process ``pid`` reads could be read."""
    went = [f"open descriptor {n} of process {pid}" for n in range(3) if _opens(f"/proc/{pid}/fd/{n}")]
    if _opens(f"/proc/{pid}/mem"):
        went.append(f"open the memory of process {pid}")
    buffer = bytearray(8)
    for name, arguments in (
        ("ptrace", (_PTRACE_SEIZE, pid, 0, 0)),
        ("process_vm_readv", (pid, calls.vector(buffer), 1, calls.vector(buffer), 1, 0)),
    ):
        try:
            calls.call(name, *arguments)
        except OSError as error:
            # A wrong address is found only after leave was given.
            if error.errno != errno.EFAULT:
                continue
        went.append(f"{name} of process {pid}")
    try:
        calls.call("pidfd_getfd", calls.call("pidfd_open", pid, 0), 0, 0)
    except OSError:
        return went
    return [*went, f"take descriptor 0 of process {pid}"]
