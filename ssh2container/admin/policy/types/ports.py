"""The kind of `ports`: what a private network publishes on the host, in Compose's two forms."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind

from __future__ import annotations

import ipaddress
import re

from ssh2container.admin.policy.types.entries import Fields, Items
from ssh2container.admin.policy.types.kinds import INVALID, Kind, Report, found_text, in_quotes, surprise
from ssh2container.admin.policy.types.scalars import Choice
from ssh2container.admin.policy.yaml.nodes import Mapping, Node, Scalar
from ssh2container.admin.policy.yaml.problems import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Range = tuple[int, int]
    """First and last port."""

HIGHEST = 65535
PORTS = r"([1-9][0-9]{0,4})(?:-([1-9][0-9]{0,4}))?"
LOOPBACK = "127.0.0.1"
_A_PORT = 'a port from 1 to 65535, or a range such as "8000-8010"'
_LONGEST_RANGE = 256
_UNKNOWN = "nobody would know a port chosen at random: write the published one, too"


def port_range(text: str) -> Range | None:
    """Return the ports that ``text`` means, None where it means none."""
    match = re.fullmatch(PORTS, text)
    if not match:
        return None
    first = int(match[1])
    last = int(match[2] or first)
    return (first, last) if first <= last <= HIGHEST else None


def spelled(ports: Range) -> str:
    """Return ``ports`` as they are written."""
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"


class PortRange(Kind):
    """A port or a range of them, with or without quotes."""

    name = "port"
    allowed = _A_PORT

    def read(self, node: Node, report: Report) -> Any:
        scalar = self.scalar(node, report)
        if scalar is None:
            return INVALID
        found = port_range(scalar.text)
        if found is None:
            trap = surprise(scalar)
            return report.fail(node, found_text(scalar.text, trap), self.allowed)
        return found

    def write(self, value: Range) -> str:
        first, last = value
        return spelled(value) if first == last else in_quotes(spelled(value))

    def schema(self) -> dict[str, Any]:
        number = {"type": "integer", "minimum": 1, "maximum": HIGHEST}
        return {"anyOf": [number, {"type": "string", "pattern": f"^{PORTS}$"}]}


class HostAddress(Kind):
    """An address of the host, without a name's detour: what listens must not depend on a resolver."""

    name = "address"
    allowed = "an IPv4 or IPv6 address"

    def read(self, node: Node, report: Report) -> Any:
        text = self.text(node, report)
        return INVALID if text is None else self.check(text, node, report)

    def check(self, text: str, node: Node, report: Report) -> Any:
        """Check a text that was found at ``node``, perhaps as a part of it."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            hint = "write 127.0.0.1, or [::1]" if text == "localhost" else ""
            return report.fail(node, f"the address {quoted(text)}", self.allowed, hint)
        if address.is_multicast or getattr(address, "scope_id", None):
            return report.fail(node, f"the address {quoted(text)}", "an address that one host has")
        return str(address)

    def write(self, value: str) -> str:
        return in_quotes(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[0-9A-Fa-f:.]+$"}


class Ports(Items):
    """Compose's ports; without a host address they listen on 127.0.0.1 alone.

    An entry is (address, first port published, first port inside, how many, protocol).
    """

    name = "list of ports"
    allowed = (
        '"[ADDRESS:][PUBLISHED:]TARGET[/tcp|/udp]" in quotes, a map with target, published, host_ip and'
        " protocol, or a list of them"
    )
    maps = True

    def __init__(self) -> None:
        self.address = HostAddress()
        kinds: dict[str, Kind] = {
            "target": PortRange(),
            "published": PortRange(),
            "host_ip": self.address,
            "protocol": Choice("tcp", "udp"),
            "mode": Choice("ingress", "host"),
        }
        remarks = {
            "name": "ports have no names here",
            "app_protocol": "nothing here looks into what goes through",
        }
        self.fields = Fields(kinds, ("target",), remarks)

    def entry(self, node: Node, report: Report) -> Any:
        if isinstance(node, Mapping):
            found = self.fields.read(node, report)
            if found is None:
                return INVALID
            target, published = found["target"], found.get("published", found["target"])
            return self._made(
                found.get("host_ip", LOOPBACK), published, target, found.get("protocol", "tcp"), node, report
            )
        scalar = self.scalar(node, report)
        if scalar is None:
            return INVALID
        trap = surprise(scalar)
        if trap and not re.fullmatch(PORTS, scalar.text):
            return report.fail(node, f"{scalar.text} {trap}", self.allowed, f'write "{scalar.text}"')
        return self._short(scalar, report)

    def _short(self, node: Scalar, report: Report) -> Any:
        text, slash, protocol = node.text.partition("/")
        if slash and protocol not in ("tcp", "udp"):
            return report.fail(node, f"the protocol {quoted(protocol)}", "tcp | udp")
        bracketed = re.fullmatch(r"\[([^\]]*)\]:(.*)", text)
        parts = [bracketed[1], *bracketed[2].split(":")] if bracketed else text.split(":")
        if len(parts) > 3:  # noqa: PLR2004
            hint = "an IPv6 address stands in brackets: [::1]:8080:80" if not bracketed else ""
            return report.fail(node, f"found {quoted(node.text)}", self.allowed, hint)
        address: Any = LOOPBACK
        if bracketed or len(parts) == 3:  # noqa: PLR2004
            address = self.address.check(parts.pop(0), node, report)
            if address is INVALID:
                return INVALID
            if len(parts) == 1 or not parts[0]:
                return report.fail(node, f"found {quoted(node.text)}", self.allowed, _UNKNOWN)
        ranges = []
        for part in parts:
            found = port_range(part)
            if found is None:
                is_address = re.fullmatch(r"[0-9]+(\.[0-9]+){3}|localhost", part)
                hint = _UNKNOWN if is_address or not part else ""
                return report.fail(node, f"the port {quoted(part)} in {quoted(node.text)}", _A_PORT, hint)
            ranges.append(found)
        return self._made(address, ranges[0], ranges[-1], protocol or "tcp", node, report)

    def _made(
        self, address: str, published: Range, target: Range, protocol: str, node: Node, report: Report
    ) -> Any:
        count = target[1] - target[0] + 1
        if published[1] - published[0] + 1 != count:
            found = f"{spelled(published)} are not as many ports as {spelled(target)}"
            return report.fail(node, found, "ranges of the same length")
        if count > _LONGEST_RANGE:
            return report.fail(node, f"a range of {count} ports", f"at most {_LONGEST_RANGE}")
        return (address, published[0], target[0], count, protocol)

    def key(self, value: tuple[str, int, int, int, str]) -> str:
        address, published, _, count, protocol = value
        return f"{_shown(address)}:{spelled((published, published + count - 1))}/{protocol}"

    def write_entry(self, key: str, value: tuple[str, int, int, int, str]) -> str:
        address, published, target, count, protocol = value
        ends = [spelled((first, first + count - 1)) for first in (published, target)]
        return in_quotes(f"{_shown(address)}:{ends[0]}:{ends[1]}/{protocol}")

    def entry_schema(self) -> dict[str, Any]:
        number = {"type": "integer", "minimum": 1, "maximum": HIGHEST}
        short = {"type": "string", "pattern": f"^((\\[[^\\]]*\\]|[0-9.]+):)?({PORTS}:)?{PORTS}(/(tcp|udp))?$"}
        return {"anyOf": [number, short, self.fields.schema()]}


def _shown(address: str) -> str:
    return f"[{address}]" if ":" in address else address
