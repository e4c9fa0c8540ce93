"""What a login reads: compiled filters, when they are used and when they are built again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from support.policies import copy_profiles

from ssh2container.admin.seccomp import build
from ssh2container.errors import SessionError
from ssh2container.policy import filters
from ssh2container.policy.policy import Seccomp

PLAIN = Seccomp("default", (), (), "errno")


class Log(list[str]):
    """What would have gone to syslog."""


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    lines = Log()
    monkeypatch.setattr(filters, "_log", lines.append)
    return lines


@pytest.fixture
def place(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: os.PathLike[str],
    files_of_root: None,  # noqa: ARG001
) -> str:
    """A site's own directory before the shipped one, and a place for compiled filters."""
    top = str(tmp_path)
    for name in ("site", "shipped", "compiled"):
        os.mkdir(os.path.join(top, name), 0o755)
    copy_profiles(os.path.join(top, "shipped"))
    monkeypatch.setattr(filters, "PROFILES", (os.path.join(top, "site"), os.path.join(top, "shipped")))
    monkeypatch.setattr(filters, "COMPILED", os.path.join(top, "compiled"))
    return top


def compile_plain(place: str, *more: Seccomp) -> list[str]:
    combinations = [(seccomp, frozenset[int](), 0) for seccomp in (PLAIN, *more)]
    return build.compile_all(combinations, os.path.join(place, "compiled"))


def test_a_fresh_compiled_filter_is_used_as_it_is(
    place: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_plain(place)
    built = build.build(PLAIN)
    monkeypatch.setattr(build, "programs", None)
    assert filters.filter_for(PLAIN, ()) == built
    assert filters.load((PLAIN, (), 0)) == [(built, b"")]
    assert not log


def test_without_a_compiled_filter_it_is_built_and_the_log_says_so(place: str, log: Log) -> None:
    assert filters.filter_for(PLAIN, ()) == build.build(PLAIN)
    assert len(log) == 1
    assert f"{place}/shipped/default.json" in log[0]
    assert "run ssh2containerctl compile" in log[0]


def test_a_changed_profile_is_obeyed_at_once(place: str, log: Log) -> None:
    compile_plain(place)
    path = os.path.join(place, "shipped/default.json")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace('"listen", ', ""))
    assert filters.filter_for(PLAIN, ()) == build.build(PLAIN)
    assert "is not the file that it was made from" in log[0]


def test_a_profile_of_the_site_shadows_the_shipped_one(place: str, log: Log) -> None:
    compile_plain(place)
    before = filters.filter_for(PLAIN, ())
    shutil.copy(os.path.join(place, "shipped/init.json"), os.path.join(place, "site/default.json"))
    assert filters.filter_for(PLAIN, ()) != before
    assert "site/default.json" in log[0]


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "other version", "group may write", "foreign"])
def test_an_odd_compiled_file_is_not_used(place: str, log: Log, damage: str) -> None:
    path = next(path for path in compile_plain(place) if path.endswith(filters.key_of(PLAIN, ())))
    with open(path, "rb") as file:
        content = file.read()
    damaged = {
        "empty": b"",
        "cut": content[:-1],
        "flipped": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
        "other version": b"x" + content,
    }.get(damage, content)
    with open(path, "wb") as file:
        file.write(damaged)
    if damage == "group may write":
        os.chmod(path, 0o664)
    if damage == "foreign":
        os.chown(path, 65534, 65534)
    assert filters.filter_for(PLAIN, ()) == build.build(PLAIN)
    assert len(log) == 1


def test_compiling_removes_what_no_policy_needs_any_more(place: str) -> None:
    denying = Seccomp("default", (), ("listen",), "log")
    assert len(compile_plain(place, denying)) == 3
    assert len(compile_plain(place)) == 2
    assert len(os.listdir(os.path.join(place, "compiled"))) == 2
    assert {os.stat(path).st_mode & 0o777 for path in compile_plain(place)} == {0o644}


def test_one_bad_policy_does_not_keep_the_others_from_being_compiled(place: str, log: Log) -> None:
    bad = [Seccomp("nosuch", (), (), "errno"), Seccomp("default", ("frobnicate",), (), "errno")]
    with pytest.raises(build.BuildError, match=r"nosuch.*; default: no system call is called 'frobnicate'"):
        build.compile_all([(each, frozenset[int](), 0) for each in (*bad, PLAIN)], f"{place}/compiled")
    assert filters.filter_for(PLAIN, ())
    assert not log


def test_pid_1_has_a_compiled_filter_of_its_own(place: str, log: Log) -> None:
    compile_plain(place)
    assert 0 < len(filters.filter_for(filters.INIT, ())) < len(filters.filter_for(PLAIN, ()))
    assert not log


def test_order_and_repetition_of_words_do_not_matter() -> None:
    one = Seccomp("default", ("ptrace", "kcmp"), (), "errno")
    other = Seccomp("default", ("kcmp", "ptrace", "kcmp"), (), "errno")
    assert filters.key_of(one, (1, 2)) == filters.key_of(other, frozenset({2, 1}))
    assert filters.key_of(one, ()) != filters.key_of(one, (1,))


def test_the_recorder_exists_for_log_alone(place: str, log: Log) -> None:  # noqa: ARG001
    logging = Seccomp("default", (), (), "log")
    assert filters.filter_for(logging, ()) == filters.filter_for(PLAIN, ())
    ((_, recorder),) = filters.load((logging, (), 0))
    assert len(recorder) > 0


def test_a_missing_profile_ends_the_session_with_the_remedy(place: str) -> None:
    with pytest.raises(SessionError, match=r"cannot find the seccomp profile nosuch: .*put it into"):
        filters.filter_for(Seccomp("nosuch", (), (), "errno"), ())
    with pytest.raises(SessionError, match=r"/nonexistent\.json"):
        filters.filter_for(Seccomp("/nonexistent.json", (), (), "errno"), ())
    assert place


@pytest.mark.parametrize("kind", ["foreign", "writable", "link", "fifo", "huge", "no json"])
def test_a_profile_that_cannot_be_trusted_ends_the_session(place: str, log: Log, kind: str) -> None:
    path = os.path.join(place, "shipped/default.json")
    if kind == "foreign":
        os.chown(path, 65534, 65534)
    elif kind == "writable":
        os.chmod(path, 0o666)
    elif kind == "link":
        os.rename(path, path + ".real")
        os.symlink(path + ".real", path)
    elif kind == "fifo":
        os.unlink(path)
        os.mkfifo(path, 0o644)
    elif kind == "huge":
        with open(path, "ab") as file:
            file.truncate(1 << 21)
    else:
        with open(path, "w", encoding="utf-8") as file:
            file.write("{")
    with pytest.raises(SessionError, match=r"cannot build the system-call filter from .*default.json"):
        filters.filter_for(PLAIN, ())
    assert log


def test_unknown_words_end_the_session(place: str, log: Log) -> None:
    with pytest.raises(SessionError, match="no system call is called 'frobnicate'"):
        filters.filter_for(Seccomp("default", ("frobnicate",), (), "errno"), ())
    assert place
    assert log


def test_a_login_imports_nothing_cold(place: str, checkout: str) -> None:
    """With a fresh compiled filter no part of admin, no json, no libseccomp is imported."""
    compile_plain(place)
    script = f"""
import sys
sys.path.insert(0, {checkout!r})
from ssh2container.policy import filters
from ssh2container.policy.policy import Seccomp
filters.PROFILES = {filters.PROFILES!r}
filters.COMPILED = {filters.COMPILED!r}
assert filters.filter_for(Seccomp("default", (), (), "errno"), frozenset())
cold = {{"json", "re", "enum", "typing", "ctypes", "pyseccomp", "ssh2container.admin", "syslog"}}
print(sorted(cold & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-ISB", "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_building_runs_no_program_that_the_environment_names(
    place: str, checkout: str, tmp_path: os.PathLike[str]
) -> None:
    """pyseccomp looks libseccomp up with programs from PATH: not with the client's."""
    trap = os.path.join(tmp_path, "bin")
    os.mkdir(trap)
    for name in ("ldconfig", "gcc", "cc", "ld", "objdump"):
        with open(os.path.join(trap, name), "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\necho {name} >>{place}/trapped\n")
        os.chmod(os.path.join(trap, name), 0o755)
    library = os.path.dirname(sys.modules["pyseccomp"].__file__ or "")
    script = f"""
import os, sys
sys.path[:0] = [{checkout!r}, {library!r}]
import ssh2container.admin  # a login has another program build it, which has no environment
from ssh2container.policy import filters
from ssh2container.policy.policy import Seccomp
filters.PROFILES = {filters.PROFILES!r}
filters.COMPILED = {filters.COMPILED!r}
assert filters.filter_for(Seccomp("default", (), (), "errno"), frozenset())
print(os.environ["PATH"])
"""
    found = subprocess.run(
        [sys.executable, "-IB", "-c", script],
        env={"PATH": trap},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == trap + "\n"
    assert not os.path.exists(f"{place}/trapped")
