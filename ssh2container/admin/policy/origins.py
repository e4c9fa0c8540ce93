"""What a policy comes to, written back as YAML, with the place that decided each value."""

from __future__ import annotations

import grp
import os
import pwd
from typing import TYPE_CHECKING

from ssh2container.admin.policy.schema.settings import POLICY
from ssh2container.admin.policy.types.kinds import Entries
from ssh2container.errors import Refusal, printable
from ssh2container.kernel import names
from ssh2container.policy import key_rules, keyed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ssh2container.admin.policy.schema.declaration import Setting
    from ssh2container.policy.policy import Policy

BUILT_IN = "built-in default"
_WIDEST = 60


class Row:
    """One line of the effective policy.

    key: setting, or setting.entry.
    indent: levels. text: the line as YAML.
    origin: FILE:LINE, or BUILT_IN; "" for a line that only opens a map or a list.
    """

    __slots__ = ("indent", "key", "origin", "text")

    def __init__(self, key: str, indent: int, text: str, origin: str) -> None:
        self.key = key
        self.indent = indent
        self.text = text
        self.origin = origin

    def line(self) -> str:
        """Return the line with its indentation."""
        return "  " * self.indent + self.text

    def value(self) -> str:
        """Return the value alone, without its key or dash."""
        if self.text.startswith("- "):
            return self.text[2:]
        return self.text.partition(":")[2].strip()


def rows(policy: Policy) -> list[Row]:
    """Return the effective policy as lines of YAML, in the order of the reference.

    Settings that this version does not support are left out: they are off.
    """
    found: list[Row] = []
    for name in POLICY.children(""):
        _add(found, policy, name, name, 0)
    return found


def lines(found: Sequence[Row]) -> list[str]:
    """Return the effective policy as YAML, with the origin of each value as a comment."""
    width = min(max((len(row.line()) for row in found), default=0), _WIDEST)
    return [f"{row.line():{width}}  # {printable(row.origin)}" if row.origin else row.line() for row in found]


def without_defaults(found: Sequence[Row]) -> list[Row]:
    """Return the lines that somebody wrote, and those that open a map or a list around them."""
    kept: list[Row] = []
    wanted = 0
    for row in reversed(found):
        if (row.origin and row.origin != BUILT_IN) or (not row.origin and row.indent < wanted):
            kept.append(row)
            wanted = row.indent
    return kept[::-1]


def differences(old: Policy, new: Policy) -> list[tuple[str, Row | None, Row | None]]:
    """Return (key, old line, new line) for every value that is not the same; None where there is none.

    What is different for one key of ``keys`` alone has that before its key.
    """
    before = {row.key: row for row in rows(old) if row.origin}
    after = {row.key: row for row in rows(new) if row.origin}
    changed = []
    for key in [*before, *(key for key in after if key not in before)]:
        one, other = before.get(key), after.get(key)
        if one is None or other is None or one.value() != other.value():
            changed.append((key, one, other))
    said = [_told(entry) for entry in changed]
    for name in old.values[key_rules.KEY].keys() & new.values[key_rules.KEY].keys():
        of_key = differences(keyed.unchecked(old, name), keyed.unchecked(new, name))
        changed += [(f"{name}: {entry[0]}", *entry[1:]) for entry in of_key if _told(entry) not in said]
    return changed


def _told(entry: tuple[str, Row | None, Row | None]) -> tuple[str, str | None, str | None]:
    key, one, other = entry
    return key, None if one is None else one.value(), None if other is None else other.value()


def groups_of(name: str) -> tuple[str, ...]:
    """Return the names of all groups of a user, from NSS.

    Raises Refusal when there is no such user, SessionError when the name service does not answer.
    """
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError) as error:
        if isinstance(error, KeyError):
            names.require_unknown(names.USER, name)
        raise Refusal(f"there is no user {name!r}", "the name service does not know the name") from None
    found = []
    for gid in os.getgrouplist(name, entry.pw_gid):
        try:
            found.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            names.require_unknown(names.GROUP, None, gid)
    return tuple(found)


def _add(found: list[Row], policy: Policy, key: str, name: str, indent: int) -> None:
    setting = POLICY.settings.get(key)
    children = POLICY.children(key)
    if setting is not None and (setting.supported is False or _yields(policy, setting)):
        return
    if setting is not None and (not children or _is_word(policy, setting)):
        found.extend(_setting(policy, setting, name, indent))
        return
    inside: list[Row] = []
    for child in children:
        _add(inside, policy, f"{key}.{child}", child, indent + 1)
    if inside:
        found.append(Row(key, indent, f"{name}:", ""))
        found.extend(inside)


def _yields(policy: Policy, setting: Setting) -> bool:
    """Tell whether the other of two keys that decide the same is the one that holds."""
    if not setting.rival:
        return False
    value, other = policy.values[setting.key], policy.values[setting.rival]
    return not value if isinstance(value, dict) else bool(other)


def _is_word(policy: Policy, setting: Setting) -> bool:
    value = policy.values[setting.key]
    return setting.mapping is None or value != setting.mapping


def _setting(policy: Policy, setting: Setting, name: str, indent: int) -> Sequence[Row]:
    value = policy.values[setting.key]
    kind = setting.kind
    origin = str(policy.written(setting.key) or BUILT_IN)
    tag = " !override" if _would_grow(setting, value) else ""
    if not isinstance(kind, Entries) or not isinstance(value, dict) or not value:
        return [Row(setting.key, indent, f"{name}:{tag} {kind.write(value)}", origin)]
    dash = "" if kind.write(value).startswith("{") else "- "
    found = [Row(setting.key, indent, f"{name}:{tag}", "")]
    for entry, written in value.items():
        found.append(_entry(policy, setting, kind, entry, written, dash, indent + 1))
    return found


def _would_grow(setting: Setting, value: Any) -> bool:  # noqa: ANN401
    """Tell whether reading the entries on top of the built-in ones would bring some back."""
    return (
        isinstance(value, dict) and isinstance(setting.default, dict) and bool(setting.default.keys() - value)
    )


def _entry(
    policy: Policy,
    setting: Setting,
    kind: Entries,
    entry: str,
    value: Any,  # noqa: ANN401
    dash: str,
    indent: int,
) -> Row:
    key = f"{setting.key}.{entry}"
    return Row(key, indent, dash + kind.write_entry(entry, value), str(policy.written(key) or BUILT_IN))
