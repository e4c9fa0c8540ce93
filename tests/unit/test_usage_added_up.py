"""The usage of users, added up from trails: generated, rotated, damaged, and very long ones."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import itertools
import json
import lzma
import os
import pathlib
import shutil
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from ssh2container.admin.auditlog import files, read, usage
from ssh2container.admin.auditlog.usage import FIGURES, Usage
from ssh2container.admin.cli import usage as verb
from ssh2container.errors import SessionError
from ssh2container.record.audit import as_fields
from ssh2container.record.ecs import as_ecs

NOW = 1_790_000_000.0
DAY = 86400
USERS = {"1000": "alice", "1001": "bob", "4294967294": "carol"}
AMOUNTS = st.integers(0, 10**12)


def closes() -> st.SearchStrategy[dict[str, str]]:
    """Last records as sessions write them: whatever nobody knew is absent."""
    numbers = ("cpu_usec", "input", "output", "oom_kills", "pids_refused", "memory_peak", "memory_largest")
    return st.fixed_dictionaries(
        {
            "event": st.just("close"),
            "session": st.from_regex(r"[0-9a-f]{10}", fullmatch=True),
            "uid": st.sampled_from([*USERS]),
            "reason": st.sampled_from(["exit", "hangup", "max_duration", "oom", "recording"]),
            "duration": st.integers(0, 10**8).map(lambda ms: f"{ms // 1000}.{ms % 1000:03}"),
        },
        optional=dict.fromkeys(numbers, AMOUNTS.map(str)),
    ).map(lambda fields: fields | {"user": USERS[fields["uid"]]})


def containers() -> st.SearchStrategy[dict[str, str]]:
    """What the owner of a shared container writes: of a uid, about no session."""
    return closes().map(
        lambda one: (
            {k: v for k, v in one.items() if k not in ("session", "user", "reason")}
            | {"event": "container-close", "container": "user"}
        )
    )


def transfers() -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries(
        {
            "event": st.just("transfer"),
            "session": st.just("0123456789"),
            "user": st.sampled_from([*USERS.values()]),
            "direction": st.sampled_from(["upload", "download"]),
        },
        optional={"size": AMOUNTS.map(str)},
    )


TRAILS = st.lists(
    st.tuples(st.integers(0, 90 * DAY), closes() | containers() | transfers()).map(
        lambda one: read.Record("", one[1], at=NOW + one[0])
    ),
    max_size=30,
)
BYS = st.lists(st.sampled_from(usage.KEYS), unique=True).map(tuple)


def of(trail: list[read.Record], by: tuple[str, ...] = (), who: tuple[str, ...] = ()) -> Usage:
    # Uids have their names from other records, or from this machine: here all are told before.
    first = [
        read.Record("", {"event": "open", "uid": u, "user": n, "session": n}, at=NOW)
        for u, n in USERS.items()
    ]
    return Usage(by, who).read([*first, *trail])


def expected(trail: list[read.Record]) -> dict[str, int]:
    """The sums of everything, in the plainest way there is."""
    last = [r.fields for r in trail if r.fields["event"] in ("close", "container-close")]
    ended = [fields for fields in last if fields["event"] == "close"]
    found: dict[str, int] = {}
    for name in ("cpu_usec", "input", "output", "oom_kills", "pids_refused"):
        numbers = [int(fields[name]) for fields in last if name in fields]
        found |= {name: sum(numbers)} if numbers else {}
    for direction in ("upload", "download"):
        moved = [r.fields for r in trail if r.fields.get("direction") == direction]
        sizes = [int(fields["size"]) for fields in moved if "size" in fields]
        found |= {f"{direction}ed": sum(sizes)} if sizes else {}
    memory = [int(f[name]) for f in last for name in ("memory_peak", "memory_largest") if name in f]
    found |= {"memory": max(memory)} if memory else {}
    if ended:
        found["sessions"] = len(ended)
        found["connected_ms"] = sum(int(fields["duration"].replace(".", "")) for fields in ended)
        found["ended"] = sum(fields["reason"] in ("max_duration", "oom") for fields in ended)
        found["without_cpu"] = sum("cpu_usec" not in fields for fields in ended)
    return found


@settings(deadline=None)
@given(TRAILS, BYS)
def test_the_parts_are_the_whole(trail: list[read.Record], by: tuple[str, ...]) -> None:
    """However it is divided, by users, by days or by both, and wherever the trail is cut in two."""
    whole = expected(trail)
    assert of(trail, by).total() == whole
    assert of(trail, by).bad == 0
    users: dict[str, int] = {}
    for name in USERS.values():
        usage.add(users, of(trail, by, (name,)).total())
    assert users == whole
    for at in (0, len(trail) // 3, len(trail)):
        halves: dict[str, int] = {}
        for part in (trail[:at], trail[at:]):
            usage.add(halves, of(part, by).total())
        assert halves == whole


@settings(deadline=None)
@given(TRAILS)
def test_a_row_is_what_its_records_say(trail: list[read.Record]) -> None:
    def key(record: read.Record) -> tuple[str, str]:
        user = record.fields.get("user") or USERS[record.fields["uid"]]
        return user, time.strftime("%Y-%m-%d", time.localtime(record.at))

    groups = {key: [*group] for key, group in itertools.groupby(sorted(trail, key=key), key)}
    assert of(trail, ("user", "day")).rows == {key: expected(group) for key, group in groups.items()}
    assert set(of(trail, ("month",)).rows) == {(day[:7],) for _, day in groups}


GOOD = {"event": "close", "session": "0123456789", "user": "alice", "uid": "1000", "duration": "1.500"}
BAD: list[dict[str, str]] = [
    {"duration": ""},
    {"duration": "nan"},
    {"duration": "1e9"},
    {"duration": "-1"},
    {"duration": "9" * 5000},
    {"cpu_usec": "-5"},
    {"cpu_usec": "٣"},
    {"cpu_usec": "9" * 19},
    {"memory_peak": "much"},
    {"input": "1 "},
    {"session": ""},
    {"event": "container-close", "duration": "x"},
    {"event": "transfer", "direction": "sideways", "size": "1"},
    {"event": "transfer", "direction": "upload", "size": "0x1"},
    {"event": "open", "session": ""},
    {"user": "", "uid": "no number"},
]


@pytest.mark.parametrize("wrong", BAD)
def test_a_record_that_cannot_be_believed_is_left_out_and_counted(wrong: dict[str, str]) -> None:
    good, bad = (read.Record("", fields, at=NOW) for fields in (GOOD, GOOD | wrong))
    used = Usage().read([good, bad])
    assert used.bad == 1
    assert used.total() == Usage().read([good]).total()


def test_a_record_of_no_time_is_left_out() -> None:
    used = Usage().read([read.Record("?", GOOD)])
    assert (used.bad, used.total()) == (1, {})


def test_what_another_user_wrote_counts_for_nobody() -> None:
    forged = read.Record("", GOOD, forged="1234", at=NOW)
    used = Usage().read([forged, read.Record("", {"event": "strange", "text": "x"}, at=NOW)])
    assert (used.forged, used.strange, used.total()) == (1, 1, {})


def test_sessions_that_have_not_ended_are_counted_apart() -> None:
    opened = [GOOD | {"event": "open", "session": name} for name in ("a", "b", "c")]
    ended = GOOD | {"session": "b"}
    used = Usage().read(read.Record("", fields, at=NOW) for fields in [*opened, ended])
    assert (used.begun, used.total()["sessions"]) == (2, 1)


def test_a_trail_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what has ended, nor what never ends."""
    monkeypatch.setattr(usage, "_MOST_BEGUN", 100)

    def trail(number: int) -> Iterator[read.Record]:
        for at in range(number):
            for event in ("open", "close") if at % 2 else ("open",):
                yield read.Record("", GOOD | {"event": event, "session": f"{at:010}"}, at=NOW + at)

    def peak(number: int) -> int:
        tracemalloc.start()
        used = Usage(("user", "month")).read(trail(number))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert used.begun == number // 2
        return found

    # A tenth of what the ids alone would be; what the interpreter keeps for reuse is less.
    assert peak(40_000) < 40_000 * 60 / 10


# ---- files, and what they are rotated to -------------------------------------------------------------------


def line(at: float, fields: dict[str, str], form: Callable[[dict[str, str]], str] = as_fields) -> str:
    when = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(at))
    return f"{when} host ssh2container[7]: {form(fields)}\n"


def close(number: int, **fields: str) -> dict[str, str]:
    return GOOD | {"session": f"{number:010}", "cpu_usec": str(10**number)} | fields


@pytest.fixture
def logs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A directory in place of /var/log, of a machine without a journal."""
    monkeypatch.setattr(files, "FILES", tuple(f"{tmp_path}/{os.path.basename(p)}" for p in files.FILES))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    return tmp_path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(verb.command, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def report(*arguments: str) -> dict[str, Any]:
    return dict(json.loads(run("--json", *arguments)))


def rotated(directory: pathlib.Path, names: list[str]) -> None:
    """Files of the given names, the oldest first: each has a session of its own."""
    packers: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress,
        ".xz": lzma.compress,
        ".bz2": bz2.compress,
    }
    for at, name in enumerate(names):
        content = line(NOW + at * DAY, close(at)).encode()
        pack = packers.get(os.path.splitext(name)[1], bytes)
        (directory / name).write_bytes(pack(content))
        os.utime(directory / name, (NOW + at * DAY + 60,) * 2)


@pytest.mark.parametrize(
    "names",
    [
        ["auth.log"],
        ["auth.log.10.gz", "auth.log.9.gz", "auth.log.2.xz", "auth.log.1", "auth.log"],
        ["secure-20260901.gz", "secure-20260908.bz2", "secure-20260915", "secure"],
        ["messages-20260915-1789430400", "messages"],
    ],
)
def test_what_was_rotated_is_read_the_oldest_first(logs: pathlib.Path, names: list[str]) -> None:
    rotated(logs, names)
    for other in ("auth.log.old", "auth.logbook", "auth.log.1.dpkg-new"):
        (logs / other).write_text(line(NOW, close(9)))
    assert [r.fields["session"] for r in read.records()] == [f"{at:010}" for at in range(len(names))]
    assert report()["total"]["cpu_usec"] == sum(10**at for at in range(len(names)))


def test_a_file_that_ends_before_the_time_asked_for_is_not_read(logs: pathlib.Path) -> None:
    rotated(logs, ["auth.log.2.gz", "auth.log.1", "auth.log"])
    damaged = logs / "auth.log.2.gz"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    os.utime(damaged, (NOW, NOW))
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(NOW + DAY))
    assert report("--since", since)["total"]["sessions"] == 2
    until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(NOW + DAY + 1))
    assert report("--since", since, "--until", until)["total"]["cpu_usec"] == 10
    with pytest.raises(SessionError, match=r"cannot read .*auth\.log\.2\.gz"):
        list(read.records())


def test_a_rotation_meanwhile_makes_no_record_twice_and_loses_none(
    logs: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotated(logs, ["auth.log.1", "auth.log"])
    opened: list[str] = []
    original = files._opened

    def opened_and_rotated(path: str) -> Any:
        if not opened:
            os.rename(logs / "auth.log.1", logs / "auth.log.2")
            os.rename(logs / "auth.log", logs / "auth.log.1")
            (logs / "auth.log").write_text(line(NOW + 2 * DAY, close(2)))
        opened.append(path)
        return original(path)

    monkeypatch.setattr(files, "_opened", opened_and_rotated)
    assert [r.fields["session"] for r in read.records()] == [f"{at:010}" for at in range(3)]


# ---- the verb ----------------------------------------------------------------------------------------------


@pytest.fixture
def trail(tmp_path: pathlib.Path) -> str:
    """Two users on two days, in both formats, one session that runs, and some lies."""
    path = tmp_path / "some.log"
    bob = {"user": "bob", "uid": "1001"}
    lines = [
        line(NOW, close(0, event="open")),
        line(NOW, close(0, memory_peak="1048576", input="5", output="70000")),
        line(NOW, close(1, **bob, reason="max_duration"), as_ecs),
        line(NOW + DAY, close(2, **bob)),
        line(NOW + DAY, close(3, event="open")),
        line(NOW + DAY, close(4, duration="long")),
        line(NOW + DAY, {"event": "transfer", "session": "5", **bob, "direction": "upload", "size": "7"}),
        line(NOW + DAY, {"event": "refused", "session": "6", **bob}),
        "2026-11-22T00:31:46.1+00:00 host ssh2container[13]: gibberish\n",
    ]
    path.write_text("".join(lines))
    return str(path)


def test_the_table_for_people(trail: str) -> None:
    done = CliRunner().invoke(verb.command, ["--file", trail])
    head, alice, bob, everybody = done.stdout.splitlines()[:4]
    assert head.split()[:5] == ["USER", "SESSIONS", "CONNECTED", "CPU", "MEMORY"]
    assert alice.split() == ["alice", "1", "1s", "0s", "1.0M", "5", "68.4K", "-", "-", "-", "-", "0"]
    assert bob.split() == ["bob", "2", "3s", "0s", "-", "-", "-", "7", "-", "-", "-", "1"]
    assert everybody.split()[:3] == ["(all)", "3", "4s"]
    for said in (
        "1 session begun and not ended",
        "left out: 1 record whose figures",
        "left out: 1 record without the form",
    ):
        assert said in done.output


def test_json_has_all_and_says_what_it_leaves_out(trail: str) -> None:
    found = report("--file", trail, "--by", "user", "--by", "month", "--by", "user")
    assert found["by"] == ["user", "month"]
    assert [(row["user"], row["month"]) for row in found["rows"]] == [
        ("alice", "2026-09"),
        ("bob", "2026-09"),
    ]
    assert set(found["total"]) == set(FIGURES)
    assert (found["total"]["cpu_usec"], found["total"]["oom_kills"]) == (111, None)
    assert (found["not_ended"], found["left_out"]) == (1, {"bad": 1, "forged": 0, "strange": 1})
    assert (found["first"], found["last"]) == (NOW, NOW + DAY)
    assert report("--file", trail, "bob")["total"]["sessions"] == 2
    assert report("--file", trail, "1001")["total"]["sessions"] == 2


def test_csv_is_read_as_it_was_meant(trail: str) -> None:
    with open(trail, "a", encoding="utf-8") as file:
        file.write(line(NOW + DAY, close(7, user='=1+"2",\x1b')))
    # click 8.1 has standard error there, too.
    lines = [line for line in run("--file", trail, "--csv").splitlines() if "ssh2containerctl:" not in line]
    rows = [*csv.DictReader(io.StringIO("\n".join(lines)))]
    assert [row["user"] for row in rows] == ['\'=1+"2",\\x1b', "alice", "bob"]
    assert [row["cpu_usec"] for row in rows] == [str(10**7), "1", "110"]
    assert rows[0]["memory"] == ""


def test_a_group_and_who_is_nobody(trail: str) -> None:
    assert report("--file", trail, "--group", "root")["total"]["sessions"] is None
    done = CliRunner().invoke(verb.command, ["--file", trail, "no-such-user"])
    assert "cannot find no-such-user in the log" in str(done.exception)
    done = CliRunner().invoke(verb.command, ["--file", trail, "--group", "no-such-group"])
    assert "no group 'no-such-group'" in str(done.exception)
    assert "exclude each other" in CliRunner().invoke(verb.command, ["--json", "--csv"]).output


def test_the_figures_are_those_of_the_document(checkout: str) -> None:
    text = pathlib.Path(checkout, "docs/usage.md").read_text(encoding="utf-8")
    rows = [row.split("|")[1].strip() for row in text.splitlines() if row.startswith("| ")]
    assert set(FIGURES) <= {name for row in rows for name in row.split(", ")}
