"""Images from everything that we promise to read, made on the spot by the tools that people use."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.host import DEADLINE_SECONDS, until
from support.material import busybox_tree, directory, entry, gpt_disk, lvm, oci_layout, symlink, tar

from ssh2container.admin.images import import_, update
from ssh2container.admin.images.sources.bootstrap import Bootstrap
from ssh2container.admin.images.sources.choose import choose
from ssh2container.admin.images.sources.host_tools import HostTools
from ssh2container.admin.images.sources.source import Source
from ssh2container.admin.images.store.store import Store, Version
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.errors import Refusal, SessionError
from ssh2container.plan.image import Image

TREE_MIB = 48


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "images"))


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A busybox root with owners, modes, a link, a hole, and more files than one directory block."""
    path = busybox_tree(str(tmp_path_factory.mktemp("material") / "tree"))
    os.makedirs(f"{path}/var/many")
    for number in range(400):
        Path(path, f"var/many/a-file-of-this-directory-{number}").write_text(f"{number}\n")
    Path(path, "etc/shadow").write_text("root:*:::::::\n")
    os.chmod(f"{path}/etc/shadow", 0o640)
    os.chown(f"{path}/etc/shadow", 0, 42)
    os.chown(f"{path}/var/many", 1000, 1000)
    Path(path, "random").write_bytes(os.urandom(300_000))
    with open(f"{path}/hole", "wb") as file:
        file.truncate(20 << 20)
    return path


def bring(store: Store, source: str | Source, name: str = "lab") -> Version:
    chosen = choose(source) if isinstance(source, str) else source
    return import_.bring(store, name, chosen, Limits(), lambda *_: None)


def run(*argv: str, **options: object) -> None:
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed")
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options)  # type: ignore[call-overload]


@pytest.fixture
def expected(tree: str, tmp_path: Path) -> str:
    """The digest of the tree, imported as a directory."""
    return bring(Store(str(tmp_path / "expected")), tree).digest


@pytest.mark.parametrize("tool", ["", "gzip", "bzip2", "xz", "zstd", "lz4"])
@pytest.mark.parametrize("kind", ["v7", "ustar", "gnu", "pax", "cpio"])
def test_archives(kind: str, tool: str, tree: str, expected: str, store: Store, tmp_path: Path) -> None:
    """Every format and compression is the very same image."""
    archive = tmp_path / "archive"
    if kind == "cpio":
        with archive.open("wb") as out:
            if shutil.which("cpio") is None or shutil.which("bsdtar") is None:
                pytest.skip("cpio or bsdtar is not installed")
            subprocess.run(["sh", "-c", "find . | cpio --quiet -o -H newc"], cwd=tree, stdout=out, check=True)
    else:
        run(
            "tar",
            f"--format={kind}",
            "--sparse" if kind in ("gnu", "pax") else "--verbose",
            "-cf",
            str(archive),
            "-C",
            tree,
            ".",
        )
    if tool:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
        with archive.open("rb") as source, (tmp_path / "packed").open("wb") as out:
            subprocess.run([tool, "-c", "-1"], stdin=source, stdout=out, check=True)
        archive = tmp_path / "packed"
    assert bring(store, str(archive)).digest == expected


def ext4(tree: str, path: Path) -> Path:
    run("mke2fs", "-q", "-t", "ext4", "-d", tree, str(path), f"{TREE_MIB}M")
    return path


@pytest.fixture
def partitioned(tree: str, tmp_path: Path) -> Path:
    """A disk as installers make it: EFI, /boot in ext4, the root in ext4."""
    disk = tmp_path / "disk.raw"
    gpt_disk(tree, str(disk), TREE_MIB)
    return disk


@pytest.mark.parametrize("form", ["raw", "qcow2", "vmdk", "vdi", "vhdx", "qcow2-compressed", "raw.xz"])
def test_disks(form: str, partitioned: Path, expected: str, store: Store, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    if form == "raw.xz":
        with partitioned.open("rb") as source, disk.open("wb") as out:
            subprocess.run(["xz", "-0", "-c"], stdin=source, stdout=out, check=True)
    else:
        kind, _, compressed = form.partition("-")
        run("qemu-img", "convert", *(["-c"] if compressed else []), "-O", kind, str(partitioned), str(disk))
    assert bring(store, str(disk)).digest == expected


def test_a_chosen_partition(partitioned: Path, store: Store) -> None:
    version = bring(store, choose(str(partitioned), partition=2))
    assert version.info["entries"] == 1
    with pytest.raises(SessionError, match=r"no partition 7.*2: ext4.*3: ext4"):
        bring(store, choose(str(partitioned), partition=7))


def test_a_bare_ext4(tree: str, expected: str, store: Store, tmp_path: Path) -> None:
    assert bring(store, str(ext4(tree, tmp_path / "bare"))).digest == expected


def test_an_unreadable_file_of_root_is_imported_all_the_same(
    tree: str, expected: str, store: Store, tmp_path: Path
) -> None:
    disk = ext4(tree, tmp_path / "private")
    disk.chmod(0o600)
    assert bring(store, str(disk)).digest == expected


def test_btrfs(tree: str, expected: str, store: Store, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(200 << 20)
    run("mkfs.btrfs", "-q", "-r", tree, str(disk))
    assert bring(store, str(disk)).digest == expected


@pytest.mark.parametrize("kind", ["ext2", "ext4", "btrfs", "xfs", "squashfs"])
def test_what_a_filesystem_loses_is_listed(kind: str, store: Store, tmp_path: Path) -> None:
    """Its reader may well leave it out on its own."""
    tree, disk = tmp_path / "tree", tmp_path / "disk"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/suid").write_bytes(b"x")
    os.setxattr(tree / "etc/suid", "user.comment", b"kept or told")
    os.chmod(tree / "etc/suid", 0o4755)
    os.mkfifo(tree / "etc/pipe")
    if kind == "btrfs":
        with disk.open("wb") as file:
            file.truncate(200 << 20)
        run("mkfs.btrfs", "-q", "-r", str(tree), str(disk))
    elif kind == "xfs":
        prototype = tmp_path / "prototype"
        lines = ["/dummy", "0 0", "d--755 0 0", "etc d--755 0 0", f"suid -u-755 0 0 {tree}/etc/suid"]
        prototype.write_text("\n".join([*lines, "pipe p--644 0 0", "$", "$", ""]))
        with disk.open("wb") as file:
            file.truncate(320 << 20)
        run("mkfs.xfs", "-q", "-p", str(prototype), str(disk))
    elif kind == "squashfs":
        squashfs(str(tree), disk)
    else:
        run("mke2fs", "-q", "-t", kind, "-d", str(tree), str(disk), "16M")
    version = bring(store, str(disk))
    told = {what: [Path(name).name for name in names] for what, names in version.info["neutralised"].items()}
    assert told["set-user-id and set-group-id bits removed"] == ["suid"]
    assert told["devices and FIFOs left out"] == ["pipe"]
    kept = os.listxattr(f"{store.tree(version)}/root/etc/suid")
    told_of = told.get("extended attribute user.comment removed", [])
    assert kind == "xfs" or kept == ["user.comment"] or told_of == ["suid"]  # prototypes have none


def xfs(tree: str, path: Path, *options: str) -> Path:
    """Make an xfs of ``tree`` by mkfs.xfs's prototype file."""
    lines = ["/dummy", "0 0", "d--755 0 0"]

    def describe(directory: str) -> None:
        for item in sorted(os.scandir(directory), key=lambda item: item.name):
            status = item.stat(follow_symlinks=False)
            rights = f"{status.st_mode & 0o777:03o} {status.st_uid} {status.st_gid}"
            if item.is_symlink():
                lines.append(f"{item.name} l--{rights} {os.readlink(item.path)}")
            elif item.is_dir():
                lines.append(f"{item.name} d--{rights}")
                describe(item.path)
                lines.append("$")
            else:
                lines.append(f"{item.name} ---{rights} {item.path}")

    describe(tree)
    prototype = path.with_suffix(".prototype")
    prototype.write_text("\n".join([*lines, "$", ""]))
    with path.open("wb") as file:
        file.truncate(320 << 20)
    run("mkfs.xfs", "-q", *options, "-p", str(prototype), str(path))
    return path


@pytest.mark.parametrize(
    "options",
    [("-m", "bigtime=0"), ("-i", "nrext64=0"), ("-i", "nrext64=1"), ("-m", "crc=0")],
)
def test_xfs(options: tuple[str, str], tree: str, expected: str, store: Store, tmp_path: Path) -> None:
    version = bring(store, str(xfs(tree, tmp_path / "disk", *options)))
    assert version.digest == expected
    made = os.stat(f"{store.tree(version)}/root/etc/passwd").st_mtime
    a_day = 86_400
    assert abs(time.time() - made) < a_day


def test_an_xfs_that_would_be_misread_is_refused(tree: str, store: Store, tmp_path: Path) -> None:
    """A feature that we do not know, as of a later kernel, is an error and never a wrong file."""
    disk = xfs(tree, tmp_path / "disk")
    with disk.open("r+b") as file:
        file.seek(216)  # sb_features_incompat
        file.write((1 << 20).to_bytes(4, "big"))
    # blkid of later releases looks at the checksum, and so does not get that far.
    with pytest.raises(SessionError, match=r"features that cannot be read|no filesystem"):
        bring(store, str(disk))


def test_lvm(tree: str, expected: str, store: Store, tmp_path: Path) -> None:
    """A volume group as CentOS makes it: the root in xfs beside a larger home and swap."""
    root, swap, home = xfs(tree, tmp_path / "root"), tmp_path / "swap", tmp_path / "home"
    swap.write_bytes(bytes(4 << 20))
    run("mke2fs", "-q", "-t", "ext4", str(home), "400M")
    disk = lvm(str(tmp_path / "disk"), {"swap": str(swap), "home": str(home), "root": str(root)})
    assert bring(store, disk).digest == expected


def squashfs(tree: str, path: Path) -> Path:
    run("mksquashfs", tree, str(path), "-quiet", "-no-progress")
    return path


def test_squashfs(tree: str, expected: str, store: Store, tmp_path: Path) -> None:
    assert bring(store, str(squashfs(tree, tmp_path / "image"))).digest == expected


def iso(tree: Path, path: Path) -> Path:
    run("genisoimage", "-quiet", "-R", "-o", str(path), str(tree), stderr=subprocess.DEVNULL)
    return path


@pytest.mark.parametrize("place", ["live", "casper"])
def test_live_media(place: str, tree: str, expected: str, store: Store, tmp_path: Path) -> None:
    media = tmp_path / "media"
    (media / place).mkdir(parents=True)
    squashfs(tree, media / place / "filesystem.squashfs")
    assert bring(store, str(iso(media, tmp_path / "live.iso"))).digest == expected


def test_live_media_with_a_disk_in_the_squashfs(
    tree: str, expected: str, store: Store, tmp_path: Path
) -> None:
    outer, media = tmp_path / "outer", tmp_path / "media"
    (outer / "LiveOS").mkdir(parents=True)
    (media / "LiveOS").mkdir(parents=True)
    ext4(tree, outer / "LiveOS" / "rootfs.img")
    squashfs(str(outer), media / "LiveOS" / "squashfs.img")
    assert bring(store, str(iso(media, tmp_path / "live.iso"))).digest == expected


def test_live_media_with_a_choice(tree: str, expected: str, store: Store, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    squashfs(tree, media / "a.squashfs")
    squashfs(tree, media / "b.squashfs")
    disk = str(iso(media, tmp_path / "live.iso"))
    with pytest.raises(SessionError, match=r"a\.squashfs.*b\.squashfs.*--inside"):
        bring(store, disk)
    assert bring(store, choose(disk, inside="b.squashfs")).digest == expected


def test_a_plain_iso(tree: str, store: Store, tmp_path: Path) -> None:
    version = bring(store, str(iso(Path(tree), tmp_path / "plain.iso")))
    made = f"{store.tree(version)}/root"
    assert Path(made, "random").read_bytes() == Path(tree, "random").read_bytes()
    assert os.readlink(f"{made}/bin/sh") == "busybox"


def test_what_is_nothing_is_said_so(store: Store, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not an image\n" * 1000)
    with pytest.raises(SessionError, match="not of a kind"):
        bring(store, str(text))


# -- OCI -------------------------------------------------------------------------------------------

CONFIG: dict[str, object] = {
    "Env": ["PATH=/opt/bin:/bin", "EQUALS=a=b"],
    "User": "service",
    "WorkingDir": "/srv",
    "Entrypoint": ["/bin/sh", "-c"],
    "Cmd": ["id"],
}


@pytest.fixture
def layout(tmp_path: Path) -> str:
    """Two layers, the upper with whiteouts of each kind, through a link as distributions have them."""
    busybox = Path("/bin/busybox").read_bytes()
    lower = tar(
        [
            directory("bin"), entry("bin/busybox", busybox, mode=0o755), symlink("bin/sh", "busybox"),
            directory("etc"), entry("etc/gone", b"x"), entry("etc/kept", b"lower"),
            directory("opaque"), entry("opaque/gone", b"x"), directory("opaque/deep"),
            entry("opaque/deep/gone", b"x"), directory("whole"), entry("whole/gone", b"x"),
            directory("usr"), directory("usr/lib"), symlink("lib", "usr/lib"), entry("lib/gone", b"x"),
            directory("becomes-a-file"), entry("becomes-a-file/gone", b"x"),
            entry("becomes-a-directory", b"x"),
        ]
    )  # fmt: skip
    upper = tar(
        [
            entry("etc/.wh.gone"), entry("etc/kept", b"upper"), entry(".wh.whole"),
            directory("opaque"), entry("opaque/new", b"x"), entry("opaque/.wh..wh..opq"),
            directory("opaque/deep"), entry("opaque/deep/new", b"x"), entry("lib/.wh.gone"),
            entry("lib/new", b"x"), entry("becomes-a-file", b"x"), directory("becomes-a-directory"),
            entry("becomes-a-directory/new", b"x"), entry(".wh..wh.plnk/1.2", b""),
        ]
    )  # fmt: skip
    return oci_layout(str(tmp_path / "layout"), [gzip.compress(lower), upper], CONFIG)


def check_layout(store: Store, version: Version) -> None:
    root = f"{store.tree(version)}/root"
    found = {os.path.relpath(f"{where}/{name}", root) for where, _, names in os.walk(root) for name in names}
    assert not {path for path in found if "gone" in path or ".wh." in path}
    assert {"opaque/new", "opaque/deep/new", "usr/lib/new", "becomes-a-directory/new"} <= found
    assert os.readlink(f"{root}/lib") == "usr/lib"
    assert os.path.isfile(f"{root}/becomes-a-file")
    assert Path(root, "etc/kept").read_bytes() == b"upper"
    image = Image.find("lab", store.path)
    os.close(image.lock)
    assert image.environment == (("PATH", "/opt/bin:/bin"), ("EQUALS", "a=b"))
    assert (image.user, image.working_directory) == ("service", "/srv")
    assert image.command == ("/bin/sh", "-c", "id")


def test_an_oci_layout(layout: str, store: Store) -> None:
    check_layout(store, bring(store, f"oci:{layout}"))
    check_layout(store, bring(store, f"oci:{layout}:latest"))
    with pytest.raises(SessionError, match="latest"):
        bring(store, f"oci:{layout}:other")


def test_a_docker_archive(layout: str, store: Store, tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar"
    run("skopeo", "copy", "-q", "--insecure-policy", f"oci:{layout}", f"docker-archive:{saved}:lab:1")
    check_layout(store, bring(store, f"docker-archive:{saved}"))
    check_layout(store, bring(store, f"docker-archive:{saved}:lab:1"))
    run("gzip", str(saved))
    check_layout(store, bring(store, f"docker-archive:{saved}.gz"))
    check_layout(store, bring(store, f"docker-archive:{saved}.gz:lab:1"))


def test_a_source_without_its_kind_is_not_taken_for_files(layout: str, store: Store, tmp_path: Path) -> None:
    """Or the image would be a directory of layers, in which nothing runs."""
    with pytest.raises(Refusal, match=f"import oci:{layout}"):
        bring(store, layout)
    saved = tmp_path / "saved.tar"
    run("skopeo", "copy", "-q", "--insecure-policy", f"oci:{layout}", f"docker-archive:{saved}:lab:1")
    with pytest.raises(Refusal, match=f"import docker-archive:{saved}"):
        bring(store, str(saved))
    assert store.versions() == {}


def answers(port: int) -> bool:
    """Say whether somebody listens."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Callable[[str, str], str]]:
    """A registry on loopback that asks for a password; ``push(layout, name)`` returns the reference."""
    program = shutil.which("docker-registry")
    if program is None or shutil.which("skopeo") is None:
        pytest.skip("docker-registry or skopeo is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # bcrypt of "word" for the user "pull": the registry knows no other form.
    secret = (
        subprocess.run(["htpasswd", "-Bbn", "pull", "word"], check=False, capture_output=True).stdout
        if shutil.which("htpasswd")
        else b""
    )
    config = f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
    config += f"http: {{addr: '127.0.0.1:{port}'}}\n"
    if secret:
        (tmp_path / "htpasswd").write_bytes(secret)
        config += f"auth: {{htpasswd: {{realm: lab, path: {tmp_path}/htpasswd}}}}\n"
    (tmp_path / "registry.yaml").write_text(config)
    authfile = tmp_path / "auth.json"
    authfile.write_text(json.dumps({"auths": {f"127.0.0.1:{port}": {"auth": "cHVsbDp3b3Jk"}}}))
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(tmp_path / "registry.yaml")], stdout=log, stderr=log
        )
    until(lambda: answers(port), "the registry answers")

    def push(layout: str, name: str) -> str:
        reference = f"127.0.0.1:{port}/{name}"
        run(
            "skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false",
            "--dest-authfile", str(authfile), f"oci:{layout}", f"docker://{reference}",
        )  # fmt: skip
        return reference

    yield push
    process.terminate()
    process.wait(DEADLINE_SECONDS)


def test_a_registry(registry: Callable[[str, str], str], layout: str, store: Store, tmp_path: Path) -> None:
    reference = registry(layout, "team/lab:1")
    authfile = str(tmp_path / "auth.json")

    def pull(reference: str) -> Version:
        return bring(store, choose(f"docker://{reference}", authfile=authfile, insecure=True))

    version = pull(reference)
    check_layout(store, version)
    digest = store.origin("lab")["digest"]
    assert pull(f"{reference.rpartition(':')[0]}@{digest}").digest == version.digest
    assert pull(f"{reference}@{digest}").digest == version.digest
    pinned = update.update(store, "lab", lambda *_: None)
    assert (pinned.outcome, pinned.detail) == ("not updatable", "its digest is pinned")
    image = Image.find(f"lab@{digest}", store.path)
    os.close(image.lock)
    assert image.digest == version.digest
    with pytest.raises(SessionError, match=r"manifest unknown|not found") as caught:
        pull(f"{reference.rpartition(':')[0]}@sha256:{'0' * 64}")
    assert "level=" not in str(caught.value)


def test_an_update_follows_the_tag(
    registry: Callable[[str, str], str], layout: str, store: Store, tmp_path: Path
) -> None:
    """From any directory, within the limits of the import."""
    reference = registry(layout, "team/lab:1")
    with contextlib.chdir(tmp_path):
        source = choose(f"docker://{reference}", authfile="auth.json", insecure=True)
    first = import_.bring(store, "lab", source, Limits(3 << 20, 40), lambda *_: None)
    assert update.update(store, "lab", lambda *_: None).outcome == "unchanged"
    assert update.updatable(store) == ["lab"]
    held = Image.find("lab", store.path)
    newer = oci_layout(str(tmp_path / "newer"), [tar([directory("etc"), entry("etc/kept", b"newer")])])
    registry(newer, "team/lab:1")
    assert update.update(store, "lab", lambda *_: None).outcome == "updated"
    image = Image.find("lab", store.path)
    os.close(image.lock)
    assert Path(image.root, "etc/kept").read_bytes() == b"newer"
    assert Path(held.root, "etc/kept").read_bytes() == b"upper"
    assert image.digest != first.digest
    os.close(held.lock)
    many = oci_layout(str(tmp_path / "many"), [tar([entry(str(number)) for number in range(50)])])
    registry(many, "team/lab:1")
    outcome = update.update(store, "lab", lambda *_: None)
    assert (outcome.outcome, "more than 40 entries" in outcome.detail) == ("failed", True)


def test_an_update_that_fails_changes_nothing(layout: str, store: Store) -> None:
    version = bring(store, f"oci:{layout}")
    store.point("lab", version, {"kind": "registry", "reference": "127.0.0.1:1/gone:1", "digest": ""})
    outcome = update.update(store, "lab", lambda *_: None)
    assert outcome.outcome == "failed"
    assert store.names()["lab"] == version.digest


# -- built here ------------------------------------------------------------------------------------


def in_root(root: str, *argv: str) -> str:
    """Run a program with ``root`` as its root, in namespaces of its own with a /dev/null and a /proc."""
    script = (
        'mount -t tmpfs t "$0/tmp" && cd "$0" && : >tmp/null && mount --bind /dev/null tmp/null && '
        'root=$0 && exec chroot "$root" "$@"'
    )
    result = subprocess.run(
        ["unshare", "--mount", "--fork", "sh", "-c", script, root, *argv],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "TERM": "xterm"},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_host_tools_run_and_have_what_they_open_by_name(store: Store) -> None:
    version = bring(store, HostTools(["python3"]))
    root = f"{store.tree(version)}/root"
    assert in_root(root, "/bin/bash", "-c", "ls / | grep -c etc; echo $((6*7))").split() == ["1", "42"]
    assert in_root(root, "/usr/bin/id", "-un") == "root\n"
    assert in_root(root, "/usr/bin/getent", "passwd", "0").startswith("root:")
    assert (
        in_root(root, "/bin/sh", "-c", "printf '\\303\\251' | iconv -f UTF-8 -t ISO8859-1 | wc -c") == "1\n"
    )
    assert in_root(root, "/usr/bin/python3", "-c", "import ssl, json; print(1)") == "1\n"
    if shutil.which("tput"):
        assert in_root(root, "/usr/bin/tput", "colors").strip() == "8"


def test_host_tools_alone_are_small(store: Store) -> None:
    version = bring(store, HostTools())
    assert version.info["size"] < 26 << 20
    root = f"{store.tree(version)}/root"
    assert in_root(root, "/usr/bin/awk", "BEGIN { print 6 * 7 }") == "42\n"
    with pytest.raises(SessionError, match="no-such-program"):
        bring(store, HostTools(["no-such-program"]))


def test_host_tools_are_updated_when_the_host_changes(store: Store, tmp_path: Path) -> None:
    program = tmp_path / "local-tool"
    program.write_text("#!/bin/sh\necho 1\n")
    program.chmod(0o755)
    bring(store, HostTools([str(program)], only=True))
    assert update.update(store, "lab", lambda *_: None).outcome == "unchanged"
    program.write_text("#!/bin/sh\necho 2\n")
    assert update.update(store, "lab", lambda *_: None).outcome == "updated"


def test_bootstrap(store: Store) -> None:
    """Debian's own packages, their scripts run as nobody of the host."""
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    version = bring(store, Bootstrap("debian:bookworm", variant="essential"))
    root = f"{store.tree(version)}/root"
    assert Path(root, "etc/debian_version").read_text().startswith("12")
    assert in_root(root, "/usr/bin/dpkg-query", "-W", "-f", "${Status}\n", "bash") == "install ok installed\n"
    with pytest.raises(SessionError, match="known are debian"):
        Bootstrap("slackware:15")
