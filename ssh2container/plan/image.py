"""The image of a session, as one small file of the image store describes it.

The store (``admin.images.store`` writes it, docs/images.md shows it) is laid out for this reader:
``names/REFERENCE`` leads to ``trees/HEX/record``, a marshal file that describes one version, and the
version's files lie beside it. A login opens the record and the version's directory, nothing else,
whatever the size of the image.
"""

from __future__ import annotations

import fcntl
import marshal
import posix as os

from ssh2container.errors import Refusal

IMAGES = "/var/lib/ssh2container/images"
"""The image store."""
FORMAT = 1
"""The version of the record; a reader accepts its own and no other."""
HOST = "host"
"""The reference of the image that is the host's own /usr."""

_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_HEX = frozenset("0123456789abcdef")
_HEX_DIGITS = 64
_LONGEST = 200
RECORD_LIMIT = 4 << 20
"""Bytes; the store makes no longer one."""


class Image:
    """One version of an image: what a session's root is made of, and its defaults.

    name: the reference that was asked for. digest: ``sha256:…`` of the version ("" for the host).
    kind: "host" or "tree". root: the lower directory for the single map, all of it owned by root and
    writable by root alone.
    environment: pairs of strings; user, working_directory, command: the image's own defaults
    (OCI's Env, User, WorkingDir, Entrypoint + Cmd), "" or () where it has none.
    passwd, group: the image's account files, b"" where it has none.
    programs: pairs (name, path) of the transfer programs that the image itself has.
    writable: pairs (path, mode) of the directories that everybody may write to, as the image means
    it; on the disk nobody but root may, as every user of the host can reach them.
    inside_id: an id that nothing in the image uses, for the user in the range map.
    range_base, range_count: the ids of the host that the image's second tree belongs to, 0 when that
    has not been made; :mod:`.ranges` knows where sessions find it.
    lock: a descriptor to keep open while the session lives (-1 for the host): ``image gc`` leaves
    a version alone while anybody holds one.
    """

    __slots__ = (
        "command",
        "digest",
        "environment",
        "group",
        "inside_id",
        "kind",
        "lock",
        "name",
        "passwd",
        "programs",
        "range_base",
        "range_count",
        "root",
        "user",
        "working_directory",
        "writable",
    )

    def __init__(
        self,
        name: str,
        *,
        kind: str,
        root: str,
        digest: str = "",
        environment: tuple[tuple[str, str], ...] = (),
        user: str = "",
        working_directory: str = "",
        command: tuple[str, ...] = (),
        passwd: bytes = b"",
        group: bytes = b"",
        programs: tuple[tuple[str, str], ...] = (),
        writable: tuple[tuple[str, int], ...] = (),
        inside_id: int = 1000,
        range_base: int = 0,
        range_count: int = 0,
        lock: int = -1,
    ) -> None:
        self.name = name
        self.digest = digest
        self.kind = kind
        self.root = root
        self.environment = environment
        self.user = user
        self.working_directory = working_directory
        self.command = command
        self.passwd = passwd
        self.group = group
        self.programs = programs
        self.writable = writable
        self.inside_id = inside_id
        self.range_base = range_base
        self.range_count = range_count
        self.lock = lock

    @classmethod
    def find(cls, reference: str, images: str = IMAGES) -> Image:
        """Return the image that ``reference`` names now; ``host`` never touches the store.

        Raises Refusal when the reference is malformed, no such image is installed, or its record
        cannot be read.
        """
        if reference == HOST:
            return cls(HOST, kind="host", root="/usr")
        path = find_record(reference, images)
        attempts = 3  # the version may be replaced and collected between two of our steps
        for _ in range(attempts):
            record = _read(path, reference)
            tree = f"{images}/trees/{record['digest'][7:]}"
            lock = _hold(tree)
            if lock >= 0:
                break
        else:
            raise Refusal(
                f"the files of the image {reference} are gone",
                f"{tree} does not exist",
                "import it again: ssh2containerctl image import NAME SOURCE",
                step="image",
            )
        base, count = record["range"]
        return cls(
            reference,
            kind="tree",
            root=tree + "/root",
            digest=record["digest"],
            environment=record["environment"],
            user=record["user"],
            working_directory=record["working_directory"],
            command=record["command"],
            passwd=record["passwd"],
            group=record["group"],
            programs=record["programs"],
            writable=record["writable"],
            inside_id=record["inside_id"],
            range_base=base,
            range_count=count,
            lock=lock,
        )

    def require_range(self) -> str:
        """Return the name of the shifted tree; raises Refusal with the remedy when it has not been made."""
        if self.range_count:
            return shifted_name(self.digest, self.range_base)
        raise Refusal(
            f"the image {self.name} has no tree for a range of ids",
            "its ids were not shifted into the set-aside range",
            f"an administrator makes it: enable the user again, or ssh2containerctl image range {self.name}",
            step="image",
        )


def shifted_name(digest: str, base: int) -> str:
    """Return the name of the tree of version ``digest`` whose ids are shifted by ``base``."""
    return f"{digest[7:]}-{base}"


def find_record(reference: str, images: str = IMAGES) -> str:
    """Return where the record of ``reference`` is, if it is installed; raises Refusal as record_path does."""
    path = images + "/" + record_path(reference)
    if "@" in reference and not os.access(path, os.F_OK):
        return f"{images}/digests/{reference[-_HEX_DIGITS:]}"  # the registry's digest of a version
    return path


def is_digest(hexadecimal: str) -> bool:
    """Tell whether ``hexadecimal`` is what follows ``sha256:``."""
    return len(hexadecimal) == _HEX_DIGITS and _HEX.issuperset(hexadecimal)


def record_path(reference: str) -> str:
    """Return where, below the store, the record of ``reference`` is (``names/…`` or ``trees/HEX/record``).

    ``[REGISTRY[:PORT]/]NAME[:TAG][@sha256:HEX]``; ``:latest`` and no tag are the same. Beside a
    digest, the tag is not used. Raises Refusal for anything else: no reference can leave the store.
    """
    name, at, digest = reference.partition("@")
    if at:
        kind, _, hexadecimal = digest.partition(":")
        if kind != "sha256" or not is_digest(hexadecimal):
            raise _malformed(reference, "@ must be followed by sha256: and 64 hexadecimal digits")
        _file_name(name, reference)
        return f"trees/{hexadecimal}/record"
    return "names/" + _file_name(name, reference)


def _file_name(name: str, reference: str) -> str:
    if len(name) > _LONGEST:
        raise _malformed(reference, f"it is longer than {_LONGEST} characters")
    parts = name.split("/")
    for index, part in enumerate(parts):
        word, colon, suffix = part.partition(":")
        last = index == len(parts) - 1
        if colon and not last and not (index == 0 and suffix.isdecimal()):
            raise _malformed(reference, "a tag goes at the end")
        for text in (word, suffix) if colon else (word,):
            if not text or text[0] in ".-" or not _NAME.issuperset(text):
                raise _malformed(reference, "allowed are [REGISTRY/]NAME[:TAG][@sha256:DIGEST]")
    # "+" cannot stand in a reference, so no two references share a file.
    return name.removesuffix(":latest").replace("/", "+")


def _malformed(reference: str, why: str) -> Refusal:
    return Refusal(f"{reference[:_LONGEST]!r} is not an image reference", why, step="image")


def _read(path: str, reference: str) -> dict[str, Any]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise Refusal(
                f"the image {reference} is not installed",
                "",
                f"an administrator adds it: ssh2containerctl image import {reference} SOURCE",
                step="image",
                number=error.errno or 0,
            ) from None
        raise Refusal(
            f"cannot read the image {reference}", error.strerror or "", step="image", number=error.errno or 0
        ) from None
    try:
        record = marshal.loads(os.read(descriptor, RECORD_LIMIT))
        if record["format"] == FORMAT:
            return dict(record)
    except (ValueError, EOFError, TypeError, KeyError):
        pass
    finally:
        os.close(descriptor)
    raise Refusal(
        f"the record of the image {reference} was written by another version or is damaged",
        "",
        "an administrator rewrites it: ssh2containerctl image verify --repair",
        step="image",
    )


def _hold(tree: str) -> int:
    """Open and lock the version's directory, -1 when it is not there any more."""
    try:
        descriptor = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        # Shared, and never waited for: another local user who holds it exclusively must not be
        # able to stop logins. All that they gain is that nothing is collected meanwhile.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    try:
        if os.stat(tree).st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except FileNotFoundError:
        pass
    os.close(descriptor)
    return -1


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
