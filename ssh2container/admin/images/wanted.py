"""Which policies name an image: their logins are refused without it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.policy.compile import build
from ssh2container.errors import Refusal, SessionError
from ssh2container.plan.image import HOST, find_record, record_path
from ssh2container.policy import images
from ssh2container.policy.store import STANDARD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssh2container.policy.store import Places

_MOST_SHOWN = 5


def places_that_name(name: str, places: Places = STANDARD) -> list[str]:
    """Return the FILE:LINE of every policy in force that has an image of the name ``name``."""
    wanted = record_path(name)
    found: dict[str, None] = {}
    for policy in build.policies(places):
        for image in images.of(policy):
            if image == HOST:
                continue
            try:
                named = record_path(image)
            except Refusal:
                continue  # logins say so
            if named == wanted:
                found[str(images.choosing(policy, image).origin("image"))] = None
    return sorted(found)


def require_unwanted(names: Sequence[str], places: Places = STANDARD) -> None:
    """Raise SessionError when a policy names one of ``names``, as far as they are installed."""
    for name in names:
        if not os.path.lexists(find_record(name)):
            continue
        found = places_that_name(name, places)
        if found:
            more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
            raise SessionError(
                f"cannot remove the image {name}",
                f"{', '.join(found[:_MOST_SHOWN])}{more} names it: logins would be refused",
                "name another image there, or use --force",
                "image",
            )
