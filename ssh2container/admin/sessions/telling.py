"""Telling whoever sits at a session why root ends it (``run.words``)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ssh2container.admin.sessions import calling, ending
from ssh2container.run import monitor, words

if TYPE_CHECKING:
    from ssh2container.admin.sessions.live import Live

_ANSWER_S = 2.0


def tell(live: Live, text: str) -> bool:
    """Have the session's monitor show ``text`` and wait until it has; tell whether it has.

    Raises SessionError where nobody but root may ask.
    """
    with calling.listening(live, words.PLACE) as listener:
        ending.signal_monitor(live, (monitor.WORD,))
        try:
            connection = calling.answer(listener, live, _ANSWER_S, "kill")
        except calling.Strangers:
            return False
        with connection:
            connection.settimeout(_ANSWER_S)
            with contextlib.suppress(OSError):
                connection.sendall(text.encode())
                return not connection.recv(1)
    return False
