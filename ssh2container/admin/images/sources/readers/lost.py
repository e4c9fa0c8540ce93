"""What debugfs and ``btrfs restore`` leave behind without a word, as JSON: a sentence → the first names.

Both write files and directories; FIFOs and devices, and with debugfs s-bits and attributes, are gone then.
What they say of the image's inodes is compared with what they have written. Names with newlines may be shown
wrongly: nothing but what ``image info`` prints depends on them.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator

from ssh2container.admin.images.unpack import rules

_MOST, _DEEPEST, _SHOWN = 2_000_000, 128, 20
_S_BITS = stat.S_ISUID | stat.S_ISGID
_ENTRY = re.compile(rb"/(\d+)/([0-7]{6})/\d+/\d+/([^/]*)/\d*/\n")
_ATTRIBUTE = re.compile(rb"^  (\S+) \(\d+\)", re.MULTILINE)
_COMMAND = re.compile(rb"^debugfs: .*\n", re.MULTILINE)
_KEY = re.compile(rb"\titem \d+ key \((\d+) (\w+) ")
_MODE = re.compile(rb"^\t\t.* mode (\d+) links ")
_CHILD = re.compile(rb"^\t\tlocation key \((\d+) ")
_NAME = b"\t\tname: "
_EXT_ROOT, _BTRFS_ROOT = 2, 256

Inode = tuple[str, int, set[str]]
"""A path, its mode, the names of its attributes."""


def ext(image: str) -> Iterator[Inode]:
    """Yield what is in an ext filesystem, by debugfs."""
    level, found = [(_EXT_ROOT, "")], []
    for _ in range(_DEEPEST):
        below = []
        for (_, parent), answer in zip(level, _ask(image, "ls -p", [i for i, _ in level]), strict=False):
            for number, mode, name in _ENTRY.findall(answer):
                path = f"{parent}{name.decode('utf-8', 'surrogateescape')}"
                if name in (b".", b"..") or path == "lost+found":
                    continue
                found.append((int(number), path, int(mode, 8)))
                if stat.S_ISDIR(found[-1][2]):
                    below.append((int(number), path + "/"))
        level = below
        if not level or len(found) > _MOST:
            break
    answers = _ask(image, "ea_list", [number for number, _, _ in found])
    for (_, path, mode), answer in zip(found, answers, strict=False):
        yield path, mode, {name.decode("utf-8", "surrogateescape") for name in _ATTRIBUTE.findall(answer)}


def _ask(image: str, verb: str, inodes: list[int]) -> list[bytes]:
    """Return debugfs' answer to ``verb`` for each of ``inodes``."""
    with open("/tmp/requests", "w", encoding="ascii") as file:
        file.writelines(f"{verb} <{number}>\n" for number in inodes)
    argv = ["debugfs", "-f", "/tmp/requests", image]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return _COMMAND.split(done.stdout)[1:]


def btrfs(image: str, tree: str) -> Iterator[Inode]:
    """Yield what is in the subvolume ``tree`` of a btrfs, by its dump."""
    modes: dict[int, int] = {}
    attributes: dict[int, set[str]] = {}
    children: dict[int, list[tuple[int, str]]] = {}
    number, kind, child = 0, b"", 0
    argv = ["btrfs", "inspect-internal", "dump-tree", "-t", tree, image]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        for line in process.stdout or ():
            if key := _KEY.match(line):
                number, kind = int(key[1]), key[2]
            elif kind == b"INODE_ITEM" and (mode := _MODE.match(line)):
                modes[number] = int(mode[1], 8)
            elif kind == b"DIR_INDEX" and (found := _CHILD.match(line)):
                child = int(found[1])
            elif line.startswith(_NAME):
                name = line[len(_NAME) : -1].decode("utf-8", "surrogateescape")
                if kind == b"DIR_INDEX":
                    children.setdefault(number, []).append((child, name))
                elif kind == b"XATTR_ITEM":
                    attributes.setdefault(number, set()).add(name)
    level = [(_BTRFS_ROOT, "")]
    while level:
        parent, prefix = level.pop()
        for number, name in children.pop(parent, ()):
            yield prefix + name, modes.get(number, 0), attributes.get(number, set())
            level.append((number, f"{prefix}{name}/"))


def lost(inodes: Iterator[Inode], root: str) -> dict[str, list[str]]:
    """Return what of ``inodes`` is not in ``root``."""
    told: dict[str, list[str]] = {}
    for path, mode, attributes in inodes:
        if stat.S_IFMT(mode) in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK):
            told.setdefault("devices and FIFOs left out", []).append(path)
            continue
        try:
            written = os.lstat(f"{root}/{path}")
            kept = set(os.listxattr(f"{root}/{path}", follow_symlinks=False))
        except OSError:
            continue
        if mode & _S_BITS & ~written.st_mode:
            told.setdefault(rules.BITS_REMOVED, []).append(path)
        for key in attributes - kept:
            what = "access control lists" if "posix_acl" in key else f"extended attribute {key}"
            told.setdefault(f"{what} removed", []).append(path)
    return {what: names[:_SHOWN] for what, names in told.items()}


def main(arguments: list[str]) -> int:
    """Print the JSON for ``ext IMAGE ROOT``, or ``btrfs IMAGE ROOT TREE``."""
    kind, image, root, *tree = arguments
    sys.stdout.write(json.dumps(lost(btrfs(image, *tree) if kind == "btrfs" else ext(image), root)))
    return 0
