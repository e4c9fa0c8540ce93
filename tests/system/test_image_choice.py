"""Which image a source means, and what is plainly no root: names, digests, platforms, what lies inside."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.material import busybox_tree, directory, entry, oci_layout, tar

from ssh2container.admin.images import import_, platforms
from ssh2container.admin.images.sources.choose import choose
from ssh2container.admin.images.store.store import Store, Version
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.errors import Refusal, SessionError

HERE = platforms.here()
OTHER = platforms.Platform("linux", "arm64" if HERE.architecture != "arm64" else "amd64")
INDEX = "application/vnd.oci.image.index.v1+json"
NAME = "org.opencontainers.image.ref.name"

Bring = Callable[..., Version]


@pytest.fixture
def bring(tmp_path: Path) -> Bring:
    """Import a source and return the version; ``tree`` of it is where its files are."""
    store = Store(str(tmp_path / "images"))

    def bring(source: str, **options: Any) -> Version:
        chosen = choose(source, **options)
        return import_.bring(store, "lab", chosen, Limits(), lambda *_: None)

    return bring


def holds(tmp_path: Path, version: Version) -> list[str]:
    return sorted(os.listdir(f"{tmp_path}/images/trees/{version.hexadecimal}/root"))


@pytest.mark.parametrize(
    ("name", "begins", "said"),
    [
        ("it", b"PK\x03\x04", "a zip archive; unpack it"),
        ("it.deb", b"!<arch>\ndebian-binary   1", "a Debian package; install it in an image"),
        ("it.a", b"!<arch>\nother", "an ar archive"),
        ("it.rpm", b"\xed\xab\xee\xdb\3", "an RPM package"),
        ("it", b"LUKS\xba\xbe\0\2", "an encrypted disk"),
        ("it", b"# syntax\n\nARG V=1\nFROM debian:12\n", "instructions to build an image; build and save it"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(
    bring: Bring, tmp_path: Path, name: str, begins: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(begins + bytes(4096))
    with pytest.raises(SessionError, match="not of a kind") as refused:
        bring(str(path))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("debian:12", "docker://debian:12"),
        ("registry.example:5000/team/lab@sha256:" + 64 * "0", "docker://registry.example:5000/team/lab@"),
        ("https://example.org/root.tar.xz", "curl -fLO https://example.org/root.tar.xz"),
        ("root.tar.xz", ""),
        ("/debian:12", ""),
    ],
)
def test_what_is_not_there_may_be_meant_otherwise(bring: Bring, source: str, said: str) -> None:
    with pytest.raises(SessionError, match="cannot open") as refused:
        bring(source)
    assert said in refused.value.remedy
    assert bool(refused.value.remedy) == bool(said)


class Layouts:
    """A layout to which images are added, each with one file of its own name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.manifests: list[dict[str, Any]] = []

    def blob(self, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (self.path / "blobs/sha256" / digest).write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    def image(self, file: str, platform: platforms.Platform = HERE) -> dict[str, Any]:
        layer = self.blob(tar([entry(file, b"x")]))
        words = {key: value for key, value in platform._asdict().items() if value}
        config = self.blob(json.dumps({**words, "config": {}}).encode())
        return self.blob(json.dumps({"schemaVersion": 2, "config": config, "layers": [layer]}).encode())

    def add(
        self, descriptor: dict[str, Any], name: str = "", platform: platforms.Platform | None = None
    ) -> str:
        """List ``descriptor`` and return its digest."""
        listed = dict(descriptor)
        if name:
            listed["annotations"] = {NAME: name}
        if platform:
            listed["platform"] = {key: value for key, value in platform._asdict().items() if value}
        self.manifests.append(listed)
        index = {"schemaVersion": 2, "manifests": self.manifests}
        (self.path / "index.json").write_text(json.dumps(index))
        return str(descriptor["digest"])


@pytest.fixture
def layouts(tmp_path: Path) -> Layouts:
    return Layouts(tmp_path / "layout")


def test_a_name_with_colons(layouts: Layouts, bring: Bring, tmp_path: Path) -> None:
    """As podman save --format oci-dir writes it: by its whole name, or the tag alone."""
    layouts.add(layouts.image("one"), "docker.io/library/thing:1.0")
    layouts.add(layouts.image("two"), "docker.io/library/thing:2.0")
    assert holds(tmp_path, bring(f"oci:{layouts.path}:docker.io/library/thing:1.0")) == ["one"]
    assert holds(tmp_path, bring(f"oci:{layouts.path}:2.0")) == ["two"]
    with pytest.raises(SessionError, match=r"thing:1\.0, docker\.io/library/thing:2\.0"):
        bring(f"oci:{layouts.path}:3.0")


def test_two_names_are_two_images(layouts: Layouts, bring: Bring) -> None:
    layouts.add(layouts.image("one"), "1.0")
    layouts.add(layouts.image("two"), "2.0")
    with pytest.raises(SessionError, match=r"holds 2 images: 1\.0, 2\.0; name one"):
        bring(f"oci:{layouts.path}")


def test_a_digest_chooses_where_there_is_no_name(layouts: Layouts, bring: Bring, tmp_path: Path) -> None:
    layouts.add(layouts.image("one"))
    digest = layouts.add(layouts.image("two"))
    with pytest.raises(SessionError, match=r"2 images for .*@sha256:"):
        bring(f"oci:{layouts.path}")
    for reference in (f"oci:{layouts.path}@{digest}", f"oci:{layouts.path}:@{digest}"):
        assert holds(tmp_path, bring(reference)) == ["two"]


def test_the_platform_chooses(layouts: Layouts, bring: Bring, tmp_path: Path) -> None:
    """From what the index says, and where it says nothing, from the configurations."""
    for told in (True, False):
        for platform, file in ((OTHER, "other"), (HERE, "here")):
            layouts.add(
                layouts.image(file, platform), "told" if told else "untold", platform if told else None
            )
    for name in ("told", "untold"):
        assert holds(tmp_path, bring(f"oci:{layouts.path}:{name}")) == ["here"]
        chosen = bring(f"oci:{layouts.path}:{name}", platform=str(OTHER))
        assert holds(tmp_path, chosen) == ["other"]
    with pytest.raises(SessionError, match=f"nothing for linux/s390x: it is for .*{OTHER}"):
        bring(f"oci:{layouts.path}:told", platform="linux/s390x")


def test_the_plain_variant_is_best(layouts: Layouts, bring: Bring, tmp_path: Path) -> None:
    for variant in ("v3", "v2", ""):
        platform = platforms.Platform.of("linux", "amd64", variant)
        layouts.add(layouts.image(f"level-{variant}", platform), "lab", platform)
    assert holds(tmp_path, bring(f"oci:{layouts.path}", platform="linux/amd64")) == ["level-"]
    assert holds(tmp_path, bring(f"oci:{layouts.path}", platform="linux/amd64/v3")) == ["level-v3"]


def test_an_index_in_the_index_and_what_is_no_image(layouts: Layouts, bring: Bring, tmp_path: Path) -> None:
    """As buildx writes it: a name leads to an index, beside each image lies an attestation."""
    inner = []
    for platform, file in ((OTHER, "other"), (HERE, "here")):
        inner.append({**layouts.image(file, platform), "platform": platform._asdict()})
    unknown = {"os": "unknown", "architecture": "unknown"}
    inner.append({**layouts.image("attestation"), "platform": unknown})
    index = layouts.blob(json.dumps({"mediaType": INDEX, "manifests": inner}).encode())
    layouts.add({**index, "mediaType": INDEX}, "lab")
    assert holds(tmp_path, bring(f"oci:{layouts.path}:lab")) == ["here"]


def test_an_image_for_another_machine_is_refused(layouts: Layouts, bring: Bring, tmp_path: Path) -> None:
    layouts.add(layouts.image("other", OTHER), "lab")
    with pytest.raises(Refusal, match=f"for {OTHER}, not for {HERE}.*--platform {OTHER}"):
        bring(f"oci:{layouts.path}")
    assert holds(tmp_path, bring(f"oci:{layouts.path}", platform=OTHER.architecture)) == ["other"]


def test_a_root_for_another_machine_is_refused(bring: Bring, tmp_path: Path) -> None:
    """A plain archive says nothing of machines, but its shell does."""
    machine = {"arm64": 183, "amd64": 62}[OTHER.architecture]
    program = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0" + machine.to_bytes(2, "little") + bytes(44)
    path = tmp_path / "root.tar"
    path.write_bytes(tar([directory("bin"), entry("bin/sh", program, mode=0o755), directory("etc")]))
    with pytest.raises(Refusal, match=f"for {OTHER}.*/bin/sh says so.*--platform"):
        bring(str(path))
    bring(str(path), platform=str(OTHER))


def test_an_oci_archive(layouts: Layouts, bring: Bring, tmp_path: Path) -> None:
    layouts.add(layouts.image("one"), "docker.io/library/thing:1.0")
    layouts.add(layouts.image("two"), "docker.io/library/thing:2.0")
    path = tmp_path / "saved.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(layouts.path, ".")
    assert holds(tmp_path, bring(f"oci-archive:{path}:docker.io/library/thing:1.0")) == ["one"]
    with pytest.raises(SessionError, match="holds 2 images"):
        bring(f"oci-archive:{path}")
    with pytest.raises(Refusal, match=f"oci-archive:{path}"):
        bring(str(path))


def test_an_oci_archive_with_links_shows_nothing_of_the_host(bring: Bring, tmp_path: Path) -> None:
    outside = Layouts(tmp_path / "outside")
    outside.add(outside.image("secret"), "lab")
    path = tmp_path / "hostile.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(outside.path / "index.json", "index.json")
        link = tarfile.TarInfo("blobs")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside.path / "blobs")
        archive.addfile(link)
    with pytest.raises(SessionError, match="lacks"):
        bring(f"oci-archive:{path}")


def saved(tmp_path: Path, *names: str) -> Path:
    """Return what docker save writes of these images."""
    path = tmp_path / "saved.tar"
    for name in names:
        layout = oci_layout(
            str(tmp_path / name.replace(":", "-")), [tar([entry(name.partition(":")[0], b"x")])]
        )
        target = f"docker-archive:{tmp_path}/{len(list(tmp_path.iterdir()))}.tar:{name}"
        subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", f"oci:{layout}", target], check=True)
        _merge(path, Path(target.split(":")[1]))
    return path


def _merge(path: Path, other: Path) -> None:
    """Add the images of one archive to another, as docker save with two names has them."""
    manifests: list[Any] = []
    members: dict[str, bytes] = {}
    for source in (path, other):
        if source.exists():
            with tarfile.open(source) as archive:
                for member in archive:
                    file = archive.extractfile(member)
                    if file is None:
                        continue
                    if member.name == "manifest.json":
                        manifests += json.load(file)
                    elif member.name != "repositories":
                        members[member.name] = file.read()
    with tarfile.open(path, "w") as archive:
        for name, content in {**members, "manifest.json": json.dumps(manifests).encode()}.items():
            archive.addfile(*_file(name, content))


def _file(name: str, content: bytes) -> tuple[tarfile.TarInfo, Any]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, io.BytesIO(content)


def test_docker_save_of_two_images(bring: Bring, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    path = saved(tmp_path, "one:1", "two:2")
    with pytest.raises(SessionError, match=r"holds 2 images: \S*one:1, \S*two:2; name one: docker-archive:"):
        bring(f"docker-archive:{path}")
    assert holds(tmp_path, bring(f"docker-archive:{path}:two:2")) == ["two"]
    # Without a file "repositories", as docker save of an id, crane, jib, nix and bazel write it.
    with pytest.raises(Refusal, match=f"docker save's parts.*docker-archive:{path}"):
        bring(str(path))


def packed(tmp_path: Path, inside: str) -> str:
    tree = busybox_tree(str(tmp_path / "tree"))
    path = tmp_path / "root.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(*_file("pkglist.txt", b"x"))
        archive.add(tree, inside)
    return str(path)


@pytest.mark.parametrize("inside", ["root.x86_64", "bundle/rootfs"])
def test_a_root_below_a_directory(inside: str, bring: Bring, tmp_path: Path) -> None:
    version = bring(packed(tmp_path, inside))
    assert {"bin", "etc", "usr"} <= set(holds(tmp_path, version))
    assert version.info["warnings"] == [f"the root is its directory {inside}"]


@pytest.mark.parametrize("form", ["raw", "vmdk"])
def test_a_disk_in_an_archive(form: str, bring: Bring, tmp_path: Path) -> None:
    """As Google Compute Engine has it, and as an OVA is."""
    tree = busybox_tree(str(tmp_path / "tree"))
    disk = tmp_path / "disk.raw"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, str(disk), "16M"], check=True)
    if form == "vmdk":
        made = tmp_path / "disk.vmdk"
        options = ["-O", "vmdk", "-o", "subformat=streamOptimized"]
        subprocess.run(["qemu-img", "convert", *options, str(disk), str(made)], check=True)
        disk = made
    path = tmp_path / "image.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(*_file("image.ovf", b"<Envelope/>"))
        archive.add(disk, disk.name)
    version = bring(str(path))
    assert {"bin", "etc", "usr"} <= set(holds(tmp_path, version))
    assert version.info["warnings"] == [f"the files are those of the disk image {disk.name} in it"]


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([], "it is empty"),
        ([entry("vmlinuz-6.1", b"x"), directory("grub")], "boot partition.*--partition"),
        ([entry("notes", b"x")], "notes, and nothing that a root has"),
        ([directory(f"{name}/{part}") for name in "ab" for part in ("bin", "etc")], "a, b each hold a root"),
        ([directory("etc"), directory("usr")], "`shell` of a policy"),
    ],
)
def test_what_has_no_shell_is_said_so(entries: list[Any], reason: str, bring: Bring, tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(tar(entries))
    (sentence,) = bring(str(path)).info["warnings"]
    assert "none of /bin/bash, /bin/sh is in it" in sentence
    assert re.search(reason, sentence)


def test_a_layer_without_its_end(bring: Bring, tmp_path: Path) -> None:
    """umoci insert writes such; the digest says that it is all there."""
    whole = tar([entry("one", b"DATA\n")])[:1024]
    for number, layer in enumerate([whole, whole[:517], gzip.compress(whole), gzip.compress(whole[:517])]):
        layout = oci_layout(str(tmp_path / f"layout-{number}"), [layer])
        assert holds(tmp_path, bring(f"oci:{layout}")) == ["one"]
    layout = oci_layout(str(tmp_path / "cut"), [whole[:514]])
    with pytest.raises(SessionError, match="damaged"):
        bring(f"oci:{layout}")
