"""What is made for Prometheus, judged by its own tool: alerts on series of theirs, the text of metrics."""

from __future__ import annotations

import glob
import os
import platform
import tempfile
from pathlib import Path

import pytest
from support.host import run
from support.ledger import CACHE

from ssh2container.admin.metrics import exposition, state

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def promtool() -> str:
    """The program of Debian's package, which is not installed: that would start a service."""
    kept = f"{CACHE}/promtool-{platform.freedesktop_os_release().get('VERSION_CODENAME', 'none')}"
    if not os.path.exists(kept):
        with tempfile.TemporaryDirectory(dir=CACHE) as place:
            done = run(["apt-get", "download", "-q", "prometheus"], cwd=place)
            if done.status:
                pytest.skip(f"Debian's package prometheus cannot be fetched: {done.errors.strip()[-200:]}")
            run(["dpkg-deb", "-x", *glob.glob(f"{place}/*.deb"), place]).ok()
            os.replace(f"{place}/usr/bin/promtool", kept)
    return kept


def test_the_alerts_are_raised_by_what_they_are_for(promtool: str) -> None:
    run([promtool, "check", "rules", f"{ROOT}/etc/monitoring/alerts.yaml"]).ok()
    run([promtool, "test", "rules", f"{ROOT}/tests/monitoring/alerts_test.yaml"]).ok()


def test_metrics_are_as_prometheus_wants_them(promtool: str) -> None:
    done = run([promtool, "check", "metrics"], exposition.text(state.State(), {}, 0).encode())
    assert (done.status, done.text, done.errors) == (0, "", "")
