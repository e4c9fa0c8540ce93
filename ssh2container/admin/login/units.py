"""A whole system, explained: how it ends, and which services ask for protection that no container can give.

systemd goes on without a mount namespace that it may not make, and says so to nobody (systemd.exec(5),
Sandboxing; exec_needs_mount_namespace in its src/core). The image's files are read as data, inside its root.
"""

from __future__ import annotations

import os
import signal
import stat
from typing import TYPE_CHECKING

from ssh2container.kernel import mounts
from ssh2container.plan.greeting import spell
from ssh2container.plan.whole import SystemScope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.plan.make import Plan

_PLACES = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
"""Where units are, the first place that has one (systemd.unit(5))."""
_ENABLED = (".wants", ".requires")
_NOT_HELD = frozenset(
    (
        "BindPaths", "BindReadOnlyPaths", "DeviceAllow", "DevicePolicy", "ExecPaths", "IPAddressAllow",
        "IPAddressDeny", "InaccessiblePaths", "MountAPIVFS", "NoExecPaths", "PrivateDevices", "PrivateIPC",
        "PrivateMounts", "PrivateNetwork", "PrivateTmp", "PrivateUsers", "ProcSubset", "ProtectControlGroups",
        "ProtectHome", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules",
        "ProtectKernelTunables", "ProtectProc", "ProtectSystem", "ReadOnlyPaths", "ReadWritePaths",
        "RestrictFileSystems", "RootDirectory", "RootImage", "TemporaryFileSystem",
    )
)  # fmt: skip
"""What takes a namespace, or a program of the kernel's, that nobody inside may make."""
ON = ("1", "yes", "true", "on")
_OFF = ("", "no", "false", "off", "0", "default", "all")
_LONGEST = 1 << 16


def of_system(scope: SystemScope, plan: Plan) -> list[tuple[str, str]]:
    """Return (key, words) of what is done about a whole system, and when it ends."""
    asked, ended = _name(scope.start.stop_signal), spell(plan.container.grace)
    words = f"ask the system to end by {asked} when the person hangs up, and kill it {ended} later"
    found = [("stop_signal", words)]
    if plan.container.per == "session":
        found.append(("boot", "end the session when it is switched off, and start it anew when it restarts"))
    else:
        first = scope.init
        found.append(("boot", f"keep a system that {first} has started, and enter it with what follows"))
    return found


def _name(number: int) -> str:
    """Return the name of a signal (signal(7))."""
    beyond = number - int(signal.SIGRTMIN)
    return f"SIGRTMIN+{beyond}" if beyond >= 0 else signal.Signals(number).name


def less_protected(plan: Plan) -> list[dict[str, str]]:
    """Return the enabled services of the image that ask for more than they get, each with what it means."""
    scope = plan.container.scope
    if not isinstance(scope, SystemScope) or scope.kind != "systemd":
        return []
    root = os.open(plan.container.image.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = ((unit, _meaning(_settings(root, unit))) for unit in sorted(_enabled(root)))
        return [{"unit": unit, "means": means} for unit, means in found if means]
    finally:
        os.close(root)


def _meaning(settings: dict[str, str]) -> str:
    asked = sorted(
        name for name, value in settings.items() if name in _NOT_HELD and value.lower() not in _OFF
    )
    said = [f"runs without {', '.join(asked)}"] if asked else []
    if settings.get("DynamicUser", "").lower() in ON:
        said.append("does not start (DynamicUser)")
    return "; ".join(said)


def _enabled(root: int) -> Iterator[str]:
    seen: set[str] = set()
    for place in _PLACES:
        for directory in _names(root, place):
            if directory.endswith(_ENABLED):
                seen |= {name for name in _names(root, f"{place}/{directory}") if name.endswith(".service")}
    yield from seen


def _names(root: int, path: str) -> list[str]:
    try:
        directory = mounts.open_path(path, mounts.RESOLVE_IN_ROOT, directory=root)
    except OSError:
        return []
    try:
        return os.listdir(f"/proc/self/fd/{directory}")
    except OSError:
        return []
    finally:
        os.close(directory)


def _settings(root: int, unit: str) -> dict[str, str]:
    """Return the last values of [Service] in a unit; one of a template is in the template."""
    template = f"{unit.partition('@')[0]}@.service" if "@" in unit else unit
    for place in _PLACES:
        text = _read(root, f"{place}/{template}")
        if text is not None:
            return _parsed(text)
    return {}


def _read(root: int, path: str) -> str | None:
    try:
        place = mounts.open_path(path, mounts.RESOLVE_IN_ROOT, directory=root)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            return None
        with open(f"/proc/self/fd/{place}", "rb") as file:
            return file.read(_LONGEST).decode("utf-8", "replace")
    except OSError:
        return None
    finally:
        os.close(place)


def _parsed(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and line[0] not in "#;":
            name, _, value = line.partition("=")
            found[name.strip()] = value.strip()
    return found
