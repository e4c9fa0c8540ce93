"""The grammar of the login shell's arguments: exactly what sshd, su and cron use, nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssh2container.errors import EXIT_REFUSED, Refusal
from ssh2container.plan.request import FORWARDED, SENTINEL, Request

WORDS = st.binary(max_size=40).map(lambda word: word.replace(b"\0", b""))


@pytest.mark.parametrize("arguments", [[], [b"-l"], [b"--login"]])
def test_a_login(arguments: list[bytes]) -> None:
    request = Request.parse(arguments, {b"SSH_ORIGINAL_COMMAND": b"planted"})
    assert (request.kind, request.command, request.forced) == ("login", b"", None)


@pytest.mark.parametrize("option", [b"-c", b"-lc"])
@given(command=WORDS)
def test_a_command_is_passed_on_byte_for_byte(option: bytes, command: bytes) -> None:
    request = Request.parse([option, command], {})
    assert request.kind == "login" if command == SENTINEL else request.command == command


@given(command=WORDS.filter(lambda word: word != SENTINEL), original=WORDS)
def test_the_option_decides_and_not_the_variable(command: bytes, original: bytes) -> None:
    """A client can send SSH_ORIGINAL_COMMAND where AcceptEnv is broad; preferring it breaks command= keys."""
    request = Request.parse([b"-c", command], {b"SSH_ORIGINAL_COMMAND": original})
    assert (request.command, request.forced) == (command, original)


@given(original=WORDS)
def test_with_the_sentinel_the_variable_is_the_request(original: bytes) -> None:
    request = Request.parse([b"-c", SENTINEL], {b"SSH_ORIGINAL_COMMAND": original})
    assert (request.command, request.forced) == (original, None)
    assert request.kind in ("command", "sftp", "info", *FORWARDED.values())


def test_the_sentinel_without_the_variable_is_a_login() -> None:
    assert Request.parse([b"-c", SENTINEL], {}).kind == "login"


@pytest.mark.parametrize(
    "command",
    [
        b"internal-sftp",
        b"internal-sftp -f AUTH -l INFO",
        b"/usr/lib/openssh/sftp-server",
        b"/usr/libexec/sftp-server -R",
        b"sftp-server",
    ],
)
def test_the_sftp_subsystem_is_known_by_its_name(command: bytes) -> None:
    assert Request.parse([b"-c", command], {}).kind == "sftp"


@pytest.mark.parametrize(
    "command",
    [
        b"internal-sftp; sh",
        b"sftp-server && id",
        b"sftp-server\nid",
        b"sftp-server $(id)",
        b"sftp-server `id`",
        b"sftp-server | sh",
        b"echo sftp-server",
        b"not-sftp-server",
        b"sftp-server-not",
        b"",
        b"   ",
    ],
)
def test_whatever_a_shell_would_read_otherwise_is_a_command(command: bytes) -> None:
    assert Request.parse([b"-c", command], {}).kind == "command"


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (b"ssh2container-sshd", "sshd"),
        (b"ssh2container-sshd  extra", "sshd"),
        (b"ssh2container-info", "info"),
        (b"ssh2container-info extra", "info"),
        (b"ssh2container-info; id", "command"),
        (b"ssh2container-connect 22", "connect"),
        (b"ssh2container-sshd; id", "command"),
        (b"ssh2container-", "command"),
        (b"/usr/bin/ssh2container-sshd", "command"),
        (b" ssh2container-sshd", "command"),
        (b"echo ssh2container-sshd", "command"),
    ],
)
def test_a_reserved_word_is_the_first_and_whole(command: bytes, kind: str) -> None:
    assert Request.parse([b"-c", command], {}).kind == kind
    assert Request.of_command(command, b"x").kind == kind


@given(arguments=st.lists(WORDS, max_size=4))
def test_everything_else_is_refused_on_one_line(arguments: list[bytes]) -> None:
    known = arguments in ([], [b"-l"], [b"--login"])
    if known or (len(arguments) == 2 and arguments[0] in (b"-c", b"-lc")):
        Request.parse(arguments, {})
        return
    with pytest.raises(Refusal) as caught:
        Request.parse(arguments, {})
    assert caught.value.status == EXIT_REFUSED
    assert str(caught.value).isprintable()
    assert "usage" in str(caught.value)
