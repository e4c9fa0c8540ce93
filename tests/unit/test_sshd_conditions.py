"""The connections that sshd's files tell apart: each Match line has an example that meets it (pure)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssh2container.admin.sshd.conditions import Connection, alike, examples, holds, written
from ssh2container.admin.sshd.running import parse_arguments
from ssh2container.plan.sshd_files import Files, parse, split


def read(directory: Path, text: str, **others: str) -> Files:
    for name, content in others.items():
        (directory / f"{name}.conf").write_text(content)
    (directory / "sshd_config").write_text(text.replace("HERE", str(directory)))
    return Files(str(directory / "sshd_config"))


@pytest.mark.parametrize(
    "criteria",
    [
        "LocalPort 2222",
        "localport=2222",
        "Address 10.0.0.0/8",
        "Address 192.168.*",
        "Address 192.0.2.77",
        "Address 2001:db8:1::/48",
        "Address !192.0.2.0/24,*",
        "Address *,!10.0.0.0/8,!192.0.2.0/24",
        "LocalAddress 203.0.113.9",
        "Host *.example.org",
        "Host !*.example.org,*",
        "Host node??",
        "RDomain vrf1",
        "RDomain *",
        "Address 10.1.0.0/16 LocalPort 8022 User alice",
        "User a* Group staff,!sudo Host h Address 10.0.0.1/32",
        "all",
    ],
)
def test_each_condition_has_a_connection_that_meets_it(tmp_path: Path, criteria: str) -> None:
    files = read(tmp_path, f"Match {criteria}\nForceCommand internal-sftp\n")
    found = examples(files.blocks)
    assert found.complete
    assert not found.unknown
    assert any(holds(files.blocks[0], "alice", ("staff",), one) for one in found.connections)


@pytest.mark.parametrize("criteria", ["Address *,!192.0.2.0/24", "Host !good.example,*", "LocalPort 22"])
def test_each_condition_has_a_connection_that_does_not_meet_it(tmp_path: Path, criteria: str) -> None:
    files = read(tmp_path, f"Match {criteria}\nX11Forwarding yes\n")
    found = examples(files.blocks, ["2222"])
    assert not all(holds(files.blocks[0], "alice", (), one) for one in found.connections)


def test_two_conditions_are_tried_together_and_apart(tmp_path: Path) -> None:
    """An earlier block that closes would hide a later one on its own connection."""
    files = read(
        tmp_path,
        "Match Address 127.0.0.1\nForceCommand ssh2container-session\n"
        "Match LocalPort 2222\nForceCommand internal-sftp\n",
    )
    met = {
        tuple(holds(block, "alice", (), one) for block in files.blocks)
        for one in examples(files.blocks).connections
    }
    assert met == {(False, False), (False, True), (True, False), (True, True)}


def test_a_block_around_an_include_counts_too(tmp_path: Path) -> None:
    files = read(
        tmp_path,
        "Match LocalPort 2222\n    Include HERE/*.conf\nMatch all\nX11Forwarding no\n",
        a="Match User alice\n    ForceCommand internal-sftp\n",
    )
    inner = next(block for block in files.blocks if block.path.endswith("a.conf"))
    meeting = [one for one in examples(files.blocks).connections if holds(inner, "alice", (), one)]
    assert meeting
    assert {one.get("lport") for one in meeting} == {"2222"}
    assert files.directories == [str(tmp_path)]
    line = written(files.lines, "forcecommand", "alice", (), meeting[0])
    assert line
    assert line.place == f"{tmp_path}/a.conf:2"


def test_a_condition_that_nobody_knows_is_named(tmp_path: Path) -> None:
    files = read(tmp_path, "Match exec /bin/true\nForceCommand internal-sftp\n")
    ((block, criterion),) = examples(files.blocks).unknown
    assert (block.line, criterion) == (1, "exec")


def test_more_than_can_be_tried_is_said(tmp_path: Path) -> None:
    lines = [
        f"Match LocalPort {n} Address 10.{n}.0.0/16 Host h{n}\nX11Forwarding yes\n" for n in range(1, 40)
    ]
    files = read(tmp_path, "".join(lines))
    found = examples(files.blocks, most=60)
    assert not found.complete
    assert len(found.connections) <= 60


def test_users_whom_no_line_tells_apart_are_asked_about_once(tmp_path: Path) -> None:
    files = read(
        tmp_path, "Match User alice,b*\nX11Forwarding no\nMatch Group staff,!sudo\nX11Forwarding yes\n"
    )
    assert alike(files.blocks, "alice", ("staff",)) == alike(files.blocks, "bob", ("staff", "x"))
    assert alike(files.blocks, "alice", ("staff",)) != alike(files.blocks, "carol", ("staff",))
    assert alike(files.blocks, "alice", ("staff", "sudo")) != alike(files.blocks, "alice", ("staff",))


@pytest.mark.parametrize(
    ("line", "read_as"),
    [
        ("Port 22", ("port", ["22"])),
        ("  Port=22 ", ("port", ["22"])),
        ('SetEnv "A=b c" D=e # f', ("setenv", ["A=b c", "D=e"])),
        ("# Port 22", ("", [])),
        ("", ("", [])),
        ("Match User a\\'b", ("match", ["User", "a'b"])),
        ("ForceCommand a#b", ("forcecommand", ["a#b"])),
    ],
)
def test_lines_are_read_as_sshd_reads_them(line: str, read_as: tuple[str, list[str]]) -> None:
    assert parse(line) == read_as


@given(st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    parse(text)
    split(text)


@given(st.binary(max_size=300))
def test_any_file_can_be_read(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "config")
        with open(path, "wb") as file:
            file.write(content)
        examples(Files(path).blocks, most=20)


def test_a_file_that_includes_itself_comes_to_an_end(tmp_path: Path) -> None:
    assert len(read(tmp_path, "Include HERE/sshd_config\n").paths) <= 20


@pytest.mark.parametrize(
    ("words", "config", "options"),
    [
        (["-D"], "/etc/ssh/sshd_config", ()),
        (["-D", "-f", "/srv/c", "-o", "X11Forwarding=yes"], "/srv/c", ("X11Forwarding=yes",)),
        (["-Df/srv/c", "-oPermitTunnel=yes"], "/srv/c", ("PermitTunnel=yes",)),
        (["-E", "-f", "-p", "2222"], "/etc/ssh/sshd_config", ("Port=2222",)),
    ],
)
def test_how_a_running_sshd_was_started(words: list[str], config: str, options: tuple[str, ...]) -> None:
    assert parse_arguments(words) == (config, options)


def test_a_connection_is_shown_by_what_is_unusual() -> None:
    assert str(Connection()) == "any connection"
    assert Connection().asked("u").startswith("user=u,addr=127.0.0.1,")
