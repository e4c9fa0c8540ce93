"""``image edit``: a root shell in a copy of an image, contained; kept only when asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pexpect
import pytest
from support.material import busybox_tree

from ssh2container.admin.images import importing, manifest
from ssh2container.admin.images.safety import Limits
from ssh2container.admin.images.sources.choose import choose
from ssh2container.admin.images.store import Store, Version
from ssh2container.plan.image import Image

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEADLINE_SECONDS = 30

PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from ssh2container.admin.images import edit
from ssh2container.admin.images.store import Store
def decide(status, changes):
    print("DECIDE", status, sorted(changes), flush=True)
    return {keep!r} and status == 0
work = edit.Work(tuple(sys.argv[1:]), network=False, name="lab")
print("KEPT", edit.edit(Store({store!r}), "lab", work, decide, lambda *_: None) is not None)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "images"))


@pytest.fixture
def lab(store: Store, tmp_path: Path) -> Version:
    tree = busybox_tree(str(tmp_path / "tree"))
    return importing.bring(store, "lab", choose(tree), Limits(), lambda *_: None)


def program(store: Store, *, keep: bool) -> list[str]:
    return [sys.executable, "-c", PROGRAM.format(root=ROOT, store=store.path, keep=keep)]


def run(store: Store, script: str, *, keep: bool = True) -> str:
    argv = [*program(store, keep=keep), "/bin/sh", "-c", textwrap.dedent(script)]
    result = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return result.stdout


def path_of(store: Store, name: str) -> Path:
    image = Image.find("lab", store.path)
    os.close(image.lock)
    return Path(image.root, name)


def test_changes_become_the_new_version(store: Store, lab: Version) -> None:
    output = run(
        store,
        """
        PATH=/bin
        busybox mkdir -p /opt/tool && echo new > /opt/tool/file
        busybox chown -R 1234:77 /opt/tool && busybox chmod 750 /opt/tool
        busybox rm /etc/group
        """,
    )
    assert "KEPT True" in output
    assert "'etc/group: missing', 'opt/tool/file: added', 'opt/tool: added', 'opt: added'" in output
    listing = manifest.read(f"{store.tree(store.version('lab'))}/{manifest.NAME}")
    assert next(line[2:5] for line in listing if line[0] == "opt/tool") == [0o750, 1234, 77]
    assert path_of(store, "opt/tool/file").read_text() == "new\n"
    assert Path(store.tree(lab), "root/etc/group").exists()
    assert store.origin("lab")["digest"] == lab.digest
    assert not path_of(store, "proc").exists(), "a mount point that the image lacked stays away"


@pytest.mark.parametrize(
    ("script", "keep"), [("echo x > /new; exit 3", True), ("echo x > /new", False), ("true", True)]
)
def test_nothing_is_kept_after_a_failure_a_refusal_or_no_change(
    script: str,
    keep: bool,  # noqa: FBT001
    store: Store,
    lab: Version,
) -> None:
    assert "KEPT False" in run(store, script, keep=keep)
    assert store.names() == {"lab": lab.digest}
    assert os.listdir(f"{store.path}/trees") == [lab.hexadecimal]
    assert os.listdir(f"{store.path}/staging") == []


@pytest.mark.usefixtures("lab")
def test_root_inside_is_nobody_outside_and_contained(store: Store) -> None:
    output = run(
        store,
        """
        PATH=/bin
        echo uid-map $(busybox cat /proc/self/uid_map)
        echo processes $(busybox ls -d /proc/[0-9]* | busybox wc -l)
        busybox mount -t tmpfs x /tmp && echo MOUNTED
        busybox mknod /evil b 8 0 && echo MADE-A-DEVICE
        busybox unshare -U busybox true && echo NESTED
        echo x > /proc/sys/kernel/core_pattern && echo WROTE-SYSCTL
        echo x > /proc/sysrq-trigger && echo WROTE-SYSRQ
        busybox cat /proc/1/environ > /dev/null && echo READ-PID-1
        busybox ip link 2>/dev/null | busybox grep -v lo: | busybox grep -q mtu && echo SAW-A-NETWORK
        busybox ls /proc/1/root >/dev/null && echo SAW-PID-1-ROOT
        busybox chroot / /bin/busybox true && echo chroot-works
        busybox ls /dev | busybox tr '\\n' ' '
        """,
    )
    (line,) = [line for line in output.splitlines() if line.startswith("uid-map")]
    inside, outside, count = line.split()[1:]
    assert (inside, count) == ("0", "65536")
    assert int(outside) >= 65536
    for wrong in ("MOUNTED", "MADE-A-DEVICE", "NESTED", "WROTE", "READ-PID-1", "SAW"):
        assert wrong not in output
    assert "chroot-works" in output
    assert "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero" in output


@pytest.mark.usefixtures("lab")
def test_s_bits_and_pipes_do_not_get_into_the_result(store: Store) -> None:
    output = run(store, "PATH=/bin; echo x > /suid; busybox chmod 6755 /suid; busybox mkfifo /pipe")
    assert "KEPT True" in output
    assert path_of(store, "suid").stat().st_mode & 0o7777 == 0o755
    assert not path_of(store, "pipe").exists()


@pytest.mark.usefixtures("lab")
def test_a_shell_on_a_terminal(store: Store) -> None:
    """A prompt, the window's size, Ctrl-C to the program and not to us, a terminal of its own."""
    argv = program(store, keep=True)
    child = pexpect.spawn(argv[0], argv[1:], dimensions=(33, 77), timeout=DEADLINE_SECONDS, encoding="utf-8")
    child.expect(r"[#$] ")
    child.sendline("busybox stty size; busybox tty")
    child.expect(r"33 77\s+/dev/pts/0")
    child.setwinsize(20, 60)
    child.sendline("busybox sh -c 'echo $((40 + 2)); exec busybox sleep 1000'")
    child.expect("42\r\n")
    child.sendintr()
    child.expect(r"[#$] ")
    child.sendline("busybox stty size")
    child.expect("20 60")
    child.sendline("echo from-the-shell > /typed; exit 0")
    child.expect(r"DECIDE 0 \['typed: added'\]")
    child.expect("KEPT True")
    child.expect(pexpect.EOF)
    assert path_of(store, "typed").read_text() == "from-the-shell\n"


def test_an_image_that_lacks_a_directory_and_has_a_link_there_is_refused(
    store: Store, tmp_path: Path
) -> None:
    tree = busybox_tree(str(tmp_path / "hostile"))
    os.symlink("/etc", f"{tree}/proc")
    importing.bring(store, "lab", choose(tree), Limits(), lambda *_: None)
    output = run(store, "true")
    assert "/proc of the image is no directory" in output
    assert "KEPT False" in output
