"""pyseccomp, imported so that nobody else's programs run.

It looks libseccomp up with ctypes.util.find_library, which may run gcc and ld from ``$PATH``
(CPython, Lib/ctypes/util.py). A login that has to build a filter still has the client's
environment, and is outside the container.
"""

from __future__ import annotations

import os

_kept = dict(os.environb)
os.environb.clear()
os.environb[b"PATH"] = b"/usr/sbin:/usr/bin:/sbin:/bin"
try:
    import pyseccomp
finally:
    os.environb.clear()
    os.environb.update(_kept)

__all__ = ["pyseccomp"]
