"""The tables of ``sessions``: which columns there are, in which order rows come, and what fits a terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ssh2container.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rich.text import Text

    Report = dict[str, Any]

SORTS = ("cpu", "memory", "processes", "writable", "idle", "since", "user")
"""What rows can be sorted by: the most first, of ``since`` the latest, of ``user`` by the alphabet."""
_SESSIONS = (
    "ID", "USER", "SINCE", "FROM", "IDLE", "CPU", "TIME", "MEMORY", "PROC", "WRITABLE", "IMAGE", "COMMAND",
)  # fmt: skip
_USERS = ("USER", "SESSIONS", "CPU", "TIME", "MEMORY", "PROC", "WRITABLE")
_GIVEN_UP = ("IMAGE", "TIME", "SINCE", "FROM", "IDLE", "WRITABLE", "PROC", "COMMAND", "SESSIONS")
"""What a narrow terminal does without, the first first."""
_DAY_S = 86400
_LONGEST_COMMAND = 60
_SHORTEST_COMMAND = 12
_GAP = 2


class Table:
    """Headings, and rows of cells that hold nothing unprintable."""

    __slots__ = ("columns", "rows")

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.columns = columns
        self.rows = [[printable(cell) for cell in row] for row in rows]


def of_sessions(report: Report, sort: str, *, reverse: bool = False) -> Table:
    """Return a row for every session, and for every container that lingers without one."""
    used = {session["container"] for session in report["sessions"]}
    shown = [*report["sessions"], *(one for one in report["containers"] if one["id"] not in used)]
    return Table(_SESSIONS, [_session(one) for one in _sorted(shown, sort, reverse=reverse)])


def of_users(report: Report, sort: str, *, reverse: bool = False) -> Table:
    """Return a row for every user, and one for all of them."""
    rows = [_user(one["user"], one) for one in _sorted(report["users"], sort, reverse=reverse)]
    return Table(_USERS, [*rows, _user("(all)", report["total"])])


def fit(table: Table, width: int, *, cut: bool = True) -> tuple[list[Text], list[str]]:
    """Return lines at most ``width`` wide, the headings first, and the columns that they leave out.

    cut: whether a command that is too long ends early; else it goes on in the terminal's next line.
    """
    from rich.cells import cell_len
    from rich.text import Text

    widths = {
        name: max(cell_len(cell) for cell in (name, *(row[at] for row in table.rows)))
        for at, name in enumerate(table.columns)
    }
    left_out = []
    for name in (*_GIVEN_UP, ""):
        # What is last has what remains.
        least = (
            {**widths, "COMMAND": min(widths["COMMAND"], _SHORTEST_COMMAND)}
            if "COMMAND" in widths
            else widths
        )
        if sum(least.values()) + _GAP * (len(least) - 1) <= width or len(widths) == 1:
            break
        if widths.pop(name, None) is not None:
            left_out.append(name)
    lines = []
    for number, row in enumerate([table.columns, *table.rows]):
        line = Text(no_wrap=True, overflow="crop", style="" if number else "bold")
        for name, cell in zip(table.columns, row, strict=True):
            if name in widths:
                text = Text(cell)
                text.pad_right(max(0, widths[name] - cell_len(cell)) + _GAP)
                line.append_text(text)
        line.rstrip()
        if cut:
            line.truncate(width, overflow="ellipsis")
        lines.append(line)
    return lines, left_out


def headline(report: Report) -> str:
    """Say in one line what there is."""
    total = report["total"]
    return (
        f"{_named(total['sessions'], 'session')} of {_named(total['users'], 'user')}, "
        f"cpu {_share(total['cpu'], total['limits'])}, "
        f"memory {size(total['memory'], total['limits']['memory'])}, "
        f"{_count(total['processes'], total['limits']['processes'])} processes"
    )


def _named(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _sorted(found: Sequence[dict[str, Any]], by: str, *, reverse: bool) -> list[dict[str, Any]]:
    """Return ``found`` by a name of :data:`SORTS`, or as it is for ""; what nobody knows comes last."""
    if not by:
        return [*found]
    if by == "user":
        return sorted(found, key=lambda one: str(one["user"]), reverse=reverse)
    known = sorted(
        (one for one in found if one.get(by) is not None), key=lambda one: one[by], reverse=not reverse
    )
    return [*known, *(one for one in found if one.get(by) is None)]


def _session(found: dict[str, Any]) -> tuple[str, ...]:
    shown = found.get("command") or found.get("kind") or "(a container that lingers)"
    if found["starting"]:
        shown = f"{shown} [starting]"
    if found.get("container"):
        shown = f"{shown} [in {found['container']}]"
    limits = found["limits"]
    return (
        found["id"],
        found["user"],
        _moment(found["since"]),
        found.get("from") or "-",
        length(found.get("idle")),
        _share(found["cpu"], limits),
        length(found["cpu_seconds"]),
        size(found["memory"], limits["memory"]),
        _count(found["processes"], limits["processes"]),
        size(found["writable"], limits["writable"]),
        found["image"],
        shown if len(shown) <= _LONGEST_COMMAND else shown[: _LONGEST_COMMAND - 3] + "...",
    )


def _user(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    limits = found["limits"]
    return (
        name,
        str(found["sessions"]),
        _share(found["cpu"], limits),
        length(found["cpu_seconds"]),
        size(found["memory"], limits["memory"]),
        _count(found["processes"], limits["processes"]),
        size(found["writable"], None),
    )


def _share(cpus: float | None, limits: dict[str, Any]) -> str:
    """Say how busy processors are as top(1) does: one is 100%."""
    most = limits["cpus"]
    used = "-" if cpus is None else f"{cpus * 100:.0f}%"
    return used if most is None else f"{used}/{most * 100:.0f}%"


def size(used: int | None, most: int | None = None) -> str:
    """Say how many bytes are used, of how many; a dash where nobody knows."""
    shown = "-" if used is None else _bytes(used)
    return shown if most is None else f"{shown}/{_bytes(most)}"


def _bytes(number: float) -> str:
    number /= 1 << 20
    for unit in "MGT":
        if number < 1000 or unit == "T":  # noqa: PLR2004
            break
        number /= 1024
    return f"{number:.1f}".removesuffix(".0") + unit if number >= 100 else f"{number:.1f}{unit}"  # noqa: PLR2004


def _count(used: int | None, most: int | None) -> str:
    shown = "-" if used is None else str(used)
    return shown if most is None else f"{shown}/{most}"


def _moment(when: float) -> str:
    form = "%H:%M:%S" if time.time() - when < _DAY_S else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(when))


def length(seconds: float | None) -> str:
    """Say how long something is or was; a dash where nobody knows."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
