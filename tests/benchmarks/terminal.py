"""Bytes through a session's terminal, plain and recorded, against a bare relay between two terminals."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import tempfile
import time

from support.collector import collecting
from support.host import run
from support.users import User

from benchmarks.table import Row, Section

BAR = ">= 0.90"
_LINE = "{:08} -rw-r--r-- 1 alice students {:>12} Nov 22 02:52 \x1b[01;32mexercise-{}.py\x1b[0m\n"
_START, _END = b"data begins\r\n", b"data ends\r\n"
_CHUNK = 1 << 16
_PATIENCE_S = 300


def measure(plain: User, recorded: User, size_mib: int, rounds: int, directory: str) -> Section:
    """Show ``size_mib`` of coloured listings on a terminal, in turns.

    plain, recorded: users of the product whose policies differ in that alone, with ``directory``, which
    they can read, as a volume at /data.
    """
    relay, data = f"{directory}/relay", f"{directory}/text"
    source = os.path.join(os.path.dirname(__file__), "relay.c")
    run(["gcc", "-O2", "-o", relay, source]).ok()
    _write(data, size_mib)
    ways = {
        "bare relay in C": (plain, [relay, "/bin/sh", "-c", _show(data)]),
        "ssh2container": (plain, [plain.shell, "-c", _show("/data/text")]),
        "ssh2container, recorded": (recorded, [recorded.shell, "-c", _show("/data/text")]),
    }
    rows = {name: Row(name, "MiB/s", []) for name in ways}
    with tempfile.TemporaryDirectory(prefix="recordings-") as kept, collecting(kept):
        for _ in range(rounds):
            for name, (user, command) in ways.items():
                shown, seconds = _watch(user, command)
                rows[name].samples.append(shown / seconds / (1 << 20))
            for path in os.scandir(f"{kept}/{recorded.name}"):
                os.unlink(path)
    bare = rows["bare relay in C"]
    for row in rows.values():
        if row is not bare:
            row.ratio, row.against, row.bar = row.median / bare.median, bare.name, BAR
    note = f"{size_mib} MiB of coloured lines, from the first byte shown to the last"
    return Section("terminal", note, list(rows.values()))


def _show(path: str) -> str:
    return f"echo data begins; cat {path}; echo data ends"


def _write(path: str, size_mib: int) -> None:
    number = written = 0
    with open(path, "w", encoding="utf-8") as file:
        while written < size_mib << 20:
            written += file.write(_LINE.format(number, number * 7919 % 1000003, number % 100))
            number += 1


def _watch(user: User, command: list[str]) -> tuple[int, float]:
    """Run ``command`` on a terminal; return how many bytes it showed in how many seconds."""
    master, slave = pty.openpty()
    os.fchown(slave, user.uid, user.gid)
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd="/",
        user=user.uid, group=user.gid, extra_groups=[], env={**user.environment(), "TERM": "xterm"},
    )  # fmt: skip
    os.close(slave)
    until = time.monotonic() + _PATIENCE_S
    begun = _read(master, _START, until)
    began = time.perf_counter()
    seen = _read(master, _END, until)
    took = time.perf_counter() - began
    os.close(master)
    process.wait()
    if not begun or not seen:
        raise RuntimeError(f"{command[0]} did not come to an end")
    return seen, took


def _read(master: int, mark: bytes, until: float) -> int:
    """Read up to ``mark`` and return how many bytes came, 0 when it did not. The reader costs little."""
    seen, recent = 0, b""
    while mark not in recent:
        if not select.select([master], [], [], max(0, until - time.monotonic()))[0]:
            return 0
        try:
            piece = os.read(master, _CHUNK)
        except OSError:
            return 0
        seen += len(piece)
        recent = recent[-len(mark) :] + piece
    return seen
