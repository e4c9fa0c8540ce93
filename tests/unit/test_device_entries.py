"""Devices in policies and plans: what may be written, what is refused and why, and what a session does."""

from __future__ import annotations

import os

import pytest
from support import planning
from support.policies import policy, problems

from ssh2container.errors import Refusal
from ssh2container.plan import device_kinds, devices, make, tree, walls
from ssh2container.plan.device_nodes import Node
from ssh2container.plan.operations import filesystem
from ssh2container.plan.operations.devices import AttachDevice, OpenDevice, RestrictFilesAndDevices
from ssh2container.plan.request import Request
from ssh2container.policy import rules
from ssh2container.policy.devices import Device, of


@pytest.mark.parametrize(
    ("written", "source", "target", "permissions"),
    [
        ("/dev/dri/renderD128", "/dev/dri/renderD128", "/dev/dri/renderD128", "rw"),
        ("/dev/ttyUSB0:/dev/ttyS1", "/dev/ttyUSB0", "/dev/ttyS1", "rw"),
        ("/dev/ttyUSB0:/dev/ttyS1:r", "/dev/ttyUSB0", "/dev/ttyS1", "r"),
        ("/dev/ttyUSB0:r", "/dev/ttyUSB0", "/dev/ttyUSB0", "r"),
        ("/dev/ttyUSB0:wr", "/dev/ttyUSB0", "/dev/ttyUSB0", "rw"),
        ("/dev/snd", "/dev/snd", "/dev/snd", "rw"),
        ("'/dev/lab/%u:/opt/port'", "/dev/lab/%u", "/opt/port", "rw"),
        ("{source: /dev/x}", "/dev/x", "/dev/x", "rw"),
        ("{source: '/dev/pci-0:1', target: /dev/y, permissions: r}", "/dev/pci-0:1", "/dev/y", "r"),
        ("nvidia.com/gpu=all", "nvidia.com/gpu=all", "", ""),
    ],
)
def test_the_forms_of_an_entry(written: str, source: str, target: str, permissions: str) -> None:
    made = policy(f"devices: [{written}]")
    assert of(made.values) == (Device(source, target, permissions),)
    assert str(made.origin(of(made.values)[0].key)) == "/1.yaml:1"


@pytest.mark.parametrize(
    ("text", "column", "message", "rest"),
    [
        ("devices: [dri]", 11, 'found "dri"', "absolute path on the host"),
        ("devices: [/dev/a:/dev/b:rwm]", 11, 'the permissions "rwm"', "mknod(2), EPERM"),
        ("devices: [/dev/a:m]", 11, 'the permissions "m"', "r | rw"),
        ("devices: [/dev/a:/dev/b:w]", 11, 'the permissions "w"', "write rw"),
        ("devices: [/dev/a:/dev/b:rx]", 11, 'the permissions "rx"', "r | rw"),
        ("devices: [/dev/a:/dev/b:r:w]", 11, "found", "long form"),
        ("devices: [/dev/a:/dev/null]", 11, '"/dev/null" is made by the container', "below /dev"),
        ("devices: [/dev/null]", 11, '"/dev/null" is made by the container', "below /dev"),
        ("devices: [/dev/a:/dev/pts/7]", 11, '"/dev/pts/7" is made by the container', "below /dev"),
        ("devices: [/dev]", 11, '"/dev" is made by the container', "below /dev"),
        ("devices: [/dev/a:/proc/a]", 11, '"/proc/a" is made by the container', "below /dev"),
        ("devices: [/dev/a:/etc/a]", 11, '"/etc/a" is made by the container', "below /dev"),
        ("devices: [/dev/a, /dev/b:/dev/a]", 19, '"/dev/a" is listed twice', "keep one"),
        ("devices: [{target: /dev/a}]", 11, "source missing", "source"),
        ("devices: [{source: /dev/a, mode: r}]", 28, 'unknown key "mode"', "permissions"),
        ("devices: all", 10, 'found "all" instead of a list', ""),
        ("devices: [nvidia.com/gpu]", 11, 'found "nvidia.com/gpu"', "absolute path"),
    ],
)
def test_errors_name_what_may_be_written(text: str, column: int, message: str, rest: str) -> None:
    (problem,) = problems(text)
    assert message in problem.message
    assert problem.column == column
    assert rest in f"{problem.allowed}; {problem.hint}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("devices: [/dev/a:/x]\nvolumes: [/srv:/x]", "/x is the target of a volume"),
        ("devices: [/dev/a:/x]\ntmpfs: [/x]", "/x is the target of a volume or of tmpfs"),
        ("devices: [/dev/a:r]\nimage: debian:12\nuser: root", "Landlock leaves every file writable"),
    ],
)
def test_contradictions_are_found(text: str, message: str) -> None:
    (rule,) = rules.broken(policy(text))
    assert message in rule.message
    assert rule.key.startswith("devices./")


@pytest.mark.parametrize(
    ("number", "why"),
    [
        ((1, 1), "memory"),
        ((1, 4), "memory"),
        ((1, 11), "memory"),
        ((4, 1), "console"),
        ((5, 0), "the session's own"),
        ((5, 1), "the session's own"),
        ((5, 2), "the session's own"),
        ((7, 128), "console"),
        ((10, 200), "use network_mode: private"),
        ((10, 229), "mount(2)"),
        ((10, 237), ""),
        ((10, 99999), "no session needs"),
        ((13, 64), "typed"),
        ((21, 0), "disk"),
        ((162, 0), "disk"),
        ((202, 0), "memory"),
    ],
)
def test_what_breaks_a_container_is_refused_by_its_number(number: tuple[int, int], why: str) -> None:
    said = device_kinds.refusal(number, named=True)
    assert said
    assert why in said or not os.path.exists(f"/sys/dev/char/{number[0]}:{number[1]}")


def test_what_programs_compute_and_measure_with_is_given() -> None:
    """Render nodes, sound, cameras, serial ports of all kinds, terminals, a graphics card's own numbers."""
    for number in ((226, 128), (116, 2), (81, 0), (188, 0), (166, 0), (4, 64), (136, 3), (195, 0), (1, 5)):
        assert device_kinds.refusal(number, named=False) == ""


def test_nothing_is_given_of_which_nobody_tells_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sysfs only the numbers that are fixed say something."""
    monkeypatch.setattr(device_kinds, "_BY_NUMBER", "/nonexistent/sys/dev/char")
    assert "not mounted" in device_kinds.refusal((226, 128), named=True)
    assert "disk" in device_kinds.refusal((21, 0), named=True)
    assert device_kinds.refusal((1, 5), named=True) == ""


def test_virtual_machines_are_for_who_names_them() -> None:
    assert device_kinds.refusal((10, 232), named=True) == ""
    assert "name /dev/kvm" in device_kinds.refusal((10, 232), named=False)


def brought(*targets: str, written: bool = True) -> devices.Brought:
    status = os.stat("/dev/zero")
    return devices.Brought(
        tuple(Node("/dev/zero", status, one, "devices." + one, written=written) for one in targets)
    )


def plan_of(found: devices.Brought, landlock: int = 5) -> make.Plan:
    decided = policy("").expanded(dict.fromkeys("uUghi", "x"))
    host = planning.host(decided)
    host.devices, host.landlock = found, landlock
    return make.make(Request.parse((b"-c", b"true"), {}), planning.account(), decided, host, {})


def test_a_node_is_opened_first_and_attached_last() -> None:
    operations = plan_of(brought("/dev/dri/card", "/opt/dev")).container.init
    kinds = [type(one) for one in operations]
    assert kinds.index(OpenDevice) < kinds.index(filesystem.PivotRoot) < kinds.index(AttachDevice)
    (made,) = [one for one in operations if isinstance(one, filesystem.MakeTree) and "devices" in one.what]
    paths = [path for path, _, _ in made.entries]
    assert paths.index(filesystem.BASE + "/dev/dri") < paths.index(filesystem.BASE + "/dev/dri/card")
    assert all(path.startswith(filesystem.BASE + "/dev") for path in paths)
    opened = next(one for one in operations if isinstance(one, OpenDevice))
    assert "1:5" in opened.describe()
    assert opened.key == "devices./dev/dri/card"


@pytest.mark.parametrize("written", [True, False])
def test_landlock_has_a_rule_for_each(written: bool) -> None:  # noqa: FBT001
    plan = plan_of(brought("/opt/dev", written=written))
    (files,) = [one for one in plan.payload.operations if isinstance(one, RestrictFilesAndDevices)]
    assert files.devices == (("/opt/dev", written),)
    assert "/opt/dev" in files.describe()
    assert set(tree.DEVICES) <= {path.removeprefix("/dev/") for path in files.own}


def test_only_reading_needs_a_place_that_is_not_writable() -> None:
    """A rule for a directory is one for all in it: the home's would let the device be written to."""
    files = plan_of(brought("/opt/dev", written=False)).payload.operations[0]
    assert isinstance(files, RestrictFilesAndDevices)
    assert "opt" in files.closed
    for place in ("/home/al/dev", "/tmp/dev"):
        plan_of(brought(place))
        with pytest.raises(Refusal, match="is writable, and Landlock leaves all in it so"):
            plan_of(brought(place, written=False))


def test_without_landlock_only_reading_is_refused_and_the_rest_as_always() -> None:
    plan_of(brought("/opt/dev"), landlock=0)
    with pytest.raises(Refusal, match="cannot let the session only read /opt/dev"):
        plan_of(brought("/opt/dev", written=False), landlock=0)


def test_a_plan_without_devices_is_what_it_was() -> None:
    decided = policy("").expanded(dict.fromkeys("uUghi", "x"))
    host = planning.host(decided)
    (files,) = walls.around_files(decided, host.landlock, home="/home/al", whole_system=False)
    assert type(files).__name__ == "RestrictFiles"
    assert not any(one.step.endswith("-device") for one in planning.plan(decided).operations())
