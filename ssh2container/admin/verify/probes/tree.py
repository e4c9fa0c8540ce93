"""The tree that all sessions of a range execute: nobody but root changes it (part of the group of files)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.verify.partner import SUCCEEDED
from ssh2container.admin.verify.probe import require
from ssh2container.admin.verify.probes.files import GROUP
from ssh2container.admin.verify.verdicts import Skipped

if TYPE_CHECKING:
    from ssh2container.admin.verify.surroundings import Surroundings


@GROUP.check(
    "no partner outside changes what sessions of a range execute", "mount_namespaces(7); unix(7), SCM_RIGHTS"
)
def _partner(surroundings: Surroundings) -> str:
    if not surroundings.policy.ranged:
        raise Skipped("the image's files belong to root")
    if not surroundings.partner:
        raise Skipped("the user could not map the range outside")
    went = [what for what, how in surroundings.partner if how == SUCCEEDED]
    require(not went, "a process of the user's, outside, managed to " + ", ".join(went))
    return ", ".join(sorted({how for _, how in surroundings.partner}))
