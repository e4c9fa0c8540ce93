"""One session that tries one action from inside; runs as the user, in a process of its own.

A session needs a single thread and changes its process for good, so the tester starts this with an
interpreter of its own. All steps are those of a login; only what runs in place of the program is ours.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container import shell
from ssh2container.admin.policy import diff
from ssh2container.admin.policytests import inside
from ssh2container.errors import SessionError
from ssh2container.kernel import process, signals
from ssh2container.policy import key_rules, keyed, store
from ssh2container.run.launch import launch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from ssh2container.plan.make import Plan
    from ssh2container.policy.policy import Policy
    from ssh2container.record import audit
    from ssh2container.run.monitor import Monitor


def main(action: str, argument: str, policies: str, key: str = "") -> NoReturn:
    """Try ``action`` inside a session of the user who calls, and end with 0 when it worked.

    policies: a directory or file in the place of the installed policies, "" for those.
    key: the fingerprint of the key that the user logs in with, "" for none.
    """
    signals.block()
    signals.reset()

    def load(name: str, groups: Sequence[str]) -> Policy:
        found = diff.policy_under(name, groups, policies) if policies else store.load(name, groups)
        rule = keyed.match(found, [key_rules.Used(key)]) if key else ""
        found = keyed.of_key(found, rule) if rule else found
        # What the user's clients may start does not matter for what code inside can reach.
        found.access.login = found.access.interactive = True
        found.access.terminal = "optional"
        found.access.times = found.access.command = None
        return found

    def start(plan: Plan, log: audit.Session) -> Monitor:
        return launch(plan.calling(lambda: _try(action, argument)), log)

    try:
        process.close_from(3)
        outcome = shell.session([], os.environb, load, start)
    except SessionError as error:
        shell.complain(str(error), error.status)
    outcome.leave()


def _try(action: str, argument: str) -> int:
    try:
        inside.ACTIONS[action](argument)
    except OSError as error:
        os.write(2, f"{error.strerror or error}\n".encode("utf-8", "backslashreplace"))
        return inside.FAILED
    return 0
