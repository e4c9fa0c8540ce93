"""The forwarder of private networks: what it lets through, what it tells, what it can do itself.

One namespace plays the internet, one the host on which the forwarder runs, one the container (tests/support).
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
import subprocess
from collections.abc import Iterator

import pytest
from support import internet as of
from support.forwarding import Container, Forwarder, forwarding
from support.host import run, until
from support.internet import Internet, internet

from ssh2container.kernel import private_network as inside

TRY = """
import socket, sys
for word in sys.argv[1:]:
    kind, address, port = word.split(",")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    end = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    end.settimeout(30)
    try:
        end.connect((address, int(port)))
        kind == "udp" and end.send(b"?")
        print(end.recv(100).decode().rpartition(" from")[0])
    except OSError as error:
        print(type(error).__name__, error.errno or "")
"""
ASK = """
import socket, sys
for name in sys.argv[1:]:
    try:
        print(*sorted({found[4][0] for found in socket.getaddrinfo(name, 1)}))
    except socket.gaierror as error:
        print(error.errno)
"""
REFUSED = {"tcp": "ConnectionRefusedError 111", "udp4": "OSError 113", "udp6": "PermissionError 13"}
AGAIN, NONE = "-3", "-2"


@pytest.fixture(scope="module")
def program(checkout: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    made = tmp_path_factory.mktemp("forwarder") / "forwarder"
    subprocess.run([f"{checkout}/ssh2container/native/build.sh", "forwarder", str(made)], check=True)
    # Where anybody may execute it, and as it is installed.
    place = f"/tmp/s2c-forwarder-{os.getpid()}"
    subprocess.run(["install", "-m", "711", str(made), place], check=True)
    return place


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory, program: str) -> Iterator[Internet]:
    with internet(str(tmp_path_factory.mktemp("internet"))) as made:
        yield made
    os.unlink(program)


def reach(container: Container, *words: str) -> list[str]:
    """What each flow comes to: "reached ADDRESS PORT", or the error that a program gets."""
    return container.python(TRY, *words).ok().text.splitlines()


def both(*addresses: str, port: int = 443) -> list[str]:
    return [f"{kind},{address},{port}" for address in addresses for kind in ("tcp", "udp")]


def refusals(*addresses: str) -> list[str]:
    return [
        word
        for address in addresses
        for word in (REFUSED["tcp"], REFUSED["udp6" if ":" in address else "udp4"])
    ]


def reached(*addresses: str, port: int = 443) -> list[str]:
    return [f"reached {address} {port}" for address in addresses for _ in range(2)]


FORBIDDEN = (
    of.HOST4,
    of.HOST6,
    of.HOST_PUBLIC4,
    of.METADATA4,
    of.PRIVATE4,
    of.CARRIER4,
    of.ROUTER4,
    of.PRIVATE6,
    of.ROUTER6,
    of.NAT64_PRIVATE,
    of.SIX_TO_FOUR_METADATA,
    inside.GATEWAY4,
    inside.GATEWAY6,
    inside.DNS4,
    inside.DNS6,
)
PUBLIC = (of.PUBLIC4, of.OTHER4, of.PUBLIC6, of.OTHER6, of.NAT64)


def test_the_internet_is_reached_and_nothing_else(program: str, net: Internet) -> None:
    with forwarding(program, net, "egress internet", "report yes") as (container, forwarder):
        assert reach(container, *both(*PUBLIC)) == reached(*PUBLIC)
        assert reach(container, *both(*FORBIDDEN)) == refusals(*FORBIDDEN)
        told = {f"refused {word.replace(',', ' ')}" for word in both(*FORBIDDEN)}
        assert set(forwarder.refused(len(told))) == told


def test_pings_of_both_families(program: str, net: Internet) -> None:
    with forwarding(program, net, "egress internet") as (container, _):
        for address in (of.PUBLIC4, of.PUBLIC6, inside.GATEWAY4, inside.GATEWAY6, inside.DNS4):
            done = container.run(["ping", "-c", "2", "-i", "0.2", "-W", "30", "-s", "3000", address])
            assert "2 received" in done.text, (address, done.text, done.errors)
        for address in (of.PRIVATE4, of.METADATA4, of.HOST6, of.HOST4):
            done = container.run(["ping", "-c", "1", "-W", "30", address])
            assert "+1 errors" in done.text, (address, done.text)


def test_any_is_all_but_loopback(program: str, net: Internet) -> None:
    hosts = (of.HOST4, of.HOST6, of.HOST_PUBLIC4, of.METADATA4, of.PRIVATE4, of.PRIVATE6)
    with forwarding(program, net, "egress any") as (container, _):
        assert reach(container, *both(*PUBLIC, *hosts)) == reached(*PUBLIC, *hosts)
        container.shell(
            "ip route add 127.9.0.0/16 via 10.0.2.2 2>&1; sysctl -qw net.ipv4.conf.all.route_localnet=1"
        ).ok()
        gateways = (inside.GATEWAY4, inside.GATEWAY6, "0.0.0.1", "255.255.255.254")
        assert "reached" not in " ".join(reach(container, *both(*gateways)))
    # With a port for datagrams libslirp's own wall before the host's loopback is down.
    with forwarding(program, net, "egress any", f"publish udp {of.HOST4} 5353 53") as (container, _):
        assert reach(container, *both(inside.GATEWAY4, inside.GATEWAY6)) == refusals(
            inside.GATEWAY4, inside.GATEWAY6
        )


def test_none_lets_nothing_out_not_even_a_question(program: str, net: Internet) -> None:
    with forwarding(program, net, "egress none", "report yes") as (container, forwarder):
        assert reach(container, *both(of.PUBLIC4, of.PUBLIC6)) == refusals(of.PUBLIC4, of.PUBLIC6)
        assert container.python(ASK, "public.example").text == f"{AGAIN}\n"
        told = [forwarder.line() for _ in range(5)]
        assert told[-1] == f"refused udp {inside.DNS4} 53 public.example"


def test_a_list_decides_alone(program: str, net: Internet) -> None:
    lines = (
        f"allow {of.PUBLIC4} 443 tcp",
        f"allow {of.PRIVATE4}/31 440-443",
        f"allow {of.HOST4} 5432",
        "allow 2001:db8:1::/48",
        "allow 192.168.0.0/16 80",
    )
    with forwarding(program, net, "egress list", *lines) as (container, _):
        assert reach(container, *both(of.PUBLIC4)) == [f"reached {of.PUBLIC4} 443", REFUSED["udp4"]]
        assert reach(container, *both(of.PRIVATE4, of.PUBLIC6)) == reached(of.PRIVATE4, of.PUBLIC6)
        assert reach(container, f"tcp,{of.PRIVATE4},22", f"tcp,{of.HOST4},5432", f"tcp,{of.HOST4},22") == [
            REFUSED["tcp"],
            f"reached {of.HOST4} 5432",
            REFUSED["tcp"],
        ]
        others = (of.OTHER4, of.OTHER6, of.METADATA4, of.HOST6)
        assert reach(container, *both(*others)) == refusals(*others)
        # A range does not name the host, though it has an address in it.
        assert reach(container, f"tcp,{of.HOST4},80") == [REFUSED["tcp"]]
        assert "1 received" in container.run(["ping", "-c1", "-W30", of.PUBLIC6]).text
        assert "+1 errors" in container.run(["ping", "-c1", "-W30", of.PUBLIC4]).text


def test_a_wide_range_opens_neither_the_host_nor_its_link(program: str, net: Internet) -> None:
    with forwarding(program, net, "egress list", "allow 0.0.0.0/0", "allow ::/0") as (container, _):
        assert reach(container, *both(of.PRIVATE4, of.PUBLIC6)) == reached(of.PRIVATE4, of.PUBLIC6)
        closed = (of.METADATA4, of.HOST4, of.HOST6, of.HOST_PUBLIC4)
        assert reach(container, *both(*closed)) == refusals(*closed)
    with forwarding(program, net, "egress list", f"allow {of.METADATA4} 80 tcp") as (container, _):
        assert container.python(
            f"import urllib.request as u; print(u.urlopen('http://{of.METADATA4}/').read().decode())"
        ).text.startswith(f"reached {of.METADATA4} 80")


def test_an_address_that_the_host_gets_later_is_its_own(program: str, net: Internet) -> None:
    with forwarding(program, net, "egress internet") as (container, _):
        late = "198.51.100.99"
        subprocess.run(["ip", "-n", net.internet, "address", "add", late, "dev", "lo"], check=True)
        assert reach(container, f"tcp,{late},443") == [f"reached {late} 443"]
        subprocess.run(["ip", "-n", net.host, "address", "add", late, "dev", "lo"], check=True)
        assert reach(container, *both(late)) == refusals(late)
        subprocess.run(["ip", "-n", net.host, "address", "delete", late, "dev", "lo"], check=True)
        assert reach(container, f"tcp,{late},443") == [f"reached {late} 443"]


def test_where_the_host_has_no_way_the_program_is_told(program: str, net: Internet) -> None:
    for network in ("198.51.100.128/25", "2001:db8:9::/48"):
        subprocess.run(["ip", "-n", net.host, "route", "add", "unreachable", network], check=True)
    with forwarding(program, net, "egress internet") as (container, _):
        assert reach(container, *both("198.51.100.200")) == ["OSError 101"] * 2
        assert reach(container, *both("2001:db8:9::1")) == ["PermissionError 13"] * 2
    for network in ("198.51.100.128/25", "2001:db8:9::/48"):
        subprocess.run(["ip", "-n", net.host, "route", "delete", "unreachable", network], check=True)


def test_names_are_answered_by_the_hosts_resolver_whose_changes_are_followed(
    program: str, net: Internet
) -> None:
    try:
        with forwarding(program, net, "egress internet") as (container, _):
            assert container.python(
                ASK, "public.example", "www.example", "nobody.example"
            ).text.splitlines() == [
                f"{of.PUBLIC6} {of.PUBLIC4}",
                f"{of.OTHER4} {of.OTHER6}",
                NONE,
            ]
            # Longer than a datagram of the old size: asked again by a connection.
            assert len(container.python(ASK, "long.example").text.split()) == 99
            net.set_resolver("127.0.0.53")
            long = "import socket; socket.setdefaulttimeout(30)\n" + ASK
            assert container.python(long, "public.example").text == f"{of.PUBLIC6} {of.PUBLIC4}\n"
            # One that does not listen, then one of IPv6 that does.
            net.set_resolver("192.168.77.1%nothing", "127.0.0.1", of.PUBLIC6)
            assert container.python(ASK, "public.example").text == f"{of.PUBLIC6} {of.PUBLIC4}\n"
    finally:
        net.set_resolver(of.PUBLIC4)


def test_a_resolver_that_is_not_there_is_told_at_once(program: str, net: Internet) -> None:
    try:
        net.set_resolver("198.51.100.21")  # a router answers that it knows no such host, or nobody does
        subprocess.run(["ip", "-n", net.host, "route", "add", "unreachable", "198.51.100.21"], check=True)
        with forwarding(program, net, "egress internet") as (container, _):
            assert container.python(ASK, "public.example").text == f"{AGAIN}\n"
    finally:
        subprocess.run(["ip", "-n", net.host, "route", "delete", "unreachable", "198.51.100.21"], check=True)
        net.set_resolver(of.PUBLIC4)


def test_names_on_the_list_open_their_addresses_while_they_hold(program: str, net: Internet) -> None:
    lines = ("allow-name WWW.example. 443 tcp", "allow-name *.cdn.example 22", "allow-name private.example")
    with forwarding(program, net, "egress list", *lines, "report yes") as (container, forwarder):
        assert reach(container, f"tcp,{of.OTHER4},443") == [REFUSED["tcp"]], "nobody has asked for it"
        assert forwarder.line() == f"refused tcp {of.OTHER4} 443"
        assert container.python(ASK, "www.example").text == f"{of.OTHER4} {of.OTHER6}\n"
        assert reach(container, f"tcp,{of.OTHER4},443", f"tcp,{of.OTHER6},443", f"tcp,{of.OTHER4},22") == [
            f"reached {of.OTHER4} 443",
            f"reached {of.OTHER6} 443",
            REFUSED["tcp"],
        ]
        assert forwarder.line() == f"refused tcp {of.OTHER4} 22 www.example"
        container.python(ASK, "e1.cdn.example")
        assert reach(container, *both(of.OTHER4, port=22)[:1]) == [f"reached {of.OTHER4} 22"]
        # A range of somebody's own: who names it, means it.
        container.python(ASK, "private.example")
        assert reach(container, *both(of.PRIVATE4)) == reached(of.PRIVATE4)
        # What is not on the list is not even asked for.
        assert container.python(ASK, "public.example").text == f"{AGAIN}\n"
        assert reach(container, f"tcp,{of.PUBLIC4},443", f"tcp,{inside.DNS4},53") == [REFUSED["tcp"]] * 2


@pytest.mark.parametrize("name", ["loopback", "metadata", "host"])
def test_no_name_leads_to_the_host_or_its_link(program: str, net: Internet, name: str) -> None:
    with forwarding(program, net, "egress list", f"allow-name {name}.example") as (container, _):
        found = container.python(ASK, f"{name}.example").text.split()
        assert found
        there = [address for address in found if address not in ("127.0.0.1", "::1")]
        assert reach(container, *both(*there)) == refusals(*there)
    both_lines = (f"allow-name {name}.example", f"allow {of.METADATA4} 443", f"allow {of.HOST4} 443")
    with forwarding(program, net, "egress list", *both_lines) as (container, _):
        there = [address for address in found if address in (of.METADATA4, of.HOST4)]
        assert reach(container, *both(*there)) == reached(*there)


def test_an_answer_pins_no_name_that_was_not_asked_for(program: str, net: Internet) -> None:
    lines = ("allow-name www.example", "allow 203.0.113.99")
    with forwarding(program, net, "egress list", *lines) as (container, _):
        assert container.python(ASK, "liar.example").text == f"{of.PUBLIC4}\n"
        assert reach(container, *both(of.PRIVATE4, of.PUBLIC4)) == refusals(of.PRIVATE4, of.PUBLIC4)
    with forwarding(program, net, "egress list", "allow-name liar.example") as (container, _):
        assert container.python(ASK, "liar.example").text == f"{of.PUBLIC4}\n"
        assert reach(container, *both(of.PUBLIC4)) == reached(of.PUBLIC4)
        assert reach(container, *both(of.PRIVATE4)) == refusals(of.PRIVATE4), "of a name beside it"


def test_a_name_answered_by_a_connection_is_pinned_too(program: str, net: Internet) -> None:
    zone = {**of.ZONE, "long.example": [*of.ZONE["long.example"], ["A", 300, of.OTHER4]]}
    net.set_zone(zone)
    lines = ("allow-name long.example 443", "allow 203.0.113.99 1")
    try:
        with forwarding(program, net, "egress list", *lines) as (container, _):
            assert len(container.python(ASK, "long.example").text.split()) == 100
            # As many as are kept of one answer.
            assert reach(container, f"tcp,{of.PUBLIC4},443") == [f"reached {of.PUBLIC4} 443"]
    finally:
        net.set_zone(of.ZONE)


def test_published_ports_lead_in(program: str, net: Internet) -> None:
    lines = (
        "publish tcp 127.0.0.1 8081 5432",
        "publish tcp :: 8082 5432",
        f"publish udp {of.HOST4} 5353 5000",
        "publish udp 127.0.0.1 5354 5001",
        "egress none",
    )
    serve = f"""
import socket, sys
sys.path.insert(0, {os.path.dirname(os.path.dirname(of.__file__))!r})
sys.argv = ["", "", "5432", "5000,5001"]
from support import internet_servers
internet_servers.main()
"""
    with forwarding(program, net, *lines) as (container, _):
        server = subprocess.Popen(
            ["ip", "netns", "exec", container.name, "/usr/bin/python3", "-c", serve],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert server.stdout
        assert server.stdout.readline() == b"ready\n"
        try:
            for namespace, words, at in (
                (net.host, "tcp,127.0.0.1,8081", f"{inside.OWN4} 5432"),
                (net.host, "tcp,::1,8082", f"{inside.OWN6} 5432"),
                (net.host, "udp,127.0.0.1,5354", f"{inside.OWN4} 5001"),
                (net.internet, f"tcp,{of.HOST6},8082", f"{inside.OWN6} 5432"),
                (net.internet, f"udp,{of.HOST4},5353", f"{inside.OWN4} 5000"),
            ):
                done = run([*net.prefix(namespace), "/usr/bin/python3", "-c", TRY, words]).ok()
                assert done.text == f"reached {at}\n"
            closed = run([*net.prefix(net.internet), "/usr/bin/python3", "-c", TRY, f"tcp,{of.HOST4},8081"])
            assert closed.text == f"{REFUSED['tcp']}\n"
        finally:
            server.kill()
            server.communicate()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("publish tcp 127.0.0.1 80 8000",), r"cannot publish port 8000 of the container as"),
        (("publish tcp 127.0.0.1 80 80",), r"1:80/tcp: Permission denied: .*; choose one from 1024 on"),
        (("publish tcp 0.0.0.0 5432 80",), r" 0\.0\.0\.0:5432/tcp: Address already in use: another program"),
        (("publish udp :: 5000 80",), r" \[::\]:5000/udp: Address already in use: another program"),
        (("publish tcp 203.0.113.7 8080 80",), r"the host does not have this address"),
        (("publish udp 127.0.0.1 8080 80", "publish udp 127.0.0.1 8081 80"), r"line 2 .* once only"),
        (("egress some",), r"line 1 of its configuration: egress is internet, any, none or list"),
        (("egress list", "allow 1.2.3.4/33"), r"line 2 of its configuration: the bits"),
        (("allow-name a..b",), "line 1 of its configuration: not a host name"),
        (("allow 1.2.3.4 0",), "a port is a number"),
        (("allow 1.2.3.4 7-6",), "a range of ports"),
        (("allow 1.2.3.4 7 icmp",), "icmp has no ports"),
        (("allow 1.2.3.4  7",), "apart by one blank"),
        (("mtu 1279",), "1280 to 65520"),
        (("else",), "not a line"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(program: str, net: Internet, lines: tuple[str, ...], said: str) -> None:
    container = Container(f"s2c-inside-{os.getpid()}")
    try:
        container.open()
        forwarder = Forwarder(program, net, container)
        forwarder.start(*lines)
        status, out, errors = forwarder.failure()
        forwarder.stop()
    finally:
        container.close()
    assert (status, out) == (1, "")
    assert re.search(said, errors), errors
    assert errors.count("\n") == 1


def test_it_ends_with_its_life_line_and_with_its_parent(program: str, net: Internet) -> None:
    with forwarding(program, net, "egress internet") as (_, forwarder):
        assert forwarder.stop() == 0


def test_it_has_given_up_what_it_does_not_need(program: str, net: Internet) -> None:
    with forwarding(program, net, "egress internet") as (_, forwarder):
        with open(f"/proc/{forwarder.process.pid}/status", encoding="utf-8") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        assert (status["NoNewPrivs"], status["Seccomp"], status["Seccomp_filters"]) == ("1", "2", "1")
        assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
        assert os.stat(f"/proc/{forwarder.process.pid}/environ").st_uid == 0, (
            "not dumpable: root's, not the user's"
        )
        with open(f"/proc/{forwarder.process.pid}/limits", encoding="utf-8") as file:
            limits = file.read()
        assert re.search(r"Max address space +671088640 ", limits)
        assert re.search(r"Max processes +0 ", limits)
        descriptors = os.listdir(f"/proc/{forwarder.process.pid}/fd")
        assert len(descriptors) <= 7
        signals = int(status["SigBlk"], 16), int(status["SigIgn"], 16)
        assert signals == (0, 1 << 12), "only SIGPIPE is ignored"


@pytest.mark.parametrize("address", [of.PUBLIC4, of.PUBLIC6])
def test_a_window_is_two_frames_without_a_rest(program: str, net: Internet, address: str) -> None:
    """The kernel sends halves of a window: an odd one would leave a byte for a third frame."""
    window = f"""
import socket
end = socket.create_connection(({address!r}, 443), 60)
tcpi_snd_wnd = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)[228:]
print(int.from_bytes(tcpi_snd_wnd, "little"))
end.sendall(bytes(1 << 16))
end.shutdown(socket.SHUT_WR)
print(sum(len(piece) for piece in iter(lambda: end.recv(1 << 16), b"")) > 1 << 16)
"""
    with forwarding(program, net, "egress internet") as (container, _):
        assert container.python(window).ok().text.split() == ["65534", "True"]


def test_it_asks_for_short_turns_of_the_processor(program: str, net: Internet) -> None:
    number, form = {"x86_64": 315, "aarch64": 275}[os.uname().machine], "<IIQiIQQQ"
    release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    with forwarding(program, net, "egress none") as (_, forwarder):
        attributes = ctypes.create_string_buffer(struct.calcsize(form))  # struct sched_attr
        process = forwarder.process.pid
        assert ctypes.CDLL(None).syscall(number, process, attributes, len(attributes), 0) == 0
        _, policy, _, nice, _, turn_ns, _, _ = struct.unpack(form, attributes.raw)
        assert (policy, nice) == (os.SCHED_OTHER, os.getpriority(os.PRIO_PROCESS, 0))
        assert turn_ns == (300_000 if release >= (6, 12) else 0)


def test_the_kernel_inside_is_told_of_no_router(program: str, net: Internet) -> None:
    """Whoever is root inside may ask for one; addresses from it would not be the container's own."""
    with forwarding(program, net, "egress internet") as (container, _):
        container.shell(
            f"""set -e
            echo 2 >/proc/sys/net/ipv6/conf/tap0/accept_ra
            ip link set tap0 down
            ip link set tap0 up
            ip -6 address add {inside.OWN6}/64 dev tap0 nodad
            ip -6 route add default via {inside.GATEWAY6}
            """
        ).ok()
        until(lambda: reach(container, f"tcp,{of.PUBLIC6},443") == [f"reached {of.PUBLIC6} 443"], "the link")
        assert "proto ra" not in container.shell("ip -6 route").text
