"""What each shipped profile lets a client do: ten actions each, tried by policy tests in real sessions."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.host import run
from support.images import grant, ranged_image
from support.login import inside
from support.users import MakeUser, User

CONTROL = "/usr/bin/ssh2containerctl"
KEPT = "home: {source: /srv/s2c-%u}\n"
"""A home on the host, for profiles that are about files."""

PROFILES: dict[str, tuple[str, str]] = {
    "shell": (
        "",
        """
        can: [login, run true, "run echo a; true", sftp put x.txt, sftp get /etc/hostname, scp put y.txt,
              rsync get /etc/hostname, write /tmp/x]
        cannot: [write /usr/x, "connect 127.0.0.1:PORT"]
        """,
    ),
    "transfer-only": (
        KEPT,
        """
        can: [sftp put a.txt, sftp get /etc/hostname, sftp list /, scp put b.txt, scp get /etc/hostname,
              rsync put c.txt, rsync get /etc/hostname]
        cannot: [login, run true, "run rsync --version; true"]
        """,
    ),
    "sftp-drop": (
        KEPT,
        """
        can: [sftp put a.txt, sftp mkdir d]
        cannot: [sftp list ., sftp get /etc/hostname, sftp remove b.txt, sftp rename c.txt, scp put e.txt,
                 rsync put f.txt, login, run true]
        """,
    ),
    "sftp-readonly": (
        KEPT,
        """
        can: [sftp list ., sftp get /etc/hostname]
        cannot: [sftp put a.txt, sftp remove b.txt, sftp rename c.txt, sftp mkdir d, scp get /etc/hostname,
                 rsync get /etc/hostname, login, run true]
        """,
    ),
    "git-only": (
        "volumes: [/srv/s2c-%u:/git:rw]\n",
        """
        can: [git fetch /git/r.git, git push /git/r.git]
        cannot: [git fetch /git/none.git, login, run true, run git --version,
                 "run git-upload-pack '/git/r.git'; true", sftp list /, scp get /etc/hostname,
                 rsync get /etc/hostname]
        """,
    ),
    "lab": (
        KEPT,
        """
        can: [login, run ls -l, sftp put a.txt, sftp remove b.txt, sftp rename c.txt, scp put d.txt,
              rsync put e.txt, write /home/USER/f.txt]
        cannot: [write /usr/x, "connect 127.0.0.1:PORT"]
        """,
    ),
    "editor": (
        KEPT + "linger: 0s\n",  # no later than the test
        """
        can: [login, run true, sftp put a.txt, sftp rename b.txt, scp put c.txt, rsync put d.txt,
              write /home/USER/e.txt, execute /usr/bin/ssh]
        cannot: [write /usr/x, "connect 127.0.0.1:PORT"]
        """,
    ),
    "exam": (
        KEPT + "container_per: session\nlinger: 0s\n",
        """
        can: [write /tmp/x, write /home/USER/x]
        cannot: [login, run true, sftp put a.txt, sftp get /etc/hostname, scp get /etc/hostname,
                 rsync put b.txt, "connect 127.0.0.1:PORT", write /usr/x]
        """,
    ),
    "bastion": (
        "",
        """
        can: [login, execute /usr/bin/ssh, "connect 127.0.0.1:PORT", write /tmp/x]
        cannot: [run true, sftp list /, sftp put a.txt, scp get /etc/hostname, rsync get /etc/hostname,
                 write /usr/x]
        """,
    ),
    "locked-down": (
        "",
        """
        can: [login, write /tmp/x, read /etc/passwd, execute /bin/sh]
        cannot: [run true, sftp list /, scp get /etc/hostname, rsync get /etc/hostname, git fetch /x,
                 "connect 127.0.0.1:PORT"]
        """,
    ),
    "developer": (
        "image: IMAGE\n",
        """
        can: [login, "run test $(id -u) = 0", sftp put a.txt, scp put b.txt, rsync put c.txt,
              write /root/d.txt, write /usr/x, write /etc/x]
        cannot: [write /proc/sys/kernel/core_pattern, "connect 127.0.0.1:PORT"]
        """,
    ),
}


@pytest.fixture
def port() -> Iterator[int]:
    """A port of the host's loopback address at which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """An image of the store, for the profile that needs one."""
    with ranged_image() as name:
        yield name


def results(path: Path, tests: str) -> list[dict[str, object]]:
    path.write_text(tests)
    done = subprocess.run([CONTROL, "test", "--json", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)["results"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_does_what_its_table_says(
    profile: str,
    make_user: MakeUser,
    host_directory: Callable[[User], str],
    tmp_path: Path,
    port: int,
    image: str,
) -> None:
    extra, table = PROFILES[profile]
    user = make_user(f"extends: [{profile}]\n{extra.replace('IMAGE', image)}")
    grant(user)
    directory = host_directory(user)
    if profile == "git-only":
        run(["git", "init", "-q", "--bare", f"{directory}/r.git"]).ok()
        run(["chown", "-R", f"{user.uid}:{user.gid}", directory]).ok()
    before = sorted(path.name for path in Path(directory).rglob("*"))
    table = table.replace("PORT", str(port)).replace("USER", user.name)
    found = results(tmp_path / "t.yaml", f"{user.name}:\n{table}")
    assert [
        f"{one['action']} {one['argument']}: {one['reason']}" for one in found if one["result"] != "kept"
    ] == []
    assert len(found) == 10
    assert sorted(path.name for path in Path(directory).rglob("*")) == before, "tests tidy up"


def test_promises_that_are_broken_are_told(make_user: MakeUser, tmp_path: Path) -> None:
    user = make_user("access: {sftp: false}\n")
    tests = f"{user.name}:\n  can: [sftp list /, read /none, run exit 3]\n  cannot: [login]\n"
    found = results(tmp_path / "t.yaml", tests)
    assert [one["result"] for one in found] == ["broken"] * 4
    assert "sftp is not allowed" in str(found[0]["reason"])
    assert "No such file" in str(found[1]["reason"])


def test_what_cannot_be_tried_is_an_error_and_no_proof(make_user: MakeUser, tmp_path: Path) -> None:
    """Were a refused session a proof, a user without any could do nothing wrong."""
    user = make_user("volumes: [/srv/none-of-this:/x:ro]\n")
    found = results(
        tmp_path / "t.yaml", f"{user.name}: {{cannot: [read /x/y]}}\nnobody-here: {{cannot: [login]}}\n"
    )
    assert [one["result"] for one in found] == ["error", "error"]


def test_a_test_overwrites_nothing(
    make_user: MakeUser, host_directory: Callable[[User], str], tmp_path: Path
) -> None:
    user = make_user(KEPT)
    kept = Path(host_directory(user)) / "mine.txt"
    kept.write_text("precious")
    found = results(tmp_path / "t.yaml", f"{user.name}: {{can: [sftp put mine.txt, sftp remove mine.txt]}}\n")
    assert [one["result"] for one in found] == ["error", "error"]
    assert kept.read_text() == "precious"


def test_policies_of_a_work_tree_are_tested_without_being_installed(
    make_user: MakeUser, tmp_path: Path
) -> None:
    user = make_user("access: {sftp: false}\n")
    tree = tmp_path / "tree"
    (tree / "users").mkdir(parents=True)
    tree.chmod(0o700)  # the user cannot get there
    policy = tree / "users" / f"{user.name}.yaml"
    policy.write_text("access: {sftp: true, commands: none}\n")
    path = tmp_path / "t.yaml"
    path.write_text(f"{user.name}:\n  can: [sftp list /, read /etc/passwd]\n  cannot: [run true]\n")
    command = [CONTROL, "test", "--policies", str(tree), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kept, 0 not" in done.stdout
    policy.write_text("imag: x\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f'{policy}:1:1: unknown key "imag"' in done.stdout, "not the copy's name"
    done = subprocess.run([*command, "--user", "alcie"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no policy test is about alcie" in done.stderr


def test_a_listed_command_finds_its_files_inside(make_user: MakeUser) -> None:
    """No shell runs that could expand the pattern, and what is quoted is no pattern."""
    user = make_user("access: {commands: [ls]}\n")
    for command, expected in (
        ("ls -d /etc/host*", "/etc/hostname\n/etc/hosts\n"),
        ("ls -d ~", f"{user.home}\n"),
        ("ls -d '/etc/host*'", ""),
    ):
        arguments = [CONTROL, "try", "--user", user.name, "--", command]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert done.stdout == expected, done.stderr
    refused = subprocess.run([*arguments[:-1], "ls; id"], capture_output=True, text=True, check=False)
    assert refused.returncode == 126
    assert "; outside quotes needs a shell" in refused.stderr
    assert "allowed: ls" in refused.stderr


def test_patterns_that_multiply_are_ended_before_they_cost_anything(make_user: MakeUser) -> None:
    """Each ``*/..`` names the same directories once more: of ten, ten times over, there are ten billion."""
    user = make_user("access: {commands: [echo]}\n")
    pattern = "/usr/" + "*/../" * 10 + "*"
    done = inside(user, f"echo {pattern}")
    assert done.status == 125
    assert "Argument list too long" in done.errors
    assert inside(user, "echo /usr/*/../bin").ok().text.split()[:1] == ["/usr/bin/../bin"]
