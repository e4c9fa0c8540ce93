"""Runs a job and mails the user what it writes, as cron would: for systemd, which has no mail of its own.

Run as a script by the user's uid, in a unit of root's: its arguments are the job's name and then the words to
run. Nothing is sent where nothing was written. The job's exit status is ours, also where mailing fails: then
what was written goes to our standard error.
"""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
from typing import IO, TYPE_CHECKING

# An isolated interpreter looks in no directory of ours (-I).
sys.path.insert(0, os.path.abspath(__file__).rpartition("/ssh2container/")[0])
from ssh2container.admin.schedule.host import SENDMAIL

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_BYTES = 1 << 20
"""What of a job's output is mailed; the rest is read, so that nothing hangs, and only counted."""
_CHUNK = 1 << 16
_SIGNALLED = 128


def main(arguments: Sequence[str]) -> int:
    """Run a job and return its exit status. arguments: its name, the words."""
    name, *words = arguments
    job = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert job.stdout is not None  # noqa: S101 - by stdout=PIPE
    written, more = _read(job.stdout)
    status = job.wait()
    if written:
        _send(name, written, more, status)
    return _SIGNALLED - status if status < 0 else status


def _read(stream: IO[bytes]) -> tuple[bytes, int]:
    """Return what comes until the end, at most :data:`MOST_BYTES` of it, and how many bytes came beyond."""
    found, more = bytearray(), 0
    while chunk := os.read(stream.fileno(), _CHUNK):
        room = MOST_BYTES - len(found)
        found += chunk[:room]
        more += len(chunk[room:])
    return bytes(found), more


def message(user: str, host: str, job: str, written: bytes, more: int, status: int) -> bytes:
    """Return the mail. A header is one line, of what root has named: nothing in it is the job's."""
    text = written.decode("utf-8", "replace")
    if more:
        text += f"\n[{more} more bytes are left out]\n"
    ended = f"exit status {status}" if status >= 0 else f"signal {-status}"
    head = (
        f"To: {user}\nSubject: {job}@{host}: {ended}\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n"
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
    )
    return (head + text).encode()


def _send(name: str, written: bytes, more: int, status: int) -> None:
    user = pwd.getpwuid(os.getuid()).pw_name
    mail = message(user, socket.gethostname(), name, written, more, status)
    try:
        subprocess.run([SENDMAIL, "-oi", "--", user], input=mail, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"ssh2container: cannot mail what {name} wrote: {error}\n")
        sys.stderr.flush()
        sys.stderr.buffer.write(written)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
