"""A host with a network, and an internet behind its router, of two namespaces: nothing leaves the machine.

``host`` is a machine of its own: 192.168.77.2 and fd77::2 on its network, and servers on every address
that it has, of its loopback too. ``internet`` is all beyond: the router (192.168.77.1), public addresses,
private ranges of others, and a metadata service. The names below are in its zone.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from support.host import run

PUBLIC4, OTHER4, PUBLIC6, OTHER6 = "203.0.113.10", "198.51.100.20", "2001:db8:1::10", "2001:db8:2::20"
"""Of the ranges for documentation, which count as public: nobody has them."""
PRIVATE4, CARRIER4, METADATA4, PRIVATE6 = "10.9.9.9", "100.64.9.9", "169.254.169.254", "fd99::9"
NAT64, NAT64_PRIVATE = "64:ff9b::cb00:710a", "64:ff9b::a09:909"
"""203.0.113.10 and 10.9.9.9, as gateways of NAT64 have them."""
SIX_TO_FOUR_METADATA = "2002:a9fe:a9fe::1"
ROUTER4, ROUTER6, HOST4, HOST6 = "192.168.77.1", "fd77::1", "192.168.77.2", "fd77::2"
HOST_PUBLIC4 = "192.0.2.77"
"""Of the host too, which is reached from everywhere by it."""
TCP = (22, 80, 443, 5432)
UDP = (7, 443, 5000)
ZONE: dict[str, list[list[object]]] = {
    "public.example": [["A", 300, PUBLIC4], ["AAAA", 300, PUBLIC6]],
    "www.example": [["CNAME", 300, "edge.cdn.example"]],
    "edge.cdn.example": [["CNAME", 300, "e1.cdn.example"]],
    "e1.cdn.example": [["A", 5, OTHER4], ["AAAA", 5, OTHER6]],
    "private.example": [["A", 300, PRIVATE4], ["AAAA", 300, PRIVATE6]],
    "loopback.example": [["A", 300, "127.0.0.1"], ["AAAA", 300, "::1"]],
    "metadata.example": [["A", 300, METADATA4]],
    "host.example": [["A", 300, HOST4], ["AAAA", 300, HOST6]],
    "liar.example": [["A", 300, PUBLIC4], ["EXTRA", 300, ["www.example", "A", PRIVATE4]]],
    "broken.example": [["RCODE", 0, 2]],
    "long.example": [["A", 300, f"203.0.113.{number}"] for number in range(1, 100)],
}


_numbers = itertools.count(1)


def remove_stale() -> None:
    """Remove namespaces, and their files in /etc, of test runs that were killed."""
    for directory in ("/run/netns", "/etc/netns"):
        for name in os.listdir(directory) if os.path.isdir(directory) else ():
            made = re.fullmatch(r"s2c-[a-z]+-(\d+)(-\d+)?", name)
            if made and not os.path.exists(f"/proc/{made[1]}"):
                run(["ip", "netns", "delete", name])
                shutil.rmtree(f"/etc/netns/{name}", ignore_errors=True)


class Internet:
    """Two namespaces; see the module. zone: the file of what its resolvers answer (:meth:`set_zone`)."""

    def __init__(self, directory: str) -> None:
        number = next(_numbers)
        self.host, self.internet = f"s2c-host-{os.getpid()}-{number}", f"s2c-net-{os.getpid()}-{number}"
        self.zone = f"{directory}/zone.json"
        self._servers: list[subprocess.Popen[str]] = []
        self.set_zone(ZONE)

    def set_zone(self, zone: dict[str, list[list[object]]]) -> None:
        with open(f"{self.zone}.new", "w", encoding="utf-8") as file:
            json.dump(zone, file)
        os.replace(f"{self.zone}.new", self.zone)

    def prefix(self, namespace: str) -> list[str]:
        """Words before a command that runs it there, with an /etc/resolv.conf of that namespace."""
        return ["ip", "netns", "exec", namespace]

    def set_resolver(self, *addresses: str) -> None:
        """Say which name servers the host has: those of the internet answer on all its addresses."""
        text = "".join(f"nameserver {address}\n" for address in addresses)
        # In place: what is bound over /etc/resolv.conf in the namespace is this very file.
        with open(f"/etc/netns/{self.host}/resolv.conf", "w", encoding="utf-8") as file:
            file.write(text)

    def open(self) -> None:
        remove_stale()
        os.makedirs(f"/etc/netns/{self.host}", exist_ok=True)
        self.set_resolver(PUBLIC4)
        for namespace in (self.host, self.internet):
            run(["ip", "netns", "add", namespace]).ok()
        self._ip(self.host, "link add outer type veth peer name inner netns " + self.internet)
        self._wire(self.host, "outer", (f"{HOST4}/24", f"{HOST6}/64"), (ROUTER4, ROUTER6))
        addresses = (PUBLIC4, OTHER4, PUBLIC6, OTHER6, PRIVATE4, CARRIER4, METADATA4, PRIVATE6)
        self._wire(self.internet, "inner", (f"{ROUTER4}/24", f"{ROUTER6}/64"), ())
        for address in (*addresses, NAT64, NAT64_PRIVATE, SIX_TO_FOUR_METADATA, "2001:db8:3::30"):
            self._ip(self.internet, f"address add {address} dev lo" + " nodad" * (":" in address))
        self._ip(self.host, f"address add {HOST_PUBLIC4} dev lo")
        self._ip(self.internet, f"route add {HOST_PUBLIC4} via {HOST4}")
        self._serve(self.internet, self.zone, (53, *TCP), (53, *UDP))
        self._serve(self.host, self.zone, (53, *TCP), (53, *UDP))

    def _ip(self, namespace: str, words: str) -> None:
        run(["ip", "-n", namespace, *words.split()]).ok()

    def _wire(self, namespace: str, link: str, addresses: tuple[str, ...], routers: tuple[str, ...]) -> None:
        echoes = "echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range"
        run([*self.prefix(namespace), "sh", "-c", echoes]).ok()
        self._ip(namespace, "link set lo up")
        for address in addresses:
            self._ip(namespace, f"address add {address} dev {link}" + " nodad" * (":" in address))
        self._ip(namespace, f"link set {link} up")
        for router in routers:
            self._ip(namespace, f"route add default via {router}")

    def _serve(self, namespace: str, zone: str, tcp: tuple[int, ...], udp: tuple[int, ...]) -> None:
        program = os.path.join(os.path.dirname(__file__), "internet_servers.py")
        ports = (",".join(str(port) for port in each) for each in (tcp, udp))
        server = subprocess.Popen(
            [*self.prefix(namespace), sys.executable, program, zone, *ports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._servers.append(server)
        assert server.stdout
        assert server.stdout.readline() == "ready\n"

    def close(self) -> None:
        """End the servers and remove the namespaces; also what is half made."""
        for server in self._servers:
            server.kill()
            server.communicate()
        for namespace in (self.host, self.internet):
            run(["ip", "netns", "delete", namespace])
        shutil.rmtree(f"/etc/netns/{self.host}", ignore_errors=True)


@contextmanager
def internet(directory: str) -> Iterator[Internet]:
    """An :class:`Internet` that is open, with its zone's file in ``directory``."""
    made = Internet(directory)
    try:
        made.open()
        yield made
    finally:
        made.close()
