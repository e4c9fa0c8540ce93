"""Interfaces, as the kernel knows them (rtnetlink(7)), without rights.

Not by /sys, which shows those of whoever mounted it.
"""

from __future__ import annotations

import errno
import posix as os

from . import libc, process

_AF_NETLINK, _RAW = 16, 3 | 0o2000000
"""SOCK_RAW | SOCK_CLOEXEC."""
_ERROR, _GET_LINK, _REQUEST = 2, 18, 1
_NAME, _MASTER, _EXTENDED, _SKIP_STATISTICS = 3, 10, 29, 8
"""IFLA_IFNAME, IFLA_MASTER, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS (linux/rtnetlink.h)."""
_HEADERS = 32
"""Bytes of struct nlmsghdr and struct ifinfomsg."""
_LONGEST = 1 << 15
_UP = 1
_NEAR = 0x30
"""IPV6_ADDR_LOOPBACK | IPV6_ADDR_LINKLOCAL (net/ipv6.h)."""


class Interface:
    """index: its number. is_up: whether it was brought up. master: the number of its bridge, or 0."""

    __slots__ = ("index", "is_up", "master")

    def __init__(self, index: int, master: int, *, is_up: bool) -> None:
        self.index = index
        self.master = master
        self.is_up = is_up


def find(name: str) -> Interface | None:
    """Return the interface ``name`` of this process's network, None where there is none. Raises OSError."""
    descriptor = libc.syscall("socket", _AF_NETLINK, _RAW, 0)
    try:
        os.write(descriptor, _question(name))
        answer = os.read(descriptor, _LONGEST)
    finally:
        os.close(descriptor)
    if _number(answer, 4, 2) == _ERROR:
        number = (1 << 32) - _number(answer, 16)
        if number == errno.ENODEV:
            return None
        raise OSError(number, os.strerror(number), name)
    master, at = 0, _HEADERS
    while at + 4 <= len(answer):
        length = _number(answer, at, 2)
        if length < 4:  # noqa: PLR2004 - an attribute's own header
            break
        if _number(answer, at + 2, 2) == _MASTER:
            master = _number(answer, at + 4)
        at += (length + 3) & ~3
    return Interface(_number(answer, 20), master, is_up=bool(_number(answer, 24) & _UP))


def _question(name: str) -> bytes:
    asked = _attribute(_NAME, name.encode() + b"\0") + _attribute(
        _EXTENDED, _SKIP_STATISTICS.to_bytes(4, "little")
    )
    header = (_HEADERS + len(asked)).to_bytes(4, "little") + bytes((_GET_LINK, 0, _REQUEST, 0))
    return header + bytes(_HEADERS - len(header)) + asked


def _attribute(kind: int, content: bytes) -> bytes:
    length = len(content) + 4
    return length.to_bytes(2, "little") + kind.to_bytes(2, "little") + content + bytes(-length % 4)


def _number(answer: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(answer[at : at + size], "little")


def names_of(pid: int | str) -> set[str]:
    """Return the names of the interfaces in the network of ``pid`` (proc(5), net/dev). Raises OSError.

    pid: "self" for this process.
    """
    lines = process.read_file(f"/proc/{pid}/net/dev").decode("ascii", "replace").splitlines()[2:]
    return {line.partition(":")[0].strip() for line in lines}


def addresses_of(pid: int | str) -> list[str]:
    """Return the addresses in the network of ``pid``, but loopback and link-local ones. Raises OSError.

    pid: as for :func:`names_of`.
    """
    import _socket

    found: dict[str, None] = {}
    last = ""
    for line in process.read_file(f"/proc/{pid}/net/fib_trie").decode("ascii", "replace").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "|--":
            last = rest
        elif line.endswith("/32 host LOCAL") and not last.startswith("127."):
            found[last] = None
    try:
        lines = process.read_file(f"/proc/{pid}/net/if_inet6").decode("ascii", "replace").splitlines()
    except FileNotFoundError:
        lines = []  # a kernel without IPv6
    for line in lines:
        address, _, _, scope, *_ = line.split()
        if not int(scope, 16) & _NEAR:
            found[_socket.inet_ntop(_socket.AF_INET6, bytes.fromhex(address))] = None
    return list(found)
