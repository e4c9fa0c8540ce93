"""A verification's session with some operations left out of its plan; started as the user, by file name.

usage: layers.py SCENARIO OPERATION…    prints what ``verify`` reads: a line of JSON per probe
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys

PLACE = "/usr/lib/ssh2container/" + os.readlink("/usr/lib/ssh2container/current")
sys.path.insert(0, PLACE)

from ssh2container.admin.verify import session  # noqa: E402 - the installed one
from ssh2container.admin.verify.sessions import HELPER  # noqa: E402
from ssh2container.plan import operations  # noqa: E402
from ssh2container.plan.make import Plan  # noqa: E402
from ssh2container.plan.operations import Operation  # noqa: E402

ROOMS = [
    importlib.import_module(f"{operations.__name__}.{room.name}")
    for room in pkgutil.iter_modules(operations.__path__)
]


def kind(name: str) -> type[Operation]:
    """The operation of this name."""
    (found,) = {getattr(room, name) for room in ROOMS if hasattr(room, name)}
    if not (isinstance(found, type) and issubclass(found, Operation)):
        raise TypeError(f"{name} is no operation")
    return found


def main() -> None:
    scenario, *names = sys.argv[1:]
    kinds = tuple(map(kind, names))

    def change(plan: Plan) -> Plan:
        missing = [
            name
            for name, one in zip(names, kinds, strict=True)
            if not any(isinstance(op, one) for op in plan.operations())
        ]
        assert not missing, f"the plan has no {missing}"
        return plan.without(*kinds)

    session.main(scenario, HELPER if os.path.exists(HELPER) else "", change)


if __name__ == "__main__":
    main()
