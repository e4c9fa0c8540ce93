"""Limits over everything of a user, and of a site, on a whole system: in force at once, for all they name."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.emulated import TEST_SECONDS, System
from support.host import Done, until
from support.limited import SLOW_SECONDS, LimitedUser

pytestmark = pytest.mark.timeout(TEST_SECONDS)

POLICY = """\
extends: [shell]
storage_opt: {size: 8m, inodes: 1000}
user_limits:
  mem_limit: 128m
  pids_limit: 60
  cpus: 0.5
  blkio_config: {weight: 100, device_write_bps: {path: /home, rate: 20m}}
"""


@pytest.fixture(scope="module")
def user(system: System) -> Iterator[LimitedUser]:
    """A user who has limits, and a process that keeps their slice."""
    with LimitedUser(system, "bounded", POLICY) as made:
        system.run(
            f"systemd-run --quiet --unit=holder su - {made.name} -s /bin/sh -c 'exec sleep 100000'"
        ).ok()
        until(
            lambda: kernel(system, made, "pids.current") not in ("", "0"),
            "the slice has a process",
            SLOW_SECONDS,
        )
        yield made
        system.run("systemctl stop holder")


def kernel(system: System, user: LimitedUser, file: str) -> str:
    """What the kernel holds for the user's slice, "" while there is none."""
    done = system.run(f"cat /sys/fs/cgroup/user.slice/user-$(id -u {user.name}).slice/{file}")
    return done.text.rstrip("\n")


def outside(system: System, user: LimitedUser, command: str) -> Done:
    """Run a command as the user without the login shell: by PAM, out of a service of the host."""
    words = f"su - {user.name} -s /bin/sh -c {command!r}"
    return system.run(f"systemd-run --quiet --collect --pipe --wait {words}")


def found(system: System, user: LimitedUser) -> dict[str, str]:
    """What the doctor says of limits, by the name of the check."""
    told = json.loads(system.says(f"ssh2containerctl doctor {user.name} --json --exit-zero"))["findings"]
    return {
        one["check"]: f"{one['level']}: {one['text']}" for one in told if one["check"].startswith("limits.")
    }


def test_the_kernel_has_what_the_policy_says(system: System, user: LimitedUser) -> None:
    files = ("memory.max", "memory.swap.max", "pids.max", "cpu.max")
    assert [kernel(system, user, file) for file in files] == [str(128 << 20), "0", "60", "50000 100000"]
    assert f"wbps={20 << 20} " in kernel(system, user, "io.max")


def test_sessions_and_what_sshd_runs_are_below_it(system: System, user: LimitedUser) -> None:
    system.run(
        f"ssh -i /root/.ssh/id -o StrictHostKeyChecking=no {user.name}@localhost sleep 100 >/dev/null 2>&1 &"
    )
    until(lambda: system.run(f"pgrep -u {user.name} -fx 'sleep 100'").status == 0, "it runs", SLOW_SECONDS)
    groups = system.says(
        f"for pid in $(pgrep -u {user.name}); do cat /proc/$pid/cgroup; done || true"
    ).split()
    assert len(groups) > 4, "sshd, the monitor, the container and its program"
    assert {line.startswith(f"0::/user.slice/user-{user.uid}.slice/") for line in groups} == {True}
    system.run(f"pkill -u {user.name} -fx 'sleep 100'")


def test_processes_and_memory_outside_of_any_session_are_limited(system: System, user: LimitedUser) -> None:
    done = outside(system, user, "for n in $(seq 100); do sleep 20 & done")
    assert "Cannot fork" in done.text + done.errors
    assert kernel(system, user, "pids.peak") == "60"
    system.run(f"pkill -u {user.name} -fx 'sleep 20'")
    done = outside(system, user, "tail /dev/zero; echo status $?")
    assert done.text == "status 137\n"
    assert "oom_kill 1\n" in kernel(system, user, "memory.events") + "\n"


def test_a_changed_policy_is_in_force_for_what_runs(system: System, user: LimitedUser) -> None:
    config, pids = "/etc/ssh2container/config.yaml", "cat /sys/fs/cgroup/user.slice/pids.max"
    system.run(f"""
        cp -a {config} /root/; echo 'site_limits: {{pids_limit: 3000}}' >>{config}
        sed -i 's/pids_limit: 60/pids_limit: 70/' {user.file}
    """).ok()
    until(lambda: kernel(system, user, "pids.max") == "70", "the slice has the new limit", SLOW_SECONDS)
    until(lambda: system.says(pids) == "3000", "the slice around all users has the limit", SLOW_SECONDS)
    system.run(f"cp -a /root/config.yaml {config}").ok()
    until(lambda: system.says(pids) == "max", "the limit is gone", SLOW_SECONDS)


def test_the_doctor_names_who_overrides_a_limit(system: System, user: LimitedUser) -> None:
    unit = f"user-{user.uid}.slice"
    ours = f"/etc/systemd/system/{unit}.d/50-ssh2container.conf"
    assert "limits.changed" not in found(system, user)
    system.run(f"systemctl set-property {unit} MemoryMax=1G").ok()
    told = found(system, user)["limits.users"]
    assert told.startswith(
        f"warning: {unit} has other limits than user_limits: MemoryMax is 1073741824 in place of 134217728"
    )
    assert f"/{unit}.d/50-MemoryMax.conf" in told
    system.run(f"systemctl revert {unit}; ssh2containerctl compile").ok()
    assert kernel(system, user, "memory.max") == str(128 << 20)
    # Whoever edits our file means it: it stays, also when the policy changes.
    system.run(f"sed -i s/TasksMax=.*/TasksMax=90/ {ours}; systemctl daemon-reload").ok()
    told = found(system, user)["limits.changed"]
    assert told == f"note: {ours} was changed by hand, and is left as it is"
    assert "TasksMax is 90 in place of 70" in found(system, user)["limits.users"]
    system.run("ssh2containerctl compile").ok()
    assert kernel(system, user, "pids.max") == "90"
    system.run(f"rm {ours}; ssh2containerctl compile").ok()
    assert kernel(system, user, "pids.max") == "70"


def test_the_doctor_says_where_no_device_looks_at_weights(system: System, user: LimitedUser) -> None:
    assert kernel(system, user, "io.weight") == "default 20"
    assert found(system, user)["limits.weight"].startswith("warning: no block device here shares by weight")
    scheduler = "/sys/block/vda/queue/scheduler"
    before = system.says(f"sed 's/.*\\[//; s/\\].*//' {scheduler}")
    system.run(f"echo bfq >{scheduler}; systemctl daemon-reload").ok()
    assert "limits.weight" not in found(system, user)
    assert kernel(system, user, "io.bfq.weight").split()[-1] == "20"
    system.run(f"echo {before} >{scheduler}").ok()


def test_who_is_no_longer_contained_has_the_hosts_limits_again(system: System, user: LimitedUser) -> None:
    uid = user.uid
    system.run(f"ssh2containerctl disable {user.name}").ok()
    assert kernel(system, user, "memory.max") == "max"
    assert system.run(f"test -e /etc/systemd/system/user-{uid}.slice.d").status == 1
