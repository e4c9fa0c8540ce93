"""What the name service does not find, told from a name service that does not answer.

For both Python raises KeyError. An outage must not pass for a user that there is not: the remedies differ,
and whose groups are not all known could be admitted, or spared, by mistake.
"""

from __future__ import annotations

import posix as os

from ssh2container.errors import SessionError

from . import _syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

USER, GROUP = "user", "group"
_EAGAIN = 11
_REMEDY = "try again when it answers; an administrator checks: getent passwd, systemctl status sssd nslcd"


def require_unknown(kind: str, name: str | None, number: int = 0) -> None:
    """Return when the name service knows that there is no such USER or GROUP.

    name: whom it did not find; None asks for the id ``number``. Raises SessionError when it does not answer.
    """
    _require_answer(kind, name, number, _EAGAIN)


def _require_answer(kind: str, name: str | None, number: int, found: int) -> None:
    """Raise SessionError where the name service does not answer. found: the errno if it finds somebody."""
    error = _syscall.unknown(kind, name, number)
    if error < 0:
        error = found  # a moment ago it did not
    if error:
        shown = name or f"{'uid' if kind == USER else 'gid'} {number}"
        raise SessionError(
            f"cannot look up the {kind} {shown}" if name else f"cannot look up {shown}",
            f"the name service does not answer ({os.strerror(error)})",
            _REMEDY,
            "account",
            error,
        )


def require_groups_known(names: Iterable[str]) -> None:
    """Return when the name service knows each group of ``names``, or knows that there is none.

    getgrouplist(3) and initgroups(3) leave out, without a word, the groups of a service that does not
    answer. Raises SessionError then.
    """
    for name in names:
        _require_answer(GROUP, name, 0, 0)
