"""A user who exhausts what can be exhausted: others still log in, and after the logout all of it is back.

What each attack costs the others in time is measured by tests/benchmarks/run abuse.
"""

from __future__ import annotations

import os

import pytest
from support.attacks import ATTACKS, Attack, storm_of_logins, under
from support.host import mount_table, until
from support.leaks import assert_nothing_left
from support.login import inside
from support.users import MakeUser, User

MEMORY = [attack for attack in ATTACKS if attack.most == 512]
ATTEMPTS = 4
"""What else runs on the host, an emulated machine that boots for example, may take as much meanwhile."""
OTHERS = [attack for attack in ATTACKS if attack not in MEMORY]


def named(attack: Attack) -> str:
    return attack.name


@pytest.fixture
def attacker(make_user: MakeUser) -> User:
    """A contained user with the plain policy, whose account the kernel keeps for nobody else."""
    return make_user(is_unshared=True)


def keys_of(user: User) -> int:
    """How many keys the kernel has counted for the user (/proc/key-users, proc(5))."""
    with open("/proc/key-users", encoding="ascii") as file:
        for line in file:
            uid, _, counts = line.partition(":")
            if int(uid) == user.uid:
                return int(counts.split()[2].split("/")[0])
    return 0


def available_mib() -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:")) >> 10


@pytest.mark.parametrize("attack", OTHERS, ids=named)
def test_it_meets_its_bound_and_nobody_else_does(attacker: User, user: User, attack: Attack) -> None:
    inside(attacker, "true").ok()
    mounts, keys = mount_table(), keys_of(attacker)
    with under(attacker, attack) as report:
        assert report.met in (attack.met or ("",)), report
        assert inside(user, "echo in >/tmp/x && cat /tmp/x").ok().out == b"in\n"
    assert_nothing_left(attacker, mounts)
    until(lambda: keys_of(attacker) <= keys, "its keys are gone")
    if attack.counted:
        with under(attacker, attack) as again:
            assert again.met == report.met
            assert again.taken >= report.taken * 9 // 10


def comes_back(attacker: User, user: User, attack: Attack) -> bool:
    """Attack, and tell whether half of what that took is available again within a minute."""
    mounts = mount_table()
    with under(attacker, attack) as report:
        assert report.met == ""
        assert report.taken >= attack.most
        inside(user, "true").ok()
        during = available_mib()
    assert_nothing_left(attacker, mounts)
    try:
        until(lambda: available_mib() >= during + attack.most // 2, "the memory is the host's again", 60.0)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("attack", MEMORY, ids=named)
def test_memory_that_only_a_cgroup_bounds_is_given_back(attacker: User, user: User, attack: Attack) -> None:
    assert any(comes_back(attacker, user, attack) for _ in range(ATTEMPTS))


def test_a_storm_of_logins_locks_out_nobody_else(attacker: User, user: User) -> None:
    mounts = mount_table()
    with storm_of_logins(attacker) as statuses:
        until(lambda: len(statuses) >= 20, "some have been")
        inside(user, "true").ok()
    assert set(statuses) <= {0, 126}, statuses
    assert_nothing_left(attacker, mounts)
    inside(attacker, "true").ok()
    assert os.listdir(attacker.runtime_directory) in ([], [".welcomed"])
