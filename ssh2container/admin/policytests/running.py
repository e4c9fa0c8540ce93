"""Running policy tests: one real session for each promise."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from ssh2container.admin.login import as_sshd
from ssh2container.admin.policy import diff, origins
from ssh2container.admin.policy.test_file import Promise
from ssh2container.admin.policytests import clients, copying, files, inside
from ssh2container.errors import EXIT_OURS, Refusal, SessionError, printable
from ssh2container.policy import key_rules, keyed, specifiers, store
from ssh2container.policy.cold import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


KEPT, BROKEN, ERROR = "kept", "broken", "error"
TIMEOUT_SECONDS = 120


class Result:
    """What came of a promise.

    verdict: KEPT, BROKEN, or ERROR when it could not be tried. reason: why not, or why it failed.
    seconds: how long it took.
    """

    __slots__ = ("promise", "reason", "seconds", "verdict")

    def __init__(self, promise: Promise, verdict: str, reason: str, seconds: float) -> None:
        self.promise = promise
        self.verdict = verdict
        self.reason = reason
        self.seconds = seconds

    def as_dict(self) -> dict[str, str | float | bool]:
        """Return the result for ``--json``."""
        promise = self.promise
        return {
            "place": promise.place,
            "user": promise.user,
            "key": promise.key,
            "allowed": promise.allowed,
            "action": promise.action,
            "argument": promise.argument,
            "result": self.verdict,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
        }


def run(promises: Iterable[Promise], policies: str = "") -> Iterator[Result]:
    """Try each promise; yields its result as soon as it is known.

    policies: a configuration directory or a user's file in the place of what is installed.
    """
    with copying.readable(policies) as copy:
        for result in _run_all(promises, copy):
            if copy:
                result.reason = result.reason.replace(copy, policies)
            yield result


def _run_all(promises: Iterable[Promise], policies: str) -> Iterator[Result]:
    sound: set[tuple[str, str]] = set()
    for promise in promises:
        started = time.monotonic()
        try:
            if (promise.user, promise.key) not in sound:
                # Without this, a user whose sessions all fail would keep every "cannot".
                nothing = Promise(
                    promise.user, inside.NOTHING, "", promise.place, allowed=True, key=promise.key
                )
                _attempt(nothing, policies)
                sound.add((promise.user, promise.key))
            worked, reason = _attempt(promise, policies)
        except SessionError as error:
            yield Result(promise, ERROR, str(error), time.monotonic() - started)
            continue
        verdict = KEPT if worked == promise.allowed else BROKEN
        yield Result(promise, verdict, reason, time.monotonic() - started)


def _attempt(promise: Promise, policies: str) -> tuple[bool, str]:
    """Try; return whether it worked and the reason if not. Raises SessionError when it cannot be tried."""
    try:
        entry = pwd.getpwnam(promise.user)
    except KeyError:
        raise Refusal(f"there is no user {promise.user}") from None
    directory = tempfile.mkdtemp(prefix="ssh2container-test-")
    try:
        os.chown(directory, entry.pw_uid, entry.pw_gid)
        if promise.action in inside.ACTIONS:
            arguments = [*_python("session"), promise.action, promise.argument, policies, promise.key]
            done = _run(arguments, "", directory, entry)
            if done.returncode not in (0, inside.FAILED):
                raise SessionError("there is no session to try it in", _reason(done))
            return _judge(done, [])
        return _client(promise, policies, directory, entry)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _client(promise: Promise, policies: str, directory: str, entry: pwd.struct_passwd) -> tuple[bool, str]:
    program = f"import sys; sys.path[:] = {sys.path!r}; from ssh2container.admin.cli.main import main; main()"
    control = [PYTHON, "-IB", "-c", program]
    bench = clients.Bench(directory, control, policies, promise.key)
    arguments, text = clients.ACTIONS[promise.action](bench, promise.argument)
    # Without it, what a user "cannot" do would be kept by a client that cannot do it.
    client = promise.action.partition(" ")[0] if " " in promise.action else arguments[0]
    if shutil.which(client) is None:
        what = f"cannot find the program {client}"
        raise SessionError(what, "policy tests use real clients", "install it")
    there = _host_path(promise, policies, entry)
    touched = bool(there) and promise.action in clients.MAKES | clients.NEEDS
    if touched:
        _files("make" if promise.action in clients.NEEDS else "absent", there, directory, entry)
    try:
        return _judge(_run(arguments, text, directory, entry), bench.ended())
    finally:
        if touched:
            _files("remove", there, directory, entry)


def _run(
    arguments: list[str], text: str, directory: str, entry: pwd.struct_passwd
) -> subprocess.CompletedProcess[str]:
    environment = {
        **as_sshd.environment(entry),
        "LC_ALL": "C.UTF-8",
        "GIT_SSH_COMMAND": f"{directory}/connect --",
        "GIT_SSH_VARIANT": "simple",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    is_root = os.getuid() == 0
    try:
        return subprocess.run(
            arguments, input=text, capture_output=True, text=True, errors="backslashreplace", check=False,
            cwd=directory, env=environment, timeout=TIMEOUT_SECONDS,
            user=entry.pw_uid if is_root else None, group=entry.pw_gid if is_root else None,
            extra_groups=os.getgrouplist(entry.pw_name, entry.pw_gid) if is_root else None,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SessionError("the session did not end", f"within {TIMEOUT_SECONDS} s") from None
    except OSError as error:
        raise SessionError(f"cannot run {arguments[0]} as {entry.pw_name}", error.strerror or "") from None


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    # A line of ours says more than what a client, or the shell around us, makes of it.
    ours = [line for line in lines if line.startswith("ssh2container: ")]
    return printable((ours[-1:] or lines[:1] or [f"status {done.returncode}"])[0])


def _judge(done: subprocess.CompletedProcess[str], sessions: list[int]) -> tuple[bool, str]:
    reason = _reason(done)
    if EXIT_OURS in (done.returncode, *sessions):
        raise SessionError("the container could not be made", reason)
    return done.returncode == 0, "" if done.returncode == 0 else reason


def _host_path(promise: Promise, policies: str, entry: pwd.struct_passwd) -> str:
    """Return where a path inside is on the host, "" when it is in memory. Raises Refusal."""
    groups = origins.groups_of(entry.pw_name)
    if policies:
        policy = diff.policy_under(entry.pw_name, groups, policies)
    else:
        policy = store.load(entry.pw_name, groups)
    if promise.key and (rule := keyed.match(policy, [key_rules.Used(promise.key)])):
        policy = keyed.of_key(policy, rule)
    values = {"u": entry.pw_name, "U": str(entry.pw_uid), "g": groups[0], "h": entry.pw_dir, "i": "0"}
    home = "/root" if policy.user == "root" else entry.pw_dir
    path = os.path.normpath(os.path.join(home, promise.argument))
    pairs = [(volume.target, volume.source) for volume in policy.volumes]
    if policy.home is not None and policy.home.source is not None:
        pairs.append((home, policy.home.source))
    places = [tuple(specifiers.expand(text, values) for text in pair) for pair in pairs]
    for target, source in sorted(places, key=lambda place: -len(place[0])):
        if path == target or path.startswith(target.rstrip("/") + "/"):
            return source + path[len(target.rstrip("/")) :]
    return ""


def _files(what: str, path: str, directory: str, entry: pwd.struct_passwd) -> None:
    """Prepare or tidy up a path of the user's, as the user: root would follow links that the user made."""
    done = _run([*_python("files"), what, path], "", directory, entry)
    if done.returncode == files.EXISTS:
        raise SessionError("the path exists already", "a policy test overwrites nothing", "name another one")
    if done.returncode:
        raise SessionError(f"cannot prepare {path}", printable(done.stderr.strip()[-200:]))


def _python(module: str) -> list[str]:
    """Return the start of a command that calls ``main`` of a module of this room."""
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; from ssh2container.admin.policytests.{module} import main"
    )
    return [PYTHON, "-IB", "-c", program + "; main(*sys.argv[1:])"]
