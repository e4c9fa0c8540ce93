"""Every sshd of this host: what it leaves open for each user, on every connection that it tells apart."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.doctor import answers, check
from ssh2container.admin.doctor.finding import NOTE, OK, PROBLEM, WARNING, Finding
from ssh2container.admin.sshd import running
from ssh2container.admin.sshd.effective import binary, complaint
from ssh2container.plan.sshd_files import Files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ssh2container.admin.account import Account


_OF_THE_DROP_IN = ("user.group", "user.spelling")


@check.of_users("sshd", place=10)
def examine(
    accounts: Sequence[Account], advance: Callable[[str], None] = lambda _: None
) -> Iterator[Finding]:
    """Yield what each sshd leaves open for each of ``accounts``."""
    if binary() is None:
        yield Finding(NOTE, "sshd", "", "no sshd is installed here")
        return
    yield from answers.of_drop_in()
    yield from _running(endangered=bool(accounts))
    causes: set[str] = set()
    for config in answers.configurations():
        if not os.path.isfile(config.path):
            yield Finding(
                PROBLEM,
                "sshd.config",
                config.path,
                "does not exist any more, and the running sshd was started with it",
                f"see what pid {', '.join(map(str, config.pids))} is, and end it",
            )
            continue
        refused = complaint(config.path)
        if refused:
            yield Finding(
                PROBLEM,
                "sshd.config",
                config.path,
                f"sshd refuses it: {refused}",
                f"sshd -t -f {config.path}",
            )
            continue
        for finding in answers.of_users(accounts, config, advance):
            # Why the drop-in does not hold for a user is the same in each configuration that includes it.
            if finding.check not in _OF_THE_DROP_IN or finding.identity not in causes:
                yield finding
            if finding.check in _OF_THE_DROP_IN:
                causes.add(finding.identity)


def _running(*, endangered: bool) -> Iterator[Finding]:
    """Yield whether the sshds that run have read what the files say.

    endangered: whether anybody is contained yet, for whom it matters.
    """
    found = running.servers()
    for server in found:
        name = f"sshd (pid {server.pid})"
        stale = running.unread(server, Files(server.config))
        if stale:
            yield Finding(
                PROBLEM if endangered else WARNING,
                "sshd.running",
                name,
                f"has not read {', '.join(stale)} as now on disk: what those files close may still be open",
                server.reload,
                {"pid": server.pid, "config": server.config, "unread": stale},
            )
        else:
            yield Finding(OK, "sshd.running", name, f"has read {server.config} and all that it includes")
        if server.replaced:
            yield Finding(
                NOTE,
                "sshd.replaced",
                name,
                "runs another program than the one on disk, which gives the answers below",
                server.reload.replace("reload", "restart") if "systemctl" in server.reload else server.reload,
            )
    for pid, program in running.others():
        yield Finding(
            WARNING,
            "sshd.other-server",
            f"{program} (pid {pid})",
            "no sshd drop-in applies to it: what it forwards and which subsystems it runs was not checked",
            f"kill {pid} (or keep contained users out of it)",
            {"pid": pid},
        )
