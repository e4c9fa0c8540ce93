"""Every connection that sshd's files tell apart, so that each can be asked about (pure).

``sshd -T -C`` answers for one connection. A Match line that is written before ours, say for a port, decides
for connections that nobody has asked about; here each criterion of each Match line becomes an example of
what meets it and one of what does not, and the examples are combined.
Source: sshd_config(5), Match, PATTERNS.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ssh2container.plan.environment import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ssh2container.plan.sshd_files import Block, Line

MOST_ASKED = 400
"""Connections for each kind of user; an answer takes sshd about 15 ms."""
_OF_THE_USER = ("user", "group")
_OF_THE_SERVER = ("all", "version", "invalid-user")
"""Criteria that do not change with the connection of a user who exists."""
_PLAIN = {"addr": "127.0.0.1", "laddr": "127.0.0.1", "host": "localhost", "lport": "22", "rdomain": ""}
_FIELDS = {
    "address": "addr",
    "localaddress": "laddr",
    "host": "host",
    "localport": "lport",
    "rdomain": "rdomain",
}
"""The criterion and its name in ``-C``."""
_UNLIKE = ("192.0.2.77", "198.51.100.77", "2001:db8::77", "203.0.113.77")
"""Addresses for documentation (RFC 5737, RFC 3849): most probably in no list."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One way to come in: what ``-C`` takes beside the user."""

    values: tuple[tuple[str, str], ...] = tuple(_PLAIN.items())

    def asked(self, user: str) -> str:
        """Return the value for ``-C``."""
        return ",".join([f"user={user}", *(f"{name}={value}" for name, value in self.values)])

    def get(self, name: str) -> str:
        """Return one of the values."""
        return dict(self.values).get(name, "")

    def __str__(self) -> str:
        shown = [f"{name}={value}" for name, value in self.values if value and value != _PLAIN[name]]
        return ", ".join(shown) or "any connection"


@dataclass(slots=True)
class Examples:
    """The connections that are worth asking about.

    connections: the plain one first. complete: whether all combinations are among them.
    unknown: blocks with a criterion that nothing here knows, with its name.
    """

    connections: list[Connection]
    complete: bool
    unknown: list[tuple[Block, str]] = field(default_factory=list)


def examples(blocks: Sequence[Block], ports: Iterable[str] = ("22",), most: int = MOST_ASKED) -> Examples:
    """Return an example of each connection that ``blocks`` tell apart.

    ports: those that sshd listens on. most: stop after that many; each block's own examples come first.
    """
    plain = {**_PLAIN, "lport": next(iter(ports), "22")}
    tried: dict[str, list[str]] = {name: [value] for name, value in plain.items()}
    alone: list[dict[str, str]] = [{}]
    unknown = []
    for block in blocks:
        wanted: dict[str, list[str]] = {}
        for criterion, value in _with_those_around(block):
            if criterion in _FIELDS:
                wanted.setdefault(_FIELDS[criterion], []).extend(_samples(criterion, value))
            elif criterion not in (*_OF_THE_USER, *_OF_THE_SERVER):
                unknown.append((block, criterion))
        for name, samples in wanted.items():
            tried[name] += [sample for sample in samples if sample not in tried[name]]
        alone += [
            dict(zip(wanted, chosen, strict=True)) for chosen in itertools.product(*wanted.values()) if wanted
        ]
    for port in ports:
        if port not in tried["lport"]:
            tried["lport"].append(port)
    found = list(dict.fromkeys(Connection(tuple({**plain, **one}.items())) for one in alone))
    total = 1
    for samples in tried.values():
        total *= len(samples)
    if total <= most:
        every = (
            Connection(tuple(zip(tried, chosen, strict=True)))
            for chosen in itertools.product(*tried.values())
        )
        found = list(dict.fromkeys([*found, *every]))
    return Examples(found[:most], total <= most, unknown)


def _with_those_around(block: Block) -> Iterator[tuple[str, str]]:
    """Yield the criteria of a block and of the blocks that its file was included from."""
    current: Block | None = block
    while current is not None:
        yield from current.criteria
        current = current.around


def _samples(criterion: str, value: str) -> list[str]:
    """Return what meets each pattern of a list, negated ones too, and something that meets none."""
    patterns = [pattern.strip().lstrip("!") for pattern in value.split(",")]
    if criterion in ("address", "localaddress"):
        others = [one for one in _UNLIKE if not meets(criterion, value.replace("!", ""), one)]
        made = [_address(pattern) for pattern in patterns]
    elif criterion == "localport":
        return [value]
    else:
        others = [] if criterion == "rdomain" else ["elsewhere.invalid"]
        made = [_filled(pattern) for pattern in patterns]
    return [one for one in dict.fromkeys([*made, *others[:1]]) if one and "," not in one]


def _address(pattern: str) -> str:
    if "/" in pattern:
        try:
            network = ipaddress.ip_network(pattern, strict=False)
        except ValueError:
            return ""
        return str(network[1] if network.num_addresses > 2 else network[0])  # noqa: PLR2004
    return pattern.replace("*", "7").replace("?", "7") if "*" not in pattern else _widened(pattern)


def _widened(pattern: str) -> str:
    """Return an address for a pattern with ``*``, which may stand for several numbers."""
    separator = ":" if ":" in pattern else "."
    parts = [part.replace("*", "7").replace("?", "7") for part in pattern.split(separator)]
    missing = 4 - len(parts) if separator == "." else 0
    return separator.join(parts + ["7"] * missing)


def _filled(pattern: str) -> str:
    return pattern.replace("*", "any").replace("?", "x")


def meets(criterion: str, value: str, given: str) -> bool:
    """Tell whether ``given`` meets one criterion, as sshd would; used to say where a value comes from."""
    found = False
    for pattern in value.split(","):
        text = pattern.strip()
        negated, text = text.startswith("!"), text.lstrip("!")
        if criterion in ("address", "localaddress"):
            fits = _in_network(text, given)
        elif criterion == "host":
            fits = fnmatch.fnmatchcase(given.lower(), text.lower().replace("[", "[[]"))
        else:
            fits = matches(given.encode(), text.encode("utf-8", "surrogateescape"))
        if fits and negated:
            return False
        found = found or fits
    return found


def _in_network(pattern: str, given: str) -> bool:
    if "/" not in pattern:
        return matches(given.encode(), pattern.encode("utf-8", "surrogateescape"))
    try:
        return ipaddress.ip_address(given) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False


def holds(block: Block | None, user: str, groups: Sequence[str], connection: Connection) -> bool:
    """Tell whether a Match block holds for a connection of a user, as far as its criteria are known."""
    current = block
    while current is not None:
        for criterion, value in current.criteria:
            if criterion == "user":
                fits = meets(criterion, value, user)
            elif criterion == "group":
                fits = _any_group(value, groups)
            elif criterion in _FIELDS:
                fits = meets(criterion, value, connection.get(_FIELDS[criterion]))
            else:
                fits = criterion in ("all", "version")
            if not fits:
                return False
        current = current.around
    return True


def _any_group(value: str, groups: Sequence[str]) -> bool:
    """Tell whether one of the groups is in a list and none is negated there."""
    patterns = value.split(",")
    if any(
        meets("group", pattern[1:], group)
        for pattern in patterns
        if pattern.startswith("!")
        for group in groups
    ):
        return False
    return any(meets("group", value, group) for group in groups)


def written(
    lines: Iterable[Line], keyword: str, user: str, groups: Sequence[str], connection: Connection
) -> Line | None:
    """Return the line that decides about ``keyword``: the first in a block that holds, else the first of all.

    What stands in a Match block that holds counts more than what stands outside of any.
    """
    outside = None
    for line in lines:
        if line.keyword != keyword:
            continue
        if line.block is None:
            outside = outside or line
        elif holds(line.block, user, groups, connection):
            return line
    return outside


def alike(blocks: Sequence[Block], user: str, groups: Sequence[str]) -> tuple[bool, ...]:
    """Return what sshd sees of a user: two with the same value are told apart by no Match line."""
    seen = []
    for block in blocks:
        for criterion, value in block.criteria:
            if criterion == "user":
                seen.append(meets(criterion, value, user))
            elif criterion == "group":
                seen.append(_any_group(value, groups))
    return tuple(seen)
