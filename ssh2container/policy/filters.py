"""The system-call filter of a policy, as the bytes that seccomp(2) loads.

Building one takes libseccomp and some 50 ms; a login only reads what
``ssh2containerctl compile`` left behind. A compiled filter is used if it was made from the
profile file as it is now; otherwise it is built on the spot, with the same result.
"""

from __future__ import annotations

import _stat as stat
import marshal
import posix as os
from _blake2 import blake2b

from ssh2container import __version__, paths
from ssh2container.errors import SessionError

from .policy import Seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Identity = tuple[str, int, int, int, int, int]
    """Path, device, inode, size in bytes, mtime and ctime in nanoseconds."""
    Programs = tuple[bytes, bytes]
    """The filter, and the one to be loaded after it that records violations (or b"")."""

PROFILES = ("/etc/ssh2container/seccomp", "/usr/share/ssh2container/seccomp")
"""Where a profile is looked for by name, the first one that has it."""
COMPILED = "/var/lib/ssh2container/compiled/seccomp"
INIT = Seccomp("init", (), (), "errno")
"""What pid 1 refuses itself, and whatever it starts, once the container is made."""

_FORMAT = f"ssh2container filter 1 {__version__}\n".encode()
_DIGEST_BYTES = 16
_MARSHAL_VERSION = 2
_MAX_BYTES = 1 << 20  # a profile has some 30 kB, a compiled filter some 6 kB
_STEP = "seccomp"


class _Stale(Exception):
    """A compiled filter cannot be used; the text says why."""


def filter_for(seccomp: Seccomp, capabilities: Iterable[int]) -> bytes:
    """Return the BPF for a payload that keeps ``capabilities`` (numbers, capabilities(7)).

    Raises SessionError when there is no such profile, or it cannot be obeyed.
    """
    return _programs(seccomp, capabilities)[0]


def recorder_for(seccomp: Seccomp, capabilities: Iterable[int]) -> bytes:
    """Return what has to be loaded after the filter under ``on_violation: log``, else b"".

    It refuses exactly the violations and lets all else pass. Of two filters with the same
    answer the kernel takes the later one, so loaded with SECCOMP_FILTER_FLAG_LOG (seccomp(2))
    it puts the violations, and nothing else, into the kernel's log. Raises like filter_for.
    """
    return _programs(seccomp, capabilities)[1] if seccomp.on_violation == "log" else b""


def _programs(seccomp: Seccomp, capabilities: Iterable[int]) -> Programs:
    held = tuple(sorted(set(capabilities)))
    try:
        path, identity = find(seccomp.profile)
    except OSError as problem:
        raise SessionError(
            f"cannot find the seccomp profile {seccomp.profile}",
            problem.strerror or "",
            f"put it into {PROFILES[0]} or correct seccomp.profile",
            _STEP,
            problem.errno or 0,
        ) from None
    try:
        return _compiled(f"{COMPILED}/{key_of(seccomp, held)}", identity)
    except (OSError, _Stale) as reason:
        return _build(seccomp, held, path, str(reason))


def find(profile: str) -> tuple[str, Identity]:
    """Return the path and the identity of a profile: a name, or an absolute path.

    Raises OSError.
    """
    places = [profile] if profile.startswith("/") else [f"{place}/{profile}.json" for place in PROFILES]
    while True:
        path = places.pop(0)
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            if not places:
                raise
        else:
            return path, (
                path,
                found.st_dev,
                found.st_ino,
                found.st_size,
                found.st_mtime_ns,
                found.st_ctime_ns,
            )


def key_of(seccomp: Seccomp, capabilities: Iterable[int]) -> str:
    """Return the name of the file that holds the compiled filter."""
    canonical = (
        os.uname().machine,
        seccomp.profile,
        tuple(sorted(set(seccomp.allow))),
        tuple(sorted(set(seccomp.deny))),
        seccomp.on_violation,
        tuple(sorted(set(capabilities))),
    )
    return blake2b(marshal.dumps(canonical, _MARSHAL_VERSION), digest_size=_DIGEST_BYTES).hexdigest()


def pack(identity: Identity, programs: Programs, release: str | None) -> bytes:
    """Return the content of a compiled file.

    release: of the kernel it is bound to, None when a newer kernel changes nothing.
    """
    body = marshal.dumps((identity, release, programs), _MARSHAL_VERSION)
    return _FORMAT + blake2b(body, digest_size=_DIGEST_BYTES).digest() + body


def _compiled(path: str, identity: Identity) -> Programs:
    data = read_trusted(path)
    start = len(_FORMAT) + _DIGEST_BYTES
    body = data[start:]
    if not data.startswith(_FORMAT):
        raise _Stale(f"{path}: another version of ssh2container wrote it, or none")
    # The digest comes first: marshal must never see bytes that it did not write.
    if blake2b(body, digest_size=_DIGEST_BYTES).digest() != data[len(_FORMAT) : start]:
        raise _Stale(f"{path}: it is damaged")
    made_from, release, programs = marshal.loads(body)
    if made_from != identity:
        raise _Stale(f"{identity[0]} is not the file that it was made from")
    if release not in (None, os.uname().release):
        raise _Stale(f"{path}: it was made for the kernel {release}")
    found: Programs = programs
    return found


def read_trusted(path: str) -> bytes:
    """Return the content of a file that only root can have written; raises OSError."""
    _require_roots(path, os.lstat(paths.parent(path)), stat.S_IFDIR)
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(handle)
        _require_roots(path, found, stat.S_IFREG)
        if found.st_size > _MAX_BYTES:
            raise OSError(27, f"larger than {_MAX_BYTES} bytes", path)
        return os.read(handle, found.st_size)
    finally:
        os.close(handle)


def _require_roots(path: str, found: os.stat_result, kind: int) -> None:
    if stat.S_IFMT(found.st_mode) != kind or found.st_uid != 0 or found.st_mode & 0o022:
        raise PermissionError(1, "others than root can change it, or a link leads there", path)


def _build(seccomp: Seccomp, capabilities: tuple[int, ...], path: str, reason: str) -> Programs:
    _log(f"building the system-call filter from {path} ({reason}); run ssh2containerctl compile")
    try:
        # libseccomp costs a login some 35 ms, so it is imported only here.
        from ssh2container.admin.seccomp import build

        return build.programs(seccomp, capabilities)
    except (OSError, ValueError, RuntimeError, ImportError) as problem:
        raise SessionError(
            f"cannot build the system-call filter from {path}",
            str(problem),
            "the administrator looks into it with: ssh2containerctl seccomp show",
            _STEP,
            getattr(problem, "errno", 0) or 0,
        ) from problem


def _log(text: str) -> None:
    import syslog

    syslog.openlog("ssh2container", syslog.LOG_PID, syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_WARNING, text)
