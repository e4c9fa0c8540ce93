"""``network_mode: private``: a way out under rules, published ports, nothing of either after the session."""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import signal
import socket
import stat
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import internet as of
from support.host import Process, children, processes, run, until
from support.internet import Internet, internet
from support.leaks import tidy_after_a_killed_monitor
from support.login import Live, inside, live, login, python_inside
from support.material import busybox_tree
from support.outward import TUN, on_the_host_of, tun
from support.syslog import Syslog
from support.tracing import traced
from support.users import MakeUser, User, Users

from ssh2container.kernel import private_network
from ssh2container.kernel.script import Script
from ssh2container.plan.operations import private

CONTROL = "/usr/bin/ssh2containerctl"
NEW_NETWORK = 0x40000000
FORWARDER = os.path.realpath("/usr/lib/ssh2container/current/forwarder")
PRIVATE = "image: host\nnetwork_mode: private\n"
REACH = """
import socket
for word in "%s".split():
    kind, address, port = word.split(",")
    try:
        family, _, _, _, place = socket.getaddrinfo(address, int(port), type=socket.SOCK_DGRAM)[0]
        end = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        end.settimeout(60)
        end.connect(place)
        kind == "udp" and end.send(b"?")
        print(end.recv(100).decode().split("\\n")[0].rpartition(" from")[0])
    except OSError as error:
        print(type(error).__name__)
"""
PING = """
#include <arpa/inet.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <sys/socket.h>
int main(int count, char **words)
{
    struct icmphdr echo = {.type = ICMP_ECHO};
    struct sockaddr_in to = {.sin_family = AF_INET};
    int end = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
    if (count != 2 || end < 0 || inet_pton(AF_INET, words[1], &to.sin_addr) != 1 ||
        sendto(end, &echo, sizeof echo, 0, (void *)&to, sizeof to) < 0 ||
        recv(end, &echo, sizeof echo, 0) < 0 || echo.type != ICMP_ECHOREPLY) {
        perror("ping");
        return 1;
    }
    return puts("pong") < 0;
}
"""
"""busybox has a raw socket or nothing."""
REFUSED = ("ConnectionRefusedError", "PermissionError", "OSError")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    with internet(str(tmp_path_factory.mktemp("internet"))) as made, on_the_host_of(made):
        yield made


@pytest.fixture(scope="module")
def walker(net: Internet, users: Users) -> Iterator[User]:  # noqa: ARG001  # the machine is in its network
    """Somebody with a private network as it is without more keys."""
    made = users.make(PRIVATE)
    yield made
    users.remove(made)


def reach(user: User, *words: str) -> list[str]:
    """What each flow comes to: "reached ADDRESS PORT", or the error that a program gets."""
    return python_inside(user, REACH % " ".join(words)).ok().text.splitlines()


def is_refused(answer: str) -> bool:
    return answer in REFUSED


def forwarders(user: User) -> list[Process]:
    return [one for one in processes(user.uid) if one.name == "forwarder"]


def forwarder_of(user: User) -> Process:
    """The only one: that of a session before may be about to end, as the kernel removes its interface."""

    until(lambda: len(forwarders(user)) == 1, f"{user.name} has one forwarder")
    return forwarders(user)[0]


def init_of(session: Live) -> Process:
    """pid 1 of a session that has a forwarder beside it."""
    own = os.stat("/proc/self/ns/pid").st_ino
    (found,) = [one for one in children(session.monitor) if one.namespace("pid") != f"pid:[{own}]"]
    return found


# ---- what is made ------------------------------------------------------------------------------------------


def use_at_once() -> None:
    """Make an interface as pid 1 does, in a network of its own, and use its IPv6 address. Raises OSError."""
    assert not ctypes.CDLL(None).unshare(NEW_NETWORK)
    script = Script()
    for operation in (private.MakeTap(), private.SetUpTap(has_ipv6=True)):
        operation.write(script)
    assert script.run() is None
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as end:
        end.bind((private_network.OWN6, 0))
    words = [line.split() for line in Path("/proc/thread-self/net/ipv6_route").read_text().splitlines()]
    own = socket.inet_pton(socket.AF_INET6, private_network.OWN6).hex()
    assert [own, "80"] in [line[:2] for line in words], "the kernel takes what comes to it"


def test_the_address_can_be_used_as_soon_as_it_is_made() -> None:
    """The kernel readies it in a worker of its own; whoever is first may find no address."""
    with tun():
        for _ in range(40):
            child = os.fork()
            if not child:
                try:
                    use_at_once()
                except BaseException:  # noqa: BLE001  # the child tells, whatever it was
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0


# ---- what works --------------------------------------------------------------------------------------------


def test_a_session_gets_out(walker: User) -> None:
    assert reach(
        walker,
        f"tcp,{of.PUBLIC4},443",
        f"udp,{of.PUBLIC4},5000",
        f"tcp,{of.PUBLIC6},443",
        f"udp,{of.PUBLIC6},5000",
        "tcp,public.example,22",
        "tcp,www.example,80",
    )[:5] == [
        f"reached {of.PUBLIC4} 443",
        f"reached {of.PUBLIC4} 5000",
        f"reached {of.PUBLIC6} 443",
        f"reached {of.PUBLIC6} 5000",
        f"reached {of.PUBLIC4} 22",
    ]


def test_ping_and_curl_work(walker: User, make_user: MakeUser) -> None:
    assert (
        inside(walker, f"curl -sS http://{of.PUBLIC4}/; curl -sS -6 http://public.example/")
        .ok()
        .text.count("reached")
        == 2
    )
    root = make_user(PRIVATE + "user: root\n")
    for user in (walker, root):
        for address in (of.PUBLIC4, of.PUBLIC6, "public.example"):
            inside(user, f"ping -c 1 -W 30 {address}").ok()


def test_the_network_inside_is_what_the_document_says(walker: User) -> None:
    shown = inside(
        walker, "ip -br address; ip route; ip -6 route; cat /etc/resolv.conf; cat /proc/net/if_inet6"
    ).ok()
    assert "10.0.2.100/24" in shown.text
    assert "fd00::100/64" in shown.text
    assert "default via 10.0.2.2 dev tap0" in shown.text
    assert "default via fd00::2 dev tap0" in shown.text
    assert shown.text.count("nameserver") == 1
    assert "nameserver 10.0.2.3\n" in shown.text
    # IFA_F_TENTATIVE: nobody had to wait for an address.
    assert not re.search(r" (40|c0) +tap0", shown.text)


def test_the_host_and_private_places_are_refused_at_once(walker: User) -> None:
    places = (
        of.HOST4,
        of.HOST_PUBLIC4,
        of.HOST6,
        of.PRIVATE4,
        of.CARRIER4,
        of.PRIVATE6,
        of.METADATA4,
        "10.0.2.2",
        "fd00::2",
    )
    answers = reach(walker, *(f"{kind},{place},443" for place in places for kind in ("tcp", "udp")))
    assert len(answers) == 2 * len(places)
    assert all(map(is_refused, answers)), answers
    assert reach(walker, "tcp,private.example,443", "tcp,metadata.example,80") == [
        "ConnectionRefusedError"
    ] * 2 or all(
        "reached" not in one for one in reach(walker, "tcp,private.example,443", "tcp,metadata.example,80")
    )


def test_a_list_is_what_it_names(net: Internet, make_user: MakeUser) -> None:
    user = make_user(
        PRIVATE
        + f'egress: ["{of.PUBLIC4}:443/tcp", "{of.PRIVATE4}/32", "[{of.PUBLIC6}]:22", "public.example:80"]\n'
    )
    assert reach(user, f"tcp,{of.PUBLIC4},443", f"udp,{of.PRIVATE4},5000", f"tcp,{of.PUBLIC6},22") == [
        f"reached {of.PUBLIC4} 443",
        f"reached {of.PRIVATE4} 5000",
        f"reached {of.PUBLIC6} 22",
    ]
    assert all(
        map(
            is_refused,
            reach(
                user,
                f"udp,{of.PUBLIC4},443",
                f"tcp,{of.PUBLIC4},22",
                f"tcp,{of.PUBLIC6},443",
                f"tcp,{of.OTHER4},443",
            ),
        )
    )
    # A name opens what it resolves to, once it was asked for.
    assert "reached" in inside(user, "curl -sS http://public.example/").ok().text
    assert net.host


def test_internet_in_a_list_is_the_internet_and_more(net: Internet, make_user: MakeUser) -> None:
    user = make_user(PRIVATE + f"egress: [internet, {of.PRIVATE4}:5432/tcp]\n")
    *good, bad = reach(user, f"tcp,{of.PUBLIC4},443", f"tcp,{of.PRIVATE4},5432", f"tcp,{of.PRIVATE4},443")
    assert good == [f"reached {of.PUBLIC4} 443", f"reached {of.PRIVATE4} 5432"]
    assert is_refused(bad)
    assert net.host


def test_none_leads_nowhere_and_any_to_the_host_too(net: Internet, make_user: MakeUser) -> None:
    nowhere, anywhere = make_user(PRIVATE + "egress: none\n"), make_user(PRIVATE + "egress: any\n")
    assert all(map(is_refused, reach(nowhere, f"tcp,{of.PUBLIC4},443", f"udp,{of.PUBLIC6},5000")))
    assert reach(anywhere, f"tcp,{of.PRIVATE4},443", f"tcp,{of.HOST4},443") == [
        f"reached {of.PRIVATE4} 443",
        f"reached {of.HOST4} 443",
    ]
    assert net.host


def test_names_follow_the_hosts_resolver(net: Internet, walker: User) -> None:
    with live(walker) as session:
        assert of.PUBLIC4 in session.ask("getent ahostsv4 public.example")
        net.set_resolver("203.0.113.99")  # nobody is there
        net.set_resolver(of.OTHER4)
        zone = {**of.ZONE, "new.example": [["A", 300, of.OTHER4]]}
        net.set_zone(zone)
        try:
            until(
                lambda: of.OTHER4 in session.ask("getent ahostsv4 new.example"), "the new resolver is asked"
            )
        finally:
            net.set_resolver(of.PUBLIC4)
            net.set_zone(of.ZONE)


# ---- identities, shared containers -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image(module_directory: Callable[[str], Path]) -> Iterator[str]:
    name = "private-" + secrets.token_hex(3)
    tree = busybox_tree(str(module_directory("tree")))
    run(["gcc", "-static", "-x", "c", "-o", f"{tree}/bin/echo-request", "-"], PING.encode()).ok()
    run([CONTROL, "image", "import", "--range", name, tree]).ok()
    yield name
    run([CONTROL, "image", "rm", "--force", name]).ok()


@pytest.mark.parametrize("user", ["root", "self"])
@pytest.mark.parametrize("mode", ["single", "range", "own_range"])
def test_every_kind_of_user_gets_out_and_none_around_the_rules(
    net: Internet, image: str, make_user: MakeUser, mode: str, user: str
) -> None:
    who = make_user(
        f"image: {image}\nuserns_mode: {mode}\nuser: {user}\nshell: [/bin/sh]\nnetwork_mode: private\n"
    )
    enabled = mode != "single"
    if enabled:
        run([CONTROL, "enable", who.name]).ok()
    try:
        script = (
            f"busybox wget -q -O - http://{of.PUBLIC4}/; /bin/echo-request {of.PUBLIC4};"
            f" busybox wget -q -O - http://{of.PRIVATE4}/ || echo refused; cat /etc/resolv.conf;"
            " busybox ip route add 192.0.2.0/24 dev tap0; busybox ip link set tap0 down;"
            " busybox ip address add 10.0.2.50/24 dev tap0; busybox ip tuntap add dev tap1 mode tap;"
            " ls /dev/net /dev/tun; busybox ip link"
        )
        done = login(who, "-c", script)
        said = done.out.decode()
    finally:
        if enabled:
            run([CONTROL, "disable", who.name]).ok()
    assert "reached" in said, done
    assert "pong" in said, done
    assert "refused" in said, done
    assert "nameserver 10.0.2.3" in said
    assert "tap1" not in said
    assert re.search(r"tap0: <[^>]*UP", said)
    assert done.err.count(b"not permitted") >= 3, done
    assert net.host


def test_logins_that_share_a_container_share_its_network(net: Internet, make_user: MakeUser) -> None:
    user = make_user(PRIVATE + 'container_per: user\nports: ["48081:8081"]\n')
    with live(user) as first, live(user) as second:
        assert first.ask("readlink /proc/self/ns/net") == second.ask("readlink /proc/self/ns/net")
        assert forwarder_of(user)
        for session in (first, second):
            assert "reached" in session.ask(f"curl -sS http://{of.PUBLIC4}/")
    until(lambda: not processes(user.uid), "nothing is left after the last login")
    assert net.host


def test_a_program_of_exec_has_the_same_network(walker: User) -> None:
    with live(walker) as session:
        listed = run([CONTROL, "sessions", "--json", walker.name]).ok().text
        name = re.search(r'"id": "([0-9a-f]{10})"', listed)
        assert name
        done = run([CONTROL, "exec", name[1], "--", "readlink", "/proc/self/ns/net"]).ok()
        assert done.text.strip() == session.ask("readlink /proc/self/ns/net").strip()


# ---- ports -------------------------------------------------------------------------------------------------

SERVE = (
    'python3 -c \'import socket; s = socket.create_server(("%s", %d), family=socket.%s);\n'
    'while True: s.accept()[0].sendall(b"inside")\' &'
)


def answer(address: str, port: int) -> bytes:
    try:
        with socket.create_connection((address, port), timeout=60) as end:
            return end.recv(100)
    except ConnectionRefusedError:
        return b"refused"


def test_published_ports_lead_inside_while_the_session_lives(net: Internet, make_user: MakeUser) -> None:
    user = make_user(
        PRIVATE
        + 'ports: ["48080:80-81", "[::1]:48080:8080", "48090-48091:8090-8091"]\n'.replace("80-81", "8080")
    )
    with live(user) as session:
        session.ask(SERVE % ("", 8080, "AF_INET"))
        session.ask(SERVE % ("", 8091, "AF_INET"))
        until(lambda: answer("127.0.0.1", 48080) == b"inside", "the server inside answers")
        until(lambda: answer("127.0.0.1", 48091) == b"inside", "the other, too")
        assert answer(of.HOST4, 48080) == b"refused"
        session.ask("kill %1 %2; " + SERVE % ("::", 8080, "AF_INET6"))
        until(lambda: answer("::1", 48080) == b"inside", "the one of IPv6")
    until(lambda: answer("127.0.0.1", 48080) == b"refused", "nobody listens after the session")
    assert net.host


def test_a_port_that_somebody_has_is_a_clear_line(net: Internet, make_user: MakeUser) -> None:
    user = make_user(PRIVATE + 'ports: ["48082:80"]\n')
    with socket.create_server(("127.0.0.1", 48082)):
        done = inside(user, "echo ran")
    assert (done.status, done.out) == (125, b"")
    assert len(done.errors.splitlines()) == 1
    assert "127.0.0.1:48082/tcp" in done.errors
    assert "another port" in done.errors
    assert inside(user, "echo ran").ok().text == "ran\n"
    assert net.host


def test_ports_of_root_are_refused_before_anything_is_made(net: Internet, make_user: MakeUser) -> None:
    user = make_user(PRIVATE + 'ports: ["80:80"]\n')
    done = inside(user, "echo ran")
    assert (done.status, done.out) == (126, b"")
    assert "127.0.0.1:80/tcp" in done.errors
    assert "below 1024" in done.errors
    assert "logins are refused" in run([CONTROL, "check"]).text
    assert f"{user.policy_file}:3:1: error: logins are refused" in run([CONTROL, "check"]).text, "at ports"
    assert net.host


# ---- records -----------------------------------------------------------------------------------------------


def test_what_was_refused_is_recorded_where_the_policy_asks(
    net: Internet, make_user: MakeUser, walker: User, syslog: Syslog
) -> None:
    user = make_user(PRIVATE + "egress_log: refused\n")
    reach(user, *[f"tcp,{of.PRIVATE4},443"] * 3, f"udp,{of.METADATA4},80")
    syslog.wait(lambda line: "event=close" in line and user.name in line, "the session has ended")
    lines = [line for line in syslog.of(user.name) if "event=egress-refused" in line]
    assert len([line for line in lines if f'address="{of.PRIVATE4}"' in line]) == 1
    assert 'protocol="tcp"' in lines[0]
    assert 'target_port="443"' in lines[0]
    assert any(f'address="{of.METADATA4}"' in line for line in lines)
    reach(walker, f"tcp,{of.PRIVATE4},443")
    assert not [line for line in syslog.of(walker.name) if "event=egress-refused" in line]
    assert net.host


def test_many_refusals_are_counted_and_not_listed(net: Internet, make_user: MakeUser, syslog: Syslog) -> None:
    user = make_user(PRIVATE + "egress_log: refused\n")
    program = (
        "import socket\nfor n in range(3000):\n"
        " end = socket.socket()\n try: end.connect(('10.1.%d.%d' % (n // 250, n % 250), 443))\n"
        " except OSError: pass\n end.close()"
    )
    python_inside(user, program).ok()
    syslog.wait(lambda line: "event=close" in line and user.name in line, "the session has ended")
    lines = [line for line in syslog.of(user.name) if "event=egress-refused" in line]
    assert len(lines) <= 257
    assert any(re.search(r'count="[0-9]{2,}"', line) for line in lines)
    assert net.host


# ---- ends --------------------------------------------------------------------------------------------------


def test_nothing_inside_holds_the_other_side_of_the_interface(walker: User) -> None:
    with live(walker) as session:
        for process in processes(walker.uid):
            held = [
                os.readlink(f"/proc/{process.pid}/fd/{name}")
                for name in os.listdir(f"/proc/{process.pid}/fd")
            ]
            taps = [place for place in held if place.endswith("/net/tun")]
            assert len(taps) == (process.name == "forwarder"), process.name
        pid = session.ask("echo $$").strip()
        assert pid
    done = inside(walker, "python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'")
    assert done.status == 1
    assert "PermissionError" in done.errors or "Error" in done.errors


def test_the_forwarder_has_no_rights_and_is_closed_to_its_user(walker: User) -> None:
    with live(walker):
        one = forwarder_of(walker)
        status = Path(f"/proc/{one.pid}/status").read_text()
        for name in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
            assert re.search(rf"^{name}:\t0+$", status, re.MULTILINE), name
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status
        assert os.stat(f"/proc/{one.pid}/mem").st_uid == 0
        numbers = sorted(map(int, os.listdir(f"/proc/{one.pid}/fd")))
        assert not [
            number for number in numbers if os.readlink(f"/proc/{one.pid}/fd/{number}").startswith("/home")
        ]


@pytest.mark.parametrize("who", ["monitor", "init", "forwarder"])
def test_whoever_is_killed_nothing_is_left(
    net: Internet, make_user: MakeUser, who: str, syslog: Syslog
) -> None:
    user = make_user(PRIVATE)
    with live(user) as session:
        assert "reached" in session.ask(f"curl -sS http://{of.PUBLIC4}/")
        victim = {
            "monitor": session.monitor,
            "init": init_of(session).pid,
            "forwarder": forwarder_of(user).pid,
        }[who]
        os.kill(victim, signal.SIGKILL)
        if who == "forwarder":
            syslog.wait(
                lambda line: "event=network-lost" in line and user.name in line, "the loss is recorded"
            )
            until(
                lambda: "tap0" not in session.ask("ls /sys/class/net 2>/dev/null; cat /proc/net/dev"),
                "tap0 is gone",
            )
            assert "reached" not in session.ask(f"curl -sS http://{of.PUBLIC4}/ 2>&1")
            assert session.ask("echo goes on") == "goes on\n"
    until(lambda: not processes(user.uid), "nothing is left")
    if who == "monitor":
        tidy_after_a_killed_monitor(user)
    assert net.host


CALLS = (
    "ioctl",
    "openat2",
    "sendmsg",
    "socket",
    "memfd_create",
    "pipe2",
    "pidfd_open",
    "clone",
    "execve",
    "recvmsg",
)


def most_calls(user: User, name: str) -> int:
    """How often one of a login's processes makes the call, without what compiles its policy."""
    run([CONTROL, "compile"]).ok()
    done, log = traced(user, "echo ran", name)
    assert done.ok().text == "ran\n"
    return max(Counter(line.split()[0] for line in log.splitlines()).values())


@pytest.mark.parametrize("name", CALLS)
def test_death_at_any_step_leaves_nothing(net: Internet, make_user: MakeUser, name: str) -> None:
    """SIGKILL to whichever process makes the call, at each of its occurrences (in steps, to save time)."""
    user = make_user(PRIVATE)
    occurrences = most_calls(user, name)
    for number in range(1, occurrences + 1, 1 + occurrences // 8):
        traced(user, "echo ran", name, fault=f"signal=KILL:when={number}")
        until(lambda: not processes(user.uid), f"nothing is left after death at {name} number {number}")
        tidy_after_a_killed_monitor(user)
    assert net.host


@pytest.mark.parametrize("name", ["ioctl", "openat2", "memfd_create", "pipe2", "sendmsg"])
def test_an_error_at_any_step_ends_the_session_with_a_line(
    net: Internet, make_user: MakeUser, name: str
) -> None:
    user = make_user(PRIVATE)
    for number in range(1, most_calls(user, name) + 1):
        done, _ = traced(user, "echo ran", name, fault=f"error=EIO:when={number}")
        if done.status == 0:
            continue  # one that nothing depends on, say a question for a terminal
        assert done.status in (125, 126), f"{name} number {number}: {done}"
        assert done.out == b"", f"{name} number {number}: {done}"
        assert len(done.errors.splitlines()) == 1, f"{name} number {number}: {done}"
        assert "Traceback" not in done.errors
    assert net.host


# ---- bad input ---------------------------------------------------------------------------------------------


@contextmanager
def aside(path: str) -> Iterator[None]:
    os.rename(path, path + ".aside")
    try:
        yield
    finally:
        os.rename(path + ".aside", path)


@contextmanager
def in_place_of_the_forwarder(script: str) -> Iterator[None]:
    with aside(FORWARDER):
        Path(FORWARDER).write_text(script)
        os.chmod(FORWARDER, 0o755)
        try:
            yield
        finally:
            os.unlink(FORWARDER)


def refusal(user: User, status: int) -> str:
    done = inside(user, "echo ran")
    assert (done.status, done.out) == (status, b""), done
    assert len(done.errors.splitlines()) == 1, done
    until(lambda: not processes(user.uid), "nothing is left")
    return done.errors


def test_without_the_device(walker: User) -> None:
    with aside(TUN):
        said = refusal(walker, 126)
        assert TUN in said
        assert "modprobe tun" in said
        assert "modprobe tun" in run([CONTROL, "check"]).text
        assert f"{walker.policy_file}:2:1: error: logins are refused" in run([CONTROL, "check"]).text
        assert run([CONTROL, "explain", walker.name, "--", "true"]).status == 126
    os.chmod(TUN, 0o600)
    try:
        assert "chmod 0666" in refusal(walker, 126)
    finally:
        os.chmod(TUN, 0o666)


def test_with_a_device_that_nothing_is_behind(walker: User) -> None:
    with aside(TUN):
        os.mknod(TUN, 0o666 | stat.S_IFCHR, os.makedev(10, 199))
        os.chmod(TUN, 0o666)
        try:
            said = refusal(walker, 125)
        finally:
            os.unlink(TUN)
    assert TUN in said
    assert "modprobe tun" in said


def test_without_the_forwarder(walker: User) -> None:
    with aside(FORWARDER):
        said = refusal(walker, 126)
        assert FORWARDER in said
        assert "libslirp" in said
        assert "libslirp" in run([CONTROL, "check"]).text


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\necho out of order >&2\nexit 1\n", "out of order"),
        ("#!/bin/sh\nkill -9 $$\n", "was killed"),
        ("#!/bin/sh\necho nonsense\n", "makes sense"),
        ("not a program", "Exec format error"),
    ],
)
def test_with_a_forwarder_that_does_not_start(walker: User, script: str, said: str) -> None:
    with in_place_of_the_forwarder(script):
        assert said in refusal(walker, 125)
    assert inside(walker, "echo ran").ok().text == "ran\n"


def test_a_forwarder_that_does_not_end_is_killed(walker: User) -> None:
    with in_place_of_the_forwarder("#!/bin/sh\ntrap '' HUP TERM\necho ready\nexec sleep 4711\n"):
        assert inside(walker, "echo ran").ok().text == "ran\n"
        until(lambda: not processes(walker.uid), "nothing is left")


def test_without_a_resolver_a_session_starts_and_no_name_resolves(net: Internet, walker: User) -> None:
    nobody = "203.0.113.99"
    run(["ip", "route", "add", "unreachable", nobody]).ok()
    net.set_resolver(nobody)
    try:
        assert "reached" in inside(walker, f"curl -sS http://{of.PUBLIC4}/").ok().text
        assert inside(walker, "getent hosts public.example").status == 2
        net.set_resolver()
        assert "no name server" in run([CONTROL, "check"]).text
    finally:
        net.set_resolver(of.PUBLIC4)
        run(["ip", "route", "del", "unreachable", nobody]).ok()


# ---- what is told ------------------------------------------------------------------------------------------


def test_explain_says_what_can_be_reached(net: Internet, make_user: MakeUser) -> None:
    user = make_user(PRIVATE + 'egress: [internet, 10.1.2.3:5432/tcp]\nports: ["48083:80"]\n')
    text = " ".join(run([CONTROL, "explain", user.name, "--", "true"]).ok().text.split())
    assert "What its network reaches the internet (not to the host itself" in text
    assert "and 10.1.2.3/32 tcp port 5432; what is refused" in text
    assert "names by the host's resolver, as 10.0.2.3" in text
    assert "programs on this host reach port 80 inside as 127.0.0.1:48083/tcp" in text
    named = make_user(PRIVATE + 'egress: ["a.example.org:80-81", "b.example.org:443/tcp"]\n')
    text = " ".join(run([CONTROL, "explain", named.name, "--", "true"]).ok().text.split())
    assert "a.example.org port 80-81 and b.example.org tcp port 443; what is refused" in text
    assert "these names and no others by the host's resolver" in text
    plain = make_user("image: host\n")
    assert "no way out" in run([CONTROL, "explain", plain.name, "--", "true"]).ok().text
    assert net.host


def test_the_doctor_looks_at_what_private_networks_need(net: Internet, make_user: MakeUser) -> None:
    user = make_user(PRIVATE)
    run([CONTROL, "enable", user.name]).ok()
    try:
        assert "private networks have all that they need" in run([CONTROL, "doctor", "--all", user.name]).text
        net.set_resolver()
        os.chmod(TUN, 0o600)
        said = run([CONTROL, "doctor", user.name]).text
    finally:
        os.chmod(TUN, 0o666)
        net.set_resolver(of.PUBLIC4)
        run([CONTROL, "disable", user.name]).ok()
    assert "users may not open it" in said
    assert "names no name server" in said


@pytest.mark.parametrize("when", ["later", "at once"])
@pytest.mark.parametrize(
    "words",
    [
        "suppressed " + "9" * 5000,
        "suppressed many",
        "refused tcp 192.0.2.1 \\0303\\0250",
        "refused tcp 192.0.2.1 https",
        "refused by nobody",
        "refused tcp 192.0.2.1 443 a name",
        "ready",
        "",
    ],
)
def test_a_forwarder_that_says_what_ours_does_not_is_ended(
    walker: User, syslog: Syslog, words: str, when: str
) -> None:
    """It reads hostile packets: what it says is judged, too. The session goes on; one record says why."""
    before = syslog.mark()
    # At the first frame from inside, or together with its first word; then until it is told to end.
    says = {
        "later": f"printf 'ready\\n'; head -c 1 <&3 >/dev/null; printf '{words}\\n'; read -r end <&4",
        "at once": f"printf 'ready\\n{words}\\n'; read -r end <&4",
    }[when]
    with in_place_of_the_forwarder(f"#!/bin/sh\n{says}\n"), live(walker) as session:
        assert session.ask("echo ? >/dev/udp/192.0.2.1/9; echo sent") == "sent\n"
        record = syslog.wait(lambda line: "event=network-lost" in line, "the loss is recorded", before)
        assert "what makes no sense and was killed: " + words[:10].partition("\\")[0] in record
        until(lambda: not forwarders(walker), "it has been killed")
        assert session.ask("echo goes on") == "goes on\n"


def test_what_it_says_at_its_end_is_judged_too(walker: User, syslog: Syslog) -> None:
    before = syslog.mark()
    says = "#!/bin/sh\nprintf 'ready\\n'\nread -r end <&4\nprintf 'suppressed -1\\n'\n"
    with in_place_of_the_forwarder(says):
        assert inside(walker, "echo ran").ok().text == "ran\n"
    assert "killed: suppressed -1" in syslog.wait(
        lambda line: "event=network-lost" in line, "the loss is recorded", before
    )
