"""What systemd or cron is given of a user's jobs: texts of files, by their paths. Pure.

None has the job's command: the login takes it from the policy, so that nothing has to be quoted for three
languages (systemd.service(5), crontab(5), sh(1)), and no old command runs under a new policy.
Sources: systemd.exec(5), systemd.timer(5), crontab(5), and cron(8) for the names that it reads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ssh2container.admin.schedule import fields
from ssh2container.admin.sealed import UNITS
from ssh2container.paths import LOGIN_SHELL
from ssh2container.plan.request import JOB
from ssh2container.policy.cold import PYTHON
from ssh2container.policy.schedule import MAIL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ssh2container.policy.schedule import Job

CRON_D = "/etc/cron.d"
_WANTS = "timers.target.d"
MAILER = "/usr/lib/ssh2container/current/ssh2container/admin/schedule/mailing.py"
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\$?", re.ASCII)
"""Names that systemd and cron take as they are."""
_HEAD = (
    "# {what}, from schedule in the policy: written by ssh2containerctl, which leaves this file alone\n"
    "# once it was changed. Change the policy instead.\n"
)


def label(name: str) -> str:
    """Return a user's name as a part of file names: cron reads none with other characters than these.

    Each other byte is "_" and two digits, so that no two names are one.
    """
    return "".join(
        chr(byte) if re.match(rb"[A-Za-z0-9-]", bytes([byte])) else f"_{byte:02x}"
        for byte in name.encode("utf-8", "surrogateescape")
    )


def name_of(label_: str) -> str:
    """Return whose label it is."""
    found = re.sub(rb"_([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), label_.encode())
    return found.decode("utf-8", "surrogateescape")


def unit(name: str, number: int) -> str:
    """Return the name of a job's units, without what kind they are."""
    return f"ssh2container-schedule-{label(name)}-{number}"


_OURS = (
    re.compile(rf"{UNITS}/ssh2container-schedule-(.+)-[0-9]+\.(?:service|timer)"),
    re.compile(rf"{UNITS}/{_WANTS}/50-ssh2container-schedule-(.+)\.conf"),
    re.compile(rf"{CRON_D}/ssh2container-schedule-(.+)"),
)
DIRECTORIES = (UNITS, f"{UNITS}/{_WANTS}", CRON_D)
"""Where they lie."""


def owner(path: str) -> str | None:
    """Return whose jobs a file is about, None for a file that is not of this kind."""
    for form in _OURS:
        match = form.fullmatch(path)
        if match:
            return name_of(match[1])
    return None


def for_systemd(name: str, uid: int, jobs: Iterable[Job]) -> dict[str, str]:
    """Return path -> text of a service and a timer for each job, and of what starts the timers at boot."""
    found: dict[str, str] = {}
    timers = []
    for job in jobs:
        what = f"job {job.number} of {_shown(name)}"
        base = unit(name, job.number)
        found[f"{UNITS}/{base}.service"] = _service(name, uid, job, what)
        lines = "".join(f"OnCalendar={line}\n" for line in fields.parse(job.at).calendar())
        # cron is exact to the second; systemd would save wake-ups, a minute by default.
        found[f"{UNITS}/{base}.timer"] = (
            _HEAD.format(what=f"When {what} runs")
            + f"\n[Unit]\nDescription=When {what} runs\n\n[Timer]\n{lines}AccuracySec=1s\n"
        )
        timers.append(f"{base}.timer")
    if timers:
        found[f"{UNITS}/{_WANTS}/50-ssh2container-schedule-{label(name)}.conf"] = (
            _HEAD.format(what=f"The timers of {_shown(name)}") + f"\n[Unit]\nWants={' '.join(timers)}\n"
        )
    return found


def _service(name: str, uid: int, job: Job, what: str) -> str:
    # PAM asks whether the account has expired, and sets the limits of limits.conf; under this service's name,
    # of which systemd brings the file, pam_systemd(8) leaves the process in its unit.
    return (
        _HEAD.format(what=what.capitalize()) + f"\n[Unit]\nDescription={what.capitalize()} in a container\n"
        "After=systemd-user-sessions.service nss-user-lookup.target time-sync.target\n"
        f"\n[Service]\nType=oneshot\nUser={name if _PLAIN.fullmatch(name) else uid}\n"
        f"PAMName=systemd-user\nSlice=user-{uid}.slice\nExecStart={' '.join(words(name, job))}\n"
        # Without the prefix of a level: what a job writes would choose how grave it is.
        "StandardInput=null\nStandardOutput=journal\nStandardError=journal\nSyslogLevelPrefix=no\n"
        f"SyslogIdentifier={unit(name, job.number)}\n"
        # The monitor ends its session in order; what is left after that is killed.
        "KillMode=mixed\nUMask=0022\n"
    )


def words(name: str, job: Job) -> list[str]:
    """Return what systemd executes for a job: no word needs a quote."""
    own = [LOGIN_SHELL, "-c", f"{JOB.decode()}{job.mark}"]
    if job.output != MAIL:
        return own
    return [PYTHON, "-ISB", MAILER, unit(name, job.number), *own]


def for_cron(name: str, jobs: Iterable[Job]) -> dict[str, str]:
    """Return path -> text of what cron reads. Raises ValueError for a name that no line can hold."""
    if not _PLAIN.fullmatch(name):
        raise ValueError(f"a line of {CRON_D} cannot name {name!r}")
    lines = ""
    for job in jobs:
        # cron mails what a job writes, or loses it where there is no mail; the log is logger's.
        start = f"{LOGIN_SHELL} -c {JOB.decode()}{job.mark} </dev/null"
        log = f"{start} 2>&1 | logger -p cron.info -t {unit(name, job.number)}"
        mailed = job.output == MAIL
        lines += f"MAILTO={name if mailed else chr(34) * 2}\n"
        lines += f"{fields.parse(job.at).cron} {name} {start if mailed else log}\n"
    if not lines:
        return {}
    head = _HEAD.format(what=f"Jobs of {name}")
    text = f"{head}\nSHELL=/bin/sh\nPATH=/usr/bin:/bin\n{lines}"
    return {f"{CRON_D}/ssh2container-schedule-{label(name)}": text}


def _shown(name: str) -> str:
    """Return a name as a comment and a description may have it: a percent sign would be a specifier."""
    return name if _PLAIN.fullmatch(name) else label(name)
