"""The root of a small system with this machine's own systemd: Debian 12's on Debian 12, 13's on 13."""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path

from support.host import run
from support.material import busybox_tree

_PROGRAMS = ("/usr/bin/systemctl", "/usr/bin/systemd-detect-virt", "/usr/bin/systemd-run", "/sbin/agetty")
_SYSTEMD = "/usr/lib/systemd"
_SHELL = """\
[Unit]
Description=A shell on the console
[Service]
ExecStart=/bin/sh -l
StandardInput=tty
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
Restart=always
RestartSec=0
SendSIGHUP=yes
TimeoutStopSec=5
"""
GUARDED = """\
[Service]
ProtectSystem=strict
PrivateTmp=yes
CapabilityBoundingSet=CAP_CHOWN
ExecStart=/bin/sh -c 'echo ran >/run/guarded; grep CapBnd /proc/self/status >>/run/guarded; exec sleep 10000'
ExecStop=/bin/echo the service has been stopped
StandardOutput=tty
TTYPath=/dev/console
"""
"""A service that asks for what it gets inside, and for what it does not."""


def systemd_tree(path: str) -> str:
    """Make the root at ``path`` and return it."""
    busybox_tree(path)
    for name in ("lib", "lib64"):
        os.makedirs(f"{path}/usr/{name}", exist_ok=True)
        os.symlink(f"usr/{name}", f"{path}/{name}")
    shutil.copytree(_SYSTEMD, path + _SYSTEMD, symlinks=True, dirs_exist_ok=True)
    os.makedirs(path + "/sbin", exist_ok=True)
    os.symlink("/lib/systemd/systemd", path + "/sbin/init")
    for program in _PROGRAMS:
        if os.path.exists(program):
            shutil.copy(program, path + program)
    for applet in ("grep", "tr", "tail", "poweroff", "mkdir"):
        if not os.path.lexists(f"{path}/bin/{applet}"):
            os.symlink("busybox", f"{path}/bin/{applet}")
    _bring_libraries(path)
    Path(path, "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    shutil.copy("/usr/lib/os-release", path + "/usr/lib/os-release")
    units = Path(path, "etc/systemd/system")
    wants = units / "multi-user.target.wants"
    wants.mkdir(parents=True)
    # What it says of its start would come between what the tests wait for.
    Path(path, "etc/systemd/system.conf").write_text("[Manager]\nShowStatus=no\nLogTarget=null\n")
    os.symlink("/lib/systemd/system/multi-user.target", units / "default.target")
    for name in ("console-getty", "systemd-networkd-wait-online"):
        os.symlink("/dev/null", units / f"{name}.service")
    for name, text in (("console-shell", _SHELL), ("guarded", GUARDED)):
        (units / f"{name}.service").write_text(text)
        os.symlink(f"/etc/systemd/system/{name}.service", wants / f"{name}.service")
    return path


def _bring_libraries(path: str) -> None:
    """Copy what the programs in the tree are linked to, under the names by which they look for it."""
    programs = [
        os.path.join(above, name)
        for top in (path + _SYSTEMD, path + "/usr/bin", path + "/sbin")
        for above, _, names in os.walk(top)
        for name in names
        if _is_program(os.path.join(above, name))
    ]
    found = run(["ldd", *programs]).text
    for library in {*re.findall(r"(/\S+\.so[.\d]*) \(0x", found), *re.findall(r"=> (/\S+) \(0x", found)}:
        if library.startswith((path, _SYSTEMD, "/lib/systemd")):
            continue
        place = path + library
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if not os.path.exists(place):
            shutil.copy(library, place)


def _is_program(path: str) -> bool:
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"
