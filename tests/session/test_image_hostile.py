"""Every trick of a hostile image, unpacked for real: refused by name, or without effect."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.material import Entry, directory, entry, hardlink, oci_layout, symlink, tar

from ssh2container.admin.images import import_, manifest
from ssh2container.admin.images.sources.choose import choose
from ssh2container.admin.images.store.store import Store, Version
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.errors import Refusal, SessionError
from ssh2container.plan.image import Image

Import = Callable[..., Version]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "images"))


@pytest.fixture
def bring(store: Store, tmp_path: Path) -> Import:
    """Import entries, or bytes, as ``victim`` and return the version."""

    def bring(content: list[Entry] | bytes, limits: Limits | None = None) -> Version:
        path = tmp_path / "archive"
        path.write_bytes(content if isinstance(content, bytes) else tar(content))
        source = choose(str(path))
        return import_.bring(store, "victim", source, limits or Limits(), lambda *_: None)

    return bring


@pytest.fixture(autouse=True)
def nothing_outside(store: Store) -> None:
    """The store is as it was after a refusal: checked by each test through ``assert_unchanged``."""
    store.prepare()


def assert_unchanged(store: Store) -> None:
    assert store.names() == {}
    assert store.versions() == {}
    assert os.listdir(f"{store.path}/staging") == []
    assert os.listdir(f"{store.path}/trees") == []


def root(store: Store, version: Version) -> str:
    return store.tree(version) + "/root"


def version_of(store: Store) -> Image:
    image = Image.find("victim", store.path)
    os.close(image.lock)
    return image


REFUSED: dict[str, tuple[list[Entry], str]] = {
    "dots": ([entry("a/../../evil", b"x")], "a/../../evil"),
    "only dots": ([directory("..")], ".."),
    "absolute dots": ([entry("/../evil", b"x")], "/../evil"),
    "hard link out": ([hardlink("evil", "../../etc/passwd")], "evil"),
    "hard link to nothing": ([hardlink("evil", "etc/passwd")], "evil"),
    "hard link to a directory": ([directory("etc"), hardlink("evil", "etc")], "evil"),
    "loop": ([symlink("a", "b"), symlink("b", "a"), entry("a/evil", b"x")], "a/evil"),
    "self loop": ([symlink("a", "a"), entry("a/b/evil", b"x")], "a/b/evil"),
    "through a file": ([entry("f", b"x"), entry("f/evil", b"x")], "f/evil"),
    "root is a file": ([entry("./", b"x")], "./"),
    "too deep": ([directory("d/" * 150 + "evil")], "d/d/d"),
    "too long": ([entry("/".join(["e" * 200] * 20), b"x")], "eeee"),
    "name beyond 255": ([entry("e" * 300, b"x")], "eeee"),
}


@pytest.mark.parametrize("trick", REFUSED)
def test_a_trick_is_refused_by_the_members_name(trick: str, store: Store, bring: Import) -> None:
    entries, name = REFUSED[trick]
    with pytest.raises(SessionError) as caught:
        bring([entry("innocent", b"x"), *entries])
    assert name in str(caught.value)
    assert_unchanged(store)


@pytest.mark.parametrize("target", ["/etc", "../../../../../../etc", "/", "/proc/self/root/etc", "."])
def test_a_link_leads_nowhere_outside(target: str, store: Store, bring: Import) -> None:
    """A path through a link of the image ends inside the image, wherever the link points."""
    version = bring([directory("etc"), symlink("way", target), entry("way/planted-by-image", b"x")])
    found = [name for _, _, names in os.walk(root(store, version)) for name in names]
    assert "planted-by-image" in found
    for place in ("/etc", "/", "/tmp"):
        assert not os.path.exists(f"{place}/planted-by-image")
    assert os.readlink(f"{root(store, version)}/way") == target


def test_a_file_never_goes_through_a_link_in_its_own_place(store: Store, bring: Import) -> None:
    version = bring([entry("safe", b"old"), symlink("evil", "safe"), entry("evil", b"new")])
    assert Path(root(store, version), "safe").read_bytes() == b"old"
    assert Path(root(store, version), "evil").read_bytes() == b"new"


def test_an_absolute_name_is_a_relative_one(store: Store, bring: Import) -> None:
    version = bring([entry("//etc//planted-by-image", b"x")])
    assert Path(root(store, version), "etc/planted-by-image").read_bytes() == b"x"
    assert not os.path.exists("/etc/planted-by-image")


def test_the_root_stays_traversable(store: Store, bring: Import) -> None:
    version = bring([directory("./", mode=0), entry("f", b"x")])
    assert stat.S_IMODE(os.stat(root(store, version)).st_mode) == 0o755


def test_s_bits_devices_and_attributes_are_neutralised_and_listed(store: Store, bring: Import) -> None:
    raw = struct.pack("<IIIII", 0x02000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0)
    capability = raw.decode("utf-8", "surrogateescape")
    attributes = {
        "SCHILY.xattr.security.capability": capability,
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.user.overlay.whiteout": "y",
        "SCHILY.xattr.user.comment": "kept",
    }
    block = entry("sda", kind=tarfile.BLKTYPE)
    block[0].devmajor = 8
    version = bring(
        [
            entry("suid", b"x", mode=0o4755),
            entry("sgid", b"x", mode=0o2755),
            directory("sgid-directory", mode=0o3777),
            entry("attributes", b"x", pax=attributes),
            entry("whiteout", kind=tarfile.CHRTYPE),
            block,
            entry("fifo", kind=tarfile.FIFOTYPE),
            entry("foreign", b"x", uid=4_000_000_000, gid=70_000),
        ]
    )
    top = root(store, version)
    for where, directories, files in os.walk(top):
        for name in directories + files:
            mode = os.lstat(f"{where}/{name}").st_mode
            assert not mode & 0o6000, name
            assert stat.S_ISDIR(mode) or stat.S_ISREG(mode), name
    assert dict(version_of(store).writable) == {"/sgid-directory": 0o1777}
    assert os.listxattr(f"{top}/attributes") == ["user.comment"]
    listing = manifest.read(f"{store.tree(version)}/{manifest.NAME}")
    assert next(line[3:5] for line in listing if line[0] == "foreign") == [65534, 65534]
    told = version.info["neutralised"]
    assert told["set-user-id and set-group-id bits removed"] == ["suid", "sgid", "sgid-directory"]
    assert told["devices and FIFOs left out"] == ["whiteout", "sda", "fifo"]
    assert told["extended attribute security.capability removed"] == ["attributes"]
    assert told["extended attribute user.overlay.whiteout removed"] == ["attributes"]


def test_names_of_any_bytes_survive(store: Store, bring: Import) -> None:
    names = ["new\nline", "\x1b[31mred", "caf\udce9", "-rf", "ünï", " ", "quote'\""]
    version = bring([entry(name, b"x") for name in names])
    assert sorted(os.listdir(root(store, version))) == sorted(names)


def test_escapes_in_a_hostile_name_do_not_reach_the_terminal(bring: Import) -> None:
    with pytest.raises(Refusal) as caught:
        bring([entry("\x1b]0;owned\x07\n/../evil", b"x")])
    assert str(caught.value).isprintable()


def test_a_decompression_bomb_ends_at_the_limit(store: Store, bring: Import) -> None:
    """1 GiB of zeros in 1 MB: what is unpacked is counted, not what arrives."""
    head = tarfile.TarInfo("bomb")
    head.size = 1 << 30
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        file.write(head.tobuf())
        for _ in range(1024):
            file.write(bytes(1 << 20))
        file.write(bytes(1024))
    with pytest.raises(Refusal, match=r"bomb.*--max-size"):
        bring(buffer.getvalue(), Limits(size=100 << 20))
    assert_unchanged(store)


def test_a_bomb_of_many_small_files_ends_at_the_limit(store: Store, bring: Import) -> None:
    with pytest.raises(Refusal, match=r"file-1000.*--max-entries"):
        bring([entry(f"file-{number}", b"") for number in range(1200)], Limits(entries=1000))
    assert_unchanged(store)


def test_a_sparse_giant_is_counted_with_its_holes(store: Store, bring: Import) -> None:
    sparse = {"major": "1", "minor": "0", "realsize": str(1 << 60), "name": "giant"}
    giant = entry("giant", b"", pax={f"GNU.sparse.{key}": value for key, value in sparse.items()})
    giant[0].size = 512
    body = b"0\n".ljust(512, b"\0")
    with pytest.raises(Refusal, match="giant"):
        bring([(giant[0], body)])
    assert_unchanged(store)


def test_a_header_as_large_as_the_memory_is_refused(store: Store) -> None:
    """A pax header is read whole; one of 64 GB must not take the host's memory."""
    head = tarfile.TarInfo("././@PaxHeader")
    head.type, head.size = tarfile.XHDTYPE, 64 << 30
    sparse = io.BytesIO(head.tobuf(tarfile.GNU_FORMAT))
    path = Path(store.path, "..", "huge").resolve()
    with path.open("wb") as file:
        file.write(sparse.getvalue())
        file.truncate(64 << 30)
    with pytest.raises(SessionError):
        import_.bring(store, "victim", choose(str(path)), Limits(), lambda *_: None)
    path.unlink()
    assert_unchanged(store)


@pytest.mark.parametrize("cut", [1, 511, 512, 700, 1024, 1536])
def test_an_archive_that_ends_early_is_refused(cut: int, store: Store, bring: Import) -> None:
    whole = tar([entry("first", b"x" * 600), entry("second", b"y" * 600)])
    end = 2 * (512 + 1024)
    with pytest.raises(SessionError, match=r"damaged|neither"):
        bring(whole[: end - cut])
    assert_unchanged(store)


def test_garbage_in_the_middle_is_not_the_end(store: Store, bring: Import) -> None:
    whole = bytearray(tar([entry("first", b"x"), entry("second", b"y")]))
    whole[1024:1536] = os.urandom(512)
    with pytest.raises(SessionError, match=r"damaged.*first"):
        bring(bytes(whole))
    assert_unchanged(store)


def test_a_truncated_compressed_archive_is_refused(store: Store, bring: Import) -> None:
    packed = gzip.compress(tar([entry("first", os.urandom(100_000))]))
    with pytest.raises(SessionError):
        bring(packed[: len(packed) // 2])
    assert_unchanged(store)


@pytest.mark.parametrize("whiteout", [".wh.", "etc/.wh..", "etc/.wh...", ".wh..."])
def test_a_whiteout_of_everything_is_refused(whiteout: str, store: Store, tmp_path: Path) -> None:
    layers = [tar([directory("etc"), entry("etc/keep", b"x")]), tar([entry(whiteout)])]
    layout = oci_layout(str(tmp_path / "oci"), layers)
    with pytest.raises(Refusal) as caught:
        import_.bring(store, "victim", choose("oci:" + layout), Limits(), lambda *_: None)
    assert whiteout in str(caught.value)
    assert_unchanged(store)


def test_a_whiteout_through_a_link_stays_inside(store: Store, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("precious")
    layers = [tar([symlink("way", str(victim))]), tar([entry("way/.wh.file"), entry("way/.wh..wh..opq")])]
    layout = oci_layout(str(tmp_path / "oci"), layers)
    import_.bring(store, "victim", choose("oci:" + layout), Limits(), lambda *_: None)
    assert (victim / "file").read_text() == "precious"


def test_a_blob_with_another_content_is_refused(store: Store, tmp_path: Path) -> None:
    layout = oci_layout(str(tmp_path / "oci"), [tar([entry("a", b"1")])])
    blobs = Path(layout, "blobs/sha256")
    layer = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    layer.write_bytes(tar([entry("a", b"2")]))
    with pytest.raises(Refusal, match="does not match its digest"):
        import_.bring(store, "victim", choose("oci:" + layout), Limits(), lambda *_: None)
    assert_unchanged(store)


def test_a_blob_that_is_a_link_to_a_host_file_is_refused(store: Store, tmp_path: Path) -> None:
    layout = oci_layout(str(tmp_path / "oci"), [tar([entry("a", b"1")])])
    layer = max(Path(layout, "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    layer.unlink()
    layer.symlink_to("/etc/shadow")
    with pytest.raises(SessionError):
        import_.bring(store, "victim", choose("oci:" + layout), Limits(), lambda *_: None)
    assert_unchanged(store)


DOCUMENTS: dict[str, tuple[str, object]] = {
    "index: a list": ("index", []),
    "index: not JSON": ("index", b"x"),
    "index: endless brackets": ("index", b"[" * 100_000),
    "index: endless digits": ("index", b"1" * 5000),
    "index: manifests null": ("index", {"manifests": None}),
    "index: manifests of numbers": ("index", {"manifests": [5]}),
    "index: platform a number": ("index", {"manifests": [{"platform": 5}] * 2}),
    "manifest: a list": ("manifest", []),
    "manifest: config a number": ("manifest", {"config": 5, "layers": []}),
    "manifest: layers of numbers": ("manifest", {"config": {}, "layers": [5]}),
    "config: a list": ("whole", []),
    "config: config a number": ("whole", {"config": 5}),
    "config: Env a string": ("config", {"Env": "A=b"}),
    "config: Env of numbers": ("config", {"Env": [5]}),
    "config: Env with half a character": ("config", {"Env": ["A=\ud800"]}),
    "config: Env with a zero byte": ("config", {"Env": ["A=\0"]}),
    "config: Env longer than any variable": ("config", {"Env": ["A=" + "x" * (1 << 20)]}),
    "config: Cmd a string": ("config", {"Cmd": "sh -c id"}),
    "config: Entrypoint an object": ("config", {"Entrypoint": {"a": "b"}}),
    "config: User a number": ("config", {"User": 5}),
    "config: WorkingDir a list": ("config", {"WorkingDir": ["/"]}),
}


@pytest.mark.parametrize("trick", DOCUMENTS)
def test_a_document_of_another_shape_is_refused_by_name(trick: str, store: Store, tmp_path: Path) -> None:
    """What describes an image is as hostile as its files."""
    place, content = DOCUMENTS[trick]
    layout = Path(oci_layout(str(tmp_path / "oci"), [tar([entry("a", b"1")])]))

    def blob(document: object) -> dict[str, str]:
        written = json.dumps(document).encode()
        digest = hashlib.sha256(written).hexdigest()
        (layout / "blobs/sha256" / digest).write_bytes(written)
        return {"digest": f"sha256:{digest}"}

    if place in ("config", "whole"):
        configuration = {"config": content} if place == "config" else content
        content, place = {"config": blob(configuration), "layers": []}, "manifest"
    if place == "manifest":
        content = {"manifests": [blob(content)]}
    (layout / "index.json").write_bytes(
        content if isinstance(content, bytes) else json.dumps(content).encode()
    )
    with pytest.raises(Refusal, match=r"refused because of \S+"):
        import_.bring(store, "victim", choose(f"oci:{layout}"), Limits(), lambda *_: None)
    assert_unchanged(store)


def test_numbers_of_accounts_may_be_as_long_as_they_like(store: Store, bring: Import) -> None:
    """The user gets an id that is nobody's all the same."""
    passwd = b"a:x:" + b"9" * 5000 + b":0::/:/bin/sh\nb:x:1000:1000::/:/bin/sh\nc:x:-1:x::/:/bin/sh\n"
    bring([directory("etc"), entry("etc/passwd", passwd)])
    assert version_of(store).inside_id == 1001


def test_an_image_that_uses_every_id_is_refused(store: Store, bring: Import) -> None:
    with pytest.raises(Refusal, match="none is left"):
        bring([entry(f"f{number}", uid=number, gid=number + 1) for number in range(1000, 60000, 2)])
    assert_unchanged(store)


def test_a_record_longer_than_a_login_reads_is_refused(store: Store, bring: Import) -> None:
    """Each directory that everybody may write to stands in it by its name."""
    names = [f"{'d' * 200}{number}/{'e' * 200}" for number in range(12000)]
    with pytest.raises(Refusal, match="everybody may write"):
        bring([directory(name, mode=0o1777) for name in names])
    assert_unchanged(store)


def test_account_files_that_are_links_do_not_show_the_hosts(store: Store, bring: Import) -> None:
    links = [symlink("etc/passwd", "/etc/shadow"), symlink("etc/group", "../../../../etc/shadow")]
    version = bring([directory("etc"), *links])
    image = Image.find("victim", store.path)
    os.close(image.lock)
    assert (image.passwd, image.group) == (b"", b"")
    assert version.digest == image.digest


def test_the_unpacker_is_nobody_on_the_host(store: Store, tmp_path: Path) -> None:
    """While an archive is unpacked, no process of ours that touches it has a privileged id."""
    layout = oci_layout(str(tmp_path / "oci"), [tar([entry("a", b"1" * 4096)])])
    seen: list[list[str]] = []

    def watch(what: str, _done: int, _total: int) -> None:
        if what.startswith("layer"):
            seen.extend(_sandboxed())

    import_.bring(store, "victim", choose("oci:" + layout), Limits(), watch)
    assert seen
    for uids in seen:
        assert all(int(uid) >= 65536 for uid in uids), seen


def _sandboxed() -> list[list[str]]:
    """Return the uids of the processes in another user namespace than ours."""
    own = os.readlink("/proc/self/ns/user")
    found = []
    for process in os.listdir("/proc"):
        if process.isdecimal():
            try:
                with open(f"/proc/{process}/cmdline", "rb") as file:
                    command = file.read()
                if b"images.unpack" not in command or os.readlink(f"/proc/{process}/ns/user") == own:
                    continue
                status = Path(f"/proc/{process}/status").read_text()
            except OSError:
                continue
            found.append(next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:])
    return found


def test_a_disk_that_refers_to_another_file_is_refused(store: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(1 << 20))
    disk = tmp_path / "disk.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(secret), str(disk)], check=True
    )
    with pytest.raises(SessionError, match=r"secret\.raw"):
        import_.bring(store, "victim", choose(str(disk)), Limits(), lambda *_: None)
    assert_unchanged(store)


def test_a_disk_of_absurd_size_is_refused(store: Store, tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "900T"], check=True)
    with pytest.raises(SessionError, match="claims to be"):
        import_.bring(store, "victim", choose(str(disk)), Limits(), lambda *_: None)
    assert_unchanged(store)


def test_a_file_system_whose_directories_contain_themselves_ends_at_the_limit(
    store: Store, tmp_path: Path
) -> None:
    """Two hard links of a directory to itself are 2^n directories to any tool that extracts them."""
    disk = tmp_path / "loop"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(disk), "20M"], check=True, stdin=subprocess.DEVNULL)
    for request in ("mkdir a", "ln a a/one", "ln a a/two"):
        subprocess.run(["debugfs", "-w", "-R", request, str(disk)], check=True, capture_output=True)
    with pytest.raises(Refusal, match=r"makes more than|leads|deeper|longer|entries"):
        import_.bring(store, "victim", choose(str(disk)), Limits(20 << 20, 1000), lambda *_: None)
    assert_unchanged(store)
