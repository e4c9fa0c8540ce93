"""One request of a session for a command of the host: who asks, whether they may, and what becomes of it.

Nothing that is said counts but the name of the command and its arguments. The user is the one of the uid that
the kernel reports; policy, account and program are looked at anew for each request, as a login does.
"""

from __future__ import annotations

import contextlib
import pwd
import re
import shlex
import signal
import time

from ssh2container import paths
from ssh2container.admin.host_commands import frames, trust
from ssh2container.admin.host_commands.running import Running
from ssh2container.admin.sessions import hints, impersonate
from ssh2container.admin.sshd import SHELL
from ssh2container.errors import EXIT_OURS, Refusal, SessionError
from ssh2container.kernel import names
from ssh2container.plan import hours
from ssh2container.plan.account import Account
from ssh2container.plan.host import specifier_values
from ssh2container.plan.make import admit
from ssh2container.policy import host_commands, specifiers, store
from ssh2container.record import audit, registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from ssh2container.policy.host_commands import HostCommand
    from ssh2container.policy.policy import Policy

_REQUEST_S = 10.0
DECIDING_S = 30
"""How long what comes before the program may take: a directory may hang, and a pattern may never end."""
_LONGEST = 1000
"""Characters of a command in words: all of it is in its record."""
_DEEPEST = 256
_WHAT = "cannot run a command for this session"


def serve(connection: socket.socket, pid: int, uid: int) -> None:
    """Serve one connection, of a process ``pid`` of ``uid``; nothing that was started is left."""
    log = audit.Session({})
    log.know(session="", uid=str(uid))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(DECIDING_S)
    with contextlib.suppress(KeyError):
        log.know(user=pwd.getpwuid(uid).pw_name)
    try:
        came = frames.Frames()
        try:
            connection.settimeout(_REQUEST_S)
            asked, rest = _request(connection, came)
        except OSError:
            return  # whoever it was has gone, or never asked
        log.know(command=shlex.join(asked)[:_LONGEST])
        account, policy = _allowed(uid, log)
        log.know(**_session(pid, account))
        command, words = _decided(asked, account, policy)
        trust.require_program(command)
        who = _identity(trust.user_of(command, account) or account)
        log.know(path=command.path, run_as=who.name)
        log.write("host-command")
        signal.alarm(0)
        running = Running(connection, came, rest, command, words, who)
    except SessionError as error:
        _refuse(connection, log, error)
    except OSError as error:
        _refuse(connection, log, SessionError(_WHAT, error.strerror or "no reason given"))
    else:
        _run(running, connection, log)


def _refuse(connection: socket.socket, log: audit.Session, error: SessionError) -> None:
    with contextlib.suppress(SessionError):  # it is refused in any case, for the reason that it already has
        log.write("host-command-refused", warning=True, reason=error.reason())
    frames.send_all(connection, frames.said(str(error)) + frames.ended(error.status))


def _run(running: Running, connection: socket.socket, log: audit.Session) -> None:
    began = time.monotonic()
    status = running.run()
    why = running.why
    fields = {"exit": str(status)} if not why else {"reason": why}
    try:
        log.write("host-command-end", warning=bool(why), duration=f"{time.monotonic() - began:.3f}", **fields)
    except SessionError as error:  # the site requires its records
        why, status = str(error), EXIT_OURS
    line = frames.said(f"{running.command.name}: {why}") if why else b""
    frames.send_all(connection, running.unsent() + line + frames.ended(status))


def _request(connection: socket.socket, came: frames.Frames) -> tuple[list[str], list[tuple[bytes, bytes]]]:
    """Return the words that were asked for, and the frames behind them. Raises Refusal, OSError."""
    until = time.monotonic() + _REQUEST_S
    found: list[tuple[bytes, bytes]] = []
    while not found:
        piece = connection.recv(frames.LONGEST)
        if not piece or time.monotonic() > until:
            raise TimeoutError
        found = came.take(piece)
    (kind, content), *rest = found
    if kind != frames.REQUEST:
        raise Refusal(_WHAT, "it has asked for none")
    asked = frames.words(content)
    if len(shlex.join(asked)) > _LONGEST:
        raise Refusal(_WHAT, f"it is longer than the {_LONGEST} characters that are recorded")
    return asked, rest


def _allowed(uid: int, log: audit.Session) -> tuple[Account, Policy]:
    """Return whose ``uid`` it is, with their policy. Raises SessionError where they could not log in."""
    if uid == 0:
        raise Refusal(_WHAT, "root has no sessions")
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        names.require_unknown(names.USER, None, uid)
        raise Refusal(_WHAT, f"uid {uid} is no user") from None
    account = Account.named(entry.pw_name)
    if account.uid != uid:
        raise Refusal(_WHAT, f"{account.name} is another user")
    if entry.pw_shell != SHELL:
        raise Refusal(_WHAT, f"the sessions of {account.name} are not contained")
    policy = store.load(account.name, account.groups, log=log.note, certain=names.require_groups_known)
    log.obey(policy.site)
    admit(account, policy)
    if policy.access.times is not None:
        hours.observe(policy, policy.access.times)
    return account, policy


def _decided(asked: Sequence[str], account: Account, policy: Policy) -> tuple[HostCommand, list[str]]:
    """Return the command that was asked for and its argument vector. Raises Refusal."""
    name, *given = asked
    found = [one for one in host_commands.of(policy.values) if one.name == name]
    if not found:
        raise Refusal(f"cannot run {name} on the host", "the policy has no such command")
    (command,) = found
    if len(given) != len(command.accept):
        wanted = f"{len(command.accept)} argument{'' if len(command.accept) == 1 else 's'}"
        raise Refusal(f"cannot run {name} on the host", f"it takes {wanted}, and was given {len(given)}")
    for number, (word, pattern) in enumerate(zip(given, command.accept, strict=True), 1):
        if not accepts(pattern, word):
            raise Refusal(
                f"cannot run {name} on the host", f"its argument {number} is not accepted: {word!r}"
            )
    values = specifier_values(account, "")
    fixed = [specifiers.expand(word, {**values, "i": ""}) for word in command.args]
    return command, [paths.basename(command.path), *fixed, *given]


def accepts(pattern: str, word: str) -> bool:
    """Tell whether an argument is one that ``pattern`` means.

    An option is meant only by a pattern that says so: many programs do with one what no policy thinks of.
    """
    if word.startswith("-") and not pattern.startswith(("-", r"\-")):
        return False
    return re.fullmatch(pattern, word, re.ASCII) is not None


def _identity(account: Account) -> impersonate.Identity:
    return impersonate.Identity(account.uid, account.gid, account.gids, account.name)


def _session(pid: int, account: Account) -> dict[str, str]:
    """Return which session the process is in, as far as the registry says; the user's uid writes it."""
    try:
        found, _ = hints.read(_identity(account))
    except (SessionError, OSError):
        return {}
    held = {hint.claim: hint for hint in found}
    for _ in range(_DEEPEST):
        hint = held.get((pid, registry.started(pid)))
        if hint is not None:
            return {"container" if hint.is_container else "session": hint.id}
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            break
        if pid <= 1:
            break
    return {}
