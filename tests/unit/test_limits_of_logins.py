"""Which limits a login gets: limits.conf(5) and pam_limits(8), read as Linux-PAM reads them."""

from __future__ import annotations

import pwd
import resource
from pathlib import Path

import pytest

from ssh2container.admin.login import limits
from ssh2container.admin.login.limits import UNLIMITED, Limit
from ssh2container.plan.operations.limits import RESOURCES

ALICE = pwd.struct_passwd(("alice", "x", 1201, 1300, "", "/home/alice", "/bin/sh"))
GROUPS = ("alice", "students")
START = (64, 512)


def applied(directory: Path, *texts: str) -> dict[str, Limit]:
    """All limits of alice after files with these texts; before them each is START."""
    files = []
    for number, text in enumerate(texts):
        path = directory / f"{number}.conf"
        path.write_text(text, encoding="utf-8")
        files.append(str(path))
    found = {name: Limit(name, *START) for name in RESOURCES}
    limits._apply(found, ALICE, GROUPS, files)
    return found


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("alice hard nofile 100\n", (64, 100)),
        ("alice hard nofile 10\n", (10, 10)),
        ("alice - nofile 10\n", (10, 10)),
        ("alice soft nofile 10\n", (10, 512)),
        ("alice soft nofile 1000\n", (512, 512)),
        ("* hard nofile 10\n@students hard nofile 100\n", (64, 100)),
        ("@students hard nofile 100\n* hard nofile 10\n", (64, 100)),
        ("alice hard nofile 100\n@students hard nofile 10\n", (64, 100)),
        ("* hard nofile 10\n* hard nofile 100\n", (64, 100)),
        ("@others hard nofile 10\nbob hard nofile 10\n", START),
        ("root hard nofile 10\n", START),
        (":1201 hard nofile 100\n", (64, 100)),
        ("1000:1200 hard nofile 100\n", START),
        ("1000:1300 hard nofile 100\n", (64, 100)),
        ("1201: hard nofile 100\n", (64, 100)),
        ("@:1300 hard nofile 100\n", (64, 100)),
        ("# alice hard nofile 10\n\n  alice   hard  nofile 100 # enough\n", (64, 100)),
        ("alice hard nofile many\n", START),
        ("alice hard nofile\n", START),
        ("* hard nofile 10\nalice -\n", START),
        ("* hard nofile 10\nbob -\n", (10, 10)),
    ],
)
def test_which_line_holds(tmp_path: Path, text: str, pair: tuple[int, int]) -> None:
    assert applied(tmp_path, text)["nofile"].pair == pair


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("as", "100", 102400),
        ("memlock", "64", 65536),
        ("core", "unlimited", UNLIMITED),
        ("core", "-1", UNLIMITED),
        ("nproc", "Infinity", UNLIMITED),
        ("cpu", "2", 120),
        ("nice", "-5", 25),
        ("msgqueue", "819200", 819200),
    ],
)
def test_the_units(tmp_path: Path, name: str, value: str, limit: int) -> None:
    assert applied(tmp_path, f"alice hard {name} {value}\n")[name].hard == limit


def test_of_several_files_the_last_counts_and_the_place_is_told(tmp_path: Path) -> None:
    found = applied(tmp_path, "* hard core 5\n", "# none\n* hard core 0\n", "* soft core 0\n")["core"]
    assert found.pair == (0, 0)
    assert found.hard_place == f"{tmp_path}/1.conf:2"
    assert str(found).startswith(f"{tmp_path}/1.conf:2 and {tmp_path}/2.conf:1: core is 0")
    assert found.remedy == (
        f"sed -i '2c\\* hard core 1' {tmp_path}/1.conf && sed -i '1c\\* soft core 1' {tmp_path}/2.conf"
    )


def test_the_stack_of_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAM", str(tmp_path))
    for name, text in {
        "sshd": "auth required pam_limits.so\n@include common\nsession [success=1 default=die] pam_unix.so\n"
        "-session \\\n optional pam_limits.so conf=/etc/other.conf\n#session required pam_limits.so\n",
        "common": "session substack below\nsession include missing\n",
        "below": "session required /usr/lib/security/pam_limits.so set_all\nsession include sshd\n",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = list(limits._modules("sshd"))
    assert found[-1] == ["conf=/etc/other.conf"]
    assert ["set_all"] in found
    assert all(one in (["set_all"], ["conf=/etc/other.conf"]) for one in found)


def test_nobody_but_root_can_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert limits.of_login(ALICE, GROUPS) == {}


def test_the_words_that_start_a_program() -> None:
    assert limits.wrapped(()) == []
    given = limits.wrapped([Limit("core", 0, resource.RLIM_INFINITY), Limit("nofile", 5, 6)])
    assert given == ["/usr/bin/prlimit", "--core=0:unlimited", "--nofile=5:6", "--"]
