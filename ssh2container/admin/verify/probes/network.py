"""The network: what a session reaches, and that it can neither change that nor lie about who it is."""

from __future__ import annotations

import errno
import socket
import struct
from errno import (
    EACCES,
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    ECONNREFUSED,
    EHOSTUNREACH,
    ENETUNREACH,
    EPERM,
)
from typing import TYPE_CHECKING

from ssh2container.admin.verify.probe import Group, refusal, require
from ssh2container.admin.verify.verdicts import Escaped, Weak
from ssh2container.kernel import private_network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.verify.surroundings import Surroundings

GROUP = Group("Network")

PATIENCE_SECONDS = 5.0
"""A refusal is told at once; whoever has to wait for it has met no wall but a hole in the road."""
_TOLD = (ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, EACCES, EPERM, EAFNOSUPPORT, EADDRNOTAVAIL)
_METADATA = ("169.254.169.254", "fd00:ec2::254")
"""Where clouds hand out the credentials of a host (RFC 3927, section 8)."""
_GATEWAYS = (private_network.GATEWAY4, private_network.GATEWAY6, "10.0.2.1", "10.0.2.4")
"""By which forwarders in user space are known to lead to their host's loopback."""
_FLOOD = 2000
_IP_FREEBIND = 15
_IP_OPTIONS, _LOOSE_SOURCE_ROUTE = 4, 131


def _excuse(surroundings: Surroundings) -> str:
    """Return the key that lets a session reach more than the internet."""
    policy = surroundings.policy
    if policy.networks:
        return "networks"
    if policy.network_mode == "private":
        return "" if policy.egress in ("internet", "none") else "egress"
    return "network_mode" if surroundings.shares_network else ""


def _require_own(surroundings: Surroundings) -> None:
    """Raise what the policy excuses where packets would go out to an administrator's network."""
    if _excuse(surroundings) in ("network_mode", "networks"):
        raise Escaped("not tried: it would reach the administrator's network")


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _connect(address: str, port: int) -> None:
    """Connect by TCP; raises OSError with the refusal, Escaped where nobody says anything."""
    with socket.socket(_family(address), socket.SOCK_STREAM) as client:
        client.settimeout(PATIENCE_SECONDS)
        try:
            client.connect((address, port))
        except TimeoutError:
            raise Weak(f"{address} port {port}: no answer, where a refusal should have come") from None


def _reached(address: str, port: int) -> str:
    try:
        return refusal(lambda: _connect(address, port), _TOLD)
    except Escaped as hole:
        raise Escaped(f"{address} port {port}: {hole}") from None


def _all_refused(addresses: Iterator[str] | tuple[str, ...], port: int) -> str:
    answers = {_reached(address, port) for address in addresses}
    return ", ".join(sorted(answers)) or "the host has none"


@GROUP.check("the metadata service of a cloud is out of reach", "RFC 3927, section 8", excuse=_excuse)
def _metadata(surroundings: Surroundings) -> str:
    _require_own(surroundings)
    return _all_refused(_METADATA, 80)


@GROUP.check(
    "a service of the host, by each of the host's addresses", "network_namespaces(7)", excuse=_excuse
)
def _host(surroundings: Surroundings) -> str:
    require(surroundings.everywhere, "no bait could be laid on the host")
    return _all_refused(surroundings.addresses, surroundings.everywhere)


def _mapped(addresses: tuple[str, ...]) -> Iterator[str]:
    """Yield forms of IPv6 in which an IPv4 address can hide (RFC 4291, 3056, 6052)."""
    for address in addresses:
        if ":" not in address:
            high, low = struct.unpack("!HH", socket.inet_aton(address))
            yield f"::ffff:{address}"
            yield f"::{address}"
            yield f"2002:{high:x}:{low:x}::1"
            yield f"64:ff9b::{high:x}:{low:x}"


@GROUP.check(
    "a service of the host, by IPv4 addresses within IPv6 ones",
    "RFC 4291, RFC 3056, RFC 6052",
    excuse=_excuse,
)
def _embedded(surroundings: Surroundings) -> str:
    _require_own(surroundings)
    return _all_refused(_mapped((*surroundings.addresses, "127.0.0.1")), surroundings.everywhere)


@GROUP.check(
    "a service of the host's loopback, by the gateway",
    "slirp4netns(1), --disable-host-loopback",
    excuse=_excuse,
)
def _gateway(surroundings: Surroundings) -> str:
    _require_own(surroundings)
    _all_refused(_GATEWAYS, surroundings.port)
    return _all_refused(_GATEWAYS, surroundings.everywhere)


@GROUP.check("a datagram to each of the host's addresses", "udp(7)", excuse=_excuse)
def _datagrams(surroundings: Surroundings) -> str:
    answers = {_told_of_datagram(address, surroundings.everywhere) for address in surroundings.addresses}
    return ", ".join(sorted(answers)) or "the host has none"


def _told_of_datagram(address: str, port: int) -> str:
    """Send one; return the refusal. Raises Escaped where none comes: the bait on the host is silent."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_SECONDS)
        try:
            client.connect((address, port))
            client.send(b"verify")
            client.recv(1)
        except TimeoutError:
            raise Escaped(f"{address} port {port}: nobody refused it") from None
        except OSError as error:
            require(error.errno in _TOLD, f"{address} port {port}: {error}")
            return errno.errorcode[error.errno or 0]
    raise Escaped(f"{address} port {port} answered")


@GROUP.check(
    "a route of the sender's through the gateway to the host", "ip(7), IP_OPTIONS; RFC 7126", excuse=_excuse
)
def _source_route(surroundings: Surroundings) -> str:
    _require_own(surroundings)

    def attempt(address: str) -> None:
        hops = socket.inet_aton(private_network.GATEWAY4) + socket.inet_aton(address)
        option = struct.pack("BBB", _LOOSE_SOURCE_ROUTE, 3 + len(hops), 4) + hops + b"\0"
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE_SECONDS)
            client.setsockopt(socket.IPPROTO_IP, _IP_OPTIONS, option)
            try:
                client.connect((address, surroundings.everywhere))
            except TimeoutError:
                return
        raise Escaped(f"{address} port {surroundings.everywhere}: connected")

    seen = set()
    for address in surroundings.addresses:
        if ":" not in address:
            try:
                attempt(address)
            except OSError as error:
                seen.add(errno.errorcode[error.errno or 0])
            else:
                seen.add("dropped")
    return ", ".join(sorted(seen)) or "the host has no IPv4 address"


@GROUP.check("send from an address of somebody else", "ip(7), IP_FREEBIND", excuse=_excuse)
def _freebind(surroundings: Surroundings) -> str:
    """Anybody may bind to an address that is not there (IP_FREEBIND); nothing may come back to it."""
    _require_own(surroundings)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(PATIENCE_SECONDS)
        client.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        try:
            client.bind(("10.0.2.77", 0))
            client.connect((private_network.DNS4, 53))
        except TimeoutError:
            return "dropped"
        except OSError as error:
            return errno.errorcode[error.errno or 0]
    raise Escaped("a connection from another address came to be")


@GROUP.check(
    "after a flood of refused connections, a refusal still comes at once",
    "udp(7), tcp(7)",
    excuse=_excuse,
    works=True,
)
def _flood(surroundings: Surroundings) -> str:
    """See that the program at the other end of a private network goes on within its bounds."""
    _require_own(surroundings)
    target = _METADATA[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for port in range(1, _FLOOD):
            try:
                sender.sendto(b"verify", (target, port))
            except OSError:
                continue
    waiting = []
    try:
        for port in range(1, 200):
            client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            client.setblocking(False)
            client.connect_ex((target, port))
            waiting.append(client)
    except OSError:
        pass  # a limit of the session's
    finally:
        for client in waiting:
            client.close()
    answer = _reached_or_excused(target)
    return f"answered {answer} after {_FLOOD} datagrams and {len(waiting)} connections"


def _reached_or_excused(address: str) -> str:
    try:
        _connect(address, 80)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "with a connection"
