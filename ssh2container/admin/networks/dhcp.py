"""Addresses by DHCP: a client of root's in each prepared namespace, outside of any session (udhcpc, busybox).

What a lease says becomes addresses, routes and name servers by a script of ours. The client needs raw
sockets, which no session has; it is root's, and nothing inside can reach it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from ssh2container.admin import atomic, cgroups
from ssh2container.admin.networks import tools
from ssh2container.errors import SessionError
from ssh2container.plan.pools import NAMESPACE, RESOLVER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ssh2container.admin.networks.wanted import Link

SCRIPT = "/var/lib/ssh2container/lease"
"""Not below /run, where nothing can be executed."""
_FIRST_LEASE_S = 8.0
_PAUSE_S = 0.1
_TEXT = """\
#!/bin/sh
# Written by ssh2containerctl: makes what a lease says so, in the namespace of the client (udhcpc).
set -u
case $1 in
deconfig)
    ip -4 address flush dev "$interface"
    ;;
bound | renew)
    ip -4 -o address show dev "$interface" | grep -q " $ip/$mask " || ip -4 address flush dev "$interface"
    ip -4 address replace "$ip/$mask" dev "$interface"
    if [ "$LEASE_ROUTE" = yes ] && [ -n "${router:-}" ]; then
        ip -4 route replace default via "${router%% *}" dev "$interface"
    fi
    if [ "$LEASE_DNS" = yes ] && [ -n "${dns:-}" ]; then
        {
            [ -z "${domain:-}" ] || echo "search $domain"
            for server in $dns; do echo "nameserver $server"; done
        } >"$LEASE_RESOLVER.new" && mv "$LEASE_RESOLVER.new" "$LEASE_RESOLVER"
    fi
    ;;
esac
"""
_silent: set[str] = set()
"""Networks (definition.name) on which no server answered in time: this process waits for none there again."""


def start(place: str, links: Sequence[Link]) -> None:
    """Start a client for every interface at ``place`` that wants one and has none. Raises SessionError.

    A server that does not answer is asked again for as long as the namespace is there.
    """
    wanted = [(index, link) for index, link in enumerate(links) if link.definition.dhcp]
    routed = next((index for index, link in wanted if not link.definition.internal), -1)
    for index, link in wanted:
        if not _running(place, index):
            _start(place, index, link, routed=index == routed and not any(one.gateways for one in links))
    _await(lambda: runs(place, links))


def await_leases(places: Mapping[str, Sequence[Link]]) -> None:
    """Wait a while for the first lease of each interface that a client was started for.

    places: namespaces and their interfaces. At boot, sshd waits for this: once for each network, however many
    users have it.
    """
    waiting = {
        (place, link.name): link.definition.name
        for place, links in places.items()
        for link in links
        if link.definition.dhcp and link.definition.name not in _silent
    }

    def have_all() -> bool:
        for place, name in list(waiting):
            if _has_address(name, f"{place}/{NAMESPACE}"):
                del waiting[place, name]
        return not waiting

    _await(have_all)
    _silent.update(waiting.values())


def _await(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _FIRST_LEASE_S
    while not condition() and time.monotonic() < end:
        time.sleep(_PAUSE_S)


def runs(place: str, links: Sequence[Link]) -> bool:
    """Tell whether every interface that wants a client has one."""
    return all(_running(place, index) for index, link in enumerate(links) if link.definition.dhcp)


def stop(place: str) -> None:
    """End the clients at ``place``, which give their addresses back."""
    with contextlib.suppress(OSError):
        for name in os.listdir(place):
            if name.startswith("dhcp-"):
                index = int(name.removeprefix("dhcp-"))
                pid = _running(place, index)
                if os.path.isdir(cgroups.RUNS):
                    _systemctl("stop", _unit(place, index))
                elif pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
                    _await(functools.partial(_has_ended, place, index))
                os.unlink(f"{place}/{name}")


def _start(place: str, index: int, link: Link, *, routed: bool) -> None:
    client = _client()
    if not os.path.exists(SCRIPT):
        atomic.write(SCRIPT, _TEXT, 0o755)
    environment = {
        "PATH": tools.PATH,
        "LEASE_ROUTE": "yes" if routed else "no",
        "LEASE_DNS": "no" if link.definition.dns else "yes",
        "LEASE_RESOLVER": f"{os.path.dirname(place)}/{RESOLVER}",
    }
    command = [
        tools.need("nsenter"), f"--net={place}/{NAMESPACE}", "--", *client, "-f", "-R", "-S",
        "-i", link.name, "-s", SCRIPT, "-p", f"{place}/dhcp-{index}", "-t", "5", "-T", "1", "-A", "10",
    ]  # fmt: skip
    if os.path.isdir(cgroups.RUNS):
        given = [f"--setenv={name}={value}" for name, value in environment.items()]
        unit = f"--unit={_unit(place, index)}"
        tools.run(
            ["systemd-run", "--quiet", "--collect", unit, "--property=Restart=always", *given, *command]
        )
        return
    subprocess.Popen(
        command, env=environment, start_new_session=True, cwd="/",
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _client() -> list[str]:
    """Return how the client is called. Raises SessionError where there is none."""
    path = shutil.which("udhcpc", path=tools.PATH)
    if path is not None:
        return [path]
    path = shutil.which("busybox", path=tools.PATH)
    if path is not None and "udhcpc" in tools.run([path, "--list"]).split():
        return [path, "udhcpc"]
    raise SessionError(
        "networks with DHCP need udhcpc", "it is not installed", "apt-get install udhcpc", "networks"
    )


def _running(place: str, index: int) -> int:
    """Return the pid of the client of an interface, 0 for none: it is in the namespace, and no other is."""
    try:
        with open(f"{place}/dhcp-{index}", encoding="ascii") as file:
            pid = int(file.read().strip() or 0)
        here = os.stat(f"{place}/{NAMESPACE}")
        there = os.stat(f"/proc/{pid}/ns/net")
    except (OSError, ValueError):
        return 0
    return pid if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) else 0


def _has_ended(place: str, index: int) -> bool:
    return not _running(place, index)


def _has_address(name: str, namespace: str) -> bool:
    return any("." in address for address in tools.addresses(name, inside=namespace))


def _unit(place: str, index: int) -> str:
    uid, number = place.split("/")[-2:]
    return f"ssh2container-dhcp-{uid}-{number}-{index}.service"


def _systemctl(*words: str) -> None:
    tools.run(["systemctl", *words], force=True)
