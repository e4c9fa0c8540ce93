"""Root makes a kept home where only root can write, and gives nothing else away (``enable``)."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ledger import Ledger
from support.users import User

from ssh2container.admin.account import find
from ssh2container.admin.accounts.home_source import HomeSource
from ssh2container.errors import SessionError


@pytest.fixture
def base(ledger: Ledger) -> Iterator[Path]:
    """A directory of root's, with one of root's own inside that others must not get."""
    path = Path(f"/srv/s2c-home-{secrets.token_hex(4)}")
    ledger.note_path(str(path))
    path.mkdir(0o755)
    (path / "victim").mkdir(0o755)
    (path / "victim" / "secret").write_text("root's")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def skel(base: Path) -> Path:
    (base / "skel" / ".config").mkdir(parents=True)
    (base / "skel" / ".config" / "secret").write_text("the user's")
    (base / "skel" / "link").symlink_to(".config")
    return base / "skel"


def test_all_of_a_new_home_is_the_users(user: User, base: Path, skel: Path) -> None:
    home = base / "new" / "home"
    HomeSource(find(user.name), str(home), str(skel)).do()
    paths = [home, *home.rglob("*")]
    assert {path.relative_to(home).as_posix() for path in paths} == {".", ".config", ".config/secret", "link"}
    assert {path.lstat().st_uid for path in paths} == {user.uid}
    assert home.stat().st_mode & 0o777 == 0o700
    assert home.parent.stat().st_uid == 0


def test_nothing_is_made_behind_a_link_of_the_users(user: User, base: Path) -> None:
    """A parent that others can write to is found before root makes the directories below it."""
    (base / "open").mkdir()
    (base / "open").chmod(0o1777)
    (base / "open" / "mine").symlink_to(base / "victim")
    for source in ("open/mine/x/y", "open/yet/missing"):
        with pytest.raises(SessionError, match="a link, not root's, or writable by others"):
            HomeSource(find(user.name), str(base / source), None).do()
    assert os.listdir(base / "victim") == ["secret"]
    assert os.listdir(base / "open") == ["mine"]


def test_a_link_planted_while_the_home_is_given_away_leads_root_nowhere(
    user: User, base: Path, skel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as the directory is his, the user can put a link in the place of one inside."""
    chown = os.chown

    def give_and_be_attacked(path: str, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        chown(path, uid, gid, follow_symlinks=follow_symlinks)
        if os.path.basename(path).startswith("home.new-"):
            os.rename(f"{path}/.config", f"{path}/away")
            os.symlink(base / "victim", f"{path}/.config")

    monkeypatch.setattr(os, "chown", give_and_be_attacked)
    HomeSource(find(user.name), str(base / "home"), str(skel)).do()
    assert (base / "victim" / "secret").stat().st_uid == 0
    assert (base / "home" / "away" / "secret").stat().st_uid == user.uid
