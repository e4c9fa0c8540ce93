"""The system-call filter of a policy, as the bytes that seccomp(2) loads.

Building one takes libseccomp and about 50 ms; a login only reads what
``ssh2containerctl compile`` left behind. A compiled filter is used if it was made from the
profile file as it is now; otherwise it is built on the spot (:mod:`.cold`), with the same result.
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

    from .cold import Maker

    Identity = tuple[str, int, int, int, int, int]
    """Path, device, inode, size in bytes, mtime and ctime in nanoseconds."""
    Programs = tuple[bytes, bytes]
    """The filter, and the one to be loaded after it that records violations (or b"")."""
    Wanted = tuple[Seccomp, Iterable[int], int]
    """A policy's filter, the capabilities that the payload keeps, and the bits of :func:`filter_for`."""

PROFILES = ("/etc/ssh2container/seccomp", "/usr/share/ssh2container/seccomp")
"""Where a profile is looked for by name, the first one that has it."""
COMPILED = "/var/lib/ssh2container/compiled/seccomp"
INIT = Seccomp("init", (), (), "errno")
"""What pid 1 refuses itself, and whatever it starts, once the container is made."""
SYS_BOOT = frozenset((22,))
"""The capability that its filter looks at: who keeps it is in pids of a system's own, and may end those."""

_FORMAT = f"ssh2container filter 1 {__version__}\n".encode()
_DIGEST_BYTES = 16
_MARSHAL_VERSION = 2
_MAX_BYTES = 1 << 20  # a profile has about 30 kB, a compiled filter about 6 kB
_STEP = "seccomp"


class _Stale(Exception):
    """A compiled filter cannot be used; the text says why."""


def filter_for(seccomp: Seccomp, capabilities: Iterable[int], bits: int = 0) -> bytes:
    """Return the BPF for a payload that keeps ``capabilities`` (numbers, capabilities(7)).

    bits: those of S_ISUID and S_ISGID that it may set on files (inode(7)).
    Raises SessionError when there is no such profile, or it cannot be obeyed.
    """
    ((found, _),) = load((seccomp, capabilities, bits))
    return found


def load(*wanted: Wanted) -> list[Programs]:
    """Return the filters of :func:`filter_for`, each with what has to be loaded after it.

    That is b"" but under ``on_violation: log``: there it refuses exactly the violations and lets all
    else pass. Of two filters with the same answer the kernel takes the later one, so loaded with
    SECCOMP_FILTER_FLAG_LOG (seccomp(2)) it puts the violations, and nothing else, into the kernel's log.
    Raises like filter_for.
    """
    loader = _Loader()
    try:
        return [loader.programs(*each) for each in wanted]
    finally:
        loader.close()


class _Loader:
    """Reads compiled filters, and has the others built."""

    __slots__ = ("_maker",)

    def __init__(self) -> None:
        self._maker: Maker | None = None

    def programs(self, seccomp: Seccomp, capabilities: Iterable[int], bits: int) -> Programs:
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
            return _compiled(f"{COMPILED}/{key_of(seccomp, held, bits)}", identity)
        except (OSError, _Stale) as reason:
            return self._build(seccomp, held, bits, path, str(reason))

    def close(self) -> None:
        if self._maker is not None:
            self._maker.close()

    def _build(
        self, seccomp: Seccomp, capabilities: tuple[int, ...], bits: int, path: str, reason: str
    ) -> Programs:
        _log(f"building the system-call filter from {path} ({reason}); run ssh2containerctl compile")
        try:
            if self._maker is None:
                from . import cold

                self._maker = cold.start()
            return unpack(self._maker.programs(seccomp, capabilities, bits), path)[2]
        except (_Stale, OSError, ValueError, RuntimeError, ImportError) as problem:
            raise SessionError(
                f"cannot build the system-call filter from {path}",
                str(problem),
                "an administrator can examine it with: ssh2containerctl seccomp show",
                _STEP,
                getattr(problem, "errno", 0) or 0,
            ) from problem


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


def key_of(seccomp: Seccomp, capabilities: Iterable[int], bits: int = 0) -> str:
    """Return the name of the file that holds the compiled filter."""
    canonical = (
        os.uname().machine,
        seccomp.profile,
        tuple(sorted(set(seccomp.allow))),
        tuple(sorted(set(seccomp.deny))),
        seccomp.on_violation,
        tuple(sorted(set(capabilities))),
        bits,
    )
    return blake2b(marshal.dumps(canonical, _MARSHAL_VERSION), digest_size=_DIGEST_BYTES).hexdigest()


def pack(identity: Identity, programs: Programs, release: str | None) -> bytes:
    """Return the content of a compiled file.

    release: of the kernel it is bound to, None when a newer kernel changes nothing.
    """
    body = marshal.dumps((identity, release, programs), _MARSHAL_VERSION)
    return _FORMAT + blake2b(body, digest_size=_DIGEST_BYTES).digest() + body


def unpack(data: bytes, path: str) -> tuple[Identity, str | None, Programs]:
    """Return what :func:`pack` was given. path: where it is from. Raises _Stale for anything else."""
    start = len(_FORMAT) + _DIGEST_BYTES
    body = data[start:]
    if not data.startswith(_FORMAT):
        raise _Stale(f"{path}: it was not written by this version of ssh2container")
    # The digest comes first: marshal must never see bytes that it did not write.
    if blake2b(body, digest_size=_DIGEST_BYTES).digest() != data[len(_FORMAT) : start]:
        raise _Stale(f"{path}: it is damaged")
    found: tuple[Identity, str | None, Programs] = marshal.loads(body)
    return found


def _compiled(path: str, identity: Identity) -> Programs:
    made_from, release, programs = unpack(read_trusted(path), path)
    if made_from != identity:
        raise _Stale(f"{identity[0]} is not the file that it was made from")
    if release not in (None, os.uname().release):
        raise _Stale(f"{path}: it was made for the kernel {release}")
    return programs


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
        raise PermissionError(1, "users other than root can change it, or it is reached through a link", path)


def _log(text: str) -> None:
    import syslog

    syslog.openlog("ssh2container", syslog.LOG_PID, syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_WARNING, text)
