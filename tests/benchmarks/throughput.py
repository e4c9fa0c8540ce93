"""Data through ssh, scp, sftp and rsync, against the same with /bin/bash as the login shell."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time

from support.client import ENVIRONMENT, Client
from support.ledger import CACHE
from support.sshd import serving
from support.users import User

from benchmarks.table import Row, Section

BAR = ">= 0.98"
_SOURCE = f"{CACHE}/benchmark-data"
_TARGET = "/tmp/data"
"""In memory inside a session; for bash it should be a tmpfs too, or the disks are compared."""


def measure(ours: User, plain: User, size_mib: int, rounds: int, directory: str) -> Section:
    """Move ``size_mib`` each way, in turns. directory: for sshd, an existing one of its own."""
    with open(_SOURCE, "wb") as file:
        file.write(os.urandom(1 << 20) * size_mib)
    rows = []
    try:
        with serving(directory) as server:
            clients = {"ssh2container": server.client(ours), "bash": server.client(plain)}
            for name, command in _ways().items():
                speeds: dict[str, list[float]] = {who: [] for who in clients}
                for _ in range(rounds):
                    for who, client in clients.items():
                        speeds[who].append(size_mib / _seconds(client, command))
                mine = Row(f"{name}, ssh2container", "MiB/s", speeds["ssh2container"])
                theirs = Row(f"{name}, bash", "MiB/s", speeds["bash"])
                mine.ratio, mine.against, mine.bar = mine.median / theirs.median, "bash", BAR
                rows += [mine, theirs]
    finally:
        os.unlink(_SOURCE)
    note = f"{size_mib} MiB over ssh on loopback, the start of the session included"
    return Section("throughput", note, rows)


def _ways() -> dict[str, list[str]]:
    # rsync's "-e" is filled in by _seconds.
    return {
        "ssh HOST cat, there and back": ["ssh", "-F", "", "box", "cat"],
        "scp, upload": ["scp", "-q", "-F", "", _SOURCE, f"box:{_TARGET}"],
        "sftp, upload": ["sftp", "-q", "-F", "", "-b", "-", "box"],
        "rsync, upload": ["rsync", "-W", "--inplace", "-e", "", _SOURCE, f"box:{_TARGET}"],
    }


def _seconds(client: Client, command: list[str]) -> float:
    words = list(command)
    at = words.index("")
    words[at] = client.configuration if words[0] != "rsync" else client.remote_shell()
    with tempfile.TemporaryFile() as batch, open(_SOURCE, "rb") as source:
        batch.write(f"put {_SOURCE} {_TARGET}\n".encode())
        batch.seek(0)
        began = time.perf_counter()
        done = subprocess.run(
            words, stdin=source if words[0] == "ssh" else batch, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, env=ENVIRONMENT, check=False,
        )  # fmt: skip
        took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed: {done.stderr.decode(errors='replace')}")
    client.box(f"rm -f {_TARGET}").ok()  # a login of bash leaves it on the host
    return took
