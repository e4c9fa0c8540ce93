"""Which key was used, as sshd tells: every form that it writes, and nothing else."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.policies import policy

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.plan import keys
from ssh2container.policy.key_rules import Used
from ssh2container.run import by_key

PLAIN = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q"
FINGERPRINT = "SHA256:FHsTyFHNmvNpw4o7+rp+M1yqMyBF8vXSBRkZtkQ0RKY"
OTHER = "SHA256:" + "B" * 43
RULED = policy(f'keys: [{{fingerprint: "{OTHER}", extends: a}}]')


class Log:
    """Takes what the audit trail would know."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def know(self, **fields: str) -> None:
        self.known |= fields


def choose(environment: dict[bytes, bytes]) -> Any:
    log: Any = Log()
    return by_key.choose(RULED, environment, log)


@pytest.fixture
def exposed() -> Iterator[Path]:
    """A file where sshd makes its own."""
    path = Path(f"{os.fsdecode(paths.EXPOSED)}test{os.getpid()}")
    path.write_bytes(b"publickey " + PLAIN + b"\n")
    path.chmod(0o600)
    yield path
    path.unlink()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"password\n", []),
        (b"keyboard-interactive/pam\n", []),
        (b"none\n", []),
        (b"gssapi-with-mic alice@EXAMPLE\n", []),
        (b"hostbased " + PLAIN + b"\n", []),
        (b"publickey " + PLAIN + b"\n", [FINGERPRINT]),
        (b"publickey " + PLAIN + b"\npassword\n", [FINGERPRINT]),
        (b"publickey " + PLAIN + b"\npublickey " + PLAIN + b"\n", [FINGERPRINT] * 2),
    ],
)
def test_what_sshd_writes(text: bytes, found: list[str]) -> None:
    assert [one.fingerprint for one in by_key.parse(text)] == found


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"publickey " + PLAIN,
        b"publickey " + PLAIN[:-5] + b"\n",
        b"publickey\n",
        b"publickey ssh-ed25519\n",
        b"publickey ssh-ed25519 \n",
        b"publickey ssh-rsa " + PLAIN.split()[1] + b"\n",
        b"publickey ssh-ed25519 !!!!\n",
        b"publickey " + PLAIN + b" comment\n",
        b"publickey " + PLAIN + b"\n\n",
        b"password\n\0",
        b"pass\0word\n",
        b"publickey ssh-ed25519-cert-v01@openssh.com " + PLAIN.split()[1] + b"\n",
    ],
)
def test_what_it_does_not_write_is_refused(text: bytes) -> None:
    with pytest.raises(Refusal, match="cannot determine the policy of this key"):
        by_key.parse(text)


@given(st.binary(max_size=300))
def test_any_bytes_are_keys_or_a_refusal(text: bytes) -> None:
    for one in (text, b"publickey " + text + b"\n"):
        try:
            found = by_key.parse(one)
        except Refusal:
            continue
        assert all(used.fingerprint.startswith("SHA256:") for used in found)


@given(st.integers(0, 100), st.integers(1, 255))
def test_a_changed_key_is_never_the_same(place: int, change: int) -> None:
    blob = bytearray(base64.b64decode(PLAIN.split()[1]))
    blob[place % len(blob)] ^= change
    try:
        (found,) = by_key.parse(b"publickey ssh-ed25519 " + base64.b64encode(blob) + b"\n")
    except Refusal:
        return
    assert found.fingerprint != FINGERPRINT


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_a_certificate_is_known_by_what_ssh_keygen_shows(tmp_path: Path, kind: str) -> None:
    def make(*words: str) -> str:
        done = subprocess.run(
            ["ssh-keygen", *words], check=True, cwd=tmp_path, capture_output=True, text=True
        )
        return done.stdout

    for name, type_ in (("ca", "ed25519"), ("key", kind)):
        make("-q", "-t", type_, "-N", "", "-f", name)
    make("-q", "-s", "ca", "-I", "an id", "-n", "alice,backup", "-O", "force-command=true", "key.pub")
    words = (tmp_path / "key-cert.pub").read_bytes().split()
    (found,) = by_key.parse(b"publickey " + b" ".join(words[:2]) + b"\n")
    shown = {name: make("-l", "-f", f"{name}.pub").split()[1] for name in ("ca", "key", "key-cert")}
    assert found == Used(shown["key-cert"], shown["ca"], "an id", ("alice", "backup"))
    assert shown["key-cert"] == shown["key"]
    plain = (tmp_path / "key.pub").read_bytes().split()
    assert keys.Certificate(words[1]).plain == plain[1]


def test_a_certificate_cut_anywhere_is_refused(tmp_path: Path) -> None:
    for name in ("ca", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", name], check=True, cwd=tmp_path)
    subprocess.run(
        ["ssh-keygen", "-q", "-s", "ca", "-I", "i", "-n", "p", "key.pub"], check=True, cwd=tmp_path
    )
    kind, key = (tmp_path / "key-cert.pub").read_bytes().split()[:2]
    blob = base64.b64decode(key)
    signature = 4 + int.from_bytes(blob[-4 - 83 : -83], "big")
    for end in range(len(blob) - signature):
        with pytest.raises(Refusal):
            by_key.used(kind, base64.b64encode(blob[:end]))


class TestWhoTells:
    def test_su_and_cron_have_no_key(self) -> None:
        assert choose({}) is RULED

    @pytest.mark.parametrize("known", [{}, {b"SSH_USER_AUTH": b""}])
    def test_an_sshd_that_does_not_tell(self, known: dict[bytes, bytes]) -> None:
        with pytest.raises(Refusal, match="ExposeAuthInfo") as refused:
            choose({b"SSH_CONNECTION": b"::1 1 ::1 22", **known})
        assert refused.value.status == 126

    def test_a_file_of_sshd(self, exposed: Path) -> None:
        environment = {b"SSH_CONNECTION": b"::1 1 ::1 22", b"SSH_USER_AUTH": os.fsencode(exposed)}
        assert choose(environment) is RULED
        exposed.write_bytes(b"")
        with pytest.raises(Refusal, match="of no use"):
            choose(environment)

    @pytest.mark.parametrize("way", ["elsewhere", "above", "link", "gone", "directory", "pipe", "another's"])
    def test_a_file_that_is_not_sshds(self, exposed: Path, tmp_path: Path, way: str) -> None:
        named = os.fspath(exposed)
        text = exposed.read_bytes()
        if way == "elsewhere":
            named = os.fspath(tmp_path / "sshauth.x")
            (tmp_path / "sshauth.x").write_bytes(text)
        elif way == "above":
            named = f"/tmp/sshauth.x/../{exposed.name}"
        elif way == "another's":
            if os.getuid() != 0:
                pytest.skip("only root can give a file away")
            os.chown(exposed, 1, 1)
        else:
            exposed.unlink()
            (tmp_path / "file").write_bytes(text)
            if way == "link":
                exposed.symlink_to(tmp_path / "file")
            elif way == "directory":
                exposed.mkdir()
            elif way == "pipe":
                os.mkfifo(exposed)
        try:
            with pytest.raises(Refusal, match="of no use"):
                choose({b"SSH_USER_AUTH": os.fsencode(named)})
        finally:
            if way == "directory":
                exposed.rmdir()
            if way in ("directory", "gone"):
                exposed.touch()
