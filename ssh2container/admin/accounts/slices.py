"""Limits over everything of a user, and of all: drop-ins for the slices that systemd has for them.

logind starts user-UID.slice for whoever logs in; its drop-ins are root's, so that nothing of the user can
lift what stands there, and no login has to do anything. Sources: systemd.resource-control(5),
systemd.slice(5), user@.service(5).
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

from ssh2container.admin import cgroups
from ssh2container.admin.account import Account, enrolled_names, find
from ssh2container.admin.change import Change
from ssh2container.admin.policy.compile import compiler
from ssh2container.admin.sealed import UNITS, SealedFile, reload
from ssh2container.errors import SessionError
from ssh2container.policy import limits, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ssh2container.policy.limits import Limits
    from ssh2container.policy.policy import Policy

    PolicyOf = Callable[[Account], Policy | None]

NAME = "50-ssh2container.conf"
_OURS = re.compile(r"user-(\d+)\.slice\.d")


def path_of(unit: str) -> str:
    """Return where the drop-in for a unit lies."""
    return f"{UNITS}/{unit}.d/{NAME}"


def unit_of(uid: int) -> str:
    """Return the slice of everything that a user's logins and services run."""
    return f"user-{uid}.slice"


SITE_UNIT = "user.slice"
"""The nearest slice around all contained users: the parent of a slice is fixed by its name."""


def lines(found: Limits) -> Iterator[str]:
    """Yield the assignments of a unit's section that set ``found``."""
    for name, value in found.properties():
        if name == "CPUQuotaPerSecUSec" and isinstance(value, int):
            yield f"CPUQuota={value / 10_000:.2f}%"
        elif isinstance(value, int):
            yield f"{name}={value}"
        else:
            for path, rate in value:
                yield f"{name}={path} {rate}"


def text(found: Limits | None, key: str) -> str:
    """Return the drop-in for ``found``, not sealed, "" for none. key: of the policy, with whose it is."""
    if found is None:
        return ""
    head = (
        f"# {key}: written by ssh2containerctl, which leaves this file alone once it was changed.\n"
        "# Change the policy instead; a drop-in with a later name overrides this one.\n"
    )
    return head + "\n[Slice]\n" + "".join(f"{line}\n" for line in lines(found))


def unable(found: Limits) -> str:
    """Say why this host cannot keep ``found``, "" when it can."""
    return cgroups.unable(name for name, _ in found.properties())


class SliceDropIn(SealedFile):
    """The drop-in of one unit with exactly this text, or none for ""; one that was changed by hand is kept.

    required: raise where the host cannot keep the limits; else they are written for when it can.
    """

    def __init__(self, unit: str, whose: str) -> None:
        super().__init__(path_of(unit))
        self.unit = unit
        self.whose = whose

    def wanted(self) -> tuple[Limits | None, bool]:
        """Return the limits that the unit is to have, and whether they are required."""
        return None, False

    def describe(self) -> str:
        """See :class:`Change`."""
        if self.kept:
            return super().describe()
        if not self._wanted:
            return f"remove the limits of {self.whose} ({self.path})"
        return f"limit {self.whose} together ({self.path})"

    def done(self) -> bool:
        """See :class:`Change`."""
        found, required = self.wanted()
        key = "site_limits" if self.unit == SITE_UNIT else "user_limits"
        self.want(text(found, f"{key} of {self.whose}"))
        done = super().done()
        why = unable(found) if found is not None and required else ""
        if why:
            raise SessionError(
                f"cannot limit {self.whose}",
                why,
                "write limits: best to go on without, or leave user_limits out of the policy",
                "limits",
            )
        return done

    def do(self) -> None:
        """See :class:`Change`."""
        self.write()
        try:
            reload()
        except SessionError:
            self.restore()
            raise

    def undo(self) -> None:
        """See :class:`Change`."""
        self.restore()
        reload()


class LimitUser(SliceDropIn):
    """What the user's policy says of everything of the user."""

    def __init__(self, account: Account, policy_of: PolicyOf) -> None:
        super().__init__(unit_of(account.uid), account.name)
        self.account = account
        self.policy_of = policy_of

    def wanted(self) -> tuple[Limits | None, bool]:
        """See :class:`SliceDropIn`; raises SessionError as ``policy_of``."""
        policy = self.policy_of(self.account)
        return (None, False) if policy is None else (policy.user_limits, policy.limits_required)


class LiftLimits(SliceDropIn):
    """No limits over everything of a user who is not contained any more."""

    def __init__(self, uid: int, name: str) -> None:
        super().__init__(unit_of(uid), name)


class LimitSite(SliceDropIn):
    """What config.yaml says of all contained users together."""

    def __init__(self) -> None:
        super().__init__(SITE_UNIT, "everybody who logs in")

    def wanted(self) -> tuple[Limits | None, bool]:
        """See :class:`SliceDropIn`; raises SessionError where config.yaml does not hold."""
        return of_site(), False


def of_site() -> Limits | None:
    """Return the site's limits. Raises SessionError where config.yaml is not valid."""
    return limits.of(compiler.part("config", store.STANDARD).layers[0][2], "site_limits.")


class RenewLimits(Change):
    """The drop-ins of all contained users and of the site, as the policies are now.

    A user whose policy does not hold keeps what was in force. failed: a sentence for each that cannot be.
    """

    def __init__(self, policy_of: PolicyOf) -> None:
        self.policy_of = policy_of
        self.failed: list[str] = []
        self._pending: list[SliceDropIn] = []

    def describe(self) -> str:
        """See :class:`Change`."""
        return "; ".join(change.describe() for change in self._pending) or "set the limits of users"

    def done(self) -> bool:
        """See :class:`Change`."""
        self.failed, self._pending = [], []
        for change in self._changes():
            try:
                if not change.done():
                    self._pending.append(change)
            except SessionError as error:
                self.failed.append(str(error))
        return not self._pending

    def _changes(self) -> Iterator[SliceDropIn]:
        yield LimitSite()
        for name in enrolled_names():
            try:
                account = find(name)
                if account.enrolled and self.policy_of(account) is not None:
                    yield LimitUser(account, self.policy_of)
            except SessionError:
                continue  # said of the policy itself

    def do(self) -> None:
        """See :class:`Change`; systemd reads its files once, however many have changed."""
        for change in self._pending:
            change.write()
        reload()

    def undo(self) -> None:
        """See :class:`Change`."""
        for change in reversed(self._pending):
            change.restore()
        reload()


def uids() -> list[int]:
    """Return the uids that have a drop-in of ours."""
    with contextlib.suppress(OSError):
        found = (_OURS.fullmatch(name) for name in os.listdir(UNITS))
        return sorted(int(one[1]) for one in found if one and os.path.lexists(path_of(unit_of(int(one[1])))))
    return []
