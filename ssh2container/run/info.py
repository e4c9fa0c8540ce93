"""What ``ssh HOST ssh2container-info`` answers: what this user can do, in a few lines, without a container.

To say it takes all that a login never holds, the verbs' code (``admin.login.in_short``). So another program
does, as for what is not compiled (``policy.cold``): root's code under the user's uid, with an empty
environment and no descriptor of the client's.

Imported for this request alone.
"""

from __future__ import annotations

import posix as os
import select
import time

from ssh2container import paths
from ssh2container.errors import EXIT_NOT_FOUND, EXIT_REFUSED, NotFound, Refusal, SessionError
from ssh2container.kernel import signals
from ssh2container.kernel.offering import offer
from ssh2container.plan import make
from ssh2container.plan.request import INFO
from ssh2container.policy import images
from ssh2container.policy.cold import PYTHON

from .monitor import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.plan.account import Account
    from ssh2container.plan.request import Request
    from ssh2container.policy.policy import Policy
    from ssh2container.record import audit

PATIENCE_S = 60.0
"""How long the text may take: it rehearses the user's logins, each of which has half a minute."""
_READING_S = 10.0
"""How long a client that does not read is waited for."""
_LIMIT_BYTES = 1 << 20
"""The most that the text may hold; it has about one kB."""
_PROGRAM = (
    f"import sys; sys.path.insert(0, {paths.parent(paths.parent(paths.parent(__file__)))!r}); "
    "from ssh2container.admin.login.in_short import main; main()"
)
_ENDING = (signals.SIGHUP, signals.SIGINT, signals.SIGQUIT, signals.SIGTERM)
_KINDS = {EXIT_REFUSED: Refusal, EXIT_NOT_FOUND: NotFound}
_WHAT = f"cannot say what {{}} can do ({INFO.decode()})"


def tell(request: Request, policy: Policy, account: Account, log: audit.Session) -> Outcome:
    """Write to standard output what ``account`` can do by ``policy``, that of the login.

    Raises Refusal for whom any login would refuse, and SessionError where the text cannot be made.
    """
    if request.command.split() != [INFO]:
        raise Refusal(
            f"cannot run {INFO.decode()} with words", "", f"usage: ssh HOST {INFO.decode()}", "request"
        )
    make.admit(account, policy)
    if policy.access.times is not None:
        from ssh2container.plan import hours

        hours.observe(policy, policy.access.times)
    log.write("open")
    first = images.of(policy)[0]
    status, answer = _ask(account.name, policy.rule, "" if policy.image == first else policy.image)
    text, _, error = answer.partition(b"\0")
    offer(1, text, _READING_S)
    if status or not text:
        kind = _KINDS.get(status, SessionError)
        raise kind(paths.fsdecode(error) or _WHAT.format(account.name), step="info")
    return Outcome(0, "exit")


def _ask(*words: str) -> tuple[int, bytes]:
    """Return the status of the program, started with ``words``, and what it says. Raises SessionError."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    asked_to_end = signals.descriptor(_ENDING)
    pid = os.posix_spawn(
        PYTHON,
        (PYTHON, "-ISB", "-c", _PROGRAM, *words),
        {},
        file_actions=(
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
        ),
        setsid=True,
        setsigmask=(),
    )
    os.close(writer)
    try:
        said = _read(reader, asked_to_end, words[0])
    except SessionError:
        os.kill(pid, signals.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(reader)
        os.close(asked_to_end)
    return os.waitstatus_to_exitcode(status), said


def _read(reader: int, asked_to_end: int, user: str) -> bytes:
    said = b""
    end = time.monotonic() + PATIENCE_S
    waiting = select.poll()
    waiting.register(reader, select.POLLIN)
    waiting.register(asked_to_end, select.POLLIN)
    while len(said) < _LIMIT_BYTES:
        told = [number for number, _ in waiting.poll(max(0.0, end - time.monotonic()) * 1000)]
        if asked_to_end in told:
            number = signals.read(asked_to_end)[0]
            raise SessionError(_WHAT.format(user), f"signal {number} asked this session to end", step="info")
        if not told:
            raise SessionError(_WHAT.format(user), f"it has taken more than {PATIENCE_S:.0f} s", step="info")
        piece = os.read(reader, 4096)
        if not piece:
            break
        said += piece
    return said
