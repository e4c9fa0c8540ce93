"""What an administrator types in ``exec`` into a session: nobody's but the command's.

A probe from outside, which enters a session as ``exec`` does while its payload spies.
"""

from __future__ import annotations

import json
import os
import select
from typing import TYPE_CHECKING

from ssh2container.admin.sessions import entering
from ssh2container.admin.sessions.live import Listing
from ssh2container.admin.terminal import pairs
from ssh2container.admin.verify import scenarios
from ssh2container.admin.verify.lifecycle import DEADLINE_SECONDS, LifeCycle, Live, refused
from ssh2container.admin.verify.probe import require
from ssh2container.admin.verify.verdicts import Skipped
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from ssh2container.admin.sessions.live import Live as Entered
    from ssh2container.admin.verify.sessions import Starter

_TYPED = b": what only the command may read\n"


def _typed(starter: Starter) -> str:
    if os.geteuid() != 0:
        raise Skipped("only root enters a session with a terminal that is nobody else's")
    with Live(starter, "spy") as live:
        line = live.line()
        refused(line, -1)
        require(line == scenarios.READY, f"the session said {line!r}")
        listing = Listing([starter.entry.pw_name])
        try:
            found = [one for one in listing.sessions if one.monitor.pid == live.process.pid]
            if not found or not found[0].hint.directory:
                raise Skipped("the session is not in the registry: there is no runtime directory")
            return _spied_on(live, found[0])
        finally:
            listing.close()


def _spied_on(live: Live, entered: Entered) -> str:
    """Have a shell entered, type, and hear what the session's own process could do about it."""
    like, other = os.openpty()
    master, slave = pairs.open_pair(like)
    try:
        agent = entering.enter(entered, [], (slave, slave, slave), {b"TERM": b"dumb"})
        try:
            _await_shell(entering.Command(agent.end), master)
            assert live.process.stdin  # noqa: S101 - it is a pipe
            live.process.stdin.write(b"g")
            live.process.stdin.flush()
            line = live.line()
            if live.ended_by_its_filter(line):
                return "its filter ended the session that looked"
            said = json.loads(line or b"{}")
        finally:
            agent.finish()
    finally:
        for descriptor in (like, other, master, slave):
            os.close(descriptor)
    require(said.get("processes"), "the session's own process did not see the command")
    require(not said["went"], "the session's own process could " + ", ".join(said["went"]))
    return f"{said['processes']} processes seen, none opened"


def _await_shell(command: entering.Command, master: int) -> None:
    """Type until the shell has it: the terminal echoes at once, so wait for what only a shell says."""
    os.write(master, b"echo $((6 * 7))x\n" + _TYPED)
    shown = b""
    while b"42x" not in shown:
        ready, _, _ = select.select([master, command.descriptor], [], [], DEADLINE_SECONDS)
        require(ready, f"the shell says nothing but {shown!r}")
        if master in ready:
            shown += os.read(master, 65536)
            continue
        try:
            goes_on = command.hear()
        except SessionError as error:
            raise Skipped(f"no shell: {error}") from None
        if not goes_on or command.status is not None:
            raise Skipped("the image has no shell that starts")


PROBES = (
    LifeCycle(
        "what an administrator types in exec is the command's alone",
        "pts(4), proc_pid_fd(5), ptrace(2)",
        _typed,
    ),
)
