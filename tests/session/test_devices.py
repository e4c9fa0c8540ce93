"""Devices of the host in sessions: nodes that the policy names work as outside, and no others are there.

The nodes are made by the tests: the kernel's zero under another name, and terminals as serial ports.
"""

from __future__ import annotations

import grp
import json
import os
import pty
import secrets
import stat
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from session.test_bad_input import assert_clear, assert_recorded
from support.host import run
from support.images import grant, ranged_image
from support.login import inside, login
from support.outer import shown_until
from support.syslog import Syslog
from support.users import MakeUser, User
from support.verification import failed, start

import ssh2container
from ssh2container.admin import cdi
from ssh2container.admin.verify.verdicts import EXPECTED, PASS
from ssh2container.kernel import landlock

CONTROL = "/usr/bin/ssh2containerctl"
ZERO, FULL, NULL, MEMORY, FUSE = (1, 5), (1, 7), (1, 3), (1, 1), (10, 229)
CDI = "/etc/cdi"

needs_landlock = pytest.mark.skipif(
    landlock.abi() < landlock.OLDEST, reason="the kernel has no Landlock that serves"
)


class Nodes:
    """A directory of nodes below /dev."""

    def __init__(self, path: str) -> None:
        self.path = path

    def make(self, name: str, number: tuple[int, int], mode: int = 0o666, kind: int = stat.S_IFCHR) -> str:
        """Make a node, which mknod(2) does only for root, and return its path."""
        path = f"{self.path}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.mknod(path, kind | mode, os.makedev(*number))
        os.chmod(path, mode)
        return path


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    path = "/dev/s2c-" + secrets.token_hex(4)
    os.mkdir(path, 0o755)
    yield Nodes(path)
    run(["rm", "-r", path]).ok()


@pytest.fixture
def with_device(make_user: MakeUser) -> Callable[..., User]:
    def make(*devices: str, more: str = "", groups: tuple[str, ...] = ()) -> User:
        listed = "".join(f"  - {one}\n" for one in devices)
        return make_user(f"image: host\n{more}devices:\n{listed}", groups=groups)

    return make


@pytest.fixture
def group() -> Iterator[str]:
    name = "s2cd" + secrets.token_hex(3)
    run(["groupadd", name]).ok()
    yield name
    run(["groupdel", name])


def test_a_device_is_there_and_nothing_beside_it(nodes: Nodes, with_device: Callable[..., User]) -> None:
    node = nodes.make("zero", ZERO)
    nodes.make("another", FULL)
    user = with_device(node)
    script = f"stat -c %t:%T:%a {node}; head -c 3 {node} | od -An -tx1; echo x >{node} && ls {nodes.path}"
    assert inside(user, script).ok().text.split() == ["1:5:666", "00", "00", "00", "zero"]


def test_a_device_has_the_name_that_the_policy_gives_it(
    nodes: Nodes, with_device: Callable[..., User]
) -> None:
    node = nodes.make("zero", ZERO)
    user = with_device(f"{node}:/dev/a/b/c", f"{{source: {node}, target: /opt/there}}")
    script = f"for d in /dev/a/b/c /opt/there; do head -c 1 $d | od -An -tx1; echo x >$d; done; ls -d {node}"
    done = inside(user, script)
    assert done.out.split() == [b"00", b"00"]
    assert b"No such file" in done.err


def test_nobody_inside_changes_the_node(nodes: Nodes, with_device: Callable[..., User]) -> None:
    """It is the host's own node: its mode, its owner and its times are, too."""
    node = nodes.make("zero", ZERO)
    user = with_device(node)
    os.chown(node, user.uid, user.gid)
    before = os.stat(node)
    done = inside(user, f"chmod 600 {node}; touch -d yesterday {node}; rm -f {node}; mv {node} {node}2")
    assert done.errors.count("Read-only file system") >= 2
    after = os.stat(node)
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, user.uid, before.st_mtime_ns)


@needs_landlock
def test_a_device_to_read_is_not_written_to(nodes: Nodes, with_device: Callable[..., User]) -> None:
    """Without Landlock's part in it the node's mode would let the user write."""
    read, written = nodes.make("read", ZERO), nodes.make("written", ZERO)
    user = with_device(f"{read}:r", f"{written}:rw", f"{read}:/opt/read:r")
    script = (
        f"head -c 1 {read} | od -An -tx1; for d in {read} /opt/read /proc/self/root{read}; do"
        f" echo x >$d; echo x 1<>$d; done; echo x >{written} && echo x >/dev/null && echo x >/dev/full"
    )
    done = inside(user, script)
    assert done.out.split() == [b"00"]
    assert done.errors.count("Permission denied") == 6
    assert done.errors.count("No space left") == 1


def test_a_directory_means_the_devices_in_it(nodes: Nodes, with_device: Callable[..., User]) -> None:
    nodes.make("one", ZERO)
    nodes.make("below/two", FULL)
    os.symlink(nodes.path + "/one", nodes.path + "/link")
    Path(nodes.path, "file").write_text("x", encoding="ascii")
    done = inside(with_device(nodes.path), f"cd {nodes.path} && find . -type c -o -type f -o -type l | sort")
    assert done.ok().text.split() == ["./below/two", "./one"]


def test_roots_links_lead_to_devices_and_others_do_not(
    nodes: Nodes, with_device: Callable[..., User], host_directory: Callable[[User], str]
) -> None:
    """/dev/serial/by-id is links of root's; one in a directory of the user's could lead anywhere."""
    node = nodes.make("zero", ZERO)
    os.symlink("zero", nodes.path + "/by-id")
    user = with_device(nodes.path + "/by-id")
    assert inside(user, f"stat -c %t:%T {nodes.path}/by-id").ok().text == "1:5\n"
    place = host_directory(user)
    os.symlink(node, place + "/link")
    Path(user.policy_file).write_text(f"image: host\ndevices: ['{place}/link:/dev/x']\n", encoding="ascii")
    assert_clear(inside(user, "echo in"), 126, "the device", "symbolic link that users other than root")


def serial_port(group: str) -> tuple[int, str]:
    """A terminal whose other end is ours, which stands for what hangs on a serial port."""
    master, slave = pty.openpty()
    path = os.ttyname(slave)
    tty.setraw(slave)
    os.fchown(slave, 0, grp.getgrnam(group).gr_gid)
    os.fchmod(slave, 0o660)
    os.close(slave)
    return master, path


def test_a_serial_port_is_its_groups(group: str, with_device: Callable[..., User]) -> None:
    """A member opens it, sets its speed and speaks; who is no member is told by check."""
    master, path = serial_port(group)
    kept = os.open(path, os.O_RDWR | os.O_NOCTTY)
    member = with_device(f"{path}:/dev/ttyS9", groups=(group,))
    script = "exec 3<>/dev/ttyS9 && stty 115200 raw <&3 && echo AT >&3 && head -c 3 <&3"
    os.write(master, b"OK\n")
    assert inside(member, script).ok().text == "OK\n"
    assert shown_until(master, b"AT\n") == b"AT\n"
    assert termios.tcgetattr(kept)[5] == termios.B115200
    assert f"sessions of {member.name}" not in run([CONTROL, "check"]).text
    other = with_device(f"{path}:/dev/ttyS9")
    assert "Permission denied" in inside(other, "cat </dev/ttyS9").errors
    said = [line for line in run([CONTROL, "check"]).text.splitlines() if "sessions of" in line]
    (line,) = [line for line in said if path in line]
    assert f"sessions of {other.name} cannot open {path}" in line
    assert f"group {group}" in line
    os.close(kept)
    os.close(master)


@pytest.mark.parametrize(
    ("number", "kind", "word"),
    [
        (MEMORY, stat.S_IFCHR, "the host's memory"),
        ((1, 11), stat.S_IFCHR, "the host's memory"),
        ((4, 1), stat.S_IFCHR, "console"),
        ((5, 2), stat.S_IFCHR, "terminals are the session's own"),
        ((7, 1), stat.S_IFCHR, "console"),
        (FUSE, stat.S_IFCHR, ""),
        ((13, 64), stat.S_IFCHR, "typed"),
        ((7, 0), stat.S_IFBLK, "block device"),
        ((0, 0), stat.S_IFIFO, "it is no device"),
        ((0, 0), stat.S_IFREG, "it is no device"),
    ],
)
def test_what_leads_out_of_a_container_is_refused(
    nodes: Nodes,
    with_device: Callable[..., User],
    syslog: Syslog,
    number: tuple[int, int],
    kind: int,
    word: str,
) -> None:
    """Whatever it is called; and in a directory, the whole directory is."""
    node = nodes.make("harmless", number, kind=kind)
    user = with_device(f"{node}:/dev/harmless")
    assert_clear(inside(user, "echo in"), 126, f"cannot use the device {node}", word)
    assert_recorded(syslog, user, "event=refused", 'step="device"')
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        Path(user.policy_file).write_text(f"image: host\ndevices: [{nodes.path}]\n", encoding="ascii")
        assert_clear(inside(user, "echo in"), 126, f"cannot use the device {node}", word)


def test_a_device_that_is_gone_refuses_the_login(
    nodes: Nodes, with_device: Callable[..., User], syslog: Syslog
) -> None:
    node = nodes.make("zero", ZERO)
    user = with_device(node)
    inside(user, "true").ok()
    os.unlink(node)
    assert_clear(inside(user, "echo in"), 126, f"cannot find the device {node}", "connect it")
    assert_recorded(syslog, user, "event=refused", 'step="device"')
    said = run([CONTROL, "check"]).text
    assert any(user.policy_file in line and node in line for line in said.splitlines()), said


def test_a_node_on_a_file_system_without_devices_is_told_apart(
    nodes: Nodes, with_device: Callable[..., User]
) -> None:
    place = nodes.path + "/nodev"
    os.mkdir(place)
    run(["mount", "-t", "tmpfs", "-o", "nodev,mode=755", "none", place]).ok()
    try:
        user = with_device(nodes.make("nodev/zero", ZERO))
        assert_clear(inside(user, "echo in"), 126, "mounted nodev")
    finally:
        run(["umount", place]).ok()


CHANGED = """
import os, sys
sys.path.insert(0, {root!r})
from ssh2container.kernel.script import Script
from ssh2container.plan.operations.devices import AttachDevice, OpenDevice
node, place, when = sys.argv[1:]
seen = os.stat(node)
number = os.major(seen.st_rdev), os.minor(seen.st_rdev)
device = seen.st_rdev
if when == "replaced":
    os.rename(node + "2", node)
elif when == "renumbered":  # the same file to the planner, which took it for another device
    device = os.makedev(1, 3)
script = Script()
identity = (seen.st_dev, seen.st_ino)
OpenDevice(node, place, identity, number, "").write(script)
AttachDevice(place, identity, device, "").write(script)
failed = script.run()
print("attached" if failed is None else os.strerror(failed[1]), script.at[failed[0]] if failed else "")
"""


@pytest.mark.parametrize(
    ("when", "answer"), [("never", "attached"), ("replaced", "Stale"), ("renumbered", "Stale")]
)
def test_a_device_that_changed_since_it_was_examined_is_not_attached(
    nodes: Nodes, when: str, answer: str
) -> None:
    """By the node's identity before it is opened, and by its number where it is attached."""
    node, place = nodes.make("zero", ZERO), nodes.path + "/place"
    nodes.make("zero2", MEMORY)
    Path(place).touch()
    program = CHANGED.format(root=os.path.dirname(os.path.dirname(ssh2container.__file__)))
    done = run(["unshare", "--mount", sys.executable, "-c", program, node, place, when]).ok()
    assert done.text.startswith(answer), done.text


def test_explain_shows_each_device_and_verify_takes_it_for_wanted(
    nodes: Nodes, with_device: Callable[..., User]
) -> None:
    node = nodes.make("zero", ZERO)
    user = with_device(f"{node}:/dev/snd/zero")
    shown = run([CONTROL, "explain", user.name]).ok().text
    assert f"open the device {node} (1:5)" in shown
    assert "attach the device at /dev/snd/zero" in shown
    assert f"the session uses {node} of the host" in shown
    rows = {row["name"]: row for row in map(json.loads, start(user, "probes").out.splitlines())}
    assert (rows["open /dev/snd"]["result"], rows["open /dev/snd"]["key"]) == (EXPECTED, "devices")
    assert rows["/dev holds harmless devices only"]["result"] == PASS
    assert failed(rows) == set()


@pytest.fixture
def specification() -> Iterator[Callable[..., str]]:
    """Write specifications of the Container Device Interface."""
    made: list[str] = []
    directories: list[str] = []

    def write(content: object, suffix: str = "json", directory: str = CDI) -> str:
        if not os.path.isdir(directory):
            directories.append(directory)
            os.mkdir(directory, 0o755)
        path = f"{directory}/s2c-{secrets.token_hex(4)}.{suffix}"
        made.append(path)
        Path(path).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    yield write
    for path in made:
        os.unlink(path)
    for directory in directories:
        os.rmdir(directory)


def described(kind: str, node: str, **edits: object) -> dict[str, Any]:
    """A specification with one device, "all"."""
    of_device = {"deviceNodes": [{"path": "/dev/accelerator", "hostPath": node}], **edits}
    return {"cdiVersion": "0.6.0", "kind": kind, "devices": [{"name": "all", "containerEdits": of_device}]}


def test_a_name_stands_for_what_a_specification_says(
    nodes: Nodes, with_device: Callable[..., User], specification: Callable[..., str]
) -> None:
    """Nodes, files and variables, from JSON and YAML; a variable of the policy's own stays."""
    node, kind = nodes.make("zero", ZERO), f"s2c-{secrets.token_hex(3)}.example/zero"
    content = described(
        kind,
        node,
        env=["ACCELERATOR=all", "EDITOR=ed"],
        mounts=[
            {"hostPath": "/etc/os-release", "containerPath": "/opt/lib/release", "options": ["ro", "nosuid"]},
            {"hostPath": "/usr/bin/env", "containerPath": "/usr/bin/env"},
        ],
    )
    specification(content)
    user = with_device(f"{kind}=all", more="environment: {EDITOR: nano}\n")
    script = "stat -c %t:%T /dev/accelerator; cat /opt/lib/release; echo x >/opt/lib/release; env"
    done = inside(user, script)
    lines = done.out.decode().splitlines()
    assert lines[0] == "1:5"
    assert "".join(lines).count("ID=") >= 1
    assert "Read-only file system" in done.errors
    assert {"ACCELERATOR=all", "EDITOR=nano"} <= set(lines)


def test_a_specification_of_this_boot_goes_before_one_of_etc(
    nodes: Nodes, with_device: Callable[..., User], specification: Callable[..., str]
) -> None:
    zero, full = nodes.make("zero", ZERO), nodes.make("full", FULL)
    kind = f"s2c-{secrets.token_hex(3)}.example/one"
    specification(described(kind, zero))
    yaml = f"kind: {kind}\ndevices:\n- name: all\n  containerEdits:\n    deviceNodes:\n"
    specification(f"{yaml}    - path: /dev/accelerator\n      hostPath: {full}\n", "yaml", "/var/run/cdi")
    assert inside(with_device(f"{kind}=all"), "stat -c %t:%T /dev/accelerator").ok().text == "1:7\n"


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        (
            {"hooks": [{"hookName": "createContainer", "path": "/bin/true"}]},
            ("has hooks", "a login has none"),
        ),
        ({"netDevices": [{"hostInterfaceName": "eth1"}]}, ("has netDevices", "use networks")),
        ({"additionalGids": [44]}, ("has additionalGids", "on the host")),
        ({"somethingNew": True}, ("has somethingNew", "nothing here knows")),
        ({"deviceNodes": [{"path": "/dev/null"}]}, ("/dev/null", "has its own")),
        (
            {"deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/zero", "major": 1, "minor": 7}]},
            ("it is 1:5",),
        ),
        ({"deviceNodes": [{"path": "/dev/x", "hostPath": "/no/such"}]}, ("cannot find the device /no/such",)),
        ({"deviceNodes": [{"path": "/dev/x", "type": "b"}]}, ("of type b",)),
        ({"mounts": [{"hostPath": "/etc/motd", "containerPath": "/etc/motd"}]}, ("has its own",)),
        ({"mounts": [{"hostPath": "/etc/passwd", "containerPath": "/opt/x", "options": ["rw"]}]}, ("rw",)),
        ({"mounts": [{"hostPath": "/no/such", "containerPath": "/opt/x"}]}, ("/no/such",)),
        ({"env": ["no equals sign"]}, ("no equals sign",)),
        ({"env": 5}, ("env is no list of texts",)),
        (
            {"mounts": [{"hostPath": "/etc/passwd", "containerPath": "/opt/x", "options": [["ro"]]}]},
            ("options is no list of texts",),
        ),
    ],
)
def test_what_of_a_specification_cannot_be_done_is_refused(
    nodes: Nodes,
    with_device: Callable[..., User],
    specification: Callable[..., str],
    edits: dict[str, object],
    words: tuple[str, ...],
) -> None:
    kind = f"s2c-{secrets.token_hex(3)}.example/one"
    specification(described(kind, nodes.make("zero", ZERO), **edits))
    assert_clear(inside(with_device(f"{kind}=all"), "echo in"), 126, *words)


def test_only_roots_specifications_count(
    nodes: Nodes, with_device: Callable[..., User], specification: Callable[..., str]
) -> None:
    kind = f"s2c-{secrets.token_hex(3)}.example/one"
    path = specification(described(kind, nodes.make("zero", ZERO)))
    user = with_device(f"{kind}=all")
    inside(user, "true").ok()
    os.chown(path, user.uid, 0)
    assert_clear(inside(user, "echo in"), 126, path, f"belongs to uid {user.uid}")
    said = run([CONTROL, "doctor"]).text
    assert any(path in line for line in said.splitlines()), said
    os.chown(path, 0, 0)
    os.chmod(path, 0o666)
    assert_clear(inside(user, "echo in"), 126, path, "writable by users other than its owner")
    Path(path).write_text("{", encoding="ascii")
    os.chmod(path, 0o644)
    assert_clear(inside(user, "echo in"), 126, path, "cannot be read")
    os.unlink(path)
    assert_clear(inside(user, "echo in"), 126, f"cannot find the device {kind}=all", "specification")
    Path(path).touch()


def test_the_doctor_names_what_no_login_can_use(
    nodes: Nodes, with_device: Callable[..., User], specification: Callable[..., str]
) -> None:
    """Also what can be read and cannot be done, and what only root reads; one device that works is enough."""
    kind = f"s2c-{secrets.token_hex(3)}.example/one"
    works = described(kind, nodes.make("zero", ZERO))
    path = specification(works)
    user = with_device(f"{kind}=all")
    assert dict(cdi.problems())[path] is None
    os.chmod(CDI, 0o700)
    try:
        assert_clear(inside(user, "echo in"), 126, CDI, "Permission denied")
        assert f"users cannot read {CDI}" in str(dict(cdi.problems())[path])
    finally:
        os.chmod(CDI, 0o755)
    os.chmod(path, 0o600)
    assert f"users cannot read {path}" in str(dict(cdi.problems())[path])
    os.chmod(path, 0o644)
    hooks = [{"hookName": "createContainer", "path": "/bin/true"}]
    closed = {"name": "closed", "containerEdits": {"hooks": hooks}}
    Path(path).write_text(json.dumps({**works, "devices": [closed]}), encoding="utf-8")
    said = [line for line in run([CONTROL, "doctor"]).text.splitlines() if path in line]
    assert any("names of devices" in line and f"{kind}=closed has hooks" in line for line in said), said
    Path(path).write_text(json.dumps({**works, "devices": [closed, *works["devices"]]}), encoding="utf-8")
    assert dict(cdi.problems())[path] is None
    inside(user, "true").ok()


def test_in_a_range_a_group_opens_nothing_and_check_says_so(
    nodes: Nodes, group: str, make_user: MakeUser
) -> None:
    """setgroups(2) leaves no supplementary group there; a node for everybody works."""
    closed, everybody = nodes.make("closed", ZERO, 0o660), nodes.make("everybody", ZERO)
    os.chown(closed, 0, grp.getgrnam(group).gr_gid)
    with ranged_image() as image:
        user = make_user(
            f"image: {image}\nuserns_mode: range\nuser: root\nshell: [/bin/sh]\ndevices: [{nodes.path}]\n",
            groups=(group,),
        )
        grant(user)
        done = login(user, "-c", f"head -c 1 {everybody} | od -An -tx1; head -c 1 {closed}")
        assert done.out.split() == [b"00"]
        assert "ermission denied" in done.errors
        said = run([CONTROL, "check"]).text
        (line,) = [one for one in said.splitlines() if closed in one]
        assert "no supplementary group" in line
