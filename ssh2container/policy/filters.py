"""The system-call filter of a policy, as the bytes that seccomp(2) loads.

Building one takes libseccomp and some 50 ms; a login only reads what
``ssh2containerctl compile`` left behind. A compiled filter is used if it was made from the
profile file as it is now; otherwise it is built on the spot, with the same result.
"""

from __future__ import annotations

import marshal
import os
import stat
import syslog
from _blake2 import blake2b

from ssh2container.errors import SessionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .policy import Seccomp

    Identity = tuple[str, int, int, int, int]
    """Path, device, inode, size in bytes, time of modification in ns."""

PROFILES = ("/etc/ssh2container/seccomp", "/usr/share/ssh2container/seccomp")
"""Where a profile is looked for by name, the first one that has it."""
COMPILED = "/var/lib/ssh2container/compiled/seccomp"

_FORMAT = 1
_MAX_BYTES = 1 << 20  # a profile has some 40 kB, a compiled filter some 10 kB
_STEP = "seccomp"


def filter_for(seccomp: Seccomp, capabilities: Iterable[int]) -> bytes:
    """Return the BPF for a payload that keeps ``capabilities`` (numbers, capabilities(7)).

    Raises SessionError when there is no such profile, or it cannot be obeyed.
    """
    try:
        _, identity = find(seccomp.profile)
        found = _compiled(os.path.join(COMPILED, key_of(seccomp, capabilities)), identity)
    except OSError as problem:
        raise SessionError(
            f"cannot read the seccomp profile {seccomp.profile}",
            problem.strerror or str(problem),
            f"put it into {PROFILES[0]} or correct seccomp.profile",
            _STEP,
            problem.errno or 0,
        ) from problem
    return _build(seccomp, capabilities) if found is None else found


def find(profile: str) -> tuple[str, Identity]:
    """Return the path and the identity of a profile: a name, or an absolute path.

    Raises OSError.
    """
    places = [profile] if profile.startswith("/") else [f"{place}/{profile}.json" for place in PROFILES]
    for path in places:
        try:
            found = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            if path is places[-1]:
                raise
        else:
            return path, (path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    raise AssertionError


def key_of(seccomp: Seccomp, capabilities: Iterable[int]) -> str:
    """Return the name of the file that holds the compiled filter."""
    canonical = (
        _FORMAT,
        os.uname().machine,
        seccomp.profile,
        tuple(sorted(set(seccomp.allow))),
        tuple(sorted(set(seccomp.deny))),
        seccomp.on_violation,
        tuple(sorted(set(capabilities))),
    )
    return blake2b(marshal.dumps(canonical, 2), digest_size=16).hexdigest()


def pack(identity: Identity, bpf: bytes, release: str | None) -> bytes:
    """Return the content of a compiled file.

    release: of the kernel it is bound to, None when a newer kernel changes nothing.
    """
    return marshal.dumps((_FORMAT, identity, release, bpf), 2)


def _compiled(path: str, identity: Identity) -> bytes | None:
    try:
        content = marshal.loads(read_trusted(path))  # noqa: S302 - a file that only root can write
        version, made_from, release, bpf = content
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, EOFError):  # cut short, or of another version of Python
        return None
    fresh = version == _FORMAT and made_from == identity and release in (None, os.uname().release)
    return bpf if fresh and type(bpf) is bytes else None


def read_trusted(path: str) -> bytes:
    """Return the content of a file that only root can have written; raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
            raise PermissionError(1, "not a regular file that only root can write", path)
        content = b""
        while chunk := os.read(handle, _MAX_BYTES + 1 - len(content)):
            content += chunk
        if len(content) > _MAX_BYTES:
            raise OSError(27, f"larger than {_MAX_BYTES} bytes", path)
    finally:
        os.close(handle)
    return content


def _build(seccomp: Seccomp, capabilities: Iterable[int]) -> bytes:
    syslog.syslog(
        syslog.LOG_AUTHPRIV | syslog.LOG_NOTICE,
        f"seccomp: no fresh compiled filter for the profile {seccomp.profile}, building it; "
        "run ssh2containerctl compile",
    )
    try:
        from ssh2container.admin.seccomp import build  # noqa: PLC0415 - cold, and 35 ms

        return build.build(seccomp, capabilities)
    except (OSError, ValueError, RuntimeError, ImportError) as problem:
        raise SessionError(
            f"cannot build the system-call filter from the profile {seccomp.profile}",
            str(problem),
            "see ssh2containerctl seccomp show",
            _STEP,
            getattr(problem, "errno", 0) or 0,
        ) from problem
