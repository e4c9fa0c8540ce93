"""What adopt reads of the books of other programs: last logins, and jobs of at."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssh2container.admin.account import Account
from ssh2container.admin.adopt import facts, outlook, plan, reading, words
from ssh2container.admin.doctor import routes

LOGIN, LOGOUT, BOOT = 7, 8, 2
OLD, MIDDLE, NEW = 1_600_000_000, 1_700_000_000, 1_750_000_000
UID = 1003


def account() -> Account:
    return Account("alice", UID, 100, "/home/alice", "/bin/bash", ("users",), False)


def utmp(kind: int, user: str, when: int) -> bytes:
    """A record as login(1) writes it on x86-64: bits/utmp.h of glibc, 384 bytes."""
    head = struct.pack("=hxxi32s4s32s256s", kind, 42, b"pts/0", b"ts/0", user.encode(), b"198.51.100.7")
    record = head + struct.pack("=hhiii16s20x", 0, 0, 0, when, 0, b"")
    assert len(record) == 384
    return record


def lastlog(times: dict[int, int]) -> bytes:
    """The file as pam_lastlog(8) writes it: 292 bytes for each uid, with holes."""
    content = bytearray(292 * (max(times) + 1))
    for uid, when in times.items():
        struct.pack_into("=i32s256s", content, 292 * uid, when, b"pts/0", b"198.51.100.7")
    return bytes(content)


def lastlog2(path: Path, times: dict[str, int]) -> None:
    """The table as pam_lastlog2(8) makes it."""
    with contextlib.closing(sqlite3.connect(path)) as table:
        columns = "Name TEXT PRIMARY KEY, Time INTEGER, TTY TEXT, RemoteHost TEXT, Service TEXT"
        table.execute(f"CREATE TABLE Lastlog2({columns}) STRICT")
        rows = [(name, when, "pts/0", "198.51.100.7", "sshd") for name, when in times.items()]
        table.executemany("INSERT INTO Lastlog2 VALUES (?, ?, ?, ?, ?)", rows)
        table.commit()


@pytest.fixture
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory in which the host's books of logins lie."""
    for name in ("lastlog", "lastlog2", "wtmp"):
        monkeypatch.setattr(reading, f"_{name.upper()}", f"{tmp_path}/{name}")
    reading._in_wtmp.cache_clear()
    yield tmp_path
    reading._in_wtmp.cache_clear()


def test_no_book_no_login(books: Path) -> None:
    assert reading._last_login(account()) == 0
    assert words.date(0) == "never"
    assert not [*books.iterdir()]


@pytest.mark.parametrize(
    ("first", "second", "third"), [(NEW, OLD, MIDDLE), (OLD, NEW, MIDDLE), (OLD, MIDDLE, NEW), (0, 0, NEW)]
)
def test_the_latest_of_all_books(books: Path, first: int, second: int, third: int) -> None:
    """A host that was upgraded to Debian 13 has a lastlog that nobody writes any more."""
    (books / "lastlog").write_bytes(lastlog({UID: first, UID + 1: NEW + 1}))
    lastlog2(books / "lastlog2", {"alice": second, "bob": NEW + 1})
    records = [utmp(LOGIN, "alice", third), utmp(LOGIN, "bob", NEW + 1), utmp(LOGIN, "alice", OLD)]
    (books / "wtmp").write_bytes(b"".join(records))
    assert reading._last_login(account()) == NEW


@pytest.mark.parametrize("name", ["lastlog", "lastlog2", "wtmp"])
def test_one_book_is_enough(books: Path, name: str) -> None:
    if name == "lastlog2":
        lastlog2(books / name, {"alice": NEW})
    else:
        (books / name).write_bytes(lastlog({UID: NEW}) if name == "lastlog" else utmp(LOGIN, "alice", NEW))
    assert reading._last_login(account()) == NEW


def test_a_book_that_is_none_is_passed_over(books: Path) -> None:
    for name in ("lastlog", "lastlog2", "wtmp"):
        (books / name).write_bytes(b"\xff" * 100)
    assert reading._last_login(account()) == 0


def test_only_logins_of_wtmp_count(books: Path) -> None:
    """Not the end of a session, whose record may have the name, nor a boot; nor half a record."""
    records = [utmp(LOGIN, "alice", OLD), utmp(LOGOUT, "alice", NEW), utmp(BOOT, "alice", NEW)]
    (books / "wtmp").write_bytes(b"".join(records) + utmp(LOGIN, "alice", NEW)[:-1])
    assert reading._in_wtmp() == {"alice": OLD}


def test_of_a_long_wtmp_the_newest_records(books: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_MOST_RECORDS", 2)
    names = ("alice", "bob", "carol")
    records = b"".join(utmp(LOGIN, name, OLD + number) for number, name in enumerate(names))
    (books / "wtmp").write_bytes(records + b"half a record")
    assert reading._in_wtmp() == {"bob": OLD + 1, "carol": OLD + 2}


@pytest.mark.parametrize(
    ("name", "minute"),
    [
        ("a0000101c7f0f4", 0x01C7F0F4),  # of queue a, the first job
        ("=0000a01c7f0f4", 0x01C7F0F4),  # it runs just now
        ("Z000ff00000001", 1),
        ("a0000101c7f0f", None),
        ("a0000101c7f0f4.lock", None),
        (".SEQ", None),
    ],
)
def test_names_of_jobs_of_at(name: str, minute: int | None) -> None:
    assert facts.at_minute(name) == (None if minute is None else minute * 60)


def test_jobs_of_at_are_those_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "AT_JOBS", (f"{tmp_path}", f"{tmp_path}/none"))
    for number in range(1, 6):
        (tmp_path / f"a{number:05x}01c7f0f{number}").write_text("#!/bin/sh\n")
    (tmp_path / ".SEQ").write_text("00005\n")
    os.symlink("/etc/passwd", tmp_path / "a0000601c7f0f4")
    jobs = reading._at_jobs(os.getuid())
    assert [os.path.basename(job.path)[:6] for job in jobs] == [f"a{number:05x}" for number in range(1, 6)]
    assert reading._at_jobs(os.getuid() + 1) == ()
    (row,) = outlook._of_clock(facts.Facts(account(), facts.Home("/home/alice"), at_jobs=jobs))
    assert (row.what, row.state) == ("jobs of at", plan.ENDS)
    assert row.today.startswith("5: 20")
    assert row.today.endswith("; and 2 more")
