"""Waiting for the disk without holding up anybody: fsync(2) of ended recordings, in threads.

Each uid has one at a time: users with large recordings, or hundreds that end, wait only for themselves.
"""

from __future__ import annotations

import collections
import os
import queue
import threading

from ssh2container.record.keeper import Keeper, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_ONCE = 16


class Syncing:
    """Recordings on their way to the disk. wake: readable when :meth:`finished` has something."""

    def __init__(self) -> None:
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._waiting: dict[int, collections.deque[tuple[int, Keeper]]] = {}
        self._busy: set[int] = set()
        self._done: queue.SimpleQueue[tuple[int, int, bytes]] = queue.SimpleQueue()

    def submit(self, uid: int, token: int, keeper: Keeper) -> None:
        """Put what ``keeper`` has written on the disk. token: names it in :meth:`finished`."""
        self._waiting.setdefault(uid, collections.deque()).append((token, keeper))
        self._start()

    def finished(self) -> Iterator[tuple[int, bytes]]:
        """Yield the token of each that is done, and what to answer its session."""
        os.eventfd_read(self.wake)
        while not self._done.empty():
            uid, token, answer = self._done.get()
            self._busy.discard(uid)
            yield token, answer
        self._start()

    def _start(self) -> None:
        for uid in [uid for uid in self._waiting if uid not in self._busy]:
            if len(self._busy) >= _AT_ONCE:
                return
            waiting = self._waiting.pop(uid)
            token, keeper = waiting.popleft()
            if waiting:
                self._waiting[uid] = waiting  # behind those of others
            self._busy.add(uid)
            threading.Thread(target=self._sync, args=(uid, token, keeper), daemon=True).start()

    def _sync(self, uid: int, token: int, keeper: Keeper) -> None:
        try:
            answer = keeper.synced()
        except (Refused, OSError) as why:
            answer = b"error " + str(why).encode() + b"\n"
        self._done.put((uid, token, answer))
        os.eventfd_write(self.wake, 1)
