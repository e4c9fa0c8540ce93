"""What a user prepares in places that outlive his session, to lead the next start-up astray."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from support.host import run
from support.ledger import Ledger, remove_path
from support.login import inside, live
from support.users import MakeUser, User

POLICY = """
image: host
volumes:
  - {{type: bind, source: {base}/mine, target: /mine, read_only: false}}
  - {{type: bind, source: {base}/course, target: /mine/course, read_only: true}}
"""


@pytest.fixture
def place(ledger: Ledger, make_user: MakeUser) -> Iterator[tuple[User, str]]:
    """A user with a writable volume, and a read-only one whose mount point lies in it."""
    user = make_user(None)
    base = f"/srv/planted-{user.name}"
    ledger.note_path(base)
    os.mkdir(base, 0o755)
    for name in ("mine", "course"):
        os.mkdir(f"{base}/{name}", 0o755)
    with open(f"{base}/course/lesson", "w", encoding="ascii") as file:
        file.write("one\n")
    os.chown(f"{base}/mine", user.uid, user.gid)
    run(["install", "-m", "644", "/dev/stdin", user.policy_file], POLICY.format(base=base).encode()).ok()
    yield user, base
    remove_path(base)
    remove_path(user.policy_file)


def test_a_mount_point_in_a_volume_works(place: tuple[User, str]) -> None:
    user, _ = place
    assert inside(user, "cat /mine/course/lesson; touch /mine/new").ok().text == "one\n"


@pytest.mark.parametrize(
    "target", ["/etc", "/proc", "/proc/self/ns", "/dev", "/", "..", "/usr/bin", "/nowhere"]
)
def test_a_link_at_a_mount_point_is_refused(place: tuple[User, str], target: str) -> None:
    """CVE-2024-42472, CVE-2021-30465: the mount would go where the link leads."""
    user, base = place
    assert inside(user, "true").ok()
    run(["rm", "-rf", f"{base}/mine/course"]).ok()
    os.symlink(target, f"{base}/mine/course")
    done = inside(user, "echo ran")
    assert (done.status, done.out) == (125, b"")
    assert "symbolic link" in done.errors


@pytest.mark.parametrize("kind", ["file", "fifo", "socket"])
def test_another_kind_of_file_at_a_mount_point_is_refused(place: tuple[User, str], kind: str) -> None:
    user, base = place
    path = f"{base}/mine/course"
    remove_path(path)
    if kind == "file":
        run(["touch", path]).ok()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        run(["python3", "-c", f"import socket; socket.socket(socket.AF_UNIX).bind({path!r})"]).ok()
    done = inside(user, "echo ran")
    assert (done.status, done.out) == (125, b"")
    assert "remove what is at the target" in done.errors


def test_links_that_come_and_go_while_others_log_in(place: tuple[User, str]) -> None:
    """One session swaps the mount point for links without a pause; no other is ever led astray."""
    user, base = place
    genuine = os.stat(f"{base}/course")
    swap = (
        "cd /mine; while :; do mv course c 2>/dev/null; ln -sfn /etc course; rm -f course; "
        "ln -sfn /proc course; rm -f course; mkdir -p course; done"
    )
    # The swapping session has no inner volume: where it is mounted it could not be renamed.
    run(
        ["install", "-m", "644", "/dev/stdin", user.policy_file],
        POLICY.format(base=base).rsplit("  - ", 1)[0].encode(),
    ).ok()
    with live(user) as session:
        session.send(f"({swap}) &")
        run(["install", "-m", "644", "/dev/stdin", user.policy_file], POLICY.format(base=base).encode()).ok()
        for _ in range(40):
            show = "stat -c '%d %i %u' /mine/course || echo 0 0 $(id -u); ls /etc/passwd; ls -d /proc/self"
            done = inside(user, show)
            assert done.status in (0, 125), done
            if done.status == 0:
                # Renamed or removed after it was verified: then the user shows himself what is his own.
                device, inode, owner = map(int, done.text.split()[:3])
                assert (device, inode) == (genuine.st_dev, genuine.st_ino) or owner == user.uid
                assert "/etc/passwd" in done.text
                assert "/proc/self" in done.text
            else:
                assert done.out == b""


@pytest.mark.parametrize("where", ["source", "parent"])
def test_a_source_below_a_users_directory_that_became_a_link(
    make_user: MakeUser, host_directory: Callable[[User], str], where: str
) -> None:
    """CVE-2026-34078 and its like: the user swaps what the policy names for a link to what it does not."""
    user = make_user(None)
    directory = host_directory(user)
    source = f"{directory}/a/b"
    os.makedirs(source)
    run(["chown", "-R", user.name, directory]).ok()
    policy = f"image: host\nvolumes: ['{source}:/given:ro']\n"
    run(["install", "-m", "644", "/dev/stdin", user.policy_file], policy.encode()).ok()
    assert inside(user, "ls -d /given").ok()
    victim = source if where == "source" else os.path.dirname(source)
    os.rename(victim, victim + ".away")
    os.symlink("/etc/ssh2container" if where == "source" else "/etc", victim)
    done = inside(user, "ls /given")
    assert (done.status, done.out) == (126, b"")
    remove_path(user.policy_file)


def test_an_image_s_links_at_mount_points_lead_nowhere(ledger: Ledger, make_user: MakeUser) -> None:
    """A hostile image has links where the container mounts proc, dev, etc and tmp: ours cover them."""
    tree, name = "/var/tmp/s2c-hostile-image", "hostile-links"
    ledger.note_path(tree)
    os.makedirs(f"{tree}/bin", exist_ok=True)
    run(["cp", "/bin/busybox", f"{tree}/bin/busybox"]).ok()
    os.symlink("busybox", f"{tree}/bin/sh")
    for path in ("proc", "dev", "etc", "tmp", "run", "home", "var"):
        os.symlink("/host-of-the-attacker", f"{tree}/{path}")
    try:
        imported = run(["ssh2containerctl", "image", "import", name, tree])
        if imported.status:
            assert "Traceback" not in imported.errors
            return
        user = make_user(f"image: {name}\nshell: [/bin/sh]\n")
        done = inside(user, "busybox ls -ld /proc /dev /etc /tmp /run; busybox cat /proc/self/mounts")
        assert done.ok()
        assert "host-of-the-attacker" not in done.text
    finally:
        run(["ssh2containerctl", "image", "rm", "--force", name])
        remove_path(tree)
