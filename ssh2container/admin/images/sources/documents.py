"""JSON from foreign hands: of the expected shape, or refused by the document's name."""

from __future__ import annotations

import json
from typing import Any

from ssh2container.admin.images.unpack.rules import HostileError

_LONGEST_WORD_BYTES = (128 << 10) - 1  # MAX_ARG_STRLEN, of an argument or a variable: execve(2)
_NAMES: dict[type, str] = {dict: "an object", list: "a list", str: "a string"}


def parsed(text: bytes, what: str) -> dict[str, Any]:
    """Return the object that ``text`` is; raises HostileError, which names ``what``."""
    try:
        return mapping(json.loads(text), what)
    except (ValueError, RecursionError) as error:
        raise HostileError(what, f"it is not JSON: {str(error)[:200]}") from None


def mapping(value: object, what: str) -> dict[str, Any]:
    """Return ``value``, which has to be an object; raises HostileError."""
    found: dict[str, Any] = _of(dict, value, what)
    return found


def mappings(value: object, what: str) -> list[dict[str, Any]]:
    """Return ``value``, which has to be a list of objects; raises HostileError."""
    return [mapping(item, f"{what}[{number}]") for number, item in enumerate(_of(list, value, what))]


def word(value: object, what: str) -> str:
    """Return ``value``, which has to be a string that a program can be started with, "" for null.

    Raises HostileError.
    """
    text = "" if value is None else _of(str, value, what)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise HostileError(what, "it cannot be written in UTF-8") from None
    if "\0" in text:
        raise HostileError(what, "it holds a zero byte")
    if size > _LONGEST_WORD_BYTES:
        raise HostileError(what, f"it is longer than {_LONGEST_WORD_BYTES} bytes")
    return text


def words(value: object, what: str) -> tuple[str, ...]:
    """Return ``value``, which has to be a list of such strings, () for null; raises HostileError."""
    items = [] if value is None else _of(list, value, what)
    return tuple(word(item, f"{what}[{number}]") for number, item in enumerate(items))


def _of(kind: type, value: object, what: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, kind):
        return value
    raise HostileError(what, f"it is {_NAMES.get(type(value), json.dumps(value))}, not {_NAMES[kind]}")
