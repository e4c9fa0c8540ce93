"""A kept home below the user's own is made by the first login, with the user's own rights."""

from __future__ import annotations

import os

from support.host import run
from support.login import finish, login, start
from support.users import MakeUser

POLICY = "image: host\nhome: {source: '%h/box', skel: /etc/skel}\n"


def test_the_first_login_makes_and_fills_it(make_user: MakeUser) -> None:
    """It belongs to the user alone, has what skel has, and is there at the next login."""
    user = make_user(policy=POLICY)
    box = f"{user.home}/box"
    assert not os.path.exists(box)
    assert login(user, "-c", "echo kept >note && ls -A").ok().text.split() == sorted(
        [*os.listdir("/etc/skel"), "note"]
    )
    made = os.stat(box)
    assert (made.st_uid, made.st_mode & 0o777) == (user.uid, 0o700)
    assert os.listdir(user.home).count("box") == len(
        [n for n in os.listdir(user.home) if n.startswith("box")]
    )
    assert login(user, "-c", "cat note").ok().text == "kept\n"


def test_two_first_logins_at_once(make_user: MakeUser) -> None:
    """One makes it, the other uses it; neither fails."""
    user = make_user(policy=POLICY)
    sessions = [start(user, "-c", "cat ~/.profile >/dev/null && pwd") for _ in range(4)]
    for session in sessions:
        assert finish(session, b"").ok().text == f"{user.home}\n"
    assert [name for name in os.listdir(user.home) if name.startswith("box")] == ["box"]


def test_explain_makes_nothing(make_user: MakeUser) -> None:
    """Looking at the plan leaves the user's home as it is, and says what the login will say."""
    user = make_user(policy=POLICY)
    done = run(["/usr/bin/ssh2containerctl", "explain", user.name, "--", "true"]).ok()
    assert f"open the source {user.home}/box of home, writable" in done.text
    assert not os.path.exists(f"{user.home}/box")
