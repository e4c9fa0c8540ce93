"""What leads into a container needs to know of the host: the user's host key, and what their own key forbids.

Read when a client asks for it and not with the rest (:mod:`.host`), as no other session needs it.
"""

from __future__ import annotations

import posix as os

from ssh2container import paths
from ssh2container.errors import Refusal

from . import entrance, keys
from .account import Account
from .request import MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOST_KEYS = "/var/lib/ssh2container/host-keys"
"""A private key for each uid, ``UID``, and its public half, ``UID.pub`` (``admin.accounts.host_key``)."""
_BEGINNING = b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
_OPENING, _LISTENING = b"permitopen", b"permitlisten"


class Restrictions:
    """What the key that was used forbids (sshd(8), AUTHORIZED_KEYS FILE FORMAT).

    closed: whether it may forward nothing. terminal, agent, x11: what a session may have.
    opens, listens: the only places that may be connected to, or listened at; empty: any.
    """

    __slots__ = ("agent", "closed", "listens", "opens", "terminal", "x11")

    def __init__(self) -> None:
        self.closed = False
        self.terminal = self.agent = self.x11 = True
        self.opens: list[bytes] = []
        self.listens: list[bytes] = []

    def add(self, options: bytes) -> None:
        """Take in the options of a line that admits the key."""
        allowed = dict.fromkeys((b"port-forwarding", b"pty", b"agent-forwarding", b"x11-forwarding"), True)
        for name, value in keys.each_option(options):
            if name == b"restrict":
                allowed = dict.fromkeys(allowed, False)
            elif name in allowed:
                allowed[name] = True
            elif name.removeprefix(b"no-") in allowed:
                allowed[name[3:]] = False
            elif name == _OPENING:
                self.opens.append(value)
            elif name == _LISTENING:
                self.listens.append(value)
        self._meet(*allowed.values())

    def add_certificate(self, certificate: keys.Certificate) -> None:
        """Take in what a certificate permits: nothing that it does not name."""
        names = (b"port-forwarding", b"pty", b"agent-forwarding", b"X11-forwarding")
        self._meet(*(certificate.permits(b"permit-" + name) for name in names))

    def _meet(self, forwarding: bool, terminal: bool, agent: bool, x11: bool) -> None:  # noqa: FBT001
        self.closed = self.closed or not forwarding
        self.terminal = self.terminal and terminal
        self.agent = self.agent and agent
        self.x11 = self.x11 and x11


def restrictions(given: Mapping[bytes, bytes]) -> Restrictions:
    """Return what the keys forbid with which sshd has let this login in. Raises Refusal where nobody knows.

    given: the environment that the caller handed to the login shell.
    """
    found = Restrictions()
    told = given.get(b"SSH_USER_AUTH", b"")
    if b"SSH_CONNECTION" in given and not keys.content(told, os.getuid()):
        raise Refusal(
            keys.UNKNOWN,
            "sshd does not tell what it has accepted (ExposeAuthInfo), and only it could keep to that",
            "an administrator renews the drop-in: ssh2containerctl sshd-config --write --reload",
            "key",
        )
    used = entrance.used_keys(told)
    if used:
        account = Account.current(given)
        for kind, key in used:
            wanted = key
            if kind.endswith(keys.CERTIFICATE):
                certificate = keys.Certificate(key)
                found.add_certificate(certificate)
                wanted = certificate.authority
            for options in _lines(kind, wanted, key, account, given):
                found.add(options)
    return found


def _lines(
    kind: bytes, wanted: bytes, key: bytes, account: Account, given: Mapping[bytes, bytes]
) -> Iterator[bytes]:
    files = entrance.files_of(given.get(MARK, b""))
    lines = list(entrance.options_in(wanted, files, account, authority=wanted is not key))
    if not lines:
        from . import servers

        lines = list(servers.options_elsewhere(kind, wanted, key, account))
    yield from lines


def host_key(given: Mapping[bytes, bytes]) -> bytes:
    """Return the private host key of the user who logs in. Raises Refusal where there is none.

    given: as for :func:`restrictions`.
    """
    key = keys.content(paths.fsencode(f"{HOST_KEYS}/{os.getuid()}"))
    if not key.startswith(_BEGINNING):
        raise Refusal(
            "cannot start an sshd in the container",
            "the user has no host key for it",
            f"an administrator runs: ssh2containerctl enable {Account.current(given).name}",
            "host-key",
        )
    return key
