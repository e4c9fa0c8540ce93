"""What is counted of memory that a user's sessions may write to, by what their entries say."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from ssh2container.errors import Refusal
from ssh2container.record import allotment, registry

MIB = 1 << 20
NAME = "0123456789"


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (None, 0),
        (b"", 5),
        (b"kind shell\n", 5),
        (b"storage 7\n", 7),
        (b"kind shell\nstorage 0\n", 0),
        (b"storage 7", 5),
        (b"storage -7\nstorage x\n", 5),
    ],
)
def test_what_an_entry_says(content: bytes | None, size: int) -> None:
    assert allotment.size(content, 5) == size


def test_an_entry_that_cannot_be_opened_counts_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that has no descriptor left must not take the others for gone."""
    path = tmp_path / NAME
    path.write_bytes(b"storage %d\n" % MIB)
    registry.require_room(str(tmp_path), [NAME], MIB, MIB)  # nobody holds it

    def fail(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("posix.open", fail)
        with pytest.raises(Refusal):
            registry.require_room(str(tmp_path), [NAME], MIB, MIB)
    registry.require_room(str(tmp_path), ["abcdef0123"], MIB, MIB)  # it has gone
    holder = os.open(path, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(Refusal, match="1 live session may use 1 of 1 MiB"):
        registry.require_room(str(tmp_path), [NAME], MIB, MIB)
    os.close(holder)
