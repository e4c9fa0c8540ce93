"""``host_commands`` in the policy language, and what of a request is accepted."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import NoReturn

import pytest
from support.policies import policy, problems, shown

from ssh2container.admin.doctor import host_commands as doctor
from ssh2container.admin.host_commands import frames, request, service
from ssh2container.admin.host_commands.request import accepts
from ssh2container.admin.login import commands
from ssh2container.errors import Refusal
from ssh2container.policy import host_commands, keyed, rules
from ssh2container.policy.host_commands import SELF
from ssh2container.record import audit

WHOLE = r"""
host_commands:
  submit: /opt//submit
  print-1.0:
    path: /opt/print
    args: [--for, "%u", 1]
    accept: ["[a-z]+", '-\d{1,2}', 7]
    user: courses
    timeout: 9
"""


def test_a_path_alone_takes_no_arguments_and_runs_as_the_user() -> None:
    short, whole = host_commands.of(policy(WHOLE).values)
    assert (short.name, short.path, short.args, short.accept) == ("submit", "/opt/submit", (), ())
    assert (short.user, short.timeout) == (SELF, 60)
    assert (whole.name, whole.path, whole.args) == ("print-1.0", "/opt/print", ("--for", "%u", "1"))
    assert (whole.accept, whole.user, whole.timeout) == (("[a-z]+", r"-\d{1,2}", "7"), "courses", 9)
    assert host_commands.of(policy("image: host").values) == ()


def test_a_later_file_replaces_by_name() -> None:
    made = policy(WHOLE, "host_commands: {submit: /b, more: /c}")
    assert [(one.name, one.path) for one in host_commands.of(made.values)] == [
        ("submit", "/b"),
        ("print-1.0", "/opt/print"),
        ("more", "/c"),
    ]
    assert policy(WHOLE, "host_commands: !reset null").values["host_commands"] == {}


def test_what_is_shown_means_the_same() -> None:
    made = policy(WHOLE)
    assert policy(shown(made)).values == made.values


def test_it_is_explained() -> None:
    _, whole = commands.described(policy(WHOLE))
    given = r"<[a-z]+> <-\d{1,2}> <7>"
    does = f"/opt/print --for %u 1 {given}, as courses, for 9 s at most"
    assert whole["describe"] == f"print-1.0 {given}: {does}"
    assert (whole["key"], whole["origin"]) == ("host_commands.print-1.0", "/1.yaml:4")


WRONG = {
    "host_commands: [/a]": "a list instead of a map",
    "host_commands: {../a: /a}": "letters, digits",
    "host_commands: {-a: /a}": "letters, digits",
    "host_commands: {a: b}": "the absolute path of a program",
    "host_commands: {a: /b/../c}": '".." in the path',
    "host_commands: {a: '%h/b'}": "the absolute path of a program",
    "host_commands: {a: {args: [b]}}": "path missing",
    "host_commands: {a: {path: /b, user: root}}": "no command runs as root",
    "host_commands: {a: {path: /b, accept: ['[']}}": "is no regular expression",
    "host_commands: {a: {path: /b, args: ['%i']}}": "the specifier %i",
    "host_commands: {a: {path: /b, args: ['%x']}}": "the unknown specifier",
    "host_commands: {a: {path: /b, timeout: 0}}": "a whole number from 1 to 3600",
    "host_commands: {a: {path: /b, env: [A=b]}}": "a command has no environment",
    "host_commands: {a: {path: /b, shell: true}}": "unknown key",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_where_it_stands(text: str) -> None:
    (problem,) = problems(text)
    assert (problem.line, problem.severity) == (1, "error")
    assert WRONG[text] in f"{problem.message} {problem.allowed} {problem.hint}", problem


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("image: a\nuser: root\n", "host_commands"),
        ("image: a\nuserns_mode: own_range\n", "host_commands"),
        ("images: [host, a]\nuser: root\n", "host_commands"),
        ("image: a\nvolumes: [/srv/a:/usr/local:ro]\n", "volumes./usr/local"),
        ("image: a\nvolumes: [/srv/a:/usr/local/bin/submit:ro]\n", "volumes./usr/local/bin/submit"),
        ("image: a\nvolumes: [/srv/a:/usr/local/share:ro]\n", ""),
        ("image: host\nuser: self\n", ""),
    ],
)
def test_what_does_not_go_with_it(text: str, key: str) -> None:
    found = [one.key for one in rules.broken(policy(text + "host_commands: {submit: /a}"))]
    assert (key in found) is bool(key)
    assert not [one for one in rules.broken(policy(text)) if one.key in (key, "host_commands")]


def test_a_key_has_the_users_commands_or_none() -> None:
    own = policy("host_commands: {a: /b}")
    none, other = policy("image: host"), policy("host_commands: {a: /c}")
    assert [one.key for one in keyed.beyond(own, other)] == ["host_commands"]
    assert [one.key for one in keyed.beyond(none, own)] == ["host_commands"]
    assert not [*keyed.beyond(own, none)]


@pytest.mark.parametrize(
    ("pattern", "word", "accepted"),
    [
        ("[a-z]+", "abc", True),
        ("[a-z]+", "abc\n", False),
        ("[a-z]+", "abcD", False),
        ("a|b", "ab", False),
        (".*", "", True),
        (".*", "--output=/etc/passwd", False),
        ("(-a|b)", "-a", False),
        ("-a|b", "-a", True),
        (r"\-a", "-a", True),
        (r"\d", "٣", False),
    ],
)
def test_an_argument_matches_as_a_whole_and_is_no_option_by_chance(
    pattern: str, word: str, *, accepted: bool
) -> None:
    assert accepts(pattern, word) is accepted


def test_frames_come_in_pieces() -> None:
    whole = frames.frame(frames.REQUEST, b"a\0b c\0") + frames.frame(frames.INPUT, b"")
    took = frames.Frames()
    found = [one for at in range(len(whole)) for one in took.take(whole[at : at + 1])]
    assert found == [(frames.REQUEST, b"a\0b c\0"), (frames.INPUT, b"")]
    assert frames.words(found[0][1]) == ["a", "b c"]


@pytest.mark.parametrize("piece", [b"O\0\0\0\0", b"R\1\0\1\0", b"GET / HTTP/1.0\r\n"])
def test_nonsense_is_no_frame(piece: bytes) -> None:
    with pytest.raises(Refusal):
        frames.Frames().take(piece)


@pytest.mark.parametrize("content", [b"", b"a", b"a\0b", b"a\nb\0", b"\xff\0", b"\x1b[m\0"])
def test_words_are_printable_and_ended(content: bytes) -> None:
    with pytest.raises(Refusal):
        frames.words(content)


def test_who_listens_is_in_the_kernels_table() -> None:
    table = (
        "Num       RefCount Protocol Flags    Type St Inode Path\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 23 /a/socket\n"
        "0000000000000000: 00000002 00000000 00000000 0001 03 24 /b/socket\n"
        "0000000000000000: 00000002 00000000 00000000 0002 01 25\n"
    )
    assert [doctor.listens(table, path) for path in ("/a/socket", "/b/socket", "/a")] == [True, False, False]


def test_a_few_users_keep_nobody_else_out() -> None:
    of_one = [1000] * service.MOST_OF_ONE
    assert not service.has_room(of_one, 1000)
    assert service.has_room(of_one[1:], 1000)
    many = [uid for uid in range(1000, 1008) for _ in range(service.MOST // 8)]
    assert not service.has_room([*many[1:], 2000], 1000)
    assert service.has_room(many, 2000)
    assert not service.has_room([*many, 2000], 2000)
    assert not service.has_room(range(service.MOST_WITH_FIRST), 5000)


def test_what_the_unit_allows_has_room_for_all_of_them(checkout: str) -> None:
    """The service, and for each command its program and who attends to it."""
    unit = Path(checkout, "systemd/system/ssh2container-commands.service").read_text(encoding="utf-8")
    allowed = int(unit.partition("\nTasksMax=")[2].split()[0])
    assert allowed >= 1 + 2 * service.MOST_WITH_FIRST


def test_where_no_process_can_be_made_the_service_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        client.connect(path)
        service.Service(listener, idle_s=0.0).run()
        said = client.recv(1000)
    assert b"too many commands run at once" in said
    assert said.endswith(frames.ended(125))


def test_what_fails_while_it_is_decided_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though a record of it cannot be written, either."""

    def broken(*_: object) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    def unwritten(*_: object, **__: object) -> NoReturn:
        raise audit.unwritten("nobody listens")

    monkeypatch.setattr(request, "_allowed", broken)
    monkeypatch.setattr(audit.Session, "write", unwritten)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(frames.frame(frames.REQUEST, b"who\0"))
        child = os.fork()
        if child == 0:
            try:
                request.serve(theirs, os.getpid(), os.getuid())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        said = ours.recv(1000)
    assert b"cannot run a command for this session: Input/output error" in said
    assert said.endswith(frames.ended(125))
