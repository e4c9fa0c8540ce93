"""One import from beginning to end, whatever the source."""

from __future__ import annotations

import os

from ssh2container.admin.images import streams
from ssh2container.admin.images.safety import Count, HostileError, Limits
from ssh2container.admin.images.sources.source import Source
from ssh2container.admin.images.store import Store, Version
from ssh2container.admin.images.streams import Progress
from ssh2container.errors import Refusal


def bring(store: Store, name: str, source: Source, limits: Limits, progress: Progress) -> Version:
    """Import ``source`` as ``name`` and return the version; the store is unchanged if that fails.

    Raises Refusal for hostile input, naming the member, and SessionError for what does not work.
    """
    store.check_name(name)
    try:
        with store.stage() as staging:
            source.prepare(staging, limits, progress)
            unpacked = streams.unpack(
                source.streams(staging, limits, progress),
                staging.root,
                staging.range,
                Count(limits),
                progress,
            )
            _require_root(staging.root)
            origin = {**source.provenance(), **limits.kept()}
            version = store.publish(staging, unpacked, source.defaults, origin, progress)
            store.point(name, version, origin)
            return version
    except HostileError as error:
        raise Refusal(
            f"the image was refused because of {error.name}" if error.name else "the image was refused",
            error.why,
            step="image",
        ) from None


def _require_root(root: str) -> None:
    """Refuse what holds an image's layers, not its files: the source was given without its kind."""
    names = set(os.listdir(root))
    if names & {"bin", "usr", "etc"}:
        return
    if "manifest.json" in names and names & {"repositories", "oci-layout"}:
        kind, remedy = "docker save's", "import docker-archive:FILE"
    elif {"oci-layout", "index.json"} <= names:
        kind, remedy = "an OCI layout's", "import oci:DIRECTORY"
    else:
        return
    raise Refusal(f"this is {kind} parts, not the files of an image", "", remedy, "image")
