"""What an OCI image layout offers, and which of it is meant (image-layout.md, image-index.md)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from ssh2container.admin.images import platforms
from ssh2container.admin.images.platforms import Platform
from ssh2container.admin.images.sources import documents
from ssh2container.admin.images.unpack.rules import HostileError
from ssh2container.errors import SessionError

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_NAMES = ("org.opencontainers.image.ref.name", "io.containerd.image.name")
_ATTESTATION = "vnd.docker.reference.type"
_DIGEST = "sha256:"
_DEEPEST, _MOST = 3, 1000

Document = dict[str, Any]


class Offer(NamedTuple):
    """One manifest: its descriptor, the names that lead to it, its platform where that is told."""

    descriptor: Document
    names: tuple[str, ...]
    platform: Platform | None


def split(reference: str) -> tuple[str, str]:
    """Return path and name of ``PATH[:NAME]`` or ``PATH@sha256:…``; the longest path that exists counts.

    Raises SessionError where none does.
    """
    at = len(reference)
    while at > 0:
        if os.path.exists(reference[:at]):
            return reference[:at], reference[at:].lstrip(":").removeprefix("@")
        at = max(reference.rfind(":", 0, at), reference.rfind("@", 0, at))
    raise SessionError(f"there is no {reference}", step="image")


def offers(index: Document, read: Callable[[Document], Document]) -> list[Offer]:
    """Return all images that ``index`` lists, with what is in the indexes that it lists.

    read: returns the document of a descriptor. Raises HostileError.
    """
    found: list[Offer] = []
    _collect(index, read, (), found, 0)
    return found


def _collect(
    index: Document,
    read: Callable[[Document], Document],
    names: tuple[str, ...],
    found: list[Offer],
    depth: int,
) -> None:
    if depth > _DEEPEST:
        raise HostileError("index.json", "it is an index of indexes of indexes")
    for descriptor in documents.mappings(index.get("manifests"), "manifests of the index"):
        notes = documents.mapping(descriptor.get("annotations") or {}, "annotations")
        own = tuple(str(notes[key]) for key in _NAMES if notes.get(key)) or names
        platform = _told(documents.mapping(descriptor.get("platform") or {}, "platform"))
        if _ATTESTATION in notes or (platform and "unknown" in platform):
            continue
        if descriptor.get("mediaType") in INDEXES:
            _collect(read(descriptor), read, own, found, depth + 1)
        else:
            found.append(Offer(descriptor, own, platform))
        if len(found) > _MOST:
            raise HostileError("index.json", f"it lists more than {_MOST} images")


def _told(words: Document) -> Platform | None:
    if not words.get("architecture"):
        return None
    return Platform.of(words.get("os"), words["architecture"], words.get("variant"))


def named(found: list[Offer], name: str, what: str) -> list[Offer]:
    """Return the offers that ``name`` means (a name, its tag alone, or a digest), all without one.

    Raises SessionError, which lists what there is.
    """
    if name.startswith(_DIGEST):
        fitting = [offer for offer in found if offer.descriptor.get("digest") == name]
    elif name:
        fitting = [offer for offer in found if name in offer.names] or [
            offer for offer in found if any(_tag(own) == name for own in offer.names)
        ]
    else:
        fitting = found
    several = {offer.names for offer in fitting}
    if fitting and len(several) == 1:
        return fitting
    there = sorted({own for offer in found for own in offer.names[:1]})
    if not there:
        there = [str(offer.descriptor.get("digest")) for offer in found]
    if fitting:
        raise SessionError(
            f"{what} holds {len(several)} images", ", ".join(there),
            "name one: behind a colon, or by its digest: @sha256:…", step="image",
        )  # fmt: skip
    raise SessionError(f"{what} has no such image", f"it has {', '.join(there) or 'none'}", step="image")


def _tag(name: str) -> str:
    return name.rpartition("/")[2].rpartition(":")[2]


def for_platform(
    fitting: list[Offer], wanted: Platform, ask: Callable[[Document], Platform], what: str
) -> Document:
    """Return the descriptor of the one that is for ``wanted``; a single one is taken as it is.

    ask: reads the platform from the image's configuration, where the index does not tell it. Raises
    SessionError, which lists what there is.
    """
    if len(fitting) == 1:
        return fitting[0].descriptor
    unique = {str(offer.descriptor.get("digest")): offer for offer in fitting}
    candidates = list(unique.values())
    known = [offer.platform or ask(offer.descriptor) for offer in candidates]
    found = platforms.best(known, wanted)
    if len(found) == 1:
        return candidates[found[0]].descriptor
    if found:
        digests = ", ".join(str(candidates[index].descriptor.get("digest")) for index in found)
        raise SessionError(
            f"{what} has {len(found)} images for {wanted}", digests, "name one by its digest: @sha256:…",
            step="image",
        )  # fmt: skip
    raise SessionError(
        f"{what} has nothing for {wanted}",
        "it is for " + ", ".join(sorted(str(platform) for platform in known)),
        "--platform takes another than this machine's",
        step="image",
    )
