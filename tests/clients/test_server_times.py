"""Whether a running sshd has read its files, told by times: where its memory cannot be read."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from support.host import until
from support.sshd import SUBSYSTEM, Server

from ssh2container.admin.sshd import running
from ssh2container.plan.sshd_files import Files


@pytest.mark.parametrize("told_by", ["PidFile", "start"])
def test_what_was_written_since_it_read_its_files(
    make_sshd: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, told_by: str
) -> None:
    """By the PidFile, which it writes anew when it reads them again, or by its own start."""
    monkeypatch.setattr(running, "_memory", lambda _: None)
    server = make_sshd(SUBSYSTEM)
    (found,) = [one for one in running.servers() if one.config == server.configuration]
    assert running.unread(found, Files(found.config)) == []

    def written() -> bool:
        """Write it until the clock of the file system has moved on."""
        with open(server.configuration, "a", encoding="utf-8") as file:
            file.write("# another line\n")
        return running.unread(found, Files(found.config)) == [server.configuration]

    until(written, "the file is younger than what was read")
    if told_by == "start":
        # The command line's outdoes the file's: then nothing but the start of the process tells.
        without = running.Server(found.pid, found.config, ("PidFile=none",), replaced=False)
        assert running.unread(without, Files(found.config)) == [server.configuration]
        return
    os.kill(found.pid, signal.SIGHUP)
    until(lambda: running.unread(found, Files(found.config)) == [], "it has read the file")
    assert running.read_at(found) is not None
