"""The images' trees for ranges of ids: out of everybody's reach, and shown read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import OK, PROBLEM, Finding
from ssh2container.admin.images.store import shift, shown
from ssh2container.admin.images.store.store import Store
from ssh2container.plan.ranges import SHARED_TREES

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHECK = "images.shifted"


@check.of_host("images", place=80)
def examine() -> Iterator[Finding]:
    """Yield trees that others than root could change, or that no session can reach."""
    store = Store()
    shifted = [version for version in store.versions().values() if version.info["range"][1]]
    for version in shifted:
        names = [name for name, digest in store.names().items() if digest == version.digest]
        called = (names or [version.digest])[0]
        for path in shift.former(store, version):
            yield Finding(
                PROBLEM,
                _CHECK,
                called,
                f"{path} is within everybody's reach, and every user of userns_mode: range can change"
                " what is in it",
                "ssh2containerctl enable --runtime",
            )
        if not shift.is_there(store, version):
            yield Finding(
                PROBLEM,
                _CHECK,
                called,
                "its tree for a range of ids is missing: sessions with one are refused",
                f"ssh2containerctl image range {called}",
            )
    if shifted and not shown.is_shown(store):
        yield Finding(
            PROBLEM,
            _CHECK,
            SHARED_TREES,
            "is not the read-only, nosuid and nodev view of the images: sessions of userns_mode: range are"
            " refused",
            "ssh2containerctl enable --runtime",
        )
    elif shifted:
        yield Finding(OK, _CHECK, "", "nobody but root can change the images' trees for ranges of ids")
