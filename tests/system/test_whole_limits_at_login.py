"""How logins come to the limits of their sessions on a whole system: by PAM or not, many at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import limited
from support.emulated import TEST_SECONDS, System, login
from support.host import until
from support.limited import EAT, KILLED, MIB, SLOW_SECONDS, LimitedUser, record

pytestmark = pytest.mark.timeout(TEST_SECONDS)

LIMITS = "storage_opt: {size: 24m, inodes: 1000}\nmem_limit: 64m\npids_limit: 30\n"
SHARED = LIMITS + "container_per: user\nlinger: 10m\n"
REFUSED = "ssh2container: cannot limit the session to what its policy allows (memory to 64 MiB,"
WITHOUT_PAM = "/etc/ssh/sshd_config.d/05-without-pam.conf"
AT_ONCE = 100


@pytest.fixture(scope="module")
def user(system: System) -> Iterator[LimitedUser]:
    """A user whose sessions are limited, and whose service manager comes and goes with the logins."""
    with LimitedUser(system, "coming", LIMITS) as made:
        yield made


@pytest.fixture(scope="module")
def patient(system: System) -> Iterator[None]:
    """From the first test on that asks for it."""
    with limited.patient(system):
        yield


@pytest.fixture
def without_pam(system: System) -> Iterator[None]:
    """The sshd that runs does not ask PAM."""
    system.run(f"echo 'UsePAM no' >{WITHOUT_PAM}; systemctl reload ssh.service").ok()
    yield
    system.run(f"rm {WITHOUT_PAM}; systemctl reload ssh.service")
    until(lambda: login(system, "true").status == 0, "sshd has read its files", SLOW_SECONDS)


def test_a_manager_that_is_silent(system: System, user: LimitedUser) -> None:
    """As installed, a login waits a second. What is asked of a manager that comes back later does no harm."""
    user.linger()
    manager = f"systemctl kill --kill-whom=main user@{user.uid}.service --signal"
    system.run(f"{manager} STOP").ok()
    refused = user.runs("echo it ran")
    assert (refused.status, refused.text) == (126, "")
    assert refused.errors.startswith(REFUSED)
    assert "it does not answer" in refused.errors
    user.rewrite(LIMITS + "limits: best\n")
    assert user.runs("echo it ran").ok().text == "it ran\n"
    assert record(system)["limits"].startswith("none: the user's service manager is out of reach")
    assert "goes on without limits" in record(system, "note")["text"]
    found = system.run(f"ssh2containerctl doctor {user.name} --exit-zero").text
    assert "sessions go on without limits" in " ".join(found.split())
    system.run(f"{manager} CONT").ok()
    answers = f"systemctl --user -M {user.name}@ is-system-running"
    until(lambda: system.says(f"{answers} || true") == "running", "it answers again", SLOW_SECONDS)
    limited.await_no_scopes(system)
    user.rewrite(LIMITS)


def test_without_a_manager(system: System, user: LimitedUser) -> None:
    user.end_manager()
    done = user.runs("echo it ran")
    assert (done.status, done.text) == (126, "")
    assert done.errors.startswith(REFUSED)
    assert record(system, "refused")["step"] == "limits"
    user.rewrite(LIMITS + "limits: best\n")
    assert user.runs("echo it ran").ok().text == "it ran\n"
    assert record(system)["limits"].startswith("none: the user's service manager is out of reach")
    user.rewrite(LIMITS)


def test_an_administrator_has_masked_the_manager(system: System, user: LimitedUser) -> None:
    user.end_manager()
    unit = f"user@{user.uid}.service"
    system.run(f"systemctl mask {unit}").ok()
    done = login(system, "echo it ran", user.name)
    assert (done.status, done.text) == (126, "")
    assert done.errors.startswith(REFUSED)
    checked = system.run("ssh2containerctl check")
    assert checked.status == 1
    assert f"{unit} is masked" in " ".join(checked.text.split())
    system.run(f"systemctl unmask {unit}").ok()
    assert system.run("ssh2containerctl check").status == 0


@pytest.mark.usefixtures("patient")
def test_logins_that_share_a_container_share_a_scope(system: System, user: LimitedUser) -> None:
    """Without linger the manager ends with the last login; the owner, a process of one, keeps it."""
    user.rewrite(SHARED)
    system.run("""
        mkdir -p /run/systemd/logind.conf.d
        printf '[Login]\\nUserStopDelaySec=0\\n' >/run/systemd/logind.conf.d/test.conf
        systemctl restart systemd-logind.service
    """).ok()
    system.run(f"""
        ssh -i /root/.ssh/id -o StrictHostKeyChecking=no {user.name}@localhost \
            'echo kept >/tmp/kept; exec sleep 1000' </dev/null >/dev/null 2>&1 &
    """)
    until(lambda: system.run(f"pgrep -u {user.name} -fx 'sleep 1000'").status == 0, "it runs", SLOW_SECONDS)
    done = login(system, f"{EAT}; echo status $?; cat /proc/self/cgroup /tmp/kept", user.name).ok()
    assert done.text == "status 137\n0::/\nkept\n"
    assert KILLED in done.errors.splitlines()
    assert record(system)["oom_kills"] == "1"
    (scope,) = limited.scopes(system)
    assert system.run(f"grep -qx $(pgrep -u {user.name} -fx 'sleep 1000') {scope}/cgroup.procs").status == 0
    (shared,) = user.listed()["containers"]
    assert (shared["measured"], shared["oom_kills"]) == ("cgroup", 1)
    assert (shared["limits"]["memory"], shared["limits"]["processes"]) == (64 * MIB, 30)
    system.run(f"pkill -u {user.name} -fx 'sleep 1000'").ok()
    until(lambda: not user.listed()["sessions"], "both logins are over", SLOW_SECONDS)
    until(lambda: system.run(f"pgrep -u {user.name} -x sshd").status == 1, "sshd has gone", SLOW_SECONDS)
    assert login(system, "cat /tmp/kept", user.name).ok().text == "kept\n"
    assert limited.scopes(system) == [scope]
    user.end()
    found = record(system, "container-close")
    assert found["oom_kills"] == "1"
    assert 60 * MIB <= int(found["memory_peak"]) <= 65 * MIB
    system.run("rm /run/systemd/logind.conf.d/test.conf; systemctl restart systemd-logind.service").ok()
    user.rewrite(LIMITS)


@pytest.mark.usefixtures("patient", "without_pam")
def test_an_sshd_without_pam_needs_a_manager_that_is_always_there(system: System, user: LimitedUser) -> None:
    user.end_manager()
    until(lambda: (done := login(system, "echo it ran", user.name)).status != 255 and done, "sshd answers")
    done = login(system, "echo it ran", user.name)
    assert (done.status, done.text) == (126, "")
    assert done.errors.startswith(REFUSED)
    assert "\n" not in done.errors.rstrip("\n")
    assert record(system, "refused")["step"] == "limits"
    checked = system.run("ssh2containerctl check")
    assert checked.status == 1
    assert "sshd starts no service manager (UsePAM no)" in " ".join(checked.text.split())
    explained = system.run(f"ssh2containerctl explain {user.name} -- true")
    assert explained.status == 126
    assert f"loginctl enable-linger {user.name}" in explained.errors
    user.linger()
    assert system.run("ssh2containerctl check").status == 0
    where = login(system, "cat /proc/self/cgroup; exec sleep 1000 >/dev/null 2>&1 &", user.name).ok()
    assert where.text == "0::/\n"
    assert record(system)["limits"].startswith("memory to 64 MiB")
    limited.await_no_scopes(system)


@pytest.mark.usefixtures("patient")
def test_a_hundred_logins_at_once_beside_one_manager(system: System, user: LimitedUser) -> None:
    user.linger()
    user.rewrite(LIMITS + "sessions: {max: none}\n")
    shell = f"runuser -u {user.name} -- /usr/bin/ssh2container"
    said = system.says(f"""
        cd $(mktemp -d)
        for n in $(seq {AT_ONCE}); do
            ({shell} -c 'cat /proc/self/cgroup' </dev/null >$n 2>&1 && echo ended >>$n) &
        done
        wait
        cat * | sort | uniq -c
    """)  # fmt: skip
    assert said.split() == [str(AT_ONCE), "0::/", str(AT_ONCE), "ended"]
    limited.await_no_scopes(system)
    assert system.says(f"systemctl --user -M {user.name}@ list-units --failed --no-legend") == ""
    user.rewrite(LIMITS)
