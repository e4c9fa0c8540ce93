"""Interfaces, addresses, routes and headers: nothing of them is the session's to change (group Network)."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from errno import EACCES, EAFNOSUPPORT, EINVAL, ENODEV, ENOENT, ENOPROTOOPT, ENXIO, EPERM
from typing import TYPE_CHECKING

from ssh2container.admin.verify.probes.network import GROUP, PATIENCE_SECONDS
from ssh2container.admin.verify.probes.privileges import added

if TYPE_CHECKING:
    from ssh2container.admin.verify.surroundings import Surroundings

_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75
_IPV6_HOPOPTS, _IPV6_RTHDR, _IPV6_DSTOPTS = 54, 57, 59
_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE, _RTM_NEWNEIGH = 16, 20, 24, 28
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_CREATE, _NLMSG_ERROR = 1, 4, 0x400, 2
_SIOCSIFFLAGS, _SIOCSIFMTU, _SIOCSIFHWADDR, _SIOCADDRT = 0x8914, 0x8922, 0x8924, 0x890B
_IFF_UP = 1
_TUNSETIFF, _IFF_TAP = 0x400454CA, 2


def _option(
    name: str, source: str, family: int, level: int, option: int, value: bytes, *expected: int
) -> None:
    def attempt(_: Surroundings) -> None:
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            one.setsockopt(level, option, value)

    # The kernel asks for NET_RAW, too, and the forwarder drops what comes of it.
    GROUP.refused(name, source, attempt, *expected, EAFNOSUPPORT, excuse=added("NET_RAW"))


_ON = struct.pack("i", 1)
_PADDED = struct.pack("BBBBBBBB", 0, 0, 1, 4, 0, 0, 0, 0)
"""A header of options that holds nothing but padding (RFC 8200, section 4.2)."""
_option("send from any IPv4 address", "ip(7)", socket.AF_INET, socket.IPPROTO_IP, _IP_TRANSPARENT,
        _ON, EPERM)  # fmt: skip
_option("send from any IPv6 address", "ipv6(7)", socket.AF_INET6, socket.IPPROTO_IPV6, _IPV6_TRANSPARENT,
        _ON, EPERM, ENOPROTOOPT)  # fmt: skip
_option("IPv6 hop-by-hop options", "RFC 3542, RFC 7045", socket.AF_INET6,
        socket.IPPROTO_IPV6, _IPV6_HOPOPTS, _PADDED, EPERM)  # fmt: skip
_option("IPv6 destination options", "RFC 3542, RFC 7045", socket.AF_INET6, socket.IPPROTO_IPV6, _IPV6_DSTOPTS,
        _PADDED, EPERM)  # fmt: skip
_option("an IPv6 routing header of type 0", "RFC 5095; CVE-2007-2242", socket.AF_INET6, socket.IPPROTO_IPV6,
        _IPV6_RTHDR, struct.pack("BBBB4x16s", 0, 2, 0, 1, b"\xfd" + bytes(15)), EPERM, EINVAL)  # fmt: skip


def _interface() -> str:
    """Return the interface that leads out, or loopback."""
    names = sorted((name for _, name in socket.if_nameindex()), key=lambda name: name == "lo")
    return names[0] if names else "lo"


def _ioctl(request: int, content: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, request, struct.pack("16s24s", _interface().encode(), content))


_ADDRESS = socket.inet_aton("10.0.2.77")
for _name, _request, _content in (
    ("change the flags of the interface", _SIOCSIFFLAGS, struct.pack("=H", _IFF_UP)),
    ("change the size of the interface's packets", _SIOCSIFMTU, struct.pack("=i", 1500)),
    ("give the interface another link address", _SIOCSIFHWADDR, struct.pack("=H6s", 1, b"\2verif")),
    ("add a route", _SIOCADDRT, b""),
):
    GROUP.refused(
        _name,
        "netdevice(7), capabilities(7)",
        lambda _, request=_request, content=_content: _ioctl(request, content),  # type: ignore[misc]
        EPERM,
        EACCES,
        ENODEV,
        calls=("ioctl",),
    )


def _netlink(kind: int, content: bytes) -> None:
    """Ask the kernel by rtnetlink(7); raises OSError with its answer."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.settimeout(PATIENCE_SECONDS)
        flags = _NLM_F_REQUEST | _NLM_F_ACK | _NLM_F_CREATE
        kernel.send(struct.pack("=IHHII", 16 + len(content), kind, flags, 1, 0) + content)
        answer = kernel.recv(4096)
    _, what = struct.unpack_from("=IH", answer)
    (number,) = struct.unpack_from("=i", answer, 16)
    if what == _NLMSG_ERROR and number:
        raise OSError(-number, os.strerror(-number))


def _attribute(number: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)


for _name, _kind, _content in (
    ("make an interface by netlink", _RTM_NEWLINK,
     struct.pack("=BBHiII", 0, 0, 0, 0, 0, 0) + _attribute(18, _attribute(1, b"dummy"))),
    ("add an address by netlink", _RTM_NEWADDR,
     struct.pack("=BBBBI", socket.AF_INET, 24, 0, 0, 1) + _attribute(2, _ADDRESS)),
    ("add a route by netlink", _RTM_NEWROUTE,
     struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 4, 0, 1, 0) + _attribute(4, _ON)),
    ("add a neighbour by netlink", _RTM_NEWNEIGH,
     struct.pack("=BxHiHBB", socket.AF_INET, 0, 1, 0x80, 0, 0) + _attribute(1, _ADDRESS)),
):  # fmt: skip
    GROUP.refused(
        _name,
        "rtnetlink(7), capabilities(7)",
        lambda _, kind=_kind, content=_content: _netlink(kind, content),  # type: ignore[misc]
        EPERM,
        EACCES,
        calls=("socket",),
    )


def _second_tap() -> None:
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", b"verify", _IFF_TAP))
    finally:
        os.close(descriptor)


GROUP.refused(
    "make an interface of its own by /dev/net/tun",
    "Documentation/networking/tuntap.rst",
    lambda _: _second_tap(),
    ENOENT,
    EPERM,
    EACCES,
    ENXIO,
)
