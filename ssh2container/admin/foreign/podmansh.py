"""Reading the Quadlet unit of podmansh(1): the container that is an account's login shell."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.convert import keys, quadlet, units
from ssh2container.admin.foreign import written
from ssh2container.admin.foreign.told import Told
from ssh2container.admin.policy.yaml.problems import PolicyError, Problem

if TYPE_CHECKING:
    from ssh2container.admin.foreign.told import Subject

SHELLS = ("podmansh",)
_NAME = "podmansh"
"""What ContainerName= has to say: podmansh starts its shells in the container of that name."""
_PLACES = (
    "/etc/containers/systemd/users/{uid}",
    "/etc/containers/systemd/users",
    "/usr/share/containers/systemd/users/{uid}",
    "/usr/share/containers/systemd/users",
)
"""Where root writes units of users; of two, that which stands first counts (podman-systemd.unit(5))."""
_OWN = ".config/containers/systemd"


def read(subject: Subject) -> Told:
    """Return what the container of an account has. Raises PolicyError for a unit that cannot be converted."""
    path = _unit(subject)
    service = quadlet.service(path, {})
    draft = keys.draft_of(service)
    told = Told(service.source)
    told.notes, told.draft = service.notes, draft
    told.apart = True
    told.set("container_per", told.whole, "user", "one container for all logins", word=False)
    return told


def _unit(subject: Subject) -> str:
    own = os.path.join(subject.root + subject.account.home, _OWN, f"{_NAME}{quadlet.SUFFIX}")
    if os.path.lexists(own):
        # Who writes their own container writes their own policy: that is for root to read first.
        place = _PLACES[0].format(uid=subject.account.uid)
        hint = f"read it, and move it to {place}"
        raise PolicyError([Problem(own, 0, 0, "the account itself can change the unit", hint=hint)])
    places = [subject.root + place.format(uid=subject.account.uid) for place in _PLACES]
    for place in places:
        for path in written.matching(f"{place}/*{quadlet.SUFFIX}"):
            if any(
                (one.section, one.key, one.value.text) == ("Container", "ContainerName", _NAME)
                for one in units.read(path)
            ):
                return path
    message = f"no unit has ContainerName={_NAME}"
    raise PolicyError([Problem(places[0], 0, 0, message, f"one in {', '.join(places)}")])
