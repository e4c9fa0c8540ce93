"""What the shell accepts as fds 0-2, and what the payload gets."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest
from support.login import Stream, finish, inside, start
from support.users import User

LIST = "exec python3 -c 'import os; print(sorted(os.listdir(\"/proc/self/fd\")))'"


def test_the_payload_has_three_descriptors(user: User) -> None:
    """The fourth is the directory that lists them."""
    assert inside(user, LIST).ok().text == "['0', '1', '2', '3']\n"


def test_inherited_descriptors_are_closed(user: User) -> None:
    """Callers other than sshd may leave descriptors open: none reaches the payload."""
    opener = [
        "/usr/bin/python3",
        "-c",
        (
            "import os, sys\nfor n in range(3, 30): os.set_inheritable(os.open('/', os.O_RDONLY), True)\n"
            "os.dup2(3, 900)\nos.execv(sys.argv[1], sys.argv[1:])"
        ),
    ]
    assert inside(user, LIST, before=opener).ok().text == "['0', '1', '2', '3']\n"


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
def test_descriptors_closed_at_start(user: User, closed: tuple[int, ...]) -> None:
    """/dev/null takes their place; a policy or a pipe of ours never does."""
    closer = ["/bin/sh", "-c", " ".join(f"exec {n}>&-;" for n in closed) + ' exec "$@"', "sh"]
    done = inside(
        user, "for n in 0 1 2; do readlink /proc/$$/fd/$n >&2; done; echo out; exit 7", before=closer
    )
    assert done.status == 7
    assert done.text == ("" if 1 in closed else "out\n")
    if 2 not in closed:
        links = done.errors.splitlines()
        assert [links[n] for n in closed] == ["/dev/null"] * len(closed)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_directory_is_refused(user: User, number: int) -> None:
    """openat(0, "../etc/shadow") would walk the host from inside.

    Before our first line Python itself ends with status 1 when a standard descriptor is a directory.
    """
    descriptor = os.open("/tmp", os.O_RDONLY | os.O_DIRECTORY)
    try:
        streams: dict[str, Stream] = {("stdin", "stdout", "stderr")[number]: descriptor}
        done = finish(start(user, "-c", "echo inside; ls -l /proc/self/fd/", **streams))  # type: ignore[arg-type]
    finally:
        os.close(descriptor)
    assert done.status in (1, 126)
    assert done.out == b""
    if number != 2:
        assert "directory" in done.errors


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full"])
def test_a_device_is_refused(user: User, device: str) -> None:
    with open(device, "rb") as file:
        done = finish(start(user, "-c", "echo inside", stdin=file))
    assert (done.status, done.out) == (126, b"")


def test_a_path_descriptor_is_refused(user: User) -> None:
    descriptor = os.open("/etc", os.O_PATH)
    try:
        done = finish(start(user, "-c", "echo inside", stdin=descriptor))
    finally:
        os.close(descriptor)
    assert done.status in (1, 126)
    assert done.out == b""


def test_regular_files_are_the_payloads_own(user: User) -> None:
    """cron and scripts redirect: the same open files, no copy in between."""
    path = f"{user.home}/io"
    with open(path, "w+b") as file:
        os.chown(path, user.uid, user.gid)
        file.write(b"from a file\n")
        file.flush()
        file.seek(0)
        assert finish(start(user, "-c", "cat; echo end", stdin=file)).ok().text == "from a file\nend\n"
        file.seek(0)
        file.truncate()
        finish(start(user, "-c", "echo to a file", stdout=file, stdin=subprocess.DEVNULL)).ok()
        file.seek(0)
        assert file.read() == b"to a file\n"
    os.unlink(path)


def test_dev_null_as_stdin(user: User) -> None:
    assert finish(start(user, "-c", "cat; echo ran", stdin=subprocess.DEVNULL)).ok().text == "ran\n"


def test_one_socket_as_all_three(user: User) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        session = start(user, "-c", "cat; echo err >&2", stdin=theirs, stdout=theirs, stderr=theirs)
        theirs.close()
        ours.sendall(b"both ways\n")
        ours.shutdown(socket.SHUT_WR)
        received = b""
        while part := ours.recv(1000):
            received += part
    assert received == b"both ways\nerr\n"
    assert session.wait() == 0


def test_the_payloads_descriptors_are_the_clients_own(user: User) -> None:
    """No relay: the very same pipes."""
    session = start(user, "-c", "readlink /proc/self/fd/1")
    assert session.stdout
    ours = os.readlink(f"/proc/self/fd/{session.stdout.fileno()}")
    assert finish(session).text.strip() == ours
