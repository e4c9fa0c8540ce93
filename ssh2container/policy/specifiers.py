"""Specifiers in policy texts: ``%u`` and its kin, with sshd's and systemd's meaning."""

from __future__ import annotations

from ssh2container.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MEANING = {
    "u": "the user's name",
    "U": "the user's numeric id",
    "g": "the name of the user's primary group",
    "h": "the user's home directory on the host",
    "i": "the session's id",
    "%": "a percent sign",
}
"""Every letter that may follow ``%``, with its meaning."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace each specifier in ``text`` by its value.

    text: as written in the policy, e.g. ``"/srv/homes/%u"``.
    values: letter -> value; ``%h`` is a path, any other value must be a single name.

    Raises Refusal for an unknown specifier, for one without a value, and for a value that would
    lead somewhere else than the administrator wrote ("/", "." or ".." in a name).
    """
    if "%" not in text:
        return text
    done = []
    rest = text
    while rest:
        before, percent, after = rest.partition("%")
        done.append(before)
        if not percent:
            break
        done.append(_value(after[:1], values, text))
        rest = after[1:]
    return "".join(done)


def unknown(text: str) -> list[str]:
    """Return the specifiers in ``text`` that do not exist, e.g. ``["%x"]``; a lone % is ``"%"``."""
    wrong = []
    position = text.find("%")
    while position != -1:
        letter = text[position + 1 : position + 2]
        if letter not in MEANING or not letter:
            wrong.append("%" + letter)
        position = text.find("%", position + 2)
    return wrong


def _value(letter: str, values: Mapping[str, str], text: str) -> str:
    if letter == "%":
        return "%"
    if not letter or letter not in MEANING:
        allowed = " ".join("%" + known for known in MEANING)
        raise Refusal(f"unknown specifier %{letter} in {text!r}", remedy=f"allowed are {allowed}")
    if letter not in values:
        raise Refusal(f"no value for %{letter} in {text!r}", MEANING[letter] + " is not known here")
    value = values[letter]
    safe = _safe_path(value) if letter == "h" else _safe_name(value)
    if not safe:
        raise Refusal(
            f"refusing to put {value!r} in place of %{letter} in {text!r}",
            "it would lead to another place than the policy names",
        )
    return value


def _safe_name(value: str) -> bool:
    return value not in ("", ".", "..") and "/" not in value and ".." not in value and "\0" not in value


def _safe_path(value: str) -> bool:
    return value.startswith("/") and ".." not in value.split("/") and "\0" not in value
