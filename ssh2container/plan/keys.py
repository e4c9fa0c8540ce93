"""Keys as sshd knows them: lines of authorized_keys files with their options, and certificates (sshd(8))."""

from __future__ import annotations

import _stat as stat
import binascii
import posix as os

from ssh2container.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .account import Account

CERTIFICATE = b"-cert-v01@openssh.com"
"""What the type of a certificate ends with."""
UNKNOWN = "cannot determine whether the key is restricted"
_LARGEST = 1 << 20


def expanded(pattern: str, account: Account) -> str:
    """Return the file that a pattern of AuthorizedKeysFile means for a user (sshd_config(5), TOKENS)."""
    values = {"%": "%", "h": account.home, "u": account.name, "U": str(account.uid)}
    first, *others = pattern.split("%")
    text, waiting = first, others
    while waiting:
        part = waiting.pop(0)
        if not part and waiting:  # %%
            text += "%" + waiting.pop(0)
        else:
            text += values.get(part[:1], "") + part[1:]
    return text if text.startswith("/") else f"{account.home}/{text}"


def lines_with(key: bytes, text: bytes, *, authority: bool) -> Iterator[bytes]:
    """Yield the options of the lines of an authorized_keys file that hold ``key`` (sshd(8)).

    authority: whether the key is one that signs certificates, which only counts with ``cert-authority``.
    """
    if key not in text:
        return
    for line in text.split(b"\n"):
        if key not in line or line.lstrip(b" \t").startswith(b"#"):
            continue
        options, rest = divide(line.strip(b" \t\r"))
        if key in rest.split()[:2] and (_names(options).count(b"cert-authority") > 0) == authority:
            yield options


def divide(line: bytes) -> tuple[bytes, bytes]:
    """Return a line's options and what follows them; a line without options begins with a type of key."""
    end = _end_of_options(line)
    if looks_like_type(line[:end]):
        return b"", line
    return line[:end], line[end:].lstrip(b" \t")


def looks_like_type(word: bytes) -> bool:
    """Tell a type of key, such as ssh-ed25519, from options."""
    return word.startswith((b"ssh-", b"ecdsa-", b"sk-", b"rsa-")) and b"=" not in word and b"," not in word


def _end_of_options(line: bytes) -> int:
    """Return where the first white space outside of quotes is (sshd(8), AUTHORIZED_KEYS FILE FORMAT)."""
    quoted, at = False, 0
    while at < len(line) and (quoted or line[at : at + 1] not in (b" ", b"\t")):
        if line[at : at + 2] == b'\\"':
            at += 1
        elif line[at : at + 1] == b'"':
            quoted = not quoted
        at += 1
    return at


def each_option(options: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name in lower case, value without its quotes) of an options field."""
    at = 0
    while at < len(options):
        end, quoted = at, False
        while end < len(options) and (quoted or options[end : end + 1] != b","):
            if options[end : end + 2] == b'\\"':
                end += 1
            elif options[end : end + 1] == b'"':
                quoted = not quoted
            end += 1
        name, _, value = options[at:end].partition(b"=")
        if value[:1] == b'"' and value[-1:] == b'"' and len(value) > 1:
            value = value[1:-1].replace(b'\\"', b'"')
        yield name.strip(b" \t").lower(), value
        at = end + 1


def option(options: bytes, wanted: bytes) -> bytes | None:
    """Return the value of one option, None where it is not there."""
    return next((value for name, value in each_option(options) if name == wanted), None)


def _names(options: bytes) -> list[bytes]:
    return [name for name, _ in each_option(options)]


class Certificate:
    """What a certificate says (PROTOCOL.certkeys): the forced command, its id, the principals, who signed it.

    extensions: as they stand there, for :meth:`permits`. plain: the public key in it, in base64 as a key of
    its own has it.

    Raises Refusal for one that cannot be read: sshd has accepted it, so it is ours not to understand.
    """

    __slots__ = ("authority", "command", "extensions", "key_id", "plain", "principals")

    def __init__(self, key: bytes) -> None:
        try:
            self._read(binascii.a2b_base64(key))
        except (ValueError, IndexError):
            raise Refusal(
                "cannot read the certificate",
                "so it is unknown what it may run",
                "use another kind of key, or remove ForceCommand from the drop-in",
                "key",
            ) from None

    def _read(self, blob: bytes) -> None:
        kind, rest = _string(blob)
        _nonce, rest = _string(rest)
        bare = kind.removesuffix(CERTIFICATE)
        plain = _packed(bare + b"@openssh.com" if bare.startswith(b"sk-") else bare)
        for _ in range(_FIELDS[bare]):
            field, rest = _string(rest)
            plain += _packed(field)
        self.plain = binascii.b2a_base64(plain, newline=False)
        rest = rest[12:]  # serial and type
        self.key_id, rest = _string(rest)
        principals, rest = _string(rest)
        rest = rest[16:]  # from when to when it holds
        critical, rest = _string(rest)
        self.extensions, rest = _string(rest)
        _reserved, rest = _string(rest)
        authority, rest = _string(rest)
        self.authority = binascii.b2a_base64(authority, newline=False)
        self.principals: list[bytes] = []
        while principals:
            name, principals = _string(principals)
            self.principals.append(name)
        self.command: bytes | None = None
        while critical:
            name, critical = _string(critical)
            data, critical = _string(critical)
            if name == b"force-command":
                self.command = _string(data)[0]

    def permits(self, wanted: bytes) -> bool:
        """Tell whether it has the extension ``wanted``, such as permit-pty; without, the answer is no."""
        rest = self.extensions
        while rest:
            name, rest = _string(rest)
            _data, rest = _string(rest)
            if name == wanted:
                return True
        return False


class _Fields(dict[bytes, int]):
    def __missing__(self, kind: bytes) -> int:
        raise ValueError(kind)


_FIELDS = _Fields(
    {
        b"ssh-ed25519": 1,
        b"ssh-rsa": 2,
        b"ssh-dss": 4,
        b"ecdsa-sha2-nistp256": 2,
        b"ecdsa-sha2-nistp384": 2,
        b"ecdsa-sha2-nistp521": 2,
        b"sk-ssh-ed25519": 2,
        b"sk-ecdsa-sha2-nistp256": 3,
    }
)
"""How many strings the public key of a kind is, after the nonce."""


def _string(blob: bytes) -> tuple[bytes, bytes]:
    """Return the first string of a blob and the rest (RFC 4251, 5)."""
    length = int.from_bytes(blob[:4], "big")
    if len(blob) < 4 + length:
        raise ValueError("cut short")
    return blob[4 : 4 + length], blob[4 + length :]


def _packed(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


def kind_of(blob: bytes) -> bytes:
    """Return the type that a public key begins with. Raises ValueError."""
    return _string(blob)[0]


def content(path: bytes, owner: int = -1) -> bytes:
    """Return a regular file's text, b"" where there is none that can be read; owner: whose it has to be."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_NOFOLLOW if owner >= 0 else 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError):
        return b""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or (owner >= 0 and status.st_uid != owner):
            return b""
        parts = []
        left = _LARGEST
        while left > 0 and (part := os.read(descriptor, left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
