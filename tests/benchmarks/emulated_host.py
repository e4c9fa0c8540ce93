"""An emulated machine with systemd for benchmarks, in which the product is installed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

from support import emulated
from support.emulated import INSTALL, System
from support.installation import fetch_wheels


@contextlib.contextmanager
def installed() -> Iterator[System]:
    """Run one until the end of a ``with`` block; :func:`support.emulated.missing` says why none can be."""
    wheels = f"{emulated.CACHE}/wheels"
    fetch_wheels(wheels)
    with (
        tempfile.TemporaryDirectory() as compiled,
        System(emulated.releases()[0], wheels, compiled, processors=2) as system,
    ):
        system.run(INSTALL).ok()
        yield system
