"""scp, scp -O, sftp and rsync, both ways, with awkward names, modes and sizes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.client import ENVIRONMENT, Client
from support.data import digest, noise, read_tree, write_tree
from support.host import run
from support.sshd import Server
from support.users import MakeUser, User

HUNDRED_MEGABYTES = 100 * 1024 * 1024


@pytest.fixture
def keeper(make_user: MakeUser, host_directory: Callable[[User], str]) -> tuple[User, str]:
    """A user whose home is kept on the host, and that directory."""
    user = make_user("image: host\nhome: {source: /srv/s2c-%u}\nstorage_opt: {size: 512m}\n")
    return user, host_directory(user)


@pytest.fixture
def remote(keeper: tuple[User, str], sshd: Server) -> Client:
    return sshd.client(keeper[0])


@pytest.mark.parametrize("options", [(), ("-O",), ("-s",)])
def test_scp_of_a_tree_both_ways(
    remote: Client, keeper: tuple[User, str], tmp_path: Path, options: tuple[str, ...]
) -> None:
    write_tree(f"{tmp_path}/here")
    os.unlink(f"{tmp_path}/here/link")  # scp follows links
    done = remote.scp(*options, "-rpq", f"{tmp_path}/here", "box:there").ok()
    assert done.out == b""
    assert read_tree(f"{keeper[1]}/there") == read_tree(f"{tmp_path}/here")
    remote.scp(*options, "-rpq", "box:there", f"{tmp_path}/back").ok()
    assert read_tree(f"{tmp_path}/back") == read_tree(f"{tmp_path}/here")


@pytest.mark.parametrize("options", [(), ("-O",)])
def test_scp_of_a_hundred_megabytes(
    remote: Client, keeper: tuple[User, str], tmp_path: Path, options: tuple[str, ...]
) -> None:
    data = noise(HUNDRED_MEGABYTES)
    (tmp_path / "big").write_bytes(data)
    remote.scp(*options, "-q", f"{tmp_path}/big", "box:big").ok()
    remote.scp(*options, "-q", "box:big", f"{tmp_path}/back").ok()
    assert digest((tmp_path / "back").read_bytes()) == digest(data)
    assert os.stat(f"{keeper[1]}/big").st_uid == keeper[0].uid


@pytest.mark.parametrize("options", [(), ("-O",)])
def test_scp_reaches_the_inside_and_nothing_else(
    client: Client, tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = client.scp(*options, "-q", "box:/etc/shadow", f"{tmp_path}/shadow")
    assert done.status == 1
    assert not (tmp_path / "shadow").exists()
    client.scp(*options, "-q", "box:/etc/passwd", f"{tmp_path}/passwd").ok()
    assert client.user.name in (tmp_path / "passwd").read_text()
    with open("/etc/passwd", encoding="utf-8") as file:
        assert (tmp_path / "passwd").read_text() != file.read()


@pytest.mark.parametrize("options", [(), ("-O",)])
def test_scp_of_a_missing_file_fails_as_usual(
    client: Client, tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = client.scp(*options, "-q", "box:no-such-file", f"{tmp_path}/x")
    assert done.status == 1
    assert "no-such-file: No such file" in done.errors


def test_sftp_batch(remote: Client, keeper: tuple[User, str], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(noise(100_001))
    done = remote.sftp(
        f"put {tmp_path}/a a",
        "mkdir d",
        "rename a d/b",
        "chmod 600 d/b",
        "ln -s d/b l",
        "ls -l d",
        "pwd",
        f"get d/b {tmp_path}/b",
        "put -r /etc/skel skel",
        "rm l",
        "df -h /tmp",
    ).ok()
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    assert f"Remote working directory: {keeper[0].home}" in done.text
    assert os.stat(f"{keeper[1]}/d/b").st_mode & 0o777 == 0o600
    assert sorted(os.listdir(f"{keeper[1]}/skel")) == sorted(os.listdir("/etc/skel"))


def test_sftp_sees_the_inside(client: Client) -> None:
    done = client.sftp("cd /home", "ls", "ls /etc/ssh2container", "pwd")
    assert done.status == 1
    assert client.user.name in done.text
    assert client.sftp("ls /etc/shadow").status == 1
    assert client.sftp("ls -1 /dev").ok().text.count("/dev/sd") == 0


def test_sftp_writes_are_gone_in_the_next_session(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    client.sftp(f"put {tmp_path}/a a", "ls a").ok()
    assert client.sftp("ls a").status == 1
    assert not os.path.exists(f"{client.user.home}/a")


def test_a_batch_that_fails_has_status_1(client: Client) -> None:
    assert client.sftp("get no-such-file /dev/null").status == 1


def test_rsync_both_ways(remote: Client, keeper: tuple[User, str], tmp_path: Path) -> None:
    write_tree(f"{tmp_path}/here")
    remote.rsync("-a", f"{tmp_path}/here/", "box:there/").ok()
    assert read_tree(f"{keeper[1]}/there") == read_tree(f"{tmp_path}/here")
    os.unlink(f"{tmp_path}/here/sub/big")
    (tmp_path / "here/plain.txt").write_bytes(b"changed, and longer\n")
    remote.rsync("-az", "--delete", f"{tmp_path}/here/", "box:there/").ok()
    assert read_tree(f"{keeper[1]}/there") == read_tree(f"{tmp_path}/here")
    remote.rsync("-a", "--protect-args", "box:there/", f"{tmp_path}/back/").ok()
    assert read_tree(f"{tmp_path}/back") == read_tree(f"{tmp_path}/here")
    assert (
        remote.rsync("-a", "--checksum", "--itemize-changes", f"{tmp_path}/here/", "box:there/").ok().out
        == b""
    )


def test_rsync_of_a_hundred_megabytes(remote: Client, keeper: tuple[User, str], tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(noise(HUNDRED_MEGABYTES))
    remote.rsync("--whole-file", f"{tmp_path}/big", "box:big").ok()
    with open(f"{keeper[1]}/big", "rb") as file:
        assert digest(file.read()) == digest((tmp_path / "big").read_bytes())


def test_rsyncs_own_statuses_arrive(client: Client, tmp_path: Path) -> None:
    assert client.rsync("-a", "box:no-such-file", f"{tmp_path}/").status == 23
    assert client.rsync("-a", "box:/etc/passwd", "/no/such/place/").status == 11
    done = client.rsync("-a", "--rsync-path=/no/such/rsync", "box:/etc/passwd", f"{tmp_path}/")
    assert done.status in (12, 127)
    assert "/no/such/rsync: No such file" in done.errors


def test_transfers_without_a_policy_are_refused(make_user: MakeUser, sshd: Server, tmp_path: Path) -> None:
    """The clients end at once, with the refusal's line for the person in front of them.

    sshd drops what a subsystem writes to stderr, so that those clients say only that it is over.
    """
    refused = sshd.client(make_user(None))
    for subsystem, done in (
        (True, refused.scp("-q", "box:/etc/passwd", f"{tmp_path}/x")),
        (True, refused.sftp("ls")),
        (False, refused.scp("-O", "-q", "box:/etc/passwd", f"{tmp_path}/x")),
        (False, refused.rsync("box:/etc/passwd", f"{tmp_path}/x")),
    ):
        assert done.status != 0
        assert ("Connection closed" if subsystem else "policy") in done.errors
        assert not (tmp_path / "x").exists()


def test_a_full_container_fails_the_upload_and_leaves_nothing(
    make_user: MakeUser, sshd: Server, tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(bytes(20_000_000))
    small = sshd.client(make_user("image: host\nstorage_opt: {size: 8m, inodes: 1000}\n"))
    assert small.scp("-q", f"{tmp_path}/big", "box:big").status != 0
    assert small.rsync(f"{tmp_path}/big", "box:big").status == 11
    assert small.box("cat >big || wc -c <big", stdin=bytes(20_000_000)).ok().text.strip() != "20000000"


def test_tar_over_ssh(client: Client, tmp_path: Path) -> None:
    """The pipe of old: tar on both ends."""
    write_tree(f"{tmp_path}/here")
    packed = run(["tar", "-C", f"{tmp_path}/here", "-c", "."]).ok().out
    done = client.box("mkdir t && tar -C t -x && tar -C t -c .", stdin=packed).ok()
    os.mkdir(f"{tmp_path}/back")
    run(["tar", "-C", f"{tmp_path}/back", "-x"], done.out).ok()
    assert read_tree(f"{tmp_path}/back") == read_tree(f"{tmp_path}/here")


def test_git_clone_push_and_fetch(remote: Client, tmp_path: Path) -> None:
    environment = {
        **ENVIRONMENT,
        "GIT_SSH_COMMAND": remote.remote_shell(),
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": str(tmp_path),
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }

    def git(*arguments: str) -> str:
        return run(["git", *arguments], env=environment, cwd=str(tmp_path)).ok().text

    remote.box("git init -q --bare -b main repo.git").ok()
    git("init", "-q", "-b", "main", "one")
    (tmp_path / "one/file").write_bytes(noise(200_000))
    git("-C", "one", "add", "file")
    git("-C", "one", "commit", "-qm", "first")
    git("-C", "one", "push", "-q", f"box:{remote.user.home}/repo.git", "main")
    git("clone", "-q", "box:repo.git", "two")
    assert (tmp_path / "two/file").read_bytes() == (tmp_path / "one/file").read_bytes()
    assert git("-C", "two", "ls-remote", "origin").count("refs/heads/main") == 1
