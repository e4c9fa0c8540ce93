"""sftp, scp, scp -O, rsync and git against sessions in images of every origin that have none of them."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.client import ENVIRONMENT, Client
from support.data import digest, noise, read_tree, write_tree
from support.host import run
from support.ledger import remove_path
from support.material import busybox_tree, directory, entry, gpt_disk, oci_layout, tar
from support.sshd import Server
from support.users import MakeUser

CONTROL = "/usr/bin/ssh2containerctl"
SIZE_BYTES = 3_000_000


def busybox(path: str) -> str:
    """busybox alone."""
    return busybox_tree(path)


def musl(path: str) -> str:
    """Alpine's layout: busybox, the musl loader and libc, a program linked with them."""
    if shutil.which("musl-gcc") is None:
        pytest.skip("musl-tools is not installed")
    busybox_tree(path)
    Path(path, "etc/alpine-release").write_text("3.20.0\n")
    os.makedirs(f"{path}/lib")
    (loader,) = Path("/lib").glob("ld-musl-*.so.1")
    shutil.copy(os.path.realpath(loader), f"{path}/lib/{loader.name}")
    os.symlink(loader.name, f"{path}/lib/libc.{loader.name.removeprefix('ld-')}")
    source = f"{path}/hello.c"
    Path(source).write_text('#include <stdio.h>\nint main(void) { puts("musl"); return 0; }\n')
    subprocess.run(["musl-gcc", "-o", f"{path}/bin/hello", source], check=True)
    return path


def empty(path: str) -> str:
    """Nothing at all, as in the smallest distroless image."""
    os.makedirs(path)
    return path


def layers(path: str) -> str:
    """Two OCI layers, the upper with whiteouts."""
    tree = busybox_tree(path + "-tree")
    lower = subprocess.run(["tar", "-C", tree, "-c", "."], capture_output=True, check=True).stdout
    upper = tar([directory("etc"), entry("etc/.wh.group"), entry("etc/upper", b"x")])
    return "oci:" + oci_layout(path, [gzip.compress(lower), upper])


def saved(path: str) -> str:
    """What ``docker save`` writes."""
    run(["skopeo", "copy", "-q", "--insecure-policy", layers(path), f"docker-archive:{path}.tar:lab:1"]).ok()
    return f"docker-archive:{path}.tar"


def disk(path: str) -> str:
    """A qcow2 with a GPT and ext4 in it."""
    gpt_disk(busybox_tree(path), path + ".raw", 48)
    run(["qemu-img", "convert", "-O", "qcow2", path + ".raw", path + ".qcow2"]).ok()
    return path + ".qcow2"


def media(path: str) -> str:
    """An ISO with the squashfs of a live system."""
    os.makedirs(f"{path}-media/live")
    squashed = f"{path}-media/live/filesystem.squashfs"
    run(["mksquashfs", busybox_tree(path), squashed, "-quiet", "-no-progress"]).ok()
    run(["genisoimage", "-quiet", "-R", "-o", path + ".iso", path + "-media"]).ok()
    return path + ".iso"


IMAGES = {
    "busybox": busybox, "musl": musl, "empty": empty,
    "layers": layers, "saved": saved, "disk": disk, "media": media,
}  # fmt: skip


@pytest.fixture(scope="module", params=IMAGES)
def image(request: pytest.FixtureRequest, module_directory: Callable[[str], Path]) -> Iterator[str]:
    """An image of the real store, imported by the command that administrators use."""
    kind = str(request.param)
    place = module_directory("image")
    name = f"s2c-test-{os.getpid()}/{kind}"
    run([CONTROL, "image", "import", name, IMAGES[kind](f"{place}/{kind}")]).ok()
    for made in place.iterdir():  # a disk is large, and what was imported from it is all that is used
        remove_path(str(made))
    yield name
    run([CONTROL, "image", "rm", "--force", name]).ok()


@pytest.fixture
def box(image: str, make_user: MakeUser, sshd: Server, host_directory: Callable[..., str]) -> Client:
    user = make_user(
        f"image: {image}\nshell: [/bin/sh]\nhome: {{source: /srv/s2c-%u}}\nstorage_opt: {{size: 64m}}\n"
    )
    host_directory(user)
    return sshd.client(user)


def test_sftp(box: Client, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(noise(SIZE_BYTES))
    box.sftp(
        f"put {sent} there", "chmod 600 there", "rename there renamed", f"get renamed {tmp_path}/back"
    ).ok()
    assert (tmp_path / "back").read_bytes() == sent.read_bytes()


@pytest.mark.parametrize("protocol", [[], ["-O"]])
def test_scp(protocol: list[str], box: Client, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(noise(SIZE_BYTES))
    box.scp(*protocol, str(sent), "box:there").ok()
    box.scp(*protocol, "box:there", f"{tmp_path}/back").ok()
    assert digest((tmp_path / "back").read_bytes()) == digest(sent.read_bytes())


def test_rsync(box: Client, tmp_path: Path) -> None:
    write_tree(str(tmp_path / "tree"))
    rsync = ["rsync", "-a", "-e", box.remote_shell()]
    run([*rsync, f"{tmp_path}/tree/", "box:tree/"], env=ENVIRONMENT).ok()
    run([*rsync, "box:tree/", f"{tmp_path}/back/"], env=ENVIRONMENT).ok()
    assert read_tree(str(tmp_path / "back")) == read_tree(str(tmp_path / "tree"))
    assert run([*rsync, "box:missing", f"{tmp_path}/x"], env=ENVIRONMENT).status == 23


def test_git(box: Client, tmp_path: Path) -> None:
    """Push to and clone from a repository in the home, through the injected git."""
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@x"]
    environment = {**ENVIRONMENT, "GIT_SSH_COMMAND": box.remote_shell()}
    here = str(tmp_path / "here")
    run([*git, "init", "-q", "-b", "main", here]).ok()
    Path(here, "file").write_bytes(noise(SIZE_BYTES))
    run([*git, "-C", here, "add", "."]).ok()
    run([*git, "-C", here, "commit", "-q", "-m", "m"]).ok()
    home = f"/srv/s2c-{box.user.name}"
    run(["git", "init", "-q", "--bare", "-b", "main", f"{home}/repository"]).ok()
    run(["chown", "-R", f"{box.user.uid}:{box.user.gid}", f"{home}/repository"]).ok()
    run([*git, "-C", here, "push", "-q", "box:repository", "main"], env=environment).ok()
    run([*git, "clone", "-q", "box:repository", f"{tmp_path}/clone"], env=environment).ok()
    assert Path(tmp_path, "clone/file").read_bytes() == Path(here, "file").read_bytes()


def test_nothing_of_the_images_own_is_shadowed(box: Client, image: str) -> None:
    if image.endswith("empty"):
        assert box.box("true").status == 127
        return
    assert "ssh2container" not in box.box("echo $PATH").ok().text
    assert box.box("busybox which rsync").status != 0
    if image.endswith("musl"):
        assert box.box("hello").ok().text == "musl\n"
    if image.endswith(("layers", "saved")):
        assert box.box("cat /etc/upper").ok().text == "x"
