"""Whether another host has an address already: asked on the wire, by root, before a session gets it.

Of IPv4 by ARP probes (RFC 5227), which change nobody's tables, of IPv6 by neighbour solicitations from no
address (RFC 4862, duplicate address detection). Who answers later than within a quarter of a second, or not
at all, is not found: nobody waits longer, and at boot this is done for each user.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import struct
import time
from typing import TYPE_CHECKING

from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ssh2container.admin.networks.wanted import Link

_ARP, _IPV6 = 0x0806, 0x86DD
_BROADCAST = b"\xff" * 6
_QUESTIONS, _BETWEEN_S = 3, 0.08
_ARP_HEAD = b"\x00\x01\x08\x00\x06\x04"
_ARP_REQUEST = b"\x00\x01"
_ICMP6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_MR_ALLMULTI = 263, 1, 2
"""packet(7)."""


def require_free(links: Iterable[Link]) -> None:
    """Raise SessionError where another host has one of the static addresses of ``links``.

    An interface that is down, or was moved away, asks nobody.
    """
    wanted = list(links)
    own = {link.mac for link in wanted}
    for parent in {link.definition.parent: None for link in wanted}:
        here = [link for link in wanted if link.definition.parent == parent]
        names = {
            str(ipaddress.ip_interface(address).ip): link.definition.name
            for link in here
            for address in link.addresses
        }
        for address, mac in holders(parent, list(names)):
            if mac not in own:
                raise SessionError(
                    f"cannot give a session {address} on {names[address]}",
                    f"another host there has it: {mac}",
                    "name another address or ip_range, or take it from that host",
                    "networks",
                )


def holders(device: str, addresses: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (address, link-layer address) of each that answers for one of ``addresses`` beyond ``device``."""
    with contextlib.ExitStack() as ends:
        asking: dict[socket.socket, list[bytes]] = {}
        # An interface that is down, or not there.
        with contextlib.suppress(OSError):
            for protocol, version in ((_ARP, 4), (_IPV6, 6)):
                packed = [
                    one.packed for one in map(ipaddress.ip_address, addresses) if one.version == version
                ]
                if packed:
                    # Of no protocol until it is bound: before that it would hear all interfaces.
                    end = ends.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
                    end.bind((device, protocol))
                    _hear_all_groups(end, device)
                    asking[end] = packed
        for _ in range(_QUESTIONS if asking else 0):
            for end, packed in asking.items():
                mac = end.getsockname()[4]
                for address in packed:
                    with contextlib.suppress(OSError):
                        end.send(_arp(mac, address) if len(address) == 4 else _solicitation(mac, address))  # noqa: PLR2004
            yield from _answers(asking)


def _answers(asking: dict[socket.socket, list[bytes]]) -> Iterator[tuple[str, str]]:
    until = time.monotonic() + _BETWEEN_S
    while (left := until - time.monotonic()) > 0:
        for end in select.select(list(asking), [], [], left)[0]:
            try:
                frame, (_, _, kind, _, _) = end.recvfrom(2048)
            except OSError:
                return  # it went down
            address, mac = _read(frame)
            if kind != socket.PACKET_OUTGOING and address in asking[end]:
                yield str(ipaddress.ip_address(address)), mac.hex(":")


def _read(frame: bytes) -> tuple[bytes, bytes]:
    """Return the address that a frame's sender has, and that of its link layer; b"" where it says neither."""
    kind, body = frame[12:14], frame[14:]
    if kind == _ARP.to_bytes(2, "big") and body[:6] == _ARP_HEAD and len(body) >= 28:  # noqa: PLR2004
        return body[14:18], body[8:14]
    advertises = body[6:7] == bytes((_ICMP6,)) and body[40:41] == bytes((_ADVERTISEMENT,))
    if kind == _IPV6.to_bytes(2, "big") and advertises and len(body) >= 64:  # noqa: PLR2004
        return body[48:64], frame[6:12]
    return b"", b""


def _arp(mac: bytes, address: bytes) -> bytes:
    """Return a probe: a request whose sender has no address yet."""
    head = _BROADCAST + mac + _ARP.to_bytes(2, "big") + _ARP_HEAD + _ARP_REQUEST
    return head + mac + bytes(4) + bytes(6) + address


def _solicitation(mac: bytes, address: bytes) -> bytes:
    """Return the question of who has an address, from nobody, to the group that whoever has it is in."""
    group = ipaddress.ip_address("ff02::1:ff00:0").packed[:13] + address[13:]
    message = bytes((_SOLICITATION, 0, 0, 0)) + bytes(4) + address
    pseudo = bytes(16) + group + len(message).to_bytes(4, "big") + bytes((0, 0, 0, _ICMP6))
    message = message[:2] + _checksum(pseudo + message) + message[4:]
    ip = b"\x60\0\0\0" + len(message).to_bytes(2, "big") + bytes((_ICMP6, 255)) + bytes(16) + group
    return b"\x33\x33" + group[12:] + mac + _IPV6.to_bytes(2, "big") + ip + message


def _checksum(data: bytes) -> bytes:
    """Return the Internet's (RFC 1071)."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def _hear_all_groups(end: socket.socket, device: str) -> None:
    """Have it hear what goes to all nodes, as answers to nobody do: a group of those that have IPv6."""
    request = struct.pack("iHH8x", socket.if_nametoindex(device), _PACKET_MR_ALLMULTI, 0)
    end.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, request)
