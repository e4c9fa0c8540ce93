"""Accounts that are open at some hours: real logins, by the host's clock and hours that lie around now."""

from __future__ import annotations

import json
import signal
import time

from support.host import processes, run, until
from support.login import finish, inside, live, start
from support.outer import outer
from support.syslog import Syslog
from support.users import MakeUser, User

CTL = "ssh2containerctl"
GRACE = "image: host\nstop_grace_period: 1s\nsessions: {warn_before: 4s}\n"
SOON_S = 8
"""Long enough to have begun by then, on a busy machine too."""


def clock(ahead_s: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(time.time() + ahead_s))


def date(ahead_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + ahead_s))


def around(since_s: float, until_s: float) -> str:
    return f'access: {{hours: "daily {clock(since_s)}-{clock(until_s)} UTC", message: Ask the desk.}}\n'


def test_a_login_outside_the_hours_is_refused_and_told_when(make_user: MakeUser, syslog: Syslog) -> None:
    user = make_user("image: host\n" + around(3600, 7200))
    for arguments in ((), ("-c", "true"), ("-c", "internal-sftp")):
        done = finish(start(user, *arguments))
        assert done.status == 126
        assert b"uid=" not in done.out
        (line,) = done.errors.splitlines()
        assert line.startswith("ssh2container: this account is closed now: it opens to")
        assert line.endswith(" UTC; Ask the desk.")
    syslog.wait(lambda r: user.name in r and 'step="hours"' in r, "the refusal is recorded")
    explained = run([CTL, "explain", user.name])
    assert explained.status == 126
    assert "this account is closed now: it opens to" in explained.errors
    later = run([CTL, "explain", "--at", date(5400), user.name, "--json"]).ok()
    meanwhile = {one["key"]: one["describe"] for one in json.loads(later.text)["meanwhile"]}
    assert " UTC: ask it to end" in meanwhile["access.hours"]


def test_hours_do_not_make_a_policy_unsound(make_user: MakeUser) -> None:
    """At night nobody is let in, and neither ``check`` nor ``enable`` says that logins are broken."""
    user = make_user("image: host\n" + around(3600, 7200))
    run([CTL, "check", user.policy_file]).ok()
    run([CTL, "disable", user.name]).ok()
    run([CTL, "enable", user.name]).ok()


def test_an_account_that_has_closed_says_so(make_user: MakeUser) -> None:
    user = make_user(f'access: {{until: "{date(-5)}"}}\n')
    done = finish(start(user, "-c", "true"))
    assert done.status == 126
    assert "this account is closed: its time ended to" in done.errors
    checked = run([CTL, "check", user.policy_file])
    assert "the account has closed: every login is refused" in checked.text + checked.errors


def test_a_terminal_is_warned_and_ended_with_the_hours(make_user: MakeUser, syslog: Syslog) -> None:
    user = make_user(GRACE + around(-60, SOON_S))
    with outer(user, "-c", "echo ready; while :; do echo busy; sleep 0.2; done") as session:
        session.expect(b"ready")
        session.expect(b"\a\r\nssh2container: this session ends in ")
        session.expect(b": this account closes at ")
        session.expect(b"this session ends now")
        assert session.ended() in (-signal.SIGHUP, -signal.SIGTERM)
    syslog.wait(lambda r: user.name in r and "event=close" in r and 'reason="hours"' in r, "the end")
    assert finish(start(user, "-c", "true")).status == 126


def test_a_command_ends_with_the_account(make_user: MakeUser, syslog: Syslog) -> None:
    user = make_user(f'{GRACE}access: {{until: "{date(SOON_S)}"}}\n')
    done = finish(start(user, "-c", "echo out; exec sleep 1000"))
    assert done.out == b"out\n"
    assert done.status == -signal.SIGHUP
    assert "ssh2container: this session ends now: this account closes at " in done.errors
    syslog.wait(lambda r: user.name in r and "event=close" in r and 'reason="until"' in r, "the end")


def test_the_earlier_of_duration_and_hours_ends_it(make_user: MakeUser) -> None:
    user = make_user(GRACE.replace("{", "{max_duration: 3s, ") + around(-60, 600))
    done = finish(start(user, "-c", "exec sleep 1000"))
    assert "this session ends now: a session may last 3 seconds" in done.errors


def test_a_shared_container_ends_with_the_hours_whoever_is_in_it(make_user: MakeUser, syslog: Syslog) -> None:
    """Jobs that outlive their login do not outlive the hours; nobody is told that somebody else ended it."""
    user = make_user(f"{GRACE}container_per: user\nlinger: 1h\n{around(-60, SOON_S)}")
    inside(user, "sleep 4711 >/dev/null 2>&1 </dev/null &").ok()
    (container,) = listed(user)
    with live(user) as session:
        session.ask("true")
        assert session.ended() == -signal.SIGHUP
        assert "this session ends now: this account closes at " in session.errors()
    until(lambda: not processes(user.uid), "nothing of the user runs any more")
    assert not listed(user)
    syslog.wait(lambda r: container in r and "event=container-close" in r, "the end of the container")


def listed(user: User) -> list[str]:
    found = json.loads(run([CTL, "sessions", "--json", user.name]).ok().text)["containers"]
    return [container["id"] for container in found]
