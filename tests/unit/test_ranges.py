"""Which range of ids is a user's own, as /etc/subuid and /etc/subgid have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssh2container.admin.accounts import grants

BASE = 100000
ALICE = f"alice:{BASE}:65536"


def base_of(monkeypatch: pytest.MonkeyPatch, directory: Path, uids: list[str], gids: list[str]) -> int | None:
    files = []
    for name, lines in (("subuid", uids), ("subgid", gids)):
        path = directory / name
        path.write_text("".join(f"{line}\n" for line in lines))
        files.append(str(path))
    monkeypatch.setattr(grants, "FILES", tuple(files))
    found = grants.own_range("alice")
    return None if found is None else found.base


def test_the_first_that_both_files_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    uids, gids = ["alice:300000:65536", ALICE, "bob:200000:65536"], [ALICE]
    assert base_of(monkeypatch, tmp_path, uids, gids) == BASE


@pytest.mark.parametrize("other", [f"bob:{BASE}:65536", f"bob:{BASE + 65535}:1", f"bob:{BASE - 1}:2"])
def test_what_others_have_too_is_nobodys_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: str
) -> None:
    for uids, gids in (([other, ALICE], [ALICE]), ([ALICE], [ALICE, other])):
        assert base_of(monkeypatch, tmp_path, uids, gids) is None
    free = "alice:300000:65536"
    assert base_of(monkeypatch, tmp_path, [other, ALICE, free], [ALICE, free]) == 300000


def test_neighbours_do_not_matter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = [ALICE, f"bob:{BASE + 65536}:65536", f"carl:{BASE - 1}:1"]
    assert base_of(monkeypatch, tmp_path, lines, lines) == BASE
