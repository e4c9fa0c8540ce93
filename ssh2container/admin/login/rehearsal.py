# Longer than 300 lines: the steps of one login, one after the other.
"""A login up to the last step before its program: runs as the user, for :mod:`.verdict`.

Every step is that of a login, by the same code; ``init`` makes the container and tells whether the
program could be executed. What a login leaves on purpose is left out: records in the log, an entry in
the registry, a home that the first login makes.
"""

from __future__ import annotations

import errno
import json
import marshal
import os
import shlex
import socket
from typing import TYPE_CHECKING

from ssh2container.admin import reachable
from ssh2container.admin.login import executable, sparing
from ssh2container.errors import EXIT_OURS, NotFound, Refusal, SessionError
from ssh2container.kernel import answering, names, process, signals
from ssh2container.plan import choice, forwarding
from ssh2container.plan.account import Account
from ssh2container.plan.host import Host, specifier_values
from ssh2container.plan.make import make
from ssh2container.plan.program import Program
from ssh2container.plan.request import FORWARDED, Request
from ssh2container.plan.sources import Source
from ssh2container.policy import commands, images, key_rules, keyed, store
from ssh2container.policy.policy import Policy
from ssh2container.record import audit, destination, logs, registry
from ssh2container.run import first_home, launch, order

if TYPE_CHECKING:
    from typing import Any, NoReturn

    from ssh2container.plan.make import Container, Payload, Plan

SESSION = "explained"
"""Stands for the id that a real session would have."""
_GIVEN = {b"TERM": b"xterm-256color"}
_BUILTINS = (
    " ! . : [ [[ ]] { } alias bg bind break builtin caller case cd command compgen complete compopt continue"
    " coproc declare dirs disown do done echo elif else enable esac eval exec exit export false fc fg fi for"
    " function getopts hash help history if in jobs kill let local logout mapfile popd printf pushd pwd read"
    " readarray readonly return select set shift shopt source suspend test then time times trap true type"
    " typeset ulimit umask unalias unset until wait while "
)
"""What shells (bash, dash, busybox) do themselves or read as syntax."""
_BINFMT = "/proc/sys/fs/binfmt_misc"


class _Log:
    """Stands for the audit trail where a step wants to tell it something."""

    def write(self, event: str, *, warning: bool = False, **fields: str) -> None:
        """Write nothing."""

    def note(self, text: str) -> None:
        """Write nothing."""


def main(question: int, report: int) -> NoReturn:
    """Answer the question in the file ``question``; the last line that goes to ``report`` is the answer.

    The lines before say how far we have got, as "VERBing OBJECT".
    """
    status = EXIT_OURS
    try:
        process.die_with_parent(signals.SIGKILL)
        signals.block()
        signals.reset()
        with open(question, "rb") as file:
            asked, made_of = marshal.load(file)  # our own parent wrote it
        answering.silent.update(asked["silent"])
        process.close_all_but((report,))
        try:
            found = _Rehearsal(report, asked, made_of).answers()
        except SessionError as error:
            found = _describe(error) | {"silent": sorted(answering.silent)}
        os.write(report, json.dumps(found).encode() + b"\n")
        status = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, it keeps logins from starting
        bug = SessionError("an error inside ssh2container", repr(error), "", "rehearsal")
        os.write(report, json.dumps(_describe(bug)).encode() + b"\n")
    finally:
        os._exit(status)


def _describe(error: SessionError) -> dict[str, Any]:
    from ssh2container.admin.login import verdict

    return verdict.describe(error)


class _Rehearsal:
    def __init__(self, report: int, asked: dict[str, Any], made_of: Any) -> None:  # noqa: ANN401
        self.report, self.asked = report, asked
        self._tell("looking the user up")
        self.account = Account.current(os.environb)
        self._tell(f"looking at {self.account.home}")
        reachable.require_home(self.account.name, self.account.home)
        self._tell("loading the policy")
        self.loaded = _load(self.account, made_of)
        if "key" in asked:
            name = keyed.match(self.loaded, [key_rules.Used.of(asked["key"])])
            self.loaded = keyed.of_key(self.loaded, name) if name else self.loaded
        self._take(self.loaded)

    def _take(self, policy: Policy) -> None:
        """Go on with ``policy``, at the time that was asked for."""
        self.written = self.policy = policy
        self.times = self.policy.access.times
        self.policy.access.times = self.times and self.times.as_of(self.asked["at"])

    def _tell(self, where: str) -> None:
        os.write(self.report, where.encode("utf-8", "backslashreplace").replace(b"\n", b" ") + b"\n")

    def answers(self) -> dict[str, Any]:
        closed = not self.written.access.login
        if self.asked["words"] is None:
            found = self._allowed()
            for name in self.loaded.values[key_rules.KEY]:
                try:
                    self._take(keyed.of_key(self.loaded, name))
                    found += self._allowed()
                except SessionError as error:
                    of_all = {"words": [], "image": "", "optional": False, "rule": name}
                    found.append(of_all | _describe(error))
        else:
            image = self.asked["image"] if self.asked["image"] != self.written.image else ""
            found = [self._answer(line, image, optional=False) for line in self.asked["words"]]
        return {"closed": closed, "answers": found, "silent": sorted(answering.silent)}

    def _allowed(self) -> list[dict[str, Any]]:
        """Return the answers to all that the policy allows, in each of its images."""
        wanted = requests(self.written) if self.written.access.login else []
        return [
            self._answer(line, image if image != self.written.image else "", optional=optional)
            for image in images.of(self.written)
            for line, optional in wanted
        ]

    def _answer(self, line: str, image: str, *, optional: bool) -> dict[str, Any]:
        limits = self.written.limits if self.written.limits_required else None
        found: dict[str, Any] = {
            "words": line.split(),
            "image": image,
            "optional": optional,
            "status": 0,
            "rule": self.written.rule,
            "limits": None if limits is None else [name for name, _ in limits.properties()],
            "boots": bool(self.written.values["boot"]),
        }
        try:
            request = Request.parse([b"-c", os.fsencode(line)] if line else [], {})
            written = self.written
            if image or len(images.of(written)) > 1:
                request, written, _ = choice.settle(request, written, {choice.VARIABLE: os.fsencode(image)})
            if registry.runtime_directory() is None:
                registry.own.admit(self.policy)
            self.policy = written.expanded(specifier_values(self.account, SESSION))
            home = self._home_to_be()
            host = self._observe(without_home=home is not None)
            wanted = self.asked["terminal"]
            host.terminal = host.interactive = not line if wanted is None else wanted
            host.home = home or host.home
            plan = make(request, self.account, self.policy, host, _GIVEN)
            if self.asked["explain"]:
                from ssh2container.admin.login import explain, summary

                found["explained"] = explain.of_plan(request, self.account, written, host, plan).as_json()
                found["explained"]["summary"] = summary.of(
                    self.policy, plan, self.times, images.of(self.written)
                )
            if home is not None:
                plan = self._in_memory(request, host)
            self._tell(f"making the container for {line or 'a shell'}")
            self._require_companions(plan)
            executable.require(plan.container.hooks, handlers=_has_handlers())
            _rehearse(plan)
            self._look_up(request, plan)
        except SessionError as error:
            found |= _describe(error)
        return found

    def _home_to_be(self) -> Source | None:
        """Return the home that a login would make first (``run.first_home``), None where it makes none."""
        home = self.policy.home
        if home is None or not home.is_below_users:
            return None
        place = home.source or ""
        if os.path.lexists(place):
            return None
        _require_room(place)
        return Source(place, (0, 0), directory=True, gid=self.account.gid)

    def _observe(self, *, without_home: bool) -> Host:
        self._tell("looking at what the policy names")
        home = self.policy.home
        self.policy.home = None if without_home else home
        try:
            return Host.observe(self.policy, self.account, SESSION)
        finally:
            self.policy.home = home

    def _in_memory(self, request: Request, host: Host) -> Plan:
        """Return the plan with a home in memory, in place of one that is not there yet."""
        home, self.policy.home, host.home = self.policy.home, None, None
        try:
            return make(request, self.account, self.policy, host, _GIVEN)
        finally:
            self.policy.home = home

    def _require_companions(self, plan: Plan) -> None:
        """Raise what a login raises for want of the log or of a keeper of its recording."""
        site = self.policy.site
        if site is not None and site.audit == "required":
            failure = _log_fails()
            if failure:
                raise audit.unwritten(failure)
        if plan.watch.recording is not None and plan.watch.recording.on_failure == "end_session":
            log: Any = _Log()
            destination.start(plan.watch.recording, plan.watch.session, log).finish("")

    def _look_up(self, request: Request, plan: Plan) -> None:
        """Raise NotFound where the shell would not find the one program that a plain command names."""
        if request.kind != "command" or plan.payload.program.attempts[0][1][1:] != (b"-c", request.command):
            return
        try:
            words = commands.split(request.command)
        except Refusal:
            return  # more than words: the shell alone knows what it means
        name = os.fsdecode(words[0]) if words else ""
        if not name or words[0].pattern is not None or "=" in name or f" {name} " in _BUILTINS:
            return
        directories = plan.payload.environment[b"PATH"].decode().split(":")
        places = [name] if "/" in name else [f"{directory}/{name}" for directory in directories if directory]
        looked = plan.without()
        looked.payload.program = Program(
            [(place, (words[0],)) for place in places], environment=plan.payload.program.environment
        )
        _rehearse(looked)


def requests(policy: Policy) -> list[tuple[str, bool]]:
    """Return (command line, whether it is one of several) of every kind of request that ``policy`` allows."""
    access = policy.access
    found: list[tuple[str, bool]] = []
    if access.command is not None:
        return [("", False)]
    if access.interactive is not False:
        found.append(("", False))
    elif access.commands == "any":
        found.append(("true", False))
    if access.sftp is not None:
        found.append(("internal-sftp", False))
    if isinstance(access.commands, tuple):
        several = len(access.commands) > 1 or bool(found)
        found += [(shlex.join(entry.words), several) for entry in access.commands]
    if policy.values[forwarding.KEY]:
        found += [(word.decode(), True) for word, kind in FORWARDED.items() if kind == "sshd"]
    return found


def _load(account: Account, made_of: Any) -> Policy:  # noqa: ANN401
    if made_of is None:
        certain = names.require_groups_known
        return store.load(account.name, account.groups, log=lambda _: None, certain=certain)
    values, origins, site, policy_chain = made_of
    policy = Policy(values, origins)
    policy.chain = policy_chain
    policy.site = None if site is None else store.Site(*site)
    return policy


def _log_fails() -> str:
    """Return why no record could be delivered, "" where somebody takes them."""
    failure = ""
    for path in (logs.JOURNAL, logs.SYSLOG):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            try:
                sender.connect(path)
            except OSError as error:
                failure = f"{path}: {error.strerror}"
            else:
                return ""
    return failure


def _require_room(place: str) -> None:
    """Raise what a login says that cannot make its home (``run.first_home``)."""
    above = os.path.dirname(place)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    try:
        os.stat(above)
        if not os.path.isdir(above):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise first_home.failure(place, error) from None


def _rehearse(plan: Plan) -> None:
    """Make the container of ``plan`` and have its program looked at. Raises what the login would."""
    for wanted in plan.container.scope.rehearsed(plan) if plan.container.scope else [plan.without()]:
        if wanted.container.hooks is not None:
            wanted.container.hooks.take_out(wanted, looked_up=True)
        wanted.watch.terminal, wanted.container.scope = False, None
        sparing.spare(wanted.container)
        _make(wanted)


def _make(wanted: Plan) -> None:
    def write(container: Container, payload: Payload, like: bytes, file: int) -> None:
        order.write(container, payload, like, file, rehearsed=True)

    # No operation outside: this process makes another container after it.
    try:
        launch.watch(wanted, launch.start(wanted.container, wanted.payload, None, (), write=write)).wait()
    except (NotFound, Refusal) as error:
        if error.number != errno.ENOEXEC or not _has_handlers():
            raise


def _has_handlers() -> bool:
    """Tell whether the host runs other formats than its own (binfmt_misc): then only a start can tell."""
    try:
        return bool(set(os.listdir(_BINFMT)) - {"register", "status"})
    except OSError:
        return False
