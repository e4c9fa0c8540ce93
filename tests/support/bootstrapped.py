"""Roots of Debian made from its packages by mmdebstrap, kept compressed: what needs a real distribution."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence

from support import scratch
from support.host import run
from support.ledger import CACHE

_ROOM_BYTES = 600 << 20
"""What mmdebstrap takes at a time of so small a system, measured, and a third more."""
_DEADLINE_SECONDS = 900.0


class NotHere(Exception):
    """Why there can be none on this machine: the text is the reason for a skip."""


def root_of(suite: str, packages: Sequence[str], hooks: Sequence[str]) -> str:
    """Return the archive of a root with ``packages``, made once for each list of them. Raises NotHere.

    hooks: shell lines that run outside of the root, which they have as ``$1`` (mmdebstrap(1)).
    """
    if shutil.which("mmdebstrap") is None:
        raise NotHere("mmdebstrap is not installed")
    key = hashlib.sha256("\n".join((*packages, "", *hooks)).encode()).hexdigest()[:12]
    archive = f"{CACHE}/root-{suite}-{key}.tar.zst"
    if os.path.exists(archive):
        return archive
    made = f"{CACHE}/root-{suite}-{key}.{os.getpid()}.tar"
    command = [
        "mmdebstrap", "--mode=root", "--variant=essential", f"--include={','.join(packages)}", "--quiet",
        *(f"--customize-hook={hook}" for hook in hooks), suite, made,
    ]  # fmt: skip
    try:
        with scratch.directory(_ROOM_BYTES, CACHE) as place:
            environment = {**os.environ, "TMPDIR": place}
            done = subprocess.run(
                command, env=environment, capture_output=True, timeout=_DEADLINE_SECONDS, check=False
            )
    except scratch.NoRoom as short:
        raise NotHere(f"no room for a bootstrap: {short}") from None
    if done.returncode:
        if os.path.exists(made):
            os.unlink(made)
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise NotHere(f"Debian's packages cannot be fetched: {' / '.join(said[-2:])}")
    # Its own compression takes longer than all the rest.
    run(["zstd", "-q", "--rm", made, "-o", archive]).ok()
    return archive
