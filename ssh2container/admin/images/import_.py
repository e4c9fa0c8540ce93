"""One import from beginning to end, whatever the source."""

from __future__ import annotations

from ssh2container.admin.images import shape
from ssh2container.admin.images.sources.disk import Disk
from ssh2container.admin.images.sources.source import Source
from ssh2container.admin.images.store.staging import Staging
from ssh2container.admin.images.store.store import Store, Version
from ssh2container.admin.images.unpack import streams
from ssh2container.admin.images.unpack.rules import Count, HostileError, Limits
from ssh2container.admin.images.unpack.streams import Progress, Unpacked
from ssh2container.errors import Refusal


def bring(
    store: Store,
    name: str,
    source: Source,
    limits: Limits,
    progress: Progress,
    *,
    instead_of: str | None = None,
) -> Version:
    """Import ``source`` as ``name`` and return the version; the store is unchanged if that fails.

    instead_of: the digest that the name has to mean still when all is done, None for whatever it means.
    Raises Refusal for hostile input, naming the member, and SessionError for what does not work.
    """
    store.check_name(name)
    try:
        with store.stage() as staging:
            unpacked = unpack(source, staging, limits, progress)
            shape.require_platform(staging.root, source.platform)
            origin = {**source.provenance(), **limits.kept()}
            version = store.publish(staging, unpacked, source.defaults, origin, progress)
            store.point(name, version, origin, instead_of=instead_of)
            return version
    except HostileError as error:
        raise Refusal(
            f"the image was refused because of {error.name}" if error.name else "the image was refused",
            error.why,
            step="image",
        ) from None


def unpack(source: Source, staging: Staging, limits: Limits, progress: Progress) -> Unpacked:
    """Put the root that ``source`` is, or plainly holds, into ``staging``; raises as :func:`bring`."""
    unpacked = _unpack_one(source, staging, limits, progress)
    shape.refuse_parts(staging.root, source.reference)
    warnings = list(unpacked.warnings)
    if not isinstance(source, Disk) and (name := shape.inner_disk(staging.root)):
        inner = Disk(staging.take_out(name))
        unpacked = _unpack_one(inner, staging, limits, progress)
        warnings += [f"the files are those of the disk image {name} in it", *unpacked.warnings]
    if name := shape.inner_root(staging.root):
        staging.descend(name)
        warnings.append(f"the root is its directory {name}")
    if sentence := shape.warning(staging.root):
        warnings.append(sentence)
    return unpacked._replace(warnings=tuple(warnings))


def _unpack_one(source: Source, staging: Staging, limits: Limits, progress: Progress) -> Unpacked:
    source.prepare(staging, limits, progress)
    tars = source.streams(staging, limits, progress)
    return streams.unpack(tars, staging.root, staging.range, Count(limits), progress)
