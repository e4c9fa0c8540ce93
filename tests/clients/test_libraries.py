"""Clients that are libraries or other programs: exit signals seen, signals sent, sftp spoken their way."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncssh
import paramiko
import pytest
from support.client import ENVIRONMENT, Client
from support.data import digest, noise
from support.host import processes, run, until


@pytest.fixture
def connection_options(client: Client) -> dict[str, object]:
    return {
        "host": "127.0.0.1",
        "port": client.port,
        "username": client.user.name,
        "client_keys": [client.key],
        "known_hosts": client.known_hosts,
        "agent_path": None,
        "config": None,
    }


@pytest.mark.parametrize("name", ["TERM", "KILL", "INT", "HUP", "SEGV", "PIPE"])
def test_the_exit_signals_name_arrives(connection_options: dict[str, object], name: str) -> None:
    async def scenario() -> asyncssh.SSHCompletedProcess:
        async with asyncssh.connect(**connection_options) as connection:
            return await connection.run(f"kill -{name} $$")

    done = asyncio.run(scenario())
    assert done.exit_signal is not None
    assert done.exit_signal[0] == name
    assert done.exit_signal[1] is False


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1"])
def test_signals_of_the_client_reach_the_payload(connection_options: dict[str, object], name: str) -> None:
    """sshd signals the login shell's process group for them."""

    async def scenario() -> tuple[str, int | None]:
        async with asyncssh.connect(**connection_options) as connection:
            process = await connection.create_process(
                f"trap 'echo heard; exit 6' {name}; echo up; while :; do read -t 100 x || :; done"
            )
            assert await process.stdout.readline() == "up\n"
            process.send_signal(name)
            heard = await process.stdout.readline()
            await process.wait()
            return str(heard), process.returncode

    assert asyncio.run(scenario()) == ("heard\n", 6)


def test_a_break_and_a_closed_channel(connection_options: dict[str, object], client: Client) -> None:
    async def scenario() -> None:
        async with asyncssh.connect(**connection_options) as connection:
            process = await connection.create_process("trap '' HUP TERM PIPE; echo up; exec sleep 1000")
            assert await process.stdout.readline() == "up\n"
            process.close()
            await process.wait_closed()
            await asyncio.to_thread(until, lambda: not sleepers(), "the session's processes are gone")

    def sleepers() -> list[int]:
        return [process.pid for process in processes(client.user.uid) if process.name == "sleep"]

    asyncio.run(scenario())


def test_end_of_file_seen_by_a_library_while_the_command_runs(connection_options: dict[str, object]) -> None:
    async def scenario() -> tuple[str, int | None]:
        async with asyncssh.connect(**connection_options) as connection:
            process = await connection.create_process("echo before; exec >&- 2>&-; read x; exit 3")
            seen = await process.stdout.read()
            assert process.returncode is None
            process.stdin.write("go on\n")
            await process.wait()
            return str(seen), process.returncode

    assert asyncio.run(scenario()) == ("before\n", 3)


def test_sftp_by_asyncssh(connection_options: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(noise(1_000_000))

    async def scenario() -> None:
        async with (
            asyncssh.connect(**connection_options) as connection,
            connection.start_sftp_client() as sftp,
        ):
            await sftp.put(str(tmp_path / "a"), "a")
            await sftp.get("a", str(tmp_path / "b"))
            assert await sftp.realpath(".") == connection_options_home
            assert "shadow" not in await sftp.listdir("/etc")

    connection_options_home = f"/home/{connection_options['username']}"
    asyncio.run(scenario())
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


def test_paramiko(client: Client) -> None:
    with paramiko.SSHClient() as library:
        library.load_host_keys(client.known_hosts)
        library.connect(
            "127.0.0.1",
            client.port,
            client.user.name,
            key_filename=client.key,
            allow_agent=False,
            look_for_keys=False,
        )
        _, out, err = library.exec_command("cat; echo err >&2; exit 11")
        out.channel.sendall(b"input")
        out.channel.shutdown_write()
        assert (out.read(), err.read(), out.channel.recv_exit_status()) == (b"input", b"err\n", 11)
        with library.open_sftp() as sftp:
            data = noise(500_000)
            with sftp.open("file", "wb") as file:
                file.write(data)
            assert sftp.stat("file").st_size == len(data)
            with sftp.open("file", "rb") as file:
                assert digest(file.read()) == digest(data)


def test_a_command_longer_than_one_argument_can_be(
    client: Client, connection_options: dict[str, object]
) -> None:
    """sshd's exec fails for 131072 bytes and more: the same for every shell. 131071 bytes run."""

    async def scenario(length: int) -> str:
        async with asyncssh.connect(**connection_options) as connection:
            command = "echo reached #".ljust(length, "x")
            return str((await connection.run(command)).stdout)

    assert asyncio.run(scenario(131071)) == "reached\n"
    assert asyncio.run(scenario(131072)) == ""
    assert client.user.name


def test_putty_tools(client: Client, tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "HOME": str(tmp_path)}
    key = f"{tmp_path}/key.ppk"
    run(["puttygen", client.key, "-O", "private", "-o", key], env=environment).ok()
    fingerprint = run(["ssh-keygen", "-lf", client.known_hosts]).ok().text.split()[1]
    options = ["-batch", "-P", str(client.port), "-i", key, "-hostkey", fingerprint, "-l", client.user.name]
    done = run(["plink", *options, "127.0.0.1", "echo $((6*7)); exit 4"], env=environment)
    assert (done.status, done.text) == (4, "42\n")
    (tmp_path / "a").write_bytes(noise(100_000))
    for protocol in ("-sftp", "-scp"):
        done = run(
            ["pscp", *options, "-q", protocol, f"{tmp_path}/a", "127.0.0.1:/tmp/a"], env=environment
        ).ok()
        run(
            ["pscp", *options, "-q", protocol, "127.0.0.1:/etc/passwd", f"{tmp_path}/p"], env=environment
        ).ok()
        assert client.user.name in (tmp_path / "p").read_text()
    (tmp_path / "batch").write_text(f"put {tmp_path}/a a\nls\nquit\n")
    done = run(["psftp", *options, "-b", f"{tmp_path}/batch", "127.0.0.1"], env=environment).ok()
    assert " a\n" in done.text.replace("\r", "")


def test_dropbears_client(client: Client, tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "HOME": str(tmp_path)}
    run(["dropbearkey", "-t", "ed25519", "-f", f"{tmp_path}/key"]).ok()
    public = run(["dropbearkey", "-y", "-f", f"{tmp_path}/key"]).ok().text
    (line,) = (line for line in public.splitlines() if line.startswith("ssh-ed25519"))
    keys = os.path.join(os.path.dirname(client.key), "keys", client.user.name)
    with open(keys, "a", encoding="utf-8") as file:
        file.write(line + "\n")
    done = run(
        [
            "dbclient",
            "-y",
            "-y",
            "-p",
            str(client.port),
            "-i",
            f"{tmp_path}/key",
            "-l",
            client.user.name,
            "127.0.0.1",
            "cat; exit 5",
        ],
        b"through dropbear",
        env=environment,
    )
    assert (done.status, done.out) == (5, b"through dropbear")


def test_lftp(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(noise(100_000))
    script = (
        f'set sftp:connect-program "{client.remote_shell()} -a -x"; set net:max-retries 1; '
        "set cmd:fail-exit yes; "
        f"open sftp://{client.user.name}:@box; put {tmp_path}/a -o /tmp/a; get /tmp/a -o {tmp_path}/b; bye"
    )
    run(["lftp", "-c", script], env={**ENVIRONMENT, "HOME": str(tmp_path)}).ok()
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
