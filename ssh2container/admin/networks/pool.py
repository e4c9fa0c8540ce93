"""The namespaces of one user: what there should be, what there is, and bringing the one to the other."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import TYPE_CHECKING, NamedTuple

from ssh2container import paths
from ssh2container.admin import atomic
from ssh2container.admin.change import read_or_none
from ssh2container.admin.durable import listed, read_json
from ssh2container.admin.networks import conflicts, definitions, dhcp, namespaces, resolver, tools, wanted
from ssh2container.admin.networks.namespaces import Ids
from ssh2container.plan import pools

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.account import Account
    from ssh2container.admin.images.ids import Range
    from ssh2container.admin.networks.wanted import Link
    from ssh2container.policy.policy import Policy

RECORDS = "/var/lib/ssh2container/networks"
"""A file for each user who has addresses of a network, named by the uid: what others do not get."""
_FORMAT = "2"


class Prepared(NamedTuple):
    """One namespace as it should be. facts: what the login reads, see :mod:`ssh2container.plan.pools`."""

    number: int
    links: tuple[Link, ...]
    facts: str


class Wanted(NamedTuple):
    """All of a user's. record: whose addresses they are: network -> addresses of each namespace.

    leased: the name servers are those of leases, and resolv_conf holds until there is one.
    """

    ids: Ids
    namespaces: tuple[Prepared, ...]
    record: list[dict[str, list[str]]]
    resolv_conf: bytes
    leased: bool


def directory_of(uid: int) -> str:
    """Return where a user's namespaces are."""
    return f"{pools.POOLS}/{uid}"


def find(account: Account, policy: Policy, part: Range | None) -> Wanted:
    """Return what ``policy``, which names networks, needs. Raises SessionError.

    part: the range of ids that sessions have, or None.
    """
    site = definitions.of_site()
    found = {network.name: definitions.find(network.name, site) for network in policy.networks}
    ids = _ids(account, part)
    base = None if part is None else part.base
    former, taken = _record(account.uid), _taken(account.uid, policy)
    there = tools.devices()
    for name, definition in found.items():
        if definition.driver != "interface" and definition.parent in there:
            taken[name] |= tools.addresses(definition.parent)
    single = wanted.is_single(policy, found.__getitem__)
    made: list[Prepared] = []
    record: list[dict[str, list[str]]] = []
    machine = tools.machine()
    for number in range(1 if single else wanted.count(policy)):
        seed = f"{machine} {account.uid} {number}"
        preferred = former[number] if number < len(former) else {}
        links = wanted.links(policy, found.__getitem__, taken, seed, preferred)
        record.append({link.definition.name: [a.partition("/")[0] for a in link.addresses] for link in links})
        made.append(Prepared(number, links, _facts(policy, base, ids, links)))
    return Wanted(ids, tuple(made), record, resolver.text(found.values()), _is_leased(found))


def _is_leased(found: dict[str, definitions.Definition]) -> bool:
    return any(one.dhcp for one in found.values()) and not any(one.dns for one in found.values())


def _facts(policy: Policy, base: int | None, ids: Ids, links: tuple[Link, ...]) -> str:
    exact = hashlib.blake2b(repr((_FORMAT, ids, links)).encode(), digest_size=16).hexdigest()
    lines = [pools.head(pools.digest(policy), base), exact, *(_written(link) for link in links)]
    return "".join(f"{line}\n" for line in lines)


def _written(link: Link) -> str:
    definition = link.definition
    plain = " ".join(address.partition("/")[0] for address in link.addresses)
    return pools.Interface(definition.driver, definition.parent, link.name, plain, link.words()).line()


def _ids(account: Account, part: Range | None) -> Ids:
    """Return whose the namespaces are; what is mapped is the user's own ids, and the range."""
    uids, gids = [(account.uid, account.uid, 1)], [(account.gid, account.gid, 1)]
    if part is not None:
        uids.append((part.base, part.base, part.count))
        gids.append((part.base, part.base, part.count))
    return Ids(account.uid, account.gid, uids, gids)


def done(account: Account, found: Wanted | None) -> bool:
    """Tell whether all is as it should be."""
    directory = directory_of(account.uid)
    there = pools.numbered(directory)
    if found is None:
        return not os.path.lexists(directory) and not os.path.lexists(_record_path(account.uid))
    return (
        there == [str(one.number) for one in found.namespaces]
        and all(is_whole(account.uid, one) for one in found.namespaces)
        and _record(account.uid) == found.record
        and (found.leased or resolver.read(f"{directory}/{pools.RESOLVER}") == found.resolv_conf)
    )


def is_whole(uid: int, one: Prepared) -> bool:
    """Tell whether a namespace is there as it should be, and connected to what it stands on."""
    place = f"{directory_of(uid)}/{one.number}"
    return "\n".join([*pools.facts(place), ""]) == one.facts and namespaces.is_attached(
        one.links, uid, one.number, place
    )


def bring_about(account: Account, found: Wanted | None) -> list[str]:
    """Make what should be; return a sentence for each that a session still uses as it was before.

    Raises SessionError, OSError.
    """
    directory = directory_of(account.uid)
    if found is None:
        take_away(account.uid)
        return []
    was_there = os.path.lexists(_record_path(account.uid))
    try:
        return _bring_about(account, found, directory)
    except BaseException:
        if not was_there:
            take_away(account.uid)
        raise


def _bring_about(account: Account, found: Wanted, directory: str) -> list[str]:
    os.makedirs(directory, 0o755, exist_ok=True)
    left = [
        f"the network {name} of {account.name} is still in use by a session"
        for name in pools.numbered(directory)
        if int(name) >= len(found.namespaces) and not _remove_unless_used(f"{directory}/{name}")
    ]
    _write_record(account, found.record)
    if not (found.leased and os.path.exists(f"{directory}/{pools.RESOLVER}")):
        _write_resolver(f"{directory}/{pools.RESOLVER}", found.resolv_conf)
    to_make: list[Prepared] = []
    connected: dict[str, tuple[Link, ...]] = {}
    for one in found.namespaces:
        place = f"{directory}/{one.number}"
        if is_whole(account.uid, one):
            continue
        if "\n".join([*pools.facts(place), ""]) == one.facts and namespaces.attach_again(
            one.links, account.uid, one.number, place
        ):
            connected[place] = one.links
            continue
        if namespaces.in_use(place):
            left.append(
                f"the network {one.number} of {account.name} stays as it was: a session is in it"
                " (once it has ended: ssh2containerctl compile)"
            )
            continue
        namespaces.remove(place)
        to_make.append(one)
    conflicts.require_free([link for one in to_make for link in one.links])
    for one in to_make:
        place = f"{directory}/{one.number}"
        namespaces.make(place, found.ids, one.number, one.links, one.facts)
        connected[place] = one.links
    dhcp.await_leases(connected)
    return left


def take_away(uid: int) -> None:
    """Remove all of a user's; sessions that run keep theirs."""
    directory = directory_of(uid)
    for name in pools.numbered(directory):
        namespaces.remove(f"{directory}/{name}")
    for path in (f"{directory}/{pools.RESOLVER}", _record_path(uid)):
        with contextlib.suppress(OSError):
            os.unlink(path)
    for place in (directory, pools.POOLS, RECORDS):
        with contextlib.suppress(OSError):
            os.rmdir(place)


def _remove_unless_used(place: str) -> bool:
    if namespaces.in_use(place):
        return False
    namespaces.remove(place)
    return True


def uids() -> Iterator[int]:
    """Yield the uids that have something here."""
    names = {*listed(pools.POOLS), *(name.removesuffix(".json") for name in listed(RECORDS))}
    yield from sorted(int(name) for name in names if name.isdecimal())


# ---- who has which addresses ----


def _record_path(uid: int) -> str:
    return f"{RECORDS}/{uid}.json"


def _record(uid: int) -> list[dict[str, list[str]]]:
    try:
        found: list[dict[str, list[str]]] = read_json(_record_path(uid))["namespaces"]
    except (OSError, ValueError, KeyError):
        return []
    return found


def _write_record(account: Account, record: list[dict[str, list[str]]]) -> None:
    os.makedirs(RECORDS, 0o755, exist_ok=True)
    text = json.dumps({"name": account.name, "namespaces": record}, indent=1) + "\n"
    if read_or_none(_record_path(account.uid)) != text:
        atomic.write(_record_path(account.uid), text)


def _taken(uid: int, policy: Policy) -> dict[str, set[str]]:
    """Return network -> the addresses that other users' namespaces have."""
    taken: dict[str, set[str]] = {network.name: set() for network in policy.networks}
    for name in listed(RECORDS):
        other = name.removesuffix(".json")
        if other.isdecimal() and int(other) != uid:
            for one in _record(int(other)):
                for network, addresses in one.items():
                    taken.setdefault(network, set()).update(addresses)
    return taken


def users_of(network: str) -> dict[str, list[str]]:
    """Return user -> addresses of everybody who has namespaces on ``network``."""
    found: dict[str, list[str]] = {}
    for file in listed(RECORDS):
        with contextlib.suppress(OSError, ValueError, KeyError):
            record = read_json(f"{RECORDS}/{file}")
            if any(network in one for one in record["namespaces"]):
                dealt = [address for one in record["namespaces"] for address in one.get(network, ())]
                found[str(record["name"])] = dealt
    return found


def _write_resolver(path: str, content: bytes) -> None:
    if resolver.read(path) != content:
        atomic.write(path, paths.fsdecode(content))
