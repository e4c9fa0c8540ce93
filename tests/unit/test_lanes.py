"""Suites side by side: what several runs of pytest come to, as one run of the same tests would tell it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import lanes, outcome, room
from support.copying import Source
from support.deal import SUITES, Plan, plans
from support.host import DEADLINE_SECONDS, processes, until
from support.lanes import Run, parted
from support.one_lane import Lane
from support.outcome import VARIABLE, FileTimes, Outcome, closing_line, merged
from support.room import Obstacle, Room
from support.times import LaneTimes, Times, table
from support.unmounting import mounted

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONFTEST = f"""
import os, sys
sys.path.insert(0, {ROOT + "/tests"!r})
from support.outcome import VARIABLE
from support.recorder import Recorder
def pytest_configure(config):
    if path := os.environ.pop(VARIABLE, ""):
        config.pluginmanager.register(Recorder(path))
"""
TESTS = {
    "passing": "def test_one(): pass\ndef test_two(): pass",
    "failing": "def test_one(): assert 'short test summary info' == ''\ndef test_two(): pass",
    "broken": (
        "import pytest\n@pytest.fixture\ndef ill(): assert 0\n"
        "def test_one(ill): pass\ndef test_two(ill): pass"
    ),
    "late": "import pytest\n@pytest.fixture\ndef ill():\n yield\n assert 0\ndef test_one(ill): pass",
    "skipping": "import pytest\ndef test_one(): pytest.skip('why')",
    "expected": (
        "import pytest\n@pytest.mark.xfail\ndef test_one(): assert 0\n"
        "@pytest.mark.xfail\ndef test_two(): pass"
    ),
    "warning": "import warnings\ndef test_one(): warnings.warn('this')\ndef test_two(): warnings.warn('so')",
    "killed": "import os\ndef test_one(): pass\ndef test_two(): os.kill(os.getpid(), 9)",
    "leaving": "import os\ndef test_one(): os._exit(0)",
    "waiting": (
        "import os, select, subprocess\ndef test_one(): pass\n"
        "def test_two():\n"
        " subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        " with open('new', 'w') as file: file.write(os.readlink('/proc/self/ns/pid'))\n"
        " os.rename('new', 'begun')\n"
        # Again and again: a signal that Python has noted just before a wait does not end it.
        " while True: select.select([], [], [], 0.1)\n"
    ),
    "apart": (
        "import os, signal\n"
        "def test_its_group_is_its_own(): assert os.getpgrp() == os.getsid(0) == os.getpid()\n"
        "def test_it_can_be_interrupted():\n"
        " assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "def test_it_sees_no_process_but_its_own():\n"
        " assert os.getppid() == 1\n"
        " assert {name for name in os.listdir('/proc') if name.isdigit()} == {'1', str(os.getpid())}\n"
    ),
    "unreadable": "import nothing_of_that_name",
    "machine": (
        "import os, shutil, stat, subprocess\n"
        "def test_its_usr_can_be_changed():\n"
        " open('/usr/bin/new', 'x').close()\n"
        " os.unlink('/usr/bin/getent')\n"
        " os.rename('/usr/lib', '/usr/renamed')\n"
        " os.rename('/usr/renamed', '/usr/lib')\n"
        "def test_it_is_this_machine():\n"
        " assert stat.S_IMODE(os.stat('/usr').st_mode) == 0o755\n"
        " assert subprocess.check_output(['/usr/bin/bash', '-c', 'echo here']) == b'here\\n'\n"
        " assert 'bash' in subprocess.check_output(['dpkg-query', '-W', 'bash'], text=True)\n"
        "def test_set_user_id_counts():\n"
        " user = {'user': 65534, 'group': 65534, 'extra_groups': []}\n"
        " for place in ('/usr/bin', '/opt'):\n"
        "  shutil.copy('/usr/bin/id', place + '/own')\n"
        "  os.chmod(place + '/own', 0o4755)\n"
        "  assert subprocess.check_output([place + '/own', '-u'], **user) == b'0\\n', place\n"
        "def test_its_users_have_numbers_of_their_own():\n"
        " assert 'UID_MIN 10000\\n' in open('/etc/login.defs').read()\n"
    ),
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A tree of tests of all kinds."""
    top = tmp_path / "checkout"
    for name, text in TESTS.items():
        file = top / f"tests/{name}/test_{name}.py"
        file.parent.mkdir(parents=True)
        file.write_text(text + "\n")
    (top / "tests/conftest.py").write_text(CONFTEST)
    (top / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '-ra -p no:cacheprovider'\n")
    return top


@pytest.fixture
def run_pytest(checkout: Path, tmp_path: Path) -> Callable[..., tuple[str, Outcome]]:
    """Run pytest on some of it: what it printed, and the outcome that was noted."""

    def run(*names: str) -> tuple[str, Outcome]:
        path = str(tmp_path / "outcome.json")
        done = subprocess.run(
            [sys.executable, "-B", "-m", "pytest", *(f"tests/{name}" for name in names)],
            cwd=checkout, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS,
            env={**os.environ, VARIABLE: path},
        )  # fmt: skip
        outcome = Outcome.read(path)
        assert outcome is not None, done.stdout + done.stderr
        assert outcome.status == done.returncode
        return done.stdout, outcome

    return run


def without_time(line: str) -> str:
    return re.sub(r" in [\d.]+s( \(.*\))?", "", line).strip("= ")


@pytest.mark.parametrize(
    "names",
    [
        ("passing", "failing"),
        ("passing", "broken"),
        ("broken", "late", "failing", "skipping", "expected", "warning"),
        ("skipping", "warning"),
        ("passing", "unreadable"),
    ],
)
def test_lanes_together_close_as_one_run_would(
    run_pytest: Callable[..., tuple[str, Outcome]], names: tuple[str, ...]
) -> None:
    said, one = run_pytest(*names)
    together = merged([run_pytest(name)[1] for name in names])
    assert together.status == one.status
    line = closing_line(together.counts, 1.0)
    last = said.splitlines()[-1]
    if "unreadable" in names:  # one run would not have begun with the others
        assert "1 error" in line
    else:
        assert without_time(line) == without_time(last)
    assert re.fullmatch(r"=+ .* in 1\.00s =+", line)
    assert line.strip("=") == f" {without_time(line)} in 1.00s "


def test_the_closing_line_tells_hours_as_pytest_does() -> None:
    assert closing_line({"passed": 3}, 3955.2).strip("= ") == "3 passed in 3955.20s (1:05:55)"
    assert closing_line({}, 0.5).strip("= ") == "no tests ran in 0.50s"


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ((0, 0), 0),
        ((0, 1), 1),
        ((0, 5), 0),
        ((5, 5), 5),
        ((1, 2), 2),
        ((1, 3, 2), 3),
        ((2, 4), 4),
        ((0, -9), 3),
    ],
)
def test_the_gravest_status_is_that_of_all(statuses: tuple[int, ...], status: int) -> None:
    assert merged(Outcome(one) for one in statuses).status == status


@pytest.fixture(params=["", "true"])
def ci(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the environment says that this is a CI: pytest's summary then has messages of several lines."""
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    if request.param:
        monkeypatch.setenv("CI", request.param)
    return bool(request.param)


def test_details_and_summary_are_parted(run_pytest: Callable[..., tuple[str, Outcome]], *, ci: bool) -> None:
    """Also where a test that failed shows the head of a summary."""
    said, _ = run_pytest("failing", "skipping")
    lines = said.splitlines()
    start = next(number for number, line in enumerate(lines) if " FAILURES " in line)
    details, summary = parted(lines[start:])
    assert any("assert 'short test summary info' == ''" in line for line in details)
    assert [entry.split(" ")[0] for entry in summary] == ["SKIPPED", "FAILED"]
    assert ("\n" in summary[1]) == ci


def test_every_file_of_tests_is_in_one_lane() -> None:
    files = [
        f"tests/{suite}/{name}"
        for suite in SUITES
        for name in os.listdir(f"{ROOT}/tests/{suite}")
        if name.startswith("test_")
    ]
    for most in (None, 4, 3, 2, 1):
        chosen = plans(SUITES, ROOT, most)
        assert len(chosen) == most or most is None
        (in_place,) = (plan for plan in chosen if plan.in_place)
        assert "tests/system/test_whole_system.py" in in_place.paths
        for file in files:
            assert sum(file in plan.paths or os.path.dirname(file) in plan.paths for plan in chosen) == 1, (
                file
            )
        doctors = next(plan for plan in chosen if "tests/system/test_doctor.py" in plan.paths)
        assert "tests/session/test_core_handler.py" in doctors.paths
        assert all(plan.online for plan in chosen if "tests/clients" in plan.paths)
        system = [path for path in in_place.paths if path.startswith("tests/system/")]
        assert system[-1] == "tests/system/test_whole_system.py", "no emulated system idles while others run"
    assert sum(plan.in_place for plan in plans(["session", "unit"], ROOT)) == 1
    assert {path for plan in plans(["session", "unit"], ROOT) for path in plan.paths} == {
        "tests/unit",
        *(file for file in files if file.startswith("tests/session/")),
    }


@pytest.fixture
def run_lanes(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str]]]:
    """Run parts of the tree in lanes that keep this machine's files: exit status, lines."""

    def run(*names: str) -> tuple[int, list[str]]:
        monkeypatch.chdir(checkout)
        cache = str(tmp_path)
        made = [Lane(Plan(name, (f"tests/{name}",), in_place=True), "") for name in names]
        side_by_side = Run(cache, made)
        try:
            side_by_side.make(Source([]), [sys.executable, "-B", "-m", "pytest"], [], str(checkout))
            side_by_side.watch()
        finally:
            side_by_side.end()
        capsys.readouterr()
        return side_by_side.tell(1.0, str(checkout)), capsys.readouterr().out.splitlines()

    return run


@pytest.mark.needs_root
def test_a_failure_in_one_lane_fails_the_run(
    run_lanes: Callable[..., tuple[int, list[str]]], *, ci: bool
) -> None:
    status, lines = run_lanes("passing", "failing", "skipping")
    assert status == 1
    assert without_time(lines[-1]) == "1 failed, 3 passed, 1 skipped"
    failed = next(number for number, line in enumerate(lines) if line.startswith("FAILED "))
    assert lines[failed].startswith("FAILED tests/failing/test_failing.py::test_one")
    assert lines[failed - 1].startswith("SKIPPED ")
    assert [line.strip()[:1] for line in lines[failed + 1 : -1] if line.strip()] == (["+"] if ci else [])
    assert sum("short test summary info ===" in line for line in lines) == 1
    assert lines[0].strip("= ") == "FAILURES"


@pytest.mark.needs_root
def test_a_lane_is_apart_from_the_others(run_lanes: Callable[..., tuple[int, list[str]]]) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a job of a shell's background
    try:
        status, lines = run_lanes("apart", "passing")
    finally:
        signal.signal(signal.SIGINT, before)
    assert status == 0, lines
    assert without_time(lines[-1]) == "5 passed"


@pytest.mark.needs_root
@pytest.mark.parametrize("name", ["killed", "leaving"])
def test_a_lane_that_does_not_reach_its_end_is_an_error(
    run_lanes: Callable[..., tuple[int, list[str]]], name: str
) -> None:
    status, lines = run_lanes("passing", name)
    assert status == 3
    assert without_time(lines[-1]) == "2 passed, 1 error"
    assert lines[-2].startswith(f"ERROR lane {name} - ")


def in_namespace(name: str) -> Iterator[str]:
    """The names of the processes in a pid namespace."""
    for process in processes():
        with contextlib.suppress(OSError):
            if process.namespace("pid") == name:
                yield process.name


@pytest.mark.needs_root
def test_an_interrupted_run_tells_what_ran_and_leaves_no_process(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(checkout)
    lane = Lane(Plan("waiting", ("tests/waiting",), in_place=True), "")
    run = Run(str(tmp_path), [lane])
    try:
        run.make(Source([]), [sys.executable, "-B", "-m", "pytest"], [], str(checkout))
        lane.begin(run.printed)
        begun = checkout / "begun"
        until(begun.exists, "the test that waits has begun")
        assert any(in_namespace(begun.read_text()))
        run.interrupt()
    finally:
        run.end()
    capsys.readouterr()
    assert run.tell(1.0, str(checkout)) == 2
    assert without_time(capsys.readouterr().out.splitlines()[-1]) == "1 passed"
    assert not any(in_namespace(begun.read_text()))


def fall_back(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[list[str], str]:
    """Run lanes.main where it cannot make lanes: what it runs in their place, and what it says."""
    instead: list[list[str]] = []

    def execv(_: str, command: list[str]) -> None:
        instead.append(command)
        raise SystemExit(0)

    monkeypatch.chdir(checkout)
    (checkout / "tests/session").mkdir()
    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setenv(outcome.IN_PLACE, "")
    left = tmp_path / "lanes/session/root/left"
    left.mkdir(parents=True)  # by a run that was killed
    with pytest.raises(SystemExit):
        lanes.main(str(tmp_path), "/venv/bin/python", "unit clients", "-q")
    assert not (tmp_path / "lanes").exists()
    said = capsys.readouterr().out
    assert said.endswith(os.environ[outcome.IN_PLACE] + "\n")
    return instead[0], said


INSTEAD = ["/venv/bin/python", "-m", "pytest", "tests/unit", "tests/clients", "-q"]


def test_why_all_runs_in_place_is_said_at_the_end_again(checkout: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "tests/passing"],
        cwd=checkout, env={**os.environ, VARIABLE: f"{tmp_path}/one.json", outcome.IN_PLACE: "no room here"},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-2] == "no room here"


def test_without_room_all_runs_in_place_and_a_line_says_why(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Source, "size", lambda _: 1 << 60)
    command, said = fall_back(checkout, tmp_path, monkeypatch, capsys)
    assert command == INSTEAD
    assert re.fullmatch(
        r"tests/run: one suite after the other, in place: \d+ MiB are needed in .*/lanes, \d+ MiB are free\n",
        said,
    )


def test_without_machines_all_runs_in_place_and_a_line_says_why(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def copy(_: Source, root: str) -> None:
        Path(root).mkdir()
        raise PermissionError("no copies here")

    monkeypatch.setattr(Source, "copy", copy)
    monkeypatch.setattr(room, "find", lambda *_: Room(Source([]), (), 1, "which is a test's"))
    command, said = fall_back(checkout, tmp_path, monkeypatch, capsys)
    assert command == INSTEAD
    assert said.splitlines()[-1].startswith(
        "tests/run: one suite after the other, in place: the machine of the lane "
    )
    assert said.endswith("cannot be made: no copies here\n")


def test_too_little_memory_is_an_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "size", lambda _: 0)
    monkeypatch.setattr(room, "FREE_BYTES", 0)
    monkeypatch.setattr(room, "MEMORY_BYTES", 1 << 60)
    with pytest.raises(Obstacle, match=r"MiB of memory are needed, \d+ MiB are available"):
        room.find(str(tmp_path), str(tmp_path), 1)


def no_overlay(*_: object) -> None:
    raise Obstacle("no overlays here")


def free_bytes(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def test_with_room_for_some_machines_the_suites_are_dealt_over_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").mkdir()
    each = free_bytes(tmp_path) // 3
    monkeypatch.setattr(room, "check_overlay", no_overlay)
    monkeypatch.setattr(Source, "size", lambda _: each)
    monkeypatch.setattr(room, "FREE_BYTES", 0)
    found = room.find(str(tmp_path / "cache"), str(tmp_path), 4)
    assert found.machines == 2
    assert found.shared == ()
    assert re.fullmatch(
        "a copy of this one, as overlays cannot be had: no overlays here; "
        r"3 rather than 5, as \d+ MiB are needed in .*, \d+ MiB are free",
        found.why,
    )
    dealt = plans(SUITES, ROOT, found.machines + 1)
    assert len(dealt) == 3
    for plan in dealt:
        suites = [path.split("/")[1] for path in plan.paths]
        assert suites == sorted(suites, key=SUITES.index) or plan.name == "system"


def test_of_what_is_shared_nothing_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache/venv").mkdir(parents=True)
    monkeypatch.setattr(Source, "size", lambda _: 0)
    monkeypatch.setattr(room, "FREE_BYTES", 0)
    monkeypatch.setattr(room, "check_overlay", lambda *_: None)
    found = room.find(str(tmp_path / "cache"), str(tmp_path), 4)
    assert found.shared[0] == "/usr"
    assert found.shared[-1] == str(tmp_path / "cache/venv")
    assert found.source._left_out >= set(found.shared)
    assert (found.machines, found.why) == (4, "whose /usr is an overlay of this one's")


def test_a_tree_that_there_is_no_overlay_of_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").mkdir()

    def check(_: str, tree: str = "/usr") -> None:
        if tree == "/root":
            raise Obstacle("not of this one")

    monkeypatch.setattr(Source, "size", lambda _: 0)
    monkeypatch.setattr(room, "FREE_BYTES", 0)
    monkeypatch.setattr(room, "check_overlay", check)
    found = room.find(str(tmp_path / "cache"), str(tmp_path), 4, "/root/checkout")
    assert {"/usr", "/opt", "/root/checkout"} <= set(found.shared)
    assert "/root" not in found.shared


@pytest.mark.needs_root
def test_a_place_that_takes_no_changes_of_an_overlay_is_told() -> None:
    with mounted("overlay") as system:
        with pytest.raises(Obstacle, match=r"^mount: .*/merged: "):
            room.check_overlay(system.place)
        assert not os.listdir(system.place)


class WithSupport(Source):
    """A machine in which the tests of these tests find what they import."""

    def copy(self, root: str) -> None:
        super().copy(root)
        shutil.copytree(f"{ROOT}/tests/support", f"{root}{ROOT}/tests/support", dirs_exist_ok=True)


@pytest.fixture
def little(tmp_path: Path) -> Source:
    """What of this machine is no overlay, as little as programs run with: the tests need no room for more."""
    origin = tmp_path / "little"
    for name in ("etc", "opt"):
        (origin / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        if os.path.lexists(f"/{name}"):
            (origin / name).symlink_to(f"usr/{name}")
    for name in ("group", "ld.so.cache", "login.defs", "nsswitch.conf", "passwd"):
        shutil.copy(f"/etc/{name}", origin / "etc")
    return WithSupport([], str(origin))


@pytest.mark.needs_root
@pytest.mark.parametrize("flags", ["", "nosuid,nodev,noexec"])
def test_what_a_lane_does_to_its_overlays_stays_in_it(
    checkout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    little: Source,
    flags: str,
) -> None:
    """Also where the place of its changes is mounted as if nothing were ever run from there."""
    place = tmp_path / "place"
    place.mkdir()
    if flags:
        subprocess.run(["mount", "-t", "tmpfs", "-o", flags, "place", place], check=True)
    try:
        try:
            room.check_overlay(str(place))
        except Obstacle as obstacle:
            pytest.skip(str(obstacle))
        shared = ("/usr", "/var/lib/dpkg", sys.prefix)
        lane = Lane(Plan("machine", ("tests/machine",)), f"{place}/machine", shared)
        run = Run(str(tmp_path), [lane])
        before = sorted(os.listdir("/usr")), sorted(os.listdir("/usr/bin"))
        monkeypatch.chdir(checkout)
        try:
            run.make(little, [sys.executable, "-B", "-m", "pytest"], [], str(checkout))
            run.watch()
        finally:
            run.end()
        capsys.readouterr()
        assert run.tell(1.0, str(checkout)) == 0, capsys.readouterr().out
        assert (sorted(os.listdir("/usr")), sorted(os.listdir("/usr/bin"))) == before
    finally:
        if flags:
            subprocess.run(["umount", place], check=True)


def test_a_copy_has_what_is_installed_and_not_what_is_left_out(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    for path in (
        "usr/bin",
        "etc",
        "home/alice",
        "var/cache/ours/lanes/old",
        "var/cache/ours/venv",
        "boxes/1",
    ):
        (origin / path).mkdir(parents=True)
    (origin / "bin").symlink_to("usr/bin")
    kept = ("usr/bin/tool", "var/cache/ours/venv/python")
    for path in (
        *kept,
        "home/alice/letter",
        "var/cache/ours/lanes/old/f",
        "var/cache/ours/log",
        "boxes/1/much",
    ):
        (origin / path).write_text(path)
    (origin / "usr/bin/tool").chmod(0o4755)
    (origin / "var/cache/ours/lanes").chmod(0o700)
    copy = tmp_path / "copy"
    Source(["/var/cache/ours/lanes", "/var/cache/ours/log"], str(origin)).copy(str(copy))
    found = {
        str(path.relative_to(copy)) for path in copy.rglob("*") if not path.is_dir() or path.is_symlink()
    }
    assert found == {"bin", *kept}
    assert (copy / "usr/bin/tool").stat().st_mode & 0o7777 == 0o4755
    assert (copy / "var/cache/ours/lanes").stat().st_mode & 0o7777 == 0o700
    assert (copy / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert {name.name for name in copy.iterdir()} >= {"dev", "home", "mnt", "proc", "run", "sys"}


def test_times_are_kept_of_files_that_ran_as_a_whole(
    checkout: Path, tmp_path: Path, run_pytest: Callable[..., tuple[str, Outcome]]
) -> None:
    run_pytest("passing", "failing")
    assert {name: times.tests for name, times in Times.read(str(tmp_path)).files.items()} == {
        "tests/passing/test_passing.py": 2,
        "tests/failing/test_failing.py": 2,
    }
    (checkout / "tests/failing/test_failing.py").unlink()
    run_pytest("passing/test_passing.py::test_one")
    assert {name: times.tests for name, times in Times.read(str(tmp_path)).files.items()} == {
        "tests/passing/test_passing.py": 2
    }


def test_the_table_is_sorted_and_sums_up() -> None:
    times = Times(
        {
            "tests/unit/test_a.py": FileTimes(3, 2.0, 1.0),
            "tests/session/test_b.py": FileTimes(5, 100.0, 10.0),
            "tests/session/test_c.py": FileTimes(1, 20.0, 10.0),
        },
        [LaneTimes("session", 125.0, 25.0)],
        130.0,
    )
    rows = [line.split() for line in table(times) if line]
    assert rows[1:] == [
        ["session", "test_b.py", "5", "100.0", "10.0", "10", "%"],
        ["session", "test_c.py", "1", "20.0", "10.0", "50", "%"],
        ["unit", "test_a.py", "3", "2.0", "1.0", "50", "%"],
        ["session", "all", "files", "6", "120.0", "20.0", "17", "%"],
        ["unit", "all", "files", "3", "2.0", "1.0", "50", "%"],
        ["all", "one", "after", "the", "other", "9", "122.0", "21.0", "17", "%"],
        ["lane", "session", "125.0", "25.0", "20", "%"],
        ["all", "lanes", "side", "by", "side", "130.0", "25.0", "19", "%"],
    ]
