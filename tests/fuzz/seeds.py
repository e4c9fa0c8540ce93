"""Seeds of the targets in C: what the product itself writes for policies and clients of all kinds.

seeds.py DIRECTORY: writes them to DIRECTORY/TARGET/NUMBER.
"""

from __future__ import annotations

import ipaddress
import os
import struct
import sys
from collections.abc import Iterator

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support.planning import plan
from support.policies import policy

from ssh2container.errors import Refusal
from ssh2container.kernel import private_network as inside
from ssh2container.kernel.script import Script
from ssh2container.plan import operations
from ssh2container.run import channel, order

POLICIES = (
    "",
    "image: debian:12\nuser: root\nuserns_mode: own_range\n",
    "network_mode: host\nvolumes: [/srv/a:/a, '/srv/b:/b/c:rw']\ntmpfs: /scratch\n",
    "home: {source: /srv/homes/%u, skel: /etc/skel}\nulimits: {nofile: 100, core: 0}\n",
    "access: {commands: [ls, {exact: make test}]}\nseccomp: {on_violation: log}\n",
    "access: {interactive: [/usr/bin/menu, a b]}\nenvironment: {A: b, C: }\n",
    "container_per: user\nlinger: 10s\nstop_grace_period: 2s\n",
    "hooks: {poststop: [{path: /a}], startContainer: [{path: /b, args: [b, c], env: [D=e]}, {path: /f}]}\n",
    'network_mode: private\negress: [internet, 10.0.0.1:22]\nports: ["8080:80"]\n',
)
REQUESTS = ((), (b"-c", b"ls -l */[a-c]?.txt ~/x"), (b"-c", b"/usr/lib/openssh/sftp-server"))
LIKENESS = bytes(60 + 8)
GOES_ON = bytes(range(1, 255, 7)) * 8
"""What happens afterwards, as good as anything."""
QUIET = bytes(96)


def part(data: bytes) -> bytes:
    """``data`` behind its size (target.h)."""
    return struct.pack("<H", len(data)) + data


def text(data: bytes) -> bytes:
    """``data`` as one text (fuzz_text() of doubles.c)."""
    return bytes([len(data)]) + data


def message(kind: bytes, content: bytes = b"", attached: int = 0) -> bytes:
    """A message as recvmsg() gets it from the input."""
    return bytes([1 + len(content)]) + kind + content + bytes([attached])


def orders() -> Iterator[tuple[bytes, bytes, bytes]]:
    """(the order's file, the script that makes the container, its request) of many logins."""
    for written in POLICIES:
        for request in REQUESTS:
            try:
                planned = plan(policy(written), request, {b"TERM": b"xterm"}, terminal=not request)
            except Refusal:
                continue
            file = order.new()
            try:
                order.write(
                    planned.container,
                    planned.payload,
                    b"" if request else LIKENESS,
                    file,
                    writable=bool(request),
                )
                whole = os.pread(file, 1 << 20, 0)
            finally:
                os.close(file)
            made = operations.write([one for one in planned.container.init if not one.opening], Script())
            records = made.records[:60]
            packed = (
                bytes([len(records)]) + struct.pack("<H", len(made.texts)) + b"".join(records) + made.texts
            )
            at, size = struct.unpack_from("<II", whole, 36)
            yield whole, packed, whole[at : at + size]


def turn(*told: int) -> bytes:
    """One round of waiting: these have something to tell (signals, owner, listener, members)."""
    return b"\0" + bytes(int(place in told) for place in range(max(told) + 1))


def joining(request: bytes) -> Iterator[bytes]:
    """What happens to a container: somebody comes, asks, is served, and goes; or it is a single session's."""
    owner, listener, first = 1, 2, 3
    names = part(b"session") + part(b"digest") + part(b"host") + part(request)
    comes = turn(listener) + b"\0\1\1"  # accepted, of the listener's own uid
    hello = turn(first) + message(channel.HELLO, channel.VERSION + b"digest")
    asks = turn(first) + message(channel.REQUEST, b"\0\1\2", 4) + b"\0\0"  # a pipe, a process
    runs = turn(first) + b"\0"  # the pipe is closed by the exec
    signalled = turn(first) + message(channel.SIGNAL, b"\17") + b"\0"
    ends = turn(0) + b"\0\1\0"  # nothing to read, its status, no other
    leaves = turn(first) + b"\0\0"
    stops = turn(owner) + message(channel.END) + bytes(8)
    began = b"\4\1\10" + names + b"\0"
    for life in (
        comes + hello + asks + runs + signalled + ends + comes + hello + stops,
        comes + hello + asks + runs + leaves + ends + turn(listener),
        comes + hello + asks + turn(first) + text(b"E") * 2 + ends,
        comes + hello + asks[:-1] + b"\377",
        comes + hello + asks[:-1] + b"\361",  # the child's own way
        comes + turn(first) + message(channel.HELLO, channel.VERSION + b"another"),
        comes * 3 + turn(first, first + 1) + GOES_ON,
    ):
        yield began + life + QUIET
        yield began + life + GOES_ON
    alone = b"\0\1\10" + names + b"\0\0\0\0"
    yield alone + turn(first) + b"\0" + turn(first) + message(channel.SIGNAL, b"\17") + b"\0" + ends
    yield alone + GOES_ON


def seeds() -> Iterator[tuple[str, bytes]]:
    """(target, input)."""
    began = message(channel.ORDER)
    for whole, script, request in orders():
        for happens in (QUIET, GOES_ON):
            yield "script", script + happens
            yield "order", b"\1" + part(whole) + began + happens
            yield "order", b"\3" + part(whole) + began + happens
            yield "payload", b"\0" + part(b"host") + part(request) + happens
            yield "payload", b"\35" + part(b"host") + part(request) + part(request) + happens
        for happens in joining(request):
            yield "members", happens
    for error in (Refusal("what", "why", "remedy", "step", 2), OSError(5, "five")):
        packed = channel.pack_error(error)
        words = text(b"what") + text(b"why") + text(b"step")
        yield "messages", words + b"\1\2\3\4" + message(packed[:1], packed[1:], 2)
    yield "messages", text(b"a" * 250) * 3 + bytes(4) + message(channel.TERMINAL, b"", 5)
    for pattern in (b"*", b"~/*.txt", b"a/[!b-d]*/?", b"/x/*/../*/", b"[]a]\\*", b"[", b"~", b"\\~*"):
        listing = b"\0" + text(b"a.txt") + text(b"b") + text(b".c") + b"\0"
        given = text(b"name.txt") + text(b"/home/al") + text(b"~x") + part(b"ab") + part(pattern)
        yield "globs", given + text(pattern) + listing * 4
    words = text(b"-ssh2container") + text(b"-c") + text(b"ls") + text(b"A=b") + text(b"LD_PRELOAD=/x")
    yield "launcher", b"\3\2" + words + b"\5" + b"1.2.3" + QUIET
    yield "launcher", b"\1\0" + text(b"-") + b"\377" + b"x" * 255 + GOES_ON


CONFIGURATIONS = (
    b"egress internet\nreport yes\n",
    b"mtu 1500\negress any\npublish udp 0.0.0.0 5353 53\npublish tcp :: 8080 80\n",
    b"egress none\n",
    (
        b"egress list\nallow 10.0.0.0/8 22-80 tcp\nallow 2001:db8::/32\nallow 192.0.2.1 icmp\n"
        b"allow-name www.example 443 tcp\nallow-name *.cdn.example\nreport yes\n"
    ),
)
OWN4, OWN6 = ipaddress.ip_address(inside.OWN4).packed, ipaddress.ip_address(inside.OWN6).packed
PEERS = (inside.DNS4, inside.GATEWAY4, "203.0.113.9", "10.1.2.3", "169.254.169.254", "127.0.0.1", "224.0.0.1")
PEERS6 = (inside.DNS6, inside.GATEWAY6, "2001:db8::9", "fe80::1", "::ffff:10.1.2.3", "64:ff9b::a01:203")
TCP = struct.pack("!HHIIBBHHH", 40000, 443, 1, 0, 0x50, 2, 65535, 0, 0)
ECHO = b"\x08\0\0\0\0\1\0\1data"


def dns_name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def dns_message(name: str, *records: tuple[bytes, int, bytes]) -> bytes:
    """An answer with records of (owner, type, data); the owner may be a pointer."""
    head = struct.pack("!HHHHHH", 7, 0x8180, 1, len(records), 0, 0) + dns_name(name) + b"\0\1\0\1"
    return head + b"".join(
        owner + struct.pack("!HHIH", kind, 1, 300, len(data)) + data for owner, kind, data in records
    )


def datagram(data: bytes, port: int = 53) -> bytes:
    return struct.pack("!HHHH", 5353, port, 8 + len(data), 0) + data


def ipv4(source: bytes, target: bytes, protocol: int, data: bytes, fragment: int = 0) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 9, fragment, 64, protocol, 0)
    return bytes(12) + b"\x08\0" + head + source + target + data


def ipv6(source: bytes, target: bytes, protocol: int, data: bytes) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(data), protocol, 255)
    return bytes(12) + b"\x86\xdd" + head + source + target + data


def frames() -> Iterator[bytes]:
    """Frames from the container: every protocol, every kind of address, fragments, other headers."""
    hop, routing = b"\6\0\5\2\0\0\1\0", b"\6\2\0\1" + bytes(20)
    for packed in (ipaddress.ip_address(peer).packed for peer in (*PEERS, *PEERS6)):
        own, echo = (OWN4, ECHO) if len(packed) == 4 else (OWN6, b"\x80" + ECHO[1:])
        make = ipv4 if len(packed) == 4 else ipv6
        for protocol, data in (
            (6, TCP),
            (17, datagram(b"data")),
            (17, datagram(dns_message("www.example")[:2] + b"\1\0" + dns_message("www.example")[4:])),
            (1 if make is ipv4 else 58, echo),
            (132, b"data"),
        ):
            yield make(own, packed, protocol, data)
    whole = datagram(bytes(64))
    target = ipaddress.ip_address("203.0.113.9").packed
    yield ipv4(OWN4, target, 17, whole[:40], 0x2000)
    yield ipv4(OWN4, target, 17, whole[40:], 5)
    target = ipaddress.ip_address("2001:db8::9").packed
    yield ipv6(OWN6, target, 44, b"\x11\0\0\1\0\0\0\7" + whole[:40])
    yield ipv6(OWN6, target, 44, b"\x11\0\0\x28\0\0\0\7" + whole[40:])
    for number, header in ((0, hop), (43, routing), (60, hop)):
        yield ipv6(OWN6, target, number, header + TCP)
    yield ipv6(bytes(16), b"\xff\2" + bytes(13) + b"\1", 58, b"\x87" + bytes(23))
    yield b"\xff" * 6 + bytes(6) + b"\x08\6\0\1\x08\0\6\4\0\1" + bytes(6) + OWN4 + bytes(6) + target[:4]


def of_forwarder() -> Iterator[tuple[str, bytes]]:
    """(target, input) for the parts of the forwarder."""
    pointer = b"\xc0\x0c"
    chain = (
        (pointer, 5, dns_name("edge.cdn.example")),
        (dns_name("edge.cdn.example"), 1, b"\xcb\0\x71\x09"),
        (dns_name("edge.cdn.example"), 28, ipaddress.ip_address("2001:db8::9").packed),
        (dns_name("other.example"), 1, b"\x0a\1\2\3"),
    )
    everything = list(frames())
    for configuration in CONFIGURATIONS:
        yield "rules", part(configuration) + text(b"www.example.") + bytes(range(200))
        for name in ("www.example", "a.cdn.example", "edge.cdn.example"):
            yield "answers", part(configuration) + part(dns_message(name, *chain))
        yield "frames", part(configuration) + b"".join(b"\0" + part(one) + b"\0" for one in everything)
        for one in everything:
            back = one[:26] + one[30:34] + one[26:30] + one[34:]
            yield "frames", part(configuration) + b"\0" + part(one) + b"\1" + part(back) + b"\0" + part(one)


def main() -> None:
    """Write all of them."""
    for number, (target, data) in enumerate((*seeds(), *of_forwarder())):
        os.makedirs(f"{sys.argv[1]}/{target}", exist_ok=True)
        with open(f"{sys.argv[1]}/{target}/{number}", "wb") as file:
            file.write(data)


if __name__ == "__main__":
    main()
