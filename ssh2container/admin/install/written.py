"""Which pages of its own data the interpreter writes to while its core starts, for the short start.

A page of a program's data is copied when it is first written to. Each costs a fault; the kernel takes
half of the time where it is told of many at once (``native/launcher/start.c``). Which they are depends on
the very program, so the installer measures them: the short start runs a bundle whose only code tells
(:mod:`.probe`). Where another interpreter runs later, other pages are copied in vain, and that is all.
"""

from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import tempfile

from ssh2container.admin.install import bundle, compact
from ssh2container.policy.cold import PYTHON

_DEADLINE_S = 60


def option(library: str) -> str:
    """Return the compiler's option that tells the short start, "" where nothing was written to.

    library: the short start, built without it. Raises OSError and subprocess.SubprocessError.
    """
    code = compact.code_of(os.path.dirname(__file__) + "/probe.py")
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(library, f"{place}/start.so")
        with open(bundle.path_of(place), "wb") as file:
            marshal.dump((code, [], {}, {}), file)
        done = subprocess.run(
            [PYTHON, "-ISB", "probe"],
            env={"LD_PRELOAD": f"{place}/start.so"},
            stdout=subprocess.PIPE,
            check=True,
            timeout=_DEADLINE_S,
        )
    runs = [line.split() for line in done.stdout.decode().splitlines()]
    return "-DWRITTEN=" + ",".join(f"{{{at},{size}}}" for at, size in runs) if runs else ""
