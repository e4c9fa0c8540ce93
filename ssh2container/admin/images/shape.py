"""What has been unpacked: a root, something that holds one, or plainly none."""

from __future__ import annotations

import os
import stat

from ssh2container.admin.images import platforms
from ssh2container.admin.images.platforms import Platform
from ssh2container.admin.images.sources import disk
from ssh2container.admin.images.unpack import metadata
from ssh2container.errors import Refusal

SHELLS = ("/bin/bash", "/bin/sh")
"""Those that policies look for unless they say otherwise (the default of ``shell``)."""

_ROOT = frozenset(("bin", "etc", "lib", "sbin", "usr", "var"))
_ENOUGH = 2
_HEAD_BYTES = 64
_MOST_DIRECTORIES = 3
"""So many directories may lie above the root."""
_BOOT = ("vmlinuz", "initrd", "initramfs", "grub", "EFI", "loader", "efi")


def refuse_parts(root: str, reference: str) -> None:
    """Refuse what holds an image's layers, not its files: the source was given without its kind."""
    names = set(os.listdir(root))
    if names & {"bin", "usr", "etc"}:
        return
    packed = not os.path.isdir(reference)
    if {"oci-layout", "index.json"} <= names and ("manifest.json" not in names or not packed):
        kind, remedy = "an OCI layout's", f"import oci{'-archive' if packed else ''}:{reference}"
    elif "manifest.json" in names and _is_saved(root):
        kind = "docker save's"
        remedy = f"import docker-archive:{reference}" if packed else "import the archive that it came from"
    else:
        return
    raise Refusal(f"this is {kind} parts, not the files of an image", "", remedy, "image")


def _is_saved(root: str) -> bool:
    """Say whether the manifest is one of docker save's, whichever program wrote it."""
    text = metadata.read(root, "/manifest.json")
    return b'"Config"' in text and b'"Layers"' in text


def inner_root(root: str) -> str:
    """Return the one directory below ``root`` that holds a whole root, "" where it is one itself."""
    path = root
    for _ in range(_MOST_DIRECTORIES):
        entries = _entries(path)
        directories = [name for name, mode in entries.items() if stat.S_ISDIR(mode)]
        if _ROOT & set(entries):
            break
        inside = [name for name in directories if _holds_root(f"{path}/{name}")]
        if len(inside) == 1:
            return os.path.relpath(f"{path}/{inside[0]}", root)
        if inside or len(directories) != 1:
            break
        path = f"{path}/{directories[0]}"
    return ""


def inner_disk(root: str) -> str:
    """Return the one disk image in ``root`` where there are nothing but files; raises Refusal for several."""
    entries = _entries(root)
    if not entries or not all(stat.S_ISREG(mode) for mode in entries.values()):
        return ""
    disks = []
    for name in entries:
        descriptor = os.open(f"{root}/{name}", os.O_RDONLY | os.O_NOFOLLOW)
        with open(descriptor, "rb") as file:
            if disk.is_disk(file.read(disk.HEAD_BYTES)):
                disks.append(name)
    if len(disks) > 1:
        raise Refusal(
            f"the archive holds {len(disks)} disk images", ", ".join(sorted(disks)),
            "unpack it and import one of them", "image",
        )  # fmt: skip
    return disks[0] if disks else ""


def warning(root: str) -> str:
    """Return a sentence where ``root`` has none of the shells, with the likely reason, else ""."""
    if any(_program(root, shell) is not None for shell in SHELLS):
        return ""
    return f"none of {', '.join(SHELLS)} is in it, so that no shell can be started: {_reason(root)}"


def require_platform(root: str, wanted: Platform) -> None:
    """Refuse a root whose shell is a program for another machine; raises platforms.Mismatch."""
    for shell in SHELLS:
        architecture = platforms.of_program(_program(root, shell) or b"")
        if architecture:
            if architecture != wanted.architecture:
                raise platforms.Mismatch(Platform("linux", architecture), wanted, shell)
            return


def _reason(root: str) -> str:
    entries = _entries(root)
    if not entries:
        return "it is empty"
    shown = ", ".join(sorted(entries)[:5])
    holders = [name for name, mode in entries.items() if stat.S_ISDIR(mode) and _holds_root(f"{root}/{name}")]
    if len(holders) > 1:
        return f"{', '.join(sorted(holders)[:5])} each hold a root; import one of them"
    if any(name.startswith(_BOOT) for name in entries):
        return f"it looks like a boot partition ({shown}); --partition takes another"
    if not _ROOT & set(entries):
        return f"it has {shown}, and nothing that a root has"
    return "it has no shell there; `shell` of a policy can name another, or commands need none"


def _entries(root: str) -> dict[str, int]:
    return {entry.name: entry.stat(follow_symlinks=False).st_mode for entry in os.scandir(root)}


def _holds_root(path: str) -> bool:
    return len(_ROOT & set(os.listdir(path))) >= _ENOUGH


def _program(root: str, path: str) -> bytes | None:
    """Return the first bytes of the program ``path`` of the image, None where it has no such file."""
    descriptor = metadata.open_inside(root, path)
    if descriptor is None:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            return file.read(_HEAD_BYTES)
    finally:
        os.close(descriptor)
