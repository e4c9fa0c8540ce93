"""The policy that ``enable`` writes for a user who has none."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ssh2container.admin.policy import diff, keeping
from ssh2container.admin.policy.compile import compiler, loader
from ssh2container.admin.policy.yaml.files import Source
from ssh2container.admin.policy.yaml.problems import PolicyError, did_you_mean, quoted
from ssh2container.errors import Refusal
from ssh2container.policy import store

if TYPE_CHECKING:
    from ssh2container.admin.account import Account
    from ssh2container.policy.policy import Policy

_POLICY = """\
# The policy of {name}. What applies to this user, and where it comes from: ssh2containerctl show {name}
extends: [{profile}]
"""
_HOME = f"""\
# What is uploaded stays there; without it, everything is discarded at logout.
{keeping.HOME}
"""


def text(account: Account, profile: str) -> str:
    """Return a new policy that extends ``profile``; with a home where uploads would be lost without one.

    Raises :class:`Refusal` when there is no such profile, or it needs a place that only people can name.
    """
    places = store.STANDARD
    known = [*compiler.names_in(f"{places.configuration}/profiles"), *compiler.names_in(places.shipped)]
    if profile not in known:
        listed = f"there are: {', '.join(dict.fromkeys(known))}"
        raise Refusal(f"there is no profile {quoted(profile)}", did_you_mean(profile, known), listed, "enrol")
    written = _POLICY.format(name=account.name, profile=profile)
    lost = keeping.loss(policy_from(written, account))
    if lost is None:
        return written
    with_home = written + _HOME
    if keeping.loss(policy_from(with_home, account)) is None and keeping.HOME in lost[1]:
        return with_home
    raise Refusal(
        f"cannot make a policy for {account.name} of the profile {profile} alone",
        lost[0],
        f"{lost[1]}: write it with ssh2containerctl edit {shlex.quote(account.name)}, then enable",
        "enrol",
    )


def policy_from(text: str, account: Account) -> Policy:
    """Return the policy that ``text`` would be as the user's own file. Raises Refusal for one not valid."""
    source = Source(store.STANDARD.source(f"users/{account.name}"), text, (0, 0, 0, 0, 0))
    layers, problems = compiler.profile_layers(source, loader.load(source), store.STANDARD)
    if problems:
        raise PolicyError(problems)
    above = compiler.part("enforced", store.STANDARD).layers
    return store.merged([*diff.below(account.groups, store.STANDARD), *layers], above)
