"""The hooks of a session: whether they can be trusted, and what of a plan runs them.

Their words, order and meaning are those of the OCI runtime specification ("Lifecycle", "POSIX-platform
Hooks"). Imported only for a policy that has some.
"""

from __future__ import annotations

import _stat as stat
import errno
import posix as os

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.kernel.script import PROTOCOL
from ssh2container.policy.hooks import CREATE, PREFIX, START, STOP, before_s
from ssh2container.policy.rules import is_below

from .operations.hooks import AwaitHooks, RunHook
from .sources import that_answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ssh2container.policy.hooks import Hook
    from ssh2container.policy.policy import Policy

    from .account import Account
    from .make import Plan
    from .operations import Operation

STEP = RunHook.step
EXITED, LATE, NOT_RUN, LEFT = (PROTOCOL[f"HOOK_{name}"] for name in ("EXITED", "LATE", "NOT_RUN", "LEFT"))
"""How a hook ended (``native/init/messages.h``)."""
_OTHERS = 0o022
_LINKS_LIMIT = 40  # as in path_resolution(7)


class Hooks:
    """The hooks of one container.

    create, start, stop: by stage, in order. variables: what each of them gets beside its own.
    """

    __slots__ = ("create", "start", "stop", "variables")

    def __init__(self, operations: Iterable[RunHook], variables: dict[str, str]) -> None:
        found = tuple(operations)
        self.create, self.start, self.stop = (
            tuple(one for one in found if one.hook.stage == stage) for stage in (CREATE, START, STOP)
        )
        self.variables = variables

    @property
    def outside(self) -> bool:
        """Whether some run outside the container."""
        return bool(self.create or self.stop)

    @property
    def entering(self) -> tuple[Operation, ...]:
        """What process 1 does about them before it gives up its rights."""
        return (AwaitHooks(),) if self.outside else ()

    @property
    def inside_s(self) -> int:
        """How many seconds those inside may take together."""
        return sum(one.hook.timeout for one in self.start)

    @property
    def before_s(self) -> int:
        """How many seconds a container may take longer to start because of them."""
        return before_s(one.hook for one in self.create + self.start)

    def around(self, payload: tuple[Operation, ...]) -> dict[str, tuple[Operation, ...]]:
        """Return ``payload`` among those that run, by phase."""
        found = {CREATE: self.create, START: self.start, "payload": payload, STOP: self.stop}
        return {phase: operations for phase, operations in found.items() if operations}

    def take_out(self, plan: Plan, *, looked_up: bool = False) -> None:
        """Have ``plan``, a copy of the one that these are of, run none of them.

        looked_up: for a rehearsal, which looks for those inside and executes nothing.
        """
        plan.container.init = tuple(one for one in plan.container.init if not isinstance(one, AwaitHooks))
        plan.container.hooks = Hooks(self.start, self.variables) if looked_up else None

    def environment(self, hook: Hook, session: str, pid: int, status: str = "") -> dict[str, str]:
        """Return all that the environment of ``hook`` holds.

        session: the id of the session, or of the container that logins share. pid: of its process 1, as it is
        seen from the hook. status: the exit status, "" where there is none.
        """
        own = dict(pair.split("=", 1) for pair in hook.env)
        state = {"SESSION": session, "PID": str(pid), "STATUS": status}
        return own | self.variables | {PREFIX + name: value for name, value in state.items()}


def plan(policy: Policy, account: Account, home: str) -> Hooks:
    """Return what runs the hooks of ``policy``.

    home: inside. Raises Refusal for one inside that lies where the user's sessions can write.
    """
    for hook in policy.hooks:
        if hook.stage == START:
            _require_out_of_reach(hook, policy, home)
    variables = {f"{PREFIX}USER": account.name, f"{PREFIX}UID": str(account.uid)}
    return Hooks((RunHook(hook, account.name) for hook in policy.hooks), variables)


def _require_out_of_reach(hook: Hook, policy: Policy, home: str) -> None:
    places = [volume.target for volume in policy.volumes if not volume.read_only]
    if policy.home is not None and not policy.home.read_only:
        places.append(home)
    for place in places:
        if is_below(hook.path, place):
            raise _untrusted(hook.path, f"the user's sessions can write to {place}", "a path of the image")


def require_trusted(hooks: Iterable[Hook]) -> None:
    """Raise Refusal unless only root can change each one outside, and the caller may execute what counts.

    What is found holds until it runs: nobody but root can change it, nor anything on the way to it.
    """
    for hook, fault in faults(hooks):
        if hook.counts or isinstance(fault, Untrusted):
            raise fault


def faults(hooks: Iterable[Hook]) -> Iterator[tuple[Hook, Refusal]]:
    """Yield those outside that would not run, or may not. Raises SessionError where a file server hangs."""
    outside = [hook for hook in hooks if hook.stage != START]
    that_answer([hook.path for hook in outside])
    for hook in outside:
        what = f"cannot run the hook {hook.path}"
        try:
            place = require_only_root(hook.path)
        except Untrusted as fault:
            yield hook, fault
        except OSError as error:
            why = error.strerror or ""
            why = why if error.filename == hook.path else f"{error.filename}: {why}"
            yield hook, Refusal(what, why, "an administrator installs it", STEP, error.errno or 0)
        else:
            if not os.access(place, os.X_OK):
                remedy = f"an administrator runs: chmod 0755 {place}"
                yield hook, Refusal(what, "the user may not execute it", remedy, STEP)


class Untrusted(Refusal):
    """Somebody else than root could change a hook."""


def require_only_root(path: str) -> str:
    """Return the file that ``path`` leads to. Raises OSError, and Untrusted where others could change that.

    Every directory and link on the way is looked at, as the kernel follows them (path_resolution(7)). An
    access list shows in the group bits of the mode, as its mask (acl(5)).
    """
    ahead, place, links = path.split("/"), "", 0
    found = os.lstat("/")
    _require_owned("/", found, path)
    while ahead:
        name = ahead.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            place = paths.parent(place or "/").rstrip("/")
            continue
        found = os.lstat(f"{place}/{name}")
        _require_owned(f"{place}/{name}", found, path)
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > _LINKS_LIMIT:
                raise _error(errno.ELOOP, path)
            target = os.readlink(f"{place}/{name}")
            place = "" if target.startswith("/") else place
            ahead = target.split("/") + ahead
            continue
        place = f"{place}/{name}"
        if ahead and not stat.S_ISDIR(found.st_mode):
            raise _error(errno.ENOTDIR, place)
    if not stat.S_ISREG(found.st_mode):
        raise _error(errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EACCES, path)
    return place


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def _require_owned(place: str, found: os.stat_result, path: str) -> None:
    if found.st_uid != 0:
        why = f"{place} belongs to uid {found.st_uid}"
        raise _untrusted(path, why, f"chown root: {place}")
    if not stat.S_ISLNK(found.st_mode) and found.st_mode & _OTHERS:
        why = f"{place} is writable by others than root (mode {stat.S_IMODE(found.st_mode):04o})"
        raise _untrusted(path, why, f"chmod go-w {place}")


def _untrusted(path: str, why: str, remedy: str) -> Untrusted:
    return Untrusted(f"cannot run the hook {path}", why, f"an administrator mends that: {remedy}", STEP)


def failure(operation: RunHook, kind: int, number: int) -> Refusal:
    """Return what refuses a login whose hook failed.

    kind: see :data:`EXITED`. number: its wait status or errno.
    """
    hook = operation.hook
    return Refusal(
        f"the hook {hook.path} failed",
        words(hook, kind, number),
        "an administrator finds more in the system log, or lets logins go on all the same (ignore_failure)",
        STEP,
        number if kind == NOT_RUN else 0,
    )


def words(hook: Hook, kind: int, number: int) -> str:
    """Return how a hook ended, as people say it; "" where all is well."""
    if kind == LATE:
        return f"it took longer than {hook.timeout} s"
    if kind == NOT_RUN:
        return f"it cannot be executed: {os.strerror(number)}"
    if kind == LEFT:
        return "it left processes that cannot be ended"
    if os.WIFSIGNALED(number):
        return f"it was ended by signal {os.WTERMSIG(number)}"
    return f"its exit status was {os.WEXITSTATUS(number)}" if number else ""
