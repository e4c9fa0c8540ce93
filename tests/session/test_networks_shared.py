"""``networks`` with ranges of ids, with containers that logins share, and from one session to the next."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
from collections.abc import Callable, Iterator

import pytest
from support.host import processes, run, until
from support.lan import BEYOND, PORT, Lan, lan
from support.leaks import tidy_after_a_killed_monitor
from support.login import inside, live, python_inside
from support.material import busybox_tree
from support.networks import ASK, CONTROL
from support.syslog import Syslog
from support.users import User, Users

from ssh2container.admin.networks import namespaces
from ssh2container.plan.pools import POOLS


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan(4) as made:
        yield made


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    name = "net-" + secrets.token_hex(3)
    run([CONTROL, "image", "import", "--range", name, busybox_tree(str(tmp_path_factory.mktemp("t")))]).ok()
    yield name
    run([CONTROL, "image", "rm", "--force", name]).ok()


@pytest.mark.parametrize("mode", ["range", "own_range"])
def test_a_whole_range_of_ids(net: Lan, image: str, enabled: Callable[..., User], mode: str) -> None:
    """The range is mapped through the namespace that root made; root inside cannot change the network."""
    address = net.address(20 if mode == "range" else 21)
    user = enabled(
        f"{{{net.bridge}: {{ipv4_address: {address}/24, gateway: {net.router}}}}}",
        f"userns_mode: {mode}\nuser: root\nshell: [/bin/sh]\n",
        image=image,
    )
    script = f"""
    busybox id -u; busybox wc -l </proc/self/uid_map
    busybox nc {BEYOND} {PORT} </dev/null; echo
    busybox ip link set eth0 down 2>&1
    busybox touch /tmp/x && busybox chown 7:7 /tmp/x && busybox stat -c %u /tmp/x
    """
    root, lines, seen, down, owner = inside(user, script).ok().text.splitlines()
    assert (root, lines.strip(), seen, owner) == ("0", "3", address, "7")
    assert "Operation not permitted" in down


def test_logins_that_share_a_container_share_its_network(net: Lan, enabled: Callable[..., User]) -> None:
    user = enabled(f"{{{net.bridge}: {{ipv4_address: {net.address(22)}/24}}}}", "container_per: user\n")
    which = "readlink /proc/self/ns/net"
    with live(user) as first:
        name = first.ask(which)
        assert inside(user, which).ok().text == name
        # The one network is taken, by the container that a login would join: nothing is wrong.
        assert run([CONTROL, "explain", user.name]).ok()
        run([CONTROL, "enable", user.name]).ok()
        assert python_inside(user, f"{ASK}\nprint(ask('{net.router}'))").ok().text.strip() == net.address(22)
    until(lambda: not processes(user.uid), "the container is gone")
    assert inside(user, which).ok().text == name
    until(lambda: not processes(user.uid), "the container is gone")


def test_nothing_of_a_session_is_left_for_the_next(net: Lan, enabled: Callable[..., User]) -> None:
    """Sockets go with their processes, those whose monitor was killed, too; the next one waits for that."""
    user = enabled(f"{{{net.bridge}: {{ipv4_address: {net.address(23)}/24}}}}")
    listen = """
import os, socket, sys
tcp = socket.create_server(("", 4000))
abstract = socket.socket(socket.AF_UNIX)
abstract.bind("\\0left")
abstract.listen()
print("listening", flush=True)
sys.stdin.read()
"""
    look = """
import socket
socket.create_server(("", 4000)).close()
s = socket.socket(socket.AF_UNIX)
try:
    s.connect("\\0left")
except ConnectionRefusedError:
    print("gone")
"""
    quoted = listen.replace("'", "'\\''")
    with live(user) as first:
        first.send(f"python3 -c '{quoted}'")
        assert first.process.stdout
        assert first.process.stdout.readline() == b"listening\n"
        os.kill(first.monitor, signal.SIGKILL)
        first.process.wait()
        # At once: it is refused as long as the kernel is at it, and never gets into what is not empty.
        done = until(lambda: _or_none(user, look), "the network is free again")
    assert done == "gone\n"
    tidy_after_a_killed_monitor(user)


def _or_none(user: User, program: str) -> str | None:
    done = python_inside(user, program)
    if done.status == 126:
        assert "is in use" in done.errors
        return None
    return done.ok().text


def test_a_bridge_that_is_gone_and_one_that_is_down(enabled: Callable[..., User]) -> None:
    bridge = "br" + secrets.token_hex(4)
    run(["ip", "link", "add", bridge, "type", "bridge"]).ok()
    try:
        with pytest.raises(AssertionError, match=f"{bridge} is down; bring it up"):
            enabled(f"{{{bridge}: {{ipv4_address: 10.99.0.3/24}}}}")
        run(["ip", "link", "set", bridge, "up"]).ok()
        user = enabled(f"{{{bridge}: {{ipv4_address: 10.99.0.2/24}}}}")
        run(["ip", "link", "set", bridge, "down"]).ok()
        _is_refused(user, f"ssh2container: cannot connect the session to the bridge {bridge}: it is down")
        run(["ip", "link", "set", bridge, "up"]).ok()
        assert inside(user, "echo in").ok().text == "in\n"
        # A session that is there goes on without it.
        with live(user) as session:
            run(["ip", "link", "delete", bridge]).ok()
            assert session.ask("echo in") == "in\n"
        _is_refused(user, f"the bridge {bridge}: it is not there")
        told = run([CONTROL, "compile", "--only-limits"])
        assert told.status == 1
        assert bridge in told.errors
        run(["ip", "link", "add", bridge, "type", "bridge"]).ok()
        run(["ip", "link", "set", bridge, "up"]).ok()
        # The sessions' interfaces are not on the new one.
        _is_refused(user, f"the bridge {bridge}: it was made anew")
        run([CONTROL, "compile", "--only-limits"]).ok()
        assert bridge in run(["ip", "-o", "link", "show", "master", bridge]).ok().text
        assert inside(user, "echo in").ok().text == "in\n"
    finally:
        run(["ip", "link", "delete", bridge])


def _is_refused(user: User, why: str) -> None:
    """With one line and its status, and nothing is left; whoever explains or rehearses it says the same."""
    done = inside(user, "echo in")
    assert done.status == 126
    assert done.out == b""
    assert why in done.errors
    assert done.errors.count("\n") == 1
    _await_end(user)
    assert not namespaces.in_use(f"{POOLS}/{user.uid}/0")
    judged = run([CONTROL, "doctor", "--json", user.name])
    assert any(
        one["level"] == "problem" and one["check"] == "networks.prepared"
        for one in json.loads(judged.text)["findings"]
    )


def test_a_bridge_that_is_gone_refuses_containers_that_are_shared_too(enabled: Callable[..., User]) -> None:
    bridge = "br" + secrets.token_hex(4)
    run(["ip", "link", "add", bridge, "type", "bridge"]).ok()
    run(["ip", "link", "set", bridge, "up"]).ok()
    try:
        user = enabled(f"{{{bridge}: {{ipv4_address: 10.99.0.2/24}}}}", "container_per: user\n")
        assert inside(user, "echo in").ok().text == "in\n"
        until(lambda: not processes(user.uid), "the container is gone")
        run(["ip", "link", "set", bridge, "down"]).ok()
        _is_refused(user, f"the bridge {bridge}: it is down")
        # A login would join no container: the rehearsal does not take it for one that is in use.
        assert run([CONTROL, "enable", user.name]).status != 0
    finally:
        run(["ip", "link", "delete", bridge])


def _await_end(user: User) -> None:
    until(lambda: not processes(user.uid), "all is gone")


def test_records_say_which_network_and_address_a_session_had(
    net: Lan, enabled: Callable[..., User], syslog: Syslog
) -> None:
    """Those of each session, and of each login in a container that logins share, and of that."""
    said = f'networks="{net.bridge}" addresses="{net.address(26)}, {net.address6(26)}"'
    network = (
        f"{{{net.bridge}: {{ipv4_address: {net.address(26)}/24, ipv6_address: '{net.address6(26)}/64'}}}}"
    )
    for more, events in (("", 2), ("container_per: user\n", 4)):
        user = enabled(network, more)
        before = len(syslog.of(f'uid="{user.uid}"'))  # of somebody who had it
        inside(user, "true").ok()
        _await_end(user)
        said_since = syslog.of(f'uid="{user.uid}"')[before:]
        records = [one for one in said_since if re.search("event=(container-)?(open|close) ", one)]
        assert len(records) == events
        assert [one for one in records if said not in one] == []
        run([CONTROL, "disable", user.name]).ok()


def test_a_policy_that_was_changed_is_not_served_by_what_was_prepared(
    net: Lan, enabled: Callable[..., User], users: Users
) -> None:
    user = enabled(f"{{{net.bridge}: {{ipv4_address: {net.address(24)}/24}}}}")
    users.write_policy(
        user, f"image: host\nnetworks: {{{net.bridge}: {{ipv4_address: {net.address(25)}/24}}}}\n"
    )
    refused = inside(user, "echo in")
    assert refused.status == 126
    assert "those of another policy" in refused.errors
    assert f"ssh2containerctl enable {user.name}" in refused.errors
    run([CONTROL, "compile", "--no-sshd"]).ok()
    assert python_inside(user, f"{ASK}\nprint(ask('{net.router}'))").ok().text.strip() == net.address(25)
    users.write_policy(user, "image: host\n")
    run([CONTROL, "compile", "--no-sshd"]).ok()
    assert not os.path.exists(f"{POOLS}/{user.uid}")
    assert inside(user, "ls /sys/class/net; ip -br link").ok().text.split()[0] == "lo"
