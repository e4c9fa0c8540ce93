"""Which machines an image is for, in the words of OCI (image-index.md, ``platform``; Go's names)."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from ssh2container.errors import Refusal, SessionError

_ARCHITECTURES = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm",
    "armhf": "arm", "armel": "arm", "i686": "386", "i386": "386", "x86": "386", "ppc64el": "ppc64le",
    "loongarch64": "loong64",
}  # fmt: skip
_PLAIN_VARIANTS = {"amd64": "v1", "arm64": "v8"}
"""What a platform without a variant means."""
_NEWEST_ARM = {"armv7l": 7, "armv6l": 6}
_MACHINES = {
    3: "386", 8: "mips", 21: "ppc64", 22: "s390x", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64",
    258: "loong64",
}  # fmt: skip
"""ELF's ``e_machine`` (elf.h)."""
_HEAD_BYTES = 20


class Platform(NamedTuple):
    """An operating system, an architecture in Go's word for it, and a variant ("" for the plain one)."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in self if part)

    @classmethod
    def of(cls, os_: object, architecture: object, variant: object = "") -> Platform:
        """Return the platform of these words; all spellings of one architecture become one."""
        known = _ARCHITECTURES.get(str(architecture), str(architecture))
        plain = _PLAIN_VARIANTS.get(known)
        return cls(str(os_ or "linux"), known, "" if variant == plain else str(variant or ""))


class Mismatch(Refusal):
    """An image for ``its`` platform, where ``wanted`` was wanted. found: the program that says so."""

    def __init__(self, its: Platform, wanted: Platform, found: str = "") -> None:
        super().__init__(
            f"the image is for {its}, not for {wanted}",
            f"its {found} says so" if found else "",
            f"--platform {its} imports it all the same",
            step="image",
        )


def parse(text: str) -> Platform:
    """Return what ``linux/arm64``, ``linux/arm/v7`` or ``arm64`` means; raises SessionError."""
    words = text.split("/")
    most = 3
    if len(words) > most or not all(words):
        raise SessionError(f"{text} is not a platform", "write linux/arm64 or linux/arm/v7", step="image")
    return Platform.of("linux", words[0]) if len(words) == 1 else Platform.of(*words)


def here() -> Platform:
    """Return this machine's."""
    return Platform.of("linux", os.uname().machine)


def best(offered: Sequence[Platform], wanted: Platform) -> list[int]:
    """Return the indexes of those that serve ``wanted`` best: several only where they are the same.

    A wanted variant has to be there; without one, the plain variant is best, then the one that asks
    the least of the machine (for arm: the newest that this machine runs).
    """
    fitting = {
        index: _rank(platform, wanted)
        for index, platform in enumerate(offered)
        if (platform.os, platform.architecture) == (wanted.os, wanted.architecture)
    }
    ranks = [rank for rank in fitting.values() if rank is not None]
    return [index for index, rank in fitting.items() if rank is not None and rank == min(ranks)]


def _rank(offered: Platform, wanted: Platform) -> float | None:
    """Return how far ``offered`` is from ``wanted``, None for one that does not serve."""
    if wanted.variant:
        return 0 if offered.variant == wanted.variant else None
    if not offered.variant:
        return 0
    number = offered.variant.removeprefix("v")
    level = float(number) if number.replace(".", "", 1).isdecimal() else 100
    if offered.architecture != "arm":
        return level
    newest = _NEWEST_ARM.get(os.uname().machine, 7)
    return None if level > newest else newest - level


def of_program(head: bytes) -> str:
    """Return the architecture of the program that begins with ``head``, "" for what is no program."""
    if len(head) < _HEAD_BYTES or head[:4] != b"\x7fELF":
        return ""
    order = ">" if head[5] == 2 else "<"  # noqa: PLR2004 - ELFDATA2MSB
    (machine,) = struct.unpack_from(order + "H", head, 18)
    name = _MACHINES.get(machine, f"machine {machine}")
    return "ppc64le" if name == "ppc64" and order == "<" else name
