"""All policies changed in one step: a directory takes the place of /etc/ssh2container, which is kept.

Logins go on meanwhile: each finds the old policies or the new ones, whole (``policy.store.load``).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

from ssh2container.admin.account import enrolled_names
from ssh2container.admin.accounts.enable import RefreshDropIn, compile_policies, policy_of, specifier_values
from ssh2container.admin.accounts.home_quota import RenewQuotas
from ssh2container.admin.accounts.jobs import RenewJobs
from ssh2container.admin.accounts.slices import RenewLimits
from ssh2container.admin.change import Change, carry_out
from ssh2container.admin.login import verdict
from ssh2container.admin.policy import check, diff, origins
from ssh2container.admin.policy.compile import build, compiler
from ssh2container.admin.policy.yaml.problems import ERROR, WARNING, Problem
from ssh2container.errors import Refusal, SessionError
from ssh2container.kernel import exchanging
from ssh2container.policy import store
from ssh2container.policy.store import STANDARD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ssh2container.policy.policy import Policy

    Tell = Callable[[str, Change], None]

PLACE = STANDARD.configuration
LAST = PLACE + ".last"
"""The policies of before, which ``--back`` puts into force again."""
_NEW = PLACE + ".new"
_LOCK = "/run/ssh2container-deploy.lock"
_LARGEST = 4 << 20
_OURS = (*check.PARTS, "seccomp")
"""What a directory of policies decides about; everything else in /etc/ssh2container stays as it is."""


class Deployment:
    """The policies of a directory, on their way to be those of the host.

    directory: where they come from; "" for those of before. Use it in a ``with`` block: nobody else
    deploys meanwhile. Raises SessionError.
    """

    def __init__(self, directory: str, tell: Tell, advance: Callable[[str], None]) -> None:
        self.directory = directory
        self.tell = tell
        self.advance = advance
        self._lock = -1

    def __enter__(self) -> Deployment:
        _require_plain(PLACE)
        self._lock = _lock()
        try:
            if self.directory:
                _copy(self.directory)
            else:
                _require_last()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if os.path.lexists(_NEW):
            shutil.rmtree(_NEW)
        os.close(self._lock)

    @property
    def staged(self) -> str:
        """Where the policies lie that are to come into force."""
        return _NEW if self.directory else LAST

    def problems(self) -> list[Problem]:
        """Return what ``check`` says of the policies, and of the logins of all who would have them.

        Who is refused already is told in warnings.
        """
        findings = check.tree(self.staged, self.advance)
        if not findings.errors():
            findings.add(*self._logins())
        found = findings.all()
        for problem in found:
            if self.directory and problem.file.startswith(_NEW):
                problem.file = self.directory.rstrip("/") + problem.file.removeprefix(_NEW)
        return found

    def _logins(self) -> Iterator[Problem]:
        places = diff.elsewhere(self.staged)
        names = {*enrolled_names(), *compiler.names_in(f"{self.staged}/users")}
        for name in sorted(names):
            if not verdict.can_ask(name):
                continue
            self.advance(name)
            error = _refusal(name, places)
            if error is None:
                continue
            # No worse than before, or about to be made by `enable`: no reason to keep the old policies.
            known = _refusal(name, STANDARD) is not None or "ssh2containerctl enable" in error.remedy
            path = places.source("users/" + name)
            path = path if os.path.exists(path) else self.staged
            severity = WARNING if known else ERROR
            message = f"logins are refused to {name}: {error.reason()}"
            yield Problem(path, 0, 0, message, hint=error.remedy, severity=severity)

    def put_in_place(self) -> None:
        """Exchange both, compile, render the drop-in, keep the former policies; or change nothing."""
        before = {problem.key() for problem in build.build(STANDARD).problems}
        changes: list[Change] = [
            _Exchange(self.staged),
            _Compiled(before),
            RefreshDropIn(),
            RenewLimits(policy_of),
            RenewQuotas(policy_of, specifier_values),
            RenewJobs(policy_of),
        ]
        if self.directory:
            changes.append(_Keep())
        carry_out(changes, self.tell)


class _Exchange(Change):
    def __init__(self, staged: str) -> None:
        self.staged = staged

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"exchange {PLACE} and {self.staged}"

    def done(self) -> bool:
        """See :class:`Change`."""
        return False

    def do(self) -> None:
        """See :class:`Change`."""
        try:
            exchanging.exchange(self.staged, PLACE)
        except OSError as error:
            raise SessionError(
                f"cannot exchange {PLACE} and {self.staged}",
                error.strerror or "",
                _REMEDIES.get(error.errno or 0, ""),
                "deploy",
                error.errno or 0,
            ) from None

    def undo(self) -> None:
        """See :class:`Change`."""
        self.do()
        compile_policies()


_IN_PLACE = (
    "its file system cannot exchange directories: write the files in place, then ssh2containerctl compile"
)
_REMEDIES = {errno.EINVAL: _IN_PLACE, errno.EXDEV: _IN_PLACE, errno.EBUSY: f"{PLACE} is a mount: {_IN_PLACE}"}


class _Compiled(Change):
    """before: the problems that compiling had already."""

    def __init__(self, before: set[tuple[str, int, int, str]]) -> None:
        self.before = before

    def describe(self) -> str:
        """See :class:`Change`."""
        return "compile the policies"

    def done(self) -> bool:
        """See :class:`Change`."""
        return False

    def do(self) -> None:
        """See :class:`Change`."""
        built = build.build(STANDARD)
        build.build_filters(built, STANDARD)
        wrong = [problem for problem in built.problems if problem.key() not in self.before]
        if wrong:
            raise SessionError("cannot compile the policies", str(wrong[0]), "", "deploy")

    def undo(self) -> None:
        """Do nothing: who takes the exchange back compiles again."""


class _Keep(Change):
    def describe(self) -> str:
        """See :class:`Change`."""
        return f"keep the previous policies in {LAST}"

    def done(self) -> bool:
        """See :class:`Change`."""
        return False

    def do(self) -> None:
        """See :class:`Change`; those of before them go."""
        if os.path.lexists(LAST):
            exchanging.exchange(_NEW, LAST)
        else:
            os.rename(_NEW, LAST)

    def undo(self) -> None:
        """Do nothing: it is the last."""


def _refusal(name: str, places: store.Places) -> SessionError | None:
    """Return why logins of ``name`` are refused under the policies in ``places``, None where they start."""
    try:
        groups = origins.groups_of(name)
        policy: Policy | None = None
        if places is not STANDARD:
            policy = diff.policy_in(name, groups, places)
            site = compiler.part("config", places).layers[0][2]
            policy.site = store.Site(
                site["admit"],
                site["group_order"],
                tuple(site["unlisted"]),
                site["audit"],
                site["audit_format"],
            )
        failed = verdict.of_user(name, policy).failed
    except SessionError as error:
        return error
    return None if failed is None else failed.error


def _lock() -> int:
    """Return what keeps others from deploying meanwhile: nobody but root can open it, and so hold it."""
    descriptor = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise SessionError(
            "cannot deploy", "another deploy is running", "try again when it has finished", "deploy"
        ) from None
    return descriptor


def _require_last() -> None:
    if not os.path.isdir(LAST):
        raise SessionError(f"there is no {LAST}", "nothing was deployed before", "", "deploy")


def _require_plain(path: str) -> None:
    if os.path.islink(path) or not os.path.isdir(path):
        raise Refusal(
            f"cannot deploy to {path}", "it is not a directory, or it is a link", "run install.sh", "deploy"
        )


def _copy(directory: str) -> None:
    """Copy the policies of ``directory`` beside the ones in force: root's, and readable by every login."""
    if os.path.lexists(_NEW):
        shutil.rmtree(_NEW)  # of a run that was killed
    os.mkdir(_NEW, 0o755)
    os.chmod(_NEW, 0o755)  # noqa: S103 - logins of every user read it
    for name in _OURS:
        if os.path.lexists(f"{directory}/{name}"):
            _copy_entry(f"{directory}/{name}", f"{_NEW}/{name}")
    others = [f"{PLACE}/{name}" for name in sorted(os.listdir(PLACE)) if name not in _OURS]
    if others:
        subprocess.run(["/usr/bin/cp", "-a", "--", *others, _NEW], check=True, stdin=subprocess.DEVNULL)
    subprocess.run(["/usr/bin/sync", "-f", _NEW], check=True, stdin=subprocess.DEVNULL)


def _copy_entry(source: str, target: str) -> None:
    found = os.lstat(source)
    if stat.S_ISDIR(found.st_mode):
        os.mkdir(target, 0o755)
        os.chmod(target, 0o755)  # noqa: S103 - as above
        for name in sorted(os.listdir(source)):
            if not name.startswith("."):
                _copy_entry(f"{source}/{name}", f"{target}/{name}")
    elif stat.S_ISREG(found.st_mode):
        _copy_file(source, target)
    else:
        why = "it is neither a file nor a directory"
        raise Refusal(f"cannot deploy {source}", why, "put the file itself there", "deploy")


def _copy_file(source: str, target: str) -> None:
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file, open(target, "xb") as made:
        os.fchmod(made.fileno(), 0o644)
        content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise Refusal(f"cannot deploy {source}", f"it is larger than {_LARGEST >> 20} MiB", "", "deploy")
        made.write(content)
