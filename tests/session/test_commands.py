"""Commands, their bytes, their environment and how they end."""

from __future__ import annotations

import os
import signal

import pytest
from support.data import EVERY_BYTE, digest, noise
from support.login import finish, inside, live, login, python_inside, start
from support.users import MakeUser, User


@pytest.mark.parametrize("status", [0, 1, 3, 42, 125, 126, 127, 128, 129, 255])
def test_the_exit_status_is_the_payloads(user: User, status: int) -> None:
    assert inside(user, f"exit {status}").status == status


@pytest.mark.parametrize(
    "name",
    [
        "HUP",
        "INT",
        "QUIT",
        "ILL",
        "ABRT",
        "FPE",
        "KILL",
        "SEGV",
        "PIPE",
        "ALRM",
        "TERM",
        "USR1",
        "USR2",
        "XCPU",
    ],
)
def test_death_by_signal_is_passed_on(user: User, name: str) -> None:
    # Not by bash itself, which ignores SIGQUIT.
    assert inside(user, f"exec sh -c 'kill -{name} $$'").status == -signal.Signals[f"SIG{name}"]


def test_no_core_is_written_for_a_passed_on_death(user: User) -> None:
    assert inside(user, "ulimit -c unlimited 2>/dev/null; kill -SEGV $$").status == -signal.SIGSEGV
    assert "core" not in " ".join(os.listdir(user.home))


def test_an_unknown_command_is_127(user: User) -> None:
    done = inside(user, "no-such-program-at-all")
    assert (done.status, done.out) == (127, b"")


def test_a_file_that_cannot_be_executed_is_126(user: User) -> None:
    assert inside(user, "/etc/passwd").status == 126


def test_silence(user: User) -> None:
    done = inside(user, "true").ok()
    assert (done.out, done.err) == (b"", b"")


def test_an_empty_command(user: User) -> None:
    done = inside(user, "").ok()
    assert (done.out, done.err) == (b"", b"")


@pytest.mark.parametrize("option", ["-c", "-lc"])
def test_a_command_of_the_longest_possible_length(user: User, option: str) -> None:
    """131071 bytes and a NUL are MAX_ARG_STRLEN: nothing may lengthen the string."""
    tail = b"; echo reached"
    command = b"true " + b"x" * (131071 - 5 - len(tail)) + tail
    assert len(command) == 131071
    assert login(user, option, command).ok().text == "reached\n"


def test_a_command_that_is_not_utf8(user: User) -> None:
    data = bytes(range(128, 256))
    assert inside(user, b"printf %s '" + data + b"'").ok().out == data


def test_every_byte_a_command_can_have(user: User) -> None:
    data = bytes(set(range(1, 256)) - {ord("'")})
    assert inside(user, b"printf %s '" + data + b"'").ok().out == data


def test_every_byte_survives_both_ways(user: User) -> None:
    assert inside(user, "cat", stdin=EVERY_BYTE).ok().out == EVERY_BYTE


def test_a_hundred_megabytes_each_way_are_exact(user: User) -> None:
    data = noise(100 * 1024 * 1024)
    done = inside(user, "cat", stdin=data).ok()
    assert digest(done.out) == digest(data)


def test_stdin_half_close(user: User) -> None:
    session = start(user, "-c", "cat >/dev/null; echo after the end of input")
    assert finish(session, b"x").text == "after the end of input\n"


def test_a_login_without_a_terminal_reads_commands(user: User) -> None:
    """``ssh host <script`` runs the login shell on a pipe."""
    for arguments in ((), ("-l",), ("--login",)):
        done = login(user, *arguments, stdin=b"echo one; shopt -q login_shell && echo login\nexit 6\n")
        assert (done.status, done.text) == (6, "one\nlogin\n")


def test_the_command_runs_in_the_policys_shell(make_user: MakeUser) -> None:
    guest = make_user("image: host\nshell: [/no/such/shell, /bin/sh, /bin/bash]\n")
    assert inside(guest, "readlink /proc/$$/exe; echo $0 $SHELL").ok().text.splitlines()[0] == "/usr/bin/dash"


def test_a_policy_without_any_usable_shell_is_127(make_user: MakeUser) -> None:
    guest = make_user("image: host\nshell: [/no/such/shell]\n")
    done = inside(guest, "echo inside")
    assert (done.status, done.out) == (127, b"")
    assert "/no/such/shell" in done.errors


def test_the_environment_is_made_from_nothing(user: User) -> None:
    planted = {
        "PYTHONPATH": "/tmp",
        "PYTHONSTARTUP": "/tmp/x",
        "BASH_ENV": "/tmp/x",
        "ENV": "/tmp/x",
        "IFS": "x",
        "GCONV_PATH": "/tmp",
        "PROMPT_COMMAND": "id",
        "SSH_AUTH_SOCK": "/tmp/agent",
        "DISPLAY": ":0",
        "XDG_RUNTIME_DIR": "/run/user/0",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/x",
        "SECRET": "1",
    }
    done = inside(user, "exec env -0", environment=planted).ok()
    got = dict(entry.split("=", 1) for entry in done.text.rstrip("\0").split("\0"))
    assert not set(got) & set(planted)
    assert (got["USER"], got["LOGNAME"], got["HOME"]) == (user.name, user.name, user.home)
    assert "LC_CTYPE" not in got
    assert got["PATH"].split(":")[:2] == ["/usr/local/bin", "/usr/bin"]


def test_accepted_and_set_variables(make_user: MakeUser) -> None:
    guest = make_user(
        """
        image: host
        environment: {EDITOR: nano, TASK: "a b=c", FROM_CLIENT: }
        accept_env: [LANG, "LC_*", GIT_PROTOCOL]
        """
    )
    given = {"LC_TIME": "de_DE.UTF-8", "GIT_PROTOCOL": "version=2", "FROM_CLIENT": "yes", "OTHER": "no"}
    done = inside(guest, "echo $EDITOR:$TASK:$LC_TIME:$GIT_PROTOCOL:$FROM_CLIENT:$OTHER", environment=given)
    assert done.ok().text == "nano:a b=c:de_DE.UTF-8:version=2:yes:\n"


def test_signal_dispositions_and_masks_are_the_default(user: User) -> None:
    """Python ignores SIGPIPE and SIGXFSZ; callers ignore and block whatever they like."""
    caller = [
        "/usr/bin/python3",
        "-c",
        (
            "import os, signal, sys\n"
            "for n in range(1, 65):\n"
            "    if n not in (9, 19, 32, 33): signal.signal(n, signal.SIG_IGN)\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
            "os.execv(sys.argv[1], sys.argv[1:])"
        ),
    ]
    for before in ([], caller):
        done = inside(user, "exec grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status", before=before).ok()
        fields = dict(line.split() for line in done.text.splitlines())
        assert int(fields["SigBlk:"], 16) == 0
        assert int(fields["SigIgn:"], 16) == 0


def test_sigchld_ignored_at_start(user: User) -> None:
    """waitpid then fails with ECHILD, and the status would be lost."""
    caller = [
        "/usr/bin/python3",
        "-c",
        "import os, signal, sys; signal.signal(signal.SIGCHLD, 1); os.execv(sys.argv[1], sys.argv[1:])",
    ]
    assert inside(user, "(exit 3); echo $?; exit 8", before=caller).status == 8
    assert inside(user, "kill -TERM $$", before=caller).status == -signal.SIGTERM


def test_a_pipeline_ends_by_sigpipe_as_usual(user: User) -> None:
    assert inside(user, "yes | head -n 1; echo ${PIPESTATUS[0]}").ok().text == "y\n141\n"


def test_the_umask_is_the_callers_or_the_default(user: User) -> None:
    assert inside(user, "umask").ok().text.strip() in ("0022", "022")


def test_the_payload_is_a_session_leader_of_its_own(user: User) -> None:
    program = "import os; print(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid())"
    assert python_inside(user, program).ok().text == "True True\n"


def test_priority_and_limits(make_user: MakeUser) -> None:
    guest = make_user("image: host\nulimits: {nofile: {soft: 100, hard: 200}, nproc: 50}\n")
    done = inside(guest, "ulimit -Sn; ulimit -Hn; ulimit -u; ulimit -Hn 300 2>/dev/null || echo refused")
    assert done.ok().text.split() == ["100", "200", "50", "refused"]
    program = """
import os
made = 0
try:
    while True:
        if os.fork() == 0:
            os.read(0, 1)
            os._exit(0)
        made += 1
except BlockingIOError:
    print(40 < made < 50)
"""
    session = start(guest, "-c", f"exec python3 -c '{program}'")
    assert session.stdout
    assert session.stdout.readline() == b"True\n"
    finish(session)


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_version_and_help(user: User, argument: str) -> None:
    done = login(user, argument).ok()
    assert b"ssh2container" in done.out
    assert done.err == b""


def test_many_short_sessions_in_a_row(user: User) -> None:
    """Nothing adds up: the twentieth is like the first."""
    answers = {inside(user, "set -- /proc/[0-9]*; echo $#; ls -A /tmp").ok().text for _ in range(20)}
    assert len(answers) == 1


def test_live_sessions_answer(user: User) -> None:
    with live(user) as session:
        assert session.ask("echo $((6 * 7))") == "42\n"
