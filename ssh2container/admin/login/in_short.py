"""What a user can do, in a few lines: for ``show --summary``, and the program behind ``ssh2container-info``.

The program is started by a login (:mod:`ssh2container.run.info`) as the user who asks. It writes the text,
and after a zero byte what keeps the user's logins from starting; then its exit status is theirs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ssh2container.admin.login import summary, verdict
from ssh2container.errors import Refusal, SessionError, printable
from ssh2container.kernel import process, signals

if TYPE_CHECKING:
    from typing import Any, NoReturn

    from ssh2container.admin.login.verdict import Answer


def of(user: str, rule: str = "", image: str = "") -> tuple[Answer, dict[str, Any]]:
    """Return the first kind of login that the policy allows and its plan, with the summary.

    rule: that of ``keys`` whose policy the login has, "" for the user's own. image: the one that was chosen,
    "" for the first. Raises SessionError where there is no plan.
    """
    found = verdict.of_user(user, explain=True)
    answers = [one for one in found.answers if one.rule == rule and image in ("", one.image)]
    if not answers:
        raise Refusal(f"{user} cannot log in", "access.login is false, or access allows nothing")
    answer = next((one for one in answers if one.explained is not None), answers[0])
    if answer.explained is None:
        raise answer.error or SessionError(f"there is no plan of {user}'s logins")
    return answer, answer.explained


def main() -> NoReturn:
    """Be the program: the words are the user, the rule and the image of :func:`of`."""
    process.die_with_parent(signals.SIGKILL)
    try:
        answer, explained = of(*sys.argv[1:])
    except SessionError as error:
        sys.stdout.write(f"\0{error}")
        sys.exit(error.status)
    for beginning, words in summary.text(explained["summary"]):
        sys.stdout.write(f"{beginning} {printable(words)}\n")
    if answer.error is not None:
        sys.stdout.write(f"\0{answer.error}")
    sys.exit(answer.status)
