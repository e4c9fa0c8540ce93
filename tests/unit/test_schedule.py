"""Jobs at times: cron's fields against a model of cron and against systemd, and what both are given."""

from __future__ import annotations

import os
import re
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.host import run
from support.policies import policy

from ssh2container.admin import cgroups
from ssh2container.admin.accounts import jobs
from ssh2container.admin.login.jobs import described
from ssh2container.admin.policy.jobs import contradictions, unmailed, unscheduled
from ssh2container.admin.schedule import fields, files, host, mailing
from ssh2container.admin.sealed import UNITS
from ssh2container.admin.sshd.render import seal
from ssh2container.errors import Refusal, SessionError
from ssh2container.plan import jobs as of_login
from ssh2container.plan.account import Account
from ssh2container.plan.request import JOB, SENTINEL, Request
from ssh2container.policy.schedule import Job, of

MONTHS = list(fields._MONTHS)
WEEKDAYS = list(fields._WEEKDAYS)
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
START = datetime(2027, 2, 25, 23, 58)  # noqa: DTZ001 - what a clock shows, of no zone


@st.composite
def field(draw: st.DrawFn, first: int, last: int, names: tuple[str, ...] = ()) -> str:
    """One field as people write it."""
    shown = st.integers(first, last).map(str)
    if names:
        shown |= st.sampled_from(names)

    def piece() -> str:
        kind = draw(st.sampled_from(("*", "*/", "one", "range", "range/")))
        step = draw(st.integers(1, last))
        if kind == "*":
            return "*"
        if kind == "*/":
            return f"*/{step}"
        if kind == "one":
            return draw(shown)
        low, high = sorted(draw(st.tuples(*[st.integers(first, last)] * 2)))
        return f"{low}-{high}" + (f"/{step}" if kind == "range/" else "")

    return ",".join(piece() for _ in range(draw(st.integers(1, 3))))


LINES = st.tuples(
    field(0, 59), field(0, 23), field(1, 31), field(1, 12, tuple(MONTHS)), field(0, 7, tuple(WEEKDAYS))
).map(" ".join)


def numbers(text: str, first: int, last: int, names: list[str]) -> set[int]:
    """The model's reading of a field: number by number, as crontab(5) says it."""
    found = set()
    for piece in text.split(","):
        span, _, step = piece.partition("/")
        low, _, high = span.partition("-")
        if low == "*":
            low, high = str(first), str(last)
        low, high = (str(first + names.index(one)) if one in names else one for one in (low, high or low))
        for number in range(int(low), int(high) + 1):
            if (number - int(low)) % int(step or 1) == 0:
                found.add(number)
    return found


def model(line: str, moment: datetime) -> bool:
    """Whether cron would run the line in this minute (crontab(5))."""
    texts = line.split()
    names: tuple[list[str], ...] = ([], [], [], MONTHS, WEEKDAYS)
    minute, hour, day, month, week = (
        numbers(text, *bounds, names_) for text, bounds, names_ in zip(texts, BOUNDS, names, strict=True)
    )
    if moment.minute not in minute or moment.hour not in hour or moment.month not in month:
        return False
    weekday = (moment.weekday() + 1) % 7
    is_day, is_weekday = moment.day in day, weekday in week or (weekday == 0 and 7 in week)
    if texts[2].startswith("*") or texts[4].startswith("*"):
        return is_day and is_weekday
    return is_day or is_weekday


def parsed(line: str) -> fields.When | None:
    try:
        return fields.parse(line)
    except fields.Wrong as wrong:
        assert "never comes" in str(wrong)  # noqa: PT017 - all else in these lines is right
        return None


@settings(deadline=None, max_examples=60)
@given(line=LINES)
def test_the_next_times_are_those_of_cron(line: str) -> None:
    when = parsed(line)
    if when is None:
        return
    after = START
    for _ in range(3):
        following = when.following(after)
        assert following is not None
        assert model(line, following)
        # None between: looked at minute by minute, as cron does, for two days.
        minute, between = after + timedelta(minutes=1), following
        while minute < min(between, after + timedelta(days=2)):
            assert not model(line, minute), minute
            minute += timedelta(minutes=1)
        after = following


@given(line=LINES)
def test_what_cron_is_given_means_the_same(line: str) -> None:
    when = parsed(line)
    if when is not None:
        again = fields.parse(when.cron)
        assert re.fullmatch(r"[0-9*/, -]+", when.cron)
        assert (again.calendar(), again.either) == (when.calendar(), when.either)


def elapses(calendar: str, after: datetime, count: int) -> list[datetime]:
    """When systemd's own reading of a calendar event comes next."""
    words = ["systemd-analyze", "calendar", f"--iterations={count}", f"--base-time={after}", calendar]
    text = run(words, env={**os.environ, "TZ": "UTC", "LANG": "C.UTF-8"}).ok().text
    found = re.findall(r"(?:Next elapse|I(?:ter|teration)\.? ?#\d+): \w+ ([0-9-]+ [0-9:]+) UTC", text)
    return [datetime.fromisoformat(one) for one in found]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@settings(deadline=None, max_examples=40)
@given(line=LINES)
def test_systemd_takes_the_same_times_for_it(line: str) -> None:
    when = parsed(line)
    if when is None:
        return
    count = 4
    ours: list[datetime] = []
    after: datetime | None = START
    while len(ours) < count and after is not None:
        after = when.following(after)
        if after is not None:
            ours.append(after)
    theirs = {moment for one in when.calendar() for moment in elapses(one, START, count)}
    assert sorted(theirs)[:count] == ours, when.calendar()


@pytest.mark.parametrize(
    ("line", "calendar"),
    [
        ("0 4 * * *", ["*-*-* 04:00:00"]),
        ("*/15 * * * *", ["*-*-* *:00,15,30,45:00"]),
        ("30 8-18/2 * * mon-fri", ["Mon,Tue,Wed,Thu,Fri *-*-* 08,10,12,14,16,18:30:00"]),
        ("0 0 1 jan,jul *", ["*-01,07-01 00:00:00"]),
        ("0 6 * * fri-sun", ["Sun,Fri,Sat *-*-* 06:00:00"]),
        ("0 6 * * 7", ["Sun *-*-* 06:00:00"]),
        ("0 6 1,15 * mon", ["*-*-01,15 06:00:00", "Mon *-*-* 06:00:00"]),
        ("0 6 */2 * mon", ["Mon *-*-01,03,05,07,09,11,13,15,17,19,21,23,25,27,29,31 06:00:00"]),
        ("0 6 1-31 * mon", ["*-*-* 06:00:00"]),
        ("0-10 * * * *", ["*-*-* *:00..10:00"]),
        ("@hourly", ["*-*-* *:00:00"]),
        ("@daily", ["*-*-* 00:00:00"]),
        ("@weekly", ["Sun *-*-* 00:00:00"]),
        ("@monthly", ["*-*-01 00:00:00"]),
    ],
)
def test_lines_as_people_write_them(line: str, calendar: list[str]) -> None:
    assert fields.parse(line).calendar() == calendar


@pytest.mark.parametrize(
    ("line", "message", "allowed"),
    [
        ("0 4 * *", "has 4 fields in place of 5", "MINUTE HOUR DAY MONTH WEEKDAY"),
        ("", "has 0 fields", "@hourly"),
        ("60 * * * *", "60 is no minute", "numbers from 0 to 59"),
        ("0 24 * * *", "24 is no hour", "0 to 23"),
        ("0 0 0 * *", "0 is no day of the month", "1 to 31"),
        ("0 0 * foo *", "'foo' is no month", "jan to dec"),
        ("0 0 * * 8", "8 is no day of the week", "sun to sat"),
        ("0 0 * * mon-tuesday", "'mon-tuesday' is no day of the week", "1-5"),
        ("5/15 * * * *", "'5/15' has a step but no range", "*/2 or 1-5/2"),
        ("*/0 * * * *", "the step of '*/0' is 0", "a step from 1 to 59"),
        ("30-10 * * * *", "'30-10' ends before it begins", "1-5"),
        ("0 0 * * 5-0", "ends before it begins", "1-5"),
        ("0 0 30 2 *", "never comes", "a day of the month"),
        ("@reboot", "'@reboot' is no time", "@monthly"),
        ("@DAILY", "is no time", "@daily"),
        ("-5 * * * *", "'-5' is no minute", "*"),
        ("1,,2 * * * *", "'' is no minute", "*"),
        ("٣ * * * *", "is no minute", "*"),
    ],
)
def test_what_is_no_time_is_told_with_what_is(line: str, message: str, allowed: str) -> None:
    with pytest.raises(fields.Wrong) as raised:
        fields.parse(line)
    assert message in str(raised.value)
    assert allowed in raised.value.allowed


def test_a_leap_day_comes() -> None:
    assert fields.parse("0 0 29 2 *").following(START) == START.replace(year=2028, day=29, hour=0, minute=0)


NAMES = ("alice", "a.b", "web_admin", "a-1", "DOMAIN\\user", "jürgen", "with space", "per%cent", "x$")


@pytest.mark.parametrize("name", NAMES)
def test_a_users_files_say_whose_they_are(name: str) -> None:
    job = Job(1, "0 4 * * *", "true", "log")
    for path in files.for_systemd(name, 7, [job]):
        assert files.owner(path) == name
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", os.path.basename(path))
    label = files.label(name)
    assert files.name_of(label) == name
    assert re.fullmatch(r"[A-Za-z0-9_-]+", label), "cron reads no other names"


def test_no_two_names_are_one() -> None:
    assert files.label("a_2eb") != files.label("a.b")


@pytest.mark.parametrize(
    "path", ["/etc/systemd/system/ssh2container-limits.service", "/etc/cron.d/e2scrub_all"]
)
def test_other_files_are_nobodys(path: str) -> None:
    assert files.owner(path) is None


COMMANDS = ("true", "date +%F; echo \"$HOME\" '%h' \\\\ \\%", "one\ntwo", "$(x) `y` ${z}", "x" * 4000)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_systemd_finds_nothing_wrong(name: str, tmp_path: Path) -> None:
    """Whatever the command is: it does not stand in a unit, where something in it could mean anything."""
    found = [
        Job(number, at, command, output)
        for number, (at, command, output) in enumerate(
            ((at, command, output) for at in ("0 6 1,15 * mon", "@daily") for command in COMMANDS
             for output in ("log", "mail")), 1,
        )
    ]  # fmt: skip
    for path, text in files.for_systemd(name, 1000, found).items():
        copy = tmp_path / os.path.relpath(path, UNITS)
        copy.parent.mkdir(exist_ok=True)
        # A program that is there, where the product is not installed.
        copy.write_text(seal(text.replace("ExecStart=/usr/bin/ssh2container ", "ExecStart=/bin/true ")))
        assert all(command not in text for command in COMMANDS[1:])
    path = f"{tmp_path}:/usr/lib/systemd/system:/lib/systemd/system"
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": path, "LANG": "C.UTF-8"}
    units = [str(one) for one in tmp_path.iterdir() if one.suffix in (".timer", ".service")]
    done = run(["systemd-analyze", "verify", "--man=no", *units, "timers.target"], env=environment)
    ours = [line for line in (done.text + done.errors).splitlines() if "schedule" in line]
    assert ours == []
    assert len(units) == 2 * len(found)


def test_cron_is_given_what_it_takes() -> None:
    found = [
        Job(1, "*/5 * * jan mon-fri", COMMANDS[1], "log"),
        Job(2, "@daily", COMMANDS[2], "mail"),
    ]
    ((path, text),) = files.for_cron("a.b", found).items()
    logger = "logger -p cron.info -t ssh2container-schedule-a_2eb-1"
    shell = "/usr/bin/ssh2container -c ssh2container-job"
    assert path == "/etc/cron.d/ssh2container-schedule-a_2eb"
    assert [line for line in text.splitlines() if line and not line.startswith("#")] == [
        "SHELL=/bin/sh",
        "PATH=/usr/bin:/bin",
        'MAILTO=""',
        f"*/5 * * 1 1-5 a.b {shell}={found[0].mark} </dev/null 2>&1 | {logger}",
        "MAILTO=a.b",
        f"0 0 * * * a.b {shell}={found[1].mark} </dev/null",
    ]
    assert "%" not in text
    assert "\\" not in text


@pytest.mark.parametrize("name", ["with space", "per%cent", "-x", "DOMAIN\\user"])
def test_a_name_that_cron_could_misread_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name"):
        files.for_cron(name, [Job(1, "@daily", "true", "log")])


SCHEDULE = """
schedule:
  - {at: "0  4 * * *", command: "borg prune"}
  - {at: "@daily", command: "echo 100%\\nexit 1", output: mail}
"""


def test_a_policy_has_its_jobs_in_their_order() -> None:
    found = of(policy(SCHEDULE).values)
    assert [(job.number, job.at, job.command, job.output) for job in found] == [
        (1, "0 4 * * *", "borg prune", "log"),
        (2, "@daily", "echo 100%\nexit 1", "mail"),
    ]
    assert of(policy("image: host").values) == ()


def test_what_a_policy_says_of_jobs_is_written_as_it_is_read() -> None:
    from ssh2container.admin.policy.schema.settings import POLICY

    values = policy(SCHEDULE).values["schedule"]
    written = "schedule: " + POLICY.settings["schedule"].kind.write(values)
    assert policy(written).values["schedule"] == values


def test_the_next_time_is_told() -> None:
    told = described(policy(SCHEDULE), START)
    assert [one["next"] for one in told] == ["2027-02-26 04:00", "2027-02-26 00:00"]
    assert told[0]["describe"] == "job 1, next at 2027-02-26 04:00: borg prune (output is logged)"


ACCOUNT = Account("s2c-nobody", 4321, 4321, "/", (4321,), ("s2c-nobody",))


def request(mark: str) -> Request:
    return Request.parse([b"-c", JOB + mark.encode()], {})


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found = ["/usr/bin/ssh2container"]

    class Entry:
        @property
        def pw_shell(self) -> str:
            return found[0]

    monkeypatch.setattr("ssh2container.plan.jobs.pwd.getpwuid", lambda _uid: Entry())
    return found


def test_a_job_runs_what_the_policy_says(shell: list[str]) -> None:  # noqa: ARG001
    found = policy(SCHEDULE)
    made = of_login.of_policy(request(of(found.values)[1].mark), ACCOUNT, found)
    assert (made.kind, made.command, made.forced) == ("command", b"echo 100%\nexit 1", None)
    assert of_login.number_of(made) == "2"


def test_a_job_that_was_changed_since_is_refused(shell: list[str]) -> None:  # noqa: ARG001
    mark = of(policy(SCHEDULE).values)[0].mark
    for other in (
        SCHEDULE.replace("prune", "list"),
        SCHEDULE.replace("0  4", "0  5"),
        'schedule: [{at: "@daily", command: "echo"}, {at: "0 4 * * *", command: "borg prune"}]',
        "image: host",
    ):
        with pytest.raises(Refusal, match=r"cannot run job 1: the policy of .* has no such job.*compile"):
            of_login.of_policy(request(mark), ACCOUNT, policy(other))


def test_whose_logins_nologin_refuses_has_no_jobs(shell: list[str]) -> None:
    shell[0] = "/usr/sbin/nologin"
    found = policy(SCHEDULE)
    with pytest.raises(Refusal, match="the login shell of s2c-nobody is /usr/sbin/nologin"):
        of_login.of_policy(request(of(found.values)[0].mark), ACCOUNT, found)


def test_no_client_is_a_job() -> None:
    """Whatever the word after -c and the variables are: what comes by sshd has SSH_CONNECTION."""
    word = JOB + of(policy(SCHEDULE).values)[0].mark.encode()
    for arguments in ([b"-c", word], [b"-lc", word]):
        variables = {b"SSH_ORIGINAL_COMMAND": word, b"SSH_CONNECTION": b"192.0.2.1 1 192.0.2.2 22"}
        assert Request.parse(arguments, variables).job == ""
    assert Request.parse([b"-c", SENTINEL], {b"SSH_ORIGINAL_COMMAND": word}).job == ""
    with pytest.raises(Refusal):
        Request.parse([word], {})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("access: {terminal: required}", "a job has no terminal"),
        ("access: {commands: [rsync]}", 'access.commands refuses the job "borg prune"'),
        ("access: {commands: none}", "access.commands refuses the job"),
    ],
)
def test_a_policy_that_refuses_its_own_jobs_is_told(text: str, found: str) -> None:
    assert found in next(contradictions(policy(SCHEDULE + text)))[1]


def test_a_policy_that_allows_its_jobs_is_not() -> None:
    line = 'schedule: [{at: "@daily", command: "borg prune"}]\naccess: {commands: [borg]}'
    assert list(contradictions(policy(line))) == []


def test_mail_needs_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "SENDMAIL", str(tmp_path / "sendmail"))
    ((key, message, _),) = unmailed(policy(SCHEDULE))
    assert key.startswith("schedule.@daily echo")
    assert "which is not here" in message
    (tmp_path / "sendmail").write_text("#!/bin/sh\n")
    (tmp_path / "sendmail").chmod(0o755)
    assert list(unmailed(policy(SCHEDULE))) == []


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host without systemd and cron, whose directories are the test's; systemctl notes what it is told."""
    for name in ("units", "cron.d", "bin"):
        (tmp_path / name).mkdir()
    program = tmp_path / "bin" / "systemctl"
    program.write_text(
        f'#!/bin/sh\ncd {tmp_path}; echo "$@" >>asked\nif [ -e broken ]; then echo no bus >&2; exit 1; fi\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr(cgroups, "RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(host, "CRONS", ("s2c-no-cron",))
    monkeypatch.setattr(host, "CRON_D", str(tmp_path / "cron.d"))
    former = {name: getattr(files, name) for name in ("UNITS", "CRON_D")}
    now = {"UNITS": str(tmp_path / "units"), "CRON_D": str(tmp_path / "cron.d")}
    for name, place in now.items():
        monkeypatch.setattr(files, name, place)
    monkeypatch.setattr(
        files, "_OURS", tuple(re.compile(moved(one.pattern, former, now)) for one in files._OURS)
    )
    monkeypatch.setattr(files, "DIRECTORIES", tuple(moved(one, former, now) for one in files.DIRECTORIES))
    return tmp_path


def moved(text: str, former: dict[str, str], now: dict[str, str]) -> str:
    for name, place in former.items():
        text = text.replace(place, now[name])
    return text


class Wanting(jobs.GiveJobs):
    """The jobs that the test says."""

    def __init__(self, text: str) -> None:
        super().__init__("alice")
        self.text = text

    def wanted(self) -> dict[str, str]:
        return jobs.texts("alice", 1000, of(policy(self.text).values))


def carried_out(change: jobs.GiveJobs) -> bool:
    """Do a change, as carry_out does; return whether anything was to be done."""
    if change.done():
        return False
    change.do()
    return True


def listed(etc: Path) -> list[str]:
    return sorted(str(one.relative_to(etc)) for one in etc.rglob("*ssh2container*") if one.is_file())


def test_timers_come_change_and_go(etc: Path) -> None:
    (etc / "runs").mkdir()
    assert carried_out(Wanting(SCHEDULE))
    unit = "ssh2container-schedule-alice-"
    both = [f"units/{unit}{number}.{kind}" for number in (1, 2) for kind in ("service", "timer")]
    assert listed(etc) == [*both, "units/timers.target.d/50-ssh2container-schedule-alice.conf"]
    assert (etc / "asked").read_text().splitlines() == ["daemon-reload", f"start {unit}1.timer {unit}2.timer"]
    assert not carried_out(Wanting(SCHEDULE))
    (etc / "asked").unlink()
    assert carried_out(Wanting('schedule: [{at: "0 5 * * *", command: "borg prune"}]'))
    assert (etc / "asked").read_text().splitlines() == [
        f"stop {unit}1.timer {unit}2.timer",
        "daemon-reload",
        f"start {unit}1.timer",
    ]
    assert "OnCalendar=*-*-* 05:00:00\n" in (etc / f"units/{unit}1.timer").read_text()
    assert carried_out(jobs.TakeJobs("alice"))
    assert listed(etc) == []
    assert not (etc / "units/timers.target.d").exists()
    assert not carried_out(jobs.TakeJobs("alice"))


def test_an_undone_change_leaves_what_was(etc: Path) -> None:
    (etc / "runs").mkdir()
    carried_out(Wanting(SCHEDULE))
    before = {path: (etc / path).read_text() for path in listed(etc)}
    change = Wanting("image: host")
    assert carried_out(change)
    change.undo()
    assert {path: (etc / path).read_text() for path in listed(etc)} == before
    (etc / "broken").touch()
    with pytest.raises(SessionError, match="no bus"):
        carried_out(Wanting('schedule: [{at: "@daily", command: x}]'))
    assert {path: (etc / path).read_text() for path in listed(etc)} == before


def test_what_was_changed_by_hand_stays_but_for_disable(etc: Path) -> None:
    (etc / "runs").mkdir()
    carried_out(Wanting(SCHEDULE))
    timer = etc / "units/ssh2container-schedule-alice-1.timer"
    timer.write_text(timer.read_text().replace("04:00:00", "03:00:00"))
    for text in (SCHEDULE, "image: host"):
        carried_out(Wanting(text))
        assert "03:00:00" in timer.read_text()
    change = jobs.TakeJobs("alice")
    assert carried_out(change)
    assert change.describe() == f"take the jobs of alice away ({timer})"
    assert listed(etc) == []


def test_another_users_files_are_nobody_elses_matter(etc: Path) -> None:
    (etc / "runs").mkdir()
    carried_out(Wanting(SCHEDULE))
    assert not carried_out(jobs.TakeJobs("alice-1"))
    assert set(jobs.in_place().values()) == {"alice"}


def test_cron_has_them_where_systemd_does_not_run(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SessionError, match="cannot schedule the jobs of alice: neither systemd nor a cron"):
        Wanting(SCHEDULE).done()
    assert "no job runs here" in next(unscheduled(policy(SCHEDULE)))[1]
    assert list(unscheduled(policy("image: host"))) == []
    monkeypatch.setattr(host, "CRONS", ("systemctl",))
    assert carried_out(Wanting(SCHEDULE))
    assert listed(etc) == ["cron.d/ssh2container-schedule-alice"]
    # A host that systemd runs from now on has timers in its place.
    (etc / "runs").mkdir()
    assert carried_out(Wanting(SCHEDULE))
    assert "cron.d/ssh2container-schedule-alice" not in listed(etc)
    assert carried_out(Wanting("image: host"))
    assert listed(etc) == []


SENDMAIL = '#!/bin/sh\necho "$@" >{0}/arguments\ncat >{0}/mail\n'


@pytest.fixture
def sendmail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "sendmail"
    program.write_text(SENDMAIL.format(tmp_path))
    program.chmod(0o755)
    monkeypatch.setattr(mailing, "SENDMAIL", str(program))
    return tmp_path


def test_what_a_job_writes_is_mailed(sendmail: Path) -> None:
    words = ["/bin/sh", "-c", "echo out; echo err >&2; printf 'Bcc: x\\n\\377'; read line && exit 9; exit 3"]
    assert mailing.main(["ssh2container-schedule-a-1", *words]) == 3
    head, _, body = (sendmail / "mail").read_text().partition("\n\n")
    assert "Subject: ssh2container-schedule-a-1@" in head
    assert head.splitlines()[1].endswith(": exit status 3")
    assert "Bcc" not in head
    assert body == "out\nerr\nBcc: x\n�"
    assert (sendmail / "arguments").read_text().split()[:2] == ["-oi", "--"]


def test_a_job_that_writes_nothing_mails_nothing(sendmail: Path) -> None:
    assert mailing.main(["job", "/bin/true"]) == 0
    assert not (sendmail / "mail").exists()


def test_a_signal_is_told_and_too_much_is_counted(sendmail: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailing, "MOST_BYTES", 1000)
    words = ["/bin/sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; kill -TERM $$"]
    assert mailing.main(["job", *words]) == 128 + 15
    text = (sendmail / "mail").read_text()
    assert "signal 15" in text
    assert "x" * 1000 + "\n[299000 more bytes are left out]\n" in text


def test_a_mail_server_that_fails_loses_nothing(sendmail: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (sendmail / "sendmail").write_text("#!/bin/sh\nexit 75\n")
    assert mailing.main(["job", "/bin/echo", "kept"]) == 0
    said = capfd.readouterr().err
    assert "cannot mail what job wrote" in said
    assert said.endswith("kept\n")
