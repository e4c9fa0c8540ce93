"""Whether the store is what it says: every file of every tree against its manifest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator

from ssh2container.admin.images import manifest, ownership
from ssh2container.admin.images.store.store import Store, Version
from ssh2container.admin.images.unpack.streams import Progress
from ssh2container.errors import Refusal
from ssh2container.plan import image as reader

_SHOWN = 200


def problems(store: Store, version: Version, progress: Progress) -> Iterator[str]:
    """Yield a sentence for everything that is not as it was imported."""
    tree = store.tree(version)
    listing = f"{tree}/{manifest.NAME}"
    try:
        digest = _digest_of(listing)
    except (OSError, EOFError, ValueError) as error:
        yield f"{manifest.NAME}: {error}"
        return
    config = version.info["defaults"]
    address = hashlib.sha256(
        json.dumps([digest, config], sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()
    if address != version.hexadecimal:
        yield f"{manifest.NAME} or info.json: changed, their digest is {address}"
    base, count = version.info["range"]
    trees: list[tuple[str, str, int | None]] = [("root", f"{tree}/root", None)]
    if count:
        trees.append((f"range-{base}", store.shifted(version, base), base))
    for name, place, shifted_by in trees:
        if not os.path.isdir(place):
            yield f"{name}: missing"
            continue
        done = 0

        def told(size: int) -> None:
            nonlocal done
            done += size
            progress(f"{version.digest[:19]} {name}", done, version.info["size"])  # noqa: B023

        expected = (ownership.on_disk(line, shifted_by) for line in manifest.read(listing))
        found = manifest.differences(expected, place, told)
        for number, sentence in enumerate(found):
            if number == _SHOWN:
                yield f"{name}: and more"
                break
            yield f"{name}/{sentence}"
    yield from _record_problems(store, version)


def _digest_of(listing: str) -> str:
    digest = hashlib.sha256()
    for line in manifest.read(listing):
        digest.update(json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n")
    return digest.hexdigest()


def _record_problems(store: Store, version: Version) -> Iterator[str]:
    try:
        image = reader.Image.find(f"record@{version.digest}", store.path)
    except Refusal as error:
        yield f"record: {error}"
        return
    os.close(image.lock)
    if (image.range_base, image.range_count) != tuple(version.info["range"]):
        yield "record: says another id range than info.json"
