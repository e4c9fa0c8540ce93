"""The audit trail is read back as it was written, in either format, and in files that hold both."""

from __future__ import annotations

import ast
import datetime as dt
import json
import pathlib
import sys
import tempfile
import time

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from ssh2container.admin.auditlog import read
from ssh2container.admin.auditlog.killed import why
from ssh2container.admin.cli import log
from ssh2container.admin.recordings import verifying
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
        "networks": st.lists(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), min_size=1).map(", ".join),
        "addresses": st.lists(st.ip_addresses(), min_size=1).map(lambda some: ", ".join(map(str, some))),
        "exit": st.integers(0, 255).map(str),
        "output": st.integers(min_value=0).map(str),
        "duration": st.integers(0, 10**9).map(lambda ms: f"{ms / 1000:.3f}"),
        "path": TEXTS,
        "digest": TEXTS,
    },
)


@settings(deadline=None)
@given(FIELDS)
def test_both_formats_say_the_same(record: dict[str, str]) -> None:
    assert read.parse(as_fields(record)) == record
    assert read.parse(as_ecs(record)) == record


KILLED = [
    ({"oom_kills": "2", "memory_peak": "536870912", "reason": "oom", "limits": "memory 512m"},
     "out of memory: 2 programs killed, the most used was 512.0M; limits: memory 512m"),
    ({"oom_kills": "1", "reason": "exit"}, "out of memory: a program killed; the session went on"),
    ({"oom_kills": "0", "memory_peak": "1", "reason": "exit", "limits": "memory 512m"}, ""),
    ({"pids_refused": "7", "pids_peak": "9"}, "7 times no further process, the most were 9"),
    ({"reason": "max_duration", "signal": "9"}, "ended: max_duration is over"),
    ({"reason": "idle_timeout"}, "ended: nobody typed for idle_timeout"),
    ({"reason": "exit", "signal": "9"},
     "killed by SIGKILL: by a program of its own, or as the host ran out of memory"),
    ({"reason": "hangup", "signal": "9"}, ""),
    ({"reason": "exit", "exit": "0"}, ""),
    ({"reason": "exit", "oom_kills": "9" * 5000}, ""),
    ({"reason": "exit", "oom_kills": "-1", "pids_refused": "many"}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "said"), KILLED)
def test_who_was_killed_for_what(fields: dict[str, str], said: str) -> None:
    assert why({"event": "close", **fields}) == said
    assert why({"event": "open", **fields}) == ""


def test_the_trail_shows_those_who_were_killed_alone(tmp_path: pathlib.Path) -> None:
    records = [
        {"event": "close", "session": f"{at:010}", "user": "alice", **one}
        for at, (one, _) in enumerate(KILLED)
    ]
    records += [{"event": "kill", "session": "a" * 10, "user": "alice", "by": "carol"}]
    records += [{"event": "refused", "user": "bob", "reason": "no"}]
    path = tmp_path / "auth.log"
    path.write_text(
        "".join(f"2026-01-31T12:00:00+00:00 h ssh2container[1]: {as_fields(r)}\n" for r in records)
    )
    expected = [said for _, said in KILLED if said]

    def shown(*options: str) -> list[dict[str, str]]:
        done = CliRunner().invoke(log.command, ["--file", str(path), "--json", *options])
        assert done.exit_code == 0
        return [dict(record) for record in json.loads(done.stdout)["records"]]

    assert [record["killed"] for record in shown("--killed")] == [*expected, "killed by carol"]
    assert [record["event"] for record in shown("--killed", "--refused")][-1] == "refused"
    assert len(shown()) == len(records)
    table = CliRunner().invoke(log.command, ["--file", str(path), "--killed", "alice"]).stdout
    assert all(said in table for said in [*expected, "killed by carol"])


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(("reason", "signal", "limits", "oom_kills", "memory_peak", "by")), st.text()
    )
)
def test_whatever_a_record_says_can_be_told(fields: dict[str, str]) -> None:
    for event in ("close", "kill", "strange"):
        assert isinstance(why({"event": event, **fields}), str)


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
    assert read.parse(text) == {"event": "note", "text": text}


def test_a_file_with_both_formats_is_read(tmp_path: pathlib.Path) -> None:
    record = {"event": "close", "session": "0123456789", "user": "alice", "uid": "1000", "duration": "1.500"}
    lines = [f"Nov 22 03:00:0{second} host ssh2container[7]: " for second in (1, 2)]
    path = tmp_path / "auth.log"
    path.write_text(f"{lines[0]}{as_fields(record)}\n{lines[1]}{as_ecs(record)}\n", encoding="utf-8")
    first, second = read.records((str(path),))
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
    (record,) = read._journal_entry(json.dumps(entry))
    assert record.forged == (writer if forged else "")


def test_a_summary_says_what_happened_and_not_to_whom() -> None:
    session = {"session": "0123456789", "user": "alice", "port": "4711", "key": "SHA256:x"}
    record = read.Record("", {"event": "transfer", **session, "direction": "upload", "path": "a b"})
    assert record.summary() == "direction=upload path=a b"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
VALUES = (
    JSON
    | st.lists(st.integers(-2, 300))
    | st.sampled_from(
        ["9" * 5000, "1700000000000000", '{"@timestamp":"x","event.action":["close"]}', 10**5000]
    )
    | st.lists(st.lists(st.integers(0, 255)) | TEXTS)
    | FIELDS.map(as_fields)
)
NAMES = ("MESSAGE", "_UID", "__REALTIME_TIMESTAMP", "SSH2CONTAINER_EVENT", "SSH2CONTAINER_SESSION")
ENTRIES = st.dictionaries(st.sampled_from(NAMES), VALUES) | JSON


@settings(deadline=None)
@given(ENTRIES)
def test_no_entry_of_the_journal_is_fatal(entry: object) -> None:
    """Whatever a local process sends to the journal, `log` and `replay --verify` go on."""
    sys.set_int_max_str_digits(0)
    try:
        line = json.dumps(entry)
    finally:
        sys.set_int_max_str_digits(4300)
    found = list(read._journal_entry(line))
    for record in found:
        assert all(type(text) is str for text in (record.when, record.forged, *record.fields.values()))
        assert record.fields["event"] or record.fields["event"] == ""
        "\n".join((record.summary(), *record.fields.values())).encode()
        record.concerns("alice")
    verifying.claims("/x/2026-0123456789.cast", found)


@settings(deadline=None)
@given(st.text() | TEXTS.map(lambda text: f"Nov 22 03:00:01 host ssh2container[7]: event={text}"))
def test_no_line_of_a_file_is_fatal(text: str) -> None:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="replace", suffix=".log") as file:
        file.write(text)
        file.flush()
        for record in read.records((file.name,), "yesterday"):
            record.summary()


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (["event=open", "event=close"], {"event": "strange", "text": "event=open / event=close"}),
        ([[101, 255], "b"], {"event": "strange", "text": "e\\xff / b"}),
        ([*b"event=note"], {"event": "note"}),
        (5, {"event": "note", "text": "5"}),
    ],
)
def test_an_entry_of_another_form_is_shown_as_strange(message: object, fields: dict[str, str]) -> None:
    (record,) = read._journal_entry(json.dumps({"MESSAGE": message, "_UID": "1000"}))
    assert record.fields == fields


def test_an_entry_without_a_message_is_skipped() -> None:
    assert list(read._journal_entry(json.dumps({"MESSAGE": None, "_UID": "1000"}))) == []


def test_a_record_whose_message_is_too_long_is_read_from_its_fields() -> None:
    entry = {"MESSAGE": None, "SSH2CONTAINER_EVENT": "open", "SSH2CONTAINER_UID": "1000", "_UID": "1000"}
    (record,) = read._journal_entry(json.dumps(entry))
    assert (record.fields, record.forged) == ({"event": "open", "uid": "1000"}, "")


@pytest.mark.parametrize("bytes_", ["9" * 5000, "٣", "-1", "1" * 19, ""])
def test_a_size_that_is_none_is_no_claim(bytes_: str) -> None:
    fields = {
        "event": "recording",
        "session": "0123456789",
        "path": "/r/2026-0123456789.cast",
        "bytes": bytes_,
    }
    assert verifying.claims("/r/2026-0123456789.cast", [read.Record("", fields)]) == []


@pytest.mark.parametrize(
    ("since", "shown"),
    [
        ("today", ["today", "now"]),
        ("yesterday", ["yesterday", "today", "now"]),
        ("-1h", ["now"]),
        ("-1 hour", ["now"]),
        ("1 hour ago", ["now"]),
        ("tomorrow", []),
    ],
)
def test_words_for_a_time_mean_what_journalctl_means(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, since: str, shown: list[str]
) -> None:
    """In a syslog file: today has begun at midnight, and not now."""
    monkeypatch.setenv("TZ", _zone_where_it_is_noon())
    time.tzset()
    try:
        now = dt.datetime.now().astimezone()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        times = {
            "before": midnight - dt.timedelta(days=1, seconds=1),
            "yesterday": midnight - dt.timedelta(seconds=1),
            "today": midnight,
            "now": now,
        }  # fmt: skip
        path = tmp_path / "auth.log"
        lines = [f"{when.isoformat()} host ssh2container[7]: event={name}\n" for name, when in times.items()]
        path.write_text("".join(lines), encoding="utf-8")
        assert [record.fields["event"] for record in read.records((str(path),), since)] == shown
    finally:
        monkeypatch.undo()
        time.tzset()


def _zone_where_it_is_noon() -> str:
    """Far from midnight, which would come between two looks at the clock; three letters (tzset(3))."""
    return f"XXX{(time.gmtime().tm_hour - 12):+d}"


def test_the_document_has_every_event_and_field(checkout: str) -> None:
    """Both ways: what code writes has its row, and what has a row is written."""
    text = pathlib.Path(checkout, "docs/audit.md").read_text(encoding="utf-8")
    events, fields = (
        {
            name
            for line in text.partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines()
            if line.startswith("| ") and not line.startswith(("| event |", "| field |"))
            for name in line.split("|")[1].strip().split(", ")
        }
        for title in ("Events", "Fields")
    )
    written: set[str] = set()
    known: set[str] = set()
    for path in pathlib.Path(checkout, "ssh2container").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call):
                place, _, word = ast.unparse(call.func).rpartition(".")
                is_record = word == "record" and (place == "ending" or path.name == "ending.py")
                is_write = word == "write" and (place.endswith("log") or path.name == "audit.py")
                if is_record or is_write:
                    written |= _events(call.args[int(is_record)])
                if is_record or is_write or (word == "know" and place.endswith(("log", "self"))):
                    known |= {one.arg for one in call.keywords if one.arg not in (None, "warning")}
    assert written == events
    assert known - fields == set()


def _events(given: ast.expr) -> set[str]:
    if isinstance(given, ast.IfExp):
        return _events(given.body) | _events(given.orelse)
    if isinstance(given, ast.JoinedStr):
        assert ast.unparse(given) == "f'{verb}-refused'"
        return {"kill-refused", "watch-refused"}
    assert isinstance(given, ast.Constant), ast.unparse(given)
    return {str(given.value)}
