"""Policies for keys: what the rules of ``keys`` make of the user's policy. Pure.

A policy that has ``keys`` keeps its layers, and the policy of a key is made of them once more: the rule's
profiles come after the user's own file and before ``enforced.yaml``. Imported only where there are ``keys``.
"""

from __future__ import annotations

from ssh2container.errors import Refusal, printable

from . import images, rules
from .key_rules import KEY, Rule, in_reach, of
from .merge import merge
from .policy import Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .key_rules import Used

_ONCE = ("authorized_keys", "home.size", "home.inodes", "network_pool")
_NOT_MORE = ("allow_agent_forwarding", "allow_forwarding", "host_commands", "networks")
"""What sshd and the host are prepared for once for each user: a key may do without, and not have more."""


def match(policy: Policy, used: Iterable[Used]) -> str:
    """Return the name of the rule about the keys that were used, "" where there is none.

    Raises Refusal when several are: nobody could tell which of them is meant.
    """
    keys = list(used)
    found = [rule.name for rule in of(policy.values) if any(rule.names(key) for key in keys)]
    if len(found) > 1:
        places = ", ".join(f"{printable(name)} ({policy.origin(f'{KEY}.{name}')})" for name in found)
        raise Refusal(
            "cannot determine the policy of this key",
            f"several rules of keys are about it: {places}",
            "an administrator lets one of them name it",
            KEY,
        )
    return found[0] if found else ""


def of_key(policy: Policy, name: str) -> Policy:
    """Return what the rule ``name`` makes of ``policy``. Raises Refusal for one that is not valid."""
    made = unchecked(policy, name)
    rules.require(made)
    for rule in beyond(policy, made):
        raise rules.refusal(made, rule)
    return made


def unchecked(policy: Policy, name: str) -> Policy:
    """Return what the rule ``name`` makes of ``policy``, valid or not; it has no ``keys`` itself."""
    below, above = policy.chain or ((), ())
    rule = Rule(name, *policy.values[KEY][name])
    values, origins = merge([*below, *rule.layers, *above])
    values[KEY] = {}
    made = Policy(values, {key: place for key, place in origins.items() if not _is_ours(key)})
    made.site, made.rule = policy.site, name
    return made


def every(policy: Policy) -> Iterator[Policy]:
    """Yield ``policy``, and what each of its rules makes of it, valid or not."""
    yield policy
    for name in policy.values[KEY]:
        yield unchecked(policy, name)


def _is_ours(key: str) -> bool:
    return key == KEY or key.startswith(KEY + ".")


def beyond(policy: Policy, made: Policy) -> Iterator[rules.Broken]:
    """Yield what the policy ``made`` of a key changes that the host is prepared for once for each user."""
    same = "the same as without the key"
    for key, value in made.values.items():
        fixed = key in _ONCE or key.startswith("user_limits")
        if key.startswith("home.") and made.home is None:
            continue
        if value != policy.values[key] and (fixed or (key in _NOT_MORE and value)):
            less = ", or none of it" if key in _NOT_MORE else ""
            yield rules.Broken(key, f"the policy of a key cannot change {key}", same + less)
    if made.home is not None and (policy.home is None or policy.home.source != made.home.source):
        yield rules.Broken(
            "home.source", "the policy of a key cannot have another home", f"ephemeral, or {same}; or volumes"
        )
    if _ranged(made) and not (_ranged(policy) and policy.userns_mode == made.userns_mode):
        key = next(
            name
            for name in ("userns_mode", "user", "images", "image")
            if made.values[name] != policy.values[name]
        )
        yield rules.Broken(key, "the policy of a key cannot have other ids", f"single, or {same}")
    for key, message, allowed in in_reach(made):
        yield rules.Broken(key, message, allowed)


def _ranged(policy: Policy) -> bool:
    return any(one.ranged for one in images.choices(policy))
