"""A session's scope: what is planned, what counts as in force, what is read of it; groups made of files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support import manager
from support.manager import LINE, Mood, reply
from support.planning import SESSION, plan
from support.policies import policy

from ssh2container.errors import Refusal
from ssh2container.plan.limits import Bound, EnterScope, Scope
from ssh2container.run import cgroup, dbus, dbus_answer, scope

MIB = 1 << 20
NAME = "0123456789"
GROUP = f"/user.slice/app.slice/ssh2container-{NAME}.scope"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /sys/fs/cgroup, with the session's group in it."""
    monkeypatch.setattr(cgroup, "CGROUPS", str(tmp_path))
    monkeypatch.setattr(scope, "CGROUPS", str(tmp_path))
    group = tmp_path / GROUP[1:]
    group.mkdir(parents=True)
    for name, text in (
        ("memory.max", f"{64 * MIB}\n"),
        ("memory.swap.max", "0\n"),
        ("pids.max", "50\n"),
        ("memory.events", "low 0\nhigh 0\nmax 7\noom 0\noom_kill 0\n"),
        ("memory.peak", "123456\n"),
        ("pids.events", "max 3\n"),
        ("cpu.stat", "usage_usec 77\nuser_usec 70\nsystem_usec 7\nnr_throttled 2\n"),
    ):
        (group / name).write_text(text)
    return group


def planned(*, is_required: bool = True) -> Scope:
    bounds = Bound("MemoryMax", 64 * MIB), Bound("MemorySwapMax", 0), Bound("TasksMax", 50)
    return Scope(NAME, bounds, is_required=is_required)


def place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mood: Mood, wanted: Scope, at: str = GROUP
) -> cgroup.Cgroup:
    """Have process 1, which the kernel says is ``at``, limited by a manager in that mood."""
    bus = str(tmp_path / f"bus{len(os.listdir(tmp_path))}")
    monkeypatch.setattr(scope, "_sockets", lambda: ((bus, 2),))
    monkeypatch.setattr(scope, "_PATIENCE_S", 0.6)
    monkeypatch.setattr(scope, "cgroup_of", lambda _: at)
    with manager.manager(bus, mood):
        return scope.Placing(wanted, NAME, os.getpid()).settle()


def test_limits_that_hold(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = place(monkeypatch, tmp_path, manager.accepts, planned())
    assert (found.path, found.why) == (GROUP, "")
    (root / "memory.events").write_text("oom_kill 2\n")
    assert found.usage() == {
        "limits": "memory to 64 MiB, swap to 0 KiB, processes and threads to 50",
        "oom_kills": "2",
        "memory_peak": "123456",
        "pids_refused": "3",
        "cpu_usec": "77",
        "cpu_user_usec": "70",
        "cpu_system_usec": "7",
        "cpu_throttled": "2",
    }
    found.close()


@pytest.mark.parametrize(
    ("name", "text", "missing"),
    [
        ("memory.max", "max", "memory to 64 MiB"),
        ("memory.max", str(65 * MIB), "memory to 64 MiB"),
        ("memory.max", str(32 * MIB), "memory to 64 MiB"),
        ("memory.swap.max", "4096000", "swap to 0 KiB"),
        ("pids.max", "51", "processes and threads to 50"),
        ("pids.max", "", "processes and threads to 50"),
        ("pids.max", None, "processes and threads to 50"),
    ],
)
def test_a_limit_that_does_not_read_back_refuses(
    name: str, text: str | None, missing: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the manager said: the kernel is asked."""
    if text is None:
        (root / name).unlink()
    else:
        (root / name).write_text(text)
    with pytest.raises(Refusal, match=f"the kernel does not hold the session to {missing}"):
        place(monkeypatch, tmp_path, manager.accepts, planned())
    found = place(monkeypatch, tmp_path, manager.accepts, planned(is_required=False))
    assert found.usage()["limits"].endswith(f"; but the kernel does not hold the session to {missing}")
    found.close()


def test_a_controller_that_the_manager_has_not_is_not_waited_for(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = f"/user.slice/user@{os.getuid()}.service"
    group = f"{above}/ssh2container-{NAME}.scope"
    shutil.copytree(root, tmp_path / group[1:])
    (tmp_path / group[1:] / "pids.max").unlink()
    (tmp_path / above[1:] / "cgroup.controllers").write_text("cpuset memory\n")
    waited: list[float] = []
    pause = dbus.pause

    def waits(until: float, length: float) -> float:
        waited.append(until)
        return pause(until, length)

    monkeypatch.setattr(dbus, "pause", waits)
    found = place(monkeypatch, tmp_path, manager.accepts, planned(is_required=False), group)
    found.close()
    assert found.why.endswith(" threads to 50: the user's service manager has no controller pids")
    with pytest.raises(Refusal, match="has no controller pids"):
        place(monkeypatch, tmp_path, manager.accepts, planned(), group)
    assert not waited
    # What may yet come is waited for.
    (tmp_path / group[1:] / "memory.max").write_text("max")
    with pytest.raises(Refusal, match="to memory to 64 MiB, processes and threads to 50;"):
        place(monkeypatch, tmp_path, manager.accepts, planned(), group)
    assert waited


@pytest.mark.parametrize("at", ["", "/", "/user.slice/session-3.scope", GROUP + "x", GROUP + "/below"])
def test_process_1_has_to_be_there(
    at: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert root.exists()
    with pytest.raises(Refusal, match="it said so and did not move process 1"):
        place(monkeypatch, tmp_path, manager.accepts, planned(), at)


def test_an_error_in_place_of_a_unit_that_is_there(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second socket says "exists" of what the first was too slow to say was done: the kernel counts."""
    assert root.exists()
    mood = manager.says(LINE + reply(1) + reply(2, dbus_answer.ERROR, "org.freedesktop.systemd1.UnitExists"))
    found = place(monkeypatch, tmp_path, mood, planned())
    assert found.path == GROUP
    found.close()
    with pytest.raises(Refusal, match=r"declines: org\.freedesktop\.systemd1\.UnitExists"):
        place(monkeypatch, tmp_path, mood, planned(), "/elsewhere")


@pytest.mark.parametrize(
    ("name", "value", "text", "is_met"),
    [
        ("CPUQuotaPerSecUSec", 500_000, "50000 100000", True),
        ("CPUQuotaPerSecUSec", 500_000, "max 100000", False),
        ("CPUQuotaPerSecUSec", 500_000, "60000 100000", False),
        ("CPUQuotaPerSecUSec", 500_000, "50000 0", False),
        ("CPUWeight", 39, "39", True),
        ("CPUWeight", 39, "100", False),
        ("IOWeight", 40, "default 40", True),
        ("IOWeight", 40, "default 100", False),
        ("MemoryMax", 64 * MIB + 100, str(64 * MIB), True),
        ("IOReadBandwidthMax", (("/", 5),), "8:0 rbps=5 wbps=max riops=max wiops=max", True),
        ("IOReadBandwidthMax", (("/", 5),), "8:0 rbps=max wbps=5 riops=max wiops=max", False),
        ("IOReadBandwidthMax", (("/", 5), ("/srv", 6)), "8:0 rbps=5 wbps=max", False),
        ("IOWriteIOPSMax", (("/", 5),), "", False),
    ],
)
def test_what_counts_as_in_force(
    name: str, value: int | tuple[tuple[str, int], ...], text: str, *, is_met: bool
) -> None:
    assert Bound(name, value).is_met(text) == is_met


def test_kills_are_those_since_the_session_began(root: Path) -> None:
    (root / "memory.events").write_text("oom_kill 5\n")
    joined = cgroup.Cgroup(planned(), GROUP, is_shared=True)
    (root / "memory.events").write_text("oom_kill 6\n")
    assert joined.kills() == 1
    assert joined.usage() == {
        "limits": "memory to 64 MiB, swap to 0 KiB, processes and threads to 50", "oom_kills": "1"
    }  # fmt: skip
    joined.close()


def test_a_group_that_is_gone_has_no_figures() -> None:
    gone = cgroup.Cgroup(planned(), "/not/there")
    assert gone.kills() == 0
    assert list(gone.usage()) == ["limits"]
    gone.close()


ALL = """
mem_limit: 2g
memswap_limit: 3g
pids_limit: 50
cpus: 1.5
cpu_shares: 512
blkio_config: {weight: 100, device_read_bps: [{path: /, rate: 5m}], device_write_iops: [{path: /, rate: 9}]}
limits: best
"""


def test_the_plan_of_all_limits() -> None:
    made = plan(policy(ALL))
    wanted = made.container.scope
    assert wanted is not None
    assert not wanted.is_required
    assert {bound.name: bound.asked for bound in wanted.limits} == {
        "MemoryMax": ("t", 2 << 30),
        "MemorySwapMax": ("t", 1 << 30),
        "TasksMax": ("t", 50),
        "CPUQuotaPerSecUSec": ("t", 1_500_000),
        "CPUWeight": ("t", 50),
        "IOWeight": ("t", 20),
        "IOReadBandwidthMax": ("a(st)", [("/", 5 * MIB)]),
        "IOWriteIOPSMax": ("a(st)", [("/", 9)]),
    }
    asked = dict(wanted.properties(4711))
    assert asked["PIDs"] == ("au", [4711])
    assert asked["DelegateControllers"] == ("as", ["cpu", "io", "memory", "pids"])
    assert asked["CollectMode"] == ("s", "inactive-or-failed")
    assert len(dbus.pack("a(sv)", wanted.properties(4711))) > 300
    assert list(made.phases()["limits"]) == [wanted, *wanted.limits]
    assert sum(isinstance(one, EnterScope) for one in made.container.init) == 1
    assert wanted.name == SESSION


def test_a_plan_without_limits_has_nothing_of_them() -> None:
    made = plan(policy("user_limits: {mem_limit: 2g}\n"))
    assert made.container.scope is None
    assert list(made.phases()) == ["mapping", "monitor", "init", "payload"]
    assert not [one for one in made.container.init if isinstance(one, EnterScope)]


def test_what_exists_and_is_not_there_yet_is_waited_for(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manager that was busy reads both calls, and says "exists" to the second before it does the first."""
    assert root.exists()
    said = LINE + reply(1) + reply(2, dbus_answer.ERROR, "org.freedesktop.systemd1.UnitExists")
    places: list[str] = []
    pause = dbus.pause

    def moves(until: float, length: float) -> float:
        places.append(GROUP)
        return pause(until, length)

    monkeypatch.setattr(dbus, "pause", moves)
    bus = str(tmp_path / "bus")
    monkeypatch.setattr(scope, "_sockets", lambda: ((bus, 2),))
    monkeypatch.setattr(scope, "cgroup_of", lambda _: places[-1] if places else "/elsewhere")
    with manager.manager(bus, manager.says(said)):
        found = scope.Placing(planned(), NAME, os.getpid()).settle()
    assert found.path == GROUP
    found.close()


def test_a_manager_answers_although_it_reads_the_handshake_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of systemd at its own socket: what came with the last piece waits there until more comes."""
    own = str(tmp_path / "private")

    def mood(caller: manager.Caller) -> None:
        caller.end.recv(256)
        caller.end.sendall(LINE)
        caller.hear()
        caller.end.sendall(reply(1) + reply(2))
        caller.wait()

    monkeypatch.setattr(scope, "_sockets", lambda: ((own, 1),))
    with manager.manager(own, mood):
        assert scope.silence() == ""
