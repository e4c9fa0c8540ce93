"""The kernel's switches around user namespaces, and what to do when a step of a session fails."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from ssh2container.admin.change import read_or_none
from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import NOTE, OK, PROBLEM, WARNING, Finding
from ssh2container.plan import ranges

if TYPE_CHECKING:
    from collections.abc import Iterator

_SYSCTL = "/proc/sys/"
_APPARMOR = "kernel/apparmor_restrict_unprivileged_userns"
_CLONE = "kernel/unprivileged_userns_clone"
_MAX = "user/max_user_namespaces"
_PROFILES = "/sys/kernel/security/apparmor/profiles"
PROFILE = "ssh2container"


def sysctl(name: str) -> int | None:
    """Return a number below /proc/sys, None where this kernel does not have it."""
    text = read_or_none(_SYSCTL + name)
    return int(text.split()[0]) if text and text.split()[0].lstrip("-").isdigit() else None


def profile_loaded() -> bool:
    """Return whether AppArmor has our profile."""
    try:
        lines = (read_or_none(_PROFILES) or "").splitlines()
    except OSError:
        return False
    return any(line.split(" ")[0] == PROFILE for line in lines)


def in_container() -> str:
    """Return what kind of container this host itself runs in, "" for none."""
    if os.path.exists("/.dockerenv"):
        return "docker"
    if os.path.exists("/run/.containerenv"):
        return "podman"
    return (read_or_none("/run/systemd/container") or "").strip()


def remedy(step: str, number: int) -> str:
    """Return what to do when ``step`` failed with errno ``number``: by what is set here, not by guess."""
    container = in_container()
    refused = number in (errno.EPERM, errno.EACCES)
    known = (
        (number == errno.ENOSPC and sysctl(_MAX) == 0, _RAISE_MAX),
        (refused and sysctl(_CLONE) == 0, _ALLOW_CLONE),
        (refused and sysctl(_APPARMOR) == 1 and not profile_loaded(), _LOAD_PROFILE),
        (refused and container, f"this host is a {container} container: it has to allow user namespaces"),
        (number == errno.EINVAL and step == "namespaces", "use a kernel with all kinds of namespaces"),
        (number == errno.ENODEV, "the kernel lacks a file system: modprobe overlay"),
    )
    return next((what for applies, what in known if applies), "")


_RAISE_MAX = "sysctl user.max_user_namespaces=10000 (persistently: /etc/sysctl.d)"
_ALLOW_CLONE = "sysctl kernel.unprivileged_userns_clone=1 (persistently: /etc/sysctl.d)"
_LOAD_PROFILE = "load the profile: apparmor_parser -r /etc/apparmor.d/ssh2container"


@check.of_host("kernel", place=20)
def examine() -> Iterator[Finding]:
    """Yield how the switches stand; the trial decides whether that matters."""
    if sysctl(_MAX) == 0:
        yield Finding(
            PROBLEM,
            "kernel.max_user_namespaces",
            "",
            "user.max_user_namespaces is 0",
            _RAISE_MAX,
        )
    if sysctl(_CLONE) == 0:
        yield Finding(
            PROBLEM,
            "kernel.unprivileged_userns_clone",
            "",
            "kernel.unprivileged_userns_clone is 0",
            _ALLOW_CLONE,
        )
    if sysctl(_APPARMOR) == 1:
        if profile_loaded():
            yield Finding(
                OK, "kernel.apparmor", "", "AppArmor restricts user namespaces, and our profile is loaded"
            )
        else:
            yield Finding(
                PROBLEM,
                "kernel.apparmor",
                "",
                "AppArmor restricts user namespaces and our profile is not loaded",
                _LOAD_PROFILE,
            )
    yield from _uidmap()
    if (read_or_none(_SYSCTL + "kernel/core_pattern") or "").startswith("@"):
        yield Finding(
            PROBLEM,
            "kernel.core_pattern",
            "",
            "crashes inside sessions reach the host's core handler: kernel.core_pattern names a socket,"
            " to which no limit applies",
            "set kernel.core_pattern to a file, or to a program after | (persistently: /etc/sysctl.d)",
        )
    if read_or_none("/etc/ld.so.preload"):
        yield Finding(
            WARNING,
            "kernel.ld-so-preload",
            "/etc/ld.so.preload",
            "libraries are loaded into every program, ours too",
            "make sure that every file named there belongs to root",
        )


def _uidmap() -> Iterator[Finding]:
    """Yield whether a policy with userns_mode: range could work."""
    helper = ranges.missing_helper()
    if not helper:
        yield Finding(OK, "kernel.uidmap", "", "newuidmap and newgidmap are there")
        return
    yield Finding(
        NOTE,
        "kernel.uidmap",
        "",
        f"{helper} is missing: only policies with userns_mode: range need it",
        ranges.INSTALL_HELPERS,
    )
