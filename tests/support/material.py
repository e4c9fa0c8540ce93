"""Images made on the spot: trees, tars with any header, OCI layouts with whiteouts."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import os
import shutil
import struct
import subprocess
import tarfile
import zlib
from collections.abc import Iterable

from support.data import write_sparse

BUSYBOX = "/bin/busybox"

_VOLUME_GROUP = """vg {
id = "%s"
seqno = 1
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = %d
max_lv = 0
max_pv = 0
metadata_copies = 0

physical_volumes {

pv0 {
id = "%s"
device = "/dev/sda"

status = ["ALLOCATABLE"]
flags = []
dev_size = %d
pe_start = %d
pe_count = %d
}
}

logical_volumes {
%s}

}
# Generated

contents = "Text Format Volume Group"
version = 1

description = ""

creation_host = "host"
creation_time = 1700000000

"""
_LOGICAL_VOLUME = """
%s {
id = "%s"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
creation_time = 1700000000
creation_host = "host"
segment_count = 1

segment1 {
start_extent = 0
extent_count = %d

type = "striped"
stripe_count = 1

stripes = [
"pv0", %d
]
}
}
"""

Entry = tuple[tarfile.TarInfo, bytes]


def entry(
    name: str,
    content: bytes = b"",
    *,
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o644,
    link: str = "",
    uid: int = 0,
    gid: int = 0,
    pax: dict[str, str] | None = None,
) -> Entry:
    """Return one member of a tar, exactly as told."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.mode, info.linkname = len(content), kind, mode, link
    info.uid, info.gid, info.mtime = uid, gid, 1_700_000_000
    info.pax_headers = pax or {}
    return info, content


def directory(name: str, mode: int = 0o755) -> Entry:
    return entry(name, kind=tarfile.DIRTYPE, mode=mode)


def symlink(name: str, target: str) -> Entry:
    return entry(name, kind=tarfile.SYMTYPE, mode=0o777, link=target)


def hardlink(name: str, target: str) -> Entry:
    return entry(name, kind=tarfile.LNKTYPE, link=target)


def tar(entries: Iterable[Entry]) -> bytes:
    """Return an uncompressed pax archive of ``entries``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def busybox_tree(path: str) -> str:
    """Make a root of busybox alone at ``path`` and return it."""
    for name in ("bin", "etc", "usr/bin", "tmp", "home"):
        os.makedirs(f"{path}/{name}", exist_ok=True)
    shutil.copy(BUSYBOX, f"{path}/bin/busybox")
    for applet in ("sh", "ls", "cat", "id", "echo", "stat", "find", "true", "sleep", "mount"):
        os.symlink("busybox", f"{path}/bin/{applet}")
    with open(f"{path}/etc/passwd", "w", encoding="ascii") as file:
        file.write("root:x:0:0:root:/root:/bin/sh\nservice:x:1000:1000::/:/bin/false\n")
    with open(f"{path}/etc/group", "w", encoding="ascii") as file:
        file.write("root:x:0:\nservice:x:1000:\n")
    return path


def gpt_disk(tree: str, path: str, mib: int) -> None:
    """Write a raw disk as installers make it: EFI, /boot in ext4, ``tree`` as the root in ext4 of ``mib``."""
    for source, made, size in (("", path + ".boot", "8M"), (tree, path + ".root", f"{mib}M")):
        subprocess.run(
            ["mke2fs", "-q", "-t", "ext4", *(["-d", source] if source else []), made, size], check=True
        )
    with open(path, "wb") as disk:
        disk.truncate((mib + 32) << 20)
    table = f"label: gpt\nsize=4M, type=U\nsize=8M\nsize={mib}M\n"
    subprocess.run(["sfdisk", "-q", path], input=table.encode(), check=True, stdout=subprocess.DEVNULL)
    found = json.loads(subprocess.run(["sfdisk", "-J", path], check=True, capture_output=True).stdout)
    starts = [part["start"] * 512 for part in found["partitiontable"]["partitions"]]
    with open(path, "r+b") as disk:
        for start, content in zip(starts[1:], (path + ".boot", path + ".root"), strict=True):
            write_sparse(disk, start, content)
            os.unlink(content)


def oci_layout(
    path: str, layers: list[bytes], config: dict[str, object] | None = None, tag: str = "latest"
) -> str:
    """Write an OCI image layout whose ``layers`` are tars (any compression) and return ``path``."""
    os.makedirs(f"{path}/blobs/sha256", exist_ok=True)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)

    def blob(content: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        with open(f"{path}/blobs/sha256/{digest}", "wb") as file:
            file.write(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    described = []
    for layer in layers:
        suffix = "+gzip" if layer.startswith(b"\x1f\x8b") else ""
        described.append(blob(layer, "application/vnd.oci.image.layer.v1.tar" + suffix))
    image = {
        "architecture": machine,
        "os": "linux",
        "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": [_diff_id(layer) for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(json.dumps(image).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": described,
    }
    described_manifest = blob(json.dumps(manifest).encode(), str(manifest["mediaType"]))
    described_manifest["annotations"] = {"org.opencontainers.image.ref.name": tag}
    with open(f"{path}/index.json", "w", encoding="ascii") as file:
        json.dump({"schemaVersion": 2, "manifests": [described_manifest]}, file)
    with open(f"{path}/oci-layout", "w", encoding="ascii") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)
    return path


def lvm(path: str, volumes: dict[str, str]) -> str:
    """Write a disk that is one LVM physical volume with ``volumes``: name → file with its content.

    lvm(8) makes these on block devices only, so the label, the header and the text of the metadata
    are written as lvm2's lib/format_text lays them out.
    """
    extent, data_start = 4 << 20, 1 << 20
    pv, vg = "pv0000" + "a" * 26, "vg0000" + "b" * 26
    texts, at = [], 0
    with open(path, "wb") as disk:
        for number, (name, source) in enumerate(volumes.items()):
            extents = -(-write_sparse(disk, data_start + at * extent, source) // extent)
            identifier = _dashed(f"lv{number:04}" + "c" * 26)
            texts.append(_LOGICAL_VOLUME % (name, identifier, extents, at))
            at += extents
        size = data_start + at * extent
        disk.truncate(size)
        text = (
            _VOLUME_GROUP
            % (_dashed(vg), extent // 512, _dashed(pv), size // 512, data_start // 512, at, "".join(texts))
        ).encode() + b"\0"
        area = 4096, data_start - 4096
        locations = struct.pack("<QQII", 512, len(text), _lvm_crc(text), 0) + bytes(24)
        header = b" LVM2 x[5A%r0N*>" + struct.pack("<IQQ", 1, *area) + locations
        header = header.ljust(508, b"\0")
        disk.seek(area[0])
        disk.write(struct.pack("<I", _lvm_crc(header)) + header + text)
        body = pv.encode() + struct.pack("<Q", size)
        body += struct.pack("<QQ", data_start, 0) + bytes(16) + struct.pack("<QQ", *area) + bytes(16)
        label = struct.pack("<I8s", 32, b"LVM2 001") + body
        label = label.ljust(512 - 20, b"\0")
        disk.seek(512)
        disk.write(b"LABELONE" + struct.pack("<QI", 1, _lvm_crc(label)) + label)
    return path


def _dashed(identifier: str) -> str:
    cuts = (0, 6, 10, 14, 18, 22, 26, 32)
    return "-".join(identifier[a:b] for a, b in itertools.pairwise(cuts))


def _lvm_crc(data: bytes) -> int:
    return zlib.crc32(data, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def _diff_id(layer: bytes) -> str:
    plain = gzip.decompress(layer) if layer.startswith(b"\x1f\x8b") else layer
    return "sha256:" + hashlib.sha256(plain).hexdigest()
