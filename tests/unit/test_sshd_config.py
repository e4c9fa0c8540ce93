"""The sshd drop-in as text, and the judgement of sshd's answer: pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssh2container.admin.doctor.finding import OK, PROBLEM, WARNING, gravest
from ssh2container.admin.doctor.sshd import judge
from ssh2container.admin.sshd import DROP_IN
from ssh2container.admin.sshd.conditions import meets
from ssh2container.admin.sshd.effective import parse
from ssh2container.admin.sshd.render import Covered, drop_in, is_sealed
from ssh2container.errors import SessionError

CLOSED = """\
forcecommand ssh2container-session
disableforwarding yes
allowtcpforwarding no
allowstreamlocalforwarding no
allowagentforwarding no
x11forwarding no
permittunnel no
gatewayports no
permituserrc no
permituserenvironment no
acceptenv LANG
acceptenv LC_*
acceptenv GIT_PROTOCOL
authorizedkeysfile /etc/ssh/authorized_keys/%u
chrootdirectory none
maxsessions 10
subsystem sftp internal-sftp
"""


def findings(text: str, *, agent: bool = False) -> dict[str, str]:
    return {found.check: found.level for found in judge(parse("alice", text), agent_allowed=agent)}


def test_the_shipped_file_is_the_default_output(checkout: str) -> None:
    with open(f"{checkout}/etc/sshd_config.d/10-ssh2container.conf", encoding="utf-8") as file:
        assert file.read() == drop_in(path=DROP_IN)


def test_what_the_drop_in_gives_is_in_order() -> None:
    assert set(findings(CLOSED).values()) == {OK}


@pytest.mark.parametrize(
    ("accepted", "level"),
    [("", WARNING), ("SSH2CONTAINER_IMAGES", WARNING), ("SSH2CONTAINER_IMAGE", OK), ("SSH2CONTAINER_*", OK)],
)
def test_where_sshd_does_not_hand_on_the_choice_of_an_image(accepted: str, level: str) -> None:
    text = CLOSED + (f"acceptenv {accepted}\n" if accepted else "")
    found = {one.check: one.level for one in judge(parse("alice", text), images_to_choose=True)}
    assert found["sshd.image-choice"] == level
    # More than our own is still broad.
    assert found["sshd.acceptenv"] == (OK if accepted in ("", "SSH2CONTAINER_IMAGE") else PROBLEM)
    assert "sshd.image-choice" not in findings(text)


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (("allowtcpforwarding no", "allowtcpforwarding local"), "sshd.allowtcpforwarding"),
        (
            ("allowstreamlocalforwarding no", "allowstreamlocalforwarding yes"),
            "sshd.allowstreamlocalforwarding",
        ),
        (("x11forwarding no", "x11forwarding yes"), "sshd.x11forwarding"),
        (("permittunnel no", "permittunnel point-to-point"), "sshd.permittunnel"),
        (("gatewayports no", "gatewayports clientspecified"), "sshd.gatewayports"),
        (("permituserenvironment no", "permituserenvironment LANG,FOO"), "sshd.permituserenvironment"),
        (("acceptenv LANG", "acceptenv *"), "sshd.acceptenv"),
        (("acceptenv LANG", "acceptenv LD_PRELOAD"), "sshd.acceptenv"),
        (("forcecommand ssh2container-session", "forcecommand none"), "sshd.internal-sftp"),
        (("forcecommand ssh2container-session", "forcecommand internal-sftp -d /x"), "sshd.internal-sftp"),
        (("chrootdirectory none", "chrootdirectory /srv"), "sshd.chrootdirectory"),
    ],
)
def test_each_opening_is_a_problem(change: tuple[str, str], check: str) -> None:
    assert findings(CLOSED.replace(*change))[check] == PROBLEM


def test_an_rc_file_matters_only_without_forced_command() -> None:
    opened = CLOSED.replace("permituserrc no", "permituserrc yes")
    assert findings(opened)["sshd.permituserrc"] != PROBLEM
    external = opened.replace("internal-sftp", "/usr/lib/openssh/sftp-server")
    free = external.replace("forcecommand ssh2container-session", "forcecommand none")
    assert findings(free)["sshd.permituserrc"] == PROBLEM
    assert findings(free)["sshd.internal-sftp"] == OK


def test_agent_forwarding_has_to_be_what_the_policy_says() -> None:
    opened = CLOSED.replace("allowagentforwarding no", "allowagentforwarding yes").replace(
        "disableforwarding yes", "disableforwarding no"
    )
    assert findings(opened)["sshd.allowagentforwarding"] == PROBLEM
    assert findings(opened, agent=True)["sshd.allowagentforwarding"] == OK
    assert findings(CLOSED, agent=True)["sshd.allowagentforwarding"] == WARNING


def test_every_problem_has_a_remedy() -> None:
    opened = "subsystem sftp internal-sftp\nallowtcpforwarding yes\nacceptenv *\npermituserenvironment yes\n"
    found = list(judge(parse("alice", opened)))
    assert gravest(found) == PROBLEM
    assert all(one.remedy for one in found if one.level in (PROBLEM, WARNING))


def test_agent_users_come_before_the_block_that_forbids() -> None:
    text = drop_in(path=DROP_IN, agent_users=["bob", "alice", "bob"])
    assert "Match Group ssh2container User alice,bob\n" in text
    assert text.index("AllowAgentForwarding yes") < text.index("AllowAgentForwarding no")


@pytest.mark.parametrize("name", ["a*", "a,b", "!a", "a b", "a?", "", 'a"', "a\nb", "a#"])
def test_a_name_that_a_match_line_cannot_hold(name: str) -> None:
    with pytest.raises(SessionError, match="sshd_config"):
        drop_in(path=DROP_IN, agent_users=[name])


@given(st.text(max_size=20))
def test_no_name_adds_a_line(name: str) -> None:
    """Whatever a user is called, the text has the lines of the plain one and four of the exception."""
    plain = drop_in(path=DROP_IN).splitlines()
    try:
        lines = drop_in(path=DROP_IN, agent_users=[name]).splitlines()
    except SessionError:
        return
    assert [line for line in lines if line.startswith(("Match", "    "))][3:] == [
        line for line in plain if line.startswith(("Match", "    "))
    ]


class TestWhomItCovers:
    """Everybody whom a policy admits, each block with all that the group's has."""

    def bodies(self, text: str) -> list[str]:
        """What stands below each Match line, without comments."""
        lines = [line for line in text.splitlines() if line.startswith("    ") and line.strip()[0] != "#"]
        count = text.count("\nMatch ")
        assert len(lines) % count == 0
        size = len(lines) // count
        return ["\n".join(lines[n * size : (n + 1) * size]) for n in range(count)]

    def test_groups_with_a_policy_but_for_who_keeps_a_shell_of_the_host(self) -> None:
        text = drop_in(path=DROP_IN, covered=Covered(groups=("students", "staff"), spared=("tutor",)))
        assert "Match Group staff,students User *,!root,!tutor\n" in text
        assert len(set(self.bodies(text))) == 1

    def test_users_in_no_such_group(self) -> None:
        text = drop_in(path=DROP_IN, covered=Covered(users=("uma", "bob")))
        assert "Match User bob,uma\n" in text
        assert len(set(self.bodies(text))) == 1

    def test_everybody(self) -> None:
        text = drop_in(path=DROP_IN, covered=Covered(everybody=True, spared=("admin",)))
        assert "Match User *,!admin,!root\n" in text

    @pytest.mark.parametrize("name", ["domain users", "a*b", "x,y", "!z", 'q"'])
    def test_a_name_that_a_list_cannot_hold_closes_more(self, name: str) -> None:
        text = drop_in(path=DROP_IN, covered=Covered(groups=(name,)))
        (line,) = [line for line in text.splitlines() if line.startswith("Match Group ") and "User" in line]
        pattern = line.split()[2]
        assert meets("group", pattern, name)
        assert len(line.split()) == 5

    def test_a_strange_name_is_not_spared(self) -> None:
        text = drop_in(path=DROP_IN, covered=Covered(everybody=True, spared=("a b", "*")))
        assert "Match User *,!root\n" in text


def test_a_changed_file_is_told_from_ours() -> None:
    text = drop_in(path=DROP_IN)
    assert is_sealed(text)
    assert not is_sealed(text.replace("MaxSessions 10", "MaxSessions 4"))
    assert not is_sealed(text + "# mine\n")
    assert not is_sealed("")
    assert not is_sealed(text.rpartition("# digest: ")[0])


@given(st.text(max_size=300))
def test_any_output_of_sshd_can_be_read(text: str) -> None:
    list(judge(parse("alice", text)))
