"""What each client shows when its session is refused or ended: what came out is in docs/clients.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import paramiko
import pytest
from support.client import ENVIRONMENT, Client
from support.host import Done, processes, run, until
from support.sshd import Server
from support.users import MakeUser, User

REASON = "ssh2container: this account is suspended: access.login is false; Help: https://lab.example"
REFUSING = "access: {login: false, message: 'Help: https://lab.example'}\n"
MESSAGE = "back at noon"
LINE = f"ssh2container: this session is ended by the administrator: {MESSAGE}"
POOR = re.compile(
    r"permission denied|no such file or directory|error in the ssh layer|access denied to remote resource",
    re.IGNORECASE,
)
"""What clients say that show no text of a server's."""


@dataclass
class Setting:
    """One user of one server, and a file to send."""

    client: Client
    file: str
    putty_key: str
    host_key: str

    def putty(self, program: str, *arguments: str) -> list[str]:
        address = ["-batch", "-P", str(self.client.port), "-i", self.putty_key, "-hostkey", self.host_key]
        return [program, *address, *arguments]

    @property
    def account(self) -> str:
        return f"{self.client.user.name}@127.0.0.1"


def shown(done: Done) -> str:
    return done.errors + done.out.decode(errors="replace")


def git(setting: Setting) -> str:
    environment = {**ENVIRONMENT, "GIT_SSH_COMMAND": setting.client.remote_shell()}
    return shown(run(["git", "ls-remote", "box:x"], env=environment))


def lftp(setting: Setting) -> str:
    connect = f"set sftp:connect-program '{setting.client.remote_shell()} -a -x'"
    return shown(
        run(["lftp", "-e", f"{connect}; set net:max-retries 1; open sftp://box; ls; bye"], env=ENVIRONMENT)
    )


def sshfs(setting: Setting) -> str:
    os.mkdir(f"{setting.file}.mount")
    return shown(
        run(
            ["sshfs", "-F", setting.client.configuration, "box:", f"{setting.file}.mount"],
            env=ENVIRONMENT,
        )
    )


def psftp(setting: Setting) -> str:
    batch = f"{setting.file}.batch"
    with open(batch, "w", encoding="utf-8") as file:
        file.write("ls\n")
    return shown(run(setting.putty("psftp", "-b", batch, setting.account), env=ENVIRONMENT))


def paramiko_sftp(setting: Setting) -> str:
    with paramiko.SSHClient() as connection:
        connection.load_host_keys(setting.client.known_hosts)
        connection.connect(
            "127.0.0.1", setting.client.port, setting.client.user.name, key_filename=setting.client.key,
            allow_agent=False, look_for_keys=False,
        )  # fmt: skip
        with pytest.raises(PermissionError) as caught:
            connection.open_sftp().listdir(".")
        return str(caught.value)


REFUSED: dict[tuple[str, str], Callable[[Setting], str]] = {
    ("`ssh -t`", "a terminal"): lambda s: shown(s.client.ssh("-tt", "box")),
    ("`ssh HOST COMMAND`", "a command"): lambda s: shown(s.client.box("true")),
    ("`plink`", "a command"): lambda s: shown(run(s.putty("plink", s.account, "true"), env=ENVIRONMENT)),
    ("`rsync`", "a command"): lambda s: shown(s.client.rsync(s.file, "box:")),
    ("`git`", "a command"): git,
    ("`scp -O`, sending", "a command"): lambda s: shown(s.client.scp("-O", s.file, "box:")),
    ("`scp -O`, fetching", "a command"): lambda s: shown(s.client.scp("-O", "box:x", s.file)),
    ("`pscp -scp`", "a command"): lambda s: shown(
        run(s.putty("pscp", "-scp", s.file, f"{s.account}:x"), env=ENVIRONMENT)
    ),
    ("`sftp`", "SFTP"): lambda s: shown(s.client.sftp("ls")),
    ("paramiko", "SFTP"): paramiko_sftp,
    ("`lftp`", "SFTP"): lftp,
    ("`scp`, sending", "SFTP"): lambda s: shown(s.client.scp(s.file, "box:")),
    ("`scp`, fetching", "SFTP"): lambda s: shown(s.client.scp("box:x", s.file)),
    ("`sshfs`", "SFTP"): sshfs,
    ("`curl`, `sftp://`", "SFTP"): lambda s: shown(s.client.curl("sftp", "~/")),
    ("`psftp`", "SFTP"): psftp,
    ("`pscp`", "SFTP"): lambda s: shown(run(s.putty("pscp", s.file, f"{s.account}:x"), env=ENVIRONMENT)),
}
"""(client, what it asks for) -> run it and return all that it shows."""


@pytest.fixture
def refused(make_user: MakeUser, sshd: Server, tmp_path: os.PathLike[str]) -> Setting:
    client = sshd.client(make_user(REFUSING))
    file, key = f"{tmp_path}/f", f"{tmp_path}/key.ppk"
    with open(file, "w", encoding="utf-8") as sent:
        sent.write("x")
    run(["puttygen", client.key, "-O", "private", "-o", key]).ok()
    fingerprint = run(["ssh-keygen", "-lf", client.known_hosts]).ok().text.split()[1]
    return Setting(client, file, key, fingerprint)


def rows(checkout: str, heading: str) -> list[str]:
    """The table below a heading of docs/clients.md, without its head."""
    with open(f"{checkout}/docs/clients.md", encoding="utf-8") as file:
        section = file.read().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][1:]


def test_what_a_refused_client_shows(refused: Setting, checkout: str) -> None:
    wanted = [row.strip("| ").split(" | ") for row in rows(checkout, "Refused")]
    assert [(client, asks) for client, asks, _ in wanted] == [*REFUSED]
    for client, asks, shows in wanted:
        said = REFUSED[client, asks](refused)
        if REASON in said.replace("\r\n", "\n"):
            shown = "the reason"
        else:
            poor = POOR.search(said)
            assert poor, f"{client}: {said}"
            shown = f'"{poor[0].lower()}"'
        assert shown in re.split(r'(?<=") or (?=")', shows), f"{client}: {said}"


def ended_by_an_administrator(client: Client, process: subprocess.Popen[bytes]) -> str:
    """Kill the user's session when it runs, and return all that its client shows."""
    until(lambda: live_session(client.user), "the session is listed")
    done = run(["ssh2containerctl", "kill", "--user", client.user.name, "--message", MESSAGE]).ok()
    assert done.errors == ""
    out, errors = process.communicate()
    return (out + (errors or b"")).decode(errors="replace").replace("\r\n", "\n")


def live_session(user: User) -> bool:
    """Whether the user has one whose program runs; before that it would be ended as one that starts."""
    listed = json.loads(run(["ssh2containerctl", "sessions", "--json", user.name]).ok().text)
    running = {process.name for process in processes(user.uid)}
    return bool(listed["sessions"] and running & {"sleep", "sftp-server"})


ENDED: dict[tuple[str, str], Callable[[Client], list[str | bytes]]] = {
    ("`ssh -t`", "a terminal"): lambda c: c.command("-tt", "box", "sleep 1000"),
    ("`ssh HOST COMMAND`", "a command"): lambda c: c.command("box", "sleep 1000"),
    ("`rsync`", "a command"): lambda c: [
        "rsync", "-e", c.remote_shell(), "--rsync-path", "sleep 1000; rsync", c.configuration, "box:"
    ],
    ("`sftp`", "SFTP"): lambda c: ["sftp", "-q", "-F", c.configuration, "box"],
}  # fmt: skip
"""(client, what it asked for) -> the command that runs until it is ended."""


def test_what_an_ended_client_shows(client: Client, checkout: str) -> None:
    found = []
    for (name, asked), command in ENDED.items():
        process = subprocess.Popen(
            command(client),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        said = ended_by_an_administrator(client, process)
        found.append(f"| {name} | {asked} | {'the message' if LINE in said else 'nothing'} |")
    assert found == rows(checkout, "Ended")


def test_ssh_s_status_after_a_kill(client: Client) -> None:
    process = client.start("box", "sleep 1000")
    ended_by_an_administrator(client, process)
    assert process.returncode == 255


@pytest.mark.parametrize("elsewhere", ["2>/dev/null", "2>~/errors", "2>&1"])
def test_a_message_goes_to_the_client_s_standard_error_or_nowhere(client: Client, elsewhere: str) -> None:
    """What the program has put in its place is not written to."""
    process = client.start("box", f"exec sleep 1000 {elsewhere}")
    assert LINE not in ended_by_an_administrator(client, process)


def test_a_message_is_one_line_without_control_characters(client: Client) -> None:
    process = client.start("box", "sleep 1000")
    until(lambda: live_session(client.user), "the session is listed")
    run(["ssh2containerctl", "kill", "--user", client.user.name, "--message", "a\nb\x1b[2J"]).ok()
    assert "ended by the administrator: a\\nb\\x1b[2J\n" in process.communicate()[1].decode()
    done = run(["ssh2containerctl", "kill", "--user", client.user.name, "--message", "x" * 1001])
    assert (done.status, "at most 1000" in done.errors) == (2, True)


def test_nobody_but_root_makes_a_session_say_something(client: Client, other_user: User) -> None:
    """The signal alone comes from the user's uid, too, and finds nobody who listens."""
    process = client.start("box", "echo runs; read x; echo $x")
    assert process.stdout
    assert process.stdout.readline() == b"runs\n"
    (session,) = json.loads(run(["ssh2containerctl", "sessions", "--json", client.user.name]).ok().text)[
        "sessions"
    ]
    run(
        ["setpriv", f"--reuid={client.user.uid}", "--clear-groups", "kill", "-62", str(session["monitor"])]
    ).ok()
    out, errors = process.communicate(b"on\n")
    assert (out, errors, process.returncode) == (b"on\n", b"", 0)
    done = run(["setpriv", f"--reuid={other_user.uid}", "--clear-groups", "ssh2containerctl", "kill",
                "--user", client.user.name, "--message", "x"])  # fmt: skip
    assert done.status == 125


def test_a_fault_of_ours_is_a_failure_in_sftp(make_user: MakeUser, sshd: Server) -> None:
    """As opposed to a refusal; the reason is there as well."""
    client = sshd.client(make_user("image: host\nvolumes: [/nonexistent:/data]\n"))
    done = client.sftp("ls")
    assert done.status == 255
    assert "realpath .: ssh2container: " in done.errors
    assert "/nonexistent" in done.errors


def packet(kind: int, content: bytes) -> bytes:
    return (1 + len(content)).to_bytes(4, "big") + bytes((kind,)) + content


def test_scp_has_no_place_for_the_text(refused: Setting) -> None:
    """The reason is in the very answers whose codes scp shows: it is the client that leaves it out."""
    for way in (("-vvv", refused.file, "box:"), ("-vvv", "box:x", refused.file)):
        said = shown(refused.client.scp(*way))
        assert POOR.search(said)
        assert REASON not in said


def test_odd_requests_are_answered_or_end_the_refused_session(refused: Setting) -> None:
    """Whatever comes: nothing is served, the status is 126, and what is no request ends it."""
    init, stat = packet(1, bytes(4)), packet(17, b"\0\0\0\7" + (1).to_bytes(4, "big") + b"/")
    inputs = {
        b"": 0,
        init: 1,
        init + stat: 2,
        stat + packet(200, b"\0\0\0\1" + bytes(100_000)) + stat: 3,
        b"\xff" * 100: 0,
        b"\0\0\0\1\1": 0,
        b"\0\0\1\0": 0,
        stat * 200: 64,
    }
    for sent, answers in inputs.items():
        done = refused.client.ssh("-s", "box", "sftp", stdin=sent)
        assert done.status == 126
        rest, count = done.out, 0
        while rest:
            size = int.from_bytes(rest[:4], "big")
            assert rest[4] in (2, 101)
            if rest[4] == 101:
                assert rest[9:13] == b"\0\0\0\3"
                assert REASON.encode() in rest[: 4 + size]
            rest, count = rest[4 + size :], count + 1
        assert count == answers, sent[:40]
