"""The audit trail of real sessions: stable fields, no forgery, and a log that holds up nobody."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest
from support.client import Client
from support.host import DEADLINE_SECONDS, run
from support.ledger import Ledger
from support.login import finish, inside, start
from support.outer import outer
from support.sshd import SUBSYSTEM, Server
from support.syslog import PATH as DEV_LOG
from support.syslog import Syslog
from support.users import MakeUser, User

CONFIG = "/etc/ssh2container/config.yaml"
JOURNAL = "/run/systemd/journal/socket"


def records(syslog: Syslog, user: User) -> list[dict[str, str]]:
    return [fields_of(r.partition("]: ")[2]) for r in syslog.of(user.name) if _is_record(r)]


def _is_record(line: str) -> bool:
    """Not a note about files that are not compiled, nor useradd's word about a new user."""
    return "]: event=" in line and "event=note" not in line


def fields_of(text: str) -> dict[str, str]:
    event = re.match(r"event=([a-z-]+)", text)
    assert event, text
    quoted = re.findall(r' ([a-z_]+)="((?:[^"\\]|\\.)*)"', text)
    return {"event": event[1], **dict(quoted)}


@pytest.fixture
def site(ledger: Ledger) -> Iterator[Callable[[str], None]]:
    """Adds lines to config.yaml until the test is over."""
    with open(CONFIG, encoding="utf-8") as file:
        original = file.read()

    def write(text: str) -> None:
        temporary = CONFIG + ".new"
        ledger.note_path(temporary)
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.rename(temporary, CONFIG)

    without = "\n".join(line for line in original.splitlines() if not line.startswith("audit"))
    yield lambda more: write(f"{without}\n{more}\n")
    write(original)
    run(["/usr/bin/ssh2containerctl", "compile"]).ok()


@contextlib.contextmanager
def in_place_of(path: str) -> Iterator[None]:
    """Nothing at ``path`` for the length of the block."""
    aside = path + ".aside"
    there = os.path.lexists(path)
    if there:
        os.rename(path, aside)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        if there:
            os.rename(aside, path)


def test_the_records_of_a_command(user: User, syslog: Syslog) -> None:
    before = len(records(syslog, user))
    inside(user, "exit 3")
    opened, closed = records(syslog, user)[before:]
    assert (opened["event"], closed["event"]) == ("open", "close")
    for name in ("session", "uid", "user", "kind", "command", "policy", "image"):
        assert opened[name] == closed[name]
    assert opened["uid"] == str(user.uid)
    assert (opened["kind"], opened["command"], opened["image"]) == ("command", "exit 3", "host")
    assert re.fullmatch("[0-9a-f]{10}", opened["session"])
    assert (closed["exit"], closed["reason"]) == ("3", "exit")
    assert float(closed["duration"]) > 0
    assert "output" not in closed


def test_the_bytes_of_a_terminal(user: User, syslog: Syslog) -> None:
    before = len(records(syslog, user))
    with outer(user, "-c", "stty -echo; echo ready; read line; echo 12345") as session:
        session.expect(b"ready")
        session.send(b"abc\r")
        session.ended()
    closed = records(syslog, user)[before:][-1]
    assert (closed["input"], closed["output"]) == ("4", str(len("ready\r\n12345\r\n")))


def test_a_refusal_says_why(make_user: MakeUser, syslog: Syslog) -> None:
    user = make_user("image: host\naccess: {commands: none}\n")
    assert inside(user, "true").status == 126
    (refused,) = records(syslog, user)
    assert (refused["event"], refused["status"], refused["step"]) == ("refused", "126", "access")
    assert "commands" in refused["reason"]


def test_the_fingerprint_of_the_key(make_sshd: Callable[..., Server], user: User, syslog: Syslog) -> None:
    server = make_sshd("ExposeAuthInfo yes\n" + SUBSYSTEM)
    client: Client = server.client(user)
    client.box("true").ok()
    shown = run(["ssh-keygen", "-l", "-f", f"{server.directory}/user_key.pub"]).ok().text.split()[1]
    opened = [r for r in records(syslog, user) if r["event"] == "open"][-1]
    assert opened["key"] == shown
    assert opened["auth"] == "publickey (ssh-ed25519)"
    assert opened["client"] == "127.0.0.1"
    assert opened["port"].isdecimal()


def test_a_file_that_a_client_names_is_not_read(user: User, syslog: Syslog) -> None:
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        path = f"{place}/sshauth.x"
        with open(path, "w", encoding="utf-8") as file:
            file.write("publickey ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFiYw==\n")
        os.chown(path, user.uid, user.gid)
        for named in (path, f"/tmp/sshauth.{'../' * 3}{path}", "/proc/self/environ"):
            inside(user, "true", environment={"SSH_USER_AUTH": named}).ok()
            assert "key" not in records(syslog, user)[-1]


@pytest.mark.parametrize(
    "value", ['x" user="root', "a\nssh2container[1]: event=forged", "\x1b[31m\x9b\u2028", "\\"]
)
def test_nothing_can_be_forged(user: User, syslog: Syslog, value: str) -> None:
    inside(user, "true # " + value, environment={"SSH_CONNECTION": value + " 1 2 3"})
    raw = [record for record in syslog.of(user.name) if "event=open" in record][-1]
    assert raw.isprintable() or raw.replace("\n", "").isprintable()
    assert fields_of(raw.partition("]: ")[2])["user"] == user.name


def test_ecs(user: User, syslog: Syslog, site: Callable[[str], None]) -> None:
    site("audit_format: ecs")
    inside(user, 'echo "quoted \\ " >/dev/null; exit 5')
    found = [record.partition("]: ")[2] for record in syslog.of(user.name)]
    opened, closed = (json.loads(text) for text in found[-2:])
    assert opened["event.action"] == "open"
    assert opened["user.name"] == user.name
    assert opened["event.type"] == ["start"]
    assert opened["process.command_line"].startswith('echo "quoted')
    assert closed["process.exit_code"] == 5
    assert closed["event.duration"] > 0
    assert closed["event.category"] == ["session"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", closed["@timestamp"])


def test_a_refusal_before_the_policy_is_ecs_too(
    make_user: MakeUser, syslog: Syslog, site: Callable[[str], None]
) -> None:
    user = make_user(None)
    site("audit_format: ecs")
    assert inside(user, "true").status == 126
    syslog.wait(lambda r: user.name in r and "refused" in r, "the refusal")
    record = json.loads([r for r in syslog.of(user.name) if "refused" in r][-1].partition("]: ")[2])
    assert (record["event.action"], record["event.outcome"]) == ("refused", "failure")


def test_without_a_log_logins_go_on(user: User) -> None:
    with in_place_of(DEV_LOG):
        assert inside(user, "echo on").ok().text == "on\n"


def test_a_log_that_does_not_answer_holds_up_nobody(user: User) -> None:
    with in_place_of(DEV_LOG), _full_log():
        assert inside(user, "echo on").ok().text == "on\n"


@contextlib.contextmanager
def _full_log() -> Iterator[None]:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as filler,
    ):
        log.bind(DEV_LOG)
        os.chmod(DEV_LOG, 0o666)
        with contextlib.suppress(BlockingIOError):
            while True:
                filler.sendto(b"x", DEV_LOG)
        yield


@pytest.mark.parametrize("full", [True, False])
def test_required_records_are_required(user: User, site: Callable[[str], None], full: bool) -> None:  # noqa: FBT001
    site("audit: required")
    with in_place_of(DEV_LOG), _full_log() if full else contextlib.nullcontext():
        done = inside(user, "echo ran")
    assert (done.status, done.out) == (125, b"")
    assert "cannot write the audit record" in done.errors
    assert inside(user, "echo on").ok().text == "on\n"


_FLOOD = f"""
import contextlib, socket
end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
end.connect({DEV_LOG!r})
print("ready", flush=True)
while True:
    with contextlib.suppress(BlockingIOError):
        end.send(b"x")
"""


def test_an_outsiders_flood_refuses_no_login(
    make_user: MakeUser, other_user: User, site: Callable[[str], None]
) -> None:
    """A required record waits for its turn; nobody who floods the log's socket can keep it out."""
    user = make_user()
    site("audit: required")
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _FLOOD], stdout=subprocess.PIPE, user=other_user.uid,
                    group=other_user.gid, extra_groups=[], cwd="/",
                )
            )  # fmt: skip
            stack.callback(process.kill)
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
        for _ in range(8):
            assert inside(user, "echo in").ok().text == "in\n"


def test_what_was_lost_is_counted_in_the_next_record(user: User, syslog: Syslog) -> None:
    with in_place_of(DEV_LOG), _full_log():
        session = start(user, "-c", "echo ready; read line")
        assert session.stdout
        assert session.stdout.readline() == b"ready\n"
    finish(session, b"go\n")
    closed = [record for record in records(syslog, user) if record["event"] == "close"][-1]
    assert closed["lost"] == "1"


def test_a_required_log_that_dies_ends_the_session_with_our_status(
    user: User, site: Callable[[str], None]
) -> None:
    site("audit: required")
    session = start(user, "-c", "echo ready; read line")
    assert session.stdout
    assert session.stdout.readline() == b"ready\n"
    with in_place_of(DEV_LOG):
        done = finish(session, b"go\n")
    assert done.status == 125


def test_the_journal_gets_fields(user: User) -> None:
    """The listener of this run has put a real journal's socket aside."""
    os.makedirs(os.path.dirname(JOURNAL), exist_ok=True)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            journal.bind(JOURNAL)
            os.chmod(JOURNAL, 0o666)
            journal.settimeout(DEADLINE_SECONDS)
            inside(user, "exit 3")
            entries = [journal.recv(65536).decode() for _ in range(2)]
    finally:
        os.unlink(JOURNAL)
        with contextlib.suppress(OSError):
            os.removedirs(os.path.dirname(JOURNAL))  # not where systemd runs
    fields = dict(line.split("=", 1) for line in entries[1].splitlines())
    assert fields["SYSLOG_IDENTIFIER"] == "ssh2container"
    assert (fields["SSH2CONTAINER_EVENT"], fields["SSH2CONTAINER_EXIT"]) == ("close", "3")
    assert fields["SSH2CONTAINER_USER"] == user.name
    assert fields["MESSAGE"].startswith('event=close session="')
    assert fields["PRIORITY"] == "6"
