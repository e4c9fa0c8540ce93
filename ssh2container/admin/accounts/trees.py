"""What a policy with a range of ids needs of its image: the second tree, and the way to it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from ssh2container.admin.accounts.modes import mode_of
from ssh2container.admin.change import Change
from ssh2container.admin.images.store import shift, shown
from ssh2container.admin.images.store.store import Store
from ssh2container.errors import SessionError
from ssh2container.plan import ranges
from ssh2container.policy import images as policy_images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ssh2container.admin.account import Account
    from ssh2container.admin.images.store.store import Version
    from ssh2container.policy.policy import Policy


class PrepareImage(Change):
    """The image's tree for a range of ids, where the user's policy has sessions with one."""

    def __init__(self, account: Account, policy: Callable[[Account], Policy | None]) -> None:
        self.account = account
        self._policy = policy
        self._images: tuple[str, ...] = ()
        self._mode = "single"
        self._versions: list[Version] = []
        self._store = Store()

    def describe(self) -> str:
        """See :class:`Change`."""
        if self._mode == "single":
            return "make no second tree of an image (the policy maps the user alone)"
        named = f"the image {self._images[0]}" if len(self._images) == 1 else ", ".join(self._images)
        return f"make the tree of {named} for a range of ids, and the read-only view of it"

    def done(self) -> bool:
        """See :class:`Change`; an image that is not installed has no tree, as ``check`` says."""
        policy = self._policy(self.account)
        self._mode = mode_of(policy)
        if policy is None or self._mode == "single":
            return True
        self._images = tuple(one.image for one in policy_images.choices(policy) if one.ranged)
        self._versions = [found for name in self._images if (found := installed(self._store, name))]
        return (
            not ranges.missing_helper()
            and self._treed()
            and (self._mode == "own_range" or shown.is_shown(self._store))
        )

    def _treed(self) -> bool:
        return all(shift.is_there(self._store, version) for version in self._versions)

    def do(self) -> None:
        """See :class:`Change`."""
        if helper := ranges.missing_helper():
            raise SessionError(
                f"cannot give {self.account.name} a range of ids",
                f"{helper} is not installed",
                f"{ranges.INSTALL_HELPERS}; or userns_mode: single in the policy, in which root cannot"
                " change the system",
                "ranges",
            )
        # What is there is not ours to take back.
        missing = [version for version in self._versions if not shift.is_there(self._store, version)]
        self._versions = []
        for version in missing:
            if not shift.is_there(self._store, version):  # two names may be of one version
                self._versions.append(shift.ensure(self._store, version, lambda *_: None))
        if self._mode == "range":
            shown.show(self._store)

    def undo(self) -> None:
        """See :class:`Change`; the view shows nothing that is not there."""
        for version in self._versions:
            shift.take_back(self._store, version)


def installed(store: Store, reference: str) -> Version | None:
    """Return the version that an image of a policy means, None where there is none."""
    try:
        return store.version(reference)
    except SessionError:
        return None


def prepare_all(store: Store, policies: Iterable[Policy], images: Iterable[str] = ()) -> Iterator[str]:
    """Make the trees that ``policies`` need and lack; yield a sentence for each.

    images: only these, where there are any. Raises SessionError as :func:`shifting.ensure`.
    """
    only = {version.digest for name in images if (version := installed(store, name)) is not None}
    for policy in itertools.chain.from_iterable(map(policy_images.choices, policies)):
        version = installed(store, policy.image) if policy.ranged else None
        if version is None or shift.is_there(store, version) or (only and version.digest not in only):
            continue
        shift.ensure(store, version, lambda *_: None)
        yield f"make the tree of the image {policy.image} for a range of ids"


def bring_up_to_date(store: Store, failed: Callable[[str], None]) -> Iterator[str]:
    """Put trees of the former kind out of reach and make them anew; yield a sentence for each.

    A version before this one left them where their owners, root of every range session, could change them.
    failed: told what could not be made anew.
    """
    for version in store.versions().values():
        try:
            if shift.put_away(store, version):
                shift.ensure(store, version, lambda *_: None)
                yield f"make the tree of {version.digest[:19]} for a range of ids anew, out of reach"
        except (SessionError, OSError) as error:
            failed(f"the tree of {version.digest[:19]} for a range of ids: {error}")
