"""Letting the host forward for bridges of ours, and taking that back with the last of them."""

from __future__ import annotations

import contextlib
import json
import os

from ssh2container.admin import atomic
from ssh2container.admin.change import read_or_none
from ssh2container.admin.durable import listed, read_json

BEFORE = "/var/lib/ssh2container/bridges/settings"
"""What the settings were that we changed."""
FORWARD = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
_SYS = "/proc/sys/net"


def begin(versions: set[int]) -> None:
    """Let the host forward, and keep what it did before."""
    before: dict[str, str] = {}
    for version in sorted(versions):
        if read(FORWARD[version]) == "0":
            before |= {name: value for name in _moved_by(version) if (value := read(name)) is not None}
    _keep_settings({**before, **_settings_before()})
    for name, value in before.items():
        # A host that forwards heeds routers' announcements, its own default route, with 2 alone (ip-sysctl).
        if name.endswith("/accept_ra") and value == "1":
            _write(name, "2")
    for version in versions:
        if FORWARD[version] in before:
            _write(FORWARD[version], "1")


def _moved_by(version: int) -> list[str]:
    """Return the switch of forwarding, and what the kernel or we change with it (inet_forward_change)."""
    family = FORWARD[version].partition("/")[0]
    kinds = ("forwarding", "accept_redirects") if version == 4 else ("forwarding", "accept_ra")  # noqa: PLR2004
    devices = listed(f"{_SYS}/{family}/conf")
    return [FORWARD[version], *(f"{family}/conf/{device}/{kind}" for kind in kinds for device in devices)]


def _settings_before() -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        return {str(name): str(value) for name, value in read_json(BEFORE).items()}
    return {}


def _keep_settings(before: dict[str, str]) -> None:
    path = BEFORE
    if before:
        atomic.write(path, json.dumps(before, indent=1) + "\n")
        return
    with contextlib.suppress(OSError):
        os.unlink(path)


def read(name: str) -> str | None:
    """Return a setting below /proc/sys/net, None where the kernel has none of that name."""
    text = read_or_none(f"{_SYS}/{name}")
    return None if text is None else text.strip()


def _write(name: str, value: str) -> None:
    with open(f"{_SYS}/{name}", "w", encoding="ascii") as file:
        file.write(value)


def end(needed: set[str]) -> None:
    """Put back what it was before, but what bridges that are left still need (:data:`FORWARD`)."""
    kept = {}
    for name, value in _settings_before().items():
        if any(one.startswith(name.partition("/")[0]) for one in needed):
            kept[name] = value
        elif read(name) not in (None, value):
            _write(name, value)
    _keep_settings(kept)
