"""The command line of ``tests/benchmarks/run``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

import click
from rich.console import Console
from support.host import run
from support.leaks import left_files
from support.ledger import CACHE, Ledger, remove_path
from support.syslog import Syslog
from support.users import Users

from benchmarks import (
    abuse,
    abuse_emulated,
    ground,
    images,
    imports,
    limits_emulated,
    machine,
    memory,
    metadata,
    network,
    peers,
    scale,
    start_up,
    table,
    terminal,
    throughput,
)
from benchmarks.table import Section

POLICY = "image: host\nsessions: {max: none}\n"
SECTIONS = (
    "start-up",
    "memory",
    "throughput",
    "metadata",
    "terminal",
    "beside",
    "growth",
    "logins",
    "images",
    "imports",
    "abuse",
    "network",
)


EMULATED = ("abuse-emulated", "limits-emulated")
"""Sections that are measured only when they are named: they take a core for up to a quarter of an hour."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every sample.")
@click.option("--peers", "with_peers", is_flag=True, help="Install the other programs that this system has.")
@click.option(
    "--rounds",
    default=60,
    show_default=True,
    help="Runs of each command of the start-up table, logins beside an attack.",
)
@click.option("--sessions", default=100, show_default=True, help="Idle sessions of the memory table.")
@click.option("--live", default=500, show_default=True, help="Live sessions beside which one is started.")
@click.option("--closed", default=1000, show_default=True, help="Sessions after which growth is looked for.")
@click.option("--mib", default=1024, show_default=True, help="Data of the throughput table.")
@click.option("--files", default=60_000, show_default=True, help="Files of the metadata table's archive.")
@click.option("--shown", default=64, show_default=True, help="MiB that the terminal table shows each time.")
@click.argument("sections", nargs=-1, type=click.Choice((*SECTIONS, *EMULATED)))
def main(
    as_json: bool,  # noqa: FBT001
    with_peers: bool,  # noqa: FBT001
    rounds: int,
    sessions: int,
    live: int,
    closed: int,
    mib: int,
    files: int,
    shown: int,
    sections: tuple[str, ...],
) -> None:
    """Measure the installed product. SECTIONS: what to measure, by default everything."""
    if with_peers:
        peers.install()
    ground.unify_cgroups()
    about = machine.describe()
    ledger, log = Ledger.open(), Syslog()
    users = Users(ledger)
    log.start()
    try:
        ours, other = users.make(POLICY), users.make(POLICY)
        plain = users.make(None, "/bin/bash")
        room = _directory(ledger)
        seen = f"{POLICY}welcome: false\nvolumes: ['{room}:/data']\n"
        memory_room = _memory(ledger)
        roomy = users.make(f"{POLICY}volumes: ['{memory_room}:{memory_room}:rw']\n")
        watched, recorded = users.make(seen), users.make(seen + "record: {terminal: true}\n")
        run(["/usr/bin/ssh2containerctl", "compile"]).ok()
        tables: dict[str, Callable[[], Section]] = {
            "start-up": lambda: start_up.measure(users, ours, rounds, _directory(ledger)),
            "memory": lambda: memory.measure(ours, tuple({min(20, sessions), sessions})),
            "throughput": lambda: throughput.measure(roomy, plain, mib, 9, memory_room, _directory(ledger)),
            "metadata": lambda: metadata.measure(users, files, 9, _directory(ledger)),
            "terminal": lambda: terminal.measure(watched, recorded, shown, 7, room),
            "beside": lambda: scale.beside(ours, other, live, rounds),
            "growth": lambda: scale.growth(ours, closed),
            "logins": lambda: scale.logins(ours, plain, 40, _directory(ledger)),
            "images": lambda: images.measure(users, rounds),
            "imports": lambda: imports.measure(rounds),
            "abuse": lambda: abuse.measure(users, other, rounds, _directory(ledger)),
            "network": lambda: network.measure(users, rounds, sessions, _directory(ledger)),
            "abuse-emulated": lambda: abuse_emulated.measure(min(rounds, 12)),
            "limits-emulated": lambda: limits_emulated.measure(ours, min(rounds, 20)),
        }
        results = []
        for name in sections or SECTIONS:
            with Console(stderr=True).status(f"measuring {name}"):
                results.append(tables[name]())
    finally:
        for path in sorted((path for user in users for path in left_files(user)), reverse=True):
            remove_path(path)  # some peers leave something in /tmp
        users.remove_all()
        log.stop()
        ledger.settle()
    if as_json:
        click.echo(table.as_json(about, results))
    else:
        table.show(about, results)


def _directory(ledger: Ledger) -> str:
    """Make a directory that is gone after the run and that users can read."""
    directory = tempfile.mkdtemp(prefix="benchmark-", dir=CACHE)
    ledger.note_path(directory)
    os.chmod(directory, 0o755)
    return directory


def _memory(ledger: Ledger) -> str:
    """Make a directory in memory that everybody may write to."""
    directory = _directory(ledger)
    run(["mount", "-t", "tmpfs", "-o", "mode=1777,nosuid,nodev", "tmpfs", directory]).ok()
    return directory


if __name__ == "__main__":
    main()
