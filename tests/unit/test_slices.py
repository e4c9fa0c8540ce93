"""Drop-ins of slices: what they say, what of an administrator's they leave, what systemd tells of them."""

from __future__ import annotations

import os
import pathlib

import pytest
from support.policies import policy

from ssh2container.admin import cgroups
from ssh2container.admin.accounts import slice_state, slices
from ssh2container.admin.accounts.slices import SliceDropIn
from ssh2container.admin.sshd.render import is_sealed
from ssh2container.errors import SessionError
from ssh2container.policy.limits import Limits

WRITTEN = """
user_limits:
  mem_limit: 2g
  memswap_limit: 3g
  cpus: 1.5
  cpu_shares: 2048
  pids_limit: 400
  blkio_config:
    weight: 250
    device_read_bps: [{path: /dev/sda, rate: 1m}, {path: /home, rate: 2m}]
    device_write_iops: [{path: /home, rate: 100}]
"""
SHOWN = """Id=user-7.slice
MemoryMax=2147483648
MemorySwapMax=1073741824
CPUQuotaPerSecUSec=1.500s
CPUWeight=200
TasksMax=400
IOWeight=50
IOReadBandwidthMax=/dev/sda 1048576
IOReadBandwidthMax=/home 2097152
IOWriteIOPSMax=/home 100
DropInPaths=/usr/lib/systemd/system/user-.slice.d/10-defaults.conf /etc/x.conf

Id=user-8.slice
MemoryMax=infinity
CPUQuotaPerSecUSec=infinity
TasksMax=infinity
"""


def limits(text: str) -> Limits:
    found = policy(text).user_limits
    assert found is not None
    return found


def test_what_a_drop_in_says() -> None:
    written = slices.text(limits(WRITTEN), "user_limits of alice")
    assignments = [line for line in written.splitlines() if line and not line.startswith("#")]
    assert assignments == [
        "[Slice]", "MemoryMax=2147483648", "MemorySwapMax=1073741824", "CPUQuota=150.00%", "CPUWeight=200",
        "TasksMax=400", "IOWeight=50", "IOReadBandwidthMax=/dev/sda 1048576",
        "IOReadBandwidthMax=/home 2097152", "IOWriteIOPSMax=/home 100",
    ]  # fmt: skip


def test_what_systemd_shows_is_compared_with_the_policy() -> None:
    shown = slice_state.parse(SHOWN)
    assert list(slice_state.differences(limits(WRITTEN), shown["user-7.slice"])) == []
    assert slice_state.drop_ins(shown["user-7.slice"])[-1] == "/etc/x.conf"
    other = limits("user_limits: {mem_limit: 1g, pids_limit: 400, cpus: 2}")
    assert list(slice_state.differences(other, shown["user-7.slice"])) == [
        "MemoryMax is 2147483648 in place of 1073741824",
        "MemorySwapMax is 1073741824 in place of 0",
        "CPUQuotaPerSecUSec is 1.500s in place of 2000000",
    ]
    assert [line.split()[2] for line in slice_state.differences(other, shown["user-8.slice"])] == [
        "infinity", "not", "infinity", "infinity",
    ]  # fmt: skip


def test_what_is_in_force_is_said_as_systemd_writes_it() -> None:
    shown = slice_state.parse(SHOWN)
    assert slice_state.in_force(shown["user-7.slice"]).startswith(
        "MemoryMax 2147483648, MemorySwapMax 1073741824,"
    )
    assert slice_state.in_force(shown["user-8.slice"]) == "not limited"


@pytest.mark.parametrize(
    ("shown", "cpus"),
    [("500ms", "0.5"), ("1min 4s", "64"), ("1h 8min 16s", "4096"), ("10ms", "0.01"), ("1s 250ms", "1.25")],
)
def test_time_spans_of_systemd_are_read(shown: str, cpus: str) -> None:
    properties = {"CPUQuotaPerSecUSec": (shown,)}
    assert list(slice_state.differences(limits(f"user_limits: {{cpus: {cpus}}}"), properties)) == []


class Wanting(SliceDropIn):
    """A drop-in whose limits the test says."""

    def __init__(self, found: Limits | None, *, required: bool = True) -> None:
        super().__init__("user-7.slice", "alice")
        self.found = found
        self.required = required

    def wanted(self) -> tuple[Limits | None, bool]:
        return self.found, self.required


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A host whose systemd notes what it is told, and fails while there is a file "broken"."""
    (tmp_path / "units").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "controllers").write_text("cpu io memory pids\n")
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncd {tmp_path}; echo "$@" >>asked\nif [ -e broken ]; then echo no bus >&2; exit 1; fi\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(slices, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(cgroups, "RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(cgroups, "CONTROLLERS", str(tmp_path / "controllers"))
    return tmp_path


def carried_out(change: SliceDropIn) -> bool:
    """Do a change, as carry_out does; return whether anything was to be done."""
    if change.done():
        return False
    change.do()
    return True


def test_a_drop_in_comes_changes_and_goes(host: pathlib.Path) -> None:
    path = pathlib.Path(slices.path_of("user-7.slice"))
    assert carried_out(Wanting(limits("user_limits: {pids_limit: 100}")))
    assert is_sealed(path.read_text())
    assert "TasksMax=100\n" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    assert slices.uids() == [7]
    assert not carried_out(Wanting(limits("user_limits: {pids_limit: 100}")))
    assert carried_out(Wanting(limits("user_limits: {pids_limit: 200}")))
    assert "TasksMax=200\n" in path.read_text()
    assert carried_out(Wanting(None))
    assert not path.parent.exists()
    assert slices.uids() == []
    assert (host / "asked").read_text() == "daemon-reload\n" * 3


def test_what_an_administrator_changed_is_kept_and_so_are_other_drop_ins(host: pathlib.Path) -> None:
    path = pathlib.Path(slices.path_of("user-7.slice"))
    carried_out(Wanting(limits("user_limits: {pids_limit: 100}")))
    other = path.parent / "99-own.conf"
    other.write_text("[Slice]\n")
    path.write_text(path.read_text().replace("100", "5000"))
    for change in (Wanting(limits("user_limits: {pids_limit: 200}")), Wanting(None)):
        assert not carried_out(change)
        assert change.describe() == f"leave {path}, which was changed by hand"
    assert "TasksMax=5000" in path.read_text()
    path.unlink()
    carried_out(Wanting(limits("user_limits: {pids_limit: 200}")))
    carried_out(Wanting(None))
    assert [entry.name for entry in path.parent.iterdir()] == ["99-own.conf"]
    assert (host / "asked").exists()


def test_a_systemd_that_does_not_read_its_files_leaves_what_was(host: pathlib.Path) -> None:
    path = pathlib.Path(slices.path_of("user-7.slice"))
    carried_out(Wanting(limits("user_limits: {pids_limit: 100}")))
    (host / "broken").touch()
    with pytest.raises(SessionError, match="systemd does not read its files: no bus"):
        carried_out(Wanting(limits("user_limits: {pids_limit: 200}")))
    assert "TasksMax=100\n" in path.read_text()


@pytest.mark.parametrize(
    ("breaking", "why"),
    [
        ("runs", "systemd does not run here"),
        ("version", "cgroups are not of version 2 alone"),
        ("pids", "the kernel offers no controller pids"),
    ],
)
def test_limits_that_cannot_hold_are_refused_where_they_are_required(
    host: pathlib.Path, breaking: str, why: str
) -> None:
    if breaking == "runs":
        (host / "runs").rmdir()
    elif breaking == "version":
        (host / "controllers").unlink()
    else:
        (host / "controllers").write_text("cpu io memory\n")
    found = limits("user_limits: {pids_limit: 100}")
    with pytest.raises(SessionError, match=f"cannot limit alice: {why}; write limits: best") as raised:
        Wanting(found).done()
    assert raised.value.status == 125
    assert not os.path.exists(slices.path_of("user-7.slice"))
    assert carried_out(Wanting(found, required=False)), "for when it can"


def test_one_controller_is_enough_for_what_it_limits(host: pathlib.Path) -> None:
    (host / "controllers").write_text("pids\n")
    assert slices.unable(limits("user_limits: {pids_limit: 100}")) == ""
    assert slices.unable(limits("user_limits: {mem_limit: 1g, cpus: 2}")).endswith("controller cpu, memory")


@pytest.mark.parametrize(
    ("scheduler", "costs", "weighs"),
    [
        ("[mq-deadline] kyber bfq none\n", "", False),
        ("mq-deadline kyber [bfq] none\n", "", True),
        ("[none] mq-deadline\n", "259:0 enable=1 ctrl=auto rpct=95.00\n", True),
        ("[none] mq-deadline\n", "259:0 enable=0 ctrl=auto rpct=95.00\n", False),
    ],
)
def test_devices_that_look_at_weights(
    scheduler: str, costs: str, *, weighs: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scheduler").write_text(scheduler)
    (tmp_path / "costs").write_text(costs)
    monkeypatch.setattr(cgroups, "_SCHEDULERS", f"{tmp_path}/sched*")
    monkeypatch.setattr(cgroups, "_COSTS", f"{tmp_path}/costs")
    assert cgroups.weighs_devices() is weighs
