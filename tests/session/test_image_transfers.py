"""The injected transfer programs: they run in roots that have nothing, and follow the host's updates."""

from __future__ import annotations

import marshal
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.host import DEADLINE_SECONDS, until

from ssh2container.admin.images.tools import closure, transfers
from ssh2container.admin.images.unpack.metadata import PROGRAMS

Inside = Callable[..., "subprocess.CompletedProcess[bytes]"]
SFTP_INIT = b"\0\0\0\x05\x01\0\0\0\x03"
HEX_DIGITS = 64


def index(tools: str) -> dict[str, tuple[tuple[str, ...], tuple[tuple[str, str], ...]]]:
    content = marshal.loads(Path(tools, "current", "index").read_bytes())
    assert content["format"] == transfers.FORMAT
    return content["tools"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=["patchelf", "loader"])
def tools(request: pytest.FixtureRequest, module_directory: Callable[[str], Path]) -> str:
    """The directory, made with patchelf, and as on a host without it."""
    path = str(module_directory("tools"))
    which = shutil.which

    def without(name: str, **more: str) -> str | None:
        return None if name == "patchelf" else which(name, **more)  # type: ignore[call-overload]

    with pytest.MonkeyPatch.context() as patch:
        if request.param == "loader":
            patch.setattr(shutil, "which", without)
        elif which("patchelf") is None:
            pytest.skip("patchelf is not installed")
        assert transfers.refresh(path)
    return path


def start(tools: str, root: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a tool as the index says, in a root that holds nothing but /dev/null, passwd and the tools."""
    argv, environment = index(tools)[name]
    script = (
        'cd "$0" && mkdir -p dev etc tmp run/ssh2container/tools && : >dev/null && '
        "mount --bind /dev/null dev/null && echo root:x:0:0::/tmp:/bin/false >etc/passwd && "
        'mount --bind "$1" run/ssh2container/tools && shift && exec chroot . "$@"'
    )
    current = os.path.realpath(f"{tools}/current")
    return subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script, str(root), current, *argv, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **dict(environment)},
    )


@pytest.fixture
def inside(tools: str, tmp_path: Path) -> Inside:
    """Run a tool to its end."""

    def run(name: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        with start(tools, tmp_path, name, *arguments) as process:
            output, errors = process.communicate(stdin, timeout=DEADLINE_SECONDS)
        return subprocess.CompletedProcess([], process.returncode, output, errors)

    return run


def test_sftp_server_speaks_in_an_empty_root(tools: str, tmp_path: Path) -> None:
    with start(tools, tmp_path, "sftp-server") as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(SFTP_INIT)
        server.stdin.flush()
        assert server.stdout.read(9)[4:] == b"\x02\0\0\0\x03"
        server.stdin.close()


def test_rsync_serves_in_an_empty_root(inside: Inside) -> None:
    result = inside("rsync", "--version")
    assert result.returncode == 0, result.stderr
    assert b"protocol version" in result.stdout


def test_scp_sends_in_an_empty_root(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "file").write_bytes(b"content")
    result = inside("scp", "-f", "/tmp/file", stdin=b"\0\0\0")
    assert b"C0644 7 file\n" in result.stdout, result.stderr
    assert b"content" in result.stdout


def test_git_serves_in_an_empty_root(tools: str, inside: Inside, tmp_path: Path) -> None:
    """git starts itself again and again: without patchelf that cannot work, and it is left out."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    first = index(tools)["sftp-server"][0]
    if len(first) > 1:
        assert "git-upload-pack" not in index(tools)
        return
    repository = tmp_path / "tmp" / "repository"
    repository.mkdir(parents=True)
    identity = ["-c", "user.name=n", "-c", "user.email=e"]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    for argv in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "m"]):
        subprocess.run(["git", "-C", str(repository), *argv], check=True, env=environment)
    listed = inside("git-upload-pack", "/tmp/repository", stdin=b"0000")
    assert b" HEAD\0" in listed.stdout, listed.stderr
    head = listed.stdout[4:44].decode()
    wants = f"want {head}\n"
    request = f"{len(wants) + 4:04x}{wants}00000009done\n".encode()
    packed = inside("git-upload-pack", "/tmp/repository", stdin=request)
    assert b"PACK" in packed.stdout, packed.stderr


def test_everybody_may_read_and_run_it_and_nobody_but_root_may_change_it(tools: str) -> None:
    for where, directories, files in os.walk(os.path.realpath(f"{tools}/current")):
        for name in [".", *directories, *files]:
            status = os.lstat(f"{where}/{name}")
            if os.path.islink(f"{where}/{name}"):
                continue
            assert status.st_uid == 0
            assert status.st_mode & 0o6022 == 0, name
            assert status.st_mode & 0o004, name


def test_nothing_happens_while_the_host_is_the_same(tools: str) -> None:
    before = os.readlink(f"{tools}/current")
    assert len(before) == HEX_DIGITS
    patched = len(index(tools)["sftp-server"][0]) == 1
    if patched:
        assert not transfers.refresh(tools)
        assert os.readlink(f"{tools}/current") == before


@pytest.fixture
def own_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose only transfer program is one of ours."""
    program = tmp_path / "rsync"
    shutil.copy("/bin/true", program)
    monkeypatch.setitem(PROGRAMS, "rsync", (str(program),))
    for name in list(PROGRAMS):
        if name != "rsync":
            monkeypatch.setitem(PROGRAMS, name, ())
    return program


def test_an_update_of_the_host_is_taken_over_and_sessions_keep_theirs(
    own_program: Path, tmp_path: Path
) -> None:
    place = str(tmp_path / "tools")
    assert transfers.refresh(place)
    old = os.readlink(f"{place}/current")
    target = tmp_path / "mounted"
    target.mkdir()
    script = 'mount --bind "$0" "$1" && echo bound && cat && ls "$1"'
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script, f"{place}/{old}", str(target)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as session:  # fmt: skip
        assert session.stdin is not None
        assert session.stdout is not None
        assert session.stdout.readline() == b"bound\n"
        shutil.copy("/bin/false", own_program)
        assert transfers.refresh(place)
        new = os.readlink(f"{place}/current")
        assert new != old
        assert sorted(os.listdir(place)) == sorted(["current", old, new])
        session.stdin.close()
        assert session.stdout.read().split() == [b"bin", b"git-core", b"index", b"lib"]
    shutil.copy("/bin/cat", own_program)
    assert transfers.refresh(place)
    assert sorted(os.listdir(place)) == sorted(["current", os.readlink(f"{place}/current")])


def test_a_killed_refresh_leaves_the_old_one(own_program: Path, tmp_path: Path) -> None:
    place = str(tmp_path / "tools")
    transfers.refresh(place)
    before = os.readlink(f"{place}/current")
    shutil.copytree(f"{place}/{before}", f"{place}/.half-made")
    shutil.copy("/bin/false", own_program)
    assert transfers.refresh(place)
    until(lambda: not os.path.exists(f"{place}/.half-made"), "what was half-made is swept")
    assert os.path.exists(f"{place}/current/index")


def test_the_closure_follows_every_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    shutil.copy("/bin/true", tmp_path / "real" / "program")
    (tmp_path / "directory").symlink_to("real")
    (tmp_path / "name").symlink_to("directory/program")
    steps = closure.with_links(str(tmp_path / "name"))
    assert steps == [f"{tmp_path}/name", f"{tmp_path}/directory", f"{tmp_path}/real/program"]
    needed = closure.closure([str(tmp_path / "name")])
    assert {os.path.basename(path) for path in needed} >= {"name", "program", "libc.so.6"}


@pytest.mark.parametrize(
    ("line", "interpreter"),
    [
        (b"#!/bin/sh -e\n", "/bin/sh"),
        (b"#! /usr/bin/env -S A=b python3 -I\n", "python3"),
        (b"echo\n", ""),
        (b"#!\n", ""),
    ],
)
def test_scripts_name_their_interpreter(line: bytes, interpreter: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(line)
    assert closure.shebang(str(script)) == interpreter
