"""The login shell: the way of a session, on one screen."""

from __future__ import annotations

import posix as os

from ssh2container import __version__, paths
from ssh2container.errors import EXIT_OURS, EXIT_REFUSED, Refusal, SessionError
from ssh2container.kernel import names, process, signals
from ssh2container.plan import sources
from ssh2container.plan.account import Account
from ssh2container.plan.host import Host, specifier_values
from ssh2container.plan.make import make, registration
from ssh2container.plan.request import USAGE, Request
from ssh2container.policy import store
from ssh2container.record import audit, registry
from ssh2container.run.launch import launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence
    from typing import NoReturn

    from ssh2container.plan.make import Plan
    from ssh2container.policy.policy import Policy
    from ssh2container.run.monitor import Monitor, Outcome

_PATIENCE_S = 10.0
"""How long a client that does not read is waited for before its session's last line is given up."""


def session(
    arguments: Sequence[bytes],
    environment: MutableMapping[bytes, bytes],
    load: Callable[[str, Sequence[str]], Policy] | None = None,
    start: Callable[[Plan, audit.Session], Monitor] = launch,
) -> Outcome:
    """Run one session from the caller's request to the payload's end. Raises SessionError.

    load: finds the policy. start: carries out the plan. A login has the defaults; ``doctor``,
    ``verify`` and the tests, which have no client, give others.
    """
    with audit.Session(environment) as log:
        check_descriptors()
        request = Request.parse(arguments, environment)
        log.know(kind=request.kind, command=paths.fsdecode(request.command))
        if request.job:
            from ssh2container.plan import jobs

            log.know(job=jobs.number_of(request))
        registry.own.take(log.id, registration(request, environment))
        account = Account.current(environment)
        log.know(user=account.name)
        if b"SSH_CONNECTION" in environment:
            from ssh2container.plan import entrance

            request = entrance.examine(arguments, environment, request, account)
            log.know(kind=request.kind, command=paths.fsdecode(request.command))
        policy = _load(account, log) if load is None else load(account.name, account.groups)
        log.obey(policy.site)
        if policy.values["keys"]:
            from ssh2container.run import by_key

            policy = by_key.choose(policy, environment, log)
        log.know(policy=policy.digest)
        if request.job:
            request = jobs.of_policy(request, account, policy)
            log.know(command=paths.fsdecode(request.command))
        if len(policy.values["images"]) > 1:
            from ssh2container.run import image_menu

            request, policy, how = image_menu.settle(request, policy, environment)
            log.know(kind=request.kind, command=paths.fsdecode(request.command), image_choice=how)
        log.know(image=policy.image)
        registry.own.admit(policy)
        if request.kind == "info" and policy.access.command is None:
            from ssh2container.run import info

            return _closed(log, info.tell(request, policy, account, log))
        policy = policy.expanded(specifier_values(account, log.id))
        if policy.home is not None and policy.home.is_below_users:
            from ssh2container.run import first_home

            first_home.make(policy.home, account, log.id)
        host = Host.observe(policy, account, log.id, environment)
        plan = make(request, account, policy, host, environment)
        log.know(image_digest=host.image.digest, agent=host.agent_missing)
        return _closed(log, start(plan, log).wait())


def _closed(log: audit.Session, outcome: Outcome) -> Outcome:
    how = outcome.reason, outcome.exit_code, outcome.signal
    log.close(*how, outcome.traffic, outcome.usage, outcome.ran_at)
    return outcome


def _load(account: Account, log: audit.Session) -> Policy:
    sources.that_answer((store.STANDARD.configuration, store.STANDARD.compiled))
    return store.load(account.name, account.groups, log=log.note, certain=names.require_groups_known)


def main(arguments: Sequence[bytes], *, launched: bool = False) -> NoReturn:
    """Be the login shell: whatever happens, end with a documented status and one line at most.

    arguments: what follows the program's name.
    launched: whether the static launcher started us, with an empty environment and the caller's as data.
    """
    signals.block()
    signals.reset()
    if not launched:
        try:
            process.keep_from_core_handlers()
        except OSError:
            pass  # a hard limit of 0, which the plan judges
    process.open_missing_standard_descriptors()
    if arguments in ([b"--version"], [b"--help"]):
        os.write(
            1, (f"ssh2container {__version__}\n" if arguments == [b"--version"] else USAGE + "\n").encode()
        )
        os._exit(0)
    environment: MutableMapping[bytes, bytes] = {}
    try:
        environment = process.handed_environment() if launched else os.environ
        process.close_from(3)
        outcome = session(arguments, environment)
    except SessionError as error:
        line, status = str(error), error.status
    except OSError as error:
        line, status = f"cannot go on: {error.strerror}; the system log has the details", EXIT_OURS
    except BaseException:  # noqa: BLE001 - the log has the details; the client gets one line
        line, status = "an error inside ssh2container; the system log has the details", EXIT_OURS
    else:
        if outcome.reason == "reboot":
            _start_again(arguments, environment)
        outcome.leave()
    complain(line, status, sftp=Request.is_sftp(arguments, environment))


def _start_again(arguments: Sequence[bytes], environment: Mapping[bytes, bytes]) -> NoReturn:
    """Begin the session of a whole system anew, which has rebooted (``boot``)."""
    from ssh2container.run import whole

    registry.own.leave()
    whole.start_again(arguments, environment)


def check_descriptors() -> None:
    """Refuse standard descriptors that would open a way to the host.

    Through a directory, ``openat(0, "../etc/shadow")`` works from inside any container.
    """
    for descriptor in (0, 1, 2):
        kind = process.kind_of_descriptor(descriptor)
        if kind not in ("tty", "pipe", "socket", "file", "null"):
            raise Refusal(
                f"cannot run with {kind} as descriptor {descriptor}",
                "it would be a way out of the container",
                "redirect it from a file, a pipe or a terminal",
                "descriptors",
            )


def complain(line: str, status: int, *, sftp: bool = False) -> NoReturn:
    """Say ``line`` on standard error and end with ``status``.

    sftp: the client speaks SFTP and sees nothing of standard error: answer it in its protocol, too.

    Whoever is to read it has some seconds: the session stays registered meanwhile, and a signal ends it.
    """
    from ssh2container.kernel.offering import offer

    rest = offer(2, f"ssh2container: {line}\n".encode("utf-8", "backslashreplace"))
    if rest or sftp:
        signals.unblock()
    if rest:
        offer(2, rest, _PATIENCE_S)
    if sftp:
        from ssh2container.run import refused_sftp

        code = refused_sftp.PERMISSION_DENIED if status == EXIT_REFUSED else refused_sftp.FAILURE
        refused_sftp.answer(f"ssh2container: {line}", code, _PATIENCE_S)
    registry.own.leave()
    os._exit(status)
