"""The parts of ``sessions`` that need no session: control groups, tables of mounts, what fits a window."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from ssh2container.admin.cli import sessions_table
from ssh2container.admin.sessions import asking, cgroup, impersonate, kernel, report, usage, writable
from ssh2container.admin.sessions.hints import Hint
from ssh2container.admin.sessions.live import Live

SCOPE = "/user.slice/user-1000.slice/user@1000.service/app.slice/ssh2container-0123456789.scope"


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_file_of_the_kernels_is_too_strange(text: bytes) -> None:
    path = cgroup.path_in(text)
    assert path == "" or (path.startswith("/") and not {"", ".", ".."} & {*path[1:].split("/")})
    assert (count := cgroup.number(text)) is None or count >= 0
    assert (quota := cgroup.processors(text)) is None or quota >= 0
    assert (value := cgroup.keyed(text, "oom_kill")) is None or value >= 0
    assert b"tmpfs" in text or not writable.own(text, ())
    writable.devices(text)


@settings(deadline=None)
@given(st.text(max_size=60), st.integers(0, 2**32))
def test_a_scope_is_only_found_in_its_users_slice(path: str, uid: int) -> None:
    for tried in (
        path,
        f"/{path}/ssh2container-0123456789.scope",
        f"/user-{uid}1.slice/{path}/ssh2container-a.scope",
    ):
        found = cgroup.scope_in(tried, uid)
        assert found == "" or (tried.startswith(found) and f"/user-{uid}.slice/" in found)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (SCOPE, SCOPE),
        (SCOPE + "/init", SCOPE),
        (SCOPE.replace("1000", "1001"), ""),
        ("/user-1000.slice.d/ssh2container-0123456789.scope", ""),
        ("/ssh2container-0123456789.scope", ""),
        (SCOPE + "x", ""),
        ("/user.slice/user-1000.slice/session-3.scope", ""),
        ("", ""),
    ],
)
def test_a_scope_has_a_shape(path: str, found: str) -> None:
    assert cgroup.scope_in(path, 1000) == found


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b"0::/a/b\n", "/a/b"),
        (b"4:memory:/x\n0::/a\n", "/a"),
        (b"0::/\n", ""),
        (b"0::/../../a\n", ""),
        (b"0::/a//b\n", ""),
        (b"0::/a (deleted)\n", ""),
        (b"1:name=systemd:/a\n", ""),
        (b"", ""),
    ],
)
def test_where_a_process_is(text: bytes, path: str) -> None:
    assert cgroup.path_in(text) == path


@settings(deadline=None)
@given(st.integers(1, 10**9), st.integers(1000, 10**6))
def test_processors_are_quota_by_period(quota: int, period: int) -> None:
    assert cgroup.processors(b"%d %d\n" % (quota, period)) == quota / period
    assert cgroup.processors(b"max %d\n" % period) is None


def plant(place: Path, **files: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / name.replace("_", ".", 2 if name.startswith("memory_swap") else 1)).write_text(content)


def test_a_group_is_read_and_the_narrowest_limit_above_it_holds(tmp_path: Path) -> None:
    plant(tmp_path / "user.slice", memory_max="900\n", pids_max="max\n", cpu_max="max 100000\n")
    plant(
        tmp_path / "user.slice/a.scope",
        memory_max="1000\n", memory_current="77\n", memory_swap_max="0\n",
        pids_max="12\n", pids_current="3\n",
        cpu_max="150000 100000\n", cpu_stat="usage_usec 2500000\nuser_usec 1\n",
        memory_events="low 0\noom 2\noom_kill 1\noom_group_kill 0\n",
    )  # fmt: skip
    groups = cgroup.Groups(str(tmp_path))
    group = groups.at("/user.slice/a.scope")
    assert group is not None
    assert (group.memory, group.processes, group.cpu_s, group.oom_kills) == (77, 3, 2.5, 1)
    bounds = {name: groups.bound("/user.slice/a.scope", name) for name in ("memory_max", "swap_max", "cpus")}
    assert bounds == {"memory_max": 900, "swap_max": 0, "cpus": 1.5}
    assert groups.bound("/user.slice", "processes_max") is None
    assert groups.at("/user.slice/gone.scope") is None
    assert groups.at("") is None
    assert groups.bound("", "memory_max") is None


ALICE = impersonate.Identity(1000, 1000, (), "alice")
MONITOR, INIT = 1 << 23, (1 << 23) + 1
"""No process can have these numbers (proc(5), pid_max)."""


def seen(pid: int, parent: int) -> Any:
    return SimpleNamespace(
        pid=pid, parent=parent, started=1, since=0.0, terminal=0, namespace=1, cpu_s=1.0, own_memory=0,
        idle=lambda: None, memory=lambda: 0, most_processes=lambda: None,
    )  # fmt: skip


@pytest.mark.parametrize(
    "monitor_is_in",
    ["/user.slice/user-1000.slice/session-3.scope", "/system.slice/ssh.service", ""],
)
def test_a_users_slice_is_found_by_the_monitor_or_by_the_scope(
    monitor_is_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without PAM sshd leaves the monitor in its own unit, and only the container is in the slice."""
    plant(
        tmp_path / "user.slice/user-1000.slice",
        memory_max="900\n", memory_current="700\n", pids_max="50\n", pids_current="9\n",
    )  # fmt: skip
    plant(tmp_path / SCOPE[1:], memory_max="max\n", memory_current="60\n", pids_current="2\n")
    monkeypatch.setattr(cgroup, "root", lambda: str(tmp_path))
    monkeypatch.setattr(cgroup, "of_process", {MONITOR: monitor_is_in, INIT: SCOPE}.__getitem__)
    monitor, init = seen(MONITOR, 1), seen(INIT, MONITOR)
    moment = SimpleNamespace(processes={MONITOR: monitor}, init_of=lambda _: init, inside=lambda _: [init])
    monkeypatch.setattr(kernel, "Snapshot", lambda: moment)
    session = Live(ALICE, Hint("0123456789", {}), -1, monitor)
    listing: Any = SimpleNamespace(sessions=[session], containers=[], strange=[])
    (alice,) = report.of(listing, usage.Moment(listing), None)["users"]
    assert alice["cgroup"] == "/user.slice/user-1000.slice"
    assert (alice["memory"], alice["processes"]) == (700, 9)
    assert alice["limits"] == {"memory": 900, "swap": None, "cpus": None, "processes": 50}


def test_without_the_second_version_there_is_no_group() -> None:
    assert cgroup.Groups("").at("/user.slice") is None


TABLE = b"""\
1 0 0:98 / / rw - overlay overlay rw,lowerdir=/a
2 1 0:97 /etc /etc ro,nosuid - tmpfs tmpfs rw,size=262144k
3 1 0:97 /tmp /t rw,nosuid - tmpfs tmpfs rw,size=262144k
4 1 0:125 /null /dev/null ro - tmpfs tmpfs rw,mode=755
5 1 0:154 / /proc/acpi ro - tmpfs tmpfs ro,size=4k
6 1 0:155 / /with\\040blank\\134 rw shared:1 - tmpfs tmpfs rw
"""


def test_own_memory_is_what_nobody_else_has_mounted() -> None:
    assert writable.own(TABLE, {b"0:125"}) == {b"0:97": b"/t", b"0:155": b"/with blank\\"}
    assert writable.devices(TABLE) == {b"0:98", b"0:97", b"0:125", b"0:154", b"0:155"}


def test_who_is_gone_is_not_measured() -> None:
    assert writable.measure([]) == {}
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert writable.measure([child]) == {}


def test_who_does_not_answer_is_left_out_and_the_next_is_asked() -> None:
    def answer(pid: int) -> tuple[int, ...]:
        while pid in (2, 5):
            signal.pause()  # as in a mount whose server is gone
        if pid == 4:
            raise OSError
        return pid, 10

    assert asking.each([1, 2, 3, 4, 5, 6], answer, 0.3) == {1: (1, 10), 3: (3, 10), 6: (6, 10)}
    assert asking.each([2, 5, 2, 1], answer, 0.1) == {}, "nobody waits for ever"


CELLS = st.lists(
    st.text(max_size=30), min_size=len(sessions_table._SESSIONS), max_size=len(sessions_table._SESSIONS)
)


@settings(deadline=None)
@given(st.lists(CELLS, max_size=5), st.integers(1, 300))
def test_a_table_is_never_wider_than_the_window(rows: list[list[str]], width: int) -> None:
    lines, left_out = sessions_table.fit(sessions_table.Table(sessions_table._SESSIONS, rows), width)
    assert len(lines) == len(rows) + 1
    assert all(cell_len(line.plain) <= width for line in lines)
    assert all(character.isprintable() for line in lines for character in line.plain)
    assert all(name not in lines[0].plain.split() for name in left_out if name in sessions_table._SESSIONS)
    assert not left_out or width < 10_000


def test_a_wide_window_shows_everything() -> None:
    row = [
        "0123456789",
        "alice",
        "12:00:00",
        "192.0.2.7",
        "1s",
        "5%",
        "1s",
        "3.0M",
        "2/77",
        "1M/64M",
        "host",
        "bash",
    ]
    lines, left_out = sessions_table.fit(sessions_table.Table(sessions_table._SESSIONS, [row]), 200)
    assert left_out == []
    assert lines[1].plain.split() == row
    lines, left_out = sessions_table.fit(sessions_table.Table(sessions_table._SESSIONS, [row]), 50)
    assert left_out[0] == "IMAGE"
    assert {"ID", "USER", "CPU", "MEMORY"} <= {*lines[0].plain.split()}


def test_a_single_look_cuts_no_command_short() -> None:
    row = [
        *["0123456789", "alice", "12:00:00", "192.0.2.7", "1s", "5%", "1s", "3.0M", "2/77", "1M/64M", "host"],
        "make " * 12,
    ]
    (_, line), _ = sessions_table.fit(sessions_table.Table(sessions_table._SESSIONS, [row]), 60, cut=False)
    assert line.plain.endswith(("make " * 12).rstrip())


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0.0M"),
        (5 << 20, "5.0M"),
        (256 << 20, "256M"),
        (1 << 30, "1.0G"),
        (1500 << 30, "1.5T"),
        (1 << 60, "1048576T"),
    ],
)
def test_sizes_are_short(number: int, shown: str) -> None:
    assert sessions_table._bytes(number) == shown
