"""A session that calls a function of ours in place of a program; runs as the user, in a process of its own.

:mod:`ssh2container.admin.verify.sessions` starts this with an interpreter of its own: a session needs a
single thread and changes the process for good. All steps are those of a login; only what the payload
does in the end is ours, and it is imported before the container is made.
"""

from __future__ import annotations

import codecs
import functools
import json
import os
from typing import TYPE_CHECKING, Any, NoReturn

from ssh2container import shell
from ssh2container.admin.verify import calls, inside, scenarios
from ssh2container.admin.verify.corpus import PROBES
from ssh2container.admin.verify.surroundings import Surroundings
from ssh2container.errors import SessionError
from ssh2container.kernel import process, signals
from ssh2container.plan.account import Account
from ssh2container.policy import key_rules, keyed, store
from ssh2container.record import registry
from ssh2container.run.launch import launch

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssh2container.plan.make import Plan
    from ssh2container.policy.policy import Policy
    from ssh2container.record import audit
    from ssh2container.run.monitor import Monitor, Outcome

PROBING = "probes"
"""The scenario that runs the corpus; the others are in :mod:`scenarios`."""
_BY_SIGNAL = 128
"""Added to a signal's number by process 1 of a whole system, to tell of it by its own exit status."""
TIDYING = "tidy"
"""No session at all: what killed monitors left in the registry is removed, as the next login would."""

_CODECS = ("ascii", "utf-8", "idna")
"""Python imports a codec when it is first used: inside there is nothing to import from."""


def _same(plan: Plan) -> Plan:
    return plan


def main(
    scenario: str,
    helper: str,
    change: Callable[[Plan], Plan] = _same,
    *,
    key: tuple[Any, ...] | None = None,
) -> NoReturn:
    """Be the session of ``scenario`` and end as its payload ends; an error is a line of JSON on stdout.

    helper: path of the static program, "" for none. key: the fields of :class:`key_rules.Used`, or None.
    change: for the tests, which leave out one layer.
    """
    if scenario == TIDYING:
        _tidy()
    signals.block()
    signals.reset()
    baits = None
    try:
        process.close_from(3)
        account = Account.current(os.environb)
        policy = store.load(account.name, account.groups)
        if key is not None and (name := keyed.match(policy, [key_rules.Used.of(key)])):
            policy = keyed.of_key(policy, name)
        calls.resolve()
        for name in _CODECS:
            codecs.lookup(name)
        if scenario == PROBING:
            baits = Surroundings.gather(_read(helper))
            function: Callable[[], int] = functools.partial(inside.run, baits, PROBES)
        else:
            function = scenarios.BY_NAME[scenario]
            scenarios.own_network = policy.network_mode != "host" and not policy.networks
        outcome = _session(policy, function, baits, scenario, change)
        if policy.values["boot"] and (outcome.exit_code or 0) > _BY_SIGNAL:
            outcome.status = outcome.status // 256 - _BY_SIGNAL  # as _below_process_1 has told
    except SessionError as error:
        registry.own.leave()
        _remove(baits)  # the end below leaves out what follows
        os.write(1, (json.dumps({"error": str(error), "status": error.status}) + "\n").encode())
        os._exit(error.status)
    finally:
        _remove(baits)
    outcome.leave()


def _remove(baits: Surroundings | None) -> None:
    """Remove what was laid out on the host, where this is the process that did it."""
    if baits is not None and baits.pid == os.getpid():
        baits.remove()


def _tidy() -> NoReturn:
    directory = registry.runtime_directory()
    if directory is not None:
        with registry.Lock(directory):
            registry.count(directory, os.listdir(directory))
    os._exit(0)


def _session(
    policy: Policy,
    function: Callable[[], int],
    baits: Surroundings | None,
    scenario: str,
    change: Callable[[Plan], Plan],
) -> Outcome:
    def start(plan: Plan, log: audit.Session) -> Monitor:
        whole = plan.container.scope is not None and plan.container.scope.divided
        plan = change(plan).calling(functools.partial(_below_process_1, function) if whole else function)
        if baits is not None:
            baits.know(policy, plan)
        scenarios.before_launch(scenario)
        monitor = launch(plan, log)
        scenarios.after_launch(scenario)
        return monitor

    def load(_name: str, _groups: object) -> Policy:
        policy.access.terminal = "optional"  # it speaks through pipes
        if policy.values["boot"]:
            policy.container_per = "user"  # a whole system that needs none, either
        return policy

    return shell.session(request_for(policy), os.environb, load, start)


def _below_process_1(function: Callable[[], int]) -> int:
    """Be process 1 of a whole system, and call ``function`` in another: to itself everything is open."""
    child = os.fork()
    if child == 0:
        os._exit(function())
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else _BY_SIGNAL - code


def request_for(policy: Policy) -> list[bytes]:
    """Return the arguments of a login that ``policy`` allows; a refusal is left to the planner."""
    access = policy.access
    if access.interactive is not False:
        return []
    if access.sftp is not None:
        return [b"-c", b"internal-sftp"]
    if isinstance(access.commands, tuple) and access.commands:
        return [b"-c", os.fsencode(" ".join(access.commands[0].words))]
    return [b"-c", b"true"]


def _read(path: str) -> bytes:
    if not path:
        return b""
    with open(path, "rb") as file:
        return file.read()
