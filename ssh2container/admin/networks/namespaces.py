"""Making one prepared namespace, with its interfaces, and removing it. Only root can.

The order matters: the facts come last, and are all that a login goes by.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from typing import TYPE_CHECKING, NamedTuple

from ssh2container.admin.durable import is_held
from ssh2container.admin.mountpoints import is_mount_point
from ssh2container.admin.networks import definitions, dhcp, moved, tools
from ssh2container.kernel import idmapped, mounts, namespaces, prepared
from ssh2container.plan.operations.network import WIDE
from ssh2container.plan.pools import FACTS, LOCK, NAMESPACE, host_end

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssh2container.admin.networks.wanted import Link

    Map = Sequence[tuple[int, int, int]]

_SETTINGS = {
    "ipv4/ip_forward": "0",
    "ipv6/conf/all/forwarding": "0",
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/conf/default/accept_redirects": "0",
    "ipv4/conf/all/accept_source_route": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv6/conf/all/accept_redirects": "0",
    "ipv6/conf/default/accept_redirects": "0",
    # What nobody inside can change, and every container engine sets for who has no rights over the network.
    "ipv4/ping_group_range": "0 2147483647",
    "ipv4/ip_unprivileged_port_start": "0",
    # What pid 1 writes where the network is the session's own.
    **{name: value.decode() for name, value in WIDE.items()},
}
_ROUTERS = {f"ipv6/conf/{which}/accept_ra": "0" for which in ("all", "default")}
"""Where addresses are static: a neighbour's word on routes does not count."""
_OWN_SOURCES = """
table inet ssh2container {
    chain out {
        type filter hook output priority 0; policy drop;
        udp dport { 68, 546 } drop
        udp dport { 67, 547 } meta skuid != { 0, 65534 } drop
        fib saddr type local accept
        ip6 saddr :: accept
    }
}
"""
"""Without rights a program may still bind to any address of IPv6 and send from it (IP_FREEBIND, ip(7)).

And as low ports are everybody's here, it could be the network's DHCP server, for the other machines there or
for root's own client in the namespace, ask the real one for all addresses, or give back those of others
(RFC 2131). Root's client is uid 0, or, where a kernel tells ids as the namespace's owner sees them, of a uid
that is not mapped.
"""


class Ids(NamedTuple):
    """Whose it is: the user, and the maps of the user namespace that owns it (identical ids)."""

    uid: int
    gid: int
    uids: Map
    gids: Map


def make(place: str, ids: Ids, number: int, links: Sequence[Link], facts: str) -> None:
    """Make the namespace at ``place`` anew. Raises SessionError, OSError; then it is not there."""
    remove(place)
    there = tools.devices()
    for link in links:
        definitions.require_parent(link.definition, there)
    os.makedirs(place, 0o750, exist_ok=True)
    try:
        # A network that anybody has open stays when it is removed, and anybody may open one (nsfs).
        os.chown(place, 0, ids.gid)
        os.chmod(place, 0o750)  # noqa: S103 - the group is that of the user, who has to get in
        for name in (NAMESPACE, LOCK):
            os.close(os.open(f"{place}/{name}", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_RDONLY, 0o600))
        os.chown(f"{place}/{LOCK}", ids.uid, ids.gid)
        _bind(f"{place}/{NAMESPACE}", ids)
        moved.note(place, links)
        _connect(f"{place}/{NAMESPACE}", ids.uid, number, links)
        dhcp.start(place, links)
        with open(f"{place}/{FACTS}", "x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(facts)
    except BaseException:
        remove(place)
        raise


def _bind(path: str, ids: Ids) -> None:
    """Have a child make both namespaces as the user, and keep that of the network at ``path``."""
    made, tell = os.pipe()
    wait, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(made)
            os.close(done)
            os.setgroups([])
            os.setresgid(ids.gid, ids.gid, ids.gid)
            os.setresuid(ids.uid, ids.uid, ids.uid)
            prepared.unshare(namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNET)
            os.write(tell, b"\0\0\0\0")
            os.read(wait, 1)
        except OSError as error:
            os.write(tell, (error.errno or 1).to_bytes(4, "little"))
        finally:
            os._exit(0)
    os.close(tell)
    os.close(wait)
    try:
        number = int.from_bytes(os.read(made, 4) or b"\x01", "little")
        if number:
            raise OSError(number, os.strerror(number), "user and network namespaces")
        prepared.write_maps(pid, tuple(ids.uids), tuple(ids.gids))
        mounts.bind(f"/proc/{pid}/ns/net", path)
    finally:
        os.close(done)
        os.close(made)
        os.waitpid(pid, 0)


def _connect(namespace: str, uid: int, number: int, links: Sequence[Link]) -> None:
    asks = any(link.definition.dhcp for link in links)
    tools.settings(_SETTINGS | ({} if asks else _ROUTERS), inside=namespace)
    outside: list[str] = []
    there = tools.devices()
    for index, link in enumerate(links):
        end = host_end(uid, number, index)
        if end in there:
            outside.append(f"link delete {end}")  # of a namespace that is going, or that a session has kept
        outside += _attach(link, end, namespace)
    tools.ip(outside)
    tools.ip(["link set lo up", *(line for link in links for line in _address(link))], inside=namespace)
    tools.nft(_OWN_SOURCES, inside=namespace)


def _attach(link: Link, end: str, namespace: str) -> list[str]:
    """Return the commands, outside, that put the interface into the namespace."""
    definition = link.definition
    mtu = "" if definition.mtu is None else f" mtu {definition.mtu}"
    if definition.driver == "bridge":
        peer = f"peer name {link.name} address {link.mac}{mtu} netns {namespace}"
        return [
            f"link add {end}{mtu} type veth {peer}",
            f"link set {end} master {definition.parent} addrgenmode none",
            *([f"link set {end} type bridge_slave isolated on"] if definition.isolated else []),
            f"link set {end} up",
        ]
    if definition.driver == "macvlan":
        mode = definition.mode or "bridge"
        return [
            f"link add link {definition.parent} name {end} address {link.mac}{mtu} type macvlan mode {mode}",
            f"link set {end} netns {namespace} name {link.name}",
        ]
    return [
        f"link set {definition.parent} down",
        f"link set {definition.parent} netns {namespace} name {link.name}",
    ]


def _address(link: Link) -> list[str]:
    """Return the commands, inside, that give the interface its addresses and routes."""
    name = link.name
    found = [f"link set {name}{f' mtu {link.definition.mtu}' if link.definition.mtu else ''} up"]
    # Nobody waits for the test for duplicates (RFC 4862) at a login.
    found += [f"address add {one} dev {name}" + " nodad" * (":" in one) for one in link.addresses]
    found += [
        f"route add default via {gateway} dev {name}{_onlink(link, gateway)}" for gateway in link.gateways
    ]
    found += [f"route add {to} via {via} dev {name}" for to, via in link.routes]
    return found


def _onlink(link: Link, gateway: str) -> str:
    via = ipaddress.ip_address(gateway)
    near = any(via in ipaddress.ip_interface(address).network for address in link.addresses)
    return "" if near or via.is_link_local else " onlink"


def in_use(place: str) -> bool:
    """Tell whether a session is in it."""
    return is_held(f"{place}/{LOCK}", os.O_NOFOLLOW | os.O_NONBLOCK)


def remove(place: str) -> None:
    """Remove the namespace at ``place``; one that a session is in lasts as long as that."""
    path = f"{place}/{NAMESPACE}"
    with contextlib.suppress(OSError):
        os.unlink(f"{place}/{FACTS}")
    if is_mount_point(path):
        dhcp.stop(place)
        moved.bring_home(place, path)
        idmapped.detach(path)
    for name in (moved.FILE, NAMESPACE, LOCK):
        with contextlib.suppress(OSError):
            os.unlink(f"{place}/{name}")
    with contextlib.suppress(OSError):
        os.rmdir(place)


def is_attached(links: Sequence[Link], uid: int, number: int, place: str) -> bool:
    """Tell whether every interface is inside, and what it stands on is up, as is its end on a bridge."""
    path = f"{place}/{NAMESPACE}"
    if not is_mount_point(path):
        return False
    there, inside = tools.devices(), tools.devices(inside=path)
    return dhcp.runs(place, links) and all(
        link.name in inside and _stands(link, there, host_end(uid, number, index))
        for index, link in enumerate(links)
    )


def _stands(link: Link, there: dict[str, tools.Device], end: str) -> bool:
    if link.definition.driver == "interface":
        return True
    parent, device = there.get(link.definition.parent), there.get(end)
    if parent is None or not parent.is_up or link.definition.driver == "macvlan":
        return parent is not None and parent.is_up
    return device is not None and device.master == link.definition.parent and device.is_up


def attach_again(links: Sequence[Link], uid: int, number: int, place: str) -> bool:
    """Put what a bridge has lost, which was removed and made anew, back onto it; tell whether all is well.

    Raises SessionError where there is nothing to put it on.
    """
    there = tools.devices()
    for index, link in enumerate(links):
        end = host_end(uid, number, index)
        definitions.require_parent(link.definition, there)
        if link.definition.driver == "bridge" and end in there:
            tools.ip([f"link set {end} master {link.definition.parent}", f"link set {end} up"])
    dhcp.start(place, links)
    return is_attached(links, uid, number, place)
