"""JSON Schema from the declarations, for editors and other programs.

Draft 7, which yaml-language-server understands best. What YAML editors see is text after YAML's
own resolution, so the schema is a little more generous than the loader; ``check`` has the last word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.policy.schema.compose import ACCEPTED
from ssh2container.admin.policy.schema.settings import POLICY, SITE
from ssh2container.admin.policy.types.names import PROFILE_NAME

if TYPE_CHECKING:
    from typing import Any

    from ssh2container.admin.policy.schema.declaration import Language, Setting

DRAFT = "http://json-schema.org/draft-07/schema#"


def schema(language: Language) -> dict[str, Any]:
    """Return the schema of a file in ``language``."""
    result: dict[str, Any] = {
        "$schema": DRAFT,
        "title": "ssh2container site settings" if language is SITE else "ssh2container policy",
        **_map(language, ""),
    }
    if language is POLICY:
        profile = {"type": "string", "pattern": f"^{PROFILE_NAME}$"}
        result["properties"]["extends"] = {
            "description": "The profiles to start from, left to right.",
            "anyOf": [profile, {"type": "array", "items": profile, "uniqueItems": True}],
        }
        for word, values in ACCEPTED.items():
            result["properties"][word] = {"enum": [_json(value) for value in values]}
        result["patternProperties"] = {"^x-": True}
    return result


def _map(language: Language, prefix: str) -> dict[str, Any]:
    properties = {}
    for name in language.children(prefix):
        key = f"{prefix}.{name}" if prefix else name
        found = _key(language, key)
        if found is not None:
            properties[name] = found
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _key(language: Language, key: str) -> dict[str, Any] | None:
    setting = language.settings.get(key)
    below = language.children(key)
    if setting is not None and setting.supported is False:
        return None
    as_map = _map(language, key) if below else None
    if setting is None:
        return as_map if as_map and as_map["properties"] else None
    own = _supported(setting)
    described = {"description": setting.doc}
    if as_map is not None:
        return {**described, "anyOf": [own, as_map]}
    return {**described, **own}


def _supported(setting: Setting) -> dict[str, Any]:
    if setting.words():
        return {"enum": [list(word) if isinstance(word, tuple) else word for word in setting.words()]}
    return setting.kind.schema()


def _json(value: object) -> object:
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    return {"true": True, "false": False}.get(str(value), value)
