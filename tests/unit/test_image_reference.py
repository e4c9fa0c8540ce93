"""References of images, and the hot reader of the store."""

from __future__ import annotations

import fcntl
import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssh2container.errors import Refusal
from ssh2container.plan.image import FORMAT, Image, record_path

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEX, OTHER = "ab" * 32, "cd" * 32


def record(**changes: object) -> dict[str, object]:
    return {
        "format": FORMAT,
        "digest": "sha256:" + HEX,
        "environment": (("PATH", "/bin"),),
        "user": "1000:1000",
        "working_directory": "/srv",
        "command": ("/bin/sh",),
        "passwd": b"root:x:0:0::/:/bin/sh\n",
        "group": b"root:x:0:\n",
        "programs": (("rsync", "/usr/bin/rsync"),),
        "inside_id": 1001,
        "writable": (("/tmp", 0o1777),),
        "range": (0, 0),
        **changes,
    }


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for name in ("names", "digests", f"trees/{HEX}/root"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "trees" / HEX / "record").write_bytes(marshal.dumps(record()))
    (tmp_path / "names" / "team+lab:1").symlink_to(f"../trees/{HEX}/record")
    (tmp_path / "digests" / OTHER).symlink_to(f"../trees/{HEX}/record")
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("debian", "names/debian"),
        ("debian:latest", "names/debian"),
        ("debian:12", "names/debian:12"),
        ("docker.io/library/debian:12", "names/docker.io+library+debian:12"),
        ("127.0.0.1:5000/lab", "names/127.0.0.1:5000+lab"),
        (f"debian:12@sha256:{HEX}", f"trees/{HEX}/record"),
    ],
)
def test_a_reference_is_one_file(reference: str, path: str) -> None:
    assert record_path(reference) == path


@pytest.mark.parametrize(
    "reference",
    ["", "/", "a/", "/etc/passwd", "../x", "a/../b", ".hidden", "-x", "a:b:c", "a:x/b", "b/a:1/c",
     "a b", "a+b", "a\0b",
     "é", "x" * 201, "a@", "a@sha256:12", f"a@sha512:{HEX}", f"@sha256:{HEX}", f"../x@sha256:{HEX}",
     "a@sha256:" + "G" * 64],
)  # fmt: skip
def test_anything_else_is_refused(reference: str) -> None:
    with pytest.raises(Refusal):
        record_path(reference)


@given(st.text())
def test_no_reference_leaves_the_store(reference: str) -> None:
    try:
        path = record_path(reference)
    except Refusal:
        return
    directory, _, name = path.partition("/")
    assert directory in ("names", "trees")
    assert not name.startswith(".")
    assert "/" not in name.removesuffix("/record")


def test_the_host_never_touches_the_store() -> None:
    image = Image.find("host", "/nonexistent")
    assert (image.kind, image.lock) == ("host", -1)


def test_a_name_and_a_digest_find_the_same(store: Path) -> None:
    for reference in ("team/lab:1", f"team/lab@sha256:{HEX}", f"lab@sha256:{OTHER}"):
        image = Image.find(reference, str(store))
        assert image.root == f"{store}/trees/{HEX}/root"
        assert image.environment == (("PATH", "/bin"),)
        assert image.inside_id == 1001
        os.close(image.lock)


def test_the_version_is_held_until_the_descriptor_is_closed(store: Path) -> None:
    image = Image.find("team/lab:1", str(store))
    tree = os.open(store / "trees" / HEX, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(tree, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(image.lock)
    fcntl.flock(tree, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(tree)


def test_somebody_who_holds_the_version_alone_does_not_stop_logins(store: Path) -> None:
    tree = os.open(store / "trees" / HEX, os.O_RDONLY)
    fcntl.flock(tree, fcntl.LOCK_EX)
    os.close(Image.find("team/lab:1", str(store)).lock)
    os.close(tree)


def test_a_missing_image_is_a_refusal_with_the_remedy(store: Path) -> None:
    with pytest.raises(Refusal, match="ssh2containerctl image import other SOURCE"):
        Image.find("other", str(store))


def test_a_version_without_its_files_is_a_refusal(store: Path) -> None:
    content = (store / "trees" / HEX / "record").read_bytes()
    (store / "trees" / HEX).rename(store / "elsewhere")
    with pytest.raises(Refusal, match="not installed"):
        Image.find("team/lab:1", str(store))
    (store / "names" / "copied").write_bytes(content)
    with pytest.raises(Refusal, match="gone"):
        Image.find("copied", str(store))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"{", marshal.dumps([]), marshal.dumps({}), marshal.dumps(record(format=FORMAT + 1)),
     marshal.dumps(record())[:-9]],
)  # fmt: skip
def test_a_damaged_record_is_a_refusal_with_the_remedy(store: Path, content: bytes) -> None:
    (store / "trees" / HEX / "record").write_bytes(content)
    with pytest.raises(Refusal, match="verify --repair"):
        Image.find("team/lab:1", str(store))


def test_range_mode_without_its_tree_is_a_refusal_with_the_remedy(store: Path) -> None:
    image = Image.find("team/lab:1", str(store))
    os.close(image.lock)
    with pytest.raises(Refusal, match="ssh2containerctl image range team/lab:1"):
        image.require_range()
    (store / "trees" / HEX / "record").write_bytes(marshal.dumps(record(range=(700_000, 65_536))))
    image = Image.find("team/lab:1", str(store))
    os.close(image.lock)
    assert image.require_range() == f"{HEX}-700000"


def test_the_reader_imports_nothing_slow() -> None:
    code = "import sys, ssh2container.plan.image; print(*sorted(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-IS", "-c", f"import sys; sys.path.insert(0, {ROOT!r}); {code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    slow = {"re", "json", "enum", "typing", "dataclasses", "pathlib", "subprocess", "contextlib", "ctypes"}
    assert not slow & set(result.stdout.split())
