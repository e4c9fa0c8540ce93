"""From one file's text to a layer: every key read by its declaration, every error collected."""

from __future__ import annotations

from ssh2container.admin.policy.schema.compose import ACCEPTED
from ssh2container.admin.policy.schema.foreign import elsewhere
from ssh2container.admin.policy.schema.settings import POLICY
from ssh2container.admin.policy.types.kinds import INVALID, Entries, Report
from ssh2container.admin.policy.types.names import PROFILE_NAME
from ssh2container.admin.policy.types.scalars import Text
from ssh2container.admin.policy.yaml import nodes
from ssh2container.admin.policy.yaml.nodes import Mapping, Node, Scalar, Sequence
from ssh2container.admin.policy.yaml.problems import ERROR, PolicyError, did_you_mean, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ssh2container.admin.policy.schema.declaration import Language, Setting
    from ssh2container.admin.policy.yaml.files import Source
    from ssh2container.admin.policy.yaml.problems import Problem
    from ssh2container.policy.merge import Layer


class Loaded:
    """What one file says.

    layer: valid only when ``problems`` holds no error.
    extends: (profile, line, column) in the order of the file.
    replaced: settings that carry ``!override`` or ``!reset``.
    """

    __slots__ = ("extends", "layer", "problems", "replaced")

    def __init__(
        self,
        layer: Layer,
        extends: tuple[tuple[str, Node], ...],
        problems: list[Problem],
        replaced: frozenset[str],
    ) -> None:
        self.layer = layer
        self.extends = extends
        self.problems = problems
        self.replaced = replaced

    def require_valid(self) -> None:
        """Raise PolicyError when there is an error among the problems."""
        errors = [problem for problem in self.problems if problem.severity == ERROR]
        if errors:
            raise PolicyError(errors)


def load(source: Source, language: Language = POLICY) -> Loaded:
    """Read one file. Problems are returned, not raised: the caller wants all of them."""
    try:
        tree = nodes.parse(source)
    except PolicyError as error:
        return Loaded((source.path, (), {}, {}), (), error.problems, frozenset())
    return _Reader(source, tree, language).loaded()


class _Reader:
    def __init__(self, source: Source, tree: nodes.Tree, language: Language) -> None:
        self.report = Report(source, tree.problems)
        self.language = language
        self.root = tree.root
        self.drops: list[tuple[str, str | None]] = []
        self.values: dict[str, Any] = {}
        self.lines: dict[str, int] = {}
        self.extends: list[tuple[str, Node]] = []
        self.replaced: set[str] = set()
        self.tags_used: set[int] = set()

    def loaded(self) -> Loaded:
        self._map("", self.root)
        for node in nodes.walk(self.root):
            if node.tag and id(node) not in self.tags_used:
                self.report.fail(node, f"{node.tag} has no effect here", "before the value of a key")
        layer = (self.report.source.path, tuple(self.drops), self.values, self.lines)
        return Loaded(layer, tuple(self.extends), self.report.problems, frozenset(self.replaced))

    def _map(self, prefix: str, node: Mapping) -> None:
        known = self.language.children(prefix)
        for key, value in node.pairs:
            dotted = f"{prefix}.{key.text}" if prefix else key.text
            if key.text in known:
                self._key(dotted, key, value)
            elif not prefix and self.language is POLICY and self._foreign(key, value):
                continue
            else:
                self._unknown(prefix, key, known)

    def _key(self, dotted: str, key: Scalar, value: Node) -> None:
        setting = self.language.settings.get(dotted)
        if setting is not None and setting.supported is False:
            self.tags_used.add(id(value))
            self.report.fail(key, f"{quoted(setting.key)} is not supported in this version")
            return
        if value.tag == nodes.RESET:
            self._replaces(dotted, value)
            if not (isinstance(value, Scalar) and value.text in ("", "null")) and _filled(value):
                self.report.fail(value, "a value after !reset", "!reset null", "to replace it use !override")
            return
        if value.tag == nodes.OVERRIDE:
            self._replaces(dotted, value)
        is_group = dotted in self.language.groups
        if isinstance(value, Mapping) and is_group:
            if setting is not None:
                self._write(setting, setting.mapping, key)
            self._map(dotted, value)
        elif setting is not None:
            self._setting(setting, key, value, is_group=is_group)
        else:
            names = ", ".join(self.language.children(dotted))
            self.report.fail(value, f"{value.found} instead of a map", f"a map with {names}")

    def _replaces(self, dotted: str, value: Node) -> None:
        self.tags_used.add(id(value))
        self.drops.append((dotted, None))
        self.replaced.add(dotted)

    def _setting(self, setting: Setting, key: Scalar, value: Node, *, is_group: bool) -> None:
        if isinstance(setting.kind, Entries):
            self._entries(setting, setting.kind, key, value)
            return
        found = setting.kind.read(value, self.report)
        if found is INVALID:
            return
        if not setting.supports(found):
            written = setting.kind.write(found)
            what = f"{setting.key}: {written} is not supported in this version"
            self.report.fail(value, what, setting.kind.allowed)
            return
        if is_group:
            # A word in the place of a map takes the map's keys with it.
            self.drops.append((setting.key, None))
        self._write(setting, found, key)

    def _entries(self, setting: Setting, kind: Entries, key: Scalar, value: Node) -> None:
        if isinstance(value, Mapping):
            value = self._without_reset(setting, value)
        found = kind.read(value, self.report)
        if found is INVALID:
            return
        if not isinstance(found, dict):
            self._write(setting, found, key)
            return
        self._write(setting, {name: entry for name, (entry, _) in found.items()}, key)
        for name, (_, place) in found.items():
            self.lines[f"{setting.key}.{name}"] = place.line

    def _without_reset(self, setting: Setting, value: Mapping) -> Mapping:
        kept = Mapping(value.line, value.column, value.tag)
        for key, entry in value.pairs:
            if entry.tag in (nodes.RESET, nodes.OVERRIDE):
                self.tags_used.add(id(entry))
            if entry.tag == nodes.RESET:
                self.drops.append((setting.key, key.text))
            else:
                kept.pairs.append((key, entry))
        return kept

    def _write(self, setting: Setting, value: Any, key: Scalar) -> None:  # noqa: ANN401
        if setting.rival:
            self.drops.append((setting.rival, None))
            if setting.rival in self.lines:
                there = f"{quoted(setting.rival)} of line {self.lines[setting.rival]}"
                self.report.fail(key, f"{quoted(setting.key)} beside {there}", "one of them")
        self.values[setting.key] = value
        self.lines[setting.key] = key.line

    def _foreign(self, key: Scalar, value: Node) -> bool:
        """Deal with extends, x-* and Compose's and sshd's words; tell whether it was one of them."""
        if key.text == "extends":
            self._extends(value)
            return True
        if key.text.startswith("x-"):
            return True
        if key.text in ACCEPTED:
            allowed = ACCEPTED[key.text]
            if _plain(value) not in allowed:
                shown = " or ".join(f"{key.text}: {_shown(one)}" for one in allowed)
                found = f"this value of {quoted(key.text)} is not possible"
                self.report.fail(value, found, shown, elsewhere(key.text))
            return True
        hint = elsewhere(key.text)
        if hint:
            self.report.fail(key, f"{quoted(key.text)} is not a key of a policy", hint=hint)
        return bool(hint)

    def _extends(self, value: Node) -> None:
        name = Text("the name of a profile", PROFILE_NAME)
        items = value.items if isinstance(value, Sequence) else [value]
        for item in items:
            profile = name.read(item, self.report)
            if profile is INVALID:
                continue
            if any(profile == seen for seen, _ in self.extends):
                self.report.fail(item, f"{quoted(profile)} is listed twice", hint="keep one of them")
                continue
            self.extends.append((profile, item))

    def _unknown(self, prefix: str, key: Scalar, known: list[str]) -> None:
        names = [*known, "extends"] if not prefix and self.language is POLICY else known
        where = f" in {prefix}" if prefix else ""
        hint = did_you_mean(key.text, names)
        if not hint:
            deeper = [name for name in self.language.settings if name.rpartition(".")[2] == key.text]
            hint = f"it belongs below {deeper[0].rpartition('.')[0] or 'the file itself'}" if deeper else ""
        later = {name for name, setting in self.language.settings.items() if setting.supported is False}
        allowed = [name for name in names if (f"{prefix}.{name}" if prefix else name) not in later]
        self.report.fail(key, f"unknown key {quoted(key.text)}{where}", ", ".join(allowed), hint)


def _filled(value: Node) -> bool:
    if isinstance(value, Sequence):
        return bool(value.items)
    return bool(value.pairs) if isinstance(value, Mapping) else True


def _plain(value: Node) -> object:
    if isinstance(value, Sequence):
        return tuple(_plain(item) for item in value.items)
    return value.text if isinstance(value, Scalar) else None


def _shown(value: object) -> str:
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, tuple) else str(value)
