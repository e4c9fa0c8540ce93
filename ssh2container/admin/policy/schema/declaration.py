"""What a declaration of a key holds, and a set of them."""

# ruff: noqa: ANN401 - values of any type

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ssh2container.admin.policy.types.kinds import Kind


class Setting:
    """One key.

    key: dotted, e.g. "access.sftp.umask".
    kind: what it takes.
    default: the value when no file names the key, in the policy's unit.
    doc: one sentence for the reference; the first word is a noun or a verb, it ends with a stop.
    example: a line of YAML, checked by a test.
    section: the heading in the reference.
    supported: True, False, or the words that this version supports.
    mapping: for a key that may also be a map, the value that a map gives it.
    rival: the key that decides the same in another way: a file has one of the two, which takes the place of
    both in weaker files, "" for none.
    """

    __slots__ = ("default", "doc", "example", "key", "kind", "mapping", "rival", "section", "supported")

    def __init__(
        self,
        key: str,
        kind: Kind,
        default: Any,
        doc: str,
        example: str,
        *,
        supported: bool | tuple[Any, ...] = True,
        mapping: Any = None,
        rival: str = "",
    ) -> None:
        self.key = key
        self.kind = kind
        self.default = default
        self.doc = doc
        self.example = example
        self.supported = supported
        self.mapping = mapping
        self.rival = rival
        self.section = ""
        if self.words():
            kind.allowed = " | ".join(kind.write(word) for word in self.words())

    def words(self) -> tuple[Any, ...]:
        """Return the values that this version supports, () when it is all or none."""
        return () if isinstance(self.supported, bool) else self.supported

    def supports(self, value: Any) -> bool:
        """Tell whether this version can carry out ``value``."""
        return self.supported is True or value in self.words()

    def supports_example(self) -> bool:
        """Tell whether this version takes the example: it may show what comes later."""
        last = self.key.rpartition(".")[2]
        shown = [re.escape(f"{last}: {self.kind.write(word)}") for word in self.words()]
        return self.supported is True or any(re.search(f"{one}(?![a-z_])", self.example) for one in shown)


class Language:
    """A set of settings that a file may hold: the policy's, or the site's."""

    __slots__ = ("groups", "sections", "settings")

    def __init__(self, sections: dict[str, list[Setting]]) -> None:
        self.sections = sections
        self.settings = {setting.key: setting for part in sections.values() for setting in part}
        self.groups = {key.rpartition(".")[0] for key in self.settings} - {""}
        for title, part in sections.items():
            for setting in part:
                setting.section = title
                if setting.mapping is not None:
                    setting.kind.allowed += f", or a map with {', '.join(self.children(setting.key))}"

    def children(self, prefix: str) -> list[str]:
        """Return the names that may stand in the map ``prefix`` ("" is the file itself)."""
        start = prefix + "." if prefix else ""
        names: dict[str, None] = {}
        for key in self.settings:
            if key.startswith(start):
                names[key[len(start) :].partition(".")[0]] = None
        return list(names)

    def defaults(self) -> dict[str, Any]:
        """Return setting -> value with every default."""
        return {key: setting.default for key, setting in self.settings.items()}

    def __iter__(self) -> Iterator[Setting]:
        return iter(self.settings.values())
