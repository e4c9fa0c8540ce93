"""A line for a client who may not be reading waits for nothing."""

from __future__ import annotations

import fcntl
import os
import socket

from ssh2container.kernel.offering import offer

PAGE = 4096


def test_a_pipe_without_room_for_all_of_it() -> None:
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4 * PAGE)
    for _ in range(size // PAGE - 1):
        os.write(writer, b"x" * PAGE)
    # It is writable for poll(2), and a write that may wait would wait.
    offer(writer, b"y" * 2 * PAGE)
    assert not fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(writer)
    with open(reader, "rb") as pipe:
        assert pipe.read() == b"x" * (size - PAGE) + b"y" * PAGE


def test_a_pipe_with_room() -> None:
    reader, writer = os.pipe()
    offer(writer, b"a line\n")
    assert os.read(reader, PAGE) == b"a line\n"
    os.close(reader)
    offer(writer, b"nobody reads\n")
    os.close(writer)


def test_a_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        offer(ours.fileno(), b"a line\n")
        assert theirs.recv(PAGE) == b"a line\n"
        ours.setblocking(False)
        while True:
            try:
                ours.send(b"x" * PAGE)
            except BlockingIOError:
                break
        ours.setblocking(True)
        offer(ours.fileno(), b"a line\n")
        theirs.close()
        offer(ours.fileno(), b"nobody reads\n")
