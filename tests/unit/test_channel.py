"""Messages between monitor and pid 1: the last words of a side that ended are heard."""

from __future__ import annotations

import os
import socket
from contextlib import closing

import pytest

from ssh2container.kernel import ends, sockets
from ssh2container.run import channel, packets


def test_last_words_are_heard_though_ours_were_not_read() -> None:
    """The kernel reports the loss of what was not read before it hands over what was sent (unix(7))."""
    ours, theirs = packets.pair()
    with closing(ours):
        ours.send(channel.SIGNAL + bytes((15,)))
        theirs.send(channel.STATUS + bytes(4))
        theirs.close()
        assert packets.receive(ours) == (channel.STATUS, bytes(4), -1)
        assert packets.receive(ours) == (b"", b"", -1)


def test_the_end_of_a_side_that_said_nothing() -> None:
    ours, theirs = packets.pair()
    with closing(ours):
        ours.send(channel.SIGNAL + bytes((15,)))
        theirs.close()
        assert packets.receive(ours) == (b"", b"", -1)


def test_a_light_end_receives_what_a_socket_does() -> None:
    left, theirs = sockets.pair()
    ours, other = ends.End(left), socket.socket(fileno=theirs)
    with other, open(os.devnull, "rb") as null:
        packets.send_descriptor(other, channel.TERMINAL, null.fileno(), null.fileno())
        other.send(channel.STATUS + bytes(4))
        assert ours.recvmsg(1, 0, ends.MSG_PEEK)[0] == channel.TERMINAL
        kind, content, attached = packets.receive_all(ours)
        assert (kind, content, len(attached)) == (channel.TERMINAL, b"", 2)
        for descriptor in attached:
            assert os.path.samestat(os.fstat(descriptor), os.fstat(null.fileno()))
            assert not os.get_inheritable(descriptor)
            os.close(descriptor)
        assert packets.receive(ours) == (channel.STATUS, bytes(4), -1)
        ours.send(b"whole")
        assert other.recv(10) == b"whole"
        ours.send(b"unread")
    with pytest.raises(OSError, match="recvmsg"):
        ours.recvmsg(1, 0, 0)
    assert packets.receive(ours) == (b"", b"", -1)
    descriptor = ours.fileno()
    del ours
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
