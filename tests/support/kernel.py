"""Settings of the kernel that a test changes for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PATTERN = "/proc/sys/kernel/core_pattern"


@contextmanager
def core_pattern(value: str) -> Iterator[None]:
    """Have the kernel do with a core what ``value`` says, within a ``with`` block."""
    with open(PATTERN, encoding="utf-8") as file:
        before = file.read()
    try:
        with open(PATTERN, "w", encoding="utf-8") as file:
            file.write(value)
    except OSError:
        pytest.skip("core_pattern cannot be changed here")
    try:
        yield
    finally:
        with open(PATTERN, "w", encoding="utf-8") as file:
            file.write(before)
