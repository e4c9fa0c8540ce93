"""Giving up rights, for good, in the administrator's helpers and in tests; pid 1 does it by itself.

Sources: capabilities(7), prctl(2), seccomp(2).
"""

from __future__ import annotations

import _prctl

from . import capabilities, libc

_SECCOMP_SET_MODE_FILTER = 1
_LAST_KNOWN_TO_PRCTL = 40  # CAP_CHECKPOINT_RESTORE; python-prctl refuses numbers it does not know


def drop_bounding_set(last: int, keep: frozenset[int] = frozenset()) -> None:
    """Drop capabilities 0..``last`` from the bounding set, but for ``keep``."""
    for capability in range(last + 1):
        if capability in keep:
            continue
        if capability <= _LAST_KNOWN_TO_PRCTL:
            _prctl.prctl(_prctl.PR_CAPBSET_DROP, capability)
        else:
            libc.syscall("prctl", _prctl.PR_CAPBSET_DROP, capability, 0, 0, 0)


def set_capabilities(kept: frozenset[int]) -> None:
    """Leave exactly ``kept`` effective and permitted, none inheritable or ambient."""
    header, data = capabilities.sets(kept)
    libc.syscall("capset", bytearray(header), data)


def forbid_new_privileges() -> None:
    """No execve may give rights from here on (PR_SET_NO_NEW_PRIVS)."""
    _prctl.prctl(_prctl.PR_SET_NO_NEW_PRIVS, 1)


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
