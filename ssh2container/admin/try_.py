"""A login without ssh: the way of a session, started the way sshd starts it."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from ssh2container import shell
from ssh2container.admin import reachable
from ssh2container.admin.login import as_sshd
from ssh2container.admin.terminal import aside
from ssh2container.errors import EXIT_OURS, Refusal, SessionError
from ssh2container.kernel import names, process, signals
from ssh2container.plan.choice import VARIABLE
from ssh2container.policy import keyed, store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from ssh2container.policy.key_rules import Used
    from ssh2container.policy.policy import Policy

_KEPT = ("TERM", "LANG", "LC_ALL", "COLORTERM", "TZ")


def run(
    user: str | None,
    policy: str | None,
    words: Sequence[str],
    *,
    image: str = "",
    timing: bool = False,
    key: Used | None = None,
) -> NoReturn:
    """Become ``user`` and run a session of theirs, with the policy file ``policy`` if there is one.

    image: what the session chooses of the policy's images, "" for nothing.
    key: with which they log in, None for none.
    The process ends as the session does. What a session of another user shows reaches root's terminal
    through a filter, and the terminal itself stays out of its reach. Raises SessionError when it cannot
    become the user or the policy is not valid.
    """
    entry = _entry(user)
    load = store.load if policy is None else _from_file(entry, policy)
    if key is not None:
        load = _with(key, load)
    if os.getuid() == 0 and aside.is_needed():
        _end_as(aside.run(lambda: _run(entry, load, words, image, timing=timing)))
    _run(entry, load, words, image, timing=timing)


def _end_as(status: int) -> NoReturn:
    """End as a process with this raw wait status did."""
    if os.WIFSIGNALED(status):
        process.die_by_signal(os.WTERMSIG(status))
        os._exit(128 + os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def _run(
    entry: pwd.struct_passwd,
    load: Callable[[str, Sequence[str]], Policy],
    words: Sequence[str],
    image: str,
    *,
    timing: bool,
) -> NoReturn:
    try:
        become(entry)
    except SessionError as error:
        shell.complain(str(error), error.status)
    os.environ.update(_environment(entry))
    for name in set(os.environ) - {*_KEPT, *_environment(entry)}:
        del os.environ[name]
    if image:
        os.environb[VARIABLE] = os.fsencode(image)
    arguments = [b"-c", os.fsencode(" ".join(words))] if words else []
    signals.block()
    signals.reset()
    process.open_missing_standard_descriptors()
    try:
        process.close_from(3)
        if timing:
            from ssh2container.admin.login import timing as stages

            outcome = stages.session(arguments, os.environb, load)
        else:
            outcome = shell.session(arguments, os.environb, load)
    except SessionError as error:
        shell.complain(str(error), error.status)
    except BaseException as error:  # noqa: BLE001 - the administrator is the one who reads this
        shell.complain(f"an error inside ssh2container: {error!r}", EXIT_OURS)
    else:
        outcome.leave()


def become(entry: pwd.struct_passwd) -> None:
    """Turn this process into one of the user, as login(1) does: groups, gid, uid, home.

    Does nothing for the user who calls. Raises Refusal without the right to, and SessionError for a home
    that does not answer: sshd enters it before any session starts.
    """
    if os.getuid() != entry.pw_uid:
        if os.getuid() != 0:
            raise Refusal(f"cannot become {entry.pw_name}", "only root can", "run it with sudo")
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
        # The kernel took it away with the change of uid; a login shell starts with it.
        process.set_dumpable(dumpable=True)
    reachable.require_home(entry.pw_name, entry.pw_dir)
    try:
        os.chdir(entry.pw_dir)
    except OSError:
        os.chdir("/")


def _entry(user: str | None) -> pwd.struct_passwd:
    try:
        entry = pwd.getpwnam(user) if user else pwd.getpwuid(os.getuid())
    except KeyError:
        names.require_unknown(names.USER, user, os.getuid())
        raise Refusal(f"there is no user {user or os.getuid()}") from None
    if entry.pw_uid == 0:
        raise Refusal("cannot try a session of root", "", "name a user: --user NAME")
    return entry


def _from_file(entry: pwd.struct_passwd, path: str) -> Callable[[str, Sequence[str]], Policy]:
    """Read the policy now, with the caller's rights: the user may not be able to."""
    from ssh2container.admin.policy import diff, origins

    policy = diff.policy_under(entry.pw_name, origins.groups_of(entry.pw_name), path)
    return lambda _name, _groups: policy


def _with(key: Used, load: Callable[[str, Sequence[str]], Policy]) -> Callable[[str, Sequence[str]], Policy]:
    def loaded(name: str, groups: Sequence[str]) -> Policy:
        policy = load(name, groups)
        rule = keyed.match(policy, [key])
        return keyed.of_key(policy, rule) if rule else policy

    return loaded


def _environment(entry: pwd.struct_passwd) -> dict[str, str]:
    """Return what sshd sets for every session, and what it takes over from this one."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**as_sshd.environment(entry, entry.pw_shell or "/bin/sh"), **kept}
