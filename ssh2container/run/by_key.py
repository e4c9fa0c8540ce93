"""Which policy a login has by its key: reads which key was used, as sshd tells with ``ExposeAuthInfo yes``.

Imported only where the user's policy has ``keys``. sshd writes the file under the user's own id, so nothing
but the container keeps the user from changing it; a session that could is refused (``policy.keyed``).
Whatever is odd about the file refuses the login: the key may be one that is restricted.
"""

from __future__ import annotations

import binascii
import posix as os

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.plan import keys
from ssh2container.policy import key_rules, keyed
from ssh2container.record.authentication import fingerprint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssh2container.policy.key_rules import Used
    from ssh2container.policy.policy import Policy
    from ssh2container.record import audit

_WHAT = "cannot determine the policy of this key"
_WORDS_OF_KEY = 3
_VISIBLE = range(0x21, 0x7F)


def choose(policy: Policy, environment: Mapping[bytes, bytes], log: audit.Session) -> Policy:
    """Return the policy of the key that was used, ``policy`` itself where no rule names one.

    Who did not come through sshd (su, cron) has used none. Raises Refusal when it cannot be told.
    """
    if b"SSH_CONNECTION" not in environment and b"SSH_USER_AUTH" not in environment:
        return policy
    name = keyed.match(policy, told(environment.get(b"SSH_USER_AUTH", b"")))
    if not name:
        return policy
    log.know(rule=name)
    return keyed.of_key(policy, name)


def told(path: bytes) -> list[Used]:
    """Return the public keys that sshd has accepted. path: SSH_USER_AUTH. Raises Refusal."""
    if not path:
        raise Refusal(
            _WHAT,
            "sshd does not tell which key was used (ExposeAuthInfo)",
            "an administrator puts the drop-in in place: ssh2containerctl sshd-config --write --reload",
            key_rules.KEY,
        )
    text = b""
    if path.startswith(paths.EXPOSED) and b"/" not in path[len(paths.EXPOSED) :]:
        text = keys.content(path, os.getuid())
    if not text:
        raise _unreadable("it cannot be read, or is not the user's own")
    return parse(text)


def parse(text: bytes) -> list[Used]:
    """Return the public keys of a file that sshd has made: a line for each method of authentication.

    Raises Refusal for anything else.
    """
    *lines, rest = text.split(b"\n")
    if rest or not lines:
        raise _unreadable("it does not end with a line")
    found = []
    for line in lines:
        words = line.split(b" ")
        if not all(word and all(byte in _VISIBLE for byte in word) for word in words):
            raise _unreadable("a line of it is not words")
        if words[0] == b"publickey":
            if len(words) != _WORDS_OF_KEY:
                raise _unreadable("a line of it has no key")
            found.append(used(words[1], words[2]))
    return found


def used(kind: bytes, key: bytes) -> Used:
    """Return what a public key or a certificate is known by.

    kind: its type, such as ssh-ed25519. key: in base64. Raises Refusal.
    """
    try:
        named = keys.kind_of(binascii.a2b_base64(key, strict_mode=True))
    except ValueError:
        raise _unreadable("a key in it is not one") from None
    if named != kind:
        raise _unreadable("a key in it is not of its type")
    if not kind.endswith(keys.CERTIFICATE):
        return key_rules.Used(fingerprint(key.decode()))
    certificate = keys.Certificate(key)
    return key_rules.Used(
        fingerprint(certificate.plain.decode()),
        fingerprint(certificate.authority.decode()),
        paths.fsdecode(certificate.key_id),
        [paths.fsdecode(name) for name in certificate.principals],
    )


def _unreadable(why: str) -> Refusal:
    return Refusal(
        _WHAT,
        f"what sshd has written about it is of no use: {why}",
        "try again; an administrator looks at /tmp and at the sshd log",
        key_rules.KEY,
    )
