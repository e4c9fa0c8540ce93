"""Reading, playing and verifying recordings; what of them reaches an administrator's terminal."""

from __future__ import annotations

import codecs
import io
import re
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssh2container.admin.auditlog.read import Record
from ssh2container.admin.recordings import verifying
from ssh2container.admin.recordings.asciicast import Cast, Event
from ssh2container.admin.recordings.player import play
from ssh2container.admin.terminal.display import Display
from ssh2container.errors import SessionError

HEADER = '{"version": 2, "width": 80, "height": 24}\n'
DANGEROUS = re.compile(
    r"\x1b[]PX^_]|\x1b\[[0-?]*[ -/]*[cnty]|[\x00-\x06\x10-\x1a\x1c-\x1f\x7f-\x9f]|\x1b\[[<>=]"
)
"""Strings, reports, and controls that a terminal answers or keeps."""


def cast(text: str) -> Cast:
    return Cast(io.StringIO(text), "/x.cast")


def test_what_draws_passes() -> None:
    drawn = "\x1b[31;1mä✓\x1b[0m\r\n\x1b[2J\x1b[3;4H\x1b[?1049h\x1b[?25l\x1b(0q\x1b(B"
    drawn += "\x1b7\x1b8\x1b[4 q\x1b[!p\a\t"
    assert Display().feed(drawn) == drawn


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b]0;title\x07",
        "\x1b]52;c;aGk=\x1b\\",
        "\x1bP$q m\x1b\\",
        "\x1b[c",
        "\x1b[>c",
        "\x1b[6n",
        "\x1b[?6n",
        "\x1b[21t",
        "\x1b[?1000h",
        "\x1b[?2004h",
        "\x1b[?25;1002h",
        "\x1b[>4;2m",
        "\x1b[>1u",
        "\x05",
        "\x1b_x\x1b\\",
        "\x9b6n",
        "\x1bc",
        "\x1b[99999999b",
        "\x1b[?1$p",
    ],
)
def test_what_a_terminal_obeys_otherwise_does_not(sequence: str) -> None:
    shown = Display().feed(f"a{sequence}b")
    assert not DANGEROUS.search(shown)
    assert sequence not in shown
    assert shown.startswith("a")
    assert shown.endswith("b")


@given(
    st.lists(st.text(st.characters(codec="utf-8") | st.sampled_from("\x1b[]P?;0123456789mhlctn\x07\\<>=")))
)
def test_nothing_dangerous_passes_however_it_is_cut(pieces: list[str]) -> None:
    display = Display()
    shown = "".join(display.feed(piece) for piece in pieces)
    assert not DANGEROUS.search(shown)


@given(st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "S"))))
def test_plain_text_passes_whole(text: str) -> None:
    assert Display().feed(text) == text


def test_sequences_may_be_cut_anywhere() -> None:
    text = "\x1b[38;2;1;2;3mx\x1b]0;t\x1b\\y\x1b[8;50;132t"
    sizes: list[tuple[int, int]] = []
    for at in range(len(text)):
        display = Display(lambda columns, rows: sizes.append((columns, rows)))
        assert display.feed(text[:at]) + display.feed(text[at:]) == "\x1b[38;2;1;2;3mxy"
    assert set(sizes) == {(132, 50)}


def test_who_types_has_the_modes_of_keys_and_nothing_that_answers() -> None:
    keys = "\x1b[?1h\x1b=\x1b[?2004h\x1b[?1049h\x1b[2;9r\x1b[?7;25h"
    assert Display(typed=True).feed(keys) == keys
    assert Display().feed(keys) == "\x1b[?1049h\x1b[2;9r\x1b[?7;25h"
    for sequence in (
        "\x1b[?1000h",
        "\x1b[?1004h",
        "\x1b[c",
        "\x1b]0;t\x07",
        "\x1b[?u",
        "\x1b[>q",
        "\x1b[20h",
    ):
        assert Display(typed=True).feed(sequence) == ""


def test_eight_bit_controls_do_not_pass_in_either_form() -> None:
    """As single bytes, and as the two bytes that UTF-8 makes of them."""
    for code in range(0x80, 0xA0):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for data in (bytes((code,)), chr(code).encode()):
            shown = Display(typed=True).feed(decoder.decode(b"a" + data + b"6nb"))
            assert not DANGEROUS.search(shown), hex(code)


def test_what_was_left_switched_on_is_switched_off() -> None:
    display = Display(typed=True)
    assert display.reset() == Display().reset()
    assert "\x1b[?1049l" not in display.reset(), "without the other screen it would move the cursor"
    display.feed("\x1b[?1049h\x1b[3;9r\x1b[?1h\x1b=\x1b[?2004h\x1b[?5;6h\x1b[3 q\x1b(0\x0e\x1b[4h")
    left = display.reset()
    for undo in (
        "\x1b[?1049l", "\x1b7\x1b[r\x1b8", "\x1b[?1l", "\x1b>", "\x1b[?2004l", "\x1b[?5l", "\x1b[?6l",
        "\x1b[0 q", "\x1b(B", "\x0f", "\x1b[4l",
    ):  # fmt: skip
        assert undo in left
    display.feed("\x1b[?1049h\x1b[?1049l")
    assert "\x1b[?1049l" not in display.reset()


@given(
    st.lists(st.sampled_from(["\x1b[", "?", "4", "7", "1049", "2004", "h", "l", ";", "r", "\x1b", "=", "x"]))
)
def test_the_reset_leaves_nothing_behind(pieces: list[str]) -> None:
    """By a reader of the sequences that is not ours: modes that are on at the end are those of a shell."""
    display = Display(typed=True)
    shown = "".join(display.feed(piece) for piece in pieces)
    on: set[str] = set()
    for modes, final in re.findall(r"\x1b\[\?([0-9;]+)([hl])", shown + display.reset()):
        for mode in modes.split(";"):
            (on.add if final == "h" else on.discard)(mode)
    assert on <= {"7", "25"}


def test_events_are_read_in_order() -> None:
    found = list(
        cast(HEADER + '[0.5, "o", "a"]\n\n[1.0, "r", "90x20"]\n[2, "x", "0"]\n[3.0, "o", "cut').events()
    )
    assert [(event.at, event.code, event.data) for event in found] == [
        (0.5, "o", "a"),
        (1.0, "r", "90x20"),
        (2.0, "x", "0"),
    ]


@pytest.mark.parametrize(
    "header",
    ["", "x\n", "[]\n", '{"version": 3}\n', '{"version": 2, "width": "a", "height": 1}\n', "[" * 100_000],
    ids=lambda header: header[:40],
)
def test_what_is_no_recording_is_refused(header: str) -> None:
    with pytest.raises(SessionError, match="line 1"):
        cast(header)


@pytest.mark.parametrize(
    "line",
    [
        "x", "{}", "[1]", '["a", "o", "x"]', '[1, "o", 5]', '[NaN, "o", "x"]', "null", "[" * 100_000,
        f'[{10**400}, "o", "x"]',
    ],
    ids=lambda line: line[:20],
)  # fmt: skip
def test_what_is_no_event_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(SessionError, match="line 3"):
        list(cast(f'{HEADER}[0.1, "o", "a"]\n{line}\n').events())


def test_half_a_character_is_shown_as_a_question_mark() -> None:
    (event,) = cast(HEADER + '[1, "o", "a\\ud800b"]\n').events()
    assert event.data == "a?b"


def paused(*gaps: float, speed: float = 1.0, idle_limit: float | None = None) -> list[float]:
    at, events, waited = 0.0, [], []
    for gap in gaps:
        at += gap
        events.append(Event(at, "o", "x"))

    def pause(seconds: float) -> bool:
        waited.append(round(seconds, 6))
        return True

    play(iter(events), lambda _text: None, pause, speed, idle_limit)
    return waited


def test_speed_and_the_longest_pause() -> None:
    assert paused(1, 2, 30) == [1, 2, 30]
    assert paused(1, 2, 30, speed=2) == [0.5, 1, 15]
    assert paused(1, 2, 30, idle_limit=2) == [1, 2, 2]
    assert paused(1, 2, 30, speed=2, idle_limit=2) == [0.5, 1, 1]


def test_the_viewer_may_stop() -> None:
    shown: list[str] = []
    events = [Event(0.0, "o", "a"), Event(1.0, "o", "b")]
    assert play(iter(events), shown.append, lambda _seconds: False) == ""
    assert shown == ["a"]


def claim(data: bytes, *, final: bool = False) -> dict[str, str]:
    digest = blake2b(data, digest_size=16).hexdigest()
    fields = {
        "event": "recording",
        "session": "0123456789",
        "path": "/r/2026-0123456789.cast",
        "digest": digest,
    }
    return {**fields, "bytes": str(len(data)), **({"final": "yes"} if final else {})}


def verdict(tmp_path: object, data: bytes, *claims: dict[str, str], forged: str = "") -> str:
    path = f"{tmp_path}/2026-0123456789.cast"
    with open(path, "wb") as file:
        file.write(data)
    return verifying.verify(path, verifying.claims(path, [Record("", c, forged) for c in claims])).state


def test_verdicts(tmp_path: object) -> None:
    whole = [claim(b"abc"), claim(b"abcdef", final=True)]
    assert verdict(tmp_path, b"abcdef", *whole) == "verified"
    assert verdict(tmp_path, b"abcdef", whole[0]) == "incomplete"
    assert verdict(tmp_path, b"abXdef", *whole) == "changed"
    assert verdict(tmp_path, b"abcdeX", *whole) == "changed"
    assert verdict(tmp_path, b"abcdefg", *whole) == "changed"
    assert verdict(tmp_path, b"ab", *whole) == "changed"
    assert verdict(tmp_path, b"abcdef") == "unknown"
    assert verdict(tmp_path, b"abcdef", *whole, forged="1000") == "unknown"


def test_only_the_sessions_own_user_says_what_was_recorded(tmp_path: object) -> None:
    opened = {"event": "open", "session": "0123456789", "uid": "1000"}
    whole = {**claim(b"abcdef", final=True), "uid": "1000"}
    others = {**claim(b"a lie"), "uid": "1234"}
    assert verdict(tmp_path, b"abcdef", opened, others, whole, others) == "verified"


@given(st.binary(max_size=200), st.binary(max_size=200), st.integers(0, 199), st.integers(1, 255))
def test_every_changed_byte_is_found(
    tmp_path_factory: pytest.TempPathFactory, first: bytes, rest: bytes, at: int, flip: int
) -> None:
    data = first + rest
    claims = [claim(first), claim(data, final=True)]
    place = tmp_path_factory.mktemp("cast")
    assert verdict(place, data, *claims) == "verified"
    if data:
        at %= len(data)
        changed = data[:at] + bytes((data[at] ^ flip,)) + data[at + 1 :]
        assert verdict(place, changed, *claims) == "changed"
