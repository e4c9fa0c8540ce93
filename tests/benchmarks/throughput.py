"""Data through ssh, scp, sftp and rsync, against the same with /bin/bash as the login shell.

Both write to one and the same place. What a session keeps in its own memory is freed at its end, which
takes time, too, but is not the way of the data.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time

from support.client import ENVIRONMENT, Client
from support.ledger import CACHE
from support.sshd import serving
from support.users import SHELL, User

from benchmarks.clock import as_user, interleaved
from benchmarks.table import Row, Section

BAR = ">= 0.98"
_SOURCE = f"{CACHE}/benchmark-data"
_SERVER = "/usr/lib/openssh/sftp-server"
_BARE_ROUNDS = 40


def measure(ours: User, plain: User, size_mib: int, rounds: int, room: str, directory: str) -> Section:
    """Move ``size_mib`` each way, in turns.

    room: where both users write, by the same name. directory: for sshd, an existing one of its own.
    """
    target = f"{room}/data"
    with open(_SOURCE, "wb") as file:
        file.write(os.urandom(1 << 20) * size_mib)
    try:
        rows = _without_ssh(ours, size_mib, target)
        with serving(directory) as server:
            clients = {"ssh2container": server.client(ours), "bash": server.client(plain)}
            for name, command in _ways(target).items():
                speeds: dict[str, list[float]] = {who: [] for who in clients}
                for number in range(rounds):
                    # Who comes first changes: the machine gets warm, and others come and go.
                    for who in list(clients)[:: -1 if number % 2 else 1]:
                        speeds[who].append(size_mib / _seconds(clients[who], command, target))
                rows += _pair(name, speeds)
    finally:
        os.unlink(_SOURCE)
    note = f"{size_mib} MiB over ssh on loopback, the start of the session included; ratios pair by pair"
    return Section("throughput", note, rows)


def _pair(name: str, speeds: dict[str, list[float]]) -> list[Row]:
    mine, theirs = (Row(f"{name}, {who}", "MiB/s", samples) for who, samples in speeds.items())
    ratios = [a / b for a, b in zip(mine.samples, theirs.samples, strict=True)]
    mine.ratio, mine.against, mine.bar = statistics.median(ratios), "bash", BAR
    return [mine, theirs]


def _without_ssh(user: User, size_mib: int, target: str) -> list[Row]:
    """Upload to an sftp-server of our own, contained and not: what is left when no cipher is in the way."""
    batch = f"{_SOURCE}-batch"
    with open(batch, "w", encoding="utf-8") as file:
        file.write(f"put {_SOURCE} {target}\nrm {target}\n")
    sftp = ["/usr/bin/sftp", "-q", "-b", batch, "-D"]
    commands = {"ssh2container": [*sftp, f"{SHELL} -c {_SERVER}"], "bash": [*sftp, _SERVER]}
    try:
        times: dict[str, list[float]] = as_user(
            user, lambda: interleaved(commands, _BARE_ROUNDS, user.environment()), first=False
        )
    finally:
        os.unlink(batch)
    speeds = {who: [size_mib * 1000 / took for took in samples] for who, samples in times.items()}
    rows = _pair("sftp, upload, without sshd", speeds)
    rows[0].bar = ""  # so fast that the start of the session counts
    return rows


def _ways(target: str) -> dict[str, list[str]]:
    # rsync's "-e" is filled in by _seconds.
    return {
        "ssh HOST cat, there and back": ["ssh", "-F", "", "box", "cat"],
        "scp, upload": ["scp", "-q", "-F", "", _SOURCE, f"box:{target}"],
        "sftp, upload": ["sftp", "-q", "-F", "", "-b", "-", "box"],
        "rsync, upload": ["rsync", "-W", "--inplace", "-e", "", _SOURCE, f"box:{target}"],
    }


def _seconds(client: Client, command: list[str], target: str) -> float:
    words = list(command)
    at = words.index("")
    words[at] = client.configuration if words[0] != "rsync" else client.remote_shell()
    with tempfile.TemporaryFile() as batch, open(_SOURCE, "rb") as source:
        batch.write(f"put {_SOURCE} {target}\n".encode())
        batch.seek(0)
        began = time.perf_counter()
        done = subprocess.run(
            words, stdin=source if words[0] == "ssh" else batch, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, env=ENVIRONMENT, check=False,
        )  # fmt: skip
        took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed: {done.stderr.decode(errors='replace')}")
    client.box(f"rm -f {target}").ok()
    return took
