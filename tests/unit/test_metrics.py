"""Metrics: their format, their counters that only grow, and the rules and the dashboard that use them."""

from __future__ import annotations

import ast
import gzip
import json
import os
import pathlib
import re
import shutil
import stat
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ssh2container.admin.auditlog import files, read
from ssh2container.admin.auditlog.read import Record
from ssh2container.admin.cli import metrics as verb
from ssh2container.admin.metrics import counters, exposition, state
from ssh2container.record.audit import as_fields

USER = {"session": "0123456789", "user": "alice", "uid": "1000"}
CLOSE = {"event": "close", **USER, "reason": "exit", "duration": "1.500", "cpu_usec": "250000"}
Sample = tuple[str, tuple[tuple[str, str], ...]]


def samples(text: str) -> dict[Sample, float]:
    """What Prometheus' own parser reads."""
    return {
        (one.name, tuple(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


class Host:
    """A log, a state and a file for node_exporter in a directory."""

    def __init__(self, base: pathlib.Path) -> None:
        self.log = base / "auth.log"
        self.state = base / "metrics.json"
        self.out = base / "x.prom"
        self.log.write_text("")
        self.now = time.time()

    def write(self, *records: dict[str, str], age_s: float = -60.0) -> None:
        """Append records, by default younger than the state that a test begins with."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(self.now - age_s))
        with open(self.log, "a", encoding="utf-8") as file:
            file.writelines(f"{when} host ssh2container[7]: {as_fields(fields)}\n" for fields in records)
            file.write(f"{when} host sshd[7]: something else\n")

    def metrics(self) -> dict[Sample, float]:
        done = CliRunner().invoke(verb.command, ["--output", str(self.out)])
        assert done.exit_code == 0, done.output + repr(done.exception)
        self.said = done.output
        return samples(self.out.read_text(encoding="utf-8"))

    def ended(self) -> float:
        return self.metrics()["ssh2container_sessions_ended_total", (("reason", "exit"),)]


class NoSessions:
    """In place of the sessions of this machine."""

    sessions = containers = ()

    def close(self) -> None:
        pass


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setattr(files, "FILES", (str(made.log),))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(state, "PATH", str(made.state))
    monkeypatch.setattr(verb, "Listing", NoSessions)
    return made


def test_every_metric_is_there_from_the_beginning(host: Host) -> None:
    found = host.metrics()
    assert {name for name, _ in found} == exposition.names()
    since = ("ssh2container_counted_since_timestamp_seconds", ())
    assert host.now - 1 <= found.pop(since) <= time.time()
    (info,) = [key for key in found if key[0] == "ssh2container_info"]
    assert found.pop(info) == 1
    assert set(found.values()) == {0.0}
    assert stat.S_IMODE(os.stat(host.out).st_mode) == 0o644
    assert stat.S_IMODE(os.stat(host.state).st_mode) == 0o600
    assert sorted(os.listdir(host.log.parent)) == ["auth.log", "metrics.json", "x.prom"]


def test_what_happened_is_counted_once(host: Host) -> None:
    host.metrics()
    host.write(
        {"event": "open", **USER, "kind": "sftp"},
        {"event": "refused", **USER, "step": "policy", "reason": "no"},
        {"event": "failed", **USER, "step": 'x"} 1\n', "reason": "no"},
        {"event": "recording-failed", **USER, "reason": "no"},
        CLOSE | {"oom_kills": "2", "pids_refused": "3"},
        CLOSE | {"reason": "max_duration", "start_usec": "10000"},
        CLOSE | {"duration": "nan"},
        CLOSE | {"start_usec": "-1"},
        CLOSE | {"start_usec": "3600000001"},
        CLOSE | {"oom_kills": "9" * 18},
        {"event": "container-close", "uid": "1000", "duration": "9.000", "cpu_usec": "1000000"},
    )
    for _ in range(2):
        found = {key: value for key, value in host.metrics().items() if value and "_total" in key[0]}
        assert found == {
            ("ssh2container_sessions_started_total", (("kind", "sftp"),)): 1,
            ("ssh2container_sessions_ended_total", (("reason", "exit"),)): 1,
            ("ssh2container_sessions_ended_total", (("reason", "max_duration"),)): 1,
            ("ssh2container_logins_refused_total", (("step", "policy"),)): 1,
            ("ssh2container_logins_failed_total", (("step", "other"),)): 1,
            ("ssh2container_recording_failures_total", ()): 1,
            ("ssh2container_limit_hits_total", (("limit", "memory"),)): 1,
            ("ssh2container_limit_hits_total", (("limit", "processes"),)): 1,
            ("ssh2container_limit_hits_total", (("limit", "max_duration"),)): 1,
            ("ssh2container_oom_kills_total", ()): 2,
            ("ssh2container_processes_refused_total", ()): 3,
            ("ssh2container_session_seconds_total", ()): 3,
            ("ssh2container_cpu_seconds_total", ()): 1.5,
            ("ssh2container_records_left_out_total", (("why", "bad"),)): 4,
        }


def test_starts_are_in_the_buckets_that_they_fit_in(host: Host) -> None:
    host.metrics()
    host.write(*(CLOSE | {"start_usec": took} for took in ("4999", "5000", "5001", "9000000", "3600000000")))
    # A container starts no session, whatever a record claims.
    host.write({"event": "container-close", "uid": "1000", "duration": "9.000", "start_usec": "7"})
    for _ in range(2):
        found = {key: value for key, value in host.metrics().items() if "_start_seconds" in key[0]}
        within = {dict(labels)["le"]: value for (name, labels), value in found.items() if "_bucket" in name}
        assert list(within) == list(counters.BOUNDS)
        assert [within[bound] for bound in ("0.005", "0.01", "5", "10", "+Inf")] == [2, 3, 3, 4, 5]
        assert found["ssh2container_session_start_seconds_sum", ()] == 3609.015
        assert found["ssh2container_session_start_seconds_count", ()] == 5


def test_what_was_before_is_not_counted(host: Host) -> None:
    host.write(CLOSE, age_s=3600)
    assert host.ended() == 0
    assert "counting begins with 0" in host.said
    host.write(CLOSE)
    assert host.ended() == 1
    assert host.said == ""


def renamed(host: Host) -> None:
    os.rename(host.log, f"{host.log}.1")
    host.log.write_text("")


def packed(host: Host) -> None:
    pathlib.Path(f"{host.log}.2.gz").write_bytes(gzip.compress(host.log.read_bytes()))
    host.log.write_text("")


def copied(host: Host) -> None:
    """As copytruncate does it: the file remains, and is empty."""
    shutil.copy(host.log, f"{host.log}.1")
    os.truncate(host.log, 0)


def dated(host: Host) -> None:
    os.rename(host.log, f"{host.log}-20260901")


@pytest.mark.parametrize("rotate", [renamed, packed, copied, dated])
def test_rotation_between_two_runs(host: Host, rotate: Callable[[Host], None]) -> None:
    """Nothing twice and nothing lost, whether records come before it, after it, or both."""
    host.metrics()
    host.write(CLOSE)
    assert host.ended() == 1
    host.write(CLOSE)
    rotate(host)
    assert host.ended() == 2
    host.write(CLOSE, CLOSE)
    assert host.ended() == 4
    host.write(CLOSE)
    assert host.ended() == 5


def test_a_log_that_is_removed_takes_nothing_back(host: Host) -> None:
    host.metrics()
    host.write(CLOSE, CLOSE)
    assert host.ended() == 2
    host.log.write_text("")
    assert host.ended() == 2
    host.now += 3600
    host.write(CLOSE)
    assert host.ended() == 2 + 1


def test_a_line_that_is_being_written_counts_when_it_is_whole(host: Host) -> None:
    host.metrics()
    host.write(CLOSE)
    whole = host.log.read_text()
    host.log.write_text(whole[:80])
    assert host.ended() == 0
    host.log.write_text(whole)
    assert host.ended() == 1


JOURNALCTL = """#!/bin/sh
for word; do case $word in --cursor=*) from=${word#*=};; esac; done
[ -z "$from" ] || grep -q "\\"$from\\"" "$JOURNAL" || from=
awk -v from="$from" 'index($0, "\\"" from "\\"") { seen = 1 } !from || seen' "$JOURNAL"
"""
"""Prints entries, of which each is a line, from a cursor on: all, where there is no such one any more."""


def test_the_journal_is_followed_by_its_cursor(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    program = host.log.parent / "bin" / "journalctl"
    program.parent.mkdir()
    program.write_text(JOURNALCTL)
    program.chmod(0o755)
    journal = host.log.parent / "journal"
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("JOURNAL", str(journal))
    monkeypatch.setattr(read, "has_journal", lambda: True)
    lines: list[str] = []

    def write(number: int, at: float, uid: str = "1000") -> None:
        entry = {"__CURSOR": f"s=1;i={number}", "__REALTIME_TIMESTAMP": str(int(at * 1e6))}
        lines.append(json.dumps(entry | {"MESSAGE": as_fields(CLOSE), "_UID": uid}) + "\n")
        journal.write_text("".join(lines))

    write(1, host.now - 60)
    assert host.ended() == 0
    write(2, host.now + 60)
    write(3, host.now + 60, uid="1234")
    found = host.metrics()
    assert found["ssh2container_sessions_ended_total", (("reason", "exit"),)] == 1
    assert found["ssh2container_records_left_out_total", (("why", "forged"),)] == 1
    assert host.ended() == 1
    write(4, host.now + 61)
    del lines[:2]
    assert host.ended() == 2
    monkeypatch.setattr(read, "has_journal", lambda: False)
    host.write(CLOSE, age_s=60)
    assert host.ended() == 2
    host.write(CLOSE, age_s=-120)
    assert host.ended() == 3


@pytest.mark.parametrize("content", [None, b"", b"x\n{}\n", b"\xff" * 100, "cut", "changed"])
def test_a_state_that_is_lost_or_damaged(host: Host, content: bytes | str | None) -> None:
    """Counting begins anew, and says so; what is in the log already is not counted again."""
    host.metrics()
    host.write(CLOSE, age_s=-1)
    assert host.ended() == 1
    before = host.state.read_bytes()
    if content is None:
        host.state.unlink()
    elif content == "cut":
        host.state.write_bytes(before[:-20])
    elif content == "changed":
        host.state.write_bytes(before.replace(b'"exit", 1]', b'"exit", 9]'))
    else:
        host.state.write_bytes(bytes(content))  # type: ignore[arg-type]
    host.log.write_text(host.log.read_text().replace(time.strftime("%Y", time.gmtime(host.now)), "2020"))
    assert host.ended() == 0
    assert ("is damaged" in host.said) is (content is not None)
    host.write(CLOSE)
    assert host.ended() == 1


def test_what_an_older_version_did_not_count_begins_with_0(host: Host) -> None:
    host.metrics()
    host.write(CLOSE)
    known = state.load()
    known.counted = {("sessions_ended", "exit"): 7, ("no longer", ""): 1}
    known.save()
    assert host.ended() == 8
    assert {name for name, _ in host.metrics()} == exposition.names()


def test_no_file_is_left_where_it_cannot_be_written(host: Host) -> None:
    done = CliRunner().invoke(verb.command, ["--output", f"{host.log.parent}/no/x.prom"])
    assert "cannot write" in str(done.exception)
    assert not host.out.exists()


TEXTS = st.text(max_size=20)


@settings(deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"event": st.sampled_from(["open", "close", "refused", "failed", "strange"]) | TEXTS},
            optional=dict.fromkeys(
                ("kind", "step", "reason", "session", "uid", "user", "duration", "cpu_usec", "start_usec"),
                TEXTS,
            ),
        )
    )
)
def test_whatever_records_say_the_series_are_the_same_and_grow(found: list[dict[str, str]]) -> None:
    counted = counters.nothing()
    for fields in found:
        before = dict(counted)
        counters.count(counted, Record("", fields, at=1.0))
        assert counted.keys() == before.keys()
        assert all(counted[series] >= number for series, number in before.items())
    known = state.State()
    known.counted = counted
    assert {name for name, _ in samples(exposition.text(known, {}, 0))} == exposition.names()


def test_every_step_of_a_login_has_a_series(checkout: str) -> None:
    steps = set()
    for path in pathlib.Path(checkout, "ssh2container").rglob("*.py"):
        if "admin" not in path.parts:
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(
                    ("SessionError", "Refusal")
                ):
                    steps |= {one.value for one in call.args[3:4] if isinstance(one, ast.Constant)}
                    steps |= {
                        one.value.value
                        for one in call.keywords
                        if one.arg == "step" and isinstance(one.value, ast.Constant)
                    }
    assert len(steps) > 20
    assert steps <= set(counters.STEPS)


# ---- what uses them ----------------------------------------------------------------------------------------


def used_in(expressions: list[str]) -> set[str]:
    return {name for text in expressions for name in re.findall(r"\bssh2container_\w+", text)}


def rules(checkout: str) -> list[dict[str, Any]]:
    with open(f"{checkout}/etc/monitoring/alerts.yaml", encoding="utf-8") as file:
        return [rule for group in yaml.safe_load(file)["groups"] for rule in group["rules"]]


def test_the_alerts_are_about_metrics_that_there_are(checkout: str) -> None:
    names = used_in([rule["expr"] for rule in rules(checkout)])
    assert names
    assert names <= exposition.names()
    for rule in rules(checkout):
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_every_alert_is_tested(checkout: str) -> None:
    with open(f"{checkout}/tests/monitoring/alerts_test.yaml", encoding="utf-8") as file:
        (test,) = yaml.safe_load(file)["tests"]
    raised = {one["alertname"] for one in test["alert_rule_test"] if one.get("exp_alerts")}
    assert raised == {rule["alert"] for rule in rules(checkout)}


def test_the_dashboard_shows_metrics_that_there_are(checkout: str) -> None:
    with open(f"{checkout}/etc/monitoring/dashboard.json", encoding="utf-8") as file:
        dashboard = json.load(file)
    names = used_in([target["expr"] for panel in dashboard["panels"] for target in panel["targets"]])
    assert len(names) >= 10
    assert names <= exposition.names()
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)


def test_the_document_has_every_metric(checkout: str) -> None:
    text = pathlib.Path(checkout, "docs/monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (gauge|counter|histogram) \|", text, re.MULTILINE)
    ends = {"histogram": ("_bucket", "_sum", "_count")}
    names = {f"{exposition.PREFIX}{name}{end}" for name, kind in rows for end in ends.get(kind, ("",))}
    assert names == exposition.names()
