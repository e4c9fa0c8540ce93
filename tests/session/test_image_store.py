"""The store under failure: killed at every step, full disks, many at once, in use, tampered with."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.host import DEADLINE_SECONDS, until
from support.material import directory, entry, symlink, tar

from ssh2container.admin.images import ids, import_, manifest
from ssh2container.admin.images.sources import directory as directory_source
from ssh2container.admin.images.sources.choose import choose
from ssh2container.admin.images.sources.directory import Directory
from ssh2container.admin.images.store import gc, shift, verify
from ssh2container.admin.images.store.store import MovedError, Store, Version
from ssh2container.admin.images.unpack import streams
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.errors import Refusal, SessionError
from ssh2container.plan.image import Image

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

STEPS = (
    "os.mkdir",
    "os.rename",
    "os.symlink",
    "os.remove",
    "os.rmdir",
    "subprocess.Popen",
    "os.chmod",
)
KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from ssh2container.admin.images import import_
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.admin.images.sources.choose import choose
from ssh2container.admin.images.store.store import Store
left = {number}
def hook(event, arguments):
    global left
    if event in {steps!r}:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
import_.bring(Store({store!r}), "name", choose({source!r}), Limits(), lambda *_: None)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "images"))


def archive(path: Path, marker: bytes, size: int = 1000) -> str:
    path.write_bytes(
        tar(
            [
                directory("etc"),
                entry("etc/marker", marker),
                entry("big", os.urandom(size)),
                symlink("l", "big"),
            ]
        )
    )
    return str(path)


def bring(store: Store, name: str, source: str) -> Version:
    return import_.bring(store, name, choose(source), Limits(), lambda *_: None)


def sound(store: Store) -> None:
    for version in store.versions().values():
        assert list(verify.problems(store, version, lambda *_: None)) == []


def marker(store: Store) -> bytes:
    image = Image.find("name", store.path)
    os.close(image.lock)
    return Path(image.root, "etc/marker").read_bytes()


def our_processes(store: Store) -> list[str]:
    found = []
    for process in os.listdir("/proc"):
        if process.isdecimal() and int(process) != os.getpid():
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{process}/cmdline").read_bytes()
                if os.fsencode(store.path) in command:
                    found.append(command.decode("utf-8", "replace"))
    return found


def test_killed_at_every_step_the_store_is_as_before_or_after(store: Store, tmp_path: Path) -> None:
    """SIGKILL before each call that changes something: never a half image, never a name without files."""
    before = bring(store, "name", archive(tmp_path / "old.tar", b"old"))
    source = archive(tmp_path / "new.tar", b"new")
    number, completed, seen = 0, False, set()
    while not completed:
        number += 1
        code = KILLED.format(root=ROOT, number=number, steps=STEPS, store=store.path, source=source)
        result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
        completed = result.returncode == 0
        assert completed or result.returncode == -signal.SIGKILL, result.stderr
        sound(store)
        seen.add(marker(store))
        assert marker(store) in (b"old", b"new")
        until(lambda: not our_processes(store), "no process of the import is left")
        if not completed:
            store.point("name", before)
            gc.collect(store, policies=str(tmp_path / "none"))
            assert os.listdir(f"{store.path}/staging") == []
            assert set(os.listdir(f"{store.path}/trees")) == {before.hexadecimal}
    steps_at_least = 20
    assert number > steps_at_least
    assert seen == {b"old", b"new"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_terminated_it_cleans_up_at_once(number: signal.Signals, store: Store) -> None:
    """Ctrl-C or a lost terminal in mid-import leaves nothing, without waiting for the next command."""
    code = f"""
import select, signal, sys
sys.path.insert(0, {ROOT!r})
from ssh2container.admin.images.store.store import Store
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
with Store({store.path!r}).stage():
    print("staged", flush=True)
    while True:  # what is noted just before a wait does not end it
        select.select([], [], [], 0.1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"staged\n"
        assert len(os.listdir(f"{store.path}/staging")) == 1
        process.send_signal(number)
        process.wait(DEADLINE_SECONDS)
    assert os.listdir(f"{store.path}/staging") == []


def test_signalled_again_it_still_cleans_up(store: Store, tmp_path: Path) -> None:
    """A lost terminal signals all of its foreground, and once more when the shell ends."""
    slow = tmp_path / "bin"
    slow.mkdir()
    (slow / "rm").write_text('#!/bin/sh\necho removing\nread go\nexec /bin/rm "$@"\n')
    (slow / "rm").chmod(0o755)
    code = f"""
import select, subprocess, sys
sys.path.insert(0, {ROOT!r})
from ssh2container.admin import durable
from ssh2container.admin.images.store.store import Store
durable.subprocess.run = lambda command, **_: subprocess.Popen(command).wait()  # what it says is ours to read
with Store({store.path!r}).stage():
    print("staged", flush=True)
    while True:  # what is noted just before a wait does not end it
        select.select([], [], [], 0.1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{slow}:/usr/bin:/bin"}, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"staged\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == b"removing\n"
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            os.killpg(process.pid, number)
        process.stdin.write(b"go\n")
        process.stdin.flush()
        process.wait(DEADLINE_SECONDS)
    assert os.listdir(f"{store.path}/staging") == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Store]:
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,nr_inodes=120", "small", str(place)], check=True)
    yield Store(str(place / "images"))
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_a_full_disk_leaves_the_store_as_it_was(what: str, small_disk: Store, tmp_path: Path) -> None:
    bring(small_disk, "name", archive(tmp_path / "old.tar", b"old", 2 << 20))
    before = {where: sorted(names) for where, _, names in os.walk(small_disk.path)}
    if what == "bytes":
        source = archive(tmp_path / "new.tar", b"new", 8 << 20)
    else:
        source = str(tmp_path / "new.tar")
        Path(source).write_bytes(tar([entry(f"file-{number}", b"") for number in range(200)]))
    with pytest.raises(SessionError, match="No space left on device"):
        bring(small_disk, "name", source)
    assert {where: sorted(names) for where, _, names in os.walk(small_disk.path)} == before
    assert marker(small_disk) == b"old"
    sound(small_disk)


def test_a_full_disk_while_shifting_leaves_the_store_as_it_was(small_disk: Store, tmp_path: Path) -> None:
    version = bring(small_disk, "name", archive(tmp_path / "old.tar", b"old", 4 << 20))
    with pytest.raises(SessionError):
        shift.ensure(small_disk, version, lambda *_: None, ids.Range(700_000))
    assert os.listdir(f"{small_disk.path}/staging") == []
    image = Image.find("name", small_disk.path)
    os.close(image.lock)
    assert image.range_count == 0
    assert os.listdir(small_disk.shifted_trees) == []
    sound(small_disk)


def test_an_update_does_not_undo_what_came_meanwhile(store: Store, tmp_path: Path) -> None:
    """Neither a newer import of the name, nor that it was removed."""
    first = bring(store, "name", archive(tmp_path / "one.tar", b"one"))
    second = bring(store, "name", archive(tmp_path / "two.tar", b"two"))
    for gone in (False, True):
        if gone:
            store.unname("name")
        with pytest.raises(MovedError):
            store.point("name", first, instead_of=first.digest)
        assert store.names() == ({} if gone else {"name": second.digest})


def _import_in_a_process(path: str, name: str, source: str) -> None:
    bring(Store(path), name, source)


def test_imports_at_the_same_time_do_not_disturb_each_other(store: Store, tmp_path: Path) -> None:
    sources = [archive(tmp_path / f"{number}.tar", b"%d" % number, 100_000) for number in range(3)]
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_import_in_a_process, args=(store.path, f"name-{number}", source))
        for number, source in enumerate([*sources, sources[0]])
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sorted(store.names()) == ["name-0", "name-1", "name-2", "name-3"]
    assert store.names()["name-0"] == store.names()["name-3"]
    assert len(store.versions()) == len(sources)
    sound(store)


def test_the_same_content_from_two_sources_is_one_version(store: Store, tmp_path: Path) -> None:
    first = bring(store, "a", archive(tmp_path / "x.tar", b"same"))
    tree = tmp_path / "tree"
    tree.mkdir()
    subprocess.run(["tar", "-xf", str(tmp_path / "x.tar"), "-C", str(tree)], check=True)
    second = bring(store, "b", str(tree))
    assert first.digest == second.digest
    assert store.origin("a")["kind"] == "archive"
    assert store.origin("b")["kind"] == "directory"


def test_the_second_import_of_the_same_content_counts(store: Store, tmp_path: Path) -> None:
    """What it says is told and kept under its name, and its times are on the disk."""
    first = bring(store, "a", archive(tmp_path / "x.tar", b"same"))
    tree = tmp_path / "tree"
    tree.mkdir()
    subprocess.run(["tar", "-xf", str(tmp_path / "x.tar"), "-C", str(tree)], check=True)
    os.chmod(f"{tree}/big", 0o4644)
    os.mkfifo(f"{tree}/pipe")
    for name in ("big", "etc"):
        os.utime(f"{tree}/{name}", (5, 5))
    shift.ensure(store, first, lambda *_: None, ids.Range(700_000))
    second = bring(store, "b", str(tree))
    assert first.digest == second.digest
    told = {"set-user-id and set-group-id bits removed": ["big"], "devices and FIFOs left out": ["pipe"]}
    names = {what: [name.removeprefix("./") for name in found] for what, found in told.items()}
    kept = store.origin("b")["neutralised"]
    assert {what: [name.removeprefix("./") for name in found] for what, found in kept.items()} == names
    assert second.info["neutralised"] == kept
    assert store.origin("a")["neutralised"] == {}
    for place in (f"{store.tree(first)}/root", store.shifted(first, 700_000)):
        for name in ("big", "etc"):
            assert os.stat(f"{place}/{name}").st_mtime == 5
    sound(store)


def test_a_live_directory_is_imported_with_a_warning(store: Store, tmp_path: Path) -> None:
    """A file that grows while tar reads it is no reason to give up; the warning names it."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "log").write_bytes(b"x" * (1 << 20))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tree}/socket")

    class Live(Directory):
        """Grows when tar has begun, and waits for its reader."""

        def streams(self, *_: object) -> Iterator[streams.Stream]:
            made = directory_source.stream(self.reference)
            assert made.output is not None
            select.select([made.output], [], [], DEADLINE_SECONDS)
            with (tree / "log").open("ab") as file:
                file.write(b"more")
            yield made

    version = import_.bring(store, "name", Live(str(tree)), Limits(), lambda *_: None)
    assert "log: file changed as we read it" in version.info["warnings"]
    assert version.info["neutralised"]["sockets left out"] == ["socket"]
    assert os.stat(f"{store.tree(version)}/root/log").st_size == 1 << 20


def test_the_order_of_members_and_the_umask_change_nothing(store: Store, tmp_path: Path) -> None:
    entries = [directory("d"), entry("d/a", b"1"), entry("b", b"2", mode=0o600)]
    (tmp_path / "one.tar").write_bytes(tar(entries))
    (tmp_path / "two.tar").write_bytes(tar(entries[:1] + entries[:0:-1]))
    before = os.umask(0o077)
    try:
        first = bring(store, "a", str(tmp_path / "one.tar"))
    finally:
        os.umask(before)
    second = bring(store, "b", str(tmp_path / "two.tar"))
    assert first.digest == second.digest
    for place in ("", "/names", "/digests", "/trees", f"/trees/{first.hexadecimal}"):
        assert os.stat(store.path + place).st_mode & 0o005 == 0o005, place


def test_gc_leaves_a_version_that_a_session_holds(store: Store, tmp_path: Path) -> None:
    nothing = str(tmp_path / "none")
    version = bring(store, "name", archive(tmp_path / "x.tar", b"x"))
    image = Image.find("name", store.path)
    store.unname("name")
    with pytest.raises(Refusal):
        Image.find("name", store.path)
    assert [fate.kept for fate in gc.collect(store, policies=nothing)] == ["a session runs in it"]
    assert Path(image.root, "etc/marker").read_bytes() == b"x"
    os.close(image.lock)
    assert [fate.kept for fate in gc.collect(store, dry_run=True, policies=nothing)] == [""]
    assert os.path.isdir(store.tree(version))
    gc.collect(store, policies=nothing)
    assert os.listdir(f"{store.path}/trees") == os.listdir(f"{store.path}/digests") == []


def test_gc_leaves_a_version_that_is_mounted_somewhere(store: Store, tmp_path: Path) -> None:
    """A session whose monitor gave up its lock is still seen by its mounts."""
    nothing = str(tmp_path / "none")
    version = bring(store, "name", archive(tmp_path / "x.tar", b"x"))
    store.unname("name")
    script = (
        f"mount -t tmpfs t {tmp_path} && mkdir {tmp_path}/u {tmp_path}/w {tmp_path}/m && "
        f"mount -t overlay o -o lowerdir=$0,upperdir={tmp_path}/u,workdir={tmp_path}/w {tmp_path}/m && "
        "echo mounted && cat"
    )
    held = str(tmp_path.parent / f"held-{os.getpid()}")
    os.rename(store.path, held)
    moved = Store(held)
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script, moved.tree(version) + "/root"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"mounted\n"
        assert [fate.kept for fate in gc.collect(moved, policies=nothing)] == ["a session runs in it"]
        process.stdin.close()
        process.wait(DEADLINE_SECONDS)
    gc.collect(moved, policies=nothing)
    assert moved.versions() == {}


@pytest.mark.parametrize("times", [1, 2])
def test_gc_in_the_middle_of_an_import_takes_nothing_of_it(times: int, store: Store, tmp_path: Path) -> None:
    """Between its files and its name a version belongs to nobody but the import; the second time the
    content is there already."""
    for number in range(times):
        with store.stage() as staging:
            nothing = streams.Unpacked(1, 0, {})
            version = store.publish(staging, nothing, streams.Defaults(), {"kind": "test"}, lambda *_: None)
            if number == times - 1:
                fates = gc.collect(store, policies=str(tmp_path / "none"))
                assert [fate.kept for fate in fates] == ["a session runs in it"]
                store.point("name", version)
    os.close(Image.find("name", store.path).lock)


def test_gc_leaves_what_a_policy_pins(store: Store, tmp_path: Path) -> None:
    version = bring(store, "name", archive(tmp_path / "x.tar", b"x"))
    store.unname("name")
    policies = tmp_path / "etc/users"
    policies.mkdir(parents=True)
    (policies / "alice.yaml").write_text(f"image: name@{version.digest}\n")
    fates = gc.collect(store, policies=str(tmp_path / "etc"))
    assert fates[0].kept.startswith("a policy pins it")
    os.close(Image.find(f"name@{version.digest}", store.path).lock)


def test_a_new_version_does_not_touch_the_old_one(store: Store, tmp_path: Path) -> None:
    bring(store, "name", archive(tmp_path / "old.tar", b"old"))
    running = Image.find("name", store.path)
    bring(store, "name", archive(tmp_path / "new.tar", b"new"))
    assert marker(store) == b"new"
    assert Path(running.root, "etc/marker").read_bytes() == b"old"
    os.close(running.lock)


CHANGES = ("content", "mode", "uid", "missing", "added", "type")


def change(what: str, root: str) -> None:
    """Do to the tree what ``verify`` should call ``what``."""
    if what == "content":
        Path(root, "etc/marker").write_bytes(b"y")
    elif what == "mode":
        os.chmod(f"{root}/etc/marker", 0o666)
    elif what == "uid":
        os.chown(f"{root}/etc/marker", 5, -1)
    elif what == "missing":
        os.unlink(f"{root}/etc/marker")
    elif what == "type":
        os.unlink(f"{root}/l")
        os.mkdir(f"{root}/l")
    else:
        Path(root, "etc/planted").write_bytes(b"")


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("tree", ["root", "range"])
def test_verify_names_what_was_changed(what: str, tree: str, store: Store, tmp_path: Path) -> None:
    version = bring(store, "name", archive(tmp_path / "x.tar", b"x"))
    version = shift.ensure(store, version, lambda *_: None, ids.Range(700_000))
    sound(store)
    change(what, f"{store.tree(version)}/root" if tree == "root" else store.shifted(version, 700_000))
    found = list(verify.problems(store, version, lambda *_: None))
    assert found
    assert all(sentence.startswith("root/" if tree == "root" else "range-700000/") for sentence in found)
    assert what in " ".join(found)


def test_verify_notices_a_changed_manifest_and_repairs_records(store: Store, tmp_path: Path) -> None:
    version = bring(store, "name", archive(tmp_path / "x.tar", b"x"))
    Path(store.tree(version), "record").write_bytes(b"garbage")
    assert any("record" in sentence for sentence in verify.problems(store, version, lambda *_: None))
    store.write_record(version)
    sound(store)
    version.info["defaults"]["user"] = "root"
    Path(store.tree(version), "info.json").write_text(json.dumps(version.info))
    changed = store.versions()[version.digest]
    assert any("info.json" in sentence for sentence in verify.problems(store, changed, lambda *_: None))


def test_nobody_but_root_owns_or_may_change_what_single_maps_run(store: Store, tmp_path: Path) -> None:
    """The image's uid 1000 is not the host's, and its world-writable places are nobody's on the disk."""
    path = tmp_path / "x.tar"
    entries = [directory("tmp", mode=0o1777), directory("spool", mode=0o2777), directory("mail", mode=0o2775)]
    entries += [entry("a", b"1", uid=1000, gid=100, mode=0o666), entry("b", b"2", uid=1000, mode=0o4770)]
    path.write_bytes(tar([*entries, symlink("l", "a")]))
    version = shift.ensure(store, bring(store, "name", str(path)), lambda *_: None, ids.Range(700_000))
    image = Image.find("name", store.path)
    os.close(image.lock)
    for where, directories, files in os.walk(image.root):
        for name in [".", *directories, *files]:
            status = os.lstat(f"{where}/{name}")
            assert (status.st_uid, status.st_gid) == (0, 0), name
            assert name == "l" or not status.st_mode & 0o022, name
    for where, directories, files in os.walk(store.shifted(version, 700_000)):
        for name in [".", *directories, *files]:
            status = os.lstat(f"{where}/{name}")
            assert status.st_uid >= 700_000
            assert status.st_gid >= 700_000
            assert name == "l" or not status.st_mode & 0o002, name
    assert dict(image.writable) == {"/tmp": 0o1777, "/spool": 0o777}
    recorded = {line[0]: line[2:5] for line in manifest.read(f"{store.tree(version)}/{manifest.NAME}")}
    assert recorded["a"] == [0o666, 1000, 100], "the manifest says what the image means"
    assert recorded["b"] == [0o770, 1000, 0]


def test_the_range_tree_has_the_images_owners_shifted(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    owners = {"a": (0, 0), "b": (1000, 8), "c": (65534, 0)}
    path.write_bytes(tar([entry(name, b"x", uid=uid, gid=gid) for name, (uid, gid) in owners.items()]))
    version = shift.ensure(store, bring(store, "name", str(path)), lambda *_: None, ids.Range(700_000))
    image = Image.find("name", store.path)
    os.close(image.lock)
    tree = store.shifted(version, 700_000)
    assert tree.endswith("/" + image.require_range())
    for name, (uid, gid) in owners.items():
        plain, shifted = os.stat(f"{image.root}/{name}"), os.stat(f"{tree}/{name}")
        assert (shifted.st_uid, shifted.st_gid) == (700_000 + uid, 700_000 + gid)
        assert plain.st_mtime == shifted.st_mtime
    assert image.inside_id == 1001
    assert (image.range_base, image.range_count) == (700_000, 65_536)
