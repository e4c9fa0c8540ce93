"""What of a host runs jobs and carries their mail."""

from __future__ import annotations

import os
import shutil

from ssh2container.admin import cgroups
from ssh2container.admin.schedule.files import CRON_D

SENDMAIL = "/usr/sbin/sendmail"
"""Where each mail server has its program of that name (Filesystem Hierarchy Standard, /usr/sbin)."""
CRONS = ("cron", "crond")
"""What the program is called by Debian, and by others."""
NOBODY = "neither systemd nor a cron that reads /etc/cron.d is here"


def means() -> str:
    """Return who runs jobs here: "systemd", "cron", or "" for nobody."""
    if os.path.isdir(cgroups.RUNS):
        return "systemd"
    places = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    has_cron = any(shutil.which(name, path=places) for name in CRONS)
    return "cron" if has_cron and os.path.isdir(CRON_D) else ""


def cron_runs() -> bool:
    """Tell whether a cron is running, as far as names of processes tell."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as file:
                    if file.read().strip() in CRONS:
                        return True
            except OSError:
                continue  # it has ended meanwhile
    return False
