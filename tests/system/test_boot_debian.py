"""Whole systems (``boot``) of Debian's own packages: sysvinit with openrc."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from support.booting import Booting, users_of
from support.bootstrapped import NotHere, root_of
from support.host import run, until
from support.outer import outer
from support.users import MakeUser

CONTROL = "/usr/bin/ssh2containerctl"
PROMPT = b"# "
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
