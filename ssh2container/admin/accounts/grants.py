"""Who may map which range of ids: newuidmap(1) obeys what /etc/subuid and /etc/subgid grant to who asks.

All users of ``userns_mode: range`` share the set-aside range, because the files of an image can belong to
one set of ids only; to one of ``own_range`` they are shown under theirs (:mod:`.idmapped`). Who may map the
shared range and has another way to the host than our login shell could trace what others run, so the
grant ends with the policy or the shell that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.accounts.modes import mode_of
from ssh2container.admin.accounts.ranges import FILES, Lines, entries, free, line, taken_ids
from ssh2container.admin.change import Change
from ssh2container.admin.images.ids import COUNT, Range, set_aside
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssh2container.admin.account import Account
    from ssh2container.policy.policy import Policy


class GrantRange(Change):
    """What allows a user's sessions to map the range that their policy names, and nothing beyond that."""

    def __init__(self, account: Account, policy: Callable[[Account], Policy | None]) -> None:
        self.account = account
        self._policy = policy
        self._lines = Lines()
        self._possible = True

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"grant {self.account.name} the ids that the policy maps, if any (/etc/subuid, /etc/subgid)"

    def done(self) -> bool:
        """See :class:`Change`."""
        name, there = self.account.name, set_aside()
        policy = self._policy(self.account)
        mode = mode_of(policy)
        self._possible = there is not None or mode == "single"
        add: list[str] = []
        remove: list[str] = []
        if there is not None:
            (add if mode == "range" else remove).append(line(name, there.base))
        if mode == "own_range":
            own = own_range(name)
            add.append(line(name, free(taken_ids()) if own is None else own.base))
        self._lines = Lines(add=add, remove=remove)
        return self._possible and self._lines.done()

    def do(self) -> None:
        """See :class:`Change`."""
        if not self._possible:
            raise SessionError(
                f"cannot grant {self.account.name} a range of ids",
                "none is set aside",
                "run install.sh again",
                "ranges",
            )
        self._lines.do()

    def undo(self) -> None:
        """See :class:`Change`."""
        self._lines.undo()


class RevokeRange(GrantRange):
    """The end of a grant of the shared range; a range of the user's own stays theirs."""

    def __init__(self, account: Account) -> None:
        super().__init__(account, lambda _: None)

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"take the shared range of ids from {self.account.name} (/etc/subuid, /etc/subgid)"


def own_range(name: str) -> Range | None:
    """Return the first range that the user ``name`` alone has, in both files; None without one.

    useradd(8) gives one to each new user, which rootless containers use too. One that others have as
    well, as when somebody copied a line, is nobody's own.
    """
    shared = set_aside()
    listed = [[*entries(path)] for path in FILES]
    uids, gids = (
        [(first, count) for whose, first, count in lines if whose == name and count >= COUNT]
        for lines in listed
    )
    others = [(first, first + count) for lines in listed for whose, first, count in lines if whose != name]
    if shared is not None:
        others.append((shared.base, shared.base + COUNT))
    for first, count in uids:
        if (first, count) in gids and not any(low < first + COUNT and first < high for low, high in others):
            return Range(first)
    return None
