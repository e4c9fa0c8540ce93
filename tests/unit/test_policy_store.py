"""Compiled parts: used while they are what their sources say, ignored with a record otherwise."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from _blake2 import blake2b
from collections.abc import Callable

import pytest
from support.policies import Tree, chain

from ssh2container.errors import Refusal
from ssh2container.policy import layers, store

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture
def tree(tmp_path: os.PathLike[str]) -> Tree:
    made = chain(os.fspath(tmp_path))
    assert made.compile().problems == []
    return made


def compiled(tree: Tree, part: str) -> str:
    return f"{tree.places.compiled}/{part}"


def test_fresh_parts_are_used_in_silence(tree: Tree) -> None:
    assert tree.load("alice", "staff").hostname == "base"
    assert tree.logged == []


def test_compiling_again_writes_nothing(tree: Tree) -> None:
    built = tree.compile()
    assert built.written == []
    assert built.removed == []
    assert sorted(built.unchanged) == ["config", "defaults", "groups/staff", "users/alice"]


def test_compiled_files_are_for_everybody_to_read_and_for_the_owner_to_write(tree: Tree) -> None:
    old = os.umask(0o077)
    try:
        tree.write("users/bob", "")
        tree.compile()
    finally:
        os.umask(old)
    for directory, _, files in os.walk(tree.places.compiled):
        assert os.stat(directory).st_mode & 0o7777 == 0o755
        for name in files:
            assert os.stat(f"{directory}/{name}").st_mode & 0o7777 == 0o644
            assert not name.endswith(".new")


def rewrite(tree: Tree) -> None:
    tree.write("users/alice", "hostname: new")


def rewrite_in_place_with_the_old_times(tree: Tree) -> None:
    """What `touch -r` hides from mtime shows in ctime."""
    path = tree.places.source("users/alice")
    before = os.stat(path)
    with open(path, "r+", encoding="utf-8") as file:
        file.write("hostname: newer")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path).st_size == before.st_size
    assert os.stat(path).st_mtime_ns == before.st_mtime_ns


def change_the_profile(tree: Tree) -> None:
    tree.write("share/base", "hostname: new")


def shadow_the_profile(tree: Tree) -> None:
    """A file that was absent when the part was compiled."""
    tree.write("profiles/base", "hostname: new")


def enforce(tree: Tree) -> None:
    tree.write("enforced", "hostname: new")


def put_another_file_in_its_place(tree: Tree) -> None:
    path = tree.places.source("users/alice")
    before = os.stat(path)
    with open(path + ".other", "w", encoding="utf-8") as file:
        file.write("hostname: newer")
    os.utime(path + ".other", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.rename(path + ".other", path)


def change_the_defaults(tree: Tree) -> None:
    tree.write("defaults", "image: debian:12\nhostname: new")
    tree.write("users/alice", "")


@pytest.mark.parametrize(
    "change",
    [rewrite, rewrite_in_place_with_the_old_times, change_the_profile, shadow_the_profile, enforce,
     put_another_file_in_its_place, change_the_defaults],
)  # fmt: skip
def test_every_change_shows_at_the_next_login(tree: Tree, change: Callable[[Tree], None]) -> None:
    tree.load("alice")
    change(tree)
    assert tree.load("alice").hostname.startswith("new")
    assert tree.logged
    tree.compile()
    tree.logged.clear()
    assert tree.load("alice").hostname.startswith("new")
    assert tree.logged == []


def test_a_new_membership_changes_no_file_and_shows(tree: Tree) -> None:
    assert tree.load("alice").environment == {}
    assert tree.load("alice", "staff").environment == {"FROM": "staff"}
    assert tree.logged == []


def test_removed_files_do_not_live_on(tree: Tree) -> None:
    os.unlink(tree.places.source("users/alice"))
    with pytest.raises(Refusal, match="no policy for alice"):
        tree.load("alice")
    os.unlink(tree.places.source("groups/staff"))
    with pytest.raises(Refusal, match="no policy for bob"):
        tree.load("bob", "staff")
    assert tree.compile().removed == ["groups/staff", "users/alice"]


def test_a_policy_that_became_invalid_is_not_replaced_by_what_was_compiled(tree: Tree) -> None:
    tree.write("users/alice", "imag: x")
    assert tree.errors("alice")
    built = tree.compile()
    assert [problem.message for problem in built.problems] == ['unknown key "imag"']
    assert not os.path.exists(compiled(tree, "users/alice"))
    assert tree.errors("alice")


def test_a_new_group_file_outside_the_order_is_noticed(tree: Tree) -> None:
    tree.write("groups/guests", "")
    with pytest.raises(Refusal, match="group_order"):
        tree.load("alice", "guests")
    assert any("group_order does not name guests" in problem.message for problem in tree.compile().problems)
    with pytest.raises(Refusal, match="group_order"):
        tree.load("alice", "guests")


def truncate(path: str) -> None:
    os.truncate(path, os.path.getsize(path) - 1)


def empty(path: str) -> None:
    os.truncate(path, 0)


def flip_a_bit(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(-3, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-3, os.SEEK_END)
        file.write(bytes([byte ^ 1]))


def append(path: str) -> None:
    with open(path, "ab") as file:
        file.write(b"\0")


def another_version(path: str) -> None:
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(data.replace(layers.FORMAT, layers.FORMAT.replace(b" 1 ", b" 0 ")))


def somebody_else_owns_it(path: str) -> None:
    os.chown(path, 65534, -1)


def others_can_write(path: str) -> None:
    os.chmod(path, 0o666)


def a_link(path: str) -> None:
    os.rename(path, path + ".moved")
    os.symlink(path + ".moved", path)


def a_fifo(path: str) -> None:
    os.unlink(path)
    os.mkfifo(path)


def a_directory(path: str) -> None:
    os.unlink(path)
    os.mkdir(path)


def huge(path: str) -> None:
    os.truncate(path, 10**8)


@pytest.mark.parametrize("part", ["config", "defaults", "users/alice"])
@pytest.mark.parametrize(
    "damage",
    [truncate, empty, flip_a_bit, append, another_version, others_can_write, a_link, a_fifo, a_directory,
     huge, os.unlink, pytest.param(somebody_else_owns_it, marks=pytest.mark.needs_root)],
)  # fmt: skip
def test_odd_compiled_files_are_ignored_with_a_record(
    tree: Tree, part: str, damage: Callable[[str], None]
) -> None:
    expected = tree.load("alice", "staff")
    damage(compiled(tree, part))
    assert tree.load("alice", "staff") == expected
    assert len(tree.logged) == 1
    assert part in tree.logged[0]


@pytest.mark.parametrize("part", ["config", "defaults", "users/alice"])
def test_damage_is_repaired_by_compiling(tree: Tree, part: str) -> None:
    flip_a_bit(compiled(tree, part))
    assert tree.compile().written == [part]
    tree.load("alice")
    assert tree.logged == []


def test_a_compiled_directory_that_others_can_write_to_is_not_used(tree: Tree) -> None:
    expected = tree.load("alice")
    os.chmod(f"{tree.places.compiled}/users", 0o777)
    assert tree.load("alice") == expected
    assert len(tree.logged) == 1
    assert "writable by users other" in tree.logged[0]


def test_marshal_never_sees_bytes_without_their_digest() -> None:
    """A digest that fits is not enough of a lie to pass: the format line names the version."""
    body = marshal.dumps((True, (), ()), 2)
    digest = blake2b(body, digest_size=16).digest()
    assert layers.decode(layers.FORMAT + digest + body).exists
    for data in (b"", b"x", layers.FORMAT, layers.FORMAT + digest, digest + body, layers.FORMAT + body):
        with pytest.raises(layers.Unusable):
            layers.decode(data)


def test_every_truncation_is_noticed(tree: Tree) -> None:
    with open(compiled(tree, "defaults"), "rb") as file:
        data = file.read()
    for length in range(len(data)):
        with pytest.raises(layers.Unusable):
            layers.decode(data[:length])


def test_compiling_waits_for_the_clock(tree: Tree) -> None:
    """A file that changes twice within one tick of the kernel's clock must not look unchanged."""
    for number in range(30):
        path = tree.places.source("users/alice")
        with open(path, "r+", encoding="utf-8") as file:
            file.write(f"hostname: a{number:04}")
        tree.compile()
        with open(path, "r+", encoding="utf-8") as file:
            file.write(f"hostname: b{number:04}")
        assert tree.load("alice").hostname == f"b{number:04}"


HOT = {
    "_blake2", "ssh2container", "ssh2container.errors", "ssh2container.policy", "ssh2container.policy.layers",
    "ssh2container.policy.merge", "ssh2container.policy.policy", "ssh2container.policy.rules",
    "ssh2container.policy.store", "marshal", "__future__",
    "ssh2container.paths", "_stat",
}  # fmt: skip


def run(tree: Tree, statement: str) -> str:
    program = (
        f"import sys; sys.path.insert(0, {ROOT!r})\nbefore = set(sys.modules)\n"
        "from ssh2container.policy import store\n"
        f"places = store.Places({tree.places.configuration!r}, {tree.places.shipped!r}, "
        f"{tree.places.compiled!r}, {tree.base!r}, {os.getuid()})\n" + statement
    )
    done = subprocess.run([sys.executable, "-ISB", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_login_with_compiled_parts_imports_a_short_list(tree: Tree) -> None:
    program = "store.load('alice', ['staff'], places)\nprint(*(set(sys.modules) - before))"
    assert set(run(tree, program).split()) <= HOT


def test_a_login_with_compiled_parts_opens_only_those(tree: Tree) -> None:
    program = (
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(args[0]) if event == 'open' else None)\n"
        "store.load('alice', ['staff'], places)\nprint(*opened)"
    )
    names = ("config", "defaults", "groups/staff", "users/alice")
    assert run(tree, program).split() == [compiled(tree, name) for name in names]


def test_a_login_looks_at_few_files(tree: Tree) -> None:
    """Not at one more when there are a thousand users."""
    program = (
        "import posix as os\ncount = 0\nreal = os.lstat\n"
        "def lstat(path):\n    global count\n    count += 1\n    return real(path)\n"
        "os.lstat = lstat\nstore.load('alice', ['staff'], places)\nprint(count)"
    )
    few = int(run(tree, program))
    for number in range(50):
        tree.write(f"users/u{number}", "")
    assert int(run(tree, program)) == few
    assert 0 < few <= 45


def test_site_settings(tree: Tree) -> None:
    site = store.site(tree.places, tree.logged.append)
    assert (site.admit, site.group_order, site.unlisted) == ("listed", ("staff",), ())


def test_no_installation_at_all(tmp_path: os.PathLike[str]) -> None:
    places = store.Places(f"{tmp_path}/none", anchor=os.fspath(tmp_path))
    os.chmod(tmp_path, 0o755)
    with pytest.raises(Refusal, match="there is no policy"):
        store.load("alice", (), places)
