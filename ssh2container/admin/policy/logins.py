"""What a user's logins would meet (:mod:`ssh2container.admin.login.verdict`), as problems of the policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin import account
from ssh2container.admin.login import verdict
from ssh2container.admin.policy.yaml.problems import ERROR, WARNING
from ssh2container.errors import SessionError
from ssh2container.plan.forwarding import KEY
from ssh2container.policy import devices, images, key_rules
from ssh2container.policy.policy import LIMITED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.login.verdict import Answer, Verdict
    from ssh2container.policy.policy import Policy

    Found = tuple[str, str, str, str]
    """The key to blame ("" for the account), what was found, a hint, the severity."""

_KEYS = {
    "identity-map": "userns_mode",
    "home": "home.source",
    "record": "record.to",
    "registry": "container_per",
    "sessions": "sessions.max",
    "network": "network_mode",
    "networks": "networks",
    "account": "",
    "system": "boot",
    "host-key": KEY,
    "tools": KEY,
    KEY: KEY,
}
"""The step of a login that failed -> the key behind it."""
_ENABLE = "ssh2containerctl enable"


def of_user(name: str, policy: Policy, *, installed: bool) -> Iterator[Found]:
    """Yield why logins of the user ``name`` would not start, or not run what the policy lists.

    installed: whether ``policy`` is the one that a login loads. Nothing where we may not become the user.
    """
    if not verdict.can_ask(name):
        return
    found = verdict.of_user(name, None if installed else policy)
    yield from _problems(found, policy, enrolled=_is_enrolled(name))


def _problems(found: Verdict, policy: Policy, *, enrolled: bool) -> Iterator[Found]:
    failed = found.failed
    if failed is not None and failed.error is not None:
        error = failed.error
        what = f"{failed} is refused" if failed.words or failed.image else "logins are refused"
        # What `enable` is about to make cannot be there before it, nor a key that `compile` makes.
        is_made = error.step == "host-key" or (not enrolled and _ENABLE in error.remedy)
        severity = WARNING if is_made else ERROR
        yield _blamed(failed, policy), f"{what} to {found.name}: {error.reason()}", error.remedy, severity
        return
    for answer in found.missing:
        if answer.error is not None:
            text = f"the command {answer} does not run for {found.name}: {answer.error.reason()}"
            yield _blamed(answer, policy), text, answer.error.remedy, WARNING


def _is_enrolled(name: str) -> bool:
    try:
        return account.find(name).enrolled
    except SessionError:
        return False


def _blamed(answer: Answer, policy: Policy) -> str:
    """Return what of ``policy`` is behind an answer's error: a rule, if the login had a key's policy."""
    return f"{key_rules.KEY}.{answer.rule}" if answer.rule else _key(answer, policy)


def _key(answer: Answer, policy: Policy) -> str:
    """Return the key of ``policy`` that is behind an answer's error."""
    error = answer.error
    step = "" if error is None else error.step
    if error is not None and step in ("volume", "open-volume", "attach-volume", "answering"):
        if policy.home is not None and "home" in error.what:
            return "home.source"
        return next(
            (f"volumes.{one.target}" for one in policy.volumes if one.source in error.what), "volumes"
        )
    if step in ("device", "open-device", "attach-device") and error is not None:
        named = devices.of(policy.values)
        return next((one.key for one in named if one.source in error.what), "devices")
    if step == "execute":
        return (
            "access.sftp" if answer.words == verdict.SFTP else "access.commands" if answer.words else "shell"
        )
    if step == "limits":
        return next((key for key in LIMITED if policy.values[key] is not None), "blkio_config")
    what = "" if error is None else error.what
    parts = {
        "image": [images.key(images.choosing(policy, answer.image or policy.image))],
        "hook": [hook.key for hook in policy.hooks if f" {hook.path}" in what],
        "network": [port.key for port in policy.ports if what == f"cannot publish {port}"],
    }
    return (parts.get(step) or [_KEYS.get(step, "")])[0]
