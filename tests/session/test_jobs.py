"""Jobs of policies as real logins: by the words that systemd executes, and by a cron that runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.enabling import enabling
from support.host import Done, run, until
from support.ledger import Ledger, remove_path
from support.login import finish, inside, live, login, start
from support.networks import CONTROL
from support.syslog import Syslog
from support.users import MakeUser, User

from ssh2container.admin.account import find
from ssh2container.admin.accounts.enable import policy_of
from ssh2container.admin.schedule import files
from ssh2container.admin.schedule.host import SENDMAIL
from ssh2container.plan.request import JOB
from ssh2container.policy.schedule import Job, of

WORD = JOB.decode()
PLAIN = "image: host\n"
COMMAND = (
    r"""printf '%s\n' "$HOME" '100%' 'it''s' \\%; id -un >&2;"""
    " read -r line || echo nothing to read; exit 7"
)
SCHEDULE = f"""{PLAIN}schedule:
  - at: "*/1 * * * *"
    command: {json.dumps(COMMAND)}
  - {{at: "@daily", command: "echo mailed; exit 3", output: mail}}
"""
SAID = ["100%", "its", "\\%"]
CRON_SECONDS = 100
"""cron looks once a minute at what there is to do, and at its directory before it does."""


def jobs_of(user: User) -> tuple[Job, ...]:
    policy = policy_of(find(user.name))
    assert policy is not None
    return of(policy.values)


def run_job(user: User, number: int, **options: object) -> Done:
    """What systemd would execute, by the same words."""
    job = jobs_of(user)[number - 1]
    *before, shell, option, word = files.words(user.name, job)
    assert shell == user.shell
    session = start(user, option, word, stdin=subprocess.DEVNULL, before=before, **options)  # type: ignore[arg-type]
    return finish(session)


def test_a_job_is_a_login_and_recorded_as_a_job(make_user: MakeUser, syslog: Syslog) -> None:
    user = make_user(SCHEDULE)
    done = run_job(user, 1)
    assert done.status == 7
    assert done.text.splitlines() == [user.home, *SAID, "nothing to read"]
    assert done.errors.strip() == user.name
    record = syslog.wait(lambda r: "event=open" in r and user.name in r, "the job is recorded")
    assert ' job="1"' in record
    assert ' kind="command"' in record
    assert " client=" not in record
    assert "100%" in record
    closed = syslog.wait(lambda r: "event=close" in r and user.name in r, "so is its end")
    assert ' job="1"' in closed
    assert ' exit="7"' in closed


def test_no_login_becomes_a_job(make_user: MakeUser, syslog: Syslog) -> None:
    """Not by what a client sends: neither by variables, however broad AcceptEnv is, nor by a command."""
    user = make_user(SCHEDULE)
    mark = f"{WORD}{jobs_of(user)[0].mark}"
    variables = {"job": "1", "JOB": mark, "SSH2CONTAINER_JOB": "1", "SSH_ORIGINAL_COMMAND": mark}
    inside(user, "true", environment=variables).ok()
    assert login(user, "-c", "ssh2container-session", environment=variables).status != 0
    assert login(user, mark).status == 126
    assert inside(user, WORD).status == 127
    client = {"SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}
    assert login(user, "-c", mark, environment=client).status == 127
    for record in (one for one in syslog.of(user.name) if "]: event=" in one):
        assert ' job="' not in record


def test_a_job_of_another_policy_is_refused(make_user: MakeUser, syslog: Syslog) -> None:
    user = make_user(SCHEDULE)
    mark = f"{WORD}{jobs_of(user)[0].mark}"
    for wrong in (mark[:-1], f"{WORD}1", f"{WORD}3:0011223344556677", mark + "\n"):
        done = login(user, "-c", wrong)
        assert done.status == 126
        assert "has been changed since, and has no such job" in done.errors
        assert len(done.errors.splitlines()) == 1
    user_policy = Path(user.policy_file)
    user_policy.write_text(user_policy.read_text().replace("exit 7", "exit 8"))
    assert "has no such job" in login(user, "-c", mark).errors
    syslog.wait(lambda r: "event=refused" in r and user.name in r and ' job="1"' in r, "it is recorded")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("access: {login: false}\n", "access.login is false"),
        ("access: {until: 2001-01-01}\n", "this account is closed"),
        ("access: {commands: [rsync]}\n", "is not allowed: "),
    ],
)
def test_what_refuses_logins_refuses_jobs(more: str, why: str, make_user: MakeUser, syslog: Syslog) -> None:
    user = make_user(SCHEDULE + more)
    assert run_job(user, 1).status == 126
    record = syslog.wait(lambda r: "event=refused" in r and user.name in r, "it is recorded")
    assert ' job="1"' in record
    assert why in record


def test_a_job_counts_among_the_sessions(make_user: MakeUser) -> None:
    user = make_user(SCHEDULE + "sessions: {max: 1}\n")
    with live(user):
        done = run_job(user, 1)
        assert done.status == 126
        assert "session" in done.errors
    assert run_job(user, 1).status == 7


def test_nologin_refuses_jobs(make_user: MakeUser) -> None:
    user = make_user(SCHEDULE)
    run(["usermod", "--shell", "/usr/sbin/nologin", user.name]).ok()
    done = run_job(user, 1)
    assert done.status == 126
    assert f"the login shell of {user.name} is /usr/sbin/nologin" in done.errors


@pytest.fixture
def sendmail(tmp_path: Path, ledger: Ledger) -> Iterator[Path]:
    """A mail server's program, which keeps what it is given where users can write."""
    if os.path.lexists(SENDMAIL):
        pytest.skip("a mail server is installed")
    ledger.note_path(SENDMAIL)
    box = tmp_path / "box"
    box.mkdir()
    box.chmod(0o777)
    for above in box.parents:
        if above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)
    Path(SENDMAIL).write_text(f'#!/bin/sh\ncat >"{box}/mail"\necho "$@" >"{box}/arguments"\n')
    os.chmod(SENDMAIL, 0o755)
    yield box
    remove_path(SENDMAIL)


def test_what_it_writes_is_mailed(make_user: MakeUser, sendmail: Path) -> None:
    user = make_user(SCHEDULE)
    done = run_job(user, 2)
    assert (done.status, done.out, done.err) == (3, b"", b"")
    assert (sendmail / "arguments").read_text().split() == ["-oi", "--", user.name]
    head, _, body = (sendmail / "mail").read_text().partition("\n\n")
    assert f"Subject: {files.unit(user.name, 2)}@" in head
    assert "exit status 3" in head
    assert body == "mailed\n"
    assert (sendmail / "mail").stat().st_uid == user.uid


def test_check_wants_a_mail_server(make_user: MakeUser) -> None:
    if os.path.lexists(SENDMAIL):
        pytest.skip("a mail server is installed")
    user = make_user(SCHEDULE)
    checked = run([CONTROL, "check"])
    assert checked.status == 1
    assert f"{user.policy_file}:5:" in checked.text
    assert f"output: mail needs {SENDMAIL}, which is not here" in checked.text


def crontab(user: User) -> str:
    return f"{files.CRON_D}/ssh2container-schedule-{files.label(user.name)}"


def found(user: User) -> dict[str, str]:
    """What the doctor says of the user's jobs."""
    told = json.loads(run([CONTROL, "doctor", "--json", user.name]).text)
    return {one["check"]: one["text"] for one in told["findings"] if one["check"].startswith("schedule.")}


WITHOUT_MAIL = SCHEDULE[: SCHEDULE.index("  - {at: ")]


@pytest.fixture
def by_cron() -> None:
    if os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd runs here")
    if shutil.which("cron", path="/usr/sbin") is None:
        pytest.skip("cron is not installed")


@pytest.mark.usefixtures("by_cron")
def test_enable_compile_and_disable(make_user: MakeUser) -> None:
    user = make_user(WITHOUT_MAIL)
    with enabling() as enable:
        enable(user)
        path = crontab(user)
        status = os.stat(path)
        assert (status.st_uid, status.st_mode & 0o777) == (0, 0o644)
        mark = jobs_of(user)[0].mark
        line = f"*/1 * * * * {user.name} /usr/bin/ssh2container -c ssh2container-job={mark} </dev/null"
        assert line in Path(path).read_text()
        assert "schedule.written" not in found(user)
        # A policy that was edited is in force by the same verb that systemd runs then.
        text = Path(user.policy_file).read_text().replace("*/1", "5")
        Path(user.policy_file).write_text(text)
        assert path in found(user)["schedule.written"]
        done = run([CONTROL, "compile", "--only-limits"]).ok()
        assert f"done: write {path}" in done.text
        assert f"5 * * * * {user.name} " in Path(path).read_text()
        assert "schedule.written" not in found(user)
        # What an administrator has changed stays, and is told.
        Path(path).write_text(Path(path).read_text().replace("5 *", "6 *", 1))
        Path(user.policy_file).write_text(text.replace("5 *", "7 *"))
        run([CONTROL, "compile"]).ok()
        assert f"6 * * * * {user.name} " in Path(path).read_text()
        assert "somebody has changed it" in found(user)["schedule.changed"]
        # But for a user who is not contained any more.
        run([CONTROL, "disable", user.name]).ok()
        assert not os.path.exists(path)


@pytest.mark.usefixtures("by_cron")
def test_a_policy_without_jobs_takes_them_away(make_user: MakeUser) -> None:
    user = make_user(WITHOUT_MAIL)
    with enabling() as enable:
        enable(user)
        assert os.path.exists(crontab(user))
        Path(user.policy_file).write_text(PLAIN)
        run([CONTROL, "compile"]).ok()
        assert not os.path.exists(crontab(user))


@pytest.mark.usefixtures("by_cron")
def test_what_a_deleted_account_has_left(make_user: MakeUser, ledger: Ledger) -> None:
    user = make_user(WITHOUT_MAIL)
    run([CONTROL, "enable", user.name]).ok()
    path = crontab(user)
    gone = f"{files.CRON_D}/ssh2container-schedule-s2c-gone"
    ledger.note_path(gone)
    os.rename(path, gone)
    told = json.loads(run([CONTROL, "doctor", "--json"]).text)
    assert any(gone in one["text"] for one in told["findings"] if one["check"] == "user.gone")
    run([CONTROL, "disable", "--gone"]).ok()
    assert not os.path.exists(gone)
    run([CONTROL, "disable", user.name]).ok()


def test_show_and_explain_say_when(make_user: MakeUser) -> None:
    user = make_user(SCHEDULE)
    minute = time.strftime("%Y-%m-%d %H:", time.localtime(time.time() + 60))
    shown = run([CONTROL, "show", user.name]).ok().text
    assert f"# job 1, next at {minute}" in shown
    assert "# job 2, next at " in shown
    explained = run([CONTROL, "explain", user.name]).ok().text
    assert "Jobs, each a login of its own" in explained
    assert "job 2, next at " in explained
    told = json.loads(run([CONTROL, "explain", "--json", user.name]).ok().text)["schedule"]
    assert [(one["number"], one["output"]) for one in told] == [(1, "log"), (2, "mail")]
    assert told[0]["command"] == COMMAND


@pytest.mark.usefixtures("by_cron")
def test_cron_runs_it(make_user: MakeUser, syslog: Syslog) -> None:
    user = make_user(WITHOUT_MAIL)
    with enabling() as enable:
        enable(user)
        cron = subprocess.Popen(["/usr/sbin/cron", "-f"], stdin=subprocess.DEVNULL)
        try:
            until(
                lambda: any("event=close" in one for one in syslog.of(user.name)),
                "cron runs the job",
                CRON_SECONDS,
            )
        finally:
            cron.terminate()
            cron.wait()
        (record,) = [one for one in syslog.of(user.name) if "event=close" in one][:1]
        assert ' job="1"' in record
        assert ' exit="7"' in record
        name = files.unit(user.name, 1)
        said = [one.partition(f"{name}: ")[2] for one in syslog.of(name)]
        for line in (user.home, *SAID, "nothing to read", user.name):
            assert line in said
