"""Lines for whoever has started tests/run, kept where their file's disk is full until it has room again."""

from __future__ import annotations

import errno
import os
import sys

_FOR_NOW = {errno.ENOSPC, errno.EDQUOT, errno.EAGAIN}


class Saying:
    """Writes to stdout; what cannot be written now comes before what is written next, or at :meth:`flush`."""

    def __init__(self) -> None:
        self._unsaid = b""

    def __call__(self, line: str) -> None:
        self._unsaid += line.encode(errors="backslashreplace") + b"\n"
        self.flush()

    def flush(self) -> None:
        """Write as much as can be written. No error of it ends a run whose tests have an outcome."""
        try:
            descriptor = sys.stdout.fileno()
        except OSError:  # a test has it
            sys.stdout.write(self._unsaid.decode())
            self._unsaid = b""
        while self._unsaid:
            try:
                self._unsaid = self._unsaid[os.write(descriptor, self._unsaid) :]
            except OSError as error:
                if error.errno not in _FOR_NOW:
                    self._unsaid = b""  # nobody reads any more
                return


say = Saying()
