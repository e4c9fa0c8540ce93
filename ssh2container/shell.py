"""The login shell: the way of a session, on one screen."""

from __future__ import annotations

import posix as os

from ssh2container import __version__, paths
from ssh2container.errors import EXIT_OURS, Refusal, SessionError
from ssh2container.kernel import process, signals
from ssh2container.plan.account import Account
from ssh2container.plan.host import Host
from ssh2container.plan.make import make
from ssh2container.plan.request import USAGE, Request
from ssh2container.policy import store
from ssh2container.record import audit
from ssh2container.run.launch import launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn

    from ssh2container.plan.make import Plan
    from ssh2container.policy.policy import Policy
    from ssh2container.run.monitor import Monitor, Outcome


def session(
    arguments: Sequence[bytes],
    environment: Mapping[bytes, bytes],
    load: Callable[[str, Sequence[str]], Policy] | None = None,
    start: Callable[[Plan], Monitor] = launch,
) -> Outcome:
    """Run one session from the caller's request to the payload's end. Raises SessionError.

    load: finds the policy. start: carries out the plan. A login has the defaults; ``doctor``,
    ``verify`` and the tests, which have no client, give others.
    """
    with audit.Session(environment) as log:
        check_descriptors()
        request = Request.parse(arguments, environment)
        log.know(kind=request.kind, command=paths.fsdecode(request.command))
        account = Account.current(environment)
        log.know(user=account.name)
        if load is None:
            policy = store.load(account.name, account.groups, log=log.note)
        else:
            policy = load(account.name, account.groups)
        log.obey(policy.site)
        log.know(policy=policy.digest, image=policy.image)
        if policy.home is not None and (policy.home.source or "").startswith("%h/"):
            from ssh2container.run import first_home

            first_home.make(policy.home, account, log.id)
        host = Host.observe(policy, account, log.id, environment)
        plan = make(request, account, policy, host, environment)
        log.know(image_digest=host.image.digest, agent=host.agent_missing)
        companions = None
        if plan.accompanied:
            from ssh2container.run.companions import Companions

            companions = Companions(plan, log)
        if log.required:
            log.write("open")
        monitor = start(plan) if companions is None else companions.launch(start)
        if not log.required:
            log.write("open")
        outcome = monitor.wait(companions)
        log.close(
            reason=outcome.reason,
            exit_code=outcome.exit_code,
            signal=outcome.signal,
            traffic=outcome.traffic,
        )
        return outcome


def main(arguments: Sequence[bytes], *, launched: bool = False) -> NoReturn:
    """Be the login shell: whatever happens, end with a documented status and one line at most.

    arguments: what follows the program's name.
    launched: whether the static launcher started us, with an empty environment and the caller's as data.
    """
    signals.block()
    signals.reset()
    process.open_missing_standard_descriptors()
    if arguments in ([b"--version"], [b"--help"]):
        os.write(
            1, (f"ssh2container {__version__}\n" if arguments == [b"--version"] else USAGE + "\n").encode()
        )
        os._exit(0)
    try:
        environment = process.handed_environment() if launched else os.environ
        process.close_from(3)
        outcome = session(arguments, environment)
    except SessionError as error:
        complain(str(error), error.status)
    except OSError as error:
        complain(f"cannot go on: {error.strerror}; the system log has the details", EXIT_OURS)
    except BaseException:  # noqa: BLE001 - the log has the details; the client gets one line
        complain("an error inside ssh2container; the system log has the details", EXIT_OURS)
    outcome.leave()


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


def complain(line: str, status: int) -> NoReturn:
    """Say ``line`` on standard error and end with ``status``."""
    try:
        os.write(2, f"ssh2container: {line}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # nobody is left to read it
    os._exit(status)
