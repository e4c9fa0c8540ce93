"""Which image of a policy with several a session has; its terminal is asked where the policy says so.

Imported only where a policy has more than one of ``images``. What the client has chosen already, by its first
word or its variable, is looked at first (``plan.choice``): whoever has chosen is asked nothing.
"""

from __future__ import annotations

import posix as os
import select
import time

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.kernel import signals
from ssh2container.kernel.offering import offer
from ssh2container.plan import choice
from ssh2container.policy import images, rules
from ssh2container.record import registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from ssh2container.plan.request import Request
    from ssh2container.policy.policy import Policy

HOW = "menu"
"""Who has chosen, in the audit trail."""
MOST_ANSWERS = 3
"""So often the question is put before the login ends."""
PATIENCE_S = 120.0
"""How long all answers together may take: nobody keeps a login open that has not begun."""
_READING_S = 5.0
"""How long a terminal that takes no text is waited for."""
_LONGEST_ANSWER = 1000
"""Bytes; longer than the name of any image."""
_ENDING = (signals.SIGHUP, signals.SIGINT, signals.SIGQUIT, signals.SIGTERM)


def settle(
    request: Request, policy: Policy, given: MutableMapping[bytes, bytes]
) -> tuple[Request, Policy, str]:
    """Return the request without its word, the policy of the image that is meant, and who chose it.

    given: the environment that the caller handed to the login shell. What somebody at the terminal chose is
    in it afterwards, so that a whole system that starts again is not asked for it again.

    The rest, and the errors, are those of :func:`.choice.settle`; Refusal, too, where nobody answers, and
    before anybody is asked where the user has as many sessions as may be: one that waits is one of them.
    """
    request, policy, how = choice.settle(request, policy, given)
    if how or not policy.values[images.MENU] or not _is_due(request, policy):
        return request, policy, how
    registry.own.admit(policy)
    chosen = images.choosing(policy, ask(images.of(policy)))
    rules.require(chosen)
    given[choice.VARIABLE] = paths.fsencode(chosen.image)
    return request, chosen, HOW


def _is_due(request: Request, policy: Policy) -> bool:
    """Tell whether somebody at a terminal asks for what the policy may allow; a command is never asked."""
    access = policy.access
    allowed = access.login and access.interactive and access.command is None
    return bool(allowed) and request.kind == "login" and os.isatty(0) and os.isatty(2)


def ask(known: Sequence[str], patience_s: float = PATIENCE_S) -> str:
    """Return which of ``known`` was chosen at the terminal, which is standard input and error.

    Raises Refusal when it hangs up or ends, after too many wrong answers, after ``patience_s``, and when a
    signal such as that of ^C asks this session to end: signals are blocked here.
    """
    listed = "".join(f"{number:4}  {name}\n" for number, name in enumerate(known, 1))
    _say(f"The images of this account:\n{listed}")
    line = _Line(patience_s)
    try:
        for _ in range(MOST_ANSWERS):
            _say(f"Which one? A number or a name, or Enter for {known[0]}: ")
            answer = paths.fsdecode(line.read()).strip()
            try:
                return _meant(answer, known)
            except Refusal as error:
                _say(f"ssh2container: {error.why}\n")
        raise _nothing_chosen(f"none of {MOST_ANSWERS} answers named one")
    finally:
        line.close()


def _meant(answer: str, known: Sequence[str]) -> str:
    """Return the image that ``answer`` stands for, the first for an empty one. Raises Refusal."""
    if not answer:
        return known[0]
    by_number = {str(number): name for number, name in enumerate(known, 1)}
    if answer in by_number and answer not in known:
        return by_number[answer]
    return choice.find(answer, known)


class _Line:
    """Lines from the terminal, until all of them have taken too long."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._end = time.monotonic() + patience_s
        self._asked_to_end = signals.descriptor(_ENDING)
        self._waiting = select.poll()
        self._waiting.register(0, select.POLLIN)
        self._waiting.register(self._asked_to_end, select.POLLIN)

    def read(self) -> bytes:
        """Return the next line, without its end. Raises Refusal.

        Byte by byte: what was typed ahead after it is the session's, whatever modes the terminal has.
        """
        line = b""
        while True:
            left = max(0.0, self._end - time.monotonic())
            told = [number for number, _ in self._waiting.poll(left * 1000)]
            if self._asked_to_end in told:
                number = signals.read(self._asked_to_end)[0]
                raise _unanswered(f"signal {number} asked this session to end")
            if not told:
                raise _unanswered(f"nobody has answered for {self._patience_s:.0f} s")
            try:
                byte = os.read(0, 1)
            except OSError:
                byte = b""  # the terminal is gone
            if not byte:
                raise _unanswered("the terminal has no more input")
            if byte in b"\r\n":
                return line
            if len(line) < _LONGEST_ANSWER:
                line += byte

    def close(self) -> None:
        os.close(self._asked_to_end)


def _unanswered(why: str) -> Refusal:
    _say("\n")  # the question has no end of line, and what is said next begins one
    return _nothing_chosen(why)


def _nothing_chosen(why: str) -> Refusal:
    remedy = "log in again, or choose beforehand: ssh -t HOST image=NAME"
    return Refusal("no image was chosen", why, remedy, "image")


def _say(text: str) -> None:
    """Write to the terminal; standard output, which may lead elsewhere, has nothing of it."""
    offer(2, text.encode(), _READING_S)
