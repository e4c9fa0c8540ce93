"""The namespaces that a user's sessions need for ``networks``: prepared, renewed and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.account import find, with_the_shell
from ssh2container.admin.accounts.grants import own_range
from ssh2container.admin.accounts.modes import mode_of
from ssh2container.admin.change import Change
from ssh2container.admin.images.ids import Range, set_aside
from ssh2container.admin.networks import pool
from ssh2container.errors import Refusal, SessionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssh2container.admin.account import Account
    from ssh2container.admin.networks.wanted import Link
    from ssh2container.policy.policy import Policy

    PolicyOf = Callable[[Account], Policy | None]


def range_of(account: Account, policy: Policy) -> Range | None:
    """Return the range of ids that sessions under ``policy`` have, None for the user's own alone.

    Raises SessionError where none is granted.
    """
    mode = mode_of(policy)
    part = set_aside() if mode == "range" else own_range(account.name) if mode == "own_range" else None
    if part is None and mode != "single":
        raise SessionError(
            f"cannot prepare networks for {account.name}",
            "no range of ids is granted",
            "run install.sh again, then enable",
            "networks",
        )
    return part


class PrepareNetworks(Change):
    """What the policy's ``networks`` need, or nothing where it names none."""

    def __init__(self, account: Account, policy: PolicyOf) -> None:
        self.account = account
        self.left: list[str] = []
        self._policy = policy
        self._found: pool.Wanted | None = None

    def describe(self) -> str:
        """See :class:`Change`."""
        if self._found is None:
            return f"prepare no networks for {self.account.name} (the policy names none)"
        count = len(self._found.namespaces)
        first = " and ".join(link.words() for link in self._found.namespaces[0].links)
        some = "a network namespace" if count == 1 else f"{count} network namespaces"
        return f"prepare {some} for {self.account.name}: {first}" + (" …" if count > 1 else "")

    def done(self) -> bool:
        """See :class:`Change`; raises SessionError for networks that this host does not have."""
        policy = self._policy(self.account)
        self._found = None
        if policy is not None and policy.networks:
            self._found = pool.find(self.account, policy, range_of(self.account, policy))
        return pool.done(self.account, self._found)

    def links(self) -> list[Link]:
        """Return the interfaces of all namespaces that the policy needs, after :meth:`done`."""
        return [] if self._found is None else [link for one in self._found.namespaces for link in one.links]

    def do(self) -> None:
        """See :class:`Change`."""
        self.left = pool.bring_about(self.account, self._found)

    def undo(self) -> None:
        """See :class:`Change`."""
        pool.take_away(self.account.uid)


class RemoveNetworks(Change):
    """The reverse of :class:`PrepareNetworks`."""

    def __init__(self, uid: int, name: str) -> None:
        self.uid = uid
        self.name = name

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"remove the networks that were prepared for {self.name}"

    def done(self) -> bool:
        """See :class:`Change`."""
        return self.uid not in pool.uids()

    def do(self) -> None:
        """See :class:`Change`."""
        pool.take_away(self.uid)

    def undo(self) -> None:
        """Do nothing: ``compile`` prepares them again, if the policy still wants them."""


class RenewNetworks(Change):
    """Those of all contained users, as the policies are now. failed: a sentence for each that cannot be."""

    def __init__(self, policy: PolicyOf) -> None:
        self._policy = policy
        self.failed: list[str] = []
        self._pending: list[Change] = []

    def describe(self) -> str:
        """See :class:`Change`."""
        return "; ".join(change.describe() for change in self._pending) or "prepare networks"

    def done(self) -> bool:
        """See :class:`Change`."""
        self.failed, self._pending = [], []
        contained = {}
        for name in with_the_shell():
            try:
                account = find(name)
                contained[account.uid] = name
                change = PrepareNetworks(account, self._policy)
                if not change.done():
                    self._pending.append(change)
            except Refusal:
                continue  # said of the policy itself
            except (SessionError, OSError) as error:
                self.failed.append(f"{name}: {error}")
        self._pending += [RemoveNetworks(uid, f"uid {uid}") for uid in pool.uids() if uid not in contained]
        return not self._pending

    def do(self) -> None:
        """See :class:`Change`; where one cannot be, the others are all the same."""
        for change in list(self._pending):
            try:
                change.do()
            except (SessionError, OSError) as error:
                self._pending.remove(change)
                self.failed.append(str(error))
            if isinstance(change, PrepareNetworks):
                self.failed += change.left

    def undo(self) -> None:
        """See :class:`Change`."""
        for change in reversed(self._pending):
            change.undo()
