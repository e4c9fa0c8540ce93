"""Frames of a recorder become an asciicast, however they are cut into pieces."""

from __future__ import annotations

import json
import os
import tempfile
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssh2container.record.keeper import (
    BEGIN,
    DIGEST,
    DIGEST_BYTES,
    EXIT,
    INPUT,
    LARGEST,
    LARGEST_GATHERED,
    OUTPUT,
    RESIZE,
    Keeper,
    Refused,
    begin,
    escaped,
    head,
)

HEADER = begin(80, 24, 1700000000, "session 1", {"TERM": "xterm", "SHELL": ""})


def frame(kind: bytes, content: bytes, microseconds: int = 0) -> bytes:
    return head(kind, len(content), microseconds) + content


def kept(pieces: list[bytes]) -> tuple[bytes, bytes]:
    """What the keeper has written and what it has answered to all ``pieces`` and their end."""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/x.cast"
        keeper = Keeper(os.open(path, os.O_WRONLY | os.O_CREAT), path)
        try:
            answer = b"".join(keeper.take(piece) for piece in pieces) + keeper.end()
            with open(path, "rb") as file:
                return file.read(), answer
        finally:
            keeper.close()


@given(
    st.lists(st.binary(max_size=200)),
    st.lists(st.binary(max_size=20)),
    st.integers(min_value=1, max_value=300),
)
def test_all_that_was_shown_and_typed_is_kept(shown: list[bytes], typed: list[bytes], cut: int) -> None:
    frames = [frame(OUTPUT, data) for data in shown] + [frame(INPUT, data) for data in typed]
    data = frame(BEGIN, HEADER) + b"".join(frames) + frame(EXIT, b"0")
    text, answer = kept([data[at : at + cut] for at in range(0, len(data), cut)])
    header, *events = [json.loads(line) for line in text.splitlines()]
    assert header["env"] == {"TERM": "xterm"}
    for code, pieces in (("o", shown), ("i", typed)):
        said = "".join(content for _, kind, content in events if kind == code)
        assert said == b"".join(pieces).decode("utf-8", "replace")
    assert events[-1][1:] == ["x", "0"]
    digest = blake2b(text, digest_size=DIGEST_BYTES).hexdigest()
    assert answer == f"done {len(text)} {digest}\n".encode()


def test_a_digest_is_of_all_that_came_before() -> None:
    first = frame(BEGIN, HEADER) + frame(OUTPUT, b"one", 1) + frame(DIGEST, b"")
    text, answer = kept([first + frame(OUTPUT, b"two", 2)])
    kind, size, digest = answer.splitlines()[0].split()
    assert kind == b"digest"
    assert blake2b(text[: int(size)], digest_size=DIGEST_BYTES).hexdigest() == digest.decode()
    assert text[: int(size)].endswith(b'"one"]\n')


def test_many_questions_in_one_piece_get_one_answer() -> None:
    """The answer is what whoever asks has to read: a flood of questions is no flood of answers."""
    data = frame(BEGIN, HEADER) + frame(OUTPUT, b"one", 1) + frame(DIGEST, b"") * 2000
    _, answer = kept([data])
    assert answer.count(b"digest ") == 1


def test_half_a_frame_is_written_and_not_kept() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/x.cast"
        keeper = Keeper(os.open(path, os.O_WRONLY | os.O_CREAT), path)
        keeper.take(frame(BEGIN, HEADER) + head(OUTPUT, LARGEST, 0) + b"x" * (LARGEST // 2))
        assert keeper.written > LARGEST // 2
        with pytest.raises(Refused):
            keeper.take(b"x" * (LARGEST // 2) + head(RESIZE, LARGEST_GATHERED + 1, 0))
        keeper.close()


def test_time_never_goes_back() -> None:
    text, _ = kept([frame(BEGIN, HEADER), frame(OUTPUT, b"a", 5), frame(OUTPUT, b"b", 3), frame(EXIT, b"")])
    times = [json.loads(line)[0] for line in text.splitlines()[1:]]
    assert times == sorted(times)


@pytest.mark.parametrize(
    "frames",
    [
        frame(OUTPUT, b"too early"),
        frame(BEGIN, HEADER) + frame(BEGIN, HEADER),
        frame(BEGIN, b"80"),
        frame(BEGIN, b"80\0x\x000\0title"),
        frame(BEGIN, b"80\x0024\0" + b"1" * 13 + b"\0title"),
        frame(BEGIN, b"9" * 5000 + b"\x0024\x000\0title"),
        frame(BEGIN, HEADER) + frame(RESIZE, b"80"),
        frame(BEGIN, HEADER) + frame(RESIZE, b'1x1"], ["'),
        frame(BEGIN, HEADER) + frame(EXIT, b"1]"),
        frame(BEGIN, HEADER) + frame(b"?", b""),
    ],
)
def test_what_is_no_recording_is_refused(frames: bytes) -> None:
    with pytest.raises(Refused):
        kept([frames])


@given(st.text() | st.text('\\"\r\n\t\x1b\x00\x07\x08\x7f/ué', max_size=40))
def test_escapes_are_those_of_json(text: str) -> None:
    assert json.loads(b'"' + escaped(text.encode()) + b'"') == text
