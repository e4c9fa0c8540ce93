"""What people take for an image and is none: what to do with it instead."""

from __future__ import annotations

import re
import shlex

_BEGINNINGS = (
    (b"PK\x03\x04", "a zip archive", "unpack it (unzip) and import the directory"),
    (b"!<arch>\ndebian-binary", "a Debian package", "install it in an image: ssh2containerctl image edit"),
    (b"!<arch>\n", "an ar archive", "unpack it (ar x) and import the directory"),
    (b"\xed\xab\xee\xdb", "an RPM package", "install it in an image: ssh2containerctl image edit"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it (7z x) and import the directory"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it (unrar x) and import the directory"),
    (b"LUKS\xba\xbe", "an encrypted disk", "open it (cryptsetup open), mount it and import the directory"),
    (b"\x7fELF", "a program", "import a directory that has it: DIR/bin/NAME"),
)
"""How files begin, what such a file is, and what to do (magic(5))."""
_BUILD = re.compile(rb"(\s*#[^\n]*\n|\s*\n|ARG [^\n]*\n)*FROM \S", re.IGNORECASE)
_BUILT = "build and save it (podman build, podman save --format oci-archive), then import oci-archive:FILE"
_ADDRESS = re.compile(r"(https?|ftps?)://", re.IGNORECASE)
_REFERENCE = re.compile(r"[\w.-]+(:\d+)?(/[\w.-]+)*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?", re.ASCII)
_OF_A_FILE = re.compile(
    r"\.(tar|tgz|txz|gz|xz|bz2|zst|lz4|cpio|img|raw|qcow2|vmdk|vdi|vhdx?|iso|squashfs|zip)$"
)


def of_file(head: bytes) -> tuple[str, str]:
    """Return what a file that begins with ``head`` is, "" where that is unknown, and what to do with it."""
    for beginning, what, remedy in _BEGINNINGS:
        if head.startswith(beginning):
            return what, remedy
    if _BUILD.match(head):
        return "instructions to build an image", _BUILT
    return "", ""


def of_missing(source: str) -> str:
    """Return what whoever has named a file that is not there may have meant, "" where nobody can know."""
    if _ADDRESS.match(source):
        return f"fetch it first: curl -fLO {shlex.quote(source)}"
    if _REFERENCE.fullmatch(source) and not _OF_A_FILE.search(source):
        return f"an image of a registry is called docker://{source}"
    return ""
