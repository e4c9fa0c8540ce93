"""``userns_mode: own_range``: a system's users under ids that no other user has, by an idmapped mount."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.enabling import enabling
from support.host import run
from support.login import finish, login, start
from support.material import busybox_tree
from support.users import MakeUser, User

from ssh2container.admin.accounts.grants import own_range
from ssh2container.admin.images.ids import set_aside
from ssh2container.admin.images.store import gc
from ssh2container.admin.images.store.store import Store
from ssh2container.plan.image import Image
from ssh2container.plan.ranges import OWN_TREES

CONTROL = "/usr/bin/ssh2containerctl"


@pytest.fixture(scope="module")
def image(module_directory: Callable[[str], Path]) -> Iterator[str]:
    tree = busybox_tree(str(module_directory("tree")))
    Path(tree, "etc/secret").write_text("root's\n")
    os.chmod(f"{tree}/etc/secret", 0o600)
    name = "own-" + secrets.token_hex(3)
    run([CONTROL, "image", "import", "--range", name, tree]).ok()
    yield name
    run([CONTROL, "image", "rm", "--force", name]).ok()


@pytest.fixture
def enabled(image: str, make_user: MakeUser) -> Iterator[Callable[..., User]]:
    """Users with ids of their own, by ``enable``; without, the mount is not made."""
    made: list[User] = []
    with enabling() as contain:

        def make(more: str = "", *, enable: bool = True) -> User:
            text = f"image: {image}\nuserns_mode: own_range\nuser: root\nshell: [/bin/sh]\n{more}"
            made.append(make_user(policy=text))
            return contain(made[-1]) if enable else made[-1]

        yield make
    for user in made:
        assert not os.path.exists(f"{OWN_TREES}/{user.uid}")


def inside(user: User, script: str) -> list[str]:
    done = login(user, "-c", script)
    assert done.status == 0, done.err
    return done.out.decode().splitlines()


def outside(user: User) -> int:
    """The host's id of root inside."""
    return int(inside(user, "busybox head -n1 /proc/self/uid_map")[0].split()[1])


def test_no_two_users_share_an_id(enabled: Callable[..., User]) -> None:
    """Each has the range that /etc/subuid gives him alone, and the image's owners are right in it."""
    users = [enabled() for _ in range(2)]
    shared = set_aside()
    assert shared is not None
    bases = [outside(user) for user in users]
    assert len({*bases, shared.base}) == 3
    assert [own.base for user in users if (own := own_range(user.name))] == bases
    for user in users:
        assert inside(user, "id -u; stat -c %u:%g /etc/secret /bin; cat /etc/secret") == [
            "0", "0:0", "0:0", "root's"
        ]  # fmt: skip


def test_root_changes_the_whole_tree_and_the_image_stays(enabled: Callable[..., User], image: str) -> None:
    user = enabled()
    script = (
        "echo more >>/etc/secret && cat /etc/secret && busybox rm -r /usr && busybox mkdir /usr && "
        "ls /usr && busybox chown 1000:1000 /etc/group && stat -c %u /etc/group"
    )
    assert inside(user, script) == ["root's", "more", "1000"]
    assert inside(user, "cat /etc/secret; stat -c %u /etc/group") == ["root's", "0"]
    found = Image.find(image)
    os.close(found.lock)
    assert os.stat(f"{Store().shifted_trees}/{found.require_range()}/etc/group").st_uid == found.range_base


def test_a_home_that_stays_is_roots_inside(
    enabled: Callable[..., User], host_directory: Callable[[User], str]
) -> None:
    """What root and other users of the session leave there has ids that are the user's alone."""
    user = enabled("home: {source: /srv/s2c-%u}\n", enable=False)
    directory = host_directory(user)
    os.chmod(directory, 0o700)
    run([CONTROL, "enable", user.name]).ok()
    try:
        base = outside(user)
        inside(user, "cd /root; echo x >f; echo y >g; busybox chown 33:33 g; busybox chmod 4755 g")
        owners = {name: os.stat(f"{directory}/{name}") for name in ("f", "g")}
        assert [owners[name].st_uid for name in ("f", "g")] == [base, base + 33]
        assert inside(user, "stat -c %u:%g /root/f /root/g /root") == ["0:0", "33:33", "1001:1001"]
        assert inside(user, "busybox mount | busybox grep ' /root ' | busybox grep -c nosuid") == ["1"]
    finally:
        run([CONTROL, "disable", user.name]).ok()


def test_the_hosts_network_goes_with_it(enabled: Callable[..., User]) -> None:
    user = enabled("network_mode: host\n")
    (ours,) = inside(user, "busybox readlink /proc/self/ns/net")
    assert ours == os.readlink("/proc/self/ns/net")


def test_without_the_mount_the_policy_is_refused_with_the_remedy(enabled: Callable[..., User]) -> None:
    user = enabled(enable=False)
    done = login(user, "-c", "true")
    assert done.status == 126
    assert f"ssh2containerctl enable {user.name}".encode() in done.err
    assert done.err.count(b"\n") == 1


def test_a_forged_view_is_not_taken(enabled: Callable[..., User], image: str) -> None:
    """A directory that shows the image under other ids than the user's is as good as none."""
    user = enabled()
    base = outside(user)
    run(["umount", f"{OWN_TREES}/{user.uid}/{base}"]).ok()
    found = Image.find(image)
    os.close(found.lock)
    fake = f"{OWN_TREES}/{user.uid}/{base}/{found.require_range()}"
    os.makedirs(fake)
    assert login(user, "-c", "true").status == 126
    run(["rm", "-r", fake]).ok()


def test_after_a_boot_the_view_is_made_again_and_new_images_are_in_it(
    enabled: Callable[..., User], tmp_path: Path
) -> None:
    user = enabled()
    run(["umount", f"{OWN_TREES}/{user.uid}/{outside(user)}"]).ok()
    assert login(user, "-c", "true").status == 126
    done = run([CONTROL, "enable", "--runtime"]).ok()
    assert f"show {user.name} the images" in done.text
    name = "own-" + secrets.token_hex(3)
    tree = busybox_tree(str(tmp_path / "tree"))
    Path(tree, "new").write_text("")
    run([CONTROL, "image", "import", "--range", name, tree]).ok()
    try:
        text = Path(user.policy_file).read_text().splitlines()
        Path(user.policy_file).write_text("\n".join([f"image: {name}", *text[1:]]) + "\n")
        assert inside(user, "stat -c %u /new") == ["0"]
    finally:
        run([CONTROL, "image", "rm", "--force", name]).ok()


def test_gc_sees_a_session_in_it(enabled: Callable[..., User], image: str) -> None:
    """The lower layer that such a session names lies elsewhere; it is the same version all the same."""
    user = enabled()
    found = Image.find(image)
    os.close(found.lock)
    store = Store()
    text = Path(user.policy_file).read_text()
    session = start(user, "-c", "echo started; cat")
    try:
        assert session.stdout is not None
        assert session.stdout.readline() == b"started\n"
        record = os.readlink(f"{store.path}/names/{image}")
        os.unlink(f"{store.path}/names/{image}")
        try:
            Path(user.policy_file).write_text("image: host\n")
            fates = {fate.version.digest: fate.kept for fate in gc.collect(store, dry_run=True)}
        finally:
            os.symlink(record, f"{store.path}/names/{image}")
            Path(user.policy_file).write_text(text)
    finally:
        assert finish(session, b"").status == 0
    assert fates[found.digest] == "a session runs in it"


def test_explain_says_what_it_costs(enabled: Callable[..., User]) -> None:
    user = enabled()
    text = run([CONTROL, "explain", user.name, "--", "true"], env={**os.environ, "COLUMNS": "300"}).ok().text
    assert "one more mount on the host" in text
    assert str(outside(user)) in text
