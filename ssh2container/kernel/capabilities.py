"""What the kernel is told of capabilities (capabilities(7))."""

from __future__ import annotations

_VERSION_3 = 0x20080522

SECUREBITS_LOCKED = 0xEF
"""NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, and KEEP_CAPS off, each with its lock: uid 0 and
execve give nothing."""
KEEP_CAPS_LOCKED = 0x20
"""The lock of KEEP_CAPS alone, with which PR_SET_KEEPCAPS fails: ping of iputils then gives up. Where there
is no capability there is none to keep."""


def sets(kept: frozenset[int]) -> tuple[bytes, bytes]:
    """Return header and data of capset(2) for exactly ``kept`` effective and permitted.

    None is inheritable; the ambient set follows, which never exceeds the inheritable one.
    """
    bits = sum(1 << capability for capability in kept)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    words = (low, low, 0, high, high, 0)  # effective, permitted, inheritable; twice 32 bits
    header = _VERSION_3.to_bytes(4, "little") + bytes(4)
    return header, b"".join(word.to_bytes(4, "little") for word in words)
