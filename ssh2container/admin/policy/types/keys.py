"""The kind of ``keys``: which public keys and certificates have a policy of their own."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind

from __future__ import annotations

import binascii

from ssh2container.admin.policy.types.entries import Fields, Items
from ssh2container.admin.policy.types.kinds import INVALID, Report, flow
from ssh2container.admin.policy.types.names import PROFILE_NAME
from ssh2container.admin.policy.types.scalars import Text, Words
from ssh2container.admin.policy.yaml.nodes import Mapping, Node
from ssh2container.admin.policy.yaml.problems import quoted
from ssh2container.errors import Refusal
from ssh2container.policy.key_rules import FINGERPRINT, KEY_ID, PRINCIPAL
from ssh2container.run import by_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WAYS = (FINGERPRINT, "key", PRINCIPAL, KEY_ID)
_NO_COMMENT = "sshd does not authenticate a key's comment: name the key by its fingerprint (ssh-keygen -l)"


class Fingerprint(Text):
    """The fingerprint of a public key."""

    def __init__(self) -> None:
        super().__init__(
            "SHA256: and 43 letters, as ssh-keygen -l shows it", r"SHA256:[A-Za-z0-9+/]{43}", limit=50
        )


class Keys(Items):
    """Rules, each about one key, or about certificates; a rule of a later file about the same replaces it."""

    name = "list of rules"
    allowed = (
        "a map with fingerprint, key, principal or key_id, and extends; authority beside the last two; "
        "or a list of them"
    )
    maps = True

    def __init__(self) -> None:
        text = Text("a text without control characters", r"[^\x00-\x1f\x7f]{1,255}")
        fingerprint = Fingerprint()
        profile = Text("the name of a profile", PROFILE_NAME)
        self.fields = Fields(
            {
                FINGERPRINT: fingerprint,
                "key": _PublicKey(),
                PRINCIPAL: text,
                KEY_ID: text,
                "authority": fingerprint,
                "extends": Words(profile, "the name of a profile, or a list of them", unique=True),
            },
            ("extends",),
            {
                "comment": _NO_COMMENT,
                "policy": "write it as a profile, and name that: extends: [NAME]",
                "profile": "write extends: [NAME]",
                "command": "write access: {command: …} into a profile, and name that: extends: [NAME]",
            },
        )

    def repeated(self, key: str, first: Node, second: Node) -> str:
        return f"{quoted(key)} has a rule in line {first.line} and in line {second.line}"

    def entry(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Mapping):
            return report.fail(node, f"{node.found} instead of a map", self.allowed)
        found = self.fields.read(node, report)
        if found is None:
            return INVALID
        ways = [name for name in _WAYS if name in found]
        if len(ways) != 1:
            said = " and ".join(ways) if ways else "nothing that names a key"
            return report.fail(node, f"{said} in one rule", "one of " + ", ".join(_WAYS))
        (way,) = ways
        authority = found.get("authority")
        if authority is not None and way not in (PRINCIPAL, KEY_ID):
            return report.fail(node, f"authority beside {way}", "authority beside principal or key_id")
        # The compiler puts in what the profiles come to.
        kind = FINGERPRINT if way == "key" else way
        return (kind, found[way], authority, found["extends"], ())

    def key(self, value: Any) -> str:
        kind, text, authority, _, _ = value
        if kind == FINGERPRINT:
            return str(text)
        return f"{kind} {text}" + (f" of {authority}" if authority else "")

    def write_entry(self, key: str, value: Any) -> str:
        del key
        kind, text, authority, profiles, _ = value
        parts = [f"{kind}: {flow(text)}"]
        if authority is not None:
            parts.append(f"authority: {flow(authority)}")
        parts.append(f"extends: {self.fields.kinds['extends'].write(profiles)}")
        return "{" + ", ".join(parts) + "}"

    def entry_schema(self) -> dict[str, Any]:
        return self.fields.schema()


class _PublicKey(Text):
    """A public key without a comment; what comes of it is its fingerprint."""

    def __init__(self) -> None:
        super().__init__("TYPE BASE64, as in a .pub file without the comment", limit=16384)

    def check(self, text: str, node: Node, report: Report) -> Any:
        if super().check(text, node, report) is INVALID:
            return INVALID
        kind, _, key = text.partition(" ")
        if " " in key:
            return report.fail(node, "something behind the key", self.allowed, _NO_COMMENT)
        try:
            found = by_key.used(kind.encode(), key.encode())
        except (Refusal, binascii.Error):
            return report.fail(node, f"{quoted(text)} is no public key", self.allowed)
        if found.authority:
            return report.fail(node, "a certificate", self.allowed, "write principal or key_id")
        return found.fingerprint
