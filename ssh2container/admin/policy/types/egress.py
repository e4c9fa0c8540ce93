"""The kind of `egress`: where a private network leads."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind

from __future__ import annotations

import ipaddress
import re

from ssh2container.admin.policy.types import lists
from ssh2container.admin.policy.types.entries import Fields, Items
from ssh2container.admin.policy.types.kinds import INVALID, Kind, Report, flow
from ssh2container.admin.policy.types.ports import PortRange, port_range, spelled
from ssh2container.admin.policy.types.scalars import Choice
from ssh2container.admin.policy.yaml.nodes import Mapping, Node, Scalar
from ssh2container.admin.policy.yaml.problems import did_you_mean, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ssh2container.admin.policy.types.ports import Range

    Entry = tuple[str, tuple[Range, ...], str]
    """Where to: a network in CIDR form, a name or "internet"; ports, none for all; a protocol or "any"."""

WORDS = ("internet", "any", "none")
_DESTINATION = "DEST[:PORT[-PORT]][/tcp|/udp|/icmp]"
_DEST = "an IPv4 address, [IPv6 address], a network such as 10.0.0.0/8, or a DNS name or *.DOMAIN"
_INSTEAD = dict.fromkeys(
    (*lists.YES, "all"), "write any, or internet without private ranges"
) | dict.fromkeys((*lists.NO, "deny"), "write none")
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
LONGEST_NAME = 253
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_OWN = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128")))


class Egress(Items):
    """internet, any, none, or a list of destinations, of which ``internet`` may be one."""

    name = "destinations"
    allowed = (
        f"internet | any | none | {_DESTINATION}, where DEST is an address, a network or a DNS name,"
        " a map with to, ports and protocol, or a list of them"
    )
    maps = True

    def __init__(self) -> None:
        kinds: dict[str, Kind] = {
            "to": _Destination(),
            "ports": _PortRanges(),
            "protocol": Choice("tcp", "udp", "icmp", "any"),
        }
        self.fields = Fields(kinds, ("to",), {})

    def read(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Scalar):
            return super().read(node, report)
        if node.text in WORDS:
            return node.text
        hint = _INSTEAD.get(node.text.lower()) or did_you_mean(node.text, WORDS)
        if hint or not node.text:
            return report.fail(node, f"found {quoted(node.text)}", self.allowed, hint)
        return super().read(node, report)

    def entry(self, node: Node, report: Report) -> Any:
        if isinstance(node, Mapping):
            found = self.fields.read(node, report)
            if found is None:
                return INVALID
            return _checked((found["to"], found.get("ports", ()), found.get("protocol", "any")), node, report)
        text = self.text(node, report)
        if text is None:
            return INVALID
        if text == "internet":
            return (text, (), "any")
        if text in WORDS:
            return report.fail(node, f"{quoted(text)} in a list", _DEST, f"write egress: {text}")
        return self._short(text, node, report)

    def _short(self, text: str, node: Node, report: Report) -> Any:
        match = re.fullmatch(r"(.*)/(tcp|udp|icmp)", text)
        rest, protocol = (match[1], match[2]) if match else (text, "any")
        bracketed = re.fullmatch(r"\[([^\]]*)\](.*)", rest)
        if bracketed:
            to, rest = bracketed[1], bracketed[2]
            if rest and not rest.startswith(":"):
                hint = "the length of an IPv6 network stands inside the brackets: [2001:db8::/32]:443"
                return report.fail(node, f"found {quoted(text)}", _DESTINATION, hint)
            colon, ports = rest[:1], rest[1:]
        elif rest.count(":") > 1:
            hint = f"an IPv6 address stands in brackets: [{rest}]"
            return report.fail(node, f"found {quoted(text)}", _DESTINATION, hint)
        else:
            to, colon, ports = rest.partition(":")
        place = destination(to, node, report)
        if place is INVALID:
            return INVALID
        if not colon:
            return _checked((place, (), protocol), node, report)
        wanted = port_range(ports)
        if wanted is None:
            hint = "a network and its length: 10.0.0.0/8:443" if "/" in ports else ""
            return report.fail(node, f"the port {quoted(ports)}", PortRange.allowed, hint)
        return _checked((place, (wanted,), protocol), node, report)

    def key(self, value: Entry) -> str:
        return _text(value)

    def write_entry(self, key: str, value: Entry) -> str:
        to, ports, protocol = value
        if len(ports) > 1:
            return f"{{to: {flow(to)}, ports: {_PortRanges().write(ports)}, protocol: {protocol}}}"
        return flow(_text(value))

    def write(self, value: Any) -> str:
        return value if isinstance(value, str) else super().write(value)

    def entry_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, self.fields.schema()]}

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(WORDS)}, super().schema()]}


def destination(text: str, node: Node, report: Report) -> Any:
    """Return the network in CIDR form, or the DNS name in lower case, that ``text`` means."""
    if re.fullmatch(r"[0-9.]+(/.*)?|.*:.*", text):
        return _network(text, node, report)
    return _name(text, node, report)


def _network(text: str, node: Node, report: Report) -> Any:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        hint = ""
        if "host bits set" in str(error):
            hint = f"write {ipaddress.ip_network(text, strict=False)} for the network, or the address alone"
        return report.fail(node, f"found {quoted(text)}", _DEST, hint)
    if any(network.version == own.version and network.subnet_of(own) for own in _OWN):  # type: ignore[arg-type]
        hint = "a service of the host has to listen on another address of its, to be listed here"
        return report.fail(node, f"{text} is the container itself, inside", _DEST, hint)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        hint = "write the IPv4 address or network that is meant"
        return report.fail(node, f"{text} is an IPv4 address in another form", _DEST, hint)
    return str(network)


def _name(text: str, node: Node, report: Report) -> Any:
    name = text.lower().removesuffix(".")
    if not _NAME.fullmatch(name.removeprefix("*.")) or len(name) > LONGEST_NAME:
        hint = ""
        if "*" in text:
            hint = "a pattern is * and a domain: *.example.org is every name below it"
        elif not text.isascii():
            hint = "write the name as DNS has it: xn--…"
        elif "/" in text:
            hint = "the protocol is tcp, udp or icmp"
        return report.fail(node, f"found {quoted(text)}", _DEST, hint)
    if name == "localhost" or name.endswith(".localhost"):
        return report.fail(node, f"{text} is the container itself, inside", _DEST)
    return name


def _checked(value: Entry, node: Node, report: Report) -> Any:
    """Refuse ports of what has none."""
    to, ports, protocol = value
    if protocol == "icmp" and ports:
        return report.fail(node, "a port of icmp, which has none", "tcp | udp with a port")
    if to in WORDS:
        return report.fail(node, f"{quoted(to)} in a map", _DEST, f"write it alone: [{to}, …]")
    return value


def _text(value: Entry) -> str:
    to, ports, protocol = value
    shown = f"[{to}]" if ":" in to else to
    shown = shown.removesuffix("/32" if ":" not in to else "").replace("/128]", "]")
    listed = ",".join(spelled(one) for one in ports)
    return shown + (":" + listed if listed else "") + ("" if protocol == "any" else "/" + protocol)


class _Destination(Kind):
    allowed = _DEST

    def read(self, node: Node, report: Report) -> Any:
        text = self.text(node, report)
        return INVALID if text is None else destination(text.strip("[]"), node, report)

    def write(self, value: str) -> str:
        return flow(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


class _PortRanges(Kind):
    allowed = 'a port or a range, or a list of them such as [443, "8000-8010"]'

    def read(self, node: Node, report: Report) -> Any:
        items = lists.entries(node, report, self.allowed)
        if items is None:
            return INVALID
        if not items:
            return report.fail(node, "an empty list", self.allowed, "leave it out for all ports")
        ranges = [PortRange().read(item, report) for item in items]
        return INVALID if INVALID in ranges else tuple(sorted(set(ranges)))

    def write(self, value: tuple[Range, ...]) -> str:
        return "[" + ", ".join(PortRange().write(one) for one in value) + "]"

    def schema(self) -> dict[str, Any]:
        item = PortRange().schema()
        return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}
