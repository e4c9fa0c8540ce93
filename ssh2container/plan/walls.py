"""Which places Landlock leaves open: the plan's writable ones, and no others."""

from __future__ import annotations

from ssh2container.kernel import landlock
from ssh2container.policy import specifiers

from .operations.landlock import CLOSED, RestrictFiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssh2container.policy.policy import Policy

    from .operations import Operation

_ALWAYS = ("/dev/shm", "/tmp")


def around_files(
    policy: Policy, version: int, *, home: str, values: Mapping[str, str], whole_system: bool
) -> tuple[Operation, ...]:
    """Return the operation, or none where the kernel's Landlock (``version``, its ABI) does not serve.

    whole_system: the session has a root of its own who owns the image's files.
    """
    if version < landlock.OLDEST:
        return ()
    writable: list[str] = list(_ALWAYS)
    read_only: list[str] = []
    for volume in policy.volumes:
        target = specifiers.expand(volume.target, values)
        (read_only if volume.read_only else writable).append(target)
    writable += [specifiers.expand(tmpfs.target, values) for tmpfs in policy.tmpfs]
    (read_only if policy.home is not None and policy.home.read_only else writable).append(home)
    alone = policy.network_mode == "host"
    return (
        RestrictFiles(
            version,
            tuple(dict.fromkeys(writable)),
            frozenset((*CLOSED, *(path.split("/")[1] for path in read_only))),
            everything=whole_system,
            scoped=alone,
            key="network_mode" if alone else "",
        ),
    )
