"""What a user can do, in a few lines: ``show --summary``, and how ``explain`` begins, true for sessions."""

from __future__ import annotations

import json

import pytest
from support.host import run
from support.login import inside, login
from support.syslog import Syslog
from support.users import MakeUser, User

from ssh2container.admin.login import summary

CTL = "/usr/bin/ssh2containerctl"


def told(name: str) -> dict[str, str]:
    lines: dict[str, str] = json.loads(run([CTL, "show", "--summary", "--json", name]).ok().out)["summary"]
    return lines


def test_it_is_how_explain_begins(user: User) -> None:
    shown = run([CTL, "show", "--summary", user.name]).ok().text
    assert len(shown.splitlines()) == len(summary.LABELS)
    assert run([CTL, "explain", user.name]).ok().text.startswith(shown)
    explained = json.loads(run([CTL, "explain", "--json", user.name]).ok().out)
    assert explained["summary"] == told(user.name)
    assert list(explained["summary"]) == list(summary.LABELS)


def test_a_plain_policy(user: User) -> None:
    lines = told(user.name)
    assert lines["enters"].startswith("a shell; any command")
    assert lines["runs"].startswith(f"programs of the image host as {user.name}; a container of its own")
    assert lines["keeps"].startswith("nothing; ")
    assert lines["reaches"].startswith("nothing: ")
    assert lines["open"] == "at any time"
    nproc, nofile = inside(user, "ulimit -u; ulimit -n").ok().text.split()
    assert f"{nproc} processes; {nofile} open files for each" in lines["limits"]


def test_what_it_says_is_so(make_user: MakeUser, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = tmp_path_factory.mktemp("course")
    source.chmod(0o755)
    for parent in (source.parent, source.parent.parent):
        parent.chmod(0o755)
    user = make_user(
        f"""
        image: host
        volumes: ["{source}:/course:ro"]
        access: {{interactive: false, commands: [id, ls], sftp: {{read_only: true}}}}
        ulimits: {{nproc: 77}}
        record: {{transfers: names}}
        sessions: {{max: 3, max_duration: 1h}}
        """
    )
    lines = told(user.name)
    assert lines["enters"] == "the commands id, ls; sftp, for reading"
    assert "/course (for reading)" in lines["sees"]
    assert str(source) not in json.dumps(lines), "no path of the host"
    assert "3 sessions at a time" in lines["limits"]
    assert "77 processes" in lines["limits"]
    assert lines["ends"] == "after 1 hour"
    assert "the names of transferred files" in lines["recorded"]
    assert login(user).status == 126
    assert login(user, "-c", "id").ok()
    assert login(user, "-c", "ls /course").ok()
    assert login(user, "-c", "touch /course/x").status == 126


def test_when_an_account_is_open(make_user: MakeUser) -> None:
    user = make_user("image: host\naccess: {until: 2001-02-03}\n")
    assert "until 2001-02-03" in told(user.name)["open"]
    assert login(user, "-c", "true").status == 126
    user = make_user("image: host\naccess: {from: 2100-02-03}\n")
    assert "from 2100-02-03" in told(user.name)["open"]


def test_a_suspended_account_enters_by_nothing(make_user: MakeUser) -> None:
    user = make_user("image: host\naccess: {login: false}\n")
    done = run([CTL, "show", "--summary", user.name])
    assert (done.status, done.out) == (126, b"")


@pytest.mark.parametrize("option", [["--changed"], ["--group", "users"]])
def test_it_is_of_a_login(user: User, option: list[str]) -> None:
    assert run([CTL, "show", "--summary", *option, user.name]).status == 2


WORD = "ssh2container-info"


def test_a_user_asks_for_it(make_user: MakeUser, syslog: Syslog) -> None:
    """The words are root's, whatever access lets the user run, and stand alone on standard output."""
    user = make_user("image: host\naccess: {interactive: false, commands: none}\nsessions: {max: 3}\n")
    shown = run([CTL, "show", "--summary", user.name]).ok().text
    done = login(user, "-c", WORD).ok()
    assert (done.text, done.errors) == (shown, "")
    assert f"as {user.name}; " in done.text
    assert login(user, "-c", "id").status == 126
    found = [line for line in syslog.of(user.name) if 'kind="info"' in line and "event=note" not in line]
    assert len(found) == 2, found
    opened, closed = found
    assert "event=open" in opened
    assert "event=close" in closed
    assert 'exit="0"' in closed
    for command in (f"{WORD} --json", f"{WORD} {user.name}"):
        refused = login(user, "-c", command)
        assert (refused.status, refused.out) == (126, b"")
        assert f"usage: ssh HOST {WORD}" in refused.errors


def test_who_may_not_log_in_is_told_nothing(make_user: MakeUser) -> None:
    for access, why in (
        ("{login: false, message: ask Eve}", "this account is suspended"),
        ("{until: 2001-02-03}", "closed"),
    ):
        done = login(make_user(f"image: host\naccess: {access}\n"), "-c", WORD)
        assert (done.status, done.out) == (126, b"")
        assert why in done.errors
        assert done.errors.count("\n") == 1


def test_a_forced_command_outdoes_it(make_user: MakeUser) -> None:
    user = make_user("image: host\naccess: {command: [echo, forced]}\n")
    assert login(user, "-c", WORD).ok().text == "forced\n"


def test_what_keeps_logins_from_starting_follows_the_text(make_user: MakeUser) -> None:
    user = make_user("image: host\nshell: [/bin/no-such-shell]\n")
    done = login(user, "-c", WORD)
    assert done.status == login(user).status == 127
    assert done.text == run([CTL, "show", "--summary", user.name]).text
    assert done.text.startswith("Enters by: ")
    assert "/bin/no-such-shell" in done.errors
