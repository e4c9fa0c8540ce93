"""Messages between monitor and pid 1: the last words of a side that ended are heard."""

from __future__ import annotations

from contextlib import closing

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
