"""The rules of ``keys``: which public keys and certificates have policies of their own. Pure.

What they make of a policy is in :mod:`.keyed`. Imported only where there are ``keys``.
"""

from __future__ import annotations

from ssh2container.errors import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from .merge import Layer
    from .policy import Policy

KEY = "keys"
FINGERPRINT, PRINCIPAL, KEY_ID = "fingerprint", "principal", "key_id"
_EXPOSED = "/tmp"


class Rule:
    """One entry of ``keys``.

    name: what it is called in messages and records. kind: of what ``text`` is: a fingerprint, a principal or
    a key id. authority: the fingerprint of the key that must have signed the certificate, or None.
    profiles: their names. layers: what they come to.
    """

    __slots__ = ("authority", "kind", "layers", "name", "profiles", "text")

    def __init__(
        self,
        name: str,
        kind: str,
        text: str,
        authority: str | None,
        profiles: tuple[str, ...],
        layers: tuple[Layer, ...],
    ) -> None:
        self.name = name
        self.kind = kind
        self.text = text
        self.authority = authority
        self.profiles = profiles
        self.layers = layers

    def names(self, used: Used) -> bool:
        """Tell whether the rule is about a key that was used."""
        if self.kind == FINGERPRINT:
            return self.text == used.fingerprint
        if not used.authority or self.authority not in (None, used.authority):
            return False
        return self.text == used.key_id if self.kind == KEY_ID else self.text in used.principals


class Used:
    """A public key that sshd has accepted.

    fingerprint: as ``ssh-keygen -l`` shows it, of a certificate that of the key in it.
    authority: the fingerprint of the key that signed the certificate, "" for a plain key.
    key_id, principals: what the certificate says.
    """

    __slots__ = ("authority", "fingerprint", "key_id", "principals")

    def __init__(
        self, fingerprint: str, authority: str = "", key_id: str = "", principals: Sequence[str] = ()
    ) -> None:
        self.fingerprint = fingerprint
        self.authority = authority
        self.key_id = key_id
        self.principals = tuple(principals)

    def fields(self) -> tuple[Any, ...]:
        """Return the values of all slots in their order."""
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Used) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash(self.fields())

    @classmethod
    def of(cls, fields: Sequence[Any]) -> Used:
        """Return the one with these :meth:`fields`."""
        return cls(**dict(zip(cls.__slots__, fields, strict=True)))


def of(values: Mapping[str, Any]) -> list[Rule]:
    """Return the rules of merged settings, in their order."""
    return [Rule(name, *entry) for name, entry in values[KEY].items()]


def broken(policy: Policy) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with the rules of ``policy``, whatever they make of it: key, message, allowed."""
    if policy.authorized_keys == "home":
        yield (
            KEY,
            "keys beside authorized_keys: home, where users add keys that no rule names",
            "authorized_keys: host, the default, beside keys",
        )
    listed = of(policy.values)
    for rule in listed:
        for other in listed:
            both = (rule.kind, rule.text) == (other.kind, other.text)
            if both and rule.authority is None and other.authority is not None:
                place = policy.origin(f"{KEY}.{other.name}")
                yield (
                    f"{KEY}.{rule.name}",
                    f"what {printable(other.name)} in {place} is about, this is about, too",
                    "authority in both, or one of them",
                )
    yield from in_reach(policy)


def in_reach(policy: Policy) -> Iterator[tuple[str, str, str]]:
    """Yield by what a session could write the file in which sshd tells which key was used."""
    places = [(one.key, one.source) for one in policy.volumes if not one.read_only]
    if policy.home is not None and policy.home.source and not policy.home.read_only:
        places.append(("home.source", policy.home.source))
    for key, source in places:
        if source in ("/", _EXPOSED):
            yield (
                key,
                f"sessions can write to {_EXPOSED} of the host, where sshd tells which key was used",
                f"read-only, or a directory below {_EXPOSED}, beside keys",
            )
