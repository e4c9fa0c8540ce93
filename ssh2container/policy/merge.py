"""Merging the layers of a policy, with Compose's rules. Pure.

A layer is what one file says, in the policy's units: ``(file, drops, values, lines)``.

file: the path, for origins.
drops: (setting, entry) pairs to forget of the layers below; entry None is the setting with all below it.
values: setting -> value; a dict holds the entries of a list or map, which merge one by one.
lines: setting, or "setting.entry" -> line.

The first layer holds every setting with its built-in default; it has no lines.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Layer = tuple[str, tuple[tuple[str, str | None], ...], dict[str, Any], dict[str, int]]
    Origins = dict[str, tuple[str, int]]


def merge(layers: Sequence[Layer]) -> tuple[dict[str, Any], Origins]:
    """Return (values, origins) of all layers, the last one being the strongest.

    A mapping and a list merge by entry: a new entry is added at the end, an entry of the same key
    is replaced in its place. Everything else replaces. A setting that was dropped and not written
    again has its built-in default, or no entries. Origins are in the order in which they came to hold.
    """
    values: dict[str, Any] = {}
    origins: Origins = {}
    for file, drops, written, lines in layers:
        for setting, entry in drops:
            _drop(values, origins, setting, entry)
        for key, value in written.items():
            below = values.get(key)
            if type(value) is dict and type(below) is dict:
                values[key] = {**below, **value}
            else:
                if type(below) is dict:
                    _forget(origins, key)
                values[key] = value
        for key, line in lines.items():
            origins.pop(key, None)
            origins[key] = (file, line)
    for key, default in layers[0][2].items():
        if key not in values:
            values[key] = {} if type(default) is dict else default
    return values, origins


def _drop(values: dict[str, Any], origins: Origins, setting: str, entry: str | None) -> None:
    if entry is not None:
        entries = values.get(setting)
        if type(entries) is dict and entry in entries:
            values[setting] = {key: value for key, value in entries.items() if key != entry}
            origins.pop(setting + "." + entry, None)
        return
    below = setting + "."
    for key in [key for key in values if key == setting or key.startswith(below)]:
        del values[key]
    _forget(origins, setting)


def _forget(origins: Origins, setting: str) -> None:
    below = setting + "."
    for key in [key for key in origins if key == setting or key.startswith(below)]:
        del origins[key]
