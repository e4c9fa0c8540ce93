"""``image edit``: a root shell in a copy of an image, contained; kept only when asked for."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pexpect
import pytest
from support.host import DEADLINE_SECONDS
from support.material import busybox_tree

from ssh2container.admin.images import import_, manifest
from ssh2container.admin.images.sources.choose import choose
from ssh2container.admin.images.store.store import Store, Version
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.plan.image import Image

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from ssh2container.admin.images.edit import edit
from ssh2container.admin.images.store.store import Store
def decide(status, changes):
    print("DECIDE", status, sorted(changes), flush=True)
    return "" if {keep!r} and status == 0 else "not wanted"
work = edit.Work(tuple(sys.argv[1:]), network=False, name="lab")
print("KEPT", edit.edit(Store({store!r}), "lab", work, decide, lambda *_: None).version is not None)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "images"))


@pytest.fixture
def lab(store: Store, tmp_path: Path) -> Version:
    tree = busybox_tree(str(tmp_path / "tree"))
    return import_.bring(store, "lab", choose(tree), Limits(), lambda *_: None)


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
    child.sendline("printf '\\033]0;title\\007\\033[c\\033[32mgreen\\n'")
    child.expect(r"\x1b\[32mgreen\r\n")
    assert child.before
    assert "\x1b]0" not in child.before
    assert "\x1b[c" not in child.before
    child.sendline("echo from-the-shell > /typed; exit 0")
    child.expect(r"DECIDE 0 \['typed: added'\]")
    child.expect("KEPT True")
    child.expect(pexpect.EOF)
    assert path_of(store, "typed").read_text() == "from-the-shell\n"


@pytest.mark.usefixtures("lab")
def test_a_command_never_has_the_administrators_terminal(store: Store) -> None:
    """Standard output is a pipe; standard input and error are a terminal, and what is inside gets another."""
    script = "printf '\\033]52;c;AAAA\\007shown\\n' >&2; test -t 2 && echo terminal"
    script += "; (exec 3<>/proc/self/fd/0) && echo opened; (exec 3<>/proc/self/fd/2) && echo opened; exit 3"
    line = shlex.join([*program(store, keep=False), "/bin/sh", "-c", script])
    child = pexpect.spawn("/bin/bash", ["-c", f"{line} | cat"], timeout=DEADLINE_SECONDS, encoding="utf-8")
    child.expect(pexpect.EOF)
    assert child.before
    assert "shown" in child.before
    assert "terminal" in child.before
    assert "opened" not in child.before
    assert "\x1b]52" not in child.before


def test_an_image_that_lacks_a_directory_and_has_a_link_there_is_refused(
    store: Store, tmp_path: Path
) -> None:
    tree = busybox_tree(str(tmp_path / "hostile"))
    os.symlink("/etc", f"{tree}/proc")
    import_.bring(store, "lab", choose(tree), Limits(), lambda *_: None)
    output = run(store, "true")
    assert "/proc of the image is no directory" in output
    assert "KEPT False" in output


MOVED = """
import sys
sys.path.insert(0, {root!r})
from ssh2container.admin.images import import_
from ssh2container.admin.images.edit import edit
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.admin.images.sources.choose import choose
from ssh2container.admin.images.store.store import Store
store = Store({store!r})
def decide(status, changes):
    {meanwhile}
    return ""
work = edit.Work(("busybox", "touch", "/mine"), network=False, name="lab")
done = edit.edit(store, "lab", work, decide, lambda *_: None)
print("NAME", done.name, done.version.digest)
"""
MEANWHILE = {
    "edited": 'theirs = edit.Work(("busybox", "touch", "/theirs"), network=False, name="lab"); '
    'edit.edit(store, "lab", theirs, lambda *_: "", lambda *_: None)',
    "imported": 'import_.bring(store, "lab", choose({other!r}), Limits(), lambda *_: None)',
    "removed": 'store.unname("lab")',
}


@pytest.mark.parametrize("what", MEANWHILE)
@pytest.mark.usefixtures("lab")
def test_a_name_that_has_moved_meanwhile_keeps_what_it_has(what: str, store: Store, tmp_path: Path) -> None:
    """And the second result is kept beside it."""
    other = tmp_path / "other"
    (other / "etc").mkdir(parents=True)
    script = MOVED.format(root=ROOT, store=store.path, meanwhile=MEANWHILE[what].format(other=str(other)))
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    _, name, digest = result.stdout.split()
    assert name.startswith("lab-edited-")
    names = store.names()
    assert names.pop(f"{name}:latest" if f"{name}:latest" in names else name) == digest
    if what == "removed":
        assert names == {}
    else:
        found = os.listdir(f"{store.path}/trees/{names['lab'][7:]}/root")
        assert "mine" not in found
        assert ("theirs" in found) == (what == "edited")


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("argv", "status"), [(["touch", "/by-name"], 0), (["no-such-program"], 127), (["/etc/passwd"], 126)]
)
def test_a_command_is_looked_for_inside(argv: list[str], status: int, store: Store, tmp_path: Path) -> None:
    os.symlink("busybox", tmp_path / "tree/bin/touch")
    import_.bring(store, "lab", choose(str(tmp_path / "tree")), Limits(), lambda *_: None)
    result = subprocess.run(
        [*program(store, keep=True), *argv],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if status:
        assert f"image edit: cannot run {argv[0]}" in result.stderr
        assert "KEPT False" in result.stdout
    else:
        assert "DECIDE 0 ['by-name: added']" in result.stdout
        assert path_of(store, "by-name").exists()
