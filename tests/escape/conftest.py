"""Verification as an administrator runs it, and with layers left out as only the tests can."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.host import run
from support.users import User
from support.verification import CONTROL, Report, start


@pytest.fixture
def verify() -> Callable[[User], Report]:
    """The report of ``ssh2containerctl verify USER --json``: name of the probe -> its row."""

    def rows(user: User) -> Report:
        done = run([CONTROL, "verify", user.name, "--json"])
        report: dict[str, Any] = json.loads(done.out)
        assert done.status == (1 if report["counts"]["fail"] else 0), done
        probes = {row["name"]: row for row in report["probes"]}
        assert len(probes) == len(report["probes"]), "names are unique"
        return probes

    return rows


@pytest.fixture
def without(user: User) -> Callable[..., Report]:
    """The report of a session whose plan lacks the named operations."""

    def rows(*operations: str, before: tuple[str, ...] = ()) -> Report:
        done = start(user, "probes", *operations, before=before)
        found = [json.loads(line) for line in done.out.splitlines()]
        assert found, done
        return {row.get("name", "error"): row for row in found}

    return rows
