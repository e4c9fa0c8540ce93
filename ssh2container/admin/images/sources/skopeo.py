"""skopeo, in the sandbox: with the host's network for a registry, with none for an archive."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any, NamedTuple

from ssh2container.admin.images import platforms
from ssh2container.admin.images.platforms import Platform
from ssh2container.admin.images.sandbox import sandbox
from ssh2container.admin.images.sources import archive, tools
from ssh2container.admin.images.store.staging import Staging
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.admin.images.unpack.streams import Progress
from ssh2container.errors import SessionError

_POLICY = "/etc/containers/policy.json"


class Access(NamedTuple):
    """How to get at an image of a registry; see oci.Registry."""

    authfile: str | None
    insecure: bool
    platform: Platform


def unpack_archive(file: str, tag: str, staging: Staging, limits: Limits, progress: Progress) -> str:
    """Take ``docker save``'s ``file`` apart; return the directory with manifest.json and the blobs."""
    progress(f"taking {os.path.basename(file)} apart", 0, 0)
    box, out = _box(staging, limits, network=False)
    box.readable["/archive"] = _plain(file, staging, limits, progress)
    try:
        box.run(_skopeo("copy", "--insecure-policy", f"docker-archive:/archive{tag}", "dir:/scratch/image"))
    except SessionError as error:
        raise _which(box, file, tag, error) from None
    return f"{out}/image"


def _which(box: sandbox.Sandbox, file: str, tag: str, error: SessionError) -> SessionError:
    """Return a better error where the archive holds another number of images than one."""
    try:
        found: dict[str, Any] = json.loads(box.run(_skopeo("list-tags", "docker-archive:/archive")))
        tags = [str(name) for name in found["Tags"]]
    except (SessionError, ValueError, KeyError):
        return error
    if tag and tag[1:] in tags:
        return error
    if not tag and len(tags) == 1:
        return error
    return SessionError(
        f"{file} has no image {tag[1:]}" if tag else f"{file} holds {len(tags)} images",
        ", ".join(tags),
        f"name one: docker-archive:{file}:{tags[0]}" if tags else "",
        step="image",
    )


def _plain(file: str, staging: Staging, limits: Limits, progress: Progress) -> str:
    """Return the path of ``file`` decompressed: not every skopeo does that itself."""
    with open(file, "rb", buffering=0) as source:
        tool = archive.compression(source)
        if not tool:
            return staging.readable_copy(file)
        plain = f"{staging.path}/archive.tar"
        with open(plain, "wb") as target:
            tools.run(
                archive.box(staging.range), archive.decompressor(tool), staging.path, limits, progress,
                what=f"decompressing {os.path.basename(file)}", stdin=source, stdout=target,
            )  # fmt: skip
    os.chmod(plain, 0o400)
    os.chown(plain, staging.range.base, staging.range.base)
    return plain


def inspect(reference: str, staging: Staging, access: Access) -> tuple[str, int]:
    """Return the digest of ``reference`` in its registry, and the bytes of its layers."""
    box, _ = _box(staging, Limits(), network=True, name="inspect")
    options = _access(box, staging, access, prefix="")
    wanted = _exact(reference, reference.partition("@")[2])
    argv = _skopeo("inspect", *options, f"docker://{wanted}", platform=access.platform)
    found: dict[str, Any] = json.loads(box.run(argv))
    return str(found["Digest"]), sum(layer.get("Size", 0) for layer in found.get("LayersData") or ())


def pull(
    reference: str,
    staging: Staging,
    limits: Limits,
    progress: Progress,
    access: Access,
) -> tuple[str, str]:
    """Pull ``reference``; return the directory with manifest.json and the blobs, and the digest.

    The digest is the one the registry gives the reference (of the list, where there is one).
    Raises SessionError, for a download larger than ``limits`` too.
    """
    progress(f"asking for {reference}", 0, 0)
    digest, total = inspect(reference, staging, access)
    if total > limits.size:
        raise SessionError(
            f"{reference} is {total} bytes to download",
            f"more than {limits.size}",
            "see --max-size",
            step="image",
        )
    box, out = _box(staging, limits, network=True)
    exact = _exact(reference, digest)  # the tag may move between the two requests
    options = _access(box, staging, access, prefix="src-")
    argv = _skopeo("copy", *options, f"docker://{exact}", "dir:/scratch/image", platform=access.platform)
    process = box.start(argv, stdout=subprocess.DEVNULL)
    sandbox.watch(process, "skopeo", lambda: progress(f"pulling {reference}", _size(f"{out}/image"), total))
    return f"{out}/image", digest


def _exact(reference: str, digest: str) -> str:
    """Return ``reference`` with ``digest`` in place of its tag, itself without one.

    If both are given, only the digest is used; skopeo takes no tag beside one.
    """
    if not digest:
        return reference
    head, slash, last = reference.partition("@")[0].rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}@{digest}"


def _skopeo(verb: str, *arguments: str, platform: Platform | None = None) -> list[str]:
    program = sandbox.need("skopeo", "an image of a registry or of docker save")
    options = ["--tmpdir", "/scratch"]
    if platform is not None and platform != platforms.here():
        options += ["--override-os", platform.os, "--override-arch", platform.architecture]
        options += ["--override-variant", platform.variant] if platform.variant else []
    return [program, *options, verb, *arguments]


def _box(
    staging: Staging, limits: Limits, *, network: bool, name: str = "skopeo"
) -> tuple[sandbox.Sandbox, str]:
    out = staging.scratch(name)
    box = sandbox.scratch(staging.range, out)
    box.network = network
    box.memory = 0  # Go reserves far more addresses than it uses
    box.largest_file = limits.size
    return box, out


def _access(box: sandbox.Sandbox, staging: Staging, access: Access, *, prefix: str) -> list[str]:
    """Return the options for credentials, certificates and the host's signature policy."""
    options = [] if os.path.exists(_POLICY) else ["--insecure-policy"]
    if access.insecure:
        options.append(f"--{prefix}tls-verify=false")
    path = access.authfile or _default_authfile()
    if path:
        if not os.path.isfile(path):
            raise SessionError(f"there is no credentials file {path}", step="image")
        copy = f"{staging.path}/auth.json"
        if not os.path.exists(copy):
            shutil.copyfile(path, copy)
            os.chmod(copy, 0o400)
            os.chown(copy, staging.range.base, staging.range.base)
        box.readable["/auth.json"] = copy
        options += ["--authfile", "/auth.json"]
    return options


def _default_authfile() -> str | None:
    places = [os.environ.get("REGISTRY_AUTH_FILE", "")]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        places.append(f"{runtime}/containers/auth.json")
    places += ["/run/containers/0/auth.json", "/root/.docker/config.json"]
    return next((place for place in places if place and os.path.isfile(place)), None)


def _size(directory: str) -> int:
    try:
        return sum(entry.stat().st_size for entry in os.scandir(directory))
    except FileNotFoundError:
        return 0
