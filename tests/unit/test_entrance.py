"""Reading key files and certificates as sshd does: what a key forces is found, whatever stands beside it."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssh2container.errors import Refusal
from ssh2container.plan import keys
from ssh2container.plan.account import Account

KEY = b"AAAAC3NzaC1lZDI1NTE5AAAAIIm0a7pc3qR8kq1cVVyh5x4jBZbq5o3tD3b7w1T1Yt5m"
LINE = b"ssh-ed25519 " + KEY + b" comment"


def commands(text: bytes, key: bytes = KEY, *, authority: bool = False) -> list[bytes | None]:
    found = keys.lines_with(key, text, authority=authority)
    return [keys.option(options, b"command") for options in found]


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (LINE, None),
        (b"  " + LINE + b"\r", None),
        (b"restrict " + LINE, None),
        (b'command="id" ' + LINE, b"id"),
        (b'COMMAND="id",no-pty\t' + LINE, b"id"),
        (b'restrict,command="echo \\"a b\\", c",from="10.*" ' + LINE, b'echo "a b", c'),
        (b'environment="X=command=\\"no\\"",command="yes" ' + LINE, b"yes"),
        (b'command="ssh-ed25519 ' + KEY + b'" ssh-rsa AAAA\n' + LINE, None),
        (b'command="" ' + LINE, b""),
        (b'command="a b" ssh-ed25519   ' + KEY, b"a b"),
    ],
)
def test_a_lines_command(line: bytes, command: bytes | None) -> None:
    assert commands(b"# " + LINE + b"\n\n" + line + b"\nssh-rsa BBBB other\n") == [command]


def test_another_key_is_not_found() -> None:
    assert commands(b"ssh-rsa BBBB x\n# " + LINE + b'\ncommand="echo ' + KEY + b'" ssh-rsa BBBB\n') == []


def test_an_authority_counts_as_one_only_where_its_line_says_so() -> None:
    assert commands(b"cert-authority " + LINE) == []
    assert commands(LINE, authority=True) == []
    assert commands(b'cert-authority,command="x" ' + LINE, authority=True) == [b"x"]


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_text_can_be_read(before: bytes, after: bytes) -> None:
    list(commands(before + KEY + after))
    list(keys.each_option(before))


@given(st.text('abc ",=', max_size=12))
def test_a_command_comes_back_as_it_was_written(command: str) -> None:
    written = command.replace('"', '\\"').encode()
    assert commands(b'no-pty,command="' + written + b'",no-user-rc ' + LINE) == [command.encode()]


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (".ssh/authorized_keys", "/home/u/.ssh/authorized_keys"),
        ("%h/keys", "/home/u/keys"),
        ("/etc/keys/%u", "/etc/keys/u"),
        ("/k/%U/100%%", "/k/1000/100%"),
        ("/k/%%u", "/k/%u"),
    ],
)
def test_where_keys_are(pattern: str, path: str) -> None:
    account = Account("u", 1000, 1000, "/home/u", (), ())
    assert keys.expanded(pattern, account) == path


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
@pytest.mark.parametrize("command", [None, "echo 'a  b'"])
def test_what_a_certificate_says(tmp_path: Path, kind: str, command: str | None) -> None:
    def make(*words: str) -> None:
        subprocess.run(["ssh-keygen", "-q", *words], check=True, cwd=tmp_path)

    make("-t", "ed25519", "-N", "", "-f", "ca")
    make("-t", kind, "-N", "", "-f", "key")
    options = [] if command is None else ["-O", f"force-command={command}", "-O", "source-address=10.0.0.0/8"]
    make("-s", "ca", "-I", "id", "-n", "alice,bob", "-V", "+1h", *options, "key.pub")
    found = keys.Certificate((tmp_path / "key-cert.pub").read_bytes().split()[1])
    assert found.command == (None if command is None else command.encode())
    assert found.principals == [b"alice", b"bob"]
    assert found.authority == (tmp_path / "ca.pub").read_bytes().split()[1]


@given(st.binary(max_size=200))
def test_a_certificate_that_cannot_be_read_is_refused(blob: bytes) -> None:
    with pytest.raises(Refusal, match="cannot read the certificate"):
        keys.Certificate(base64.b64encode(blob))
    with pytest.raises(Refusal, match="cannot read the certificate"):
        keys.Certificate(blob)
