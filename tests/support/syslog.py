"""A listener on /dev/log that keeps every record, in place of the machine's own while tests run."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable

from support.host import DEADLINE_SECONDS, until

PATH = "/dev/log"
ASIDE = "/dev/log.before-ssh2container-tests"
JOURNAL = "/run/systemd/journal/socket"
JOURNAL_ASIDE = JOURNAL + ".before-ssh2container-tests"
"""Where journald listens, its own protocol is preferred: without this socket records go to /dev/log."""


def _is_alive() -> bool:
    """Whether somebody listens at PATH."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(PATH)
        except OSError:
            return False
    return True


class Syslog:
    """The records that arrived, oldest first, as text (what is not UTF-8 shown as escapes)."""

    def __init__(self) -> None:
        self._records: list[str] = []
        self._stopping = False
        self._asked = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._listen, name="syslog", daemon=True)

    def start(self) -> None:
        # What a crashed run left: its listener at PATH is dead, the machine's own waits aside.
        if os.path.lexists(ASIDE):
            os.replace(ASIDE, PATH)
        if os.path.lexists(PATH):
            if _is_alive():
                os.rename(PATH, ASIDE)
            else:
                os.unlink(PATH)
        if os.path.lexists(JOURNAL):
            os.replace(JOURNAL, JOURNAL_ASIDE)
        self._socket.bind(PATH)
        os.chmod(PATH, 0o666)
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        # Not a record that wakes it: at PATH may be somebody else's socket by now.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive(), f"the listener on {PATH} does not stop"
        self._socket.close()
        os.unlink(PATH)
        if os.path.lexists(ASIDE):
            os.rename(ASIDE, PATH)
        if os.path.lexists(JOURNAL_ASIDE):
            os.rename(JOURNAL_ASIDE, JOURNAL)

    def _listen(self) -> None:
        while True:
            record = self._socket.recv(1 << 18)
            if self._stopping:
                return
            self._records.append(record.decode(errors="backslashreplace"))

    def of(self, word: str) -> list[str]:
        """The product's records that contain ``word`` (a user's name, a session's id), all sent until now."""
        self._catch_up()
        return [record for record in self._records[:] if "ssh2container" in record and word in record]

    def _catch_up(self) -> None:
        """Wait for a record of our own: those before it in the socket's queue have been read then."""
        self._asked += 1
        record = f"caught up {self._asked}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            try:
                sender.sendto(record.encode(), PATH)
            except OSError:
                return  # a test has put another listener here
        until(lambda: record in self._records, "the log has been read")

    def mark(self) -> int:
        """A place in the stream, for :meth:`wait`."""
        return len(self._records)

    def wait(self, condition: Callable[[str], bool], what: str, since: int = 0) -> str:
        """The first record after ``since`` that fulfils ``condition``."""
        return until(
            lambda: next((record for record in self._records[since:] if condition(record)), ""),
            f"a log record: {what}; there are: {self._records[since:]}",
        )
