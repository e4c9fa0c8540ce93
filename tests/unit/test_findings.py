"""What the doctor prints: each cause once, before what follows from it (pure)."""

from __future__ import annotations

from ssh2container.admin.cli.findings import causes
from ssh2container.admin.doctor.finding import NOTE, PROBLEM, Finding


def test_the_same_about_many_users_is_one() -> None:
    found = [Finding(NOTE, "routes.cron", f"u{n}", "may use crontab", "list who may") for n in range(27)]
    (cause,) = causes(found)
    assert cause.subject == "u0, u1, u2, u3, u4 and 22 more"
    assert cause.remedy == "list who may"


def test_a_remedy_for_each_names_all_where_the_verb_takes_them() -> None:
    enable = [
        Finding(PROBLEM, "user.group", name, "is out", f"ssh2containerctl enable {name}") for name in "ab"
    ]
    assert causes(enable)[0].remedy == "ssh2containerctl enable a b"
    leave = [Finding(PROBLEM, "user.groups", name, "is in adm", f"gpasswd -d {name} adm") for name in "ab"]
    assert causes(leave)[0].remedy == "gpasswd -d a adm (and so on for each)"


def test_what_differs_is_not_put_together() -> None:
    found = [
        Finding(
            PROBLEM, "routes.cron", "a", "/var/spool/cron/crontabs/a: cron runs its lines", "crontab -r -u a"
        ),
        Finding(
            PROBLEM, "routes.cron", "b", "/var/spool/cron/other/b: cron runs its lines", "crontab -r -u b"
        ),
    ]
    assert len(causes(found)) == 2


def test_a_consequence_stands_below_its_cause_wherever_it_came() -> None:
    cause = Finding(PROBLEM, "user.group", "a", "is in no group", "ssh2containerctl enable a")
    found = [
        Finding(
            PROBLEM, "sshd.allowtcpforwarding", "a", "AllowTcpForwarding is yes", "x", because=cause.identity
        ),
        Finding(PROBLEM, "sshd.acceptenv", "a", "AcceptEnv takes *", "x", because=cause.identity),
        cause,
    ]
    (shown,) = causes(found)
    assert shown.text == "is in no group"
    assert shown.follows == ["AllowTcpForwarding is yes", "AcceptEnv takes *"]


def test_a_consequence_without_its_cause_is_not_lost() -> None:
    lost = Finding(PROBLEM, "sshd.acceptenv", "a", "AcceptEnv takes *", "x", because="user.group a")
    assert [cause.text for cause in causes([lost])] == ["AcceptEnv takes *"]
