"""The account and name files that a session sees: who it is, and nobody else."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .image import Image

NSSWITCH = (
    b"passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n"
)


def passwd(image: Image, name: str, uid: int, gid: int, home: str, shell: str) -> bytes:
    """Return /etc/passwd: the image's entries, and the session's own in place of any like it.

    sftp-server ends with "No user found" when its uid has no entry.
    """
    base = image.passwd or (
        b"root:x:0:0:root:/root:/usr/sbin/nologin\n"
        b"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
    own = f"{name}:x:{uid}:{gid}:{name}:{home}:{shell}\n".encode()
    return _without(base, name.encode(), str(uid).encode()) + own


def group(image: Image, name: str, gid: int) -> bytes:
    """Return /etc/group, likewise; host groups that are not mapped show as nogroup."""
    base = image.group or b"root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"
    return _without(base, name.encode(), str(gid).encode()) + f"{name}:x:{gid}:\n".encode()


def hosts(hostname: str) -> bytes:
    """Return /etc/hosts: the loopback addresses under their names and the session's own."""
    return (
        f"127.0.0.1 localhost\n127.0.1.1 {hostname}\n"
        "::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"
    ).encode()


def _without(lines: bytes, name: bytes, number: bytes) -> bytes:
    kept = []
    for line in lines.splitlines():
        fields = line.split(b":")
        if len(fields) > 2 and fields[0] != name and fields[2] != number:  # noqa: PLR2004
            kept.append(line + b"\n")
    return b"".join(kept)
