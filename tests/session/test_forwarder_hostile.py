"""The forwarder of private networks against a container that means ill: forged frames, floods."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from session.test_forwarder import PUBLIC, both, net, program, reach, reached
from support import internet as of
from support.forwarding import UID, Container, Forwarder, forwarding
from support.host import run, until
from support.internet import Internet

from ssh2container.kernel import private_network as inside

__all__ = ["net", "program"]

SEND = """
import socket, sys
end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
end.bind(("tap0", 0))
own = end.getsockname()[4]
for line in sys.stdin:
    frame = bytes.fromhex(line)
    end.send(b"\\x52\\x55\\x0a\\0\\2\\2" + own + frame)
"""
HEAR = """
import socket, sys
end = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
end.bind(("::", 7777))
print("ready", flush=True)
while True:
    print(end.recv(65536).decode(), flush=True)
"""


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def datagram(source: str, target: str, data: bytes, port: int = 7777, source_port: int = 4000) -> bytes:
    """A UDP datagram with its checksum."""
    head = struct.pack("!HHH", source_port, port, 8 + len(data))
    pseudo = packed(source) + packed(target) + struct.pack("!II", 8 + len(data), 17)
    return head + struct.pack("!H", checksum(pseudo + head + b"\0\0" + data) or 0xFFFF) + data


def syn(source: str, target: str, port: int, source_port: int = 4000) -> bytes:
    head = struct.pack("!HHIIBBHHH", source_port, port, 1, 0, 0x50, 2, 65535, 0, 0)
    pseudo = packed(source) + packed(target) + struct.pack("!II", len(head), 6)
    return head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]


def ipv4(
    source: str, target: str, data: bytes, protocol: int = 17, fragment: int = 0, options: bytes = b""
) -> bytes:
    first, size = 0x45 + len(options) // 4, 20 + len(options + data)
    head = struct.pack("!BBHHHBBH", first, 0, size, 7, fragment, 64, protocol, 0)
    whole = head + packed(source) + packed(target) + options
    return b"\x08\0" + whole[:10] + struct.pack("!H", checksum(whole)) + whole[12:] + data


def ipv6(source: str, target: str, data: bytes, protocol: int = 17) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(data), protocol, 64)
    return b"\x86\xdd" + head + packed(source) + packed(target) + data


def send(container: Container, frames: list[bytes]) -> None:
    """Put frames on the link as they are."""
    text = "\n".join(frame.hex() for frame in frames)
    container.run(["/usr/bin/python3", "-c", SEND], text.encode()).ok()


@contextmanager
def hearing(net: Internet) -> Iterator[subprocess.Popen[str]]:
    """Somebody in the internet, on port 7777 of every address, who prints what is sent."""
    process = subprocess.Popen(
        [*net.prefix(net.internet), "/usr/bin/python3", "-c", HEAR], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().rstrip("\n")


O4, O6, P4, P6 = inside.OWN4, inside.OWN6, of.PUBLIC4, of.PUBLIC6
NEXT_IS_UDP = b"\x11\0\1\4\0\0\0\0"
FORGED = {
    "another source": ipv4("10.0.2.77", P4, datagram("10.0.2.77", P4, b"bad")),
    "a public source": ipv4(of.OTHER4, P4, datagram(of.OTHER4, P4, b"bad")),
    "the host's source": ipv4(of.HOST4, P4, datagram(of.HOST4, P4, b"bad")),
    "another source, IPv6": ipv6("fd00::77", P6, datagram("fd00::77", P6, b"bad")),
    "a source of the link": ipv6("fe80::1", P6, datagram("fe80::1", P6, b"bad")),
    "no source": ipv6("::", P6, datagram("::", P6, b"bad")),
    "a source route": ipv4(
        O4, P4, datagram(O4, P4, b"bad"), options=b"\x83\7\4" + packed(of.PRIVATE4) + b"\0"
    ),
    "hop-by-hop options": ipv6(O6, P6, NEXT_IS_UDP + datagram(O6, P6, b"bad"), 0),
    "options for the target": ipv6(O6, P6, NEXT_IS_UDP + datagram(O6, P6, b"bad"), 60),
    "a routing header": ipv6(
        O6, P6, b"\x11\2\0\1\0\0\0\0" + packed(of.PRIVATE6) + datagram(O6, P6, b"bad"), 43
    ),
    "a private range": ipv4(O4, of.PRIVATE4, datagram(O4, of.PRIVATE4, b"bad")),
    "a mapped address": ipv6(O6, f"::ffff:{of.PRIVATE4}", datagram(O6, f"::ffff:{of.PRIVATE4}", b"bad")),
    "a mapped public one": ipv6(O6, f"::ffff:{P4}", datagram(O6, f"::ffff:{P4}", b"bad")),
    "a compatible address": ipv6(O6, f"::{of.PRIVATE4}", datagram(O6, f"::{of.PRIVATE4}", b"bad")),
    "a private one by NAT64": ipv6(O6, of.NAT64_PRIVATE, datagram(O6, of.NAT64_PRIVATE, b"bad")),
    "metadata by 6to4": ipv6(O6, of.SIX_TO_FOUR_METADATA, datagram(O6, of.SIX_TO_FOUR_METADATA, b"bad")),
    "an answer without a question": ipv4(O4, P4, b"\0\0\0\0" + bytes(20), 1),
    "a length beyond the frame": ipv4(O4, P4, datagram(O4, P4, b"bad"))[:-2],
    "a fragment in a fragment": ipv6(
        O6, P6, b"\x2c\0\0\0\0\0\0\1" + b"\x11\0\0\0\0\0\0\2" + datagram(O6, P6, b"bad"), 44
    ),
}


OF_ANY = ("a private range", "a private one by NAT64", "metadata by 6to4")
"""These may be reached where everything may."""


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_frame_does_not_arrive(program: str, net: Internet, name: str) -> None:
    """What follows it does, so that nothing is on its way any more."""
    egress = "internet" if name in OF_ANY else "any"
    with forwarding(program, net, f"egress {egress}") as (container, _), hearing(net) as process:
        frame = FORGED[name]
        good = ipv4(O4, P4, datagram(O4, P4, b"good"))
        if frame.startswith(b"\x86\xdd"):
            good = ipv6(O6, P6, datagram(O6, P6, b"good"))
        send(container, [frame, good])
        assert heard(process) == "good"


def test_fragments_are_judged_as_what_they_make(program: str, net: Internet) -> None:
    long = bytes(range(65, 90)) * 40
    with (
        forwarding(program, net, "egress list", f"allow {P4} 7777", f"allow {P6} 7777") as (container, _),
        hearing(net) as process,
    ):
        bad, good, last = datagram(O4, P4, b"bad" * 9, 22), datagram(O4, P4, long), datagram(O4, P4, b"last")
        good6 = datagram(O6, P6, long)
        first, second = (b"\x11\0" + struct.pack("!HI", offset, 9) for offset in (1, 800))
        send(
            container,
            [
                # Allowed by its first fragment, and turned into something else by one that lies over it.
                ipv4(O4, P4, datagram(O4, P4, bytes(27))[:24], fragment=0x2000),
                ipv4(O4, P4, bad[:24], fragment=0x2000),
                ipv4(O4, P4, bad[24:], fragment=3),
                # A part only, a gap, the wrong order.
                ipv4(O4, P4, good[16:], fragment=2),
                ipv4(O4, P4, good[:16], fragment=0x2000),
                ipv4(O4, P4, good[24:], fragment=3),
                # As it should be, in three, and of IPv6.
                ipv4(O4, P4, good[:16], fragment=0x2000),
                ipv4(O4, P4, good[16:800], fragment=0x2002),
                ipv4(O4, P4, good[800:], fragment=100),
                ipv6(O6, P6, first + good6[:800], 44),
                ipv6(O6, P6, second + good6[800:], 44),
                ipv4(O4, P4, last),
            ],
        )
        # Those of IPv6 may have to wait for a neighbour's address.
        assert sorted(heard(process) for _ in range(3)) == [long.decode(), long.decode(), "last"]


def test_small_frames_carry_large_datagrams(program: str, net: Internet) -> None:
    """The kernel inside makes fragments, libslirp those that come back."""
    ask = """
import socket, sys
for address in sys.argv[1:]:
    end = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    end.settimeout(30)
    end.sendto(b"x" * 5000, (address, 5000))
    print(len(end.recv(65536)) > 5000)
"""
    with forwarding(program, net, "egress internet", mtu=1500) as (container, _):
        assert container.python(ask, P4).text == "True\n"


def memory(forwarder: Forwarder) -> int:
    """What it has of its own, in kB."""
    with open(f"/proc/{forwarder.process.pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))


def test_floods_of_all_kinds_leave_room_for_a_connection(program: str, net: Internet) -> None:
    far = "198.51.100.77"  # nobody: its packets are answered by no one
    ports = f"""
import socket
refused = 0
for port in range(10000, 12000):
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.settimeout(60)
    end.bind(("", port))
    end.connect(({P4!r}, 7))
    end.send(b"x")
    try:
        end.recv(100)
    except OSError as error:
        refused += 1
print(refused)
"""
    floods = {
        "connections": [ipv4(O4, P4, syn(O4, P4, 443, source), 6) for source in range(10000, 14000)],
        "connections to nobody": [
            ipv4(O4, far, syn(O4, far, 443, source), 6) for source in range(20000, 24000)
        ],
        "fragments": [ipv4(O4, P4, bytes(1400), fragment=0x2000 | n % 8000) for n in range(8000)],
        "pings": [ipv4(O4, far, struct.pack("!BBHHH", 8, 0, 0, n, 1) + bytes(32), 1) for n in range(4000)],
        "questions": [
            ipv4(O4, inside.DNS4, datagram(O4, inside.DNS4, struct.pack("!H", n) + bytes(10), 53, 9))
            for n in range(4000)
        ],
        "refusals": [ipv4(O4, of.PRIVATE4, syn(O4, of.PRIVATE4, n), 6) for n in range(1, 8000)],
    }
    with forwarding(program, net, "egress internet", "report yes") as (container, forwarder):
        # Each port takes a socket of the host for minutes, and may have three in four of them.
        assert int(container.python(ports).ok().text) > 500
        assert reach(container, f"tcp,{P4},443") == [f"reached {P4} 443"]
        for name, frames in floods.items():
            send(container, frames)
            until(
                lambda: reach(container, f"tcp,{of.OTHER4},443") == [f"reached {of.OTHER4} 443"],
                f"a connection after the flood of {name}",
            )
            assert memory(forwarder) < 100_000, name
        told = 0
        line = forwarder.line()
        while not line.startswith("suppressed "):
            told += line.startswith("refused tcp")
            line = forwarder.line()
        assert told <= 100
        assert int(line.split()[1]) > 1000


def test_a_thousand_connections_at_once(program: str, net: Internet) -> None:
    hold = """
import socket, sys
held = [socket.create_connection((sys.argv[1], 443), 60) for _ in range(1000)]
for end in held:
    assert end.recv(100).startswith(b"reached")
for end in held:
    end.sendall(b"x" * 1000)
for end in held:
    assert len(end.recv(1000, socket.MSG_WAITALL)) == 1000
print(len(held))
"""
    with forwarding(program, net, "egress internet") as (container, forwarder):
        assert container.python(hold, P4).ok().text == "1000\n"
        assert memory(forwarder) < 100_000
        assert reach(container, *both(*PUBLIC[:2])) == reached(*PUBLIC[:2])


def test_a_datagram_from_a_stranger_does_not_come_in(program: str, net: Internet) -> None:
    """libslirp's socket is open to whoever finds its port; the container hears those whom it has asked."""
    ask = f"""
import socket, sys
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.settimeout(60)
for line in sys.stdin:
    end.sendto(b"?", ({P4!r}, 5000))
    print(end.recv(100).decode().split()[0], flush=True)
"""
    knock = """
import socket, sys
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.bind((sys.argv[1], 6000))
end.sendto(b"hello", (sys.argv[2], int(sys.argv[3])))
"""
    with forwarding(program, net, "egress internet") as (container, _):
        asking = subprocess.Popen(
            ["ip", "netns", "exec", container.name, "/usr/bin/python3", "-c", ask],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert asking.stdin
        assert asking.stdout
        asking.stdin.write("\n")
        asking.stdin.flush()
        assert asking.stdout.readline() == "reached\n"
        sockets = [
            line.split() for line in run([*net.prefix(net.host), "cat", "/proc/net/udp"]).text.splitlines()
        ]
        port = next(int(words[1].rpartition(":")[2], 16) for words in sockets if words[7] == str(UID))
        for source in (of.PRIVATE4, P4, of.OTHER4, of.ROUTER4):
            run(
                [*net.prefix(net.internet), "/usr/bin/python3", "-c", knock, source, of.HOST4, str(port)]
            ).ok()
        assert asking.communicate("\n")[0] == "reached\n"


@pytest.mark.parametrize("address", [P4, P6])
def test_urgent_data_is_data(program: str, net: Internet, address: str) -> None:
    """It arrives in its place: libslirp, which counts it wrongly (CVE-2026-9539), does not learn of it."""
    send_urgently = f"""
import socket
end = socket.create_connection(({address!r}, 443), 60)
end.recv(100)
end.sendall(b"one")
end.send(b"!two", socket.MSG_OOB)
end.sendall(b"three")
end.shutdown(socket.SHUT_WR)
print(b"".join(iter(lambda: end.recv(100), b"")).decode())
"""
    with forwarding(program, net, "egress internet") as (container, _):
        assert container.python(send_urgently).ok().text == "one!twothree\n"


def test_it_waits_for_its_end_when_the_network_is_gone(program: str, net: Internet) -> None:
    with forwarding(program, net, "egress internet") as (container, forwarder):
        container.shell("ip link delete tap0").ok()
        status = f"/proc/{forwarder.process.pid}/stat"

        def sleeps() -> bool:
            with open(status, encoding="utf-8") as file:
                return file.read().rpartition(")")[2].split()[0] == "S"

        until(sleeps, "it sleeps")
        assert forwarder.process.poll() is None
        assert forwarder.stop() == 0


def test_it_dies_with_its_parent(program: str, net: Internet) -> None:
    parent = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, pass_fds=(3, 4))\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    wrapper = f"/tmp/s2c-parent-{os.getpid()}"
    with open(wrapper, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/bash\nexec {sys.executable} -c '{parent}' {program}\n")
    os.chmod(wrapper, 0o755)
    container = Container(f"s2c-inside-{os.getpid()}")
    try:
        container.open()
        forwarder = Forwarder(wrapper, net, container)
        forwarder.start()
        ready, number = sorted(forwarder.refused(2), key=str.isdigit)
        assert ready == "ready"
        pid = int(number)
        forwarder.process.send_signal(signal.SIGKILL)
        until(lambda: not os.path.exists(f"/proc/{pid}/exe") or _is_dead(pid), "the forwarder is gone")
        forwarder.stop()
    finally:
        container.close()
        os.unlink(wrapper)


def _is_dead(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_what_can_be_done_behind_its_walls(checkout: str) -> None:
    directory = f"/tmp/s2c-confined-{os.getpid()}"
    os.mkdir(directory, 0o755)
    try:
        native = f"{checkout}/ssh2container/native"
        sources = (f"{checkout}/tests/support/confined.c", f"{native}/forwarder/confine.c")
        run(["gcc", "-o", f"{directory}/confined", *sources]).ok()
        with open(f"{directory}/elsewhere", "w", encoding="utf-8") as file:
            file.write("secret")
        user = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        done = run([*user, f"{directory}/confined", f"{directory}/elsewhere"]).ok()
        found = dict(line.split() for line in done.text.splitlines())
        works = {name for name, what in found.items() if what == "works"}
        assert works == {"landlock", "read-resolver", "connect-socket", "datagram", "memory"}
        assert found["read-elsewhere"] == "EACCES", "Landlock's"
        assert len(found) == 25
    finally:
        run(["rm", "-rf", directory])
