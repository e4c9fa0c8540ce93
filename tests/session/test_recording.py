"""Recordings of real sessions: complete, out of the user's reach, verifiable, and never in the way."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import pwd
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator

import pexpect
import pytest
from support.collector import OWNER, PROGRAM, SOCKET, Collecting, collecting, recordings_directory
from support.host import DEADLINE_SECONDS, Done, processes, run, until
from support.leaks import tidy_after_a_killed_monitor
from support.ledger import Ledger
from support.login import inside, login
from support.outer import outer
from support.syslog import Syslog
from support.users import MakeUser, User, Users

from ssh2container.record.keeper import BEGIN, GREETING, LARGEST, OUTPUT, head

POLICY = "image: host\nwelcome: false\nstop_grace_period: 1s\nrecord: {terminal: true}\n"
GO_ON = POLICY.replace("true}", "true, on_failure: go_on}")


@pytest.fixture
def collector() -> Iterator[Collecting]:
    with recordings_directory() as directory, collecting(directory) as service:
        yield service


@pytest.fixture
def small_disk() -> Iterator[Collecting]:
    """A collector whose disk has room for half a megabyte."""
    with recordings_directory() as directory:
        run(["mount", "-t", "tmpfs", "-o", "size=512k", "small", directory]).ok()
        try:
            with collecting(directory) as service:
                yield service
        finally:
            run(["umount", directory]).ok()


def events(path: str) -> list[tuple[str, str]]:
    with open(path, encoding="utf-8") as file:
        return [(code, data) for _, code, data in map(json.loads, file.readlines()[1:])]


def shown(path: str, code: str = "o") -> str:
    return "".join(data for event, data in events(path) if event == code)


def trail_of(syslog: Syslog, user: User, directory: str) -> str:
    """The user's records in a file, as a syslog daemon would have written them."""
    path = f"{directory}/auth.log"
    with open(path, "w", encoding="utf-8") as file:
        for record in syslog.of(user.name):
            time, _, text = record.partition(">")[2].partition(" ssh2container[")
            file.write(f"{time} host ssh2container[{text}\n")
    return path


def replay(*arguments: str) -> Done:
    return run(["/usr/bin/ssh2containerctl", "replay", *arguments])


def record(user: User, command: str, status: int = 0) -> None:
    with outer(user, "-c", command) as session:
        assert session.ended() == status


def test_what_the_terminal_shows_is_recorded(make_user: MakeUser, collector: Collecting) -> None:
    user = make_user(POLICY)
    with outer(user, "-c", "printf 'größer \\033[1mbold\\033[m\\n'; read line; exit 3") as session:
        session.expect(b"bold")
        fcntl.ioctl(session.slave, termios.TIOCSWINSZ, struct.pack("4H", 50, 132, 0, 0))
        os.kill(session.process.pid, signal.SIGWINCH)
        path = collector.recording(user.name)
        until(lambda: "132x50" in shown(path, "r"), "what happened is on the disk while the session runs")
        session.send(b"secret\r")
        assert session.ended() == 3
    assert "größer \x1b[1mbold\x1b[m\r\n" in shown(path)
    assert events(path)[-1] == ("x", "3")
    assert shown(path, "i") == ""
    with open(path, encoding="utf-8") as file:
        header = json.loads(file.readline())
    assert (header["version"], header["width"], header["height"]) == (2, 80, 24)
    status = os.stat(path)
    assert status.st_uid == pwd.getpwnam(OWNER).pw_uid
    assert not status.st_mode & 0o007


def test_input_is_recorded_only_when_asked(make_user: MakeUser, collector: Collecting) -> None:
    user = make_user(POLICY.replace("true}", "true, input: true}"))
    with outer(user, "-c", "stty -echo; echo ready; read line") as session:
        session.expect(b"ready")
        session.send(b"secret\r")
        session.ended()
    path = collector.recording(user.name)
    assert shown(path, "i") == "secret\r"
    assert "secret" not in shown(path)


def test_commands_without_a_terminal_are_not_recorded(make_user: MakeUser, collector: Collecting) -> None:
    user = make_user(POLICY)
    assert inside(user, "echo out").ok().out == b"out\n"
    assert collector.files(user.name) == []


def test_what_is_not_utf8_and_halves_of_characters(make_user: MakeUser, collector: Collecting) -> None:
    user = make_user(POLICY)
    pieces = r"'\303' '\266' '\377' '\342' '\234' '\223' '\342'"
    record(user, f"stty -opost; for b in {pieces}; do printf $b; sleep 0.05; done")
    path = collector.recording(user.name)
    assert shown(path) == "ö\ufffd✓\ufffd"


def test_asciinema_plays_it(make_user: MakeUser, collector: Collecting) -> None:
    user = make_user(POLICY)
    record(user, "seq 3; printf '\\033[31mred\\n'")
    path = collector.recording(user.name)
    environment = {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "HOME": "/root", "TERM": "xterm"}
    played = pexpect.run(f"asciinema play --speed 1000 {path}", env=environment, timeout=DEADLINE_SECONDS)
    assert isinstance(played, bytes)
    assert played.replace(b"\r\r\n", b"\r\n").endswith(b"1\r\n2\r\n3\r\n\x1b[31mred\r\n")


def test_replay_shows_it(make_user: MakeUser, collector: Collecting) -> None:
    user = make_user(POLICY)
    record(user, r"seq 3; printf '\033[31mred\033[m\033]52;c;aGk=\007\033[c\033[6n\005end\n'")
    done = replay("--speed", "100", collector.recording(user.name)).ok()
    assert done.out == b"1\r\n2\r\n3\r\n\x1b[31mred\x1b[mend\r\n"


def test_replay_verifies_it(
    make_user: MakeUser, collector: Collecting, syslog: Syslog, tmp_path: object
) -> None:
    user = make_user(POLICY)
    record(user, "seq 100")
    path = collector.recording(user.name)
    syslog.wait(lambda r: user.name in r and "event=close" in r, "the end")
    trail = trail_of(syslog, user, str(tmp_path))
    done = replay("--verify", "--json", "--file", trail, path)
    assert json.loads(done.ok().text)["state"] == "verified"
    with open(path, "rb") as file:
        original = file.read()
    for changed, why in (
        (original.replace(b"50", b"51", 1), "changed between"),
        (original[:-10], "cut off"),
        (original + b'[1.0, "o", "more"]\n', "longer"),
        (b"", "cut off"),
    ):
        with open(path, "wb") as file:
            file.write(changed)
        done = replay("--verify", "--file", trail, path)
        assert done.status == 1
        assert why in done.text


def test_digests_come_while_the_session_runs(
    make_user: MakeUser, collector: Collecting, syslog: Syslog, tmp_path: object
) -> None:
    user = make_user(POLICY)
    with outer(user, "-c", "echo ready; exec sleep 1000") as session:
        session.expect(b"ready")
        syslog.wait(lambda r: user.name in r and "event=recording" in r and "final" not in r, "a digest")
        done = replay(
            "--verify", "--file", trail_of(syslog, user, str(tmp_path)), collector.recording(user.name)
        )
        assert (done.status, "does not know the end" in done.text) == (1, True)


def test_without_a_collector_nothing_runs(make_user: MakeUser) -> None:
    user = make_user(POLICY)
    with outer(user, "-c", "echo ran") as session:
        session.expect(b"ssh2container: cannot record the session")
        assert session.ended() == 125
        assert b"ran" not in session.shown


def test_or_it_runs_where_the_policy_says_so(make_user: MakeUser, syslog: Syslog) -> None:
    user = make_user(GO_ON)
    with outer(user, "-c", "echo ran") as session:
        session.expect(b"ran")
        assert session.ended() == 0
    assert any("event=recording-failed" in r for r in syslog.of(user.name))


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_ends_the_session(make_user: MakeUser, syslog: Syslog) -> None:
    user = make_user(POLICY)
    with outer(user, "-c", "seq 200000; exec sleep 1000") as session:
        session.expect(b"this session ends now: it cannot be recorded: ")
        session.ended()
    syslog.wait(lambda r: user.name in r and "event=close" in r and 'reason="recording"' in r, "the end")


@pytest.mark.usefixtures("small_disk")
def test_or_it_ends_the_recording(make_user: MakeUser, syslog: Syslog) -> None:
    user = make_user(GO_ON)
    with outer(user, "-c", "seq 200000; echo and-on; exit 4") as session:
        session.expect(b"and-on")
        assert session.ended() == 4
    assert any("event=recording-failed" in r for r in syslog.of(user.name))


def test_a_collector_that_hangs_slows_a_flood_then_counts_as_failed(
    make_user: MakeUser, collector: Collecting
) -> None:
    """Typing goes on meanwhile; what cannot be recorded is not shown either."""
    user = make_user(POLICY)
    with outer(user, "-c", "echo ready; read x; exec yes") as session:
        session.expect(b"ready")
        collector.signal(signal.SIGSTOP)
        session.send(b"\r")
        session.expect(b"it cannot be recorded: it has accepted nothing")
        session.ended()


def test_a_killed_collector_ends_the_session(make_user: MakeUser, collector: Collecting) -> None:
    user = make_user(POLICY)
    with outer(user, "-c", "echo ready; exec sleep 1000") as session:
        session.expect(b"ready")
        collector.signal(signal.SIGKILL)
        session.expect(b"it cannot be recorded: the collector is gone")
        session.ended()


def test_the_user_cannot_reach_the_recordings(make_user: MakeUser, collector: Collecting) -> None:
    user = make_user(POLICY)
    record(user, "echo first")
    path = collector.recording(user.name)
    for action in (f"cat {path}", f"rm -f {path}", f"echo x >>{path}", f"ls {os.path.dirname(path)}"):
        done = run(
            ["setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups", "sh", "-c", action]
        )
        assert done.status != 0, action
    with open(path, encoding="utf-8") as file:
        assert "first" in file.read()


@contextlib.contextmanager
def connected(user: User) -> Iterator[socket.socket]:
    """A connection to the collector that a process of the user's has made."""
    with socket.socket(socket.AF_UNIX) as end:
        connect = f"import socket; socket.socket(fileno={end.fileno()}).connect({SOCKET!r})"
        subprocess.run(
            [sys.executable, "-c", connect], pass_fds=(end.fileno(),), user=user.uid, cwd="/", check=True
        )
        yield end


@pytest.mark.parametrize(
    "greeting",
    [
        b"hello\n",
        b"ssh2container-record 2 ../../etc/x\n",
        b"ssh2container-record 99 0123456789\n",
        b"x" * 9999,
    ],
)
def test_the_collector_refuses_what_is_no_recorder(
    make_user: MakeUser, collector: Collecting, greeting: bytes
) -> None:
    with connected(make_user(POLICY)) as stranger:
        stranger.send(greeting)
        stranger.settimeout(DEADLINE_SECONDS)
        assert stranger.recv(4096).startswith(b"error ")
        assert stranger.recv(4096) == b""
    assert [name for _, _, files in os.walk(collector.directory) for name in files] == []


@pytest.mark.parametrize(
    "frames",
    [
        b"no frame, but as long as the head of one",
        head(OUTPUT, 5, 0) + b"first",
        head(BEGIN, 1, 0) + b"x",
        head(OUTPUT, LARGEST + 1, 0),
    ],
)
def test_the_collector_refuses_what_is_no_recording(
    make_user: MakeUser, collector: Collecting, frames: bytes
) -> None:
    user = make_user(POLICY)
    with connected(user) as stranger:
        stranger.send(GREETING + b"0123456789\n")
        stranger.settimeout(DEADLINE_SECONDS)
        assert stranger.recv(4096).startswith(b"ok ")
        stranger.send(frames)
        assert stranger.recv(4096).startswith(b"error ")
        assert stranger.recv(4096) == b""
    until(lambda: collector.files(user.name) == [], "what never began leaves no file")


def test_the_collector_is_not_started_by_hand() -> None:
    done = run(["/usr/bin/python3", "-ISB", PROGRAM])
    assert done.status == 1
    assert "ssh2container-record.socket" in done.errors


def test_a_directory_of_the_users_own(make_user: MakeUser) -> None:
    """Untrusted, and said to be: the user's uid can change what is there."""
    user = make_user(POLICY.replace("true}", "true, to: user_directory}"))
    record(user, "echo mine", 0)
    (name,) = os.listdir(f"{user.home}/.ssh2container/recordings")
    path = f"{user.home}/.ssh2container/recordings/{name}"
    assert shown(path) == "mine\r\n"
    assert os.stat(path).st_uid == user.uid
    told = run(["/usr/bin/ssh2containerctl", "explain", user.name])
    assert "can change" in told.ok().text


def test_what_a_killed_monitor_had_handed_over_is_kept(make_user: MakeUser) -> None:
    """Its keeper writes it and goes, too; the recording has no end."""
    user = make_user(POLICY.replace("true}", "true, to: user_directory}"))
    directory = f"{user.home}/.ssh2container/recordings"
    with outer(user, "-c", "echo ready; exec sleep 1000") as session:
        session.expect(b"ready")
        (name,) = os.listdir(directory)
        until(lambda: "ready" in shown(f"{directory}/{name}"), "it is on the disk")
        os.kill(session.process.pid, signal.SIGKILL)
        session.ended()
    until(lambda: not processes(user.uid), "nothing runs any more, the keeper included")
    tidy_after_a_killed_monitor(user)
    assert [code for code, _ in events(f"{directory}/{name}")] == ["o"]


def test_two_sessions_have_two_recordings(make_user: MakeUser, collector: Collecting) -> None:
    user = make_user(POLICY)
    with outer(user, "-c", "echo one; read x") as one, outer(user, "-c", "echo two; read x") as two:
        one.expect(b"one")
        two.expect(b"two")
        for session in (one, two):
            session.send(b"\r")
            session.ended()
    texts = sorted(shown(path)[:3] for path in collector.files(user.name))
    assert texts == ["one", "two"]


def test_a_session_that_never_began_leaves_no_recording(make_user: MakeUser, collector: Collecting) -> None:
    user = make_user(POLICY + "volumes: [/no/such/place:/x]\n")
    with outer(user, "-c", "true") as session:
        assert session.ended() == 126
    assert collector.files(user.name) == []


@pytest.mark.parametrize("to", ["collector", "user_directory"])
@pytest.mark.usefixtures("collector")
def test_a_container_that_cannot_be_made_leaves_no_recording(
    make_user: MakeUser, collector: Collecting, to: str
) -> None:
    """The recording was open already when the payload was not found."""
    user = make_user(POLICY.replace("true}", f"true, to: {to}}}") + "access: {commands: [/no/such]}\n")
    with outer(user, "-c", "/no/such") as session:
        assert session.ended() == 127
    home = f"{user.home}/.ssh2container/recordings"
    until(lambda: collector.files(user.name) == [], "the collector has removed it")
    until(lambda: not os.path.isdir(home) or os.listdir(home) == [], "nothing is in the directory")


def test_transfers_by_sftp_are_named(make_user: MakeUser, syslog: Syslog) -> None:
    user = make_user("image: host\nrecord: {transfers: names}\n")
    with tempfile.TemporaryDirectory() as place:
        with open(f"{place}/up", "wb") as file:
            file.write(b"x" * 70000)
        batch = f'put {place}/up "a \\"b"\nget /etc/passwd {place}/down\n-rm nothing\nls\n'
        server = f"setpriv --reuid={user.uid} --regid={user.gid} --clear-groups {user.shell} -c sftp-server"
        done = run(
            ["sftp", "-q", "-b", "-", "-D", server],
            batch.encode(),
            env={**user.environment(), "HOME": "/root"},
            cwd="/",
        )
    assert done.status == 0, done.errors
    assert "bytes read" not in done.errors
    records = [r for r in syslog.of(user.name) if "event=transfer" in r]
    up, down = records
    assert 'direction="upload"' in up
    assert 'size="70000"' in up
    assert 'path="' + user.home + '/a \\"b"' in up
    assert 'direction="download"' in down
    assert 'path="/etc/passwd"' in down


@pytest.mark.parametrize(
    ("command", "direction", "path"),
    [
        ("scp -t '/tmp/to here'", "upload", "/tmp/to here"),
        ("scp -f /etc/passwd", "download", "/etc/passwd"),
        ("rsync --server -logDtpre.iLsfxCIvu . sub/dir", "upload", "sub/dir"),
        ("rsync --server --sender -logDtpre.iLsfxCIvu . /etc/x", "download", "/etc/x"),
    ],
)
def test_transfers_by_command_are_named(
    make_user: MakeUser, syslog: Syslog, command: str, direction: str, path: str
) -> None:
    user = make_user("image: host\nrecord: {transfers: names}\n")
    login(user, "-c", command)
    (transfer,) = [r for r in syslog.of(user.name) if "event=transfer" in r]
    assert f'direction="{direction}" path="{path}"' in transfer


def test_watching_shows_the_terminal_and_nothing_goes_back(make_user: MakeUser, syslog: Syslog) -> None:
    user = make_user("image: host\nwelcome: false\n")
    with outer(user, "-c", "echo before; read x; echo after-$x; read y") as session:
        session.expect(b"before")
        (entry,) = [name for name in os.listdir(user.runtime_directory) if not name.endswith(".socket")]
        watcher = subprocess.Popen(
            ["/usr/bin/ssh2containerctl", "watch", entry], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert watcher.stdin
        assert watcher.stdout
        assert watcher.stdout.readline() == b"before\r\n"
        watcher.stdin.write(b"typed by the viewer\n")
        watcher.stdin.flush()
        session.send(b"it\r")
        assert watcher.stdout.readline() == b"it\r\n"
        assert watcher.stdout.readline() == b"after-it\r\n"
        session.send(b"\r")
        session.ended()
        assert b"viewer" not in session.shown
        assert watcher.stdout.read() == b"\r\n"
        assert watcher.wait(DEADLINE_SECONDS) == 0
    until(lambda: len(watchings(syslog, user)) == 1, "a record of who watched")
    assert f'session="{entry}"' in watchings(syslog, user)[0]


def watchings(syslog: Syslog, user: User) -> list[str]:
    return [record for record in syslog.of(user.name) if "event=watch " in record]


def test_only_root_watches(make_user: MakeUser, other_user: User) -> None:
    user = make_user("image: host\n")
    with outer(user, "-c", "echo ready; read x") as session:
        session.expect(b"ready")
        (entry,) = [name for name in os.listdir(user.runtime_directory) if not name.endswith(".socket")]
        for spy in (user, other_user):
            done = run(
                [
                    "setpriv",
                    f"--reuid={spy.uid}",
                    f"--regid={spy.gid}",
                    "--clear-groups",
                    "/usr/bin/ssh2containerctl",
                    "watch",
                    entry,
                ]
            )
            assert done.status == 125
        done = run(["/usr/bin/ssh2containerctl", "watch", "0123456789"])
        assert done.status == 125
        assert "no live session" in done.errors


_SHOW = """
import os, socket, sys
place, goes_on = sys.argv[1], sys.argv[2] == "goes on"
print("ready", flush=True)
while True:
    end = socket.socket(socket.AF_UNIX)
    try:
        end.connect(place)
        end.sendall(b"a false screen")
    except PermissionError:
        # Until the watcher has given its socket away, the session's own user is refused as well.
        if not goes_on:
            print("refused", flush=True)
            sys.exit()
    except OSError:
        pass
    end.close()
"""


@pytest.mark.parametrize("own", [True, False])
def test_who_connects_in_place_of_the_monitor_shows_nothing(
    make_user: MakeUser, other_user: User, syslog: Syslog, *, own: bool
) -> None:
    """An outsider cannot connect; another process of the session's own user is turned away."""
    user = make_user("image: host\nwelcome: false\n")
    with outer(user, "-c", "echo true screen; read x") as session:
        session.expect(b"true screen")
        (entry,) = [name for name in os.listdir(user.runtime_directory) if not name.endswith(".socket")]
        with stopped(session.process), forging(entry, user if own else other_user, goes_on=own) as forger:
            watcher = subprocess.Popen(
                ["/usr/bin/ssh2containerctl", "watch", entry], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            if own:
                syslog.wait(lambda r: user.name in r and "event=watch-refused " in r, "who was turned away")
            else:
                assert forger.stdout
                assert forger.stdout.readline() == "refused\n"
        assert watcher.stdout
        assert watcher.stdout.readline() == b"true screen\r\n"
        session.send(b"\r")
        session.ended()
        assert watcher.communicate()[0] == b"\r\n"


@contextlib.contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stopped for the length of a ``with`` block, the monitor is not the first to connect."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def forging(entry: str, spy: User, *, goes_on: bool) -> Iterator[subprocess.Popen[str]]:
    """A process of ``spy`` that offers a false screen to whoever watches the session ``entry``."""
    words = [sys.executable, "-c", _SHOW, f"/run/ssh2container/watch-{entry}", "goes on" if goes_on else ""]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, user=spy.uid, group=spy.gid, extra_groups=[], cwd="/"
    ) as forger:
        try:
            assert forger.stdout
            assert forger.stdout.readline() == "ready\n"
            yield forger
        finally:
            forger.kill()


def own(where: str, more: str = "") -> str:
    return POLICY.replace("true}", f"true, to: user_directory, directory: {where}}}") + more


@pytest.mark.parametrize("kind", ["home", "volume"])
def test_recordings_never_lie_where_the_session_can_write(
    make_user: MakeUser, users: Users, host_directory: Callable[[User], str], kind: str
) -> None:
    """By its own name `check` sees it; by another name of the same place the login does."""
    user = make_user()
    place = host_directory(user)
    writable = f"home: {{source: {place}}}\n" if kind == "home" else f"volumes: ['{place}:/data:rw']\n"
    users.write_policy(user, own(f"{place}/recordings", writable))
    done = run(["/usr/bin/ssh2containerctl", "check", user.policy_file])
    assert done.status == 1
    assert "the session itself can write" in done.text + done.errors
    with outer(user, "-c", "echo ran") as session:
        session.expect(b"the session itself can write")
        assert session.ended() == 126
    assert os.listdir(place) == []


def test_another_name_of_a_writable_place_is_found_at_login(
    make_user: MakeUser, users: Users, host_directory: Callable[[User], str], ledger: Ledger
) -> None:
    user = make_user()
    place = host_directory(user)
    alias = f"{place}-alias"
    ledger.note_path(alias)
    os.mkdir(alias)
    run(["mount", "--bind", place, alias]).ok()
    try:
        users.write_policy(user, own(f"{alias}/recordings", f"volumes: ['{place}:/data:rw']\n"))
        with outer(user, "-c", "echo ran") as session:
            session.expect(b"the session itself can write there")
            assert session.ended() == 126
        assert os.listdir(place) == []
    finally:
        run(["umount", alias]).ok()
        os.rmdir(alias)


def test_a_link_leads_no_recording_elsewhere(make_user: MakeUser, tmp_path: pathlib.Path) -> None:
    user = make_user(own("'%h/recordings/here'"))
    os.symlink(tmp_path, f"{user.home}/recordings")
    os.lchown(f"{user.home}/recordings", user.uid, user.gid)
    os.chmod(tmp_path, 0o777)
    with outer(user, "-c", "echo ran") as session:
        session.expect(b"a component is a link")
        assert session.ended() == 125
    assert os.listdir(tmp_path) == []


def test_a_link_of_roots_is_followed(make_user: MakeUser, users: Users, ledger: Ledger) -> None:
    """As where /home is one."""
    user = make_user()
    link = f"/srv/s2c-{user.name}"
    ledger.note_path(link)
    users.write_policy(user, own(f"{link}/%u/recordings"))
    os.symlink("../home", link)
    try:
        record(user, "echo mine")
    finally:
        os.unlink(link)
    (name,) = os.listdir(f"{user.home}/recordings")
    assert shown(f"{user.home}/recordings/{name}") == "mine\r\n"
