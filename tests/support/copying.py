"""Copies of this machine's files, to be the root of another: what is installed, not what people keep."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator

_TOPS = ("bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "opt", "root", "sbin", "srv", "usr", "var")
_EMPTY_TOPS = ("dev", "home", "media", "mnt", "proc", "run", "sys", "tmp")
_LEFT_OUT = (
    "/root/.cache",
    "/var/cache/apt/archives",
    "/var/cache/apt/pkgcache.bin",
    "/var/cache/apt/srcpkgcache.bin",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/log/journal",
    "/var/tmp",
)


class Source:
    """This machine's files without those of ``left_out``; a directory among these stays empty in a copy."""

    def __init__(self, left_out: Iterable[str], origin: str = "") -> None:
        """``origin``: what stands for this machine's root, without a slash at its end."""
        self._origin = origin
        self._left_out = {origin + path for path in (*_LEFT_OUT, *left_out)}

    def size(self) -> int:
        """Bytes that a copy needs. Raises subprocess.CalledProcessError."""
        words = [f"--exclude={path}" for path in self._left_out]
        tops = [f"{self._origin}/{top}" for top in self._tops()]
        done = subprocess.run(
            ["du", "-sck", "--one-file-system", *words, *tops], capture_output=True, text=True, check=True
        )
        return int(done.stdout.splitlines()[-1].split()[0]) * 1024

    def copy(self, root: str) -> None:
        """Copy to the new directory ``root``. Raises subprocess.CalledProcessError, OSError."""
        os.mkdir(root, 0o755)
        for top in _EMPTY_TOPS:
            os.mkdir(f"{root}/{top}", 0o755)
        os.chmod(f"{root}/tmp", 0o1777)
        for parent, names in self._pieces(f"{self._origin}/", self._tops()):
            to = root + parent.removeprefix(self._origin)
            if not os.path.isdir(to):
                _make_alike(parent, to)
            if names:
                paths = [os.path.join(parent, name) for name in names]
                subprocess.run(
                    ["cp", "--archive", "--one-file-system", "--reflink=auto", "-t", to, *paths],
                    check=True, stdin=subprocess.DEVNULL,
                )  # fmt: skip

    def _tops(self) -> list[str]:
        return [top for top in _TOPS if os.path.lexists(f"{self._origin}/{top}")]

    def _pieces(self, parent: str, names: list[str]) -> Iterator[tuple[str, list[str]]]:
        """Each directory that is made one name after the other, and what in it is copied whole."""
        whole, deeper = [], []
        for name in names:
            path = os.path.join(parent, name)
            inside = [left for left in self._left_out if left == path or left.startswith(path + "/")]
            if not inside or os.path.islink(path):
                whole.append(name)
            elif os.path.isdir(path):
                deeper.append(path)
        yield parent, whole
        for path in deeper:
            yield from self._pieces(path, [] if path in self._left_out else os.listdir(path))


def _make_alike(path: str, new: str) -> None:
    os.mkdir(new)
    status = os.stat(path)
    os.chown(new, status.st_uid, status.st_gid)
    shutil.copystat(path, new)
