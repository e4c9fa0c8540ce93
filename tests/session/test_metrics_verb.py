"""``ssh2containerctl metrics`` of real sessions: those that run, and what those wrote that have ended."""

from __future__ import annotations

import pathlib
import re

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from support.login import live, login
from support.syslog import Syslog
from support.users import MakeUser

from ssh2container.admin.auditlog import files, read
from ssh2container.admin.cli.metrics import command
from ssh2container.admin.metrics import state

OLD = "Jan  1 00:00:00 host sshd[1]: something else\n"
"""What is there before gives counting a place to go on from: times are told by the second only."""


class Metrics:
    """Calls the verb in this process, with a log and a state of its own, on the sessions of this machine."""

    def __init__(self, base: pathlib.Path, syslog: Syslog, monkeypatch: pytest.MonkeyPatch) -> None:
        self._log = base / "auth.log"
        self._syslog = syslog
        self._log.write_text("")
        monkeypatch.setattr(files, "FILES", (str(self._log),))
        monkeypatch.setattr(state, "PATH", str(base / "metrics.json"))
        monkeypatch.setattr(read, "has_journal", lambda: False)

    def now(self, uid: int) -> dict[str, float]:
        lines = self._syslog.of(f'uid="{uid}"')
        # As a syslog daemon writes it: without the priority, with the host.
        written = "".join(re.sub(r"^<\d+>(.{15}) ", r"\1 host ", line) + "\n" for line in lines)
        self._log.write_text(OLD + written)
        done = CliRunner().invoke(command)
        assert done.exit_code == 0, done.output
        text = "".join(
            f"{line}\n" for line in done.output.splitlines() if not line.startswith("ssh2containerctl:")
        )
        return {
            " ".join((one.name.removeprefix("ssh2container_"), *one.labels.values())): one.value
            for family in text_string_to_metric_families(text)
            for one in family.samples
        }


def test_sessions_that_run_and_that_have_ended(
    make_user: MakeUser, syslog: Syslog, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = make_user("image: host\naccess: {sftp: false}\n")
    metrics = Metrics(tmp_path, syslog, monkeypatch)
    before = metrics.now(user.uid)
    with live(user):
        during = metrics.now(user.uid)
    login(user, "-c", "/usr/lib/openssh/sftp-server")
    closed = 'event=close session="'
    last = syslog.wait(lambda line: closed in line and user.name in line, closed)
    after = metrics.now(user.uid)
    kinds = ("login", "command", "sftp", "sshd", "connect", "info", "other")
    running = [sum(found[f"sessions {kind}"] for kind in kinds) for found in (before, during, after)]
    assert running[1] == running[0] + 1
    assert running[2] == running[0]
    started = sum(after[f"sessions_started_total {kind}"] for kind in kinds)
    assert started == 1
    assert sum(number for name, number in after.items() if name.startswith("sessions_ended_total")) == 1
    assert sum(number for name, number in after.items() if name.startswith("logins_refused_total")) == 1
    assert after["session_seconds_total"] > 0
    took = int(last.partition(' start_usec="')[2].partition('"')[0])
    assert took > 0
    assert after["session_start_seconds_sum"] == took / 1e6
    assert after["session_start_seconds_count"] == 1
