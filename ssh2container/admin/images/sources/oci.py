"""OCI and Docker images: a layout on the disk, ``docker save``'s archive, a registry.

skopeo does the talking and the converting, inside the sandbox; what it leaves is a manifest and
blobs named by digest, which are checked here before a byte of them is unpacked. Layers go through
the same unpacker as everything else (image-spec: manifest.md, config.md, layer.md).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from typing import IO, Any

from ssh2container.admin.images import platforms
from ssh2container.admin.images.platforms import Platform
from ssh2container.admin.images.sources import archive, documents, layout, skopeo
from ssh2container.admin.images.sources.source import Source
from ssh2container.admin.images.store.staging import Staging
from ssh2container.admin.images.unpack import metadata, streams
from ssh2container.admin.images.unpack.rules import Count, HostileError, Limits
from ssh2container.admin.images.unpack.streams import Defaults, Progress, Stream
from ssh2container.errors import SessionError
from ssh2container.plan.image import is_digest

_JSON_LIMIT_BYTES = 8 << 20
_CHUNK = 1 << 20
_MOST_LAYERS = 512
_SMALL_BYTES = 1 << 20
"""A layer of fewer is decompressed by the unpacker: a process of its own takes longer than that."""


class Image(Source):
    """What all three share: a manifest, its configuration and its layers, out of a blob directory."""

    kind = "oci"

    def __init__(self, reference: str) -> None:
        super().__init__(reference)
        self._layers: list[dict[str, Any]] = []
        self._open: Callable[[str], IO[bytes]] = _no_blobs

    def _read(self, open_blob: Callable[[str], IO[bytes]], manifest: dict[str, Any]) -> None:
        """Take layers and defaults from ``manifest``."""
        self._open = open_blob
        if "layers" not in manifest or "config" not in manifest:
            raise SessionError(
                "the image's manifest has no layers and configuration",
                "it is of an old or unknown schema",
                "pull and save it with a current docker, podman or skopeo",
                step="image",
            )
        layers = documents.mappings(manifest["layers"], "layers of the manifest")
        if len(layers) > _MOST_LAYERS:
            raise HostileError("the manifest", f"it lists more than {_MOST_LAYERS} layers")
        self._layers = layers
        configuration = self._configuration(manifest)
        self.defaults = defaults(configuration.get("config") or {})
        platform = _platform(configuration)
        if platform.architecture and not platforms.best([platform], self.platform):
            raise platforms.Mismatch(platform, self.platform)

    def _configuration(self, manifest: dict[str, Any]) -> dict[str, Any]:
        blob = self._whole(documents.mapping(manifest.get("config"), "config of the manifest"))
        return documents.parsed(blob, "the configuration")

    def _document(self, descriptor: dict[str, Any]) -> dict[str, Any]:
        return documents.parsed(self._whole(descriptor), "the manifest")

    def streams(self, staging: Staging, limits: Limits, progress: Progress) -> Iterator[Stream]:
        """Yield a stream per layer, each checked against its digest first."""
        for number, layer in enumerate(self._layers, 1):
            what = f"layer {number} of {len(self._layers)}"
            if layer.get("urls"):
                raise SessionError(f"{what} is not part of the image", "it is a foreign layer", step="image")
            progress(f"checking {what}", 0, 0)
            file = self._checked(layer)
            tool = archive.compression(file)
            small = os.fstat(file.fileno()).st_size <= _SMALL_BYTES
            stream = Stream(what, file, layered=True, gzip=small and tool == "gzip", whole=True)
            if tool and not stream.gzip:
                stream.through(archive.box(staging.range), archive.decompressor(tool))
            yield stream

    def _checked(self, descriptor: dict[str, Any]) -> IO[bytes]:
        """Open the blob and compare it with the digest that names it."""
        hexadecimal = _hexadecimal(descriptor)
        file = self._open(hexadecimal)
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        if digest.hexdigest() != hexadecimal:
            file.close()
            raise HostileError(f"blob {hexadecimal[:16]}", "its content does not match its digest")
        file.seek(0)
        return file

    def _whole(self, descriptor: dict[str, Any]) -> bytes:
        with self._checked(descriptor) as file:
            if os.fstat(file.fileno()).st_size > _JSON_LIMIT_BYTES:
                raise HostileError("the manifest or configuration", "it is far too large")
            return file.read()


class Layout(Image):
    """``oci:DIRECTORY[:NAME]`` or ``oci:DIRECTORY@sha256:…``, an OCI image layout."""

    def prepare(self, staging: Staging, limits: Limits, progress: Progress) -> None:
        """Find the manifest in index.json, for the wanted platform where there are several."""
        directory, name = layout.split(self.reference)
        try:
            with open(f"{directory}/index.json", "rb") as file:
                index = file.read(_JSON_LIMIT_BYTES)
        except OSError as error:
            raise SessionError(
                f"{self.reference} is not an OCI image layout", f"index.json: {error.strerror}", step="image"
            ) from None
        self._choose(index, name, lambda hexadecimal: _open(f"{directory}/blobs/sha256/{hexadecimal}"))

    def _choose(self, index: bytes, name: str, open_blob: Callable[[str], IO[bytes]]) -> None:
        """Take the image ``name`` of a layout, "" for the only one."""
        self._open = open_blob
        found = layout.offers(documents.parsed(index, "index.json"), self._document)
        fitting = layout.named(found, name, self.reference)
        chosen = layout.for_platform(fitting, self.platform, self._asked, self.reference)
        manifest = self._document(chosen)
        if "manifests" in manifest:  # an index that its descriptor does not call one
            inner = layout.offers(manifest, self._document)
            chosen = layout.for_platform(inner, self.platform, self._asked, self.reference)
            manifest = self._document(chosen)
        self.digest = chosen["digest"]
        self._read(open_blob, manifest)

    def _asked(self, descriptor: dict[str, Any]) -> Platform:
        return _platform(self._configuration(self._document(descriptor)))


class LayoutArchive(Layout):
    """``oci-archive:FILE[:NAME]``, an OCI image layout in a tar, compressed or not."""

    kind = "oci-archive"

    def prepare(self, staging: Staging, limits: Limits, progress: Progress) -> None:
        """Unpack the tar as any other, then look at what is in it."""
        file, name = layout.split(self.reference)
        root = f"{staging.path}/layout"
        streams.make_root(root, staging.range)
        tar = archive.open_archive(file, staging.range)
        streams.unpack([tar], root, staging.range, Count(limits), progress)
        index = metadata.read(root, "/index.json", _JSON_LIMIT_BYTES)
        if not index:
            raise SessionError(
                f"{self.reference} is not an OCI image layout", "it has no index.json", step="image"
            )
        self._choose(index, name, lambda hexadecimal: _open_inside(root, f"blobs/sha256/{hexadecimal}"))


class DockerArchive(Image):
    """``docker-archive:FILE[:NAME:TAG]``, what ``docker save`` and ``podman save`` write."""

    kind = "docker-archive"

    def prepare(self, staging: Staging, limits: Limits, progress: Progress) -> None:
        """Let skopeo take it apart, without network."""
        file, name = layout.split(self.reference)
        tag = f":{name}" if name else ""
        path = skopeo.unpack_archive(file, tag, staging, limits, progress)
        self._read(*_directory(path))


class Registry(Image):
    """``docker://[HOST[:PORT]/]NAME[:TAG][@sha256:DIGEST]``, by skopeo.

    authfile: containers-auth.json(5), None = where skopeo and docker keep theirs. insecure: plain
    http and unknown certificates are accepted.
    """

    kind = "registry"

    def __init__(self, reference: str, authfile: str | None = None, *, insecure: bool = False) -> None:
        super().__init__(reference)
        self.authfile = os.path.abspath(authfile) if authfile else None  # ``update`` runs elsewhere
        self.insecure = insecure

    def latest(self, staging: Staging) -> str:
        """Ask the registry for the digest that the reference has now."""
        digest, _ = skopeo.inspect(self.reference, staging, self._access())
        return digest

    def prepare(self, staging: Staging, limits: Limits, progress: Progress) -> None:
        """Pull manifest and blobs; a pinned digest is checked by skopeo and again here."""
        path, self.digest = skopeo.pull(self.reference, staging, limits, progress, self._access())
        self._read(*_directory(path))

    def provenance(self) -> dict[str, Any]:
        """Return also what ``update`` needs to pull again."""
        own: dict[str, Any] = {"authfile": self.authfile, "insecure": self.insecure}
        if self.platform != platforms.here():
            own["platform"] = str(self.platform)
        return {**super().provenance(), **own}

    def _access(self) -> skopeo.Access:
        return skopeo.Access(self.authfile, self.insecure, self.platform)


def defaults(config: object) -> Defaults:
    """Return what the image configuration ``config`` (config.md, ``config``) says about a session.

    Raises HostileError for what no program could be started with.
    """
    given = documents.mapping(config, "config of the configuration")
    pairs = []
    for entry in documents.words(given.get("Env"), "Env"):
        key, equals, value = entry.partition("=")
        if key and equals:
            pairs.append((key, value))
    return Defaults(
        tuple(pairs),
        documents.word(given.get("User"), "User"),
        documents.word(given.get("WorkingDir"), "WorkingDir"),
        documents.words(given.get("Entrypoint"), "Entrypoint") + documents.words(given.get("Cmd"), "Cmd"),
    )


def _no_blobs(hexadecimal: str) -> IO[bytes]:
    raise SessionError(f"blob {hexadecimal} was asked for before the image was prepared", step="image")


def _hexadecimal(descriptor: dict[str, Any]) -> str:
    """Return the file name of a blob; a digest is input as hostile as any path."""
    algorithm, _, hexadecimal = str(descriptor.get("digest", "")).partition(":")
    if algorithm != "sha256" or not is_digest(hexadecimal):
        raise HostileError("the manifest", f"{descriptor.get('digest')!r} is not a sha256 digest")
    return hexadecimal


def _open(path: str, *, follow: bool = False) -> IO[bytes]:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise SessionError(
            f"the image lacks {os.path.basename(path)}", error.strerror or "", step="image"
        ) from None
    return open(descriptor, "rb", buffering=0)


def _directory(path: str) -> tuple[Callable[[str], IO[bytes]], dict[str, Any]]:
    """Return how to open blobs of skopeo's ``dir:`` at ``path``, and its manifest."""
    with _open(f"{path}/manifest.json") as file:
        manifest = documents.parsed(file.read(_JSON_LIMIT_BYTES), "the manifest")
    return lambda hexadecimal: _open(f"{path}/{hexadecimal}"), manifest


def _open_inside(root: str, path: str) -> IO[bytes]:
    """Open a blob of a layout that came in a tar, whose links are as hostile as any."""
    descriptor = metadata.open_inside(root, path)
    if descriptor is None:
        raise SessionError(f"the image lacks {os.path.basename(path)}", step="image")
    try:
        return _open(f"/proc/self/fd/{descriptor}", follow=True)
    finally:
        os.close(descriptor)


def _platform(configuration: dict[str, Any]) -> Platform:
    words = (configuration.get(key) for key in ("os", "architecture", "variant"))
    return Platform.of(*("" if word is None else documents.word(word, "platform") for word in words))
