"""Results: rows of numbers with units, as a table for people or as JSON for machines."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

_WIDTH = 130
"""Columns where the output is no terminal."""
_NUMBERS = ("median", "minimum", "maximum", "n", "ratio")


@dataclass
class Row:
    """One thing that was measured. samples: in ``unit``; ratio: to the row that ``against`` names."""

    name: str
    unit: str
    samples: list[float] = field(repr=False)
    ratio: float | None = None
    against: str = ""
    bar: str = ""
    """What the ratio, or the value, should come to; "" where nothing is demanded."""

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def minimum(self) -> float:
        return min(self.samples)

    @property
    def maximum(self) -> float:
        return max(self.samples)


@dataclass
class Section:
    """The rows of one subject. note: how to read them. absent: what was not measured, and why."""

    title: str
    note: str
    rows: list[Row]
    absent: dict[str, str] = field(default_factory=dict)


def as_json(machine: dict[str, str], sections: Sequence[Section]) -> str:
    """Return everything, each row with its median, minimum, maximum and samples."""
    data = []
    for section in sections:
        rows = [
            {**asdict(row), "median": row.median, "minimum": row.minimum, "maximum": row.maximum}
            for row in section.rows
        ]
        data.append({"title": section.title, "note": section.note, "rows": rows, "absent": section.absent})
    return json.dumps({"machine": machine, "sections": data}, indent=2)


def show(machine: dict[str, str], sections: Sequence[Section]) -> None:
    """Print everything; colour only on a terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    for name, value in machine.items():
        console.print(f"{name + ':':12} {value}", markup=False)
    for section in sections:
        table = Table(title=section.title, caption=section.note, title_justify="left")
        for column in ("what", "median", "minimum", "maximum", "unit", "n", "ratio", "against", "bar"):
            table.add_column(column, justify="right" if column in _NUMBERS else "left")
        for row in section.rows:
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
            figures = (
                *(f"{x:.2f}" for x in (row.median, row.minimum, row.maximum)),
                row.unit,
                str(len(row.samples)),
            )
            table.add_row(row.name, *figures, ratio, row.against, row.bar)
        console.print()
        console.print(table)
        for name, why in section.absent.items():
            console.print(f"not measured: {name}: {why}", markup=False, soft_wrap=True)
