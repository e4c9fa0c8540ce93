"""A complete container, made by an unprivileged user the way a login makes it: the host's own answer."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pwd
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import OK, PROBLEM, Finding
from ssh2container.admin.doctor.kernel import remedy
from ssh2container.admin.login import as_sshd, verdict
from ssh2container.admin.policy.compile import compiler
from ssh2container.errors import SessionError
from ssh2container.policy.cold import PYTHON
from ssh2container.policy.merge import merge
from ssh2container.policy.policy import Policy
from ssh2container.record import registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

USER = "nobody"
_DEADLINE_SECONDS = 30
_PROGRAM = """
import sys
sys.path[:0] = [{place!r}]
from ssh2container.admin.doctor import trial
trial.inside({argument!r})
"""
_TRUE = "true"


@check.of_host("a trial container", place=10)
def examine() -> Iterator[Finding]:
    """Yield whether a container can be made here; if not: step, errno and remedy."""
    check, what = "trial", "a complete container was made, entered and left"
    result = attempt()
    if result is None:
        yield Finding(PROBLEM, check, "", f"the trial container did not end within {_DEADLINE_SECONDS} s")
    elif result.get("status") == 0:
        yield Finding(OK, check, "", what)
    elif "what" in result:
        number = int(result["number"])
        name = errno.errorcode.get(number, "")
        yield Finding(
            PROBLEM,
            check,
            "",
            f"no container can be made here: step {result['step'] or 'unnamed'}: {result['what']}: "
            f"{result['why']}" + (f" ({name})" if name else ""),
            remedy(result["step"], number) or result["remedy"],
            result,
        )
    else:
        yield Finding(
            PROBLEM,
            check,
            "",
            f"the trial container ended with {result['status']}, expected 0: {result['said']}".rstrip(": "),
            "the system log (identifier ssh2container) has the details",
            result,
        )


def attempt(user: str = USER) -> dict[str, Any] | None:
    """Make one container as ``user``; return what came of it, None when it did not end in time.

    A process of its own does it: a session needs a single thread and is allowed to change all of its process.
    """
    entry = pwd.getpwnam(user)
    place = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    reader, writer = os.pipe()
    program = _PROGRAM.format(place=place, argument=writer)
    child = subprocess.Popen(
        [PYTHON, "-IB", "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(writer,),
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
        cwd="/",
        env=as_sshd.environment(entry),
        start_new_session=True,
    )
    os.close(writer)
    with open(reader, encoding="utf-8") as report:
        try:
            said, _ = child.communicate(timeout=_DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            return None
        text = report.read()
    result: dict[str, Any] = json.loads(text) if text else {}
    result.setdefault("status", child.returncode)
    result["said"] = said.decode(errors="backslashreplace").strip()
    return result


def inside(descriptor: int) -> None:
    """Be the login shell for the trial's policy; write an error to ``descriptor`` as JSON and end."""
    from ssh2container import shell
    from ssh2container.kernel import signals

    report = os.fdopen(descriptor, "w", encoding="utf-8")
    signals.block()
    signals.reset()
    try:
        outcome = shell.session([b"-c", _TRUE.encode()], dict(os.environb), load=_policy)
    except SessionError as error:
        registry.own.leave()
        json.dump(verdict.describe(error), report)
        report.close()
        os._exit(error.status)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the trial's result
        registry.own.leave()
        sys.stdout.write(f"{type(error).__name__}: {error}\n")
        sys.stdout.flush()
        os._exit(1)
    outcome.leave()


def _policy(_name: str, _groups: Sequence[str]) -> Policy:
    """Return the built-in defaults on the host's own /usr, whatever the site's policies say."""
    return Policy(*merge([compiler.BUILT_IN, ("trial", (), {"image": "host"}, {})]))
