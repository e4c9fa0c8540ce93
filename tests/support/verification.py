"""Verification from the tests: its report, and sessions whose plan lacks a layer."""

from __future__ import annotations

import os
import subprocess

from support.host import DEADLINE_SECONDS, Done
from support.users import User

CONTROL = "/usr/bin/ssh2containerctl"
LAYERS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "escape", "layers.py")

Report = dict[str, dict[str, str]]
"""Name of a probe -> its row."""


def start(user: User, scenario: str, *operations: str, before: tuple[str, ...] = ()) -> Done:
    """Run one scenario of the verification as ``user``, with operations left out."""
    with open(LAYERS, encoding="utf-8") as file:
        program = file.read()  # the user may not be able to read the checkout
    drop = ["setpriv", "--reuid", str(user.uid), "--regid", str(user.gid), "--clear-groups"]
    done = subprocess.run(
        [*before, *drop, "/usr/bin/python3", "-IB", "-c", program, scenario, *operations],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=user.environment(),
        cwd="/",
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def failed(report: Report) -> set[str]:
    """The names of the probes that failed."""
    assert "error" not in report, report["error"]
    return {name for name, row in report.items() if row["result"] == "fail"}
