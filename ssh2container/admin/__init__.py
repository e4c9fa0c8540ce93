"""Cold: what no login needs. Nothing outside this package imports it.

A process that does makes by itself what is not compiled; a login has a program do that (``policy.cold``).
"""

from __future__ import annotations

from ssh2container.policy import cold


def _here() -> cold.Maker:
    from .cold import Here

    return Here()


cold.here = _here
