"""Limits of sessions on a whole system: felt inside, counted in the record, gone with the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import limited
from support.emulated import TEST_SECONDS, System, login
from support.host import until
from support.limited import EAT, KILLED, MIB, SLOW_SECONDS, LimitedUser, record

pytestmark = pytest.mark.timeout(TEST_SECONDS)

LIMITS = "storage_opt: {size: 24m, inodes: 1000}\nmem_limit: 64m\npids_limit: 30\ncpus: 0.5\n"
OF_USER = "user_limits: {mem_limit: 400m, pids_limit: 300}\n"
WORDS = "memory to 64 MiB, swap to 0 KiB, processors to 0.5, processes and threads to 30"
MORE = """\
storage_opt: {size: 24m, inodes: 1000}
mem_limit: 64m
memswap_limit: 128m
cpu_shares: 512
blkio_config: {weight: 100, device_write_bps: [{path: /home, rate: 20m}]}
"""
SWAP = "fallocate -l 200M /swap; chmod 600 /swap; mkswap /swap; swapon /swap"


@pytest.fixture(scope="module")
def user(system: System) -> Iterator[LimitedUser]:
    """A user whose sessions are limited, and whose service manager is always there."""
    with limited.patient(system), LimitedUser(system, "limited", LIMITS + OF_USER) as made:
        made.linger()
        yield made


def test_a_payload_that_needs_too_much(system: System, user: LimitedUser) -> None:
    """By PAM and sshd."""
    done = login(system, f"cat /proc/self/cgroup; exec {EAT}", user.name)
    assert done.text == "0::/\n"
    assert done.status == 255  # ssh(1), for a command that a signal ended
    lines = [line for line in done.errors.splitlines() if line.startswith("ssh2container:")]
    assert lines == [KILLED]
    found = record(system)
    assert (found["limits"], found["reason"], found["signal"]) == (WORDS, "oom", "9")
    assert int(found["oom_kills"]) == 1
    assert 60 * MIB <= int(found["memory_peak"]) <= 65 * MIB
    limited.await_no_scopes(system)


def test_a_shell_survives_the_kill_of_its_child(system: System, user: LimitedUser) -> None:
    done = user.runs(
        f"{EAT}; echo status $?; {EAT}; echo status $?; test -e /sys/fs/cgroup || echo closed"
    ).ok()
    assert done.text == "status 137\nstatus 137\nclosed\n"
    assert KILLED in done.errors.splitlines()
    found = record(system)
    assert (found["reason"], found["exit"], found["oom_kills"]) == ("exit", "0", "2")
    assert int(found["cpu_throttled"]) > 0
    shown = system.says(f"ssh2containerctl log --killed {user.name}")
    assert "out of memory: 2 programs killed, the most used was 64.0M; the session went on" in shown


def test_full_memory_files_are_no_kill_and_processes_are_refused(system: System, user: LimitedUser) -> None:
    fork = "for i in $(seq 60); do sleep 60 & done; echo never"
    done = user.runs(f"head -c 100m /dev/zero >/tmp/x; echo status $?; {fork}")
    assert done.text == "status 1\n"
    assert "No space left on device" in done.errors
    assert "Resource temporarily unavailable" in done.errors
    found = record(system)
    assert found["oom_kills"] == "0"
    assert found["pids_peak"] == "30"
    assert int(found["pids_refused"]) > 0
    assert "times no further process, the most were 30" in system.says(
        f"ssh2containerctl log --killed {user.name}"
    )


def test_what_is_used_and_what_root_runs_inside(system: System, user: LimitedUser) -> None:
    user.starts("head -c 20m /dev/zero >/tmp/file; while :; do :; done & exec sleep 1000")

    def is_busy() -> bool:
        found = user.listed()["sessions"]
        return bool(found) and (found[0]["writable"] or 0) >= 20 * MIB and (found[0]["cpu"] or 0) > 0

    until(is_busy, "the session writes and spins", SLOW_SECONDS)
    assert system.says(f"ssh2containerctl exec {user.name} -- cat /proc/self/cgroup") == "0::/"
    found = user.listed()
    (session,), (whole,) = found["sessions"], found["users"]
    assert session["measured"] == "cgroup"
    assert 20 * MIB <= session["memory"] <= 64 * MIB
    assert session["processes"] >= 3  # pid 1, the shell that spins, sleep
    assert session["limits"] == {
        "memory": 64 * MIB, "swap": 0, "cpus": 0.5, "processes": 30, "writable": 24 * MIB,
    }  # fmt: skip
    assert f"/user-{whole['uid']}.slice" in whole["cgroup"]
    assert (whole["limits"]["memory"], whole["limits"]["processes"]) == (400 * MIB, 300)
    assert whole["memory"] > session["memory"], "the user's manager counts, too"
    assert "/64.0M" in system.says(f"ssh2containerctl sessions {user.name}")
    assert "/400M" in system.says(f"ssh2containerctl sessions --by user {user.name}")
    user.end()


def test_swap_shares_and_devices(system: System, user: LimitedUser) -> None:
    """What is in memory at once is more than mem_limit, and no kill; what needs more than the swap is."""
    system.run(SWAP).ok()
    user.rewrite(MORE)
    keep = "head -c {0}m /dev/zero | tail -c {0}m | wc -c"
    # Where swap is slower than what fills memory, the kernel may kill before the swap is full.
    for _ in range(3):
        done = user.runs(f"{keep.format(90)}; {keep.format(140)}").ok()
        if done.text.split()[0] == str(90 * MIB):
            break
    assert done.text.split() == [str(90 * MIB), "0"]
    assert KILLED in done.errors
    assert record(system)["oom_kills"] == "1"
    user.starts("exec sleep 1000")
    until(lambda: limited.scopes(system), "it has a scope", SLOW_SECONDS)
    until(lambda: user.listed()["sessions"], "it is open", SLOW_SECONDS)
    (scope,) = limited.scopes(system)
    assert system.says(f"cat {scope}/memory.max {scope}/memory.swap.max {scope}/cpu.weight").split() == [
        str(64 * MIB), str(64 * MIB), "50",
    ]  # fmt: skip
    assert f" wbps={20 * MIB} " in system.says(f"cat {scope}/io.max")
    assert system.says(f"cat {scope}/io.weight {scope}/io.bfq.weight 2>/dev/null || true").split()[:2] == [
        "default", "20",
    ]  # fmt: skip
    user.end()
    user.rewrite(LIMITS + OF_USER)
    system.run("swapoff /swap; rm /swap").ok()
