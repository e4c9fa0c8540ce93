"""A policy file is used only if nobody but its owner can have written it, and if it shows all it says."""

from __future__ import annotations

import os

import pytest
from support.policies import Tree, problems

from ssh2container.admin.policy.yaml import files
from ssh2container.admin.policy.yaml.problems import PolicyError
from ssh2container.errors import Refusal

GOOD = "hostname: box\n"
STRANGER = 65534


@pytest.fixture
def tree(tmp_path: os.PathLike[str]) -> Tree:
    made = Tree(os.fspath(tmp_path))
    made.write("users/alice", GOOD)
    return made


def refusal(tree: Tree) -> str:
    with pytest.raises(Refusal) as caught:
        tree.load("alice")
    assert caught.value.status == 126
    return str(caught.value)


def test_a_safe_file_is_read(tree: Tree) -> None:
    assert tree.load("alice").hostname == "box"


def test_symbolic_link(tree: Tree) -> None:
    path = tree.places.source("users/alice")
    os.rename(path, tree.base + "/elsewhere.yaml")
    os.symlink(tree.base + "/elsewhere.yaml", path)
    assert "symbolic link" in refusal(tree)


def test_symbolic_link_to_a_directory(tree: Tree) -> None:
    os.rename(f"{tree.base}/etc/users", f"{tree.base}/users")
    os.symlink(f"{tree.base}/users", f"{tree.base}/etc/users")
    assert "users" in refusal(tree)


@pytest.mark.needs_root
def test_hard_link_to_a_file_of_a_user(tree: Tree) -> None:
    path = tree.places.source("users/alice")
    os.unlink(path)
    theirs = f"{tree.base}/theirs.yaml"
    with open(theirs, "w", encoding="utf-8") as file:
        file.write(GOOD)
    os.chown(theirs, STRANGER, -1)
    os.link(theirs, path)
    assert f"belongs to uid {STRANGER}" in refusal(tree)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_file_writable_by_others(tree: Tree, mode: int) -> None:
    os.chmod(tree.places.source("users/alice"), mode)
    assert "writable by users other" in refusal(tree)


@pytest.mark.parametrize("directory", ["", "/etc", "/etc/users"])
@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_parent_writable_by_others(tree: Tree, directory: str, mode: int) -> None:
    os.chmod(tree.base + directory, mode)
    try:
        assert "other than" in refusal(tree)
    finally:
        os.chmod(tree.base + directory, 0o755)


@pytest.mark.needs_root
@pytest.mark.parametrize("directory", ["/etc", "/etc/users", "/etc/groups", "/etc/profiles"])
def test_directory_of_somebody_else(tree: Tree, directory: str) -> None:
    """Though alice's own file is safe: who owns a directory can add and remove the files of others."""
    os.chown(tree.base + directory, STRANGER, -1)
    assert "other than" in refusal(tree)


def test_directory_writable_by_others_is_noticed_with_everything_compiled(tree: Tree) -> None:
    tree.compile()
    assert tree.load("alice").hostname == "box"
    os.chmod(f"{tree.base}/etc/users", 0o777)
    assert "other than" in refusal(tree)


def test_fifo_does_not_make_the_login_wait(tree: Tree) -> None:
    path = tree.places.source("users/alice")
    os.unlink(path)
    os.mkfifo(path, 0o644)
    assert "not a regular file" in refusal(tree)


def test_directory_in_place_of_the_file(tree: Tree) -> None:
    path = tree.places.source("users/alice")
    os.unlink(path)
    os.mkdir(path)
    assert "not a regular file" in refusal(tree)


def test_ten_megabytes(tree: Tree) -> None:
    tree.write("users/alice", b"#" + b"x" * 10_000_000)
    assert "larger than 256 KiB" in refusal(tree)


def test_the_limit_itself(tree: Tree) -> None:
    tree.write("users/alice", GOOD.encode() + b"#" * (files.SIZE_LIMIT_BYTES - len(GOOD)))
    assert tree.load("alice").hostname == "box"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../users/alice", ".hidden", "a\0b", "x" * 300])
def test_a_name_that_is_no_file_name(tree: Tree, name: str) -> None:
    with pytest.raises(Refusal):
        tree.load(name)


@pytest.mark.parametrize(
    ("data", "found", "line", "column"),
    [
        (b"\xef\xbb\xbfhostname: box\n", "byte order mark", 1, 1),
        (b"image: host\nhostname: \0box\n", "U+0000", 2, 11),
        (b"image: host\nhostname: b\xffx\n", "byte 0xff is not UTF-8", 2, 12),
        (b"image: host\nhostname: b\xc3", "byte 0xc3 is not UTF-8", 2, 12),
        (b"access:\n\tlogin: true\n", "a tab in the indentation", 2, 1),
        (b"access:\n  \tlogin: true\n", "a tab in the indentation", 2, 3),
        (b"image: host\rhostname: box\n", "U+000D", 1, 12),
        ("hostname: b\u202eox\n".encode(), "U+202E", 1, 12),
        ("hostname: b\u2028ox\n".encode(), "U+2028", 1, 12),
        ("hostname: b\u0085ox\n".encode(), "U+0085", 1, 12),
        ("hostname: b\u200box\n".encode(), "U+200B", 1, 12),
        (b"hostname: b\x1b[31mox\n", "U+001B", 1, 12),
        ("hostname: \ud800\n".encode("utf-8", "surrogatepass"), "not UTF-8", 1, 11),
    ],
)
def test_text_that_does_not_show_what_it_says(data: bytes, found: str, line: int, column: int) -> None:
    problem = problems(data)[0]
    assert found in problem.message
    assert (problem.line, problem.column) == (line, column)


def test_crlf_is_welcome() -> None:
    assert problems(b"image: host\r\nhostname: box\r\n") == []


@pytest.mark.needs_root
def test_reading_a_file_elsewhere_needs_no_owner(tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "x.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(GOOD)
    os.chown(path, STRANGER, -1)
    os.chmod(path, 0o666)
    assert files.read_any(path).text == GOOD
    with pytest.raises(PolicyError):
        files.read_trusted(path, os.fspath(tmp_path), 0)
