"""Data through ssh, scp, sftp and rsync, against the same with /bin/bash as the login shell."""

from __future__ import annotations

import os
import subprocess
import time

from support.client import ENVIRONMENT, Client
from support.ledger import CACHE
from support.sshd import serving
from support.users import User

from benchmarks.table import Row, Section

BAR = ">= 0.98"


def measure(ours: User, plain: User, size_mib: int, rounds: int, directory: str) -> Section:
    """Move ``size_mib`` each way, in turns. directory: for sshd, an existing one of its own."""
    source = f"{CACHE}/benchmark-data"
    with open(source, "wb") as file:
        file.write(os.urandom(1 << 20) * size_mib)
    rows = []
    try:
        with serving(directory) as server:
            clients = {"ssh2container": server.client(ours), "bash": server.client(plain)}
            for name, command in _ways(size_mib, source).items():
                speeds: dict[str, list[float]] = {who: [] for who in clients}
                for _ in range(rounds):
                    for who, client in clients.items():
                        speeds[who].append(size_mib / _seconds(client, command))
                mine = Row(f"{name}, ssh2container", "MiB/s", speeds["ssh2container"])
                theirs = Row(f"{name}, bash", "MiB/s", speeds["bash"])
                mine.ratio, mine.against, mine.bar = mine.median / theirs.median, "bash", BAR
                rows += [mine, theirs]
    finally:
        os.unlink(source)
    note = f"{size_mib} MiB over ssh on loopback, the start of the session included"
    return Section("throughput", note, rows)


def _ways(size_mib: int, source: str) -> dict[str, list[str]]:
    size = str(size_mib << 20)
    # rsync's "-e" is filled in by _seconds.
    return {
        "ssh HOST head -c, download": ["ssh", "-F", "", "box", f"head -c {size} /dev/zero"],
        "scp, upload": ["scp", "-q", "-F", "", source, "box:/tmp/data"],
        "sftp, upload": ["sftp", "-q", "-F", "", "-b", "-", "box"],
        "rsync, upload": ["rsync", "-W", "--inplace", "-e", "", source, "box:/tmp/data"],
    }


def _seconds(client: Client, command: list[str]) -> float:
    words = list(command)
    stdin = b""
    at = words.index("")
    words[at] = client.configuration if words[0] != "rsync" else client.remote_shell()
    if words[0] == "sftp":
        stdin = f"put {CACHE}/benchmark-data /tmp/data\n".encode()
    began = time.perf_counter()
    done = subprocess.run(
        words, input=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT, check=False
    )
    took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed: {done.stderr.decode(errors='replace')}")
    client.box("rm -f /tmp/data").ok()  # a login of bash leaves it on the host
    return took
