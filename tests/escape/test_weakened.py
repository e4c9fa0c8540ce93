"""Probes that look at more than the session itself see a weakness that is planted where they look.

A session is weakened by a line of Python that its process runs first; the product itself offers no such way.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.host import children, run
from support.images import grant, ranged_image
from support.ledger import CACHE, Ledger, remove_path
from support.material import busybox_tree
from support.users import MakeUser, User

from ssh2container.admin.images.ids import set_aside
from ssh2container.admin.sessions.live import Live as Entered
from ssh2container.admin.terminal import pairs
from ssh2container.admin.verify import entered, lifecycle, report
from ssh2container.admin.verify.sessions import Starter
from ssh2container.admin.verify.verdicts import Escaped

_PROGRAM = """
import os, sys
sys.path.insert(0, os.path.realpath("/usr/lib/ssh2container/current"))
from ssh2container.admin.verify import session
session.PROBES = tuple(probe for probe in session.PROBES if probe.name in {names!r})
{weaken}
session.main({{scenario!r}}, {{helper!r}})
"""
PARTNER = "no partner outside changes what sessions of a range execute"
RECORDINGS = "the recordings are out of the session's reach"
SOCKETS = "no socket takes entries for a log"
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441


def starter(user: User, *names: str, weaken: str = "") -> Starter:
    """Starts verifications of the installed product with these probes alone."""
    return Starter(user.name, _PROGRAM.format(names=names, weaken=weaken))


def rows(user: User, *names: str, weaken: str = "") -> list[tuple[str, str]]:
    """Result and key of each of the probes ``names``."""
    found = {row["name"]: row for row in report.inside(starter(user, *names, weaken=weaken))}
    return [(found[name]["result"], found[name]["key"]) for name in names]


def test_a_tree_that_its_owners_can_change(make_user: MakeUser, ledger: Ledger) -> None:
    """Seen through a mount that nobody sealed, root of the range outside makes a program set-user-ID."""
    shared = set_aside()
    assert shared is not None
    weak = f"{CACHE}/weak-tree"
    ledger.note_path(weak)
    busybox_tree(weak)
    subprocess.run(["chown", "-hR", f"{shared.base}:{shared.base}", weak], check=True)
    try:
        with ranged_image() as image:
            user = make_user(f"image: {image}\nuserns_mode: range\nuser: root\n")
            grant(user)
            assert rows(user, PARTNER) == [("pass", "")]
            weaken = (
                "from ssh2container.admin.verify import surroundings\n"
                "Range = surroundings.Range\n"
                f"weak = Range({shared.base}, {shared.count}, {weak!r}, own=False)\n"
                "class Weak:\n"
                "    observe = staticmethod(lambda *given: weak)\n"
                "surroundings.Range = Weak"
            )
            assert rows(user, PARTNER, weaken=weaken) == [("fail", "")]
    finally:
        remove_path(weak)


def test_recordings_that_the_session_can_lead_elsewhere(
    make_user: MakeUser, host_directory: Callable[[User], str]
) -> None:
    user = make_user(None)
    place = Path(host_directory(user))
    (place / "home/seen/by/me").mkdir(parents=True)
    (place / "apart").mkdir()
    run(["chown", "-R", user.name, str(place)]).ok()
    policy = (
        "image: host\nhome: {{source: {0}/home}}\n"
        "record: {{terminal: true, to: user_directory, directory: {0}/{1}}}\n"
    )
    Path(user.policy_file).write_text(policy.format(place, "apart"), encoding="ascii")
    assert rows(user, RECORDINGS) == [("pass", "")]
    for directory in ("home/seen/by/me", "home/seen/later"):
        Path(user.policy_file).write_text(policy.format(place, directory), encoding="ascii")
        with pytest.raises(Exception, match="no session could be opened"):
            rows(user, RECORDINGS)
        weaken = (
            "from ssh2container.policy import rules\nrules.recordings_in_reach = lambda policy: iter(())\n"
            "rules.require_recordings_apart = lambda *given: None"
        )
        assert rows(user, RECORDINGS, weaken=weaken) == [("fail", "")]
    os.unlink(user.policy_file)


def test_a_socket_of_a_log_that_the_policy_brings_in(
    make_user: MakeUser, host_directory: Callable[[User], str]
) -> None:
    """Under the name of a log and under another: the key is named that opens the way."""
    user = make_user(None)
    place = host_directory(user)
    named = "an entry in the host's log by /run/log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(f"{place}/log")
        os.chmod(f"{place}/log", 0o666)
        for target, results in (("/run/log", [named, SOCKETS]), ("/srv/some", [SOCKETS])):
            text = f"image: host\nvolumes: ['{place}/log:{target}:rw']\n"
            Path(user.policy_file).write_text(text, encoding="ascii")
            assert rows(user, *results) == [("expected-by-policy", "volumes")] * len(results)
        assert log.recv(4096)
        Path(user.policy_file).write_text("image: host\n", encoding="ascii")
        assert rows(user, named, SOCKETS) == [("pass", "")] * 2
    os.unlink(user.policy_file)


def test_what_a_session_leaves_for_the_next_one(
    make_user: MakeUser, host_directory: Callable[[User], str]
) -> None:
    """A file of the kept home stands for one of an image that is not the session's own."""
    user = make_user(None)
    place = Path(host_directory(user))
    (place / "program").write_text("true\n", encoding="ascii")
    os.chown(place / "program", user.uid, user.gid)
    Path(user.policy_file).write_text(f"image: host\nhome: {{source: {place}}}\n", encoding="ascii")
    (probe,) = (probe for probe in lifecycle.PROBES if "the next one does not see" in probe.name)
    assert "for itself alone" in probe.attempt(starter(user))
    weaken = (
        "from ssh2container.admin.verify import scenarios\n"
        f"scenarios.OF_THE_IMAGE = ({user.home + '/program'!r},)"
    )
    with pytest.raises(Escaped, match="the image was"):
        probe.attempt(starter(user, weaken=weaken))
    os.unlink(user.policy_file)


def test_a_terminal_of_exec_that_the_session_can_open(
    make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the container's own, as any program there could have made it."""
    user = make_user()
    (probe,) = entered.PROBES
    assert "none opened" in probe.attempt(starter(user))
    monitors: list[int] = []
    spied_on = entered._spied_on

    def remembered(live: lifecycle.Live, one: Entered) -> str:
        monitors.append(one.monitor.pid)
        return spied_on(live, one)

    def open_pair(_: int) -> tuple[int, int]:
        (init,) = children(monitors[-1])
        master = os.open(f"/proc/{init.pid}/root/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
        fcntl.ioctl(master, _TIOCSPTLCK, bytes(4))
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
        os.fchown(slave, user.uid, user.gid)
        return master, slave

    monkeypatch.setattr(entered, "_spied_on", remembered)
    monkeypatch.setattr(pairs, "open_pair", open_pair)
    with pytest.raises(Escaped, match="open /dev/pts/0"):
        probe.attempt(starter(user))
