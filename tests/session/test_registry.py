"""Live sessions on the host: what is registered, how many may be, and how they are ended and entered."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pexpect
import pytest
from support.host import DEADLINE_SECONDS, processes, run, until
from support.leaks import tidy_after_a_killed_monitor
from support.login import inside, live, start
from support.syslog import Syslog
from support.users import MakeUser, User

from ssh2container.record import registry

CTL = "ssh2containerctl"
TIOCGPTN = 0x80045430


def listed(user: User) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run([CTL, "sessions", "--json", user.name]).ok().text)
    return found


def only(user: User) -> dict[str, Any]:
    (session,) = listed(user)["sessions"]
    return dict(session)


def entries(user: User) -> list[str]:
    return sorted(name for name in os.listdir(user.runtime_directory) if name != ".welcomed")


def test_a_session_is_listed_with_what_the_kernel_says(user: User) -> None:
    with live(user, environment={"SSH_CONNECTION": "192.0.2.7 4711 192.0.2.1 22"}) as session:
        found = only(user)
        assert found["user"] == user.name
        assert found["uid"] == user.uid
        assert found["from"] == "192.0.2.7"
        assert found["command"] == "exec bash -s"
        assert found["kind"] == "command"
        assert found["image"] == "host"
        assert found["monitor"] == session.monitor
        assert found["init"] == session.init().pid
        assert f"pid:[{found['pid_namespace']}]" == session.payload().namespace("pid")
        assert found["terminal"] is False
        assert found["idle"] is None
        before = found["processes"], found["memory"]
        session.ask("sleep 1000 & python3 -c 'import time; x = bytearray(30 << 20); time.sleep(1000)' & :")
        until(
            lambda: (
                only(user)["processes"] == before[0] + 2 and only(user)["memory"] > before[1] + (25 << 20)
            ),
            "processes and memory are counted",
        )
    assert listed(user)["sessions"] == []
    assert entries(user) == []


def test_the_table_shows_every_session_and_escapes_it(user: User) -> None:
    command = b"exec sleep 1000 # \x1b]0;title\x07 \x9b31m [red]\xff\n"
    session = start(user, "-c", command)
    try:
        until(lambda: listed(user)["sessions"], "the session is listed")
        done = run([CTL, "sessions", user.name]).ok()
        assert user.name in done.text
        assert all(character.isprintable() or character == "\n" for character in done.text)
        assert len(done.text.splitlines()) == 2
        assert "[red]" in done.text
    finally:
        session.kill()
        session.communicate()
        until(lambda: not processes(user.uid), "nothing of it runs")
        tidy_after_a_killed_monitor(user)


def test_a_terminal_session_has_an_idle_time(user: User) -> None:
    def become_the_user() -> None:
        os.initgroups(user.name, user.gid)
        os.setgid(user.gid)
        os.setuid(user.uid)

    child = pexpect.spawn(
        user.shell,
        [],
        env=user.environment(),
        preexec_fn=become_the_user,
        cwd=user.home,
        timeout=DEADLINE_SECONDS,
    )
    try:
        number = int.from_bytes(fcntl.ioctl(child.child_fd, TIOCGPTN, bytes(4)), "little")
        os.chown(f"/dev/pts/{number}", user.uid, -1)  # as sshd does
        child.expect(r"\$ ")
        found = only(user)
        assert found["terminal"] is True
        assert found["kind"] == "login"
        assert 0 <= found["idle"] < 600
    finally:
        child.close(force=True)
    until(lambda: not processes(user.uid), "the session ends")


def test_a_login_works_without_a_runtime_directory(make_user: MakeUser) -> None:
    guest = make_user()
    os.rmdir(guest.runtime_directory)
    inside(guest, "true").ok()
    os.mkdir(guest.runtime_directory, 0o700)  # of root's: not his own
    inside(guest, "true").ok()
    assert entries(guest) == []


@pytest.mark.parametrize(
    "policy", ["sessions: {max: 4}\n", "container_per: user\n", "storage_opt: {total: 1g}\n"]
)
def test_a_policy_that_needs_the_registry_is_refused_without_it(make_user: MakeUser, policy: str) -> None:
    guest = make_user("image: host\n" + policy)
    inside(guest, "true").ok()
    until(lambda: not entries(guest), "the registry is empty again")
    os.chmod(guest.runtime_directory, 0o755)
    assert inside(guest, "true").status == 126
    os.rmdir(guest.runtime_directory)
    taken = f"{registry.SHARED}/{guest.uid}"  # where the session would make one itself
    run(["rm", "-rf", taken]).ok()
    Path(taken).touch()
    try:
        done = inside(guest, "true")
    finally:
        os.unlink(taken)
    assert done.status == 126
    assert "ssh2containerctl enable" in done.errors


def test_the_next_session_beyond_the_maximum_is_refused(make_user: MakeUser, syslog: Syslog) -> None:
    guest = make_user("image: host\nsessions: {max: 2}\n")
    with live(guest), live(guest):
        done = inside(guest, "true")
        assert done.status == 126
        assert (
            done.errors == "ssh2container: too many sessions: 2 of at most 2 are open; log out of one first\n"
        )
        until(lambda: [r for r in syslog.of(guest.name) if "too many sessions" in r], "a record of it")
    inside(guest, "true").ok()


def test_the_next_login_removes_what_a_killed_monitor_left(make_user: MakeUser) -> None:
    guest = make_user()
    session = start(guest, "-c", "echo in; exec sleep 1000")
    assert session.stdout
    session.stdout.readline()
    session.kill()
    session.communicate()
    until(lambda: not processes(guest.uid), "nothing of it runs")
    assert len(entries(guest)) == 2
    inside(guest, "true").ok()
    assert entries(guest) == []


def test_sessions_that_were_killed_do_not_count(make_user: MakeUser) -> None:
    guest = make_user("image: host\nsessions: {max: 1}\n")
    for _ in range(3):
        session = start(guest, "-c", "echo ready; exec sleep 1000")
        assert session.stdout
        assert session.stdout.readline() == b"ready\n"
        session.kill()
        session.communicate()
    assert entries(guest) != []
    inside(guest, "true").ok()
    assert entries(guest) == []


def test_what_lies_about_does_not_count_as_a_session(make_user: MakeUser) -> None:
    guest = make_user("image: host\nsessions: {max: 1}\n")
    for number in range(20):
        with open(f"{guest.runtime_directory}/{number:010x}", "w", encoding="ascii") as file:
            file.write("format 1\nmonitor 1 1\n")
        os.chown(file.name, guest.uid, guest.gid)
    os.mkfifo(f"{guest.runtime_directory}/00000000ff")
    os.symlink("/etc/passwd", f"{guest.runtime_directory}/00000000fe")
    inside(guest, "true").ok()
    assert [name for name in entries(guest) if name.startswith("000000001")] == []


def test_of_many_logins_at_once_exactly_the_maximum_gets_in(make_user: MakeUser) -> None:
    guest = make_user("image: host\nsessions: {max: 3}\n")
    sessions = [start(guest, "-c", "read line; exit 7") for _ in range(12)]
    refused = [session for session in sessions if session.stdin]
    until(lambda: sum(session.poll() == 126 for session in sessions) == 9, "all but three are refused")
    for session in refused:
        session.communicate(b"\n")
    assert sorted(session.returncode for session in sessions) == [7] * 3 + [126] * 9


def test_kill_ends_a_session_that_obeys(user: User) -> None:
    with live(user) as session:
        name = only(user)["id"]
        assert run([CTL, "kill", name]).ok().text == f"{name}: ended\n"
        session.ended()
    assert entries(user) == []


def test_kill_ends_a_session_that_does_not_obey(user: User, syslog: Syslog) -> None:
    session = start(user, "-c", "trap '' TERM HUP; echo ready; while :; do read -t 1000 x <> <(:); done")
    assert session.stdout
    assert session.stdout.readline() == b"ready\n"
    name = only(user)["id"]
    done = run([CTL, "kill", "--grace", "0.2", "--json", name]).ok()
    assert json.loads(done.text)["sessions"] == [{"id": name, "result": "killed"}]
    session.communicate()
    assert session.returncode == -signal.SIGKILL
    until(lambda: not processes(user.uid), "nothing of it is left")
    tidy_after_a_killed_monitor(user)
    until(lambda: [r for r in syslog.of(user.name) if "event=kill" in r], "a record of who did it")


def test_kill_ends_all_of_a_user_and_nobody_elses(user: User, other_user: User) -> None:
    with live(other_user) as stays, live(user) as first, live(user) as second:
        run([CTL, "kill", "--user", user.name]).ok()
        first.ended()
        second.ended()
        assert stays.ask("echo alive") == "alive\n"


@pytest.mark.parametrize("name", ["0123456789", "x", "../../1", "", "-1", "root/0123456789"])
def test_what_is_no_session_cannot_be_killed(name: str) -> None:
    done = run([CTL, "kill", "--", name])
    assert done.status == 125
    assert len(done.errors.splitlines()) == 1


def entered(user: User, *words: str, stdin: bytes = b"") -> Any:
    return run([CTL, "exec", only(user)["id"], "--", *words], stdin)


def test_exec_runs_behind_the_sessions_own_walls(user: User) -> None:
    with live(user) as session:
        session.ask("touch /tmp/witness; cd /")
        walls_of = "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status"
        look = f"readlink /proc/self/ns/pid; id -u; pwd; ls /tmp; {walls_of}"
        done = entered(user, "sh", "-c", look).ok()
        namespace, uid, directory, witness, *walls = done.text.splitlines()
        assert namespace == session.payload().namespace("pid")
        assert (uid, directory, witness) == (str(user.uid), user.home, "witness")
        assert [line.split()[1] for line in walls] == ["0000000000000000"] * 5 + ["1", "2"]
        assert walls == session.ask(walls_of).splitlines()
        assert entered(user, "sh", "-c", "echo $USER $HOME").ok().text.split() == [user.name, user.home]
        assert entered(user, "ls", "/proc/self/fd").ok().text.split() == ["0", "1", "2", "3"]
        assert entered(user, "sh", "-c", "unshare -U true || mount -t tmpfs x /tmp").status != 0


def test_exec_passes_bytes_and_status_on(user: User) -> None:
    data = os.urandom(3_000_000)
    with live(user):
        assert entered(user, "cat", stdin=data).ok().out == data
        assert entered(user, "sh", "-c", "echo out; echo err >&2; exit 9") == (
            type(entered(user, "true"))(9, b"out\n", b"err\n")
        )
        assert entered(user, "sh", "-c", "kill -SEGV $$").status == -signal.SIGSEGV
        assert entered(user, "head", "-c1", stdin=data).ok().out == data[:1]
        missing = entered(user, "nosuch")
        assert (missing.status, missing.out) == (127, b"")
        assert "nosuch" in missing.errors


def test_exec_does_not_hold_the_session_open(user: User) -> None:
    with live(user) as session:
        name = only(user)["id"]
        entered_process = subprocess.Popen(
            [CTL, "exec", name, "--", "sh", "-c", "echo in; exec sleep 1000"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert entered_process.stdout
        assert entered_process.stdout.readline() == b"in\n"
        session.send("exit 4")
        assert session.ended() == 4
        _, errors = entered_process.communicate(timeout=DEADLINE_SECONDS)
        assert entered_process.returncode in (125, -signal.SIGKILL)
        assert b"Traceback" not in errors


def test_the_end_of_exec_ends_its_command_alone(user: User) -> None:
    with live(user) as session:
        process = subprocess.Popen(
            [CTL, "exec", only(user)["id"], "--", "sh", "-c", "trap '' HUP; echo in; exec sleep 4711"],
            stdout=subprocess.PIPE,
        )
        assert process.stdout
        assert process.stdout.readline() == b"in\n"
        process.kill()
        process.communicate()
        until(lambda: "4711" not in session.ask("ps axo args | grep -v grep"), "the command is gone")
        assert session.ask("echo alive") == "alive\n"


def shown(child: Any) -> str:
    """What the terminal got before what was last waited for."""
    text: str = child.before.decode().replace("\r", "")
    return text


def on_a_terminal(*arguments: str) -> pexpect.spawn[Any]:
    """``ssh2containerctl`` on a terminal, with a shell that has no line editor."""
    child = pexpect.spawn(
        CTL,
        list(arguments),
        timeout=DEADLINE_SECONDS,
        dimensions=(33, 77),
        echo=False,
        env={**os.environ, "TERM": "dumb"},
    )
    child.expect(r"\$ ")
    child.sendline("PS1='P> '")
    child.expect("P> ")
    return child


def test_exec_gives_a_terminal_of_its_own(user: User) -> None:
    with live(user):
        child = on_a_terminal("exec", only(user)["id"])
        child.sendline("test -t 0 && test -t 2 && echo terminal >/dev/tty; stty size")
        child.expect("P> ")
        assert shown(child).strip().split("\n") == ["terminal", "33 77"]
        child.setwinsize(40, 90)
        child.sendline("until [ \"$(stty size)\" = '40 90' ]; do :; done; echo resized")
        child.expect("resized\r\nP> ")
        child.sendline("sleep 1000 & sleep 2000")
        until(lambda: [p.name for p in processes(user.uid)].count("sleep") == 2, "both run")
        child.sendintr()
        child.expect("P> ")
        child.sendline("kill %1; echo controlled")
        child.expect("controlled\r\n")
        # A terminal would answer the first as if typed and obey the second.
        child.sendline(r"printf '\033[c\033]52;c;AAAA\007shown\n'")
        child.expect(r"shown\r\n(\[1\].*\r\n)?P> ")  # bash tells of the ended job when it comes to it
        assert "\x1b[c" not in shown(child)
        assert "\x1b]52" not in shown(child)
        child.sendline(r"printf '\033[?1049h\033(0\033[2;5r\033[4h\033[?2004hleft'; exit 3")
        child.expect("left")
        child.expect(pexpect.EOF)
        for reset in ("\x1b[?1049l", "\x1b(B", "\x1b[r", "\x1b[4l", "\x1b[?2004l"):
            assert reset in shown(child)
        child.wait()
        assert child.exitstatus == 3


def test_what_is_typed_in_exec_is_for_nobody_else(user: User) -> None:
    """Not for the session's own processes, which run as the same user in the same container."""
    with live(user) as session:
        child = on_a_terminal("exec", only(user)["id"])
        child.sendline("echo pid=$$")
        child.expect("P> ")
        pid = shown(child).strip().removeprefix("pid=")
        places = f"/dev/pts/[0-9]* /proc/{pid}/fd/[0-9]* /proc/{pid}/root/dev/pts/[0-9]*"
        tries = (
            f"for place in {places}; do (exec 3<$place) && echo $place; (exec 3>$place) && echo $place; done"
        )
        assert session.ask(f"{{ {tries}; }} 2>/dev/null; kill -0 {pid} && echo there") == "there\n"
        child.sendline("exit")
        child.expect(pexpect.EOF)
        child.wait()


def test_exec_without_a_terminal_shows_on_ours_only_what_draws(user: User) -> None:
    """Standard output is a pipe, standard error is the administrator's terminal."""
    with live(user):
        command = r"printf '\''\033]52;c;AAAA\007\033[31mred\n'\'' >&2; printf '\''\033]52;\n'\''"
        line = f"{CTL} exec {only(user)['id']} -- sh -c '{command}' | od -c"
        child = pexpect.spawn("/bin/bash", ["-c", line], timeout=DEADLINE_SECONDS, echo=False)
        child.expect(pexpect.EOF)
        assert "\x1b[31mred" in shown(child)
        assert "\x1b]52" not in shown(child)
        assert "033   ]   5   2" in shown(child), "what goes to a program goes there whole"


def test_exec_is_recorded(user: User, syslog: Syslog) -> None:
    with live(user):
        entered(user, "true", "a\nb").ok()
    records = until(lambda: [r for r in syslog.of(user.name) if "event=exec" in r], "a record")
    assert re.search(r"true a\\+nb", records[-1])


def test_only_root_looks_at_others_sessions(user: User, other_user: User) -> None:
    with live(user):
        name = only(user)["id"]
        for verb in (["sessions"], ["kill", name], ["exec", name, "--", "id"]):
            done = run(
                ["/usr/bin/ssh2containerctl", *verb],
                user=other_user.uid,
                group=other_user.gid,
                extra_groups=[],
                cwd="/",
                env={"PATH": "/usr/bin:/bin"},
            )
            assert user.name not in done.text
            assert done.status in (0, 125)
        assert only(user)["id"] == name


def test_a_session_is_named_by_its_beginning_or_its_user(user: User, other_user: User) -> None:
    with live(user) as session:
        name = only(user)["id"]
        for word in (name, name[:6], user.name, f"{user.name}/{name[:6]}"):
            assert run([CTL, "exec", word, "--", "echo", "in"]).ok().text == "in\n"
        with live(user), live(other_user):
            done = run([CTL, "exec", user.name, "--", "id"])
            assert done.status == 125
            assert f"there are 2 sessions {user.name}" in done.errors
            for found in listed(user)["sessions"]:
                assert found["id"] in done.errors
            assert run([CTL, "exec", other_user.name, "--", "id", "-un"]).ok().text == f"{other_user.name}\n"
        assert run([CTL, "kill", "--grace", "5", user.name]).ok().text.startswith(name)
        session.ended()


@pytest.mark.parametrize("name", ["0123456789", "0123", "nosuch", "NoSuch!", "a/b", "\x1b[c"])
@pytest.mark.parametrize("verb", ["exec", "watch", "kill", "replay", "sessions", "log"])
def test_what_names_nothing_ends_alike_in_every_verb(verb: str, name: str, tmp_path: Path) -> None:
    """One line on standard error and one status (ssh2containerctl(8), EXIT STATUS)."""
    (tmp_path / "auth.log").write_text("")
    more = ["--file", str(tmp_path / "auth.log")] if verb == "log" else []
    done = run([CTL, verb, *more, name])
    assert (done.status, done.out, done.err.count(b"\n")) == (125, b"", 1), done.errors
    assert b"\x1b" not in done.err


def test_a_user_without_sessions_is_no_error(user: User) -> None:
    assert run([CTL, "sessions", user.name]).ok().text == "no sessions\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_profiles_are_completed(shell: str) -> None:
    """As the scripts of the shells ask for it."""
    words = "ssh2containerctl enable --profile "
    environment = {"_SSH2CONTAINERCTL_COMPLETE": f"{shell}_complete", "COMP_WORDS": words + "sf"}
    environment |= {"COMP_CWORD": "sf" if shell == "fish" else "3", "PATH": os.environ["PATH"]}
    assert "sftp-drop" in run([CTL], env=environment).text
