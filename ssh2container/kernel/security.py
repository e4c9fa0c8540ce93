"""Giving up rights, for good: capabilities, securebits, no_new_privs, seccomp, keyrings.

Sources: capabilities(7), prctl(2), seccomp(2).
"""

from __future__ import annotations

import _prctl

from . import libc

_SECCOMP_SET_MODE_FILTER = 1
_LAST_KNOWN_TO_PRCTL = 40  # CAP_CHECKPOINT_RESTORE; python-prctl refuses numbers it does not know
_CAPABILITY_VERSION_3 = 0x20080522

SECUREBITS_LOCKED = 0xEF
"""NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, and KEEP_CAPS off, each with its lock: uid 0 and
execve give nothing."""


def drop_bounding_set(last: int, keep: frozenset[int] = frozenset()) -> None:
    """Drop capabilities 0..``last`` from the bounding set, but for ``keep``."""
    for capability in range(last + 1):
        if capability in keep:
            continue
        if capability <= _LAST_KNOWN_TO_PRCTL:
            _prctl.prctl(_prctl.PR_CAPBSET_DROP, capability)
        else:
            libc.syscall("prctl", _prctl.PR_CAPBSET_DROP, capability, 0, 0, 0)


def capability_sets(capabilities: frozenset[int]) -> tuple[bytes, bytes]:
    """Return header and data of capset(2) for exactly ``capabilities`` effective and permitted.

    None is inheritable; the ambient set follows, which never exceeds the inheritable one.
    """
    bits = sum(1 << capability for capability in capabilities)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    words = (low, low, 0, high, high, 0)  # effective, permitted, inheritable; twice 32 bits
    header = _CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4)
    return header, b"".join(word.to_bytes(4, "little") for word in words)


def set_capabilities(capabilities: frozenset[int]) -> None:
    """Leave exactly ``capabilities`` effective and permitted, none inheritable or ambient."""
    header, data = capability_sets(capabilities)
    libc.syscall("capset", bytearray(header), data)


def forbid_new_privileges() -> None:
    """No execve may give rights from here on (PR_SET_NO_NEW_PRIVS)."""
    _prctl.prctl(_prctl.PR_SET_NO_NEW_PRIVS, 1)


RECORD = 1 << 1
"""Flag of a filter: what it refuses is written to the kernel's log (SECCOMP_FILTER_FLAG_LOG)."""


def load_filter(bpf: bytes, flags: int = 0) -> int:
    """Load the compiled seccomp filter ``bpf`` for this thread and all that it starts.

    Returns 0, or what the flags ask for (a listener's descriptor). Raises OSError; EINVAL for a
    filter that the kernel finds malformed, or for a flag that it does not know.
    """
    size_of_instruction = 8
    length = len(bpf) // size_of_instruction
    # struct sock_fprog: a short, padded to the pointer after it
    program = length.to_bytes(8, "little") + libc.address(bpf).to_bytes(8, "little")
    return libc.syscall("seccomp", _SECCOMP_SET_MODE_FILTER, flags, program)
