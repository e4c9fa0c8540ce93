"""``--key``: the key that a login is to have, as an option."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ssh2container.admin.policy.types.keys import Fingerprint
from ssh2container.errors import Refusal
from ssh2container.plan import keys
from ssh2container.policy import keyed
from ssh2container.policy.key_rules import Used
from ssh2container.run import by_key

if TYPE_CHECKING:
    from ssh2container.policy.policy import Policy

_LARGEST = 65536
_WORDS = 2


class PublicKey(click.ParamType):
    """A fingerprint, or the file of a public key or of a certificate."""

    name = "key"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        """Return what the key is known by."""
        if isinstance(value, Used):
            return value
        text = str(value)
        if Fingerprint().pattern.fullmatch(text):
            return Used(text)
        try:
            with open(text, "rb") as file:
                content = file.read(_LARGEST)
        except OSError as error:
            self.fail(f"{text} is neither a fingerprint (SHA256:…) nor a file: {error.strerror}", param, ctx)
        words = content.split()
        if len(words) < _WORDS or not keys.looks_like_type(words[0]):
            self.fail(f"{text} holds no public key (TYPE BASE64), as a .pub file does", param, ctx)
        try:
            return by_key.used(words[0], words[1])
        except Refusal as refusal:
            return self.fail(f"{text}: {refusal.why}", param, ctx)


PUBLIC_KEY = PublicKey()


def under(policy: Policy, key: Used) -> Policy:
    """Return the policy of a login with ``key``, which is the user's own where no rule names it.

    Raises Refusal where several rules do, or that of the key is not valid.
    """
    name = keyed.match(policy, [key])
    return keyed.of_key(policy, name) if name else policy
