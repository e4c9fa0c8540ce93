"""A moment on the command line, as policies write it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ssh2container.admin.policy.types.hours import Moment
from ssh2container.admin.policy.types.kinds import INVALID, Report
from ssh2container.admin.policy.yaml.files import Source
from ssh2container.admin.policy.yaml.nodes import Scalar
from ssh2container.errors import SessionError
from ssh2container.plan import hours

if TYPE_CHECKING:
    from typing import Any

    from ssh2container.admin.policy.yaml.problems import Problem


class _Moment(click.ParamType):
    """Seconds since the epoch, from what ``access.from`` takes."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401
        """Return the moment, or end with what is allowed."""
        try:
            return read(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def read(text: str) -> float:
    """Return the moment that ``text`` means, in seconds since the epoch. Raises ValueError: why not."""
    problems: list[Problem] = []
    report = Report(Source("", text, (0, 0, 0, 0, 0)), problems)
    found = Moment().parse(text, Scalar(text, 1, 1), report)
    if found is INVALID:
        raise ValueError(f"{problems[0].message}; allowed: {problems[0].allowed}")
    try:
        return float(hours.moment_of(found))
    except SessionError as error:
        raise ValueError(str(error)) from None


MOMENT = _Moment()
