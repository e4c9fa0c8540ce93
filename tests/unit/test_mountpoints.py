"""Where something is mounted, by whatever it is mounted from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.host import run

from ssh2container.admin.mountpoints import is_mount_point


@pytest.fixture
def place(tmp_path: Path) -> Iterator[str]:
    """A directory with mounts at ``bound``, ``memory`` and ``bound file``, and what is none beside them."""
    for name in ("plain", "bound", "memory"):
        (tmp_path / name).mkdir()
    for name in ("file", "bound file"):
        (tmp_path / name).touch()
    os.symlink("bound", tmp_path / "link")
    targets = {
        "bound": ("--bind", "plain"),
        "memory": ("-t", "tmpfs", "none"),
        "bound file": ("--bind", "file"),
    }
    try:
        for target, words in targets.items():
            run(["mount", *words, target], cwd=tmp_path).ok()
        yield str(tmp_path)
    finally:
        for target in targets:
            run(["umount", target], cwd=tmp_path)


@pytest.mark.needs_root
def test_mounts_of_every_kind_are_found(place: str) -> None:
    found = {name for name in os.listdir(place) if is_mount_point(f"{place}/{name}")}
    assert found == {"bound", "memory", "bound file"}


@pytest.mark.needs_root
def test_what_was_unmounted_is_none(place: str) -> None:
    run(["umount", f"{place}/bound"]).ok()
    assert not is_mount_point(f"{place}/bound")


def test_the_root_is_one_and_what_is_not_there_is_none() -> None:
    assert is_mount_point("/")
    assert is_mount_point("/proc")
    assert not is_mount_point("/proc/self/nothing")
