"""Who may map the ids that sessions of ``userns_mode: range`` share, and should not."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ssh2container.admin.account import enrolled_names
from ssh2container.admin.accounts.ranges import FILES, entries
from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import OK, PROBLEM, Finding
from ssh2container.admin.images.ids import COUNT, OWNER, set_aside

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHECK = "ranges.shared"


@check.of_host("ranges of ids", place=70)
def examine() -> Iterator[Finding]:
    """Yield each name that has ids of the set-aside range without our login shell (subuid(5)).

    With them a process of the host is, for the kernel, the same user as another's root inside: it may
    signal and trace what runs there.
    """
    shared = set_aside()
    if shared is None:
        return
    contained = {OWNER, *enrolled_names()}
    found = sorted(
        {
            (name, path)
            for path in FILES
            for name, first, count in entries(path)
            if first < shared.base + COUNT and shared.base < first + count and name not in contained
        }
    )
    for name, path in found:
        yield Finding(
            PROBLEM,
            _CHECK,
            name,
            f"has ids in {path} that sessions of other users run under, and a shell of the host",
            f"remove the line of {name} from {path}, or: ssh2containerctl disable {shlex.quote(name)}",
        )
    if not found:
        yield Finding(OK, _CHECK, "", "the set-aside range of ids is nobody's but the sessions'")
