"""Many sessions over one connection, and what happens when some of them, or the connection, go away."""

from __future__ import annotations

import os
import signal
import subprocess

from support.client import Client
from support.data import noise
from support.host import processes, until
from support.users import User


def test_twenty_sessions_in_parallel_over_one_connection(client: Client) -> None:
    with client.master() as shared:
        sessions = [
            shared.start("box", f"readlink /proc/self/ns/pid; touch /tmp/{n}; cat; ls /tmp; exit {n}")
            for n in range(20)
        ]
        # All at once: the kernel gives the number of a namespace that is gone to the next one.
        namespaces = {session.stdout.readline() for session in sessions if session.stdout}
        data = [noise(200_000, seed=n) for n in range(20)]
        for session, text in zip(sessions, data, strict=True):
            assert session.stdin
            session.stdin.write(text[:100])
            session.stdin.flush()
        results = [session.communicate(text[100:]) for session, text in zip(sessions, data, strict=True)]
    for n, (out, err) in enumerate(results):
        assert err == b""
        assert out.startswith(data[n])
        assert out[len(data[n]) :].decode().split() == [str(n)]
        assert sessions[n].returncode == n
    assert len(namespaces) == 20


def test_one_killed_session_ends_alone(client: Client, user: User) -> None:
    """The connection lives on, so no signal and no PDEATHSIG tell the monitor: only the hang-up does."""
    with client.master() as shared:
        stays = shared.start("box", "echo stays; cat")
        dies = shared.start("box", "trap '' HUP TERM PIPE; echo dies; exec sleep 1000")
        for session, word in ((stays, b"stays\n"), (dies, b"dies\n")):
            assert session.stdout
            assert session.stdout.readline() == word
        dies.kill()
        dies.communicate()
        until(
            lambda: not any(b"1000" in process.command() for process in processes(user.uid)),
            "the sleeper is gone",
        )
        out, _ = stays.communicate(b"still here\n")
        assert out == b"still here\n"
        assert stays.returncode == 0
        assert shared.box("echo new").ok().text == "new\n"


def test_a_killed_terminal_session_ends_alone(client: Client, user: User) -> None:
    with client.master() as shared:
        stays = shared.start("box", "echo stays; cat")
        assert stays.stdout
        assert stays.stdout.readline() == b"stays\n"
        with shared.terminal("-tt", "box", "trap '' HUP TERM; echo up; exec sleep 1000") as terminal:
            terminal.expect("up")
            terminal.kill(signal.SIGKILL)
            until(
                lambda: not any(b"1000" in process.command() for process in processes(user.uid)),
                "the sleeper is gone",
            )
        assert stays.communicate(b"x\n")[0] == b"x\n"


def test_a_lost_connection_ends_all_its_sessions(client: Client, user: User) -> None:
    with client.master() as shared:
        sessions = [
            shared.start("box", "trap '' HUP TERM PIPE; echo up; exec sleep 1000", stdin=subprocess.DEVNULL)
            for _ in range(5)
        ]
        for session in sessions:
            assert session.stdout
            assert session.stdout.readline() == b"up\n"
        assert shared.connection
        shared.connection.kill()
        until(lambda: not processes(user.uid), "no process of the user is left")
        for session in sessions:
            session.communicate()


def test_a_killed_sshd_ends_the_session(client: Client, user: User) -> None:
    """PDEATHSIG on sshd's process: the connection's server side dies without a word."""
    session = client.start("box", "trap '' HUP TERM PIPE; echo up; exec sleep 1000")
    assert session.stdout
    assert session.stdout.readline() == b"up\n"
    servers = [process for process in processes(user.uid) if process.name.startswith("sshd")]
    assert servers
    for process in servers:
        os.kill(process.pid, signal.SIGKILL)
    until(lambda: not processes(user.uid), "no process of the user is left")
    session.communicate()


def test_a_client_gone_in_mid_transfer(client: Client, user: User) -> None:
    session = client.start("box", "cat /dev/zero", stdin=subprocess.DEVNULL)
    assert session.stdout
    assert len(session.stdout.read(1_000_000)) == 1_000_000
    session.kill()
    session.communicate()
    until(lambda: not processes(user.uid), "no process of the user is left")
