"""A network of the test's own: a bridge on this machine, and a namespace that plays all that is beyond it."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from support.host import Done, run

BEYOND = "198.51.100.1"
"""An address that is reached through the router alone."""
BEYOND6 = "2001:db8:ffff::1"
PORT = 7000
_PLAYER = """
import select, socket, sys
def server(family, kind):
    made = socket.socket(family, kind)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("", PORT))
    if kind == socket.SOCK_STREAM:
        made.listen(50)
    return made
kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
servers = [server(family, kind) for family in (socket.AF_INET, socket.AF_INET6) for kind in kinds]
print("ready", flush=True)
while True:
    for ready in select.select([*servers, sys.stdin], [], [])[0]:
        if ready is sys.stdin:
            sys.exit()
        if ready.type == socket.SOCK_STREAM:
            connection, peer = ready.accept()
            connection.sendall(peer[0].encode())
            connection.close()
        else:
            _, peer = ready.recvfrom(2048)
            print("from", peer[0], flush=True)
            try:
                ready.sendto(peer[0].encode(), peer)
            except OSError:
                pass  # from where nobody is
""".replace("PORT", str(PORT))
"""Answers each who connects or sends a datagram with the address that it is seen under."""


class Lan:
    """bridge: its name. router, router6: the far end's addresses on it. pid: of the process out there."""

    def __init__(self, bridge: str, network: int, player: subprocess.Popen[str]) -> None:
        self.bridge = bridge
        self.network = network
        self.player = player
        self.pid = player.pid
        self.spares: list[str] = []

    def address(self, last: int) -> str:
        return f"10.{90 + self.network}.0.{last}"

    def address6(self, last: int) -> str:
        return f"fd00:{90 + self.network}::{last:x}"

    @property
    def router(self) -> str:
        return self.address(1)

    @property
    def router6(self) -> str:
        return self.address6(1)

    def outside(self, *command: str) -> Done:
        """Run a command in the namespace beyond."""
        return run(["nsenter", "-t", str(self.pid), "-n", *command])

    def spare(self) -> str:
        """Another way to the bridge: an interface of this machine's that nothing uses."""
        name, end = f"sp{secrets.token_hex(4)}", f"se{secrets.token_hex(4)}"
        ip(
            f"link add {name} type veth peer name {end}",
            f"link set {end} master {self.bridge} up",
            f"link set {name} up",
        )
        self.spares.append(name)
        return name

    def told(self) -> str:
        """The next line of what is out there: who has sent a datagram."""
        assert self.player.stdout
        return self.player.stdout.readline().strip()


def ip(*commands: str) -> None:
    for command in commands:
        run(["ip", *command.split()]).ok()


@contextmanager
def lan(network: int = 1) -> Iterator[Lan]:
    """A bridge with a router on it, at 10.N.0.1 and fd00:N::1, and beyond it two addresses."""
    bridge, end = f"br{secrets.token_hex(4)}", f"rt{secrets.token_hex(4)}"
    player = subprocess.Popen(
        ["unshare", "--net", "python3", "-IBc", _PLAYER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    made = Lan(bridge, network, player)
    try:
        assert made.told() == "ready"
        ip(
            f"link add {bridge} type bridge",
            f"link set {bridge} up",
            f"link add {end} type veth peer name eth0 netns {player.pid}",
            f"link set {end} master {bridge} up",
        )
        for command in (
            "link set lo up",
            f"address add {made.router}/24 dev eth0",
            f"address add {made.router6}/64 dev eth0 nodad",
            "link set eth0 up",
            f"address add {BEYOND}/32 dev lo",
            f"address add {BEYOND6}/128 dev lo",
        ):
            made.outside("ip", *command.split()).ok()
        yield made
    finally:
        player.kill()
        player.wait()
        for stream in (player.stdin, player.stdout):
            assert stream
            stream.close()
        for name in (*made.spares, bridge):
            run(["ip", "link", "delete", name]).ok()
