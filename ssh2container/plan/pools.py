"""The network namespaces that root has prepared for a user: what a login finds of them.

A policy that names ``networks`` has its sessions in one of a few namespaces of that kind, each with its
interfaces, addresses and routes (``admin.networks`` makes them, at boot and when a policy changes). It is
owned by a user namespace of the user's, so that a login can enter it without root, and that of the session
is a child of that one, so that nothing inside counts over it (user_namespaces(7)).
"""

from __future__ import annotations

import marshal
import posix as os
from _blake2 import blake2b

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.kernel import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.policy.policy import Policy

    from .account import Account
    from .ranges import Range

POOLS = paths.RUNTIME + "/networks"
"""``UID/NUMBER`` below it is one prepared namespace; ``UID/resolv.conf`` what its sessions have as that."""
NAMESPACE, LOCK, FACTS, RESOLVER = "net", "lock", "facts", "resolv.conf"
"""What a prepared namespace consists of: the namespace itself, bound there; the user's file, which a session
locks; root's words on it, the last to be written; and, beside them, the resolver's configuration."""
STEP = "networks"
PREPARE = "an administrator prepares them: ssh2containerctl enable "
_FORMAT = 2
"""Of the facts: those of another count as another policy's."""


class Interface:
    """One of a namespace's. driver, parent: what it stands on. name: inside. addresses: none where DHCP says.

    words: all of that for people.
    """

    __slots__ = ("addresses", "driver", "name", "parent", "words")

    def __init__(self, driver: str, parent: str, name: str, addresses: str, words: str) -> None:
        self.driver = driver
        self.parent = parent
        self.name = name
        self.addresses = addresses.split()
        self.words = words

    @classmethod
    def of_line(cls, line: str) -> Interface:
        """Return what :meth:`line` has written."""
        return cls(*line.split("\t"))

    def line(self) -> str:
        """Return it as a line of the facts."""
        return "\t".join((self.driver, self.parent, self.name, " ".join(self.addresses), self.words))


class Slot:
    """A prepared namespace. place: its directory."""

    __slots__ = ("interfaces", "place")

    def __init__(self, place: str, interfaces: tuple[Interface, ...]) -> None:
        self.place = place
        self.interfaces = interfaces

    def host_end(self, index: int) -> str:
        """Return the name of the host's end of an interface that stands on a bridge."""
        uid, _, number = self.place.removeprefix(POOLS + "/").partition("/")
        return host_end(int(uid), int(number), index)


class Pool:
    """Those that were prepared for the policy as it is now.

    name: the user's. networks: their names. outdated: how many are of another policy.
    """

    __slots__ = ("name", "networks", "outdated", "resolv_conf", "slots")

    def __init__(
        self, name: str, networks: str, slots: tuple[Slot, ...], outdated: int, resolv_conf: bytes
    ) -> None:
        self.name = name
        self.networks = networks
        self.slots = slots
        self.outdated = outdated
        self.resolv_conf = resolv_conf

    @classmethod
    def observe(cls, policy: Policy, account: Account, ids: Range | None) -> Pool:
        """Look at what is there for the sessions of ``account``. Raises Refusal where that is nothing."""
        directory = f"{POOLS}/{account.uid}"
        wanted = head(digest(policy), None if ids is None else ids.base)
        slots, outdated = [], 0
        for name in numbered(directory):
            first, *words = facts(f"{directory}/{name}")
            if first == wanted:
                slots.append(Slot(f"{directory}/{name}", tuple(map(Interface.of_line, words[1:]))))
            elif first:
                outdated += 1
        names = ", ".join(network.name for network in policy.networks)
        if not slots:
            why = "none is prepared"
            if outdated:
                why = f"the {outdated} that are prepared are those of another policy"
            raise Refusal(
                f"cannot put {account.name} on the networks of the policy ({names})",
                why,
                PREPARE + account.name,
                STEP,
            )
        return cls(account.name, names, tuple(slots), outdated, _read(f"{directory}/{RESOLVER}"))


def digest(policy: Policy) -> str:
    """Return what tells one policy's networks from another's."""
    return blake2b(marshal.dumps([*policy.values["networks"].items()], 2), digest_size=16).hexdigest()


def head(wanted: str, base: int | None) -> str:
    """Return the first line of the facts: for which networks, and for which range of ids (its base)."""
    return f"{_FORMAT} {wanted} {'-' if base is None else base}"


def host_end(uid: int, number: int, index: int) -> str:
    """Return the name of the host's end of an interface: at most 15 characters, whatever the uid."""
    return f"sc{uid:x}-{number}-{index}"


def numbered(directory: str) -> list[str]:
    """Return the names of the prepared namespaces, the lowest number first."""
    try:
        return sorted((name for name in os.listdir(directory) if name.isdecimal()), key=int)
    except OSError:
        return []


def facts(place: str) -> list[str]:
    """Return root's words: :func:`head`, what names all that was made, then each :class:`Interface`."""
    return paths.fsdecode(_read(f"{place}/{FACTS}")).splitlines() or [""]


def _read(path: str) -> bytes:
    try:
        return process.read_file(path)
    except OSError:
        return b""
