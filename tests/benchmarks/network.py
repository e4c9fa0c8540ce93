"""Private networks: what they add to a session's start and memory, and their speed beside other ways out.

All of it between network namespaces of this machine (tests/support/internet.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from support.host import children, run, until
from support.internet import PUBLIC4, Internet, internet
from support.login import Live, live
from support.outward import on_the_host_of
from support.users import SHELL, User, Users

from benchmarks.clock import as_user, interleaved
from benchmarks.memory import pss
from benchmarks.table import Row, Section

PRIVATE = "image: host\nsessions: {max: none}\nulimits: {nofile: 4096}\n"
_PORT, _SECONDS, _ROUNDS, _FLOWS, _CONNECTS = 5202, 2, 3, 1000, 300
_CONNECT = f"""
import socket, statistics, time
took = []
for _ in range({_CONNECTS}):
    began = time.perf_counter()
    socket.create_connection(("{PUBLIC4}", 443)).close()
    took.append(time.perf_counter() - began)
print(statistics.median(took) * 1000)
"""
_MANY = f"""
import socket, time
began = time.perf_counter()
ends = [socket.create_connection(("{PUBLIC4}", 443)) for _ in range({_FLOWS})]
for end in ends:
    assert end.recv(100).startswith(b"reached")
print((time.perf_counter() - began) * 1000)
"""
OURS, HOST, SLIRP, PASTA = "ssh2container, private", "the host itself", "slirp4netns", "pasta, closed options"
APART = "slirp4netns, sessions apart"
"""It and what it serves have a session of the kernel's (setsid(2)) each, as there are with ours: where
sched_autogroup_enabled is set, the processor is shared out among these (sched(7)), and programs that wait for
each other within one wait less."""
Way = Sequence[str]
"""The words before a command that run it there."""


def measure(users: Users, rounds: int, sessions: int, directory: str) -> Section:
    """Measure everything. directory: an existing one."""
    with internet(directory) as net, on_the_host_of(net):
        none, private = users.make(PRIVATE), users.make(PRIVATE + "network_mode: private\n")
        run(["/usr/bin/ssh2containerctl", "compile"]).ok()
        rows = [*_start_up(none, private, rounds), *_memory(none, private, sessions)]
        note = "start and memory are what private adds to none, in turns; the rest in turns with the peers"
        if shutil.which("iperf3") is None:
            return Section("private networks", note, rows, {"throughput": "iperf3 is not installed"})
        serving = ["iperf3", "--server", "--port", str(_PORT)]
        server = subprocess.Popen(
            [*net.prefix(net.internet), *serving], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            until(lambda: f":{_PORT}" in _listening(net), "iperf3 listens")
            absent: dict[str, str] = {}
            with contextlib.ExitStack() as stack:
                ways: dict[str, Way] = {OURS: (), HOST: ("env",)}
                for name, program in ((SLIRP, "slirp4netns"), (PASTA, "pasta")):
                    if shutil.which(program) is None:
                        absent[name] = "not installed"
                for name in () if SLIRP in absent else (SLIRP, APART):
                    ways[name] = stack.enter_context(_slirp4netns(none, apart=name == APART))
                ways |= {} if PASTA in absent else {PASTA: _PASTA}
                rows += _speed(ways, private, none)
        finally:
            server.kill()
            server.wait()
    return Section("private networks", note, rows, absent)


def _start_up(none: User, private: User, rounds: int) -> list[Row]:
    """Time a session of each in turns; who they belong to makes no difference."""
    samples: dict[str, list[float]] = {"none": [], "private": []}
    for _ in range(rounds):
        for name, user in (("none", none), ("private", private)):
            samples[name] += as_user(user, partial(_once, user))
    added = [two - one for one, two in zip(samples["none"], samples["private"], strict=True)]
    return [
        *(Row(f"start and end, network_mode: {name}", "ms", times) for name, times in samples.items()),
        Row("start and end, what private adds", "ms", added, bar="<= 3"),
    ]


def _once(user: User) -> list[float]:
    return interleaved({"": [SHELL, "-c", "true"]}, 1, user.environment())[""]


def _memory(none: User, private: User, count: int) -> list[Row]:
    held = {}
    for name, user in (("none", none), ("private", private)):
        with contextlib.ExitStack() as stack:
            open_ones: list[Live] = [stack.enter_context(live(user)) for _ in range(count)]
            # Monitor, pid 1 and, of a private network, the forwarder: all but what the session itself runs.
            held[name] = [
                pss(one.monitor) + sum(pss(child.pid) for child in children(one.monitor)) for one in open_ones
            ]
    added = statistics.median(held["private"]) - statistics.median(held["none"])
    return [
        *(
            Row(f"memory at {count} sessions, network_mode: {name}", "MB", each)
            for name, each in held.items()
        ),
        Row(f"memory at {count} sessions, what private adds", "MB", [added], bar="<= 1.5"),
    ]


def _speed(ways: dict[str, Way], private: User, other: User) -> list[Row]:
    iperf = ["iperf3", "--client", PUBLIC4, "--port", str(_PORT), "--time", str(_SECONDS), "--json"]
    of: dict[str, tuple[str, list[str], Callable[[str], float]]] = {
        "up": ("Mbit/s", iperf, _bits),
        "down": ("Mbit/s", [*iperf, "--reverse"], _bits),
        "a connection": ("ms", ["python3", "-c", _CONNECT], float),
        f"{_FLOWS} connections at once": ("ms", ["python3", "-c", _MANY], float),
    }
    rows: list[Row] = []
    for what, (unit, command, read) in of.items():
        samples: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(_ROUNDS):
            for name, before in ways.items():
                user = private if name == OURS else other
                samples[name].append(read(_output(user, before, command)))
        made = {name: Row(f"{what}: {name}", unit, each) for name, each in samples.items()}
        for name in (HOST, SLIRP, APART, PASTA):
            if name in made:
                made[name].ratio, made[name].against = made[name].median / made[OURS].median, "ours"
        rows += made.values()
    return rows


def _output(user: User, before: Way, command: list[str]) -> str:
    words = [*before, *command]
    if not before:
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in command)
        words = [SHELL, "-c", quoted]

    def work() -> str:
        limit = ["prlimit", "--nofile=4096", *words] if before else words
        return subprocess.run(
            limit, capture_output=True, text=True, check=True, env=user.environment()
        ).stdout

    return str(as_user(user, work, first=False))


def _bits(text: str) -> float:
    return float(json.loads(text)["end"]["sum_received"]["bits_per_second"]) / 1e6


_PASTA: Way = (
    *("pasta", "--config-net", "-t", "none", "-u", "none", "-T", "none", "-U", "none", "--no-map-gw"),
    "--quiet",
    "--",
)


@contextlib.contextmanager
def _slirp4netns(user: User, *, apart: bool) -> Iterator[Way]:
    """A network namespace of a user's own, with slirp4netns as its way out. apart: see APART."""
    become = ["setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
    inside = subprocess.Popen(
        [*become, "unshare", "--map-root-user", "--net", "sleep", "infinity"], start_new_session=apart
    )
    own = os.readlink("/proc/self/ns/net")
    until(lambda: os.readlink(f"/proc/{inside.pid}/ns/net") != own, "there is a namespace")
    options = ["--configure", "--mtu=65520", "--disable-host-loopback"]
    outside = subprocess.Popen(
        [*become, "slirp4netns", *options, str(inside.pid), "tap0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=apart,
    )
    enter = ["nsenter", "--target", str(inside.pid), "--user", "--net", "--preserve-credentials"]
    try:
        until(lambda: "10.0.2" in run([*enter, "ip", "route"]).text, "slirp4netns has set it up")
        yield ["setsid", "--wait", *enter] if apart else enter
    finally:
        for process in (outside, inside):
            process.kill()
            process.wait()


def _listening(net: Internet) -> str:
    return run([*net.prefix(net.internet), "ss", "--tcp", "--listening", "--numeric"]).text
