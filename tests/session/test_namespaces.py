"""Each session has namespaces of its own, of every kind, and sees nothing of any other."""

from __future__ import annotations

import os
import socket

import pytest
from support.host import processes
from support.login import finish, inside, live, python_inside, start
from support.users import MakeUser, User

KINDS = ("user", "mnt", "pid", "ipc", "uts", "cgroup", "net")
LIST_NAMESPACES = "for kind in " + " ".join(KINDS) + "; do readlink /proc/self/ns/$kind; done"


def test_every_namespace_is_the_sessions_own(user: User) -> None:
    theirs = inside(user, LIST_NAMESPACES).ok().text.split()
    ours = [os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS]
    assert len(theirs) == len(KINDS)
    assert not set(theirs) & set(ours)


def test_the_monitor_never_leaves_the_hosts_namespaces(user: User) -> None:
    with live(user) as session:
        for kind in KINDS:
            assert os.readlink(f"/proc/{session.monitor}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")
            assert session.init().namespace(kind) != os.readlink(f"/proc/self/ns/{kind}")
            assert session.init().namespace(kind) == session.payload().namespace(kind)


def test_two_sessions_share_no_namespace(user: User) -> None:
    with live(user) as one, live(user) as two:
        assert not set(one.ask(LIST_NAMESPACES).split()) & set(two.ask(LIST_NAMESPACES).split())


def test_two_sessions_see_nothing_of_each_other(user: User) -> None:
    with live(user) as one, live(user) as two:
        one.ask("echo secret >/tmp/a; echo secret >~/b; echo secret >/dev/shm/c; mkdir /run/d 2>/dev/null")
        one.ask("ipcmk -M 100 >/dev/null; ipcmk -S 1 >/dev/null; ipcmk -Q >/dev/null")
        one.ask("sleep 987654 & while ! ps ax | grep -q '[9]87654'; do :; done")
        assert "987654" not in two.ask("ps ax")
        assert two.ask("cat /tmp/a ~/b /dev/shm/c 2>/dev/null; ls -d /run/d 2>/dev/null") == ""
        assert len(one.ask("ipcs | grep -c 0x").split()) == 1
        assert one.ask("ipcs | grep -c 0x") == "3\n"
        assert two.ask("ipcs | grep -c 0x") == "0\n"


def test_abstract_sockets_are_the_sessions_own(user: User) -> None:
    name = f"s2c-{user.name}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        listener.listen()
        program = (
            "import socket\ns = socket.socket(socket.AF_UNIX)\n"
            f"try: s.connect('\\0{name}')\nexcept OSError as e: print(e.errno)\nelse: print('reached')"
        )
        assert python_inside(user, program).ok().text == "111\n"


def test_loopback_is_up_and_the_only_interface(user: User) -> None:
    program = """
import socket
print([name for _, name in socket.if_nameindex()])
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
server.accept()[0].sendall(b"over loopback")
print(client.recv(100).decode())
"""
    assert python_inside(user, program).ok().text == "['lo']\nover loopback\n"


def test_a_host_port_is_out_of_reach(user: User) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        program = (
            "import socket\n"
            f"try: socket.create_connection(('127.0.0.1', {port}))\nexcept OSError as e: print(e.errno)"
        )
        assert python_inside(user, program).ok().text == "111\n"


def test_network_mode_host_shares_only_the_network(make_user: MakeUser) -> None:
    guest = make_user("image: host\nnetwork_mode: host\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = inside(guest, f"{LIST_NAMESPACES}; : </dev/tcp/127.0.0.1/{port} && echo reached").ok()
    *namespaces, reached = done.text.split()
    assert reached == "reached"
    shared = [
        kind
        for kind, link in zip(KINDS, namespaces, strict=True)
        if link == os.readlink(f"/proc/self/ns/{kind}")
    ]
    assert shared == ["net"]


@pytest.mark.parametrize("mode", ["bridge", "none-such"])
def test_other_network_modes_are_refused(make_user: MakeUser, mode: str) -> None:
    guest = make_user(f"image: host\nnetwork_mode: {mode}\n")
    done = inside(guest, "echo inside")
    assert done.status in (125, 126)
    assert done.out == b""
    assert "network_mode" in done.errors or f"{guest.policy_file}:2:15" in done.errors


def test_the_host_name_is_the_policys(make_user: MakeUser) -> None:
    guest = make_user("image: host\nhostname: box-%u\n")
    done = inside(guest, "hostname; uname -n; cat /etc/hostname; getent hosts $(hostname) | head -n 1")
    names = done.ok().text.split()
    assert names[:3] == [f"box-{guest.name}"] * 3
    assert f"box-{guest.name}" in names[3:]
    assert os.uname().nodename != names[0]


def test_the_host_name_is_not_the_hosts_by_default(user: User) -> None:
    assert inside(user, "uname -n").ok().text.strip() not in ("", os.uname().nodename)


def test_only_its_own_processes_are_listed(user: User) -> None:
    program = """
import os
pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
print(len(pids), pids[0])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(len(status["NSpid"].split()))
"""
    count, first, levels = python_inside(user, program).ok().text.split()
    assert (int(count), first, levels) == (2, "1", "1")


def test_the_host_sees_monitor_init_and_payload_as_the_users(user: User) -> None:
    with live(user) as session:
        assert {session.monitor, session.init().pid, session.payload().pid} == {
            process.pid for process in processes(user.uid)
        }


def test_ids_inside_are_the_users_own(user: User) -> None:
    done = inside(user, "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map; cat /proc/self/setgroups")
    lines = [" ".join(line.split()) for line in done.ok().text.splitlines()]
    assert lines == [
        str(user.uid),
        str(user.gid),
        f"{user.uid} {user.uid} 1",
        f"{user.gid} {user.gid} 1",
        "deny",
    ]


def test_fifty_sessions_at_once_stay_apart(user: User) -> None:
    """Each leaves a file of its own number in /tmp and then lists /tmp."""
    running = [start(user, "-c", f"read go; touch /tmp/{n}; read go; ls /tmp") for n in range(50)]
    for stage in range(2):
        for session in running:
            assert session.stdin
            session.stdin.write(b"go\n")
            session.stdin.flush()
        assert stage in (0, 1)
    results = [finish(session) for session in running]
    assert [result.text for result in results] == [f"{n}\n" for n in range(50)]
