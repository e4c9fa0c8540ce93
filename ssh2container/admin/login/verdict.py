# Longer than 300 lines: one question, put to one process, and the forms of its one answer.
"""Would this user's login start, and what it asks for run? The one answer that all verbs give.

All who say something about a user's logins ask here, so that none of them says that all is well where one is
refused. :mod:`.rehearsal` finds the answer as the user, in a process of its own that has nothing of root's:
it loads the policy as a login does, observes the host, makes the plan, makes the container by it, and ends
where the program would be executed. Nothing is left of that, and no program of the user's runs.
"""

from __future__ import annotations

import json
import marshal
import os
import pwd
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from ssh2container.admin import reachable
from ssh2container.admin.account import group_name
from ssh2container.admin.login import as_sshd, limits
from ssh2container.errors import EXIT_NOT_FOUND, EXIT_REFUSED, NotFound, Refusal, SessionError, printable
from ssh2container.kernel import answering, names, namespaces
from ssh2container.policy.cold import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from ssh2container.admin.login.limits import Limit
    from ssh2container.policy.key_rules import Used
    from ssh2container.policy.policy import Policy

DEADLINE_S = 30.0
"""How long a user's rehearsal may take: a home whose file server hangs must not hang the verb."""
_GRACE_S = 2.0
_KINDS = {EXIT_REFUSED: Refusal, EXIT_NOT_FOUND: NotFound}
_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; from ssh2container.admin.login.rehearsal import main; main({}, {})"
)


class Answer:
    """What a login gives that asks for ``words`` (none: a shell).

    rule: the rule of ``keys`` whose policy the login has, "" for the user's own.
    error: what it says in place of running that, None where it runs; its status is the login's.
    optional: whether the policy offers others beside it, as a list of commands does.
    explained: the plan in words, see :meth:`.explain.Explanation.as_json`; None where there is none.
    image: the one that was asked for, "" for the policy's first.
    """

    __slots__ = ("error", "explained", "image", "optional", "rule", "words")

    def __init__(
        self,
        words: tuple[str, ...],
        error: SessionError | None,
        explained: dict[str, Any] | None = None,
        *,
        optional: bool = False,
        image: str = "",
        rule: str = "",
    ) -> None:
        self.rule = rule
        self.words = words
        self.image = image
        self.error = error
        self.explained = explained
        self.optional = optional

    @property
    def status(self) -> int:
        """The login's exit status, as far as it is ours: 0, 125, 126 or 127."""
        return 0 if self.error is None else self.error.status

    def __str__(self) -> str:
        """Return the request as people say it."""
        shown = "sftp" if self.words == SFTP else " ".join(self.words)
        if not self.words:
            shown = "a login" if self.rule else "a shell"
        shown = f"{shown} in the image {self.image}" if self.image else shown
        return f"{shown} with {printable(self.rule)}" if self.rule else shown


SFTP = ("internal-sftp",)
"""The words of a request for sftp, as sshd has them."""


class Verdict:
    """What a user's logins come to.

    closed: whether the policy suspends the account, so that every login is refused as it is meant, but
    those with a key whose policy opens it.
    answers: one for each kind of request that the policy allows.
    """

    __slots__ = ("answers", "closed", "name")

    def __init__(self, name: str, answers: Sequence[Answer], *, closed: bool = False) -> None:
        self.name = name
        self.answers = list(answers)
        self.closed = closed

    @property
    def failed(self) -> Answer | None:
        """The request that the policy allows and no login gets; None where all is well.

        Of a list of commands some may be missing (:attr:`missing`), but not all. So it is of each key.
        """
        for rule in dict.fromkeys(answer.rule for answer in self.answers):
            answers = [answer for answer in self.answers if answer.rule == rule]
            wrong = [answer for answer in answers if answer.error is not None]
            if wrong and not (all(answer.optional for answer in wrong) and len(wrong) < len(answers)):
                return next((answer for answer in wrong if not answer.optional), wrong[0])
        return None

    @property
    def missing(self) -> list[Answer]:
        """The requests that the policy lists and that would not run, where others would."""
        return [] if self.failed else [answer for answer in self.answers if answer.error is not None]

    def require(self) -> None:
        """Raise the SessionError of a login, if there is one that the policy does not mean."""
        failed = self.failed
        if failed is not None and failed.error is not None:
            raise failed.error


def of_login(
    name: str,
    words: Sequence[str] = (),
    *,
    terminal: bool | None = None,
    at: float = 0.0,
    image: str = "",
    key: Used | None = None,
) -> Answer:
    """Return what a login of the user ``name`` gives that asks for ``words``, with its plan.

    image: the one that it chooses, "" for none.

    terminal: whether to assume one; by default a shell has it and a command has not.
    at: when, in seconds since the epoch; 0 for now. key: with which it logs in, None for none.
    Raises SessionError when we may not become the user.
    """
    given = " ".join(words)
    question: dict[str, Any] = {"words": [given], "image": image, "terminal": terminal, "at": at}
    question["explain"] = True
    if key is not None:
        question["key"] = key.fields()
    found = _ask(name, question, None)
    return _answer(found["answers"][0]) if "answers" in found else Answer((*words,), _error(found))


def of_user(name: str, policy: Policy | None = None, *, explain: bool = False) -> Verdict:
    """Return what all logins give that the policy of the user ``name``, or that of a key, allows.

    policy: what would be the user's, in place of the one that a login loads. explain: with their plans.
    It is about a moment at which the account is open. Raises SessionError when we may not become the user.
    """
    found = _ask(name, {"words": None, "terminal": None, "explain": explain, "at": None}, policy)
    if "answers" not in found:
        return Verdict(name, [Answer((), _error(found))])
    return Verdict(name, [_answer(answer) for answer in found["answers"]], closed=found["closed"])


def can_ask(name: str) -> bool:
    """Tell whether there is an answer: we may become the user ``name``, and the product is installed."""
    if not os.path.exists(namespaces.PROGRAM):
        return False
    try:
        return os.geteuid() in (0, pwd.getpwnam(name).pw_uid)
    except KeyError:
        return False


def _answer(found: dict[str, Any]) -> Answer:
    error = _error(found) if found["status"] else None
    asked, rule = tuple(found["words"]), found["rule"]
    explained, optional, image = found.get("explained"), found["optional"], found["image"]
    return Answer(asked, error, explained, optional=optional, image=image, rule=rule)


def _error(found: dict[str, Any]) -> SessionError:
    kind = _KINDS.get(found["status"], SessionError)
    return kind(found["what"], found["why"], found["remedy"], found["step"], found["number"])


def _ask(name: str, question: dict[str, Any], policy: Policy | None) -> dict[str, Any]:
    """Have the rehearsal of a user answer ``question``; see :func:`.rehearsal.main`."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        names.require_unknown(names.USER, name)
        raise Refusal(f"there is no user {name}", "", "", "account") from None
    if entry.pw_uid == 0:
        raise Refusal(
            f"there is nothing to try for {entry.pw_name}",
            "the user is not contained and cannot be, as the login shell refuses uid 0",
            "",
            "account",
        )
    if os.geteuid() not in (0, entry.pw_uid):
        raise Refusal(f"cannot become {name}", "only root can", "run it as root", "account")
    question["silent"] = sorted(answering.silent)
    asked: Any = (question, None if policy is None else _written(policy))
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    found = limits.of_login(entry, [group_name(gid) for gid in groups])
    answer = _rehearse(entry, groups, asked, found.values())
    if found:
        limits.blame(answer, found, lambda some: _rehearse(entry, groups, asked, some))
    _require_managers(entry, answer.get("answers", ()))
    return answer


def _require_managers(entry: pwd.struct_passwd, answers: Iterable[dict[str, Any]]) -> None:
    """Refuse what a login would refuse for want of somebody who limits its session."""
    from ssh2container.admin.login import managers

    known: dict[tuple[str, ...], tuple[str, str]] = {}
    for one in answers:
        if one["status"] or one.get("limits") is None:
            continue
        wanted = tuple(map(str, one["limits"]))
        if wanted not in known:
            known[wanted] = managers.why_not(entry, wanted)
        why, remedy = known[wanted]
        if why:
            what, step = "cannot limit sessions as the policy says", "limits"
            if one["boots"]:
                what, step = "cannot start a whole system (boot)", "system"
                remedy = remedy.removesuffix(managers.OR_BEST)
            one.update(describe(Refusal(what, why, remedy, step)))


def _rehearse(
    entry: pwd.struct_passwd,
    groups: Sequence[int],
    asked: Any,  # noqa: ANN401
    under: Iterable[Limit],
) -> dict[str, Any]:
    """Start the rehearsal of a user under limits of their login, and return what it says."""
    file = os.memfd_create("question", os.MFD_CLOEXEC)
    os.write(file, marshal.dumps(asked))
    os.lseek(file, 0, os.SEEK_SET)
    reader, writer = os.pipe()
    as_root = os.geteuid() == 0
    program = _PROGRAM.format(file, writer, path=sys.path)
    child = subprocess.Popen(
        [*limits.wrapped(under), PYTHON, "-ISB", "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(file, writer),
        user=entry.pw_uid if as_root else None,
        group=entry.pw_gid if as_root else None,
        extra_groups=groups if as_root else None,
        cwd="/",
        env=as_sshd.environment(entry),
        start_new_session=True,
        umask=0o022,
    )
    os.close(writer)
    os.close(file)
    found = _listen(child, reader, entry.pw_name)
    for place in found.get("silent", ()):
        # Nobody waits again for what hangs root, too. The child was the user's: it is not believed.
        reachable.answers(str(place))
    return found


def _written(policy: Policy) -> tuple[Any, ...]:
    """Return what :func:`.rehearsal.main` makes the policy from again."""
    site = policy.site
    settings = site and (site.admit, site.group_order, site.unlisted, site.audit, site.audit_format)
    return policy.values, policy.origins, settings, policy.chain and tuple(map(tuple, policy.chain))


def _listen(child: subprocess.Popen[bytes], reader: int, name: str) -> dict[str, Any]:
    """Return the last line of what the child reports; the lines before say where it has got to."""
    import select

    deadline = time.monotonic() + DEADLINE_S
    said = b""
    while (left := deadline - time.monotonic()) > 0 and select.select([reader], [], [], left)[0]:
        piece = os.read(reader, 1 << 16)
        if not piece:
            break
        said += piece
    os.close(reader)
    lines = said.decode("utf-8", "replace").splitlines()
    hung = time.monotonic() >= deadline
    if hung:
        _kill(child)
    else:
        child.wait()
    if lines and lines[-1].startswith("{"):
        found: dict[str, Any] = json.loads(lines[-1])
        return found
    at = lines[-1] if lines else "starting"
    why = f"after {DEADLINE_S:.0f} s it was still {at}" if hung else f"it ended with {child.returncode}, {at}"
    error = SessionError(
        f"the login of {name} does not get through", why, "try it: ssh2containerctl try", "rehearsal"
    )
    return describe(error)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the child; one that waits for a dead file server ends when that answers, not before."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(_GRACE_S)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass


def describe(error: SessionError) -> dict[str, Any]:
    """Return an error as plain values."""
    return {
        "status": error.status,
        "what": error.what,
        "why": error.why,
        "remedy": error.remedy,
        "step": error.step,
        "number": error.number,
    }
