"""The kind of `devices`: Compose's two forms, and names of the Container Device Interface."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind

from __future__ import annotations

import re

from ssh2container.admin.policy.types.entries import Fields, Items
from ssh2container.admin.policy.types.kinds import INVALID, Kind, Report, flow
from ssh2container.admin.policy.types.scalars import Path
from ssh2container.admin.policy.yaml.nodes import Mapping, Node
from ssh2container.admin.policy.yaml.problems import quoted
from ssh2container.plan.device_kinds import is_own
from ssh2container.policy.devices import READ, READ_WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CDI_NAME = (
    r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?/[A-Za-z](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"
    r"=[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?"
)
"""VENDOR/CLASS=NAME, of the Container Device Interface (SPEC.md, Kind and Device names)."""


class Permissions(Kind):
    """What Compose's cgroup rules say of a device, as far as a session can be held to it."""

    name = "permissions"
    allowed = f"{READ} | {READ_WRITE}"

    def read(self, node: Node, report: Report) -> Any:
        scalar = self.scalar(node, report)
        return INVALID if scalar is None else self.check(scalar.text, node, report)

    def check(self, text: str, node: Node, report: Report) -> Any:
        """Check a text that was found at ``node``, perhaps as a part of it."""
        letters = "".join(sorted(text))
        if letters in (READ, READ_WRITE):
            return letters
        hint = ""
        if letters in ("m", "mr", "mw", "mrw"):
            hint = "m: nobody can make device nodes in a user namespace (mknod(2), EPERM)"
        elif letters == "w":
            hint = "w: Landlock cannot keep a file from being read whose directory may be; write rw"
        return report.fail(node, f"the permissions {quoted(text)}", self.allowed, hint)

    def write(self, value: str) -> str:
        return value

    def schema(self) -> dict[str, Any]:
        return {"enum": [READ, READ_WRITE, READ_WRITE[::-1]]}


class Devices(Items):
    """Compose's devices; the value of an entry is (source, target, permissions), of a name (name, "", "")."""

    name = "list of devices"
    allowed = (
        "SOURCE[:TARGET][:r|:rw], a map with source, target and permissions, a name VENDOR/CLASS=NAME, or a"
        " list of them"
    )
    maps = True

    def __init__(self) -> None:
        self.source = Path("an absolute path on the host")
        self.target = Target()
        self.permissions = Permissions()
        kinds: dict[str, Kind] = {
            "source": self.source,
            "target": self.target,
            "permissions": self.permissions,
        }
        self.fields = Fields(kinds, ("source",), {})

    def entry(self, node: Node, report: Report) -> Any:
        if isinstance(node, Mapping):
            found = self.fields.read(node, report)
            if found is None:
                return INVALID
            target = found.get("target") or self._same(found["source"], node, report)
            return self._made(found["source"], target, found.get("permissions", READ_WRITE))
        text = self.text(node, report)
        if text is None:
            return INVALID
        return (text, "", "") if re.fullmatch(CDI_NAME, text) else self._short(text, node, report)

    def _short(self, text: str, node: Node, report: Report) -> Any:
        parts = text.split(":")
        if len(parts) > 3:  # noqa: PLR2004
            return report.fail(node, f"found {quoted(text)}", self.allowed, _COLONS)
        source = self.source.check(parts[0], node, report)
        if source is INVALID:
            return INVALID
        permissions: Any = READ_WRITE
        if len(parts) == 3 or (len(parts) == 2 and re.fullmatch("[rwm]+", parts[1])):  # noqa: PLR2004
            permissions = self.permissions.check(parts.pop(), node, report)
        if len(parts) == 2:  # noqa: PLR2004
            target = self.target.check(parts[1], node, report)
        else:
            target = self._same(source, node, report)
        return self._made(source, target, permissions)

    def _same(self, source: str, node: Node, report: Report) -> Any:
        """Return the target of a device that has its own name inside."""
        return self.target.check(source, node, report)

    def _made(self, *parts: Any) -> Any:
        return INVALID if INVALID in parts else parts

    def key(self, value: tuple[str, str, str]) -> str:
        return value[1] or value[0]

    def write_entry(self, key: str, value: tuple[str, str, str]) -> str:
        source, target, permissions = value
        if not target:
            return flow(source)
        if ":" in source + target:
            return f"{{source: {flow(source)}, target: {flow(target)}, permissions: {permissions}}}"
        return flow(f"{source}:{target}:{permissions}")

    def entry_schema(self) -> dict[str, Any]:
        path = "(/|%h)[^:]*"
        short = {"type": "string", "pattern": f"^({path}(:{path})?(:r|:rw|:wr)?|{CDI_NAME})$"}
        return {"anyOf": [short, self.fields.schema()]}


class Target(Path):
    """Where a device is inside: anywhere but where the container has its own."""

    def __init__(self) -> None:
        super().__init__("an absolute path inside")

    def check(self, text: str, node: Node, report: Report) -> Any:
        path = super().check(text, node, report)
        if path is INVALID:
            return path
        if is_own(path):
            found = f"{quoted(path)} is made by the container itself"
            return report.fail(node, found, "a path below /dev, or outside of what is the container's own")
        return path


_COLONS = "a path with a colon needs the long form: {source: …, target: …}"
