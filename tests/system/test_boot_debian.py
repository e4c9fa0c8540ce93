"""Whole systems (``boot``) of Debian's own packages: sysvinit with openrc, systemd with logind."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.booting import Booting, users_of
from support.bootstrapped import NotHere, root_of
from support.host import run, until
from support.outer import outer
from support.users import MakeUser

CONTROL = "/usr/bin/ssh2containerctl"
PROMPT = b"# "
_UEVENT = 15
"""NETLINK_KOBJECT_UEVENT, netlink(7)."""
_NULL = "/sys/devices/virtual/mem/null"
CONSOLE = "/sbin/agetty --skip-login --login-program /bin/sh console linux"
"""What asks nobody who they are."""
SERVICE = """\
#!/bin/sh
### BEGIN INIT INFO
# Provides:          kept
# Required-Start:    $remote_fs
# Required-Stop:     $remote_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: one that says what is done with it
### END INIT INFO
case $1 in
start) echo the service has started ;;
stop) echo the service has been stopped ;;
esac
"""
OPENRC_HOOKS = (
    # As docs/systems.md says: Debian's has gettys on terminals that are not there, and none on the console.
    r"sed -i '/:respawn:.*tty[1-6]$/d' $1/etc/inittab",
    f"echo 'c:2345:respawn:{CONSOLE}' >>$1/etc/inittab",
    f"cat >$1/etc/init.d/kept <<'END'\n{SERVICE}END\nchmod 755 $1/etc/init.d/kept",
    "ln -s /etc/init.d/kept $1/etc/runlevels/default/kept",
)

AUTOLOGIN = """\
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noclear console linux
"""
LISTEN = """\
#!/usr/bin/perl
# AF_NETLINK, SOCK_RAW and SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT; the group 1 is the kernel's.
socket(S, 16, 2051, 15) && bind(S, pack("SSLL", 16, 0, 0, 1)) or die "$!\\n";
$| = 1;
print send(S, "x" x 16, 0, pack("SSLL", 16, 0, 0, 1)) ? "sent\\n" : "$!\\n";
<STDIN>;
$heard++ while defined recv(S, $_, 8192, 0);
print "heard ", $heard + 0, "\\n";
"""
"""Tries to send an event to all that listen to the kernel's, then counts those that it has heard."""
SYSTEMD_HOOKS = (
    f"cat >$1/usr/local/bin/listen <<'END'\n{LISTEN}END\nchmod 755 $1/usr/local/bin/listen",
    "mkdir $1/etc/systemd/system/console-getty.service.d",
    f"cat >$1/etc/systemd/system/console-getty.service.d/login.conf <<'END'\n{AUTOLOGIN}END",
)


def _imported(suite: str, packages: tuple[str, ...], hooks: tuple[str, ...]) -> Iterator[str]:
    try:
        archive = root_of(suite, packages, hooks)
    except NotHere as reason:
        pytest.skip(str(reason))
    name = "boot-" + secrets.token_hex(3)
    run([CONTROL, "image", "import", "--range", name, archive]).ok()
    yield name
    run([CONTROL, "image", "rm", "--force", name]).ok()


@pytest.fixture(scope="module")
def openrc_image() -> Iterator[str]:
    yield from _imported("bookworm", ("sysvinit-core", "openrc"), OPENRC_HOOKS)


@pytest.fixture(scope="module")
def systemd_image() -> Iterator[str]:
    yield from _imported("trixie", ("systemd-sysv", "dbus", "libpam-systemd", "login"), SYSTEMD_HOOKS)


@pytest.fixture
def booting(make_user: MakeUser) -> Iterator[Booting]:
    with users_of("", make_user) as make:
        yield make


def test_sysvinit_with_openrc(booting: Booting, openrc_image: str) -> None:
    """Its own reboot and poweroff end it in its order, each in its way; nothing is left."""
    user, scopes = booting(of=openrc_image)
    with outer(user) as session:
        session.expect(b"the service has started")
        session.expect(PROMPT)
        session.send(b"cat /proc/1/comm; rc-status -r; tty; reboot\r")
        session.expect(b"init\r\ndefault\r\n/dev/console\r\n")
        session.expect(b"the service has been stopped")
        session.expect(b"the system starts again")
        session.expect(b"the service has started")
        session.expect(PROMPT)
        session.send(b"poweroff\r")
        session.expect(b"the service has been stopped")
        session.expect(b"the system has been switched off")
        assert session.ended() == 0
    until(scopes.is_empty, "nothing runs any more")
    assert len(scopes.made) == 2
    assert scopes.groups() == ["supervisor", "system"]


def test_openrc_ends_in_order_when_it_is_asked_to(booting: Booting, openrc_image: str) -> None:
    """It restarts on the signal, which from outside is an end; what is killed has another status."""
    user, scopes = booting("stop_grace_period: 5m\n", of=openrc_image)
    with outer(user) as session:
        session.expect(PROMPT)
        run([CONTROL, "kill", "--user", user.name]).ok()
        session.expect(b"the service has been stopped")
        session.expect(b"the system has ended")
        assert session.ended() == 0
    until(scopes.is_empty, "nothing runs any more")
    assert len(scopes.made) == 1


def _host_tells() -> None:
    """Have the kernel tell of one of the host's devices; it has reached whoever hears it on return."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _UEVENT) as listener:
        listener.bind((0, 1))
        listener.settimeout(10)
        Path(_NULL, "uevent").write_text("change", encoding="ascii")
        until(lambda: b"/mem/null\0" in listener.recv(8192), "the host hears it")


def test_systemd_of_debian_13(booting: Booting, systemd_image: str) -> None:
    """All of it starts, with D-Bus, and logind, who knows of the login; its journal has what programs log.

    Of the kernel's events about devices, without which logind does not start, it hears none of the host's.
    """
    user, scopes = booting(of=systemd_image)
    with outer(user) as session:
        session.expect(PROMPT)
        session.send(b"{ systemctl --version; systemctl is-system-running --wait; loginctl; } | cat\r")
        session.expect(b"systemd 257 ")
        session.expect(b"running\r\n")
        session.expect(b" root seat0 ")
        session.send(b"logger from inside; journalctl --sync; journalctl -o cat -t root | cat\r")
        session.expect(b"from inside\r\n")
        session.send(b"listen\r")
        session.expect(b"Operation not permitted\r\n")
        _host_tells()
        session.send(b"\r")
        session.expect(b"heard 0\r\n")
        session.send(b"poweroff\r")
        session.expect(b"the system has been switched off")
        assert session.ended() == 0
    until(scopes.is_empty, "nothing runs any more")
    assert scopes.groups() == ["supervisor", "system"]
