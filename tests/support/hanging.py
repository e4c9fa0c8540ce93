"""A file system whose server stops answering: a directory that this very process serves, over /dev/fuse.

What hangs is a request that the server has taken and does not answer, as one of NFS, sshfs or a share does
when the network is gone: for some of its callers not even SIGKILL ends the wait (fuse(4), linux/fuse.h).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.host import DEADLINE_SECONDS

LOOKUP, FORGET, GETATTR, STATFS, INIT, OPENDIR, READDIR, RELEASEDIR, ACCESS = 1, 2, 3, 17, 26, 27, 28, 29, 34
BATCH_FORGET, INTERRUPT, STATX = 42, 36, 52
UNANSWERED = (FORGET, BATCH_FORGET, INTERRUPT)
_HEAD = struct.Struct("=IIQQIIII")
_INIT = struct.Struct("=IIIIHHIIHHI28x")
_ATTRIBUTES = struct.Struct("=QQQQQQIIIIIIIIII")
_LARGEST = 1 << 17
_ROOT = 1


class Server:
    """Serves an empty directory of ``uid``'s at ``place`` until :meth:`hang`.

    after: how many requests it answers from then on. taken: how many hang. answered: how many do not.
    """

    def __init__(self, place: str, uid: int, gid: int) -> None:
        self.place = place
        self._uid, self._gid = uid, gid
        self.taken = self.answered = 0
        self._hangs = threading.Event()
        self._left = 0
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"hanging", place.encode(), b"fuse", 6, options.encode()):  # nosuid, nodev
            raise OSError(ctypes.get_errno(), "mount")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def hang(self, after: int = 0) -> None:
        """Answer ``after`` more requests, and none from then on."""
        self._left = after
        self._hangs.set()

    def end(self) -> None:
        """Cut the connection: whoever waits gets an error. A second time changes nothing."""
        if self._device < 0:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        libc.umount2(self.place.encode(), 3)  # MNT_FORCE | MNT_DETACH
        os.close(self._device)
        self._thread.join(DEADLINE_SECONDS)
        self._device = -1

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._device, _LARGEST)
            except OSError:
                return
            _, kind, unique, node, _, _, _, _ = _HEAD.unpack_from(request)
            if kind in UNANSWERED:
                continue
            if self._hangs.is_set() and kind != INIT:
                if self._left <= 0:
                    self.taken += 1
                    continue
                self._left -= 1
            self.answered += 1
            number, content = self._answer(kind, node, request[_HEAD.size :])
            try:
                os.write(self._device, struct.pack("=IiQ", 16 + len(content), -number, unique) + content)
            except OSError:
                continue  # whoever asked is gone

    def _answer(self, kind: int, node: int, body: bytes) -> tuple[int, bytes]:
        if kind == INIT:
            _, minor = struct.unpack_from("=II", body)
            return 0, _INIT.pack(7, min(minor, 31), 1 << 16, 0, 0, 0, 1 << 16, 1, 1, 0, 0)
        if kind == GETATTR and node == _ROOT:
            times = (0,) * 6
            mode = stat.S_IFDIR | 0o700
            attributes = _ATTRIBUTES.pack(1, 0, 0, *times[:6], mode, 2, self._uid, self._gid, 0, 4096, 0)
            return 0, struct.pack("=QII", 0, 0, 0) + attributes
        if kind == STATFS:
            return 0, struct.pack("=QQQQQIIII24x", 1, 1, 1, 1, 1, 4096, 255, 4096, 0)
        if kind == OPENDIR:
            return 0, struct.pack("=QII", 0, 0, 0)
        if kind in (READDIR, RELEASEDIR, ACCESS):
            return 0, b""
        return (errno.ENOENT if kind == LOOKUP else errno.ENOSYS), b""


@contextmanager
def served(place: str, uid: int, gid: int) -> Iterator[Server]:
    """Serve the directory ``place``, which exists; everything is as before afterwards."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse here")
    server = Server(place, uid, gid)
    try:
        yield server
    finally:
        server.end()
