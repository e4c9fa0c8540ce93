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
    (tmp_path / "big").unlink()  # two of that size at a time are enough
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

    scp over SFTP shows no text of a server, only the code, as far as it looks at that (docs/clients.md).
    """
    refused = sshd.client(make_user(None))
    for shown, done in (
        ("", refused.scp("-q", "box:/etc/passwd", f"{tmp_path}/x")),
        ("policy", refused.sftp("ls")),
        ("policy", refused.scp("-O", "-q", "box:/etc/passwd", f"{tmp_path}/x")),
        ("policy", refused.rsync("box:/etc/passwd", f"{tmp_path}/x")),
    ):
        assert done.status != 0
        assert done.errors
        assert shown in done.errors
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


@pytest.mark.parametrize("protocol", ["sftp", "scp"])
def test_curl(remote: Client, tmp_path: Path, protocol: str) -> None:
    data = noise(300_000)
    (tmp_path / "sent").write_bytes(data)
    remote.curl(protocol, "~/kept", "-T", str(tmp_path / "sent")).ok()
    assert remote.curl(protocol, "~/kept").ok().out == data


def test_sshfs(remote: Client, tmp_path: Path) -> None:
    """A file system of a session: it lasts as long as it is mounted."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")
    place = tmp_path / "mounted"
    place.mkdir()
    run(["sshfs", "-F", remote.configuration, "box:", str(place)]).ok()
    try:
        data = noise(300_000)
        (place / "file").write_bytes(data)
        (place / "directory").mkdir()
        (place / "file").rename(place / "directory/other")
        assert (place / "directory/other").read_bytes() == data
        assert os.listdir(place / "directory") == ["other"]
    finally:
        run(["fusermount3", "-u", str(place)]).ok()
    assert remote.box("stat -c %s directory/other").ok().text == "300000\n"


DROP = "extends: [sftp-drop]\nhome: {source: /srv/s2c-%u}\n"
KEEP = "home: {source: /srv/s2c-%u}\naccess: {sftp: {overwrite: false}}\n"


@pytest.mark.parametrize(
    "policy", [DROP, KEEP, KEEP + "container_per: user\n"], ids=["drop", "keep", "shared"]
)
def test_what_is_there_is_not_overwritten(
    make_user: MakeUser, host_directory: Callable[[User], str], sshd: Server, tmp_path: Path, policy: str
) -> None:
    user = make_user(policy)
    home = Path(host_directory(user))
    client = sshd.client(user)
    data = noise(3_000_000)
    (tmp_path / "first").write_bytes(data)
    (tmp_path / "second").write_bytes(b"other")
    client.sftp(f"put {tmp_path}/first a", "mkdir d", f"put {tmp_path}/first d/b").ok()
    os.chmod(home, 0o750)
    for line in (
        f"put {tmp_path}/second a",
        f"put -a {tmp_path}/second a",
        f"reput {tmp_path}/second d/b",
        f"put -p {tmp_path}/second a",
        "chmod 777 .",
        "chmod 777 a",
        "chmod 600 d",
    ):
        assert client.sftp(line).status == 1, line
    client.sftp(f"put {tmp_path}/second c").ok()
    assert (home / "a").read_bytes() == (home / "d/b").read_bytes() == data
    assert (home / "c").read_bytes() == b"other"
    assert home.stat().st_mode & 0o7777 == 0o750
    assert (home / "a").stat().st_mode & 0o002 == 0


@pytest.mark.parametrize("rest", ["", "  sftp: {overwrite: true, umask: '027', deny: !reset []}\n"])
def test_the_umask_holds_for_modes_that_the_client_sets(
    make_user: MakeUser, host_directory: Callable[[User], str], sshd: Server, tmp_path: Path, rest: str
) -> None:
    user = make_user(DROP + "access:\n" + rest if rest else DROP)
    home = Path(host_directory(user))
    client = sshd.client(user)
    for name, mode in (("open", 0o777), ("plain", 0o644), ("own", 0o600)):
        (tmp_path / name).write_bytes(b"x" * 100_000)
        os.chmod(tmp_path / name, mode)
        client.sftp(f"put -p {tmp_path}/{name} {name}").ok()
    (tmp_path / "tree").mkdir(mode=0o777)
    (tmp_path / "tree").chmod(0o777)
    client.sftp(f"put -rp {tmp_path}/tree tree")
    modes = {path.name: path.stat().st_mode & 0o7777 for path in home.iterdir()}
    assert modes == {"open": 0o750, "plain": 0o640, "own": 0o600, "tree": 0o750}
    assert (home / "open").stat().st_mtime == pytest.approx((tmp_path / "open").stat().st_mtime, abs=1)
    if not rest:
        return
    client.sftp("chmod 777 own").ok()
    assert (home / "own").stat().st_mode & 0o7777 == 0o750
    asked = [
        request(1, word(3)),
        request(
            200, word(1), text(b"lsetstat@openssh.com"), text(b"open"), word(4 | 1), bytes(8), word(0o777)
        ),
        request(9, word(2), text(b"tree"), word(4 | 2), word(user.uid), word(user.gid), word(0o707)),
        request(9, word(3), text(b"open"), word(4), word(0o604)),
    ]
    session = client.start("-s", "box", "sftp")
    assert session.stdin
    assert session.stdout
    session.stdin.write(b"".join(asked))
    session.stdin.flush()
    for _ in asked:
        session.stdout.read(int.from_bytes(session.stdout.read(4), "big"))
    session.communicate()
    assert (home / "open").stat().st_mode & 0o7777 == 0o600
    assert (home / "tree").stat().st_mode & 0o7777 == 0o700


def request(kind: int, *parts: bytes) -> bytes:
    body = bytes([kind]) + b"".join(parts)
    return len(body).to_bytes(4, "big") + body


def word(value: int) -> bytes:
    return value.to_bytes(4, "big")


def text(value: bytes) -> bytes:
    return word(len(value)) + value


def test_no_way_of_opening_reaches_what_is_there(
    make_user: MakeUser, host_directory: Callable[[User], str], sshd: Server
) -> None:
    """A client of one's own, which asks for what no ordinary one does."""
    user = make_user(DROP)
    home = Path(host_directory(user))
    path = home / "a"
    path.write_bytes(b"kept")
    os.chown(path, user.uid, user.gid)
    os.chmod(path, 0o600)
    asked = [request(1, word(3))]
    for flags in (0, 1, 2, 3, 4, 8, 2 | 4, 2 | 8, 2 | 16, 2 | 8 | 16, 1 | 2 | 8 | 16, 1 << 31 | 2):
        asked.append(request(3, word(1), text(b"a"), word(flags), word(4), word(0o777)))
        # The handle would be the server's first one.
        asked.append(request(6, word(2), text(word(0)), bytes(8), text(b"lost")))
        asked.append(request(10, word(3), text(word(0)), word(4), word(0o777)))
    asked.append(request(3, word(4), text(b"witness"), word(2 | 8), word(0)))
    session = sshd.client(user).start("-s", "box", "sftp")
    assert session.stdin
    assert session.stdout
    session.stdin.write(b"".join(asked))
    session.stdin.flush()
    kinds = []
    for _ in asked:  # the server forgets what it was asked when the client is gone
        size = int.from_bytes(session.stdout.read(4), "big")
        kinds.append(session.stdout.read(size)[0])
    session.communicate()
    assert kinds == [2, *[101] * (len(asked) - 2), 102]  # version, failures, a handle
    assert (home / "witness").exists()
    assert path.read_bytes() == b"kept"
    assert path.stat().st_mode & 0o7777 == 0o600


def test_a_request_that_is_none_ends_the_server(
    make_user: MakeUser, host_directory: Callable[[User], str], sshd: Server
) -> None:
    user = make_user(DROP)
    home = Path(host_directory(user))
    client = sshd.client(user)
    for broken in (
        word(0),
        request(3, word(1), word(1 << 31)),
        request(3, b"a" * 40_000),
        word(1 << 31) + b"\3",
    ):
        client.ssh("-s", "box", "sftp", stdin=request(1, word(3)) + broken)
    assert os.listdir(home) == []
