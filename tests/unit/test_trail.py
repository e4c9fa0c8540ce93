"""The audit trail is read back as it was written, in either format, and in files that hold both."""

from __future__ import annotations

import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssh2container.admin import trail
from ssh2container.errors import printable
from ssh2container.record.audit import as_fields
from ssh2container.record.ecs import as_ecs

TEXTS = st.text(min_size=1).map(printable)
FIELDS = st.fixed_dictionaries(
    {"event": st.sampled_from(("open", "close", "refused", "container-open"))},
    optional={
        "session": TEXTS,
        "user": TEXTS,
        "uid": st.integers(min_value=0).map(str),
        "command": TEXTS,
        "image_digest": TEXTS,
        "exit": st.integers(0, 255).map(str),
        "output": st.integers(min_value=0).map(str),
        "duration": st.integers(0, 10**9).map(lambda ms: f"{ms / 1000:.3f}"),
        "path": TEXTS,
        "digest": TEXTS,
    },
)


@given(FIELDS)
def test_both_formats_say_the_same(record: dict[str, str]) -> None:
    assert trail.parse(as_fields(record)) == record
    assert trail.parse(as_ecs(record)) == record


@pytest.mark.parametrize(
    "text",
    [
        '{"@timestamp":',
        '{"@timestamp":"x"}',
        '{"@timestamp":"x","event.action":"close","event.duration":"long"}',
        '{"@timestamp":' + "[" * 100000,
        '{"@timestamp":"x","event.action":"close","event.duration":1' + "0" * 400 + "}",
    ],
)
def test_what_is_no_record_is_a_note(text: str) -> None:
    assert trail.parse(text) == {"event": "note", "text": text}


def test_a_file_with_both_formats_is_read(tmp_path: pathlib.Path) -> None:
    record = {"event": "close", "session": "0123456789", "user": "alice", "uid": "1000", "duration": "1.500"}
    lines = [f"Nov 22 03:00:0{second} host ssh2container[7]: " for second in (1, 2)]
    path = tmp_path / "auth.log"
    path.write_text(f"{lines[0]}{as_fields(record)}\n{lines[1]}{as_ecs(record)}\n", encoding="utf-8")
    first, second = trail.records((str(path),))
    assert first.fields == second.fields == record
    assert second.concerns("alice")


@pytest.mark.parametrize(
    ("writer", "text", "forged"),
    [
        ("65534", 'event=open session="0123456789" uid="65534" user="nobody"', False),
        ("0", 'event=kill session="0123456789" user="nobody" by="root"', False),
        ("1234", 'event=open session="0123456789" uid="65534" user="nobody"', True),
        ("1234", 'event=open session="0123456789" uid="1234" user="nobody"', True),
        ("1234", 'event=open session="0123456789" user="nobody"', True),
        ("1234", 'event=close session="0123456789" exit="0"', True),
        ("1234", 'event=open session="0123456789" uid="1234" user="an account that is no more"', False),
        ("1234", "the compiled policy was not used", False),
    ],
)
def test_a_record_about_another_user_is_marked(writer: str, text: str, *, forged: bool) -> None:
    """Leaving the uid out, or telling one's own beside another's name, helps a forger no more."""
    entry = {"MESSAGE": text, "_UID": writer, "__REALTIME_TIMESTAMP": "1700000000000000"}
    (record,) = trail._journal_entry(json.dumps(entry))
    assert record.forged == (writer if forged else "")


def test_a_summary_says_what_happened_and_not_to_whom() -> None:
    session = {"session": "0123456789", "user": "alice", "port": "4711", "key": "SHA256:x"}
    record = trail.Record("", {"event": "transfer", **session, "direction": "upload", "path": "a b"})
    assert record.summary() == "direction=upload path=a b"
