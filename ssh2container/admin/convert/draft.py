"""The policy that is being made: values in the language's own units, so that what is written is valid."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from ssh2container.admin.convert.tree import map_at
from ssh2container.admin.policy import lint, origins, sums
from ssh2container.admin.policy.compile import compiler
from ssh2container.admin.policy.schema.settings import POLICY
from ssh2container.admin.policy.types.entries import Items
from ssh2container.admin.policy.types.kinds import INVALID
from ssh2container.policy import limits, rules
from ssh2container.policy.merge import merge
from ssh2container.policy.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ssh2container.admin.convert.notes import Notes
    from ssh2container.admin.policy.yaml.nodes import Node, Scalar

_MIB = 1024**2
_LEAST_BYTES = 8 * _MIB
"""Below it there is no room for the files of an ordinary shell."""


class Draft:
    """Settings, each read by its own declaration: what that refuses is left out, with its words."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.values: dict[str, Any] = {}
        self._places: dict[str, tuple[Node, str]] = {}
        self._first: dict[str, str] = {}

    def set(self, key: str, node: Node, name: str) -> bool:
        """Give the setting ``key`` the value of ``node``; name: what it is called in the file.

        Returns whether it has it; otherwise it was left out.
        """
        value = self.notes.read(POLICY.settings[key].kind.read, node, name)
        if value is INVALID:
            return False
        self._keep(key, value, node, name)
        return True

    def entry(self, key: str, node: Node, name: str, first: str = "") -> bool:
        """Add an entry to a setting that is a list; see :meth:`set`.

        first: a command without which a login would be refused for this entry.
        """
        kind = POLICY.settings[key].kind
        if not isinstance(kind, Items):
            raise TypeError(key)
        value = self.notes.read(kind.entry, node, name)
        if value is INVALID:
            return False
        self._add(key, kind.key(value), value, node, name)
        self._first[f"{key}.{kind.key(value)}"] = first
        return True

    def named(self, key: str, place: Scalar, value: Node, name: str) -> bool:
        """Add an entry to a setting that is a map with names; see :meth:`set`."""
        pair = map_at(place)
        pair.pairs.append((place, value))
        found = self.notes.read(POLICY.settings[key].kind.read, pair, name)
        if found is INVALID:
            return False
        for entry, (read, _) in found.items():
            self._add(key, entry, read, place, name)
        return bool(found)

    def has(self, key: str) -> bool:
        """Tell whether somebody has set ``key``."""
        return key in self.values

    def leave(self, key: str, why: str) -> None:
        """Leave out what was set as ``key``, a setting or an entry of one, if it was."""
        if key in self._places:
            place, name = self._drop(key)
            self.notes.leave(place, name, why)

    def place_of(self, key: str) -> tuple[Node, str]:
        """Return where what was set as ``key`` stands, and what it is called there."""
        return self._places[key]

    def policy(self) -> Policy:
        """Return the policy that the values come to, on top of the built-in defaults."""
        lines = dict.fromkeys(self.values, 1)
        for key, value in self.values.items():
            if isinstance(value, dict):
                lines |= {f"{key}.{entry}": 1 for entry in value}
        layer = ("written", (), dict(self.values), lines)
        return Policy(*merge([compiler.BUILT_IN, layer]))

    def settle(self) -> None:
        """Leave out what contradicts another value, until nothing does; then say what is to be done first."""
        while True:
            found = next((one for one in _contradictions(self.policy()) if one[0] in self._places), None)
            if found is None:
                break
            key, message, allowed = found
            if key == "mem_limit" and self._fit():
                continue
            place, name = self._drop(key)
            self.notes.leave(place, name, f"{message}; allowed: {allowed}")
        self.notes.do_first(*filter(None, self._first.values()))

    def lines(self) -> list[str]:
        """Return the policy as lines of YAML."""
        rows = origins.without_defaults(origins.rows(self.policy()))
        return [row.line() for row in rows]

    def _keep(self, key: str, value: Any, node: Node, name: str) -> None:  # noqa: ANN401
        parent = POLICY.settings.get(key.rpartition(".")[0])
        if parent is not None and parent.mapping is not None:
            self.values[parent.key] = parent.mapping
        self.values[key] = value
        self._places[key] = (node, name)

    def _add(self, key: str, entry: str, value: Any, node: Node, name: str) -> None:  # noqa: ANN401
        parent = POLICY.settings.get(key.rpartition(".")[0])
        if parent is not None and parent.mapping is not None:
            self.values[parent.key] = parent.mapping
        self.values.setdefault(key, {})[entry] = value
        self._places[f"{key}.{entry}"] = (node, name)
        self._places.setdefault(key, (node, name))

    def _fit(self) -> bool:
        """Make what a session can write small enough for its memory, rather than lose that limit.

        Returns False where that is not to be had.
        """
        storage = ("storage_opt.size", "storage_opt.inodes")
        policy = self.policy()
        own = policy.storage_opt.size + policy.storage_opt.inodes * limits.INODE_BYTES
        room = self.values["mem_limit"] - limits.RESERVE_BYTES - (limits.writable_bytes(policy) - own)
        size = room * 3 // 4 // _MIB * _MIB
        inodes = min(policy.storage_opt.inodes, room // 4 // limits.INODE_BYTES)
        if size < _LEAST_BYTES or size + inodes * limits.INODE_BYTES >= own:
            return False
        self.values |= dict(zip(storage, (size, inodes), strict=True))
        place, name = self._places["mem_limit"]
        for key in storage:
            self._places[key] = (place, name)
        self.notes.differ(place, name, "files in memory count: storage_opt is made to fit")
        return True

    def _drop(self, key: str) -> tuple[Node, str]:
        """Forget the value that ``key`` blames: a setting, or an entry of one."""
        place = self._places.pop(key)
        self._first.pop(key, None)
        for setting, value in self.values.items():
            entry = key.removeprefix(setting + ".")
            if isinstance(value, dict) and entry != key and entry in value:
                del value[entry]
                if not value:
                    del self.values[setting]
                return place
        del self.values[key]
        return place


def _contradictions(policy: Policy) -> Iterator[tuple[str, str, str]]:
    broken = ((rule.key, rule.message, rule.allowed) for rule in rules.broken(policy))
    return chain(broken, lint.contradictions(policy), sums.contradictions(policy))
