"""Kinds of mounts: volumes and memory file systems."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind

from __future__ import annotations

from ssh2container.admin.policy.types.entries import Fields, Items
from ssh2container.admin.policy.types.kinds import INVALID, Kind, Report, flow, in_quotes
from ssh2container.admin.policy.types.numbers import Octal, Size
from ssh2container.admin.policy.types.scalars import Flag, Path, warn_of_options
from ssh2container.admin.policy.yaml.nodes import Mapping, Node, Scalar
from ssh2container.admin.policy.yaml.problems import did_you_mean, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Volumes(Items):
    """Compose's volumes, of type bind only, read-only unless they say otherwise."""

    name = "list of volumes"
    allowed = "SOURCE:TARGET[:ro|:rw], a map with type, source, target and read_only, or a list of them"
    maps = True

    def __init__(self) -> None:
        self.source = Path("an absolute path on the host")
        self.target = Path("an absolute path inside", inside=True)
        kinds: dict[str, Kind] = {
            "type": _OnlyBind(),
            "source": self.source,
            "target": self.target,
            "read_only": Flag(),
        }
        remarks = {
            "bind": "propagation is private and a missing source refuses the login",
            "volume": "named volumes do not exist; use type: bind with a source on the host",
            "tmpfs": "use the key tmpfs beside volumes",
            "consistency": "bind mounts have no consistency setting",
        }
        self.fields = Fields(kinds, ("source", "target"), remarks)

    def entry(self, node: Node, report: Report) -> Any:
        if isinstance(node, Mapping):
            found = self.fields.read(node, report)
            return (found["source"], found["target"], found.get("read_only", True)) if found else INVALID
        text = self.text(node, report)
        return INVALID if text is None else self._short(text, node, report)

    def _short(self, text: str, node: Node, report: Report) -> Any:
        parts = text.split(":")
        if len(parts) not in (2, 3):
            hint = "a path with a colon needs the long form" if len(parts) > 3 else ""  # noqa: PLR2004
            return report.fail(node, f"found {quoted(text)}", self.allowed, hint)
        source = self.source.check(parts[0], node, report)
        target = self.target.check(parts[1], node, report)
        mode = parts[2] if len(parts) == 3 else "ro"  # noqa: PLR2004
        if mode not in ("ro", "rw"):
            labels = "SELinux labels are the host's matter: label the source there"
            hint = labels if mode.lower() == "z" else ""
            return report.fail(node, f"the mode {quoted(mode)}", "ro | rw", hint)
        if INVALID in (source, target):
            return INVALID
        warn_of_options(target, node, report, "the mode follows a colon: SOURCE:TARGET:ro")
        return (source, target, mode == "ro")

    def key(self, value: tuple[str, str, bool]) -> str:
        return value[1]

    def write_entry(self, key: str, value: tuple[str, str, bool]) -> str:
        source, target, read_only = value
        if ":" in source + target:
            mode = Flag().write(read_only)
            return f"{{type: bind, source: {flow(source)}, target: {flow(target)}, read_only: {mode}}}"
        return flow(f"{source}:{target}:{'ro' if read_only else 'rw'}")

    def entry_schema(self) -> dict[str, Any]:
        short = {"type": "string", "pattern": "^(/|%h)[^:]*:(/|%h)[^:]*(:r[ow])?$"}
        return {"anyOf": [short, self.fields.schema()]}


class _OnlyBind(Kind):
    allowed = "bind"

    def read(self, node: Node, report: Report) -> Any:
        scalar = self.scalar(node, report)
        if scalar is None or scalar.text == "bind":
            return INVALID if scalar is None else "bind"
        hint = {"tmpfs": "use the key tmpfs beside volumes"}.get(scalar.text, "")
        return report.fail(node, f"a volume of type {quoted(scalar.text)}", self.allowed, hint)

    def write(self, value: str) -> str:
        return value

    def schema(self) -> dict[str, Any]:
        return {"const": "bind"}


class TmpfsMounts(Items):
    """Compose's tmpfs with the options size and mode."""

    name = "list of memory file systems"
    allowed = "TARGET[:size=SIZE,mode=MODE], or a list of them"
    default_size_bytes = 64 * 1024**2
    default_mode = 0o1777

    def __init__(self) -> None:
        self.target = Path("an absolute path inside", specific=True, inside=True)
        self.size = Size(4096, 64 * 1024**3)
        self.mode = Octal(0o1777)

    def entry(self, node: Node, report: Report) -> Any:
        text = self.text(node, report)
        if text is None or not isinstance(node, Scalar):
            return INVALID
        place, _, options = text.partition(":")
        target = self.target.check(place, node, report)
        size: Any = self.default_size_bytes
        mode: Any = self.default_mode
        for option in options.split(",") if options else []:
            name, _, value = option.partition("=")
            if name == "size":
                size = self.size.check(node, value, report)
            elif name == "mode":
                mode = self.mode.check(node, value, report)
            else:
                hint = did_you_mean(name, ("size", "mode"))
                return report.fail(node, f"the option {quoted(option)}", "size=SIZE, mode=MODE", hint)
        if INVALID in (target, size, mode):
            return INVALID
        warn_of_options(target, node, report, "options follow a colon: TARGET:size=64m,mode=1777")
        return (target, size, mode)

    def key(self, value: tuple[str, int, int]) -> str:
        return value[0]

    def write_entry(self, key: str, value: tuple[str, int, int]) -> str:
        target, size, mode = value
        return in_quotes(f"{target}:size={self.size.write(size)},mode={mode:03o}")

    def entry_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^(/|%h)[^:]*(:(size|mode)=[^,]*(,(size|mode)=[^,]*)*)?$"}
