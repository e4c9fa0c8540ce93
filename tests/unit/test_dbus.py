"""Calls over D-Bus by hand: bytes as the specification has them, and whatever the other side may answer."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import manager
from support.manager import LINE, Manager, Mood, reply

from ssh2container.kernel import sockets
from ssh2container.run import dbus, dbus_answer

HELLO = dbus.call(1, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.Hello")
LATE = 3600.0
"""Of a deadline that no test reaches."""
NOW = 0.05
"""Of one that a silent other side lets pass."""


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "bus")


def ask(place: str, seconds: float = LATE, serial: int = 2) -> None:
    conversation = dbus.Conversation(place, HELLO, serial)
    try:
        dbus_answer.await_answer(conversation, time.monotonic() + seconds)
    finally:
        conversation.close()


def test_a_call_is_what_the_specification_says() -> None:
    """Written out by hand: head, fields (path, interface, member, destination), all padded to 8 bytes."""
    fields = (
        b"\x01\x01o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0"
        b"\x02\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0"
        b"\x03\x01s\0\x05\0\0\0Hello\0\0\0"
        b"\x06\x01s\0\x14\0\0\0org.freedesktop.DBus\0"
    )
    head = b"l\x01\x02\x01" + bytes(4) + b"\x01\0\0\0" + len(fields).to_bytes(4, "little")
    whole = head + fields
    assert whole + bytes(-len(whole) % 8) == HELLO


@pytest.mark.parametrize(
    ("signature", "values", "wanted"),
    [
        ("s", ["ab"], "02000000 6162 00"),
        ("yt", [1, 2], "01 00000000000000 0200000000000000"),
        ("b", [True], "01000000"),
        ("au", [[7, 8]], "08000000 07000000 08000000"),
        ("at", [[7]], "08000000 00000000 0700000000000000"),
        ("at", [[]], "00000000 00000000"),
        ("v", [("b", False)], "01 62 00 00 00000000"),
        ("a(sv)", [[("P", ("u", 9))]], "10000000 00000000 01000000 5000 0175 00 000000 09000000"),
        ("a(sv)b", [[], True], "00000000 00000000 01000000"),
        ("a(sa(sv))", [[]], "00000000 00000000"),
        ("v", [("a(st)", [("/d", 5)])],
         "05 612873742900 00 10000000 00000000 02000000 2f6400 00 0500000000000000"),
    ],
)  # fmt: skip
def test_what_values_come_to(signature: str, values: list[object], wanted: str) -> None:
    assert dbus.pack(signature, *values).hex(" ") == bytes.fromhex(wanted).hex(" ")


def test_a_manager_that_answers(place: str) -> None:
    with manager.manager(place, manager.accepts) as made:
        ask(place)
    (caller,) = made.callers
    uid = str(os.getuid()).encode().hex().encode()
    assert caller.said == b"\0AUTH EXTERNAL " + uid + b"\r\nBEGIN\r\n" + HELLO


@pytest.mark.parametrize("pieces", [1, 7])
def test_an_answer_in_pieces(place: str, pieces: int) -> None:
    whole = LINE + reply(1) + reply(2)

    def mood(caller: manager.Caller) -> None:
        caller.hear()
        for at in range(0, len(whole), pieces):
            caller.end.sendall(whole[at : at + pieces])
        caller.wait()

    with manager.manager(place, mood):
        ask(place)


def test_an_error_is_told_on_one_line(place: str) -> None:
    with manager.manager(place, manager.declines), pytest.raises(dbus_answer.Declined) as caught:
        ask(place)
    assert str(caught.value) == r"org.freedesktop.DBus.Error.AccessDenied: no \x1b[31mscope"


@pytest.mark.parametrize(
    ("mood", "why", "seconds"),
    [
        (manager.hangs, "it does not answer", NOW),
        (manager.hangs_after_welcome, "it does not answer", NOW),
        (manager.chatters, "it says much and does not answer", LATE),
        (manager.rejects, "it does not take us for the user", LATE),
        (manager.goes_away, "it closed the connection without an answer", LATE),
        (manager.says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "it does not take us for the user", LATE),
        (manager.says(b"x" * 600), "what it answers is not D-Bus", LATE),
        (manager.says(LINE + b"x" * 16), "what it answers is not D-Bus", LATE),
        (manager.says(LINE + b"l\x02\x00\x01" + b"\xff" * 12), "its answer is too large", LATE),
        (manager.says(LINE + reply(2)[:-1]), "it does not answer", NOW),
        (manager.says(LINE + reply(2).replace(b"\x01u\x00", b"\x01d\x00")),
         "its answer has a field of a type that no field has", LATE),
        (manager.says(LINE + reply(2).replace(b"\x01u\x00", b"\xffu\x00")), "its answer is cut off", LATE),
        (manager.says(LINE + reply(3)), "it does not answer", NOW),
    ],
)  # fmt: skip
def test_what_is_no_answer(place: str, mood: Mood, why: str, seconds: float) -> None:
    with manager.manager(place, mood), pytest.raises(dbus.Unusable) as caught:
        ask(place, seconds)
    assert str(caught.value) == why


@pytest.mark.parametrize("is_said_before", [True, False])
def test_one_that_goes_away_unheard(place: str, *, is_said_before: bool) -> None:
    """Whether what we say or what we wait for fails first, the reason is one."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        conversation = dbus.Conversation(place, HELLO, 2)
        try:
            if is_said_before:
                assert conversation.begin()
                listener.accept()[0].close()
            else:
                sockets.connect(conversation.descriptor, place.encode())
                conversation._is_connected = True
                listener.accept()[0].close()
            with pytest.raises(dbus.Unusable, match="it closed the connection without an answer"):
                dbus_answer.await_answer(conversation, time.monotonic() + LATE)
        finally:
            conversation.close()


def test_nobody_there(place: str) -> None:
    with pytest.raises(dbus.Unusable, match="No such file or directory"):
        ask(place)
    made = Manager(place, manager.accepts)
    made.close()
    with pytest.raises(dbus.Unusable, match="Connection refused"):
        ask(place)


@pytest.fixture(scope="module")
def whoever(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[bytes]]]:
    """One that answers what the list says last and closes, so that no answer is waited for in vain."""
    place, answers = str(tmp_path_factory.mktemp("bus") / "bus"), [b""]

    def mood(caller: manager.Caller) -> None:
        caller.hear()
        caller.end.sendall(answers[-1])

    with manager.manager(place, mood):
        yield place, answers


MESSAGES = st.lists(
    st.one_of(
        st.binary(max_size=64),
        st.builds(
            reply,
            st.integers(0, 4),
            st.integers(0, 255),
            st.text(max_size=20).filter(lambda text: "\0" not in text),
            st.text(max_size=20).filter(lambda text: "\0" not in text),
        ),
    ),
    max_size=5,
).map(b"".join)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    answer=st.one_of(st.binary(max_size=300), MESSAGES.map(LINE.__add__)),
    flips=st.lists(st.integers(0, 1 << 12), max_size=3),
)
def test_whatever_is_answered(whoever: tuple[str, list[bytes]], answer: bytes, flips: list[int]) -> None:
    """Either it is the answer, or one of the two documented errors says why not, on one line."""
    place, answers = whoever
    changed = bytearray(answer)
    for flip in flips:
        if changed:
            changed[flip // 8 % len(changed)] ^= 1 << flip % 8
    answers.append(bytes(changed))
    why = ""
    try:
        ask(place)
    except (dbus.Unusable, dbus_answer.Declined) as error:
        why = str(error)
    assert why.isprintable()
    assert why or b"OK " in answers[-1]
