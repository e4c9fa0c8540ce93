"""Tests on a disk that is short, or gets full: what is said of it, and that no outcome is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import disk, scratch
from support.disk import Seen, Watch, closing, opening
from support.host import DEADLINE_SECONDS
from support.outcome import STDOUT, TOLD, VARIABLE, WATCHED, Outcome
from support.room import needed_bytes

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MIB = 1 << 20
SUPPORT = f"import sys; sys.path.insert(0, {ROOT + '/tests'!r})\n"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "small", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.needs_root
def test_the_lowest_is_seen_also_when_it_has_passed(small: Path) -> None:
    seen = Seen(str(small), 16 * MIB, 16 * MIB, 0.0, 0)
    (small / "file").write_bytes(bytes(10 * MIB))
    seen.look()
    (small / "file").unlink()
    seen.look()
    assert (seen.lowest, seen.last) == (6 * MIB, 16 * MIB)
    assert seen.at > 0


@pytest.mark.needs_root
def test_a_watch_looks_at_each_disk(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    watch = Watch(str(small))
    (small / "file").write_bytes(bytes(10 * MIB))
    seen = {one.place: one for one in watch.end()}
    assert seen[str(small)].last == seen[str(small)].lowest == 6 * MIB
    assert len({os.stat(place).st_dev for place in seen}) == len(seen) >= 2
    assert watch.end() == []


def test_a_short_disk_is_told_before_the_first_test(tmp_path: Path) -> None:
    (line,) = opening(str(tmp_path), 0)[:1]
    assert re.fullmatch(
        r"tests/run: on the disk there are \d+ MiB free in .*; these tests write 0 MiB or less at a time",
        line,
    )
    assert any(
        re.fullmatch(r"tests/run: the disk is short: .* has \d+ MiB free of 1099511627776", line)
        for line in opening(str(tmp_path), 1 << 60)
    )
    assert not any("disk is short" in line for line in opening(str(tmp_path), 0))


def test_the_lowest_is_told_with_what_ran_then() -> None:
    seen = Seen("/tmp", 900 * MIB, 300 * MIB, 1083.0, 800 * MIB)
    spans = {"tests/unit/test_a.py": (1000.0, 1083.5), "tests/unit/test_b.py": (1084.0, 1100.0)}
    (line,) = closing([seen], 1000.0, spans)
    assert line == (
        "tests/run: free in /tmp: 900 MiB at the start, 300 MiB at the lowest, after 1:23 in"
        " tests/unit/test_a.py, 800 MiB at the end"
    )
    (line,) = closing([Seen("/tmp", 900 * MIB, MIB, 1001.0, MIB)], 1000.0, {})
    assert line.endswith("1 MiB at the end: the disk was full, which is why tests may have failed")


def test_each_suite_has_a_need() -> None:
    suites = [
        name for name in os.listdir(f"{ROOT}/tests") if os.path.exists(f"{ROOT}/tests/{name}/conftest.py")
    ]
    for suite in ("unit", "session", "clients", *suites):
        assert needed_bytes([suite]) > 0, suite
    assert needed_bytes(["unit", "system"]) == needed_bytes(["system"])


def run_pytest(top: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in place on a test of that text."""
    (top / "tests/unit").mkdir(parents=True)
    (top / "tests/unit/test_it.py").write_text(text)
    (top / "conftest.py").write_text(
        SUPPORT + "import os\nfrom support.outcome import VARIABLE\nfrom support.recorder import Recorder\n"
        "def pytest_configure(config):\n"
        " config.pluginmanager.register(Recorder(os.environ.pop(VARIABLE)))\n"
    )
    return subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit"],
        cwd=top, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
        timeout=DEADLINE_SECONDS,
    )  # fmt: skip


def test_a_run_in_place_tells_of_the_disk_at_both_ends(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "def test(): pass", **{VARIABLE: STDOUT, WATCHED: str(tmp_path)})
    lines = done.stdout.splitlines()
    assert lines[0].startswith("tests/run: on the disk there are ")
    assert any(re.fullmatch(r"tests/run: free in .* MiB at the end.*", line) for line in lines[1:])
    (told,) = (line.removeprefix(TOLD) for line in lines if line.startswith(TOLD))
    outcome = Outcome.parse(told)
    assert outcome is not None
    times = outcome.files["tests/unit/test_it.py"]
    assert 0 < times.began <= times.ended
    assert " passed" in lines[-1]


def test_an_outcome_that_cannot_be_written_fails_no_run(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path, "def test(): pass", **{VARIABLE: f"{tmp_path}/none/outcome.json", WATCHED: ""}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tests/run: what this run took is not noted: " in done.stdout
    assert "on the disk" not in done.stdout


@pytest.mark.needs_root
def test_lines_wait_for_room(small: Path) -> None:
    """A run whose output is a file on the disk that its tests have filled loses no line."""
    program = SUPPORT + (
        "import os\nfrom support.saying import say\n"
        "filler = open('filler', 'wb', 0)\n"
        "try:\n while True: filler.write(bytes(4096))\n"
        "except OSError: pass\n"
        "say('one'); say('two')\n"
        "print(os.path.getsize('said'), file=sys.stderr)\n"
        "os.unlink('filler'); filler.close()\n"
        "say.flush(); say('three')\n"
    )
    with (small / "said").open("wb") as said:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=small,
            stdout=said,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
    assert done.stderr == "0\n"
    assert (small / "said").read_text() == "one\ntwo\nthree\n"


@pytest.mark.parametrize("lost", ["/dev/full", "pipe"])
def test_what_lanes_came_to_does_not_depend_on_who_reads_it(tmp_path: Path, lost: str) -> None:
    program = SUPPORT + (
        "from support.deal import Plan\nfrom support.lanes import Run\nfrom support.one_lane import Lane\n"
        "from support.outcome import Outcome\n"
        "lane = Lane(Plan('one', ()), '')\nlane.outcome = Outcome(1, {'failed': 1})\n"
        "raise SystemExit(Run('/nowhere', [lane]).tell(1.0, '/'))\n"
    )
    if lost == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(lost, os.O_WRONLY)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_scratch_is_where_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "available_bytes", lambda: 0)
    monkeypatch.setattr(disk, "free_bytes", lambda _: 1 << 50)
    with scratch.directory(MIB, str(tmp_path)) as place:
        assert os.path.dirname(place) == str(tmp_path)
        Path(place, "file").touch()
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(disk, "free_bytes", lambda _: 0)
    with (
        pytest.raises(scratch.NoRoom, match=r"1 MiB .* 0 MiB .* 0 MiB"),
        scratch.directory(MIB, str(tmp_path)),
    ):
        pass


@pytest.mark.needs_root
def test_scratch_is_in_memory_where_the_disk_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "free_bytes", lambda _: 0)
    monkeypatch.setattr(scratch, "available_bytes", lambda: 1 << 50)
    with scratch.directory(MIB, str(tmp_path)) as place:
        assert os.stat(place).st_dev != os.stat(tmp_path).st_dev
        Path(place, "file").write_bytes(bytes(MIB))
    assert os.listdir(tmp_path) == []
