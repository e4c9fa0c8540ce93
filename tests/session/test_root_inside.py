"""``user: root`` as an administrator writes it, with nothing beside it: a root who can change the system."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.enabling import enabling
from support.host import Done, run
from support.ledger import Ledger, remove_path
from support.login import login
from support.material import busybox_tree
from support.tracing import strace
from support.users import MakeUser, User

from ssh2container.admin.images.ids import set_aside
from ssh2container.admin.images.store.store import Store
from ssh2container.admin.mountpoints import is_mount_point
from ssh2container.plan.ranges import SHARED_TREES

CONTROL = "/usr/bin/ssh2containerctl"
PROGRAMS = (
    "apt-config", "apt-get", "cat", "chmod", "chown", "dpkg", "dpkg-deb", "dpkg-query", "dpkg-split", "gzip",
    "id", "ldconfig", "mkdir", "rm", "sh", "start-stop-daemon", "stat", "tar", "touch", "useradd", "xz",
)  # fmt: skip
"""What an image needs for its own package manager to work, and what the test looks with."""
DIRECTORIES = (
    "/etc/apt/apt.conf.d", "/etc/apt/preferences.d", "/etc/apt/sources.list.d", "/etc/apt/trusted.gpg.d",
    "/var/cache/apt/archives/partial", "/var/lib/apt/lists/partial", "/var/lib/dpkg/info",
    "/var/lib/dpkg/triggers", "/var/lib/dpkg/updates", "/var/log/apt",
)  # fmt: skip


@pytest.fixture
def enabled(make_user: MakeUser) -> Iterator[Callable[[str], User]]:
    """Users with this policy, by ``enable`` and nothing else."""
    with enabling() as enable:
        yield lambda policy: enable(make_user(policy=policy))


@pytest.fixture
def image(tmp_path: Path) -> Iterator[str]:
    """An image as ``image import`` leaves it: without a tree for a range of ids."""
    tree = busybox_tree(str(tmp_path / "tree"))
    Path(tree, "unique").write_text(secrets.token_hex(8), encoding="ascii")
    name = "plain-" + secrets.token_hex(3)
    run([CONTROL, "image", "import", name, tree]).ok()
    yield name
    run([CONTROL, "image", "rm", "--force", name]).ok()


@pytest.fixture(scope="module")
def debian() -> Iterator[str]:
    """An image with a Debian's package manager, from this host's own files."""
    if not os.path.exists("/usr/bin/apt-get"):
        pytest.skip("this host has no apt-get")
    name = "apt-" + secrets.token_hex(3)
    words = [word for program in PROGRAMS for word in ("--with", program)]
    words += ["--with", "/usr/lib/apt", "--with", "/usr/share/dpkg"]
    run([CONTROL, "image", "build", "host-tools", "--name", name, *words]).ok()
    script = f"mkdir -p {' '.join(DIRECTORIES)} && touch /var/lib/dpkg/status"
    run([CONTROL, "image", "edit", name, "--no-network", "--yes", "--", "/bin/sh", "-c", script]).ok()
    yield name
    run([CONTROL, "image", "rm", "--force", name]).ok()


@pytest.fixture(scope="module")
def package(ledger: Ledger, module_directory: Callable[[str], Path]) -> Iterator[str]:
    """A directory with a package that brings a file of root's, and a user by its maintainer script."""
    tree = module_directory("package") / "greeter"
    files = {
        "DEBIAN/control": "Package: greeter\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y>\n"
        "Description: greets\n",
        "DEBIAN/postinst": "#!/bin/sh\nset -e\nuseradd --system --no-create-home greeter\n"
        "chown greeter /var/lib/greeter\n",
        "usr/bin/greeter": "#!/bin/sh\necho hello from a package\n",
        "var/lib/greeter/data": "",
    }
    for path, text in files.items():
        place = tree / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="ascii")
        place.chmod(0o644 if path.endswith(("control", "data")) else 0o755)
    directory = "/srv/s2c-packages-" + secrets.token_hex(3)
    ledger.note_path(directory)
    os.mkdir(directory)
    run(["dpkg-deb", "--build", "--root-owner-group", str(tree), f"{directory}/greeter.deb"]).ok()
    yield directory
    remove_path(directory)


@pytest.mark.parametrize("more", ["", "userns_mode: range\n"])
def test_root_installs_packages(debian: str, package: str, enabled: Callable[[str], User], more: str) -> None:
    """apt-get with a package file: its files are root's, its script makes a user and gives away."""
    user = enabled(f"image: {debian}\nuser: root\n{more}volumes: ['{package}:/packages:ro']\n")
    script = (
        "apt-get install --yes /packages/greeter.deb >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }; greeter; "
        "stat -c %U:%G:%a /usr/bin/greeter; stat -c %U /var/lib/greeter; id -u greeter >/dev/null && "
        "dpkg-query -W greeter"
    )
    done = login(user, "-c", script)
    assert done.status == 0, done.out + done.err
    assert done.out.decode().splitlines() == [
        "hello from a package",
        "root:root:755",
        "greeter",
        "greeter\t1",
    ]
    assert login(user, "-c", "greeter").status == 127, "gone at logout"


def base_of(user: User) -> int:
    done = login(user, "-c", "busybox head -n1 /proc/self/uid_map")
    assert done.status == 0, done.err
    return int(done.out.split()[1])


def test_enable_chooses_ids_of_the_users_own_where_the_host_can(
    image: str, enabled: Callable[[str], User]
) -> None:
    """Nobody wrote userns_mode; the tree that the image lacked is made by the way."""
    assert not Store().version(image).info["range"][1]
    user = enabled(f"image: {image}\nuser: root\nshell: [/bin/sh]\n")
    shared = set_aside()
    assert shared is not None
    assert base_of(user) != shared.base
    assert login(user, "-c", "busybox touch /etc/new && busybox rm -r /usr").status == 0
    assert f"{user.name}:{shared.base}:" not in Path("/etc/subuid").read_text(encoding="ascii")


def test_users_of_an_image_need_no_word_more(image: str, enabled: Callable[[str], User]) -> None:
    user = enabled(f"image: {image}\nuser: service\nshell: [/bin/sh]\n")
    assert login(user, "-c", "id -un").out == b"service\n"


def as_on_a_host_without(words: list[str]) -> Done:
    """``ssh2containerctl WORDS`` where the kernel makes no idmapped mount, as on NFS or before Linux 5.12.

    An idmapped mount is the one mount_setattr(2) whose request names a user namespace; strace cannot tell
    requests apart, so it lets the shared view's come first, and leaves alone the login that enable tries.
    """
    tool = strace("mount_setattr", fault="error=EINVAL", follow=False)
    return run([*tool, CONTROL, *words])


def test_where_it_cannot_the_shared_range_is_taken(image: str, make_user: MakeUser) -> None:
    run([CONTROL, "image", "range", image]).ok()  # which makes the view that is shared
    user = make_user(policy=f"image: {image}\nuser: root\nshell: [/bin/sh]\n")
    shared = set_aside()
    assert shared is not None
    as_on_a_host_without(["enable", user.name]).ok()
    try:
        assert base_of(user) == shared.base
        assert is_mount_point(SHARED_TREES)
    finally:
        run([CONTROL, "disable", user.name]).ok()


def test_without_enable_the_login_says_what_is_missing(image: str, make_user: MakeUser) -> None:
    """No root who can change nothing: a refusal, with the command that prepares all."""
    user = make_user(policy=f"image: {image}\nuser: root\nshell: [/bin/sh]\n")
    done = login(user, "-c", "true")
    assert done.status == 126
    assert b"enable" in done.err
    assert done.err.count(b"\n") == 1


def test_enable_names_a_missing_helper_and_undoes_all(image: str, make_user: MakeUser) -> None:
    user = make_user(policy=f"image: {image}\nuser: root\nshell: [/bin/sh]\n")
    script = f"mount --bind /dev/null /usr/bin/newuidmap && exec {CONTROL} enable {user.name}"
    done = run(["unshare", "--mount", "sh", "-c", script])
    assert done.status == 1
    assert "apt-get install uidmap" in done.errors
    assert "userns_mode: single" in done.errors
    assert "undone" in done.text


def test_check_says_where_root_could_change_nothing(image: str, make_user: MakeUser) -> None:
    """The host's own files belong to nobody inside; so do an image's with the user's id alone."""
    for policy, hint in (
        ("image: host\nuser: root\n", "image list"),
        (f"image: {image}\nuser: root\nuserns_mode: single\n", "leave userns_mode out"),
    ):
        user = make_user(policy=policy)
        text = run([CONTROL, "check"]).text
        at = next(line for line in text.splitlines() if user.policy_file in line and "root inside" in line)
        assert "warning" in at
        assert hint in text[text.index(at) :]


def test_compiling_and_importing_make_the_tree_that_a_policy_needs(
    image: str, make_user: MakeUser, tmp_path: Path
) -> None:
    """A policy that is written after the image, and an image that is imported after the policy."""
    make_user(policy=f"image: {image}\nuser: root\n")
    run([CONTROL, "compile"])
    assert Store().version(image).info["range"][1]
    later = "later-" + secrets.token_hex(3)
    make_user(policy=f"image: {later}\nuser: root\n")
    tree = busybox_tree(str(tmp_path / "later"))
    Path(tree, "unique").write_text(later, encoding="ascii")
    subprocess.run([CONTROL, "image", "import", later, tree], check=True, capture_output=True)
    try:
        assert Store().version(later).info["range"][1]
    finally:
        run([CONTROL, "image", "rm", "--force", later]).ok()
