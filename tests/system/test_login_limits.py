"""Limits of a login that are too low for a session: every verb says so before anybody is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support.host import DEADLINE_SECONDS
from support.installation import Installation
from support.kernel import core_pattern
from support.sshd import free_port, written

LOW = "/etc/security/limits.d/90-low.conf"
WRITTEN = written("limits")
WAIT = WRITTEN.replace("/root/limits.pid", "/run/sshd.pid")


@pytest.fixture(scope="module")
def login(shared: Installation) -> Iterator[Callable[[], tuple[int, str]]]:
    """Log in as alice at an sshd of the host's, which asks PAM; the value is the status and what it says."""
    machine, port = shared.machine, free_port()
    shared.add_user("alice")
    shared.control("enable", "alice")
    machine.shell(
        "for key in host client; do ssh-keygen -q -t ed25519 -N '' -f /root/limits_$key; done;"
        "install -d -o alice -m 700 ~alice/.ssh;"
        "install -o alice -m 600 /root/limits_client.pub ~alice/.ssh/authorized_keys"
    )
    machine.write(
        "/root/limits_config",
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey /root/limits_host\nPidFile /root/limits.pid\n"
        "UsePAM yes\nInclude /etc/ssh/sshd_config.d/*.conf\n",
    )
    process = machine.spawn("/usr/sbin/sshd", "-D", "-f", "/root/limits_config")
    machine.shell(WRITTEN)
    ssh = (
        f"ssh -F none -i /root/limits_client -p {port} -o StrictHostKeyChecking=no -o LogLevel=ERROR "
        "-o UserKnownHostsFile=/dev/null -o BatchMode=yes alice@127.0.0.1 echo in"
    )

    def log_in() -> tuple[int, str]:
        done = machine.run("bash", "-c", ssh, check=False)
        return done.returncode, done.stdout + done.stderr

    yield log_in
    machine.shell("kill $(cat /root/limits.pid)")
    process.communicate(timeout=DEADLINE_SECONDS)


@pytest.mark.parametrize(
    ("line", "with_handler"),
    [
        ("* hard core 0", True),
        ("* hard nofile 6", False),
        ("@ssh2container - nproc 0", False),
        ("alice hard as 4000", False),
    ],
)
def test_every_verb_says_what_the_login_gets_and_the_remedy_mends_it(
    shared: Installation, login: Callable[[], tuple[int, str]], line: str, *, with_handler: bool
) -> None:
    machine = shared.machine
    with ExitStack() as kernel:
        if with_handler:
            kernel.enter_context(core_pattern("|/usr/bin/sha256sum"))
        assert login() == (0, "in\n")
        assert shared.control("check", check=False).returncode == 0
        machine.write(LOW, f"# how this host was hardened\n{line}\n")
        kernel.callback(machine.shell, f"rm -f {LOW}")
        assert login()[0] != 0
        checked = shared.control("check", check=False)
        assert checked.returncode == 1
        assert f"{LOW}:2" in " ".join((checked.stdout + checked.stderr).split())
        explained = shared.control("explain", "alice", "--", "true", check=False)
        assert explained.returncode != 0
        (found,) = [one for one in shared.doctor("alice") if one["check"] == "user.login"]
        assert found["level"] == "problem"
        # A distribution's own file may set the other of the two limits.
        assert re.search(rf"{re.escape(LOW)}:2(?: and \S+)?: {line.split()[2]} is ", found["text"])
        machine.shell(found["remedy"])
        assert login() == (0, "in\n")
        assert shared.control("check", check=False).returncode == 0
        (found,) = [one for one in shared.doctor("alice") if one["check"] == "user.login"]
        assert found["level"] == "ok"


def test_the_limits_of_the_sshd_that_runs(shared: Installation, login: Callable[[], tuple[int, str]]) -> None:
    """Those that its unit gives it, where no file says anything: LimitNOFILE= and its kind."""
    machine = shared.machine
    assert login() == (0, "in\n")
    before = machine.read("/etc/ssh/sshd_config")
    machine.write("/etc/ssh/sshd_config", f"Port {free_port()}\nListenAddress 127.0.0.1\n{before}")
    machine.shell("ssh-keygen -A; rm -f /run/sshd.pid")
    process = machine.spawn("bash", "-c", "ulimit -n 12; exec /usr/sbin/sshd -D")
    try:
        machine.shell(f"({WAIT})")
        pid = machine.read("/run/sshd.pid").strip()
        (found,) = [one for one in shared.doctor("alice") if one["check"] == "user.login"]
        assert found["level"] == "problem"
        assert f"the sshd that runs (pid {pid}): nofile is 12, at most 12" in found["text"]
        command = f"prlimit --pid {pid} --nofile=524288:524288"
        assert found["remedy"] == f"{command} (for good: LimitNOFILE=524288 in its unit)"
        # A machine in a container may have no right to raise a limit (capabilities(7), CAP_SYS_RESOURCE).
        may_raise = machine.run("bash", "-ec", "ulimit -n 12; ulimit -Hn 13", check=False).returncode == 0
        if not may_raise:
            command = f"kill {pid}; rm -f /run/sshd.pid; /usr/sbin/sshd; {WAIT}"
        machine.shell(command)
        (found,) = [one for one in shared.doctor("alice") if one["check"] == "user.login"]
        assert found["level"] == "ok"
    finally:
        machine.shell("kill $(cat /run/sshd.pid)")
        process.communicate(timeout=DEADLINE_SECONDS)
        machine.write("/etc/ssh/sshd_config", before)
