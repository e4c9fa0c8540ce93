"""``networks``: sessions on the host's bridges, in namespaces that root has prepared."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.host import DEADLINE_SECONDS, children, processes, run, until
from support.lan import BEYOND, BEYOND6, PORT, Lan, ip, lan
from support.login import inside, live, python_inside
from support.networks import ASK, CONTROL, inside_unseen
from support.syslog import Syslog
from support.users import User

from ssh2container.plan.pools import POOLS


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan() as made:
        yield made


def test_a_bridge_a_static_address_and_a_default_route(net: Lan, enabled: Callable[..., User]) -> None:
    """All that the ancestor has, in one line: bridge, address, route."""
    user = enabled(f"{{{net.bridge}: {{ipv4_address: {net.address(7)}/24, gateway: {net.router}}}}}")
    done = python_inside(user, f"{ASK}\nprint(ask('{net.router}'), ask('{BEYOND}'))").ok()
    assert done.text.split() == [net.address(7)] * 2
    assert done.err == b""


def test_nobody_inside_changes_it(net: Lan, enabled: Callable[..., User]) -> None:
    """As root inside, with every capability over the session's own user namespace, too."""
    user = enabled(f"{{{net.bridge}: {{ipv4_address: {net.address(8)}/24}}}}", "user: root\n")
    script = """
    id -u
    ip link set eth0 down 2>&1
    ip address add 10.91.0.99/24 dev eth0 2>&1
    ip route add default via 10.91.0.1 2>&1
    ip link set eth0 address 02:00:00:00:00:01 2>&1
    ip -o address show dev eth0 scope global
    """
    lines = [line.strip() for line in inside(user, script).ok().text.splitlines()]
    assert lines[0] == "0"
    assert lines[1:5] == ["RTNETLINK answers: Operation not permitted"] * 4
    assert net.address(8) in lines[5]


def test_each_session_has_one_of_its_own_and_the_next_gets_it(net: Lan, enabled: Callable[..., User]) -> None:
    user = enabled(f"{{{net.bridge}: {{ipv4_address: {net.address(9)}/24}}}}")
    with live(user) as first:
        assert first.ask("echo here") == "here\n"
        # Whoever went through the namespaces is gone: pid 1 is the monitor's own child.
        assert [child.name for child in children(first.monitor)] == ["init"]
        second = inside(user, "echo never")
        assert second.status == 126
        assert second.out == b""
        assert "the one that is prepared is in use" in second.errors
        assert "network_pool" in second.errors
    assert inside(user, "echo again").ok().text == "again\n"


def test_who_is_in_one_counts_where_the_hosts_proc_shows_nobody(
    net: Lan, enabled: Callable[..., User]
) -> None:
    """A killed monitor's pid 1 may be there for a moment longer (proc(5), hidepid)."""
    user = enabled(f"{{{net.bridge}: {{ipv4_address: {net.address(10)}/24}}}}")
    mark = Path(f"{POOLS}/{user.uid}/0/lock")
    assert inside_unseen(user, "echo in").ok().text == "in\n"
    until(lambda: mark.read_text() == "", "nobody is in it any more")
    somebody = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        mark.write_text(f"{somebody.pid} -\n")
        done = inside_unseen(user, "echo in")
        assert (done.status, done.out) == (126, b"")
        assert "the one that is prepared is in use" in done.errors
    finally:
        somebody.communicate()
    for gone in (f"{somebody.pid} -", f"{'9' * 60} -", "nonsense"):
        mark.write_text(gone)
        assert inside_unseen(user, "echo in").ok().text == "in\n"


def test_ipv6(net: Lan, enabled: Callable[..., User]) -> None:
    user = enabled(
        f"{{{net.bridge}: {{ipv6_address: '{net.address6(7)}/64', ipv6_gateway: '{net.router6}'}}}}"
    )
    done = python_inside(user, f"{ASK}\nprint(ask('{net.router6}'), ask('{BEYOND6}'))").ok()
    assert done.text.split() == [net.address6(7)] * 2


SPOOF = f"""
import errno, socket
def spoof(source, to):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.IPPROTO_IPV6, 78, 1)  # IPV6_FREEBIND, which takes no right
        s.bind((source, 0))
        try:
            s.sendto(b"?", (to, {PORT}))
            print("sent")
        except OSError as error:
            print(errno.errorcode[error.errno])
"""


def test_no_packet_leaves_under_another_address(net: Lan, enabled: Callable[..., User]) -> None:
    """The kernel lets anybody send from any address of IPv6; without root's rule in the namespace it does."""
    own, others = net.address6(11), net.address6(66)
    user = enabled(f"{{{net.bridge}: {{ipv6_address: '{own}/64'}}}}", "user: root\n")
    attempt = f"{SPOOF}\nfor source in ('{others}', '2001:db8::66', '{own}'): spoof(source, '{net.router6}')"
    assert python_inside(user, attempt).ok().text.split() == ["EPERM", "EPERM", "sent"]
    assert net.told() == f"from {own}"
    run(["nsenter", f"--net={POOLS}/{user.uid}/0/net", "nft", "flush", "ruleset"]).ok()
    assert python_inside(user, attempt).ok().text.split() == ["sent"] * 3
    assert net.told() == f"from {others}"
    raw = """
import socket
for family, protocol in ((socket.AF_INET, 1), (socket.AF_PACKET, 768)):
    try:
        socket.socket(family, socket.SOCK_RAW, protocol)
        print("made")
    except PermissionError:
        print("refused")
"""
    assert python_inside(user, raw).ok().text.split() == ["refused"] * 2


def test_echo_requests_and_low_ports_need_no_rights(net: Lan, enabled: Callable[..., User]) -> None:
    user = enabled(f"{{{net.bridge}: {{ipv4_address: {net.address(12)}/24}}}}")
    program = f"""
import socket
echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
echo.settimeout({DEADLINE_SECONDS})
echo.sendto(bytes((8, 0, 0, 0, 0, 1, 0, 1)), ("{net.router}", 0))
print(echo.recvfrom(100)[1][0])
print(socket.create_server(("", 80)).getsockname()[1])
"""
    assert python_inside(user, program).ok().text.split() == [net.router, "80"]
    ping = f"ping -c 1 -w {DEADLINE_SECONDS:.0f} {net.router}"
    assert "1 received" in run(["su", "-", user.name, "-c", ping]).ok().text


@pytest.fixture
def site() -> Iterator[Callable[[str], None]]:
    """Adds networks to config.yaml until the test is over."""
    path = "/etc/ssh2container/config.yaml"
    with open(path, encoding="utf-8") as file:
        before = file.read()

    def write(networks: str) -> None:
        replace(path, before + f"\nnetworks: {networks}\n")

    yield write
    replace(path, before)
    run([CONTROL, "compile", "--no-sshd"]).ok()


def replace(path: str, text: str) -> None:
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(path + ".new", path)


def test_addresses_of_a_range_one_for_each_session_and_nobody_elses(
    net: Lan, site: Callable[[str], None], enabled: Callable[..., User]
) -> None:
    """Two users of one network: root deals the addresses, and each has the same ones again."""
    ranges = f"subnet: {net.address(0)}/24, gateway: {net.router}, ip_range: {net.address(16)}/30"
    site(
        f"{{lab: {{driver_opts: {{parent: {net.bridge}}}, dns: [192.0.2.53], ipam: {{config: [{{{ranges}}},"
        f" {{subnet: '{net.address6(0)}/64'}}]}}}}}}"
    )
    ann, bob = (enabled("[lab]", "network_pool: 2\n") for _ in range(2))
    ask = f"{ASK}\nprint(ask('{BEYOND}'), ask('{net.router6}'), open('/etc/resolv.conf').read().strip())"
    seen = []
    for user in (ann, bob):
        with live(user):
            seen.append(python_inside(user, ask).ok().text.split())
        # The one whose session ended first is the next to be used.
        seen += [python_inside(user, ask).ok().text.split() for _ in range(2)]
    v4, v6, _, servers = zip(*seen, strict=True)
    assert set(v4[:3]) | set(v4[3:]) == {net.address(number) for number in range(16, 20)}
    assert len(set(v4)) == len(set(v6)) == 4
    assert set(servers) == {"192.0.2.53"}
    third = make_third(enabled)
    assert f"all of {net.address(16)}/30 are taken" in third


def make_third(enabled: Callable[..., User]) -> str:
    with pytest.raises(AssertionError) as refused:
        enabled("[lab]")
    return str(refused.value)


def test_several_networks_and_routes(enabled: Callable[..., User], net: Lan) -> None:
    """Two bridges: the default route by the one with the higher priority, a route of its own by the other."""
    with lan(2) as second:
        user = enabled(
            f"{{{net.bridge}: {{ipv4_address: {net.address(13)}/24, gateway: {net.router}}},"
            f" {second.bridge}: {{ipv4_address: {second.address(13)}/24, gateway: {second.router},"
            f" gw_priority: 5, interface_name: lab0, routes: {{203.0.113.0/24: {second.address(2)}}}}}}}"
        )
        done = python_inside(
            user, f"{ASK}\nprint(*map(ask, ('{net.router}', '{second.router}', '{BEYOND}')))"
        )
        assert done.ok().text.split() == [net.address(13), second.address(13), second.address(13)]
        routes = inside(user, "ip -o route").ok().text
        assert f"203.0.113.0/24 via {second.address(2)} dev lab0" in routes
        assert routes.count("default") == 1
        run([CONTROL, "disable", user.name]).ok()


def test_macvlan_on_an_interface(net: Lan, site: Callable[[str], None], enabled: Callable[..., User]) -> None:
    parent = net.spare()
    site(
        f"{{lan: {{driver: macvlan, driver_opts: {{parent: {parent}}},"
        f" ipam: {{config: [{{subnet: {net.address(0)}/24, gateway: {net.router}}}]}}}}}}"
    )
    user = enabled(f"{{lan: {{ipv4_address: {net.address(14)}, mac_address: '02:00:00:00:01:0e'}}}}")
    assert python_inside(user, f"{ASK}\nprint(ask('{BEYOND}'))").ok().text.strip() == net.address(14)
    assert "02:00:00:00:01:0e" in net.outside("ip", "neighbour").ok().text
    # Where that is down, and where it is another by now, no session starts that leads nowhere.
    for commands, why in (
        (("down",), f"{parent}: it is down; an administrator runs ip link set {parent} up"),
        (("name aside",), f"{parent}: it is not there"),
        (("name " + parent, "up"), ""),
    ):
        for command in commands:
            run(
                f"ip link set {'aside' if command.startswith('name ' + parent) else parent} {command}".split()
            ).ok()
        done = inside(user, "echo in")
        assert (done.status, done.text) == ((126, "") if why else (0, "in\n"))
        assert why in done.errors
    run(["nsenter", f"--net={POOLS}/{user.uid}/0/net", "ip", "link", "delete", "eth0"]).ok()
    for start in (inside, inside_unseen):
        done = start(user, "echo in")
        assert (done.status, done.out) == (126, b"")
        assert (
            f"{parent}: eth0 is gone, with {parent}; an administrator runs ssh2containerctl compile"
            in done.errors
        )
        assert not processes(user.uid)
    run([CONTROL, "compile", "--only-limits"]).ok()
    assert inside(user, "echo in").ok().text == "in\n"


def test_an_interface_of_the_hosts_is_moved_in_and_comes_back(
    net: Lan, site: Callable[[str], None], enabled: Callable[..., User]
) -> None:
    """A virtual one, too, which the kernel would remove with the namespace; and as it was."""
    parent = net.spare()
    ip(
        f"link set {parent} mtu 1400",
        f"address add {net.address(200)}/24 broadcast {net.address(255)} dev {parent}",
        f"address add {net.address6(200)}/64 dev {parent} nodad",
        f"address add 192.0.2.9 peer 192.0.2.10 dev {parent}",
        f"route add 203.0.113.0/24 via {net.router} metric 7 dev {parent}",
        f"route add 2001:db8:77::/48 via {net.router6} dev {parent}",
    )
    before = as_it_is(parent)
    assert "203.0.113.0/24" in str(before)
    assert "2001:db8:77::/48" in str(before)
    assert "192.0.2.10" in str(before)
    site(f"{{wire: {{driver: interface, driver_opts: {{parent: {parent}}}}}}}")
    user = enabled(f"{{wire: {{ipv4_address: {net.address(15)}/24, gateway: {net.router}}}}}")
    assert run(["ip", "link", "show", parent]).status != 0
    assert python_inside(user, f"{ASK}\nprint(ask('{BEYOND}'))").ok().text.strip() == net.address(15)
    assert inside(user, "ip link set eth0 down").status != 0
    # As systemd does at each change of a policy.
    run([CONTROL, "compile", "--only-limits"]).ok()
    run([CONTROL, "disable", user.name]).ok()
    assert as_it_is(parent) == before


def test_an_interface_that_was_down_comes_back_so_under_whatever_name_is_free(
    net: Lan, site: Callable[[str], None], enabled: Callable[..., User]
) -> None:
    parent = net.spare()
    ip(f"link set {parent} down")
    before = as_it_is(parent)
    site(f"{{wire: {{driver: interface, driver_opts: {{parent: {parent}}}}}}}")
    for taken in (False, True):
        user = enabled(f"{{wire: {{ipv4_address: {net.address(19)}/24}}}}")
        assert "eth0" in inside(user, "ip link show up").ok().text
        if taken:
            ip(f"link add {parent} type bridge")
        run([CONTROL, "disable", user.name]).ok()
        if not taken:
            assert as_it_is(parent) == before
            continue
        mac = before[0][0]["address"]
        ip(f"link delete {parent}")
        (name,) = [one["ifname"] for one in asked("link", "show") if one["address"] == mac]
        ip(f"link set {name} name {parent}")


def asked(*words: str) -> list[dict[str, object]]:
    return list(json.loads(run(["ip", "-json", *words]).ok().text or "[]"))


def as_it_is(device: str) -> list[list[dict[str, object]]]:
    """All that the kernel knows of an interface, once that is settled, but what it calls it itself."""
    until(
        lambda: "tentative" not in run(["ip", "address", "show", "dev", device]).text,
        "its addresses are settled",
    )
    found = [asked("address", "show", "dev", device)]
    found += [asked(version, "route", "show", "dev", device) for version in ("-4", "-6")]
    for name in ("ifindex", "operstate", "qdisc"):
        del found[0][0][name]
    return found


def clients() -> list[int]:
    """The DHCP clients that run."""
    found = []
    for process in processes(0):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            if b"udhcpc" in process.command():
                found.append(process.pid)
    return found


def _await_record(syslog: Syslog, address: str, since: int) -> None:
    syslog.wait(lambda record: f'networks="lab" addresses="{address}' in record, address, since)


def test_addresses_by_dhcp(
    net: Lan, site: Callable[[str], None], enabled: Callable[..., User], tmp_path: Path, syslog: Syslog
) -> None:
    """A client of root's for each namespace takes what a server on the bridge gives: address, route, DNS."""
    leases = tmp_path / "leases"
    leases.touch()
    settings = tmp_path / "udhcpd.conf"
    settings.write_text(
        f"start {net.address(60)}\nend {net.address(69)}\ninterface eth0\nlease_file {leases}\n"
        f"pidfile {tmp_path}/pid\noption subnet 255.255.255.0\noption router {net.router}\n"
        "option dns 192.0.2.1 192.0.2.2\noption domain lan.example\noption lease 600\n"
    )
    server = subprocess.Popen(
        ["nsenter", "-t", str(net.pid), "-n", "busybox", "udhcpd", "-f", str(settings)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        site(f"{{lab: {{driver_opts: {{parent: {net.bridge}}}, ipam: {{driver: dhcp}}}}}}")
        user = enabled("[lab]", "network_pool: 2\n")
        # On a busy machine a first lease takes longer than enable waits for it.
        for number in range(2):
            there = ["nsenter", f"--net={POOLS}/{user.uid}/{number}/net", "ip", "-4", "-o", "address", "show"]
            until(lambda there=there: " eth0 " in run(there).ok().text, "a lease has come")  # type: ignore[misc]
        ask = f"{ASK}\nprint(ask('{BEYOND}'), open('/etc/resolv.conf').read().split())"
        before = syslog.mark()
        with live(user) as first:
            one = first.ask("ip -4 -o address show dev eth0 | cut -d' ' -f7").strip()
            two, *words = python_inside(user, ask).ok().text.strip().split(maxsplit=1)
        assert len({one.partition("/")[0], two}) == 2
        # A lease's is as the kernel has it.
        for address in (one.partition("/")[0], two):
            _await_record(syslog, address, before)
        before = syslog.mark()
        assert inside_unseen(user, "echo in").ok().text == "in\n"
        _await_record(syslog, "10.", before)
        assert {one.partition("/")[0], two} <= {net.address(last) for last in range(60, 70)}
        assert words == [str(["search", "lan.example", "nameserver", "192.0.2.1", "nameserver", "192.0.2.2"])]
        first_client, _ = clients()
        # One that has ended is started again, and the address is the same.
        os.kill(first_client, signal.SIGKILL)
        until(lambda: len(clients()) == 1, "it is gone")
        run([CONTROL, "compile", "--only-limits"]).ok()
        assert len(clients()) == 2
        run([CONTROL, "disable", user.name]).ok()
        assert not clients()
    finally:
        server.kill()
        server.wait()


def test_what_explain_and_verify_say(net: Lan, enabled: Callable[..., User]) -> None:
    """The plan names what is prepared; as root inside, nothing of the network can be changed or left."""
    own = net.address(17)
    user = enabled(f"{{{net.bridge}: {{ipv4_address: {own}/24, gateway: {net.router}}}}}", "user: root\n")
    told = run([CONTROL, "explain", user.name]).ok().text
    assert f"eth0 on the bridge {net.bridge} with {own}/24, the default route by {net.router}" in told
    assert f"all that its gateway {net.router} leads to" in told
    assert run([CONTROL, "check"]).ok()
    report = json.loads(run([CONTROL, "verify", "--json", user.name]).text)
    failed = [one["name"] for one in report["probes"] if one["result"] == "fail"]
    assert failed == []
