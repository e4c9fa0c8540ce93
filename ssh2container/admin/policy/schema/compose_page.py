"""docs/compose.md, from the table of Compose's keys."""

from __future__ import annotations

import re

from ssh2container.admin.capabilities import NAMES
from ssh2container.admin.policy.schema.compose import OTHER, SERVICE, TOP, ComposeKey
from ssh2container.admin.policy.schema.settings import POLICY
from ssh2container.admin.policy.types.capabilities import GAINS, reason

_HEAD = """\
# From Compose to a policy

<!-- Made from ssh2container/admin/policy/schema/compose.py by: make docs -->

A policy describes one container in the words of Compose's service specification.
`ssh2containerctl convert` makes one of a Compose file ([convert.md](convert.md)).
This page has every key of that specification, and what becomes of it:

- **yes**: a policy has the same key, with Compose's meaning; how ours differs is said.
- **another key**: a policy says it with that one.
  Names that start with `x-` are yours.
- **no**: it cannot be said, and why.

A policy with a key that it does not have is refused, with the same sentence.
Some values are accepted although their key does nothing here, because what they ask for is always so.

## Keys of a service
"""
_BETWEEN = """
## Keys at the top of a Compose file
"""
_CAPABILITIES = """
## Capabilities

What `cap_add` takes, for root in a range of ids.
They count over the session's own user namespace alone (user_namespaces(7)), and nobody else inside has any.

| capability (capabilities(7)) | `cap_add` | |
|---|---|---|"""
_TABLE = ["| Compose | in a policy | |", "|---|---|---|"]


def markdown() -> str:
    """Return docs/compose.md."""
    lines = [_HEAD, *_TABLE, *(_row(name, key) for name, key in SERVICE.items())]
    lines += [_BETWEEN, *_TABLE, *(_row(name, key) for name, key in TOP.items())]
    lines += [_CAPABILITIES, *(_capability(name) for name in NAMES)]
    return "\n".join(lines) + "\n"


def _row(name: str, key: ComposeKey) -> str:
    verdict = key.answer
    if key.answer == OTHER:
        verdict = ", ".join(f"`{one}`" for one in key.ours) or "`x-…`"
    said = _marked(key) if key.why else ""
    if key.accepted:
        values = dict.fromkeys(_shown(name, value) for value in key.accepted)
        said += " Accepted: " + ", ".join(f"`{value}`" for value in values) + "."
    return f"| `{name}` | {verdict} | {said} |"


def _capability(name: str) -> str:
    why = reason(name)
    if why:
        return f"| `{name}` | no | {why[0].upper()}{why[1:]}. |"
    return f"| `{name}` | yes | {GAINS.get(name, 'Root of a range has it without being given it.')} |"


def _marked(key: ComposeKey) -> str:
    """Return the sentence, in which what can only be a key looks like one."""
    known = {word for word in (*POLICY.settings, *POLICY.children(""), *SERVICE) if set("_.") & set(word)}
    words = "|".join(re.escape(word) for word in sorted(known, key=len, reverse=True))
    own = "|".join(re.escape(word) for word in key.ours) or "(?!)"
    keys = rf"(?<![\w.-])({words})(?![\w-])|(?<=^use )({own})\b"
    text = re.sub(keys, lambda match: f"`{match[0]}`", key.why)
    return text[0].upper() + text[1:] + "."


def _shown(name: str, value: object) -> str:
    inside = f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)
    return f"{name}: {inside}"
