"""Editors whose other half runs in the container, under the profile ``editor``: what they ask ssh for.

As their logs show, VS Code's Remote-SSH sends a script to ``ssh -T -D PORT HOST sh``, which installs a server
below ~/.vscode-server, starts it so that it outlives the login, and says where it listens; each window then
comes through the proxy. JetBrains' Gateway is a library of its own, not OpenSSH: it stores an archive by
SFTP, starts a host process by commands, and connects to its port by direct-tcpip. The servers are stand-ins.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh
import pytest
from support.host import processes, run, until
from support.inside import CTL, Inside
from support.sshd import Server, free_port
from support.users import MakeUser, User

COMMIT = "0123456789abcdef"
SERVER = """#!/usr/bin/env python3
import os, socket, sys
here = os.path.dirname(os.path.abspath(__file__))
listening = socket.create_server(("127.0.0.1", 0))
with open(here + "/port.new", "w") as file:
    file.write(str(listening.getsockname()[1]))
os.rename(here + "/port.new", here + "/port")
seen = 0
while True:
    end, _ = listening.accept()
    seen += 1
    end.sendall(b"window %d of %d\\n" % (seen, os.getpid()))
    end.close()
"""
INSTALL = f"""
echo "SSH_CONNECTED: running"
dir=$HOME/.vscode-server/bin/{COMMIT}
if [ ! -x $dir/server ]; then
    mkdir -p $dir
    tar -xf $HOME/.vscode-server/{COMMIT}.tar.gz -C $dir || {{ echo "exitCode==37=="; exit 0; }}
    echo installed
fi
if ! {{ [ -f $dir/pid ] && kill -0 $(cat $dir/pid) 2>/dev/null; }}; then
    rm -f $dir/port
    nohup $dir/server >$dir/log 2>&1 </dev/null & echo $! >$dir/pid
    echo started
fi
while [ ! -f $dir/port ]; do sleep 0.05; done
echo "listeningOn==$(cat $dir/port)=="
echo "exitCode==0=="
while read -r line; do :; done
"""


@pytest.fixture
def editor(
    make_user: MakeUser, host_directory: Callable[[User], str], exposing_sshd: Server
) -> Iterator[Inside]:
    user = make_user("extends: [editor]\nhome: {source: /srv/s2c-%u}\nstop_grace_period: 1s\n")
    host_directory(user)
    yield Inside(exposing_sshd.client(user))
    run([CTL, "kill", "--user", user.name, "--grace", "3"])
    until(lambda: not processes(user.uid), "the container is gone")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The server as an editor brings it along."""
    server = tmp_path / "server"
    server.write_text(SERVER)
    server.chmod(0o755)
    with tarfile.open(tmp_path / f"{COMMIT}.tar.gz", "w:gz") as packed:
        packed.add(server, "server")
    return tmp_path / f"{COMMIT}.tar.gz"


@contextmanager
def window(editor: Inside) -> Iterator[tuple[list[str], int]]:
    """Open a window as Remote-SSH does; what its script said, and the port of its proxy."""
    proxy = free_port()
    process = editor.start("-T", "-D", str(proxy), "-o", "ConnectTimeout=15", "box", "sh")
    assert process.stdin
    assert process.stdout
    said: list[str] = []
    try:
        process.stdin.write(INSTALL.encode())
        process.stdin.flush()
        while not said or not said[-1].startswith("exitCode"):
            line = process.stdout.readline().decode()
            assert line, (said, process.communicate())
            said.append(line.strip())
        yield said, proxy
    finally:
        process.kill()
        process.communicate()


def greeting(proxy: int, said: list[str]) -> str:
    """What the server says to a window that comes through its proxy."""
    port = next(line for line in said if line.startswith("listeningOn==")).split("==")[1]
    with socket.create_connection(("127.0.0.1", proxy)) as end:
        end.sendall(b"\5\1\0\5\1\0\1\x7f\0\0\1" + int(port).to_bytes(2, "big"))
        answer = b""
        while part := end.recv(99):
            answer += part
        assert answer[:4] == b"\5\0\5\0", answer
        return answer[12:].decode().strip()


def test_vs_code(editor: Inside, archive: Path) -> None:
    with window(editor) as (said, _):
        assert said[-1] == "exitCode==37==", (
            "no server is installed, and the container has no way to fetch one"
        )
    editor.scp(str(archive), f"box:.vscode-server-{COMMIT}.tar.gz").ok()
    editor.box(
        f"mkdir -p .vscode-server && mv .vscode-server-{COMMIT}.tar.gz .vscode-server/{COMMIT}.tar.gz"
    ).ok()
    with window(editor) as (first, proxy), window(editor) as (second, another):
        assert first[1:3] == ["installed", "started"]
        assert "started" not in second
        one, two = greeting(proxy, first), greeting(another, second)
        assert (one[:8], two[:8]) == ("window 1", "window 2")
        assert one.partition(" of ")[2] == two.partition(" of ")[2], "both windows have one server"
    # All windows are closed, as when a laptop sleeps.
    with window(editor) as (again, proxy):
        assert "started" not in again, "the server has outlived its login"
        assert greeting(proxy, again).startswith("window 3")
        status = editor.box(f"cat .vscode-server/bin/{COMMIT}/port").ok().text
        assert editor.ssh("-W", f"127.0.0.1:{status.strip()}", "box").ok().text.startswith("window 4")


def test_gateway(editor: Inside, archive: Path) -> None:
    """A library that is not OpenSSH, with the block's ProxyCommand."""
    outside = [os.fsdecode(word) for word in editor.outside.command("-T", "box", "ssh2container-sshd")]

    async def connect() -> asyncssh.SSHClientConnection:
        return await asyncssh.connect(
            "box", username=editor.user.name, proxy_command=outside, known_hosts=None, config=None,
            client_keys=None, agent_path=None,
        )  # fmt: skip

    async def scenario() -> tuple[bytes, bytes]:
        async with await connect() as connection:
            assert (await connection.run("uname -s -m; echo $SHELL", check=True)).exit_status == 0
            async with connection.start_sftp_client() as sftp:
                await sftp.makedirs(".cache/JetBrains/RemoteDev/dist")
                await sftp.put(str(archive), ".cache/JetBrains/RemoteDev/dist/ide.tar.gz")
            start = (
                "cd .cache/JetBrains/RemoteDev/dist && tar -xf ide.tar.gz && "
                "(setsid ./server >log 2>&1 </dev/null &) && until [ -f port ]; do sleep 0.05; done; cat port"
            )
            port = int(str((await connection.run(start, check=True)).stdout))
            channel, _ = await connection.open_connection("127.0.0.1", port)
            first: bytes = await channel.read()
        async with await connect() as connection:
            listener = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", port)
            reader, _ = await asyncio.open_connection("127.0.0.1", listener.get_port())
            second = await reader.read()
        return first, second

    first, second = asyncio.run(scenario())
    assert (first[:8], second[:8]) == (b"window 1", b"window 2")
    assert first.partition(b" of ")[2] == second.partition(b" of ")[2]


def test_a_person_at_a_terminal_meets_the_editor(editor: Inside, archive: Path) -> None:
    """What runs by a plain login outside and by the editor inside is in one container."""
    editor.box(f"echo {shlex.quote(archive.name)} >/tmp/from-editor").ok()
    assert editor.outside.box("cat /tmp/from-editor").ok().text.strip() == archive.name
    with editor.outside.terminal() as terminal:
        terminal.expect(r"\$ ")
        terminal.sendline("cat /tmp/from-editor")
        terminal.expect(COMMIT)
