"""Images that can be made anew from where they came from: registries, distributions, the host."""

from __future__ import annotations

from typing import Any, NamedTuple

from ssh2container.admin.images import import_, platforms
from ssh2container.admin.images.sources.bootstrap import Bootstrap
from ssh2container.admin.images.sources.host_tools import HostTools
from ssh2container.admin.images.sources.oci import Registry
from ssh2container.admin.images.sources.source import Source
from ssh2container.admin.images.store import shift
from ssh2container.admin.images.store.store import Store
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.admin.images.unpack.streams import Progress
from ssh2container.errors import SessionError


class Updated(NamedTuple):
    """What became of a name: ``outcome`` is "unchanged", "updated", "not updatable" or "failed"."""

    name: str
    outcome: str
    detail: str


def updatable(store: Store) -> list[str]:
    """Return the names that :func:`update` can do something about."""
    return [name for name in store.names() if _source(store.origin(name)) is not None]


def update(store: Store, name: str, progress: Progress) -> Updated:
    """Bring ``name`` up to date, within the limits that it was imported with.

    A failure leaves it as it is, and is told, not raised.
    """
    before = store.version(name)
    origin = store.origin(name)
    source = _source(origin)
    if source is None:
        return Updated(name, "not updatable", _why_not(origin))
    try:
        if isinstance(source, Registry) and _same_digest(store, source, name):
            return Updated(name, "unchanged", before.digest)
        after = import_.bring(store, name, source, Limits.of(origin), progress, instead_of=before.digest)
        if before.info["range"][1]:
            shift.ensure(store, after, progress)
    except SessionError as error:
        return Updated(name, "failed", str(error))
    if after.digest == before.digest:
        return Updated(name, "unchanged", after.digest)
    return Updated(name, "updated", f"{before.digest[:19]} to {after.digest[:19]}")


def _same_digest(store: Store, source: Registry, name: str) -> bool:
    """Ask the registry, which is much cheaper than pulling."""
    with store.stage() as staging:
        return source.latest(staging) == store.origin(name).get("digest")


def _why_not(origin: dict[str, Any]) -> str:
    if origin.get("kind") == Registry.kind:
        return "its digest is pinned"
    if not origin:
        return "nothing says where it came from; import it again"
    return f"it came from {origin['kind']} {origin['reference']}; import it again"


def _source(origin: dict[str, Any]) -> Source | None:
    """Return the source that ``origin`` (Source.provenance) describes, None where that is no use.

    A pinned digest never changes, and a file that was imported once may be any other file by now.
    """
    reference = str(origin.get("reference", ""))
    if origin.get("kind") == Registry.kind and "@" not in reference:
        registry = Registry(reference, origin.get("authfile"), insecure=bool(origin.get("insecure")))
        if origin.get("platform"):
            registry.platform = platforms.parse(str(origin["platform"]))
        return registry
    if origin.get("kind") == Bootstrap.kind:
        return Bootstrap(
            reference,
            include=tuple(origin["include"]),
            variant=str(origin["variant"]),
            mirror=str(origin["mirror"]),
        )
    if origin.get("kind") == HostTools.kind:
        return HostTools(origin["extra"], only=bool(origin["only"]))
    return None
