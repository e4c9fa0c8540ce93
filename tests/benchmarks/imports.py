"""The import of an image of 127 layers, the most that docker makes, beside umoci's unpacking of the same."""

from __future__ import annotations

import gzip
import os
import subprocess
import tempfile
import time

from support.host import run
from support.ledger import CACHE
from support.material import directory, entry, oci_layout, tar

from benchmarks.table import Row, Section

CONTROL = "/usr/bin/ssh2containerctl"
LAYERS = 127
BAR = "<= 2"


def measure(rounds: int) -> Section:
    """Import and unpack the layout in turn; each import is of content that the store does not have."""
    name = f"benchmark-{os.getpid()}/layers"
    ours, umoci = [], []
    with tempfile.TemporaryDirectory(dir=CACHE) as place:
        for number in range(max(3, rounds // 10)):
            layout = oci_layout(f"{place}/{number}", [_layer(number, layer) for layer in range(LAYERS)])
            ours.append(_timed([CONTROL, "image", "import", name, f"oci:{layout}"]))
            umoci.append(_timed(["umoci", "unpack", "--image", f"{layout}:latest", f"{layout}.bundle"]))
        run([CONTROL, "image", "rm", name])
    rows = [Row("umoci unpack", "ms", umoci), Row("image import, hashed and on the disk", "ms", ours)]
    rows[1].ratio, rows[1].against, rows[1].bar = rows[1].median / rows[0].median, rows[0].name, BAR
    return Section("imports", f"an OCI layout of {LAYERS} small layers, gzip", rows)


def _layer(number: int, layer: int) -> bytes:
    return gzip.compress(tar([directory("etc"), entry(f"etc/{layer}", b"%d" % number)]))


def _timed(argv: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(argv, check=True, capture_output=True)
    return (time.perf_counter() - start) * 1000
