"""``boot``: the session is a whole system on its terminal, with busybox's init or this machine's systemd."""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.booting import Booting, users_of
from support.host import children, run, until
from support.login import login
from support.material import busybox_tree
from support.outer import outer
from support.sshd import Server
from support.systemd_tree import systemd_tree
from support.users import MakeUser

CONTROL = "/usr/bin/ssh2containerctl"
OURS, REFUSED, NOT_FOUND = 125, 126, 127
INITTAB = """\
::sysinit:/bin/echo it has booted
console::respawn:/bin/sh -l
::shutdown:/bin/echo in order
"""
STAYS = "trap '' TERM; echo staying; while :; do sleep 1; done"
PROMPT = b"# "
POWEROFF = b"kill -USR2 1\r"
"""What busybox's own poweroff does, where no telinit is there."""


@pytest.fixture(scope="module")
def image(module_directory: Callable[[str], Path]) -> Iterator[str]:
    tree = busybox_tree(str(module_directory("tree")))
    os.makedirs(tree + "/sbin")
    os.symlink("../bin/busybox", tree + "/sbin/init")
    for applet in ("ps", "kill", "mkdir", "tty", "tr", "tail", "grep", "poweroff"):
        os.symlink("busybox", f"{tree}/bin/{applet}")
    Path(tree, "etc/inittab").write_text(INITTAB)
    for name, script in (("dies", "exit 3"), ("ends", "exit 0"), ("stays", STAYS)):
        Path(tree, "sbin", name).write_text(f"#!/bin/sh\n{script}\n")
        os.chmod(f"{tree}/sbin/{name}", 0o755)
    name = "boot-" + secrets.token_hex(3)
    run([CONTROL, "image", "import", "--range", name, tree]).ok()
    yield name
    run([CONTROL, "image", "rm", "--force", name]).ok()


@pytest.fixture(scope="module")
def systemd_image(module_directory: Callable[[str], Path]) -> Iterator[str]:
    name = "systemd-" + secrets.token_hex(3)
    run([CONTROL, "image", "import", "--range", name, systemd_tree(str(module_directory("systemd")))]).ok()
    yield name
    run([CONTROL, "image", "rm", "--force", name]).ok()


@pytest.fixture
def booting(image: str, make_user: MakeUser) -> Iterator[Booting]:
    with users_of(image, make_user) as make:
        yield make


def test_it_boots_on_the_terminal(booting: Booting) -> None:
    """Process 1 is the image's init, with a console and control groups of its own; nothing is left."""
    user, scopes = booting()
    with outer(user) as session:
        session.expect(b"it has booted")
        session.expect(PROMPT)
        assert scopes.groups() == ["supervisor", "system", "system/logins"]
        session.send(b"cat /proc/1/comm /proc/1/cgroup; tty; tr '\\0' '\\n' </proc/1/environ\r")
        session.expect(b"init\r\n")
        session.expect(b"0::/\r\n/dev/console\r\n")
        session.expect(b"container=ssh2container")
        session.send(
            b"mkdir /sys/fs/cgroup/a /sys/fs/cgroup/a/b && echo $$ >/sys/fs/cgroup/a/b/cgroup.procs\r"
        )
        session.send(b"echo in $(cat /proc/self/cgroup | tail -n1)\r")
        session.expect(b"in 0::/a/b\r\n")
        session.send(
            b"busybox syslogd -O /dev/console; until [ -S /dev/log ]; do :; done; busybox logger heard\r"
        )
        session.expect(b" root: heard\r\n")
        session.send(POWEROFF)
        session.expect(b"in order")
        session.expect(b"the system has been switched off")
        assert session.ended() == 0
    until(scopes.is_empty, "nothing runs any more")
    assert scopes.groups() == ["supervisor", "system"]


def test_a_restart_begins_anew_on_the_same_terminal(booting: Booting) -> None:
    user, scopes = booting()
    with outer(user) as session:
        session.expect(PROMPT)
        session.send(b"echo x >/etc/left; kill -TERM 1\r")
        session.expect(b"the system starts again")
        session.expect(b"it has booted")
        session.expect(PROMPT)
        session.send(b"cat /etc/left; kill -USR1 1\r")
        session.expect(b"No such file")
        session.expect(b"switched off")
        assert session.ended() == 0
    assert len(scopes.made) == 2


@pytest.mark.parametrize(
    ("boot", "line", "status"),
    [
        ("/sbin/dies", b"the system has ended: its init /sbin/dies gave up with status 3", 3),
        ("/sbin/ends", b"the system has ended\r", 0),
        ("/sbin/missing", b"cannot run /sbin/missing: it is not in the image", NOT_FOUND),
        ("/etc/passwd", b"cannot run /etc/passwd: Permission denied", REFUSED),
    ],
)
def test_an_init_that_does_not_stay(booting: Booting, boot: str, line: bytes, status: int) -> None:
    user, scopes = booting(boot=boot)
    with outer(user) as session:
        session.expect(line)
        assert session.ended() == status
    until(scopes.is_empty, "nothing runs any more")
    assert scopes.groups() == ["supervisor", "system"]


def test_a_killed_init(booting: Booting) -> None:
    user, scopes = booting()
    with outer(user) as session:
        session.expect(PROMPT)
        (ours,) = children(session.process.pid)
        (init,) = [child for child in children(ours.pid) if child.name == "init"]
        os.kill(init.pid, signal.SIGKILL)
        session.expect(b"its init /sbin/init was killed by signal 9")
        assert session.ended() == OURS
    until(scopes.is_empty, "nothing runs any more")


def test_hanging_up_ends_it_in_order(booting: Booting) -> None:
    """What was killed instead would have ended with another status."""
    user, scopes = booting()
    with outer(user) as session:
        session.expect(PROMPT)
    assert session.process.returncode == 0
    until(scopes.is_empty, "nothing runs any more")
    assert scopes.groups() == ["supervisor", "system"]


def test_what_does_not_end_is_killed(booting: Booting) -> None:
    user, scopes = booting("stop_grace_period: 1s\n", boot="/sbin/stays")
    with outer(user) as session:
        session.expect(b"staying")
    assert session.process.returncode == OURS
    until(scopes.is_empty, "nothing runs any more")
    assert scopes.groups() == ["supervisor", "system"]


def test_a_killed_monitor_leaves_nothing(booting: Booting) -> None:
    user, scopes = booting()
    with outer(user) as session:
        session.expect(PROMPT)
        session.send(b"mkdir -p /sys/fs/cgroup/a/b; echo made\r")
        session.expect(b"made\r\n")
        session.process.kill()
        session.ended()
        until(scopes.is_empty, "nothing runs any more")
    assert scopes.groups() == ["supervisor", "system"]
    assert login(user, "-c", "true").status == 0  # the next login removes what is said of a killed one


def test_a_personal_machine_that_logins_enter(booting: Booting) -> None:
    user, scopes = booting("container_per: user\nlinger: 10m\n")
    assert login(user, "-c", "cat /proc/1/comm; echo kept >/etc/kept; tail -n1 /proc/self/cgroup").text == (
        "init\n0::/logins\n"
    )
    with outer(user) as session:
        session.expect(PROMPT)
        session.send(b"cat /etc/kept; tty; ps | grep -c [i]nit\r")
        session.expect(b"kept\r\n/dev/pts/")
        assert run([CONTROL, "exec", user.name, "--", "cat", "/etc/kept"]).ok().text == "kept\n"
        session.send(b"mkdir /sys/fs/cgroup/left; exit 7\r")
        assert session.ended() == 7
    assert login(user, "-c", "cat >/root/there; cat /root/there", stdin=b"sent").out == b"sent"
    assert len(scopes.made) == 1
    # Its init ends, and all who are in it; the next login has a new one.
    assert login(user, "-c", "kill -USR2 1; sleep 100").status != 0
    until(scopes.is_empty, "it has gone")
    assert login(user, "-c", "cat /etc/kept").status == 1
    assert len(scopes.made) == 2
    run([CONTROL, "kill", "--user", user.name]).ok()
    until(scopes.is_empty, "nothing runs any more")


def test_nothing_inside_reaches_who_looks_after_it(booting: Booting) -> None:
    """Root of a system kills all that it sees; the session ends as if it had been switched off."""
    user, _ = booting()
    with outer(user) as session:
        session.expect(PROMPT)
        session.send(b"kill -9 -1\r")
        session.expect(PROMPT)
        session.send(b"mount -t tmpfs x /tmp || echo one; mkdir /sys/x || echo two\r")
        session.expect(b"one\r\n")
        session.expect(b"two\r\n")
        session.send(b"echo 1 >/proc/sys/kernel/panic || echo three; ls -d /proc/[0-9]* | grep -c [0-9]\r")
        session.expect(b"three\r\n")
        session.send(b"poweroff -f\r")
        session.expect(b"switched off")
        assert session.ended() == 0


def test_commands_and_transfers_start_no_system(booting: Booting) -> None:
    user, scopes = booting()
    assert login(user, "-c", "id -u").text == "0\n"
    assert scopes.made == []


def test_without_a_terminal_it_is_refused(booting: Booting) -> None:
    user, _ = booting()
    done = login(user)
    assert (done.status, done.out) == (REFUSED, b"")
    assert done.errors == (
        "ssh2container: this account is a whole system, which needs a terminal: it starts on the terminal of"
        " a login (boot); ask for one: ssh -t\n"
    )


def test_without_a_scope_it_is_refused_and_said_beforehand(booting: Booting) -> None:
    user, scopes = booting()
    scopes.close()
    with outer(user) as session:
        session.expect(b"ssh2container: cannot start a whole system: ")
        session.expect(b"the user's service manager is out of reach")
        assert session.ended() == REFUSED
    done = run([CONTROL, "explain", user.name])
    assert done.status == REFUSED
    assert "cannot start a whole system (boot)" in done.errors


def test_explain_shows_what_runs(booting: Booting) -> None:
    user, _ = booting()
    found = json.loads(run([CONTROL, "explain", "--json", user.name]).text)
    assert found["program"].startswith("execute /sbin/init as: /sbin/init")
    assert found["program_key"] == "boot"
    steps = [one["step"] for one in found["operations"]]
    assert steps.index("console") < steps.index("system", steps.index("console")) < steps.index("pivot-root")


def test_systemd(booting: Booting, systemd_image: str) -> None:
    """It divides its control groups, starts services, and ends in its order: by itself and when asked to."""
    user, scopes = booting(of=systemd_image)
    with outer(user) as session:
        session.expect(PROMPT)
        session.send(b"cat /proc/1/comm; systemd-detect-virt; systemctl is-active guarded\r")
        session.expect(b"systemd\r\n")
        session.expect(b"container-other\r\nactive\r\n")
        session.send(b"cat /run/guarded; cat /proc/self/cgroup | tail -n1\r")
        session.expect(b"ran\r\nCapBnd:\t0000000000000001\r\n")
        session.expect(b"0::/system.slice/console-shell.service\r\n")
        assert {"system/init.scope", "system/system.slice"} <= {*scopes.groups()}
        session.send(b"systemctl reboot\r")
        session.expect(b"the system starts again")
        session.expect(PROMPT)
        session.send(b"systemctl poweroff\r")
        session.expect(b"the service has been stopped")
        session.expect(b"the system has been switched off")
        assert session.ended() == 0
    until(scopes.is_empty, "nothing runs any more")
    assert scopes.groups() == ["supervisor", "system"]


def test_systemd_ends_in_order_when_the_client_hangs_up(booting: Booting, systemd_image: str) -> None:
    user, scopes = booting("stop_grace_period: 5m\n", of=systemd_image)
    with outer(user) as session:
        session.expect(PROMPT)
    assert session.process.returncode == 0
    until(scopes.is_empty, "nothing runs any more")
    assert scopes.groups() == ["supervisor", "system"]


def test_a_personal_machine_with_systemd(booting: Booting, systemd_image: str) -> None:
    user, scopes = booting("container_per: user\nlinger: 10m\n", of=systemd_image)
    command = (
        "until systemctl is-active -q guarded; do sleep 1; done; cat /run/guarded; cat /proc/self/cgroup"
    )
    found = login(user, "-c", command).text.splitlines()
    assert (found[0], found[-1]) == ("ran", "0::/logins")
    run([CONTROL, "kill", "--user", user.name]).ok()
    until(scopes.is_empty, "nothing runs any more")


def test_explain_names_the_services_that_are_less_protected(booting: Booting, systemd_image: str) -> None:
    user, _ = booting(of=systemd_image)
    found = json.loads(run([CONTROL, "explain", "--json", user.name]).text)
    said = {one["unit"]: one["means"] for one in found["units"]}
    assert said["guarded.service"] == "runs without PrivateTmp, ProtectSystem"
    assert "SIGRTMIN+3" in " ".join(one["describe"] for one in found["meanwhile"])


def test_the_corpus_of_escapes_holds_in_a_system(booting: Booting) -> None:
    """What it may do by the policy's word, and in its own pids and control groups alone, is named as that."""
    user, _ = booting()
    done = run([CONTROL, "verify", "--json", user.name])
    found = json.loads(done.text)
    failed = [one for one in found["probes"] if one["result"] == "fail"]
    assert failed == []
    wanted = {one["name"]: one["key"] for one in found["probes"] if one["result"] == "expected-by-policy"}
    for name in ("open /dev/console", "reboot", "loosen the securebits", "netlink kobject_uevent"):
        assert wanted[name] == "boot"
    passed = {one["name"] for one in found["probes"] if one["result"] == "pass"}
    assert {"securebits that outlive a program", "netlink audit"} <= passed


def test_its_control_groups_reach_nobody_outside(booting: Booting) -> None:
    """Root of a system kills all that it counts, which spares its init, then freezes it: it ends in time."""
    user, scopes = booting("stop_grace_period: 1s\n")
    with outer(user) as session:
        session.expect(PROMPT)
        session.send(b"cd /sys/fs/cgroup; mkdir -p a/b c; chmod 0 a/b a; echo threaded >cgroup.type\r")
        session.send(b"echo 1 >cgroup.kill\r")
        session.expect(b">cgroup.kill")
        session.expect(PROMPT)
        session.send(b"echo 1 >/sys/fs/cgroup/cgroup.freeze\r")
        events = Path(scopes.made[0], "system/cgroup.events")
        until(lambda: "frozen 1" in events.read_text(encoding="ascii"), "it is frozen")
    assert session.process.returncode == OURS
    until(scopes.is_empty, "nothing runs any more")
    assert scopes.groups() == ["supervisor", "system"]


def test_files_go_into_a_personal_machine(booting: Booting, sshd: Server, tmp_path: Path) -> None:
    """By scp, sftp and rsync, none of which the image has: each finds what another brought."""
    user, scopes = booting("container_per: user\nlinger: 10m\n")
    (tmp_path / "sent").write_bytes(secrets.token_bytes(100_000))
    client = sshd.client(user)
    with client.terminal() as console:
        console.expect_exact(PROMPT)
        client.scp("-q", f"{tmp_path}/sent", "box:/etc/brought").ok()
        client.sftp("rename /etc/brought /etc/renamed").ok()
        client.rsync("-a", "box:/etc/renamed", f"{tmp_path}/back").ok()
        assert (tmp_path / "back").read_bytes() == (tmp_path / "sent").read_bytes()
        client.rsync("-a", f"{tmp_path}/back", "box:/srv/").ok()
        client.scp("-q", "-O", "box:/srv/back", f"{tmp_path}/again").ok()
        assert (tmp_path / "again").read_bytes() == (tmp_path / "sent").read_bytes()
        console.send(b"cat /proc/1/comm; stat -c %s /etc/renamed; exit 3\r")
        console.expect_exact(b"init\r\n100000\r\n")
        console.wait()
        assert console.exitstatus == 3
    assert len(scopes.made) == 1
    run([CONTROL, "kill", "--user", user.name]).ok()
    until(scopes.is_empty, "nothing runs any more")


def test_a_system_that_is_ended_from_outside_does_not_start_again(booting: Booting) -> None:
    """busybox's init restarts on this signal, as sysvinit does on the one that is its own."""
    user, scopes = booting("stop_signal: SIGTERM\n")
    with outer(user) as session:
        session.expect(PROMPT)
        run([CONTROL, "kill", "--user", user.name]).ok()
        session.expect(b"in order")
        session.expect(b"the system has ended")
        assert session.ended() == 0
    until(scopes.is_empty, "nothing runs any more")
    assert len(scopes.made) == 1


def test_how_many_control_groups_it_may_have(booting: Booting) -> None:
    """The bound is on the scope: what the system writes into its own files raises nothing."""
    user, scopes = booting()
    with outer(user) as session:
        session.expect(PROMPT)
        session.send(b"cd /sys/fs/cgroup; echo max >cgroup.max.descendants; i=0\r")
        session.send(b"while [ $i -lt 2500 ] && mkdir $i 2>/dev/null; do i=$((i+1)); done; echo made $i.\r")
        # 2000, of which three are there already.
        session.expect(b"made 1997.")
        session.send(POWEROFF)
        session.expect(b"the system has been switched off")
        assert session.ended() == 0
    assert scopes.groups() == ["supervisor", "system"]


def test_a_scope_that_cannot_be_bounded_is_refused(booting: Booting) -> None:
    user, scopes = booting()
    scopes.given = tuple(name for name in scopes.given if "max" not in name)
    with outer(user) as session:
        session.expect(b"cannot start a whole system: its scope cannot be divided: Permission denied")
        assert session.ended() == REFUSED
