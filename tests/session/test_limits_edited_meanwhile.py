"""A policy that is edited while what follows from the one before is being done."""

from __future__ import annotations

import os

import pytest
from support.users import MakeUser

from ssh2container.admin.accounts import enable
from ssh2container.admin.cli import compile as of
from ssh2container.admin.cli import enrolment, sshd_config
from ssh2container.admin.policy import at_rest


def test_an_edit_during_a_run_is_in_force_after_it(
    make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = make_user("image: host\n")
    seen: list[str] = []

    def renew(*, quiet: bool) -> bool:  # noqa: ARG001
        with open(user.policy_file, encoding="utf-8") as file:
            seen.append(file.read())
        if len(seen) == 1:
            with open(f"{user.policy_file}.new", "w", encoding="utf-8") as file:
                file.write("image: host\nwelcome: false\n")
            os.replace(f"{user.policy_file}.new", user.policy_file)
        return len(seen) > 1

    monkeypatch.setattr(of, "_renew_limits", renew)
    assert of._renew_limits_until_read(quiet=True)
    assert seen == ["image: host\n", "image: host\nwelcome: false\n"]


def test_files_that_never_come_to_rest_are_told(
    make_user: MakeUser, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    user = make_user("image: host\n")
    rounds = []

    def renew(*, quiet: bool) -> bool:
        rounds.append(quiet)
        os.utime(user.policy_file, ns=(len(rounds), len(rounds)))
        return True

    monkeypatch.setattr(of, "_renew_limits", renew)
    assert not of._renew_limits_until_read(quiet=True)
    assert len(rounds) == at_rest._MOST_ROUNDS
    assert "change all the time" in capsys.readouterr().err


def test_an_edit_while_the_drop_in_is_rendered_is_in_it(
    make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = make_user("image: host\n")
    written: list[str] = []

    def rendered(**_: object) -> str:
        with open(user.policy_file, encoding="utf-8") as file:
            return file.read()

    def write(text: str, **_: object) -> None:
        written.append(text)
        if len(written) == 1:
            with open(f"{user.policy_file}.new", "w", encoding="utf-8") as file:
                file.write("image: host\nwelcome: false\n")
            os.replace(f"{user.policy_file}.new", user.policy_file)

    monkeypatch.setattr(enable, "rendered", rendered)
    monkeypatch.setattr(sshd_config, "_write", write)
    monkeypatch.setattr(enrolment, "offer_reload", lambda **_: None)
    sshd_config.command.main(["--write"], standalone_mode=False)
    assert written == ["image: host\n", "image: host\nwelcome: false\n"]
