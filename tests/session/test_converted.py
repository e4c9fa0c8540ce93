"""What ``convert`` writes is what a login gets, after the commands that it names."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.host import run
from support.ledger import Ledger
from support.login import inside, login
from support.material import busybox_tree
from support.users import MakeUser, User, Users

CONTROL = "/usr/bin/ssh2containerctl"
UNIT = """\
[Container]
Rootfs={root}
HostName=box-%u
Environment=GREETING="hello there"
Volume={place}/shared:/shared
Volume={place}/shared:/same:ro
Tmpfs=/scratch:size=4m
Network=none
Exec=sh -c 'echo "$GREETING"; hostname; cat /shared/file'
PidsLimit=0

[Service]
Restart=always
"""


@pytest.fixture
def place(ledger: Ledger) -> Iterator[str]:
    path = f"/srv/s2c-converted-{os.getpid()}"
    ledger.note_path(path)
    os.mkdir(path)
    yield path
    run(["rm", "-rf", path]).ok()


@pytest.fixture
def converted(tmp_path: Path, place: str) -> Iterator[Callable[[], str]]:
    """The policy of the unit, after its commands; the image goes with the test."""
    root = busybox_tree(str(tmp_path / "converted"))
    os.symlink("busybox", f"{root}/bin/hostname")
    unit, policy = tmp_path / "lab.container", tmp_path / "lab.yaml"
    unit.write_text(UNIT.format(root=root, place=place), encoding="utf-8")
    images: list[str] = []

    def make() -> str:
        done = run([CONTROL, "convert", str(unit), "--output", str(policy)]).ok()
        commands = done.errors.partition("To do first:\n")[2].splitlines()
        assert len(commands) == 2
        for line in commands:
            words = shlex.split(line.strip().removeprefix("sudo "))
            run(words).ok()
            if words[:3] == ["ssh2containerctl", "image", "import"]:
                images.append(words[3])
        assert "Restart is left out" in done.errors
        return policy.read_text(encoding="utf-8")

    yield make
    for name in images:
        run([CONTROL, "image", "rm", "--force", name]).ok()


def test_a_converted_unit_is_logged_into(
    converted: Callable[[], str], make_user: MakeUser, users: Users, place: str
) -> None:
    user: User = make_user()
    users.write_policy(user, converted())
    assert run([CONTROL, "check", user.policy_file]).ok().text.startswith(("no errors", user.policy_file))
    Path(place, "shared/file").write_text("from the host\n", encoding="ascii")
    os.chown(f"{place}/shared", user.uid, user.gid)
    assert login(user).ok().text == f"hello there\nbox-{user.name}\nfrom the host\n"
    done = inside(user, "echo written >/shared/new; echo no >/same/new; echo x >/scratch/x && echo scratch")
    assert done.text == "scratch\n"
    assert "Read-only file system" in done.errors
    assert sorted(os.listdir(f"{place}/shared")) == ["file", "new"]
