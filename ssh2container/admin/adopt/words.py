"""How plans of taking accounts over are shown: a table of everybody, and one of each; and as JSON. Pure."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ssh2container.admin.adopt import plan
from ssh2container.admin.quotas.quota import shown
from ssh2container.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ssh2container.admin.adopt.plan import Planned

COLUMNS = ("user", "home", "size", "last login", "ends", "stays open")
ROWS = ("what", "today", "afterwards", "")
_LONGEST = 72


def summary(todo: Sequence[Planned]) -> list[tuple[str, ...]]:
    """Return a line for each account: who, where the home goes, how large it is, and how much changes."""
    return [
        (
            one.name,
            one.source or one.facts.home.path,
            "?" if one.facts.home.size is None else shown(one.facts.home.size),
            date(one.facts.last_login),
            str(sum(row.state == plan.ENDS for row in one.rows)),
            str(sum(row.state == plan.OPEN for row in one.rows)),
        )
        for one in todo
    ]


def table(one: Planned) -> list[tuple[str, ...]]:
    """Return what becomes of each thing of one account."""
    return [(row.what, shortened(row.today), row.afterwards, row.state) for row in one.rows]


def notes(one: Planned) -> list[str]:
    """Return what there is to say of one account's policy, line by line."""
    draft = one.draft
    kinds = (
        ("not kept", draft.left_out),
        ("not quite the same", draft.differs),
        ("to do first", draft.prepare),
    )
    return [printable(f"{kind}: {text}") for kind, texts in kinds for text in texts]


def shortened(text: str) -> str:
    """Return a text that fits in a table."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def date(when: int) -> str:
    """Return a day, "never" for none."""
    return time.strftime("%Y-%m-%d", time.localtime(when)) if when else "never"


def as_json(one: Planned) -> dict[str, Any]:
    """Return one account's plan for a program."""
    facts = one.facts
    return {
        "user": one.name,
        "uid": facts.account.uid,
        "shell": facts.account.shell,
        "groups": list(facts.account.groups),
        "home": facts.home.path,
        "home_bytes": facts.home.size,
        "to": one.source or facts.home.path,
        "last_login": facts.last_login or None,
        "sudo": list(facts.sudo),
        "crontab": [] if facts.crontab is None else facts.crontab.text.splitlines(),
        "at_jobs": [job.path for job in facts.at_jobs],
        "user_units": list(facts.units),
        "lingers": facts.lingers,
        "forward": list(facts.forward),
        "keys": [
            {"place": key.place, "label": key.label, "options": dict(key.options)} for key in facts.keys
        ],
        "processes": list(facts.processes),
        "policy": one.draft.text,
        "left_out": list(one.draft.left_out),
        "differs": list(one.draft.differs),
        "prepare": list(one.draft.prepare),
        "plan": [
            {"what": row.what, "today": row.today, "afterwards": row.afterwards, "state": row.state}
            for row in one.rows
        ],
    }
