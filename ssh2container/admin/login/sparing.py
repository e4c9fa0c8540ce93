"""What a rehearsal of a login leaves to the sessions that run: ports, and the network of their container."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ssh2container.errors import Refusal
from ssh2container.kernel import namespaces
from ssh2container.run import networks

if TYPE_CHECKING:
    from ssh2container.plan.make import Container


def spare(container: Container) -> None:
    """Change ``container`` so that making it takes nothing from others."""
    if container.network is not None:
        # Another session may have the ports for a while.
        container.network = container.network.unpublished()
    if container.joins is not None and container.per == "user" and not container.mapping:
        try:
            networks.take(container.joins.pool)
        except Refusal as error:
            if error.number == errno.ENETDOWN:
                raise
            # The login joins the container that has it: an empty network does for looking at the rest.
            awaited = container.joins.entering
            container.init = tuple(step for step in container.init if step not in awaited)
            container.joins = None
            container.namespaces |= namespaces.CLONE_NEWNET
        finally:
            networks.give_back()
