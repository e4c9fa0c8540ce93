"""The collector: keeps recordings out of their users' reach.

systemd starts it on the first connection (sd_listen_fds(3)) under a uid of its own, and it ends when
no recording has been under way for a while. Each session's monitor connects, is known by its uid
(SO_PEERCRED, unix(7)), names its session, and sends the recording; the collector opens a new file
for it before it answers, so that nothing runs unrecorded. What a recording looks like is the keeper's matter.

Run as a script.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import select
import socket
import struct
import sys
import time

# An isolated interpreter looks in no directory of ours (-I).
sys.path.insert(0, os.path.abspath(__file__).rpartition("/ssh2container/")[0])
from ssh2container.record.keeper import GREETING, Keeper, Refused

DIRECTORY = "/var/log/ssh2container/recordings"
FIRST_DESCRIPTOR = 3
"""Where systemd hands over the listening socket (SD_LISTEN_FDS_START)."""
_GREETING = re.compile(GREETING + rb"([0-9a-f]{10})\n")
_LONGEST_GREETING = 64
_CHUNK = 1 << 16
_LEAVES_FREE = 0.05
"""The part of the file system that recordings leave free: the log itself has to go on."""
_CHECK_EVERY = 1 << 22
_PER_USER = 256
_IDLE_S = 30.0
_GREETING_S = 10.0


class Recording:
    """One connection and its file."""

    def __init__(self, connection: socket.socket, directory: str) -> None:
        self.connection = connection
        self.uid = _uid(connection)
        self.since = time.monotonic()
        self._directory = directory
        self._keeper: Keeper | None = None
        self._said = b""
        self._unchecked = 0
        connection.setblocking(False)

    @property
    def begun(self) -> bool:
        """Whether the file is there."""
        return self._keeper is not None

    def read(self) -> bool:
        """Take what came; return False when the recording is over. Raises Refused."""
        try:
            data = self.connection.recv(_CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if self._keeper is None:
            self._greet(data)
        elif data:
            self._check_room(len(data))
            self._answer(self._keeper.take(data))
        else:
            self._answer(self._keeper.end())
        return bool(data)

    def refuse(self, why: str) -> None:
        """Tell the session why its recording cannot go on."""
        self._answer(b"error " + why.encode() + b"\n")

    def close(self) -> None:
        """Give up the connection and the file."""
        self.connection.close()
        if self._keeper is not None:
            self._keeper.close()

    def _greet(self, data: bytes) -> None:
        self._said += data
        if data and b"\n" not in self._said and len(self._said) <= _LONGEST_GREETING:
            return
        greeting = _GREETING.fullmatch(self._said)
        if not greeting:
            raise Refused("that is no greeting of a recorder")
        self._require_room()
        self._open(greeting[1].decode())

    def _open(self, session: str) -> None:
        try:
            name = pwd.getpwuid(self.uid).pw_name
        except KeyError:
            raise Refused(f"uid {self.uid} is no user") from None
        if "/" in name or name.startswith("."):
            raise Refused("the user's name cannot be the name of a directory")
        directory = f"{self._directory}/{name}"
        path = f"{directory}/{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{session}.cast"
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory, 0o750)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._keeper = Keeper(os.open(path, flags, 0o640), path)
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from None
        self._answer(b"ok " + path.encode() + b"\n")

    def _check_room(self, coming: int) -> None:
        self._unchecked += coming
        if self._unchecked >= _CHECK_EVERY:
            self._unchecked = 0
            self._require_room()

    def _require_room(self) -> None:
        room = os.statvfs(self._directory)
        if room.f_bavail < room.f_blocks * _LEAVES_FREE:
            raise Refused(f"less than {_LEAVES_FREE:.0%} of the file system of {self._directory} is free")

    def _answer(self, answer: bytes) -> None:
        with contextlib.suppress(OSError):
            if answer:
                self.connection.send(answer)


class Collector:
    """Serves all recordings of the host from one process."""

    def __init__(self, listener: socket.socket, directory: str = DIRECTORY, idle_s: float = _IDLE_S) -> None:
        self._listener = listener
        self._directory = directory
        self._idle_s = idle_s
        self._recordings: dict[int, Recording] = {}
        self._poll = select.epoll()
        listener.setblocking(False)
        self._poll.register(listener.fileno(), select.EPOLLIN)

    def run(self) -> None:
        """Serve until nothing has been recorded for a while."""
        while True:
            waiting = [r for r in self._recordings.values() if not r.begun]
            patience = _GREETING_S if waiting else self._idle_s
            events = self._poll.poll(-1 if self._recordings and not waiting else patience)
            if not events and not self._recordings:
                return
            for descriptor, _ in events:
                if descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor in self._recordings:
                    self._serve(self._recordings[descriptor])
            for recording in waiting:
                if not recording.begun and time.monotonic() - recording.since > _GREETING_S:
                    self._part(recording)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # gone already, or no descriptor is left: the others go on
        recording = Recording(connection, self._directory)
        if sum(other.uid == recording.uid for other in self._recordings.values()) >= _PER_USER:
            recording.refuse(f"{_PER_USER} recordings of this user are under way")
            recording.close()
            return
        self._recordings[connection.fileno()] = recording
        self._poll.register(connection.fileno(), select.EPOLLIN)

    def _serve(self, recording: Recording) -> None:
        try:
            goes_on = recording.read()
        except (Refused, OSError) as why:
            # One user's recording may not end, whatever became of another's.
            recording.refuse(str(why))
            goes_on = False
        if not goes_on:
            self._part(recording)

    def _part(self, recording: Recording) -> None:
        descriptor = recording.connection.fileno()
        if self._recordings.pop(descriptor, None):
            self._poll.unregister(descriptor)
            recording.close()


def _uid(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def main() -> None:
    """Serve the socket that systemd handed over."""
    if (os.environ.get("LISTEN_PID"), os.environ.get("LISTEN_FDS")) != (str(os.getpid()), "1"):
        sys.exit("the collector is started by ssh2container-record.socket, not by hand")
    fcntl.fcntl(FIRST_DESCRIPTOR, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    os.umask(0o027)
    directory = sys.argv[1] if len(sys.argv) > 1 else DIRECTORY
    Collector(socket.socket(fileno=FIRST_DESCRIPTOR), directory).run()


if __name__ == "__main__":
    main()
