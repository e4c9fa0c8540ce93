"""What the host unmounts is free at once: a session holds no more of the host than its policy binds."""

from __future__ import annotations

import os
import subprocess

import pytest
from support.host import processes, run, until
from support.login import inside, live
from support.unmounting import KINDS, mounted
from support.users import MakeUser, User

CTL = "ssh2containerctl"


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_holds_none_of_the_hosts_mounts(user: User, kind: str) -> None:
    with mounted(kind) as system, live(user) as session:
        session.ask("sleep 1000 & cd /tmp")
        system.unmount()
        assert system.is_free()
        assert session.ask("echo on") == "on\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_that_lingers_holds_none(make_user: MakeUser, kind: str) -> None:
    user = make_user("image: host\ncontainer_per: user\nlinger: 1h\nstop_grace_period: 1s\n")
    with mounted(kind) as system:
        inside(user, "setsid sleep 1000 </dev/null >/dev/null 2>&1 &").ok()
        system.unmount()
        assert system.is_free()
    run([CTL, "kill", "--user", user.name, "--grace", "3"]).ok()
    until(lambda: not processes(user.uid), "the container is gone")


def test_what_the_policy_binds_is_held(make_user: MakeUser) -> None:
    """The promise is no more than it says; and this is what the tests above would see if it were broken."""
    with mounted("overlay") as system:
        os.chmod(system.place, 0o755)
        user = make_user(f"image: host\nvolumes: ['{system.place}:/mnt:ro']\n")
        with live(user):
            system.unmount()
            assert not system.is_free()
        until(system.is_free, "it is free when the session has ended")


def test_a_namespace_that_keeps_the_hosts_tree_is_noticed() -> None:
    with mounted("overlay") as system:
        command = ["unshare", "--mount", "sh", "-c", "echo; exec sleep 1000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
            assert holder.stdout
            holder.stdout.readline()
            system.unmount()
            assert not system.is_free()
            holder.kill()
        until(system.is_free, "it is free when the namespace is gone")
