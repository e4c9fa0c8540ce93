"""This process, and what it starts, as programs of the host of an Internet (internet.py)."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from support.host import run
from support.internet import Internet

TUN = "/dev/net/tun"
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def _enter(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns", path)
    finally:
        os.close(descriptor)


@contextmanager
def on_the_host_of(net: Internet) -> Iterator[None]:
    """For the length of a ``with`` block: its network, and its /etc/resolv.conf over this machine's."""
    own = f"/proc/{os.getpid()}/task/{os.getpid()}/ns/net"
    before = os.open(own, os.O_RDONLY | os.O_CLOEXEC)
    place = os.path.realpath("/etc/resolv.conf")
    try:
        with tun():
            _enter(f"/run/netns/{net.host}")
            run(["mount", "--bind", f"/etc/netns/{net.host}/resolv.conf", place]).ok()
            try:
                yield
            finally:
                run(["umount", place]).ok()
    finally:
        _enter(f"/proc/self/fd/{before}")
        os.close(before)


@contextmanager
def tun() -> Iterator[None]:
    """/dev/net/tun as udev has it: there, and open to everybody."""
    made = not os.path.exists(TUN)
    if made:
        os.makedirs(os.path.dirname(TUN), exist_ok=True)
        os.mknod(TUN, 0o600 | stat.S_IFCHR, os.makedev(10, 200))
    mode = stat.S_IMODE(os.stat(TUN).st_mode)
    os.chmod(TUN, 0o666)
    try:
        yield
    finally:
        if made:
            os.unlink(TUN)
        else:
            os.chmod(TUN, mode)
