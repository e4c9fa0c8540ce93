"""Logins that share a container: one pid namespace, an owner of its own, and no way to lose a race."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from support.host import Done, Process, children, processes, run, until
from support.leaks import tidy_after_a_killed_monitor
from support.login import finish, inside, live, start
from support.outer import outer
from support.syslog import Syslog
from support.tracing import strace
from support.users import MakeUser, User, Users

CTL = "ssh2containerctl"
SHARED = "image: host\ncontainer_per: user\n"
LINGERING = SHARED + "linger: 1h\nstop_grace_period: 1s\n"
NAMESPACE = "readlink /proc/self/ns/pid"
RACES = 200


def listed(user: User) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run([CTL, "sessions", "--json", user.name]).ok().text)
    return found


def owners(user: User) -> list[Process]:
    """The processes that own a container: no login's, and each has a pid 1 below it."""
    return [p for p in processes(user.uid) if os.getsid(p.pid) == p.pid - 1 or _owns(p)]


def _owns(process: Process) -> bool:
    return any(child.namespace("pid") != process.namespace("pid") for child in children(process.pid))


def end_containers(user: User) -> None:
    if listed(user)["containers"]:
        run([CTL, "kill", "--user", user.name, "--grace", "3"]).ok()
    until(lambda: not processes(user.uid), "the container is gone")


@pytest.fixture
def sharer(make_user: MakeUser) -> User:
    return make_user(SHARED)


@pytest.fixture
def lingerer(make_user: MakeUser) -> Iterator[User]:
    user = make_user(LINGERING)
    yield user
    end_containers(user)


def test_two_logins_share_processes_and_files(sharer: User) -> None:
    with live(sharer) as first, live(sharer) as second:
        assert first.ask(NAMESPACE) == second.ask(NAMESPACE)
        first.ask("echo from-first >/tmp/note; sleep 4711 &")
        assert second.ask("cat /tmp/note") == "from-first\n"
        assert "4711" in second.ask("ps axo args")
        assert len(listed(sharer)["containers"]) == 1
        container = listed(sharer)["containers"][0]["id"]
        assert {session["container"] for session in listed(sharer)["sessions"]} == {container}


def test_the_walls_are_those_of_a_session_of_its_own(make_user: MakeUser, sharer: User) -> None:
    alone = make_user()
    look = (
        "grep -E '^(Cap|NoNew|Seccomp)' /proc/self/status; ls /proc/self/fd; umask; ulimit -a; "
        "cat /proc/sys/user/max_user_namespaces; env | grep -v -e s2c -e MAIL | sort; "
        "readlink /proc/1/exe /proc/1/root; cut -d' ' -f5,6 /proc/self/mountinfo | grep -v s2c; ls -A /run /"
    )
    assert inside(sharer, look).text == inside(alone, look).text
    with live(sharer):
        assert inside(sharer, look).text == inside(alone, look).text


def test_status_signals_and_bytes_come_through(sharer: User) -> None:
    data = os.urandom(2_000_000)
    with live(sharer):
        assert inside(sharer, "cat; exit 7", data) == Done(7, data, b"")
        assert inside(sharer, "kill -TERM $$").status == -signal.SIGTERM
        missing = inside(sharer, "exec nosuch")
        assert (missing.status, missing.out) == (127, b"")
        long = b"x" * 130_000
        assert inside(sharer, b"printf %s " + long).ok().out == long
        session = start(sharer, "-c", "exec >&-; read x; exit 3")
        assert session.stdout
        assert session.stdout.read() == b""
        assert finish(session, b"\n").status == 3


def test_each_login_has_its_own_request(make_user: MakeUser) -> None:
    guest = make_user(SHARED + "access: {commands: [echo, cat], sftp: {umask: '027'}}\n")
    with live_cat(guest):
        assert inside(guest, "echo hi").ok().text == "hi\n"
        assert inside(guest, "id").status == 126
        done = inside(guest, "echo $TERM", environment={"TERM": "x"})
        assert done.status == 126


def live_cat(user: User) -> Any:
    class Holding:
        def __enter__(self) -> None:
            self.process = start(user, "-c", "cat")
            assert self.process.stdin
            assert self.process.stdout
            self.process.stdin.write(b"ready\n")
            self.process.stdin.flush()
            self.process.stdout.readline()

        def __exit__(self, *_: object) -> None:
            self.process.communicate()

    return Holding()


def test_the_last_to_leave_ends_it(sharer: User) -> None:
    with live(sharer) as first:
        with live(sharer) as second:
            second.ask("(setsid sleep 1000 >/dev/null 2>&1 &)")
            until(lambda: "\nsleep 1000" in first.ask("ps axo args"), "the daemon is one")
        assert "\nsleep 1000" in first.ask("ps axo args")
    until(lambda: not processes(sharer.uid), "everything is gone")
    assert os.listdir(sharer.runtime_directory) == []


def test_a_lingering_container_takes_the_next_login_in(lingerer: User) -> None:
    first = inside(lingerer, f"{NAMESPACE}; touch /tmp/kept; (setsid sleep 1000 >/dev/null 2>&1 &)").ok().text
    second = inside(lingerer, f"{NAMESPACE}; ls /tmp").ok().text
    assert second == first + "kept\n"


def test_it_lingers_from_the_end_of_the_last_login(make_user: MakeUser, syslog: Syslog) -> None:
    """Not from when that login was last heard of: it may have been silent for longer than that."""
    session_seconds, linger_seconds = 2, 2
    guest = make_user(SHARED + f"linger: {linger_seconds}s\n")
    session = start(guest, "-c", f"sleep {session_seconds}")
    container = until(lambda: listed(guest)["containers"], "the container is listed")[0]["id"]
    finish(session)
    until(lambda: not processes(guest.uid), "the container ends")
    (closed,) = [record for record in syslog.of(container) if "container-close" in record]
    lived_seconds = float(closed.partition('duration="')[2].partition('"')[0])
    assert lived_seconds >= session_seconds + linger_seconds


def test_a_lingering_container_is_listed_entered_and_ended(lingerer: User, syslog: Syslog) -> None:
    inside(lingerer, "touch /tmp/kept").ok()
    (container,) = listed(lingerer)["containers"]
    assert listed(lingerer)["sessions"] == []
    assert container["id"] in run([CTL, "sessions", lingerer.name]).ok().text
    assert run([CTL, "exec", container["id"], "--", "ls", "/tmp"]).ok().text == "kept\n"
    run([CTL, "kill", container["id"]]).ok()
    until(lambda: not processes(lingerer.uid), "it ends")
    until(
        lambda: (
            {"container-open", "container-close"}
            <= {r.partition("event=")[2].split()[0] for r in syslog.of(container["id"])}
        ),
        "its records",
    )


def test_kill_of_one_session_leaves_the_others(sharer: User) -> None:
    with live(sharer) as stays, live(sharer) as goes:
        found = {session["monitor"]: session["id"] for session in listed(sharer)["sessions"]}
        run([CTL, "kill", found[goes.monitor]]).ok()
        goes.ended()
        assert stays.ask("echo alive") == "alive\n"


def test_a_killed_login_takes_only_its_own_command_with_it(sharer: User) -> None:
    with live(sharer) as stays:
        goes = start(sharer, "-c", "trap '' HUP TERM; echo ready; exec sleep 4712")
        assert goes.stdout
        assert goes.stdout.readline() == b"ready\n"
        goes.kill()
        goes.communicate()
        until(lambda: "4712" not in stays.ask("ps axo args | grep -v grep"), "its command is gone")
        assert stays.ask("echo alive") == "alive\n"
    until(lambda: not processes(sharer.uid), "everything is gone")
    tidy_after_a_killed_monitor(sharer)


def test_a_client_that_is_gone_ends_its_login(sharer: User) -> None:
    with live(sharer) as stays:
        goes = start(sharer, "-c", "trap '' HUP TERM PIPE; echo ready; exec sleep 4713")
        assert goes.stdout
        assert goes.stdout.readline() == b"ready\n"
        for stream in (goes.stdout, goes.stderr, goes.stdin):
            assert stream
            stream.close()
        until(lambda: goes.poll() is not None, "the login ends")
        until(lambda: "4713" not in stays.ask("ps axo args | grep -v grep"), "its command is gone")


def test_the_owner_holds_nothing_of_a_client(lingerer: User) -> None:
    """A descriptor left in the owner would keep ssh from ever seeing the end."""
    session = start(lingerer, "-c", "echo done")
    assert session.stdout
    assert session.stdout.read() == b"done\n"
    assert finish(session).status == 0
    (owner,) = [process for process in processes(lingerer.uid) if _owns(process)]
    (init,) = children(owner.pid)
    for process in (owner, init):
        for number in (0, 1, 2):
            assert os.readlink(f"/proc/{process.pid}/fd/{number}") == "/dev/null"
        kinds = [os.readlink(f"/proc/{process.pid}/fd/{n}") for n in os.listdir(f"/proc/{process.pid}/fd")]
        assert not [kind for kind in kinds if kind.startswith("pipe")]
    assert owner.parent != os.getpid()
    assert os.getsid(owner.pid) not in (os.getsid(0), session.pid)


@pytest.mark.parametrize("victim", ["owner", "init"])
def test_the_death_of_the_container_ends_every_login(sharer: User, victim: str) -> None:
    with live(sharer) as first, outer(sharer, "-c", "echo in; read x") as second:
        second.expect(b"in\r\n")
        command = start(sharer, "-c", "echo in; read x")
        assert command.stdout
        command.stdout.readline()
        (owner,) = [process for process in processes(sharer.uid) if _owns(process)]
        os.kill(owner.pid if victim == "owner" else children(owner.pid)[0].pid, signal.SIGKILL)
        assert (first.ended(), second.ended()) == (125, 125)
        second.expect(b"the container that your sessions share has ended")
        done = finish(command)
        assert (done.status, done.errors.count("\n")) == (125, 1)
        assert "log in again" in done.errors
    until(lambda: not processes(sharer.uid), "everything is gone")
    inside(sharer, "true").ok()
    until(lambda: not processes(sharer.uid), "everything is gone again")
    tidy_after_a_killed_monitor(sharer)


def test_a_tightened_policy_takes_effect_at_the_next_login(users: Users, lingerer: User) -> None:
    with live(lingerer) as before:
        old = before.ask(NAMESPACE)
        users.write_policy(lingerer, LINGERING + "seccomp: {deny: [sethostname]}\n")
        with live(lingerer) as after:
            new = after.ask(NAMESPACE)
            assert new != old
            assert inside(lingerer, NAMESPACE).ok().text == new
            assert before.ask("echo still here") == "still here\n"
            assert len(listed(lingerer)["containers"]) == 2
    until(lambda: len(listed(lingerer)["containers"]) == 1, "nobody lingers under the old policy")
    assert inside(lingerer, NAMESPACE).ok().text == new


def test_a_lingering_container_of_the_old_policy_ends_at_once(users: Users, lingerer: User) -> None:
    old = inside(lingerer, f"{NAMESPACE}; (setsid sleep 1000 >/dev/null 2>&1 &)").ok().text
    users.write_policy(lingerer, LINGERING + "storage_opt: {inodes: 40000}\n")
    assert inside(lingerer, NAMESPACE).ok().text != old
    until(lambda: len(listed(lingerer)["containers"]) == 1, "the old one is gone")


def test_a_refused_policy_refuses_although_a_container_lives(users: Users, lingerer: User) -> None:
    inside(lingerer, "true").ok()
    users.write_policy(lingerer, LINGERING + "access: {login: false}\n")
    assert inside(lingerer, "true").status == 126
    users.write_policy(lingerer, LINGERING)


def test_an_error_of_the_set_up_reaches_the_login(make_user: MakeUser) -> None:
    guest = make_user(SHARED)
    done = inside(guest, "true", before=strace("pivot_root", fault="error=EIO"))
    assert done.status == 125
    assert len(done.errors.splitlines()) == 1
    assert "Input/output error" in done.errors
    until(lambda: not processes(guest.uid), "nothing of it runs")
    assert os.listdir(guest.runtime_directory) == []


def test_limits_of_a_process_do_not_limit_the_container(make_user: MakeUser) -> None:
    guest = make_user(SHARED + "ulimits: {nofile: 20}\n")
    sessions = [start(guest, "-c", "ulimit -n; read x") for _ in range(15)]
    for session in sessions:
        assert session.stdout
        assert session.stdout.readline() == b"20\n"
    assert len(listed(guest)["containers"]) == 1
    for session in sessions:
        assert finish(session, b"\n").status == 0


def test_connections_are_kept_apart(make_user: MakeUser) -> None:
    """This process stands for the sshd of one connection: its sessions meet, those of others do not."""
    guest = make_user("image: host\ncontainer_per: connection\n")
    first = inside(guest, f"{NAMESPACE}; touch /tmp/kept").ok().text
    assert inside(guest, f"{NAMESPACE}; ls /tmp").ok().text == first + "kept\n"
    other = {"SSH_CONNECTION": "192.0.2.9 1 192.0.2.1 22"}
    assert inside(guest, NAMESPACE, environment=other).ok().text != first
    run([CTL, "kill", "--user", guest.name]).ok()
    shell = ["/bin/sh", "-c", f'"$0" -c "{NAMESPACE}"; "$0" -c "{NAMESPACE}"; :', guest.shell]
    done = run(shell, user=guest.uid, group=guest.gid, extra_groups=[], env=guest.environment(), cwd="/").ok()
    one, two = done.text.splitlines()
    assert one == two
    until(lambda: not processes(guest.uid), "it ends with the process that stands for sshd")
    assert os.listdir(guest.runtime_directory) == []


def at_once(user: User, count: int, command: str) -> list[Done]:
    sessions = [start(user, "-c", command) for _ in range(count)]
    return [finish(session) for session in sessions]


@pytest.mark.timeout(900)
def test_race_of_first_logins(sharer: User) -> None:
    """Whoever comes first, all are in one container, and nothing of it stays."""
    for _ in range(RACES):
        sessions = [start(sharer, "-c", f"{NAMESPACE}; read x") for _ in range(3)]
        seen = set()
        for session in sessions:
            assert session.stdout
            seen.add(session.stdout.readline())
        assert len(seen) == 1
        assert b"" not in seen
        results = [finish(session, b"\n") for session in sessions]
        assert [(done.status, done.err) for done in results] == [(0, b"")] * 3
    until(lambda: not processes(sharer.uid), "everything is gone")
    assert os.listdir(sharer.runtime_directory) == []


@pytest.mark.timeout(900)
def test_race_of_the_last_leave_and_a_new_login(sharer: User) -> None:
    """A login that meets the end of the container gets the next one: none fails."""
    for _ in range(RACES):
        leaves = start(sharer, "-c", "read x")
        enters = start(sharer, "-c", "read x")
        assert leaves.stdin
        leaves.stdin.write(b"\n")
        leaves.stdin.flush()
        third = start(sharer, "-c", "echo in")
        assert finish(third) == Done(0, b"in\n", b"")
        assert finish(leaves).status == 0
        assert finish(enters, b"\n").status == 0
        assert inside(sharer, "echo last") == Done(0, b"last\n", b"")
    until(lambda: not processes(sharer.uid), "everything is gone")
    assert os.listdir(sharer.runtime_directory) == []


def out(session: subprocess.Popen[bytes]) -> Done:
    """How a session ends that nobody tells to: its stdin stays open until then."""
    until(lambda: session.poll() is not None, "the session ends by itself")
    return finish(session)


@pytest.mark.timeout(900)
def test_race_of_the_owners_crash_and_a_new_login(sharer: User) -> None:
    """The crash ends those who are in, with our status; a new login gets in or gets that too."""
    for _ in range(RACES):
        session = start(sharer, "-c", "echo ready; read x")
        assert session.stdout
        assert session.stdout.readline() == b"ready\n"
        (owner,) = [p for p in processes(sharer.uid) if p.parent != os.getpid() and _owns(p)]
        late = subprocess.Popen(["/bin/true"])
        new = start(sharer, "-c", "echo in")
        late.wait()
        os.kill(owner.pid, signal.SIGKILL)
        assert out(session).status == 125
        done = finish(new)
        assert (done.status, done.out) in ((0, b"in\n"), (125, b""), (125, b"in\n"))
        assert inside(sharer, "echo next") == Done(0, b"next\n", b"")
    until(lambda: not processes(sharer.uid), "everything is gone")
    tidy_after_a_killed_monitor(sharer)


def test_many_logins_at_once_into_one_container(lingerer: User) -> None:
    results = at_once(lingerer, 30, NAMESPACE)
    assert {done.status for done in results} == {0}
    assert len({done.out for done in results}) == 1


def test_sessions_max_counts_logins_not_containers(make_user: MakeUser) -> None:
    guest = make_user(LINGERING + "sessions: {max: 2}\n")
    inside(guest, "true").ok()
    with live(guest), live(guest):
        assert inside(guest, "true").status == 126
    inside(guest, "true").ok()
    end_containers(guest)


CONNECT = (
    "import socket, sys; s = socket.socket(socket.AF_UNIX); "
    "s.connect(bytes(1) + sys.argv[1].encode()); print(s.recv(9))"
)
LISTEN = (
    "import socket, sys; s = socket.socket(socket.AF_UNIX); "
    "s.bind(bytes(1) + sys.argv[1].encode()); s.listen(); "
    "print(flush=True); s.accept()[0].send(b'reached')"
)


@pytest.mark.parametrize("network", ["none", "host"])
def test_logins_reach_each_others_processes_and_sockets(make_user: MakeUser, network: str) -> None:
    """On the host's network Landlock keeps a container from what is outside, and from nothing inside."""
    user = make_user(SHARED + f"network_mode: {network}\n")
    name = f"test-{os.getpid()}"
    with live(user) as first, live(user) as second:
        first.ask("sleep 1000 & echo $! >/tmp/pid")
        assert second.ask("kill -0 $(cat /tmp/pid) && kill $(cat /tmp/pid) && echo ended") == "ended\n"
        first.ask(f'coproc python3 -c "{LISTEN}" {name}; read -u ${{COPROC[0]}} x')
        assert second.ask(f'python3 -c "{CONNECT}" {name} 2>&1') == "b'reached'\n"
        assert second.ask("kill -0 1 2>&1 && echo signalled") == "signalled\n"
    until(lambda: not processes(user.uid), "the container is gone, and its socket with it")
    if network == "host":
        with socket.socket(socket.AF_UNIX) as outside:
            outside.bind(b"\0" + name.encode())
            outside.listen()
            assert "PermissionError" in inside(user, f'python3 -c "{CONNECT}" {name}').errors
    until(lambda: not processes(user.uid), "the container is gone")
