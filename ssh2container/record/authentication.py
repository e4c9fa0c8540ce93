"""How the client proved who it is, as sshd tells with ``ExposeAuthInfo yes`` (sshd_config(5)).

sshd writes the methods and public keys into a file of the user's own and names it in SSH_USER_AUTH.
Imported only where the variable is set.
"""

from __future__ import annotations

import _stat as stat
import binascii
import posix as os

from ssh2container import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    sha256: Callable[[bytes], Any]
else:
    try:
        from _sha256 import sha256
    except ImportError:  # its name since Python 3.12; hashlib would load what OPENSSL_CONF names
        from _sha2 import sha256

_LARGEST = 65536


def describe(path: bytes) -> dict[str, str]:
    """Return the fields ``auth`` (the methods) and ``key`` (the fingerprint of the key that was used).

    A file that sshd cannot have made is not read: where AcceptEnv is broad, a client can name one.
    """
    methods, key = [], ""
    for line in _read(path).decode("ascii", "replace").splitlines():
        words = line.split(" ")
        methods.append(words[0])
        if words[0] in ("publickey", "hostbased") and len(words) > 2:  # noqa: PLR2004
            key = fingerprint(words[2]) or key
            methods[-1] += f" ({words[1]})"
    return {"auth": ", ".join(methods), "key": key}


def fingerprint(key: str) -> str:
    """Return the fingerprint of a public key in base64 as ``ssh-keygen -l`` shows it; "" for none."""
    try:
        blob = binascii.a2b_base64(key, strict_mode=True)
    except ValueError:
        return ""
    digest: bytes = sha256(blob).digest()
    return "SHA256:" + binascii.b2a_base64(digest).decode().rstrip("=\n")


def _read(path: bytes) -> bytes:
    if not path.startswith(paths.EXPOSED) or b"/" in path[len(paths.EXPOSED) :]:
        return b""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid():
            return b""
        return os.read(descriptor, _LARGEST)
    finally:
        os.close(descriptor)
