"""Bytes and trees of files that catch what is not 8-bit clean."""

from __future__ import annotations

import hashlib
import os
import random
from typing import BinaryIO

_BLOCK_BYTES = 4096

EVERY_BYTE = bytes(range(256)) * 4 + b"\r\n\0\n\r~.\x04\x11\x13\x1a"
"""All values a byte has, and the sequences terminals, ssh and line disciplines act on."""


def noise(size_bytes: int, seed: int = 1) -> bytes:
    """Reproducible bytes that do not compress."""
    return random.Random(seed).randbytes(size_bytes)


def write_sparse(target: BinaryIO, at: int, source: str) -> int:
    """Write the file ``source`` to ``target`` from offset ``at``, but for blocks of zeros; its size.

    ``target`` is new, or it has zeros there: what is left out is a hole, and takes no room.
    """
    with open(source, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            if block.count(0) < len(block):
                target.seek(at)
                target.write(block)
            at += len(block)
        return file.tell()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_tree(top: str) -> None:
    """Files of awkward names, sizes and modes, and a symlink."""
    os.makedirs(f"{top}/sub/empty")
    files = {
        "plain.txt": b"hello\n",
        "empty": b"",
        "blank and 'quote\".txt": b"x",
        "ümläut": "ä".encode(),
        "-dash": b"-",
        "sub/every-byte": EVERY_BYTE,
        "sub/big": noise(3_000_001),
    }
    for name, data in files.items():
        with open(f"{top}/{name}", "wb") as file:
            file.write(data)
    os.chmod(f"{top}/plain.txt", 0o755)
    os.symlink("plain.txt", f"{top}/link")


def read_tree(top: str) -> dict[str, tuple[int, str]]:
    """Every path below ``top`` with its permissions and a digest of its contents."""
    found = {}
    for directory, names, files in os.walk(top):
        for name in [*names, *files]:
            path = f"{directory}/{name}"
            if os.path.islink(path):
                contents = "-> " + os.readlink(path)
            elif os.path.isdir(path):
                contents = "directory"
            else:
                with open(path, "rb") as file:
                    contents = digest(file.read())
            found[os.path.relpath(path, top)] = (os.lstat(path).st_mode & 0o777, contents)
    return found
