"""The collector: keeps recordings out of their users' reach.

systemd starts it on the first connection (sd_listen_fds(3)) under a uid of its own, and it ends when
no recording has been under way for a while. Each session's monitor connects, is known by its uid
(SO_PEERCRED, unix(7)), names its session, and sends the recording; the collector opens a new file
for it before it answers, so that nothing runs unrecorded. What a recording looks like is the keeper's matter.

Anybody may connect, so what one uid sends costs that uid alone: each has its own number of connections,
its own part of the disk (``accounts``), one turn in each round, and one file at a time that is waited for.

Run as a script.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import re
import select
import socket
import struct
import sys
import time

# An isolated interpreter looks in no directory of ours (-I).
sys.path.insert(0, os.path.abspath(__file__).rpartition("/ssh2container/")[0])
from ssh2container.admin.recordings.accounts import FIRST_DESCRIPTOR, Lookups
from ssh2container.admin.recordings.syncing import Syncing
from ssh2container.record.keeper import GREETING, Keeper, Refused, file_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.admin.recordings.accounts import Account

DIRECTORY = "/var/log/ssh2container/recordings"
_GREETING = re.compile(GREETING + rb"([0-9a-f]{10})\n")
_LONGEST_GREETING = 64
_CHUNK = 1 << 15
"""What a uid may send in its turn: a few milliseconds of work, of the smallest frames, too."""
_ACCEPTED = 64
"""How many connections are taken in a round, before and after which all uids have their turn."""
_IDLE_S = 30.0
_GREETING_S = 10.0
_LOOK_S = 1.0


class Recording:
    """One connection and its file.

    account: who has connected. since: when. keeper: None until the session was named. served: its last turn.
    """

    def __init__(self, connection: socket.socket, account: Account, directory: str) -> None:
        self.connection = connection
        self.account = account
        self.since = time.monotonic()
        self.served = 0
        self._directory = directory
        self.keeper: Keeper | None = None
        self._said = b""
        connection.setblocking(False)
        account.open += 1

    def read(self) -> bool:
        """Take what came; return False when nothing more can come. Raises Refused."""
        try:
            data = self.connection.recv(_CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if self.keeper is None:
            self._greet(data)
        elif data:
            self.account.require_room(self._directory)
            before = self.keeper.written
            try:
                self.answer(self.keeper.take(data))
            finally:
                self.account.add(self.keeper.written - before)
        return bool(data)

    def refuse(self, why: str) -> None:
        """Tell the session why its recording cannot go on."""
        self.answer(b"error " + why.encode("utf-8", "backslashreplace") + b"\n")

    def answer(self, answer: bytes) -> None:
        """Tell the session something; one that does not listen misses it."""
        with contextlib.suppress(OSError):
            if answer:
                self.connection.send(answer)

    def close(self) -> None:
        """Give up the connection and the file."""
        self.connection.close()
        self.account.open -= 1
        if self.keeper is not None:
            written = self.keeper.written
            self.keeper.close()
            if not self.keeper.worth_keeping:
                self.account.files -= 1
                self.account.add(-written)

    def _greet(self, data: bytes) -> None:
        self._said += data
        if data and b"\n" not in self._said and len(self._said) <= _LONGEST_GREETING:
            return
        greeting = _GREETING.fullmatch(self._said)
        if not greeting:
            raise Refused("that is no greeting of a recorder")
        self.account.require_file(self._directory)
        self._open(greeting[1].decode())

    def _open(self, session: str) -> None:
        directory = f"{self._directory}/{self.account.name}"
        path = f"{directory}/{file_name(session)}"
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory, 0o750)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self.keeper = Keeper(os.open(path, flags, 0o640), path)
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from None
        self.account.files += 1
        self.answer(b"ok " + path.encode() + b"\n")


class Collector:
    """Serves all recordings of the host from one process."""

    def __init__(self, listener: socket.socket, directory: str = DIRECTORY, idle_s: float = _IDLE_S) -> None:
        self._listener = listener
        self._directory = directory
        self._idle_s = idle_s
        self._recordings: dict[int, Recording] = {}
        self._unknown: dict[int, list[Recording]] = {}
        self._poll = select.epoll()
        self._lookups = Lookups(directory, self._poll)
        self._syncing = Syncing()
        self._looked = 0.0
        self._turns = 0
        self._listening = False
        listener.setblocking(False)
        self._listen(wanted=True)
        self._poll.register(self._syncing.wake, select.EPOLLIN)

    def run(self) -> None:
        """Serve until nothing has been recorded for a while."""
        while True:
            events = self._poll.poll(self._patience())
            if not events and not self._recordings and not self._lookups.busy:
                return
            ready: dict[int, list[Recording]] = collections.defaultdict(list)
            for descriptor, _ in events:
                if descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor == self._syncing.wake:
                    self._note_synced()
                elif self._lookups.owns(descriptor):
                    self._admit(self._lookups.hear(descriptor))
                elif descriptor in self._recordings:
                    recording = self._recordings[descriptor]
                    ready[recording.account.uid].append(recording)
            # One turn for each uid, whatever it has to say and however often it has connected.
            for recordings in ready.values():
                self._serve(min(recordings, key=lambda recording: recording.served))
            if time.monotonic() - self._looked > _LOOK_S:
                self._look()

    def _patience(self) -> float:
        if self._lookups.busy or any(r.keeper is None for r in self._recordings.values()):
            return _LOOK_S
        return -1 if self._recordings else self._idle_s

    def _look(self) -> None:
        """Part with those who say nothing, and with a name service that answers nothing."""
        self._looked = now = time.monotonic()
        self._lookups.give_up()
        for recording in list(self._recordings.values()):
            silent = recording.keeper is None and not recording.account.asked
            if silent and now - recording.since > _GREETING_S:
                self._part(recording)

    def _listen(self, *, wanted: bool) -> None:
        if wanted != self._listening:
            self._listening = wanted
            if wanted:
                self._poll.register(self._listener.fileno(), select.EPOLLIN)
            else:
                self._poll.unregister(self._listener.fileno())

    def _accept(self) -> None:
        """Take in who waits; who has no business here, or too much of it, is told so at once."""
        for _ in range(_ACCEPTED):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError:
                self._listen(wanted=False)  # no descriptor is left: until somebody goes
                return
            account = self._lookups.account(_uid(connection))
            recording = Recording(connection, account, self._directory)
            self._recordings[connection.fileno()] = recording
            if account.open > account.most:
                recording.refuse(f"{account.most} recordings of this user are under way")
                self._part(recording)
                continue
            self._unknown.setdefault(account.uid, []).append(recording)
            if account.known:
                self._admit(account)
            else:
                self._lookups.ask(account)

    def _admit(self, account: Account) -> None:
        """Begin to listen to those of a uid that is known now, or turn them away."""
        for recording in self._unknown.pop(account.uid, ()):
            if recording.connection.fileno() < 0:
                continue  # it has not waited
            if account.refusal:
                recording.refuse(account.refusal)
                self._part(recording)
            else:
                self._poll.register(recording.connection.fileno(), select.EPOLLIN)

    def _serve(self, recording: Recording) -> None:
        self._turns += 1
        recording.served = self._turns
        try:
            if recording.read():
                return
            keeper = recording.keeper
            if keeper is not None and keeper.conclude():
                self._poll.unregister(recording.connection.fileno())
                self._syncing.submit(recording.account.uid, recording.connection.fileno(), keeper)
                return
            recording.answer(b"done 0 \n")
        except (Refused, OSError) as why:
            # One user's recording may not end, whatever became of another's.
            recording.refuse(str(why))
        self._part(recording)

    def _note_synced(self) -> None:
        for descriptor, answer in self._syncing.finished():
            recording = self._recordings[descriptor]
            recording.answer(answer)
            self._part(recording)

    def _part(self, recording: Recording) -> None:
        descriptor = recording.connection.fileno()
        if self._recordings.pop(descriptor, None):
            with contextlib.suppress(OSError):
                self._poll.unregister(descriptor)  # one that ends is not polled any more
            recording.close()
            self._listen(wanted=True)


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
