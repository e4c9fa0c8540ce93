"""What a tree holds, file by file: the content address of an image, and the measure of ``verify``.

A line is a JSON list ``[path, type, mode, uid, gid, size, sha256 or target, link]``: type is one of
``f d l``; uid and gid are the ones inside; link is the path that holds the same inode, or "".
Times are left out: the same files imported twice are the same image.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator

from ssh2container.errors import SessionError

Line = list[str | int]
_CHUNK = 1 << 20
NAME = "manifest.gz"


def lines(root: str, base: int, told: Callable[[int], None] | None = None) -> Iterator[Line]:
    """Yield a line for each entry of ``root``, sorted; ids are shown relative to ``base``.

    told: called with the bytes of each file read. No symbolic link is followed, nothing but
    regular files is opened. Raises SessionError for a type that no image holds.
    """
    seen: dict[tuple[int, int], str] = {}
    hashes: dict[tuple[int, int], str] = {}
    for path, directories, files, descriptor in os.fwalk(root, follow_symlinks=False):
        directories.sort()
        here = os.path.relpath(path, root)
        prefix = "" if here == "." else here + "/"
        own = os.fstat(descriptor)
        yield [here, "d", stat.S_IMODE(own.st_mode), own.st_uid - base, own.st_gid - base, 0, "", ""]
        links = [name for name in directories if _is_link(name, descriptor)]
        for name in sorted(files + links):
            status = os.lstat(name, dir_fd=descriptor)
            key, link, content = (status.st_dev, status.st_ino), "", ""
            if stat.S_ISLNK(status.st_mode):
                kind, content = "l", os.readlink(name, dir_fd=descriptor)
            elif stat.S_ISREG(status.st_mode):
                kind = "f"
                link = seen.setdefault(key, prefix + name) if status.st_nlink > 1 else ""
                link = "" if link == prefix + name else link
                content = hashes[key] if link else _hash(name, descriptor, told)
                if status.st_nlink > 1:
                    hashes[key] = content
            else:
                raise SessionError(f"{prefix}{name} is neither file, directory nor link", step="image")
            mode = 0o777 if kind == "l" else stat.S_IMODE(status.st_mode)
            size = status.st_size if kind == "f" else 0
            yield [
                prefix + name, kind, mode, status.st_uid - base, status.st_gid - base, size, content, link,
            ]  # fmt: skip


def _is_link(name: str, directory: int) -> bool:
    return stat.S_ISLNK(os.lstat(name, dir_fd=directory).st_mode)


def _hash(name: str, directory: int, told: Callable[[int], None] | None) -> str:
    digest = hashlib.sha256()
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    with open(descriptor, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if told is not None:
                told(len(chunk))
    return digest.hexdigest()


def write(path: str, root: str, base: int, told: Callable[[int], None] | None = None) -> tuple[str, int, int]:
    """Write the manifest of ``root`` to ``path``; return its sha256, the entries and the bytes.

    Raises SessionError for a set-ID bit: the files are going to be root's, where everybody reaches them.
    """
    digest, entries, size = hashlib.sha256(), 0, 0
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as out:
        for line in lines(root, base, told):
            if int(line[2]) & (stat.S_ISUID | stat.S_ISGID):  # the unpacker was to see to that
                raise SessionError(f"{line[0]} has a set-ID bit, which no image keeps", step="image")
            text = json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"
            digest.update(text)
            out.write(text)
            entries += 1
            size += 0 if line[7] else int(line[5])
    return digest.hexdigest(), entries, size


def read(path: str) -> Iterator[Line]:
    """Yield the lines that :func:`write` wrote."""
    with gzip.open(path, "rt", encoding="ascii") as text:
        for line in text:
            yield json.loads(line)


def differences(
    expected: Iterable[Line], root: str, told: Callable[[int], None] | None = None
) -> Iterator[str]:
    """Yield a sentence for each entry of ``root`` that is not as ``expected``, ids as on the disk."""
    was = {str(line[0]): line for line in expected}
    for line in lines(root, 0, told):
        path = str(line[0])
        before = was.pop(path, None)
        if before is None:
            yield f"{path}: added"
        elif before != line:
            names = ("type", "mode", "uid", "gid", "size", "content", "hard link")
            changed = [name for name, a, b in zip(names, before[1:], line[1:], strict=True) if a != b]
            yield f"{path}: {', '.join(changed)} changed"
    for path in was:
        yield f"{path}: missing"
