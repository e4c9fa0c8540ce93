"""skopeo, in the sandbox: with the host's network for a registry, with none for an archive."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

from ssh2container.admin.images import sandbox
from ssh2container.admin.images.safety import Limits
from ssh2container.admin.images.sources import archive, tools
from ssh2container.admin.images.staging import Staging
from ssh2container.admin.images.streams import Progress
from ssh2container.errors import SessionError

_POLICY = "/etc/containers/policy.json"
_POLL_SECONDS = 0.2


def unpack_archive(file: str, tag: str, staging: Staging, limits: Limits, progress: Progress) -> str:
    """Take ``docker save``'s ``file`` apart; return the directory with manifest.json and the blobs."""
    progress(f"taking {os.path.basename(file)} apart", 0, 0)
    box, out = _box(staging, limits, network=False)
    box.readable["/archive"] = _plain(file, staging, limits, progress)
    box.run(_skopeo("copy", "--insecure-policy", f"docker-archive:/archive{tag}", "dir:/scratch/image"))
    return f"{out}/image"


def _plain(file: str, staging: Staging, limits: Limits, progress: Progress) -> str:
    """Return the path of ``file`` decompressed: not every skopeo does that itself."""
    with open(file, "rb", buffering=0) as source:
        tool = archive.compression(source.read(archive.HEAD_BYTES))
        if not tool:
            return staging.readable_copy(file)
        source.seek(0)
        plain = f"{staging.path}/archive.tar"
        with open(plain, "wb") as target:
            tools.run(
                archive.box(staging.range), archive.decompressor(tool), staging.path, limits, progress,
                what=f"decompressing {os.path.basename(file)}", stdin=source, stdout=target,
            )  # fmt: skip
    os.chmod(plain, 0o400)
    os.chown(plain, staging.range.base, staging.range.base)
    return plain


def inspect(reference: str, staging: Staging, authfile: str | None, *, insecure: bool) -> tuple[str, int]:
    """Return the digest of ``reference`` in its registry, and the bytes of its layers."""
    box, _ = _box(staging, Limits(), network=True, name="inspect")
    options = _access(box, staging, authfile, insecure=insecure, prefix="")
    wanted = _exact(reference, reference.partition("@")[2])
    found: dict[str, Any] = json.loads(box.run(_skopeo("inspect", *options, f"docker://{wanted}")))
    return str(found["Digest"]), sum(layer.get("Size", 0) for layer in found.get("LayersData") or ())


def pull(
    reference: str,
    staging: Staging,
    limits: Limits,
    progress: Progress,
    authfile: str | None,
    *,
    insecure: bool,
) -> tuple[str, str]:
    """Pull ``reference``; return the directory with manifest.json and the blobs, and the digest.

    The digest is the one the registry gives the reference (of the list, where there is one).
    Raises SessionError, for a download larger than ``limits`` too.
    """
    progress(f"asking for {reference}", 0, 0)
    digest, total = inspect(reference, staging, authfile, insecure=insecure)
    if total > limits.size:
        raise SessionError(
            f"{reference} is {total} bytes to download",
            f"more than {limits.size}",
            "see --max-size",
            step="image",
        )
    box, out = _box(staging, limits, network=True)
    exact = _exact(reference, digest)  # the tag may move between the two requests
    options = _access(box, staging, authfile, insecure=insecure, prefix="src-")
    process = box.start(
        _skopeo("copy", *options, f"docker://{exact}", "dir:/scratch/image"), stdout=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                status = process.wait(_POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                progress(f"pulling {reference}", _size(f"{out}/image"), total)
        if status:
            raise sandbox.failed("skopeo", status, sandbox.complaint(process))
    finally:
        sandbox.end(process)
    return f"{out}/image", digest


def _exact(reference: str, digest: str) -> str:
    """Return ``reference`` with ``digest`` in place of its tag, itself without one.

    A digest decides alone, and skopeo takes no tag beside it.
    """
    if not digest:
        return reference
    head, slash, last = reference.partition("@")[0].rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}@{digest}"


def _skopeo(verb: str, *arguments: str) -> list[str]:
    program = sandbox.need("skopeo", "an image of a registry or of docker save")
    return [program, "--tmpdir", "/scratch", verb, *arguments]


def _box(
    staging: Staging, limits: Limits, *, network: bool, name: str = "skopeo"
) -> tuple[sandbox.Sandbox, str]:
    out = staging.scratch(name)
    box = sandbox.scratch(staging.range, out)
    box.network = network
    box.memory = 0  # Go reserves far more addresses than it uses
    box.largest_file = limits.size
    return box, out


def _access(
    box: sandbox.Sandbox, staging: Staging, authfile: str | None, *, insecure: bool, prefix: str
) -> list[str]:
    """Return the options for credentials, certificates and the host's signature policy."""
    options = [] if os.path.exists(_POLICY) else ["--insecure-policy"]
    if insecure:
        options.append(f"--{prefix}tls-verify=false")
    path = authfile or _default_authfile()
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
