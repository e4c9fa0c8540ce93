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

from ssh2container.admin.images.safety import HostileError, Limits
from ssh2container.admin.images.sources import archive, documents, skopeo
from ssh2container.admin.images.sources.source import Source
from ssh2container.admin.images.staging import Staging
from ssh2container.admin.images.streams import Defaults, Progress, Stream
from ssh2container.errors import SessionError

_JSON_LIMIT_BYTES = 8 << 20
_CHUNK = 1 << 20
_HEX_DIGITS = 64
_MOST_LAYERS = 512
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


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
        blob = self._whole(documents.mapping(manifest["config"], "config of the manifest"))
        self.defaults = defaults(documents.parsed(blob, "the configuration").get("config") or {})

    def streams(self, staging: Staging, limits: Limits, progress: Progress) -> Iterator[Stream]:
        """Yield a stream per layer, each checked against its digest first."""
        for number, layer in enumerate(self._layers, 1):
            what = f"layer {number} of {len(self._layers)}"
            if layer.get("urls"):
                raise SessionError(f"{what} is not part of the image", "it is a foreign layer", step="image")
            progress(f"checking {what}", 0, 0)
            file = self._checked(layer)
            stream = Stream(what, file, layered=True)
            tool = archive.compression(file.read(archive.HEAD_BYTES))
            file.seek(0)
            if tool:
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
            raise HostileError(f"blob {hexadecimal[:16]}", "its content does not have its digest")
        file.seek(0)
        return file

    def _whole(self, descriptor: dict[str, Any]) -> bytes:
        with self._checked(descriptor) as file:
            if os.fstat(file.fileno()).st_size > _JSON_LIMIT_BYTES:
                raise HostileError("the manifest or configuration", "it is far too large")
            return file.read()


class Layout(Image):
    """``oci:DIRECTORY[:TAG]``, an OCI image layout."""

    def prepare(self, staging: Staging, limits: Limits, progress: Progress) -> None:
        """Find the manifest in index.json, for this machine where there are several."""
        directory, tag = self.reference, ""
        if not os.path.isdir(directory):
            directory, _, tag = directory.rpartition(":")
        try:
            with open(f"{directory}/index.json", "rb") as file:
                index = documents.parsed(file.read(_JSON_LIMIT_BYTES), "index.json")
        except OSError as error:
            raise SessionError(
                f"{self.reference} is no OCI image layout", f"index.json: {error.strerror}", step="image"
            ) from None

        def open_blob(hexadecimal: str) -> IO[bytes]:
            return _open(f"{directory}/blobs/sha256/{hexadecimal}")

        self._open = open_blob
        chosen = _tagged(_manifests(index, "index.json"), tag, self.reference)
        manifest = documents.parsed(self._whole(chosen), "the manifest")
        if manifest.get("mediaType", chosen.get("mediaType")) in _INDEXES:
            chosen = _for_this_machine(_manifests(manifest, "the index"))
            manifest = documents.parsed(self._whole(chosen), "the manifest")
        self.digest = chosen["digest"]
        self._read(open_blob, manifest)


class DockerArchive(Image):
    """``docker-archive:FILE[:NAME:TAG]``, what ``docker save`` and ``podman save`` write."""

    kind = "docker-archive"

    def prepare(self, staging: Staging, limits: Limits, progress: Progress) -> None:
        """Let skopeo take it apart, without network."""
        file, tag = self.reference, ""
        while not os.path.isfile(file) and ":" in file:
            file, _, last = file.rpartition(":")
            tag = f":{last}{tag}"
        if not os.path.isfile(file):
            raise SessionError(f"there is no file {self.reference}", step="image")
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
        digest, _ = skopeo.inspect(self.reference, staging, self.authfile, insecure=self.insecure)
        return digest

    def prepare(self, staging: Staging, limits: Limits, progress: Progress) -> None:
        """Pull manifest and blobs; a pinned digest is checked by skopeo and again here."""
        path, self.digest = skopeo.pull(
            self.reference, staging, limits, progress, self.authfile, insecure=self.insecure
        )
        self._read(*_directory(path))

    def provenance(self) -> dict[str, Any]:
        """Return also what ``update`` needs to pull again."""
        return {**super().provenance(), "authfile": self.authfile, "insecure": self.insecure}


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
    if algorithm != "sha256" or len(hexadecimal) != _HEX_DIGITS or set(hexadecimal) - set("0123456789abcdef"):
        raise HostileError("the manifest", f"{descriptor.get('digest')!r} is no sha256 digest")
    return hexadecimal


def _open(path: str) -> IO[bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
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


def _manifests(index: dict[str, Any], what: str) -> list[dict[str, Any]]:
    return documents.mappings(index.get("manifests"), f"manifests of {what}")


def _part(manifest: dict[str, Any], key: str) -> dict[str, Any]:
    return documents.mapping(manifest.get(key) or {}, key)


def _tagged(manifests: list[dict[str, Any]], tag: str, reference: str) -> dict[str, Any]:
    key = "org.opencontainers.image.ref.name"
    found = [m for m in manifests if not tag or _part(m, "annotations").get(key) == tag]
    if len(found) > 1:
        return _for_this_machine(found)
    if not found:
        tags = sorted(str(_part(m, "annotations").get(key, "")) for m in manifests)
        raise SessionError(
            f"{reference} has no such image", f"it has {', '.join(tags) or 'none'}", step="image"
        )
    return found[0]


def _for_this_machine(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    machine = os.uname().machine
    architecture = _ARCHITECTURES.get(machine, machine)
    found = [
        m
        for m in manifests
        if _part(m, "platform").get("architecture") == architecture
        and _part(m, "platform").get("os", "linux") == "linux"
    ]
    if len(found) != 1:
        raise SessionError(
            f"the image has {len(found)} variants for linux/{architecture}",
            "",
            "name one by its tag",
            step="image",
        )
    return found[0]
