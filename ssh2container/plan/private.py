"""A session's private network: what the host has to have for it, and what the program outside is told.

Pure, but for :func:`observe`. Imported only for a policy with ``network_mode: private``.
"""

from __future__ import annotations

import posix as os

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.kernel import private_network, process

from .operations import Operation
from .operations import private as steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.policy.policy import Policy
    from ssh2container.policy.private import Destination

    from .insider import Insider

FORWARDER = paths.parent(paths.parent(paths.parent(__file__))) + "/forwarder"
"""The program outside that has the rules (``native/forwarder``), installed beside the code."""
_UNPRIVILEGED_FROM = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
_USUAL_FIRST = 1024
_IPV6 = "/proc/net/if_inet6"
_KEPT = (b"search", b"domain", b"options")
"""What of resolv.conf(5) counts inside as well: which names are meant, not who is asked."""
_LONGEST_LINE = 1024
_OTHERWISE = "or network_mode: none"


class Observed:
    """What the host has for a private network.

    resolv_conf: the file of that name inside. has_resolver: whether the host has a name server to ask.
    has_ipv6: whether its kernel has IPv6.
    """

    __slots__ = ("has_ipv6", "has_resolver", "resolv_conf")

    def __init__(self, host_file: bytes, *, has_ipv6: bool) -> None:
        lines = [line.split() for line in host_file.splitlines() if len(line) <= _LONGEST_LINE]
        kept = [b" ".join(words) for words in lines if words and words[0] in _KEPT and _is_plain(words)]
        self.has_resolver = any(words[:1] == [b"nameserver"] and len(words) > 1 for words in lines)
        self.resolv_conf = b"\n".join([b"nameserver " + private_network.DNS4.encode(), *kept]) + b"\n"
        self.has_ipv6 = has_ipv6


def _is_plain(words: list[bytes]) -> bool:
    return all(word.isascii() and word.decode().isprintable() for word in words)


def observe(policy: Policy) -> Observed:
    """Look at what the host has. Raises Refusal where it lacks what such a network needs."""
    for path, mode, missing, remedy in (
        (
            FORWARDER,
            os.X_OK,
            "it was not installed with this version",
            "install libslirp-dev and run install.sh again",
        ),
        (
            steps.DEVICE,
            os.R_OK | os.W_OK,
            "the kernel's module for it is not loaded",
            steps.MakeTap.remedies[2],
        ),
    ):
        if not os.access(path, mode):
            there = paths.exists(path)
            why = "users may not use it" if there else missing
            advice = steps.MakeTap.remedies[13] if there and path == steps.DEVICE else remedy
            raise Refusal(
                f"cannot make a private network: {path}",
                why,
                f"an administrator: {advice}; {_OTHERWISE}",
                "network",
            )
    first = first_unprivileged()
    for port in policy.ports:
        if port.published < first:
            raise Refusal(
                f"cannot publish {port}",
                f"ports below {first} are root's on this host",
                f"publish one from {first} on, or lower net.ipv4.ip_unprivileged_port_start (sysctl.d(5))",
                "network",
            )
    return Observed(_read(paths.RESOLV_CONF), has_ipv6=paths.exists(_IPV6))


def first_unprivileged() -> int:
    """Return the lowest port of the host that is not root's alone (ip(7))."""
    found = _read(_UNPRIVILEGED_FROM).strip()
    return int(found) if found.isdigit() else _USUAL_FIRST


def _read(path: str) -> bytes:
    try:
        return process.read_file(path)
    except OSError:
        return b""


class Forwarding(Operation):
    """The program outside, which carries packets between the session's network and the host's sockets.

    configuration: what it is told, a line each (docs/protocol.md). reported: whether it tells of what it
    refuses. making, entering: what pid 1 does for it.
    """

    __slots__ = ("_egress", "_ports", "configuration", "entering", "making", "reported")
    step = "network"
    why = "root inside cannot change the rules, which are checked outside"

    def __init__(self, policy: Policy, observed: Observed, who: Insider) -> None:
        super().__init__("network_mode")
        self.reported = policy.egress_log == "refused"
        self._egress = reach(policy)
        self._ports = ", ".join(map(str, policy.ports))
        self.configuration = configuration(policy)
        self.making = (
            steps.MakeTap(),
            steps.SetUpTap(has_ipv6=observed.has_ipv6),
            steps.AllowPing(*groups(who)),
            steps.HandOverTap(),
        )
        self.entering = (steps.AwaitForwarder(),)

    def describe(self) -> str:
        """Say what it does."""
        published = f", publish {self._ports}" if self._ports else ""
        logged = "; what it refuses is recorded" if self.reported else ""
        return f"start {FORWARDER} under the user's uid: let out to {self._egress}{published}{logged}"

    def unpublished(self) -> Forwarding:
        """Return the same without ports, for a container that only shows whether it can be made."""
        other = Forwarding.__new__(Forwarding)
        for name in ("key", *Forwarding.__slots__):
            setattr(other, name, getattr(self, name))
        kept = [line for line in self.configuration.splitlines(True) if not line.startswith(b"publish ")]
        other.configuration = b"".join(kept)
        return other


def groups(who: Insider) -> tuple[int, int]:
    """Return the first and the last group inside, in the order of the host's numbers behind them.

    The kernel compares those (ping_init_sock, net/ipv4/ping.c).
    """
    if not who.gid_map:
        return who.gid, who.gid
    ends = [(outside, inside) for inside, outside, _ in who.gid_map]
    ends += [(outside + count - 1, inside + count - 1) for inside, outside, count in who.gid_map if count]
    return min(ends)[1], max(ends)[1]


def reach(policy: Policy) -> str:
    """Say in words where a private network leads."""
    egress = policy.egress
    if isinstance(egress, str):
        return _WORDS[egress]
    return " and ".join(_WORDS.get(one.to) or str(one) for one in egress) or _WORDS["none"]


_WORDS = {
    "internet": "the internet (not to the host itself, link-local and private addresses)",
    "any": "everything that the host reaches, and the host itself",
    "none": "nothing",
}


def configuration(policy: Policy) -> bytes:
    """Return what the forwarder is told."""
    egress = policy.egress
    lines = [f"mtu {private_network.MTU}"]
    if isinstance(egress, str):
        lines.append(f"egress {egress}")
    else:
        lines.append("egress internet" if any(one.to == "internet" for one in egress) else "egress list")
        for one in egress:
            lines += _allowed(one)
    for port in policy.ports:
        lines += [f"publish {port.protocol} {port.address} {outer} {inner}" for outer, inner in port.pairs()]
    if policy.egress_log == "refused":
        lines.append("report yes")
    return "".join(line + "\n" for line in lines).encode()


def _allowed(one: Destination) -> Iterator[str]:
    if one.to == "internet":
        return
    protocol = "" if one.protocol == "any" else " " + one.protocol
    begin = f"{'allow-name' if one.is_name else 'allow'} {one.to}"
    if not one.ports:
        yield begin + protocol
    for first, last in one.ports:
        yield f"{begin} {first}{'' if first == last else f'-{last}'}{protocol}"
