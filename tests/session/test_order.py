"""What pid 1 is told: an order that is cut, changed or not ours is not carried out, whole or by halves."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.host import processes, run, until
from support.login import finish, start
from support.users import User

INIT = os.path.realpath("/usr/lib/ssh2container/current") + "/init"
HEAD = 72
"""Bytes of the order's head; its check is at 52."""
DRIVER = """
import fcntl, json, os, select, sys
sys.path.insert(0, os.path.realpath("/usr/lib/ssh2container/current"))
from ssh2container.kernel import namespaces, process, signals
from ssh2container.plan.account import Account
from ssh2container.plan.host import Host, specifier_values
from ssh2container.plan.make import make
from ssh2container.plan.request import Request
from ssh2container.policy import store
from ssh2container.run import channel, order, packets
signals.block()
signals.reset()
account = Account.current(os.environb)
policy = store.load(account.name, account.groups).expanded(specifier_values(account, "0123456789"))
environment = dict(os.environb)
host = Host.observe(policy, account, "0123456789")
plan = make(Request.parse([b"-c", b"echo ran"], environment), account, policy, host, environment)
file = order.new()
order.write(plan.container, plan.payload, b"", file)
whole = os.pread(file, 1 << 24, 0)
print(json.dumps(len(whole)))
sys.stdout.flush()
for line in sys.stdin:
    changes, size, checked = json.loads(line)
    content = bytearray(whole)
    for at, value in changes:
        content[at % len(content)] ^= value
    content = content[:size]
    if checked:
        content[52:56] = bytes(4)
        from binascii import crc32
        content[52:56] = crc32(content).to_bytes(4, "little")
    told = order.seal(bytes(content))
    ours, theirs = packets.pair()
    pid, pidfd = namespaces.spawn(
        plan.container.namespaces, (theirs.fileno(), told, -1), order.opening(plan.container), waits=False
    )
    theirs.close()
    ours.send(channel.ORDER)
    os.close(told)
    kinds = ""
    while True:
        try:
            kind, *_ = packets.receive(ours)
        except TimeoutError:
            break  # it was told that others would come
        ours.settimeout(2)
        kinds += kind.decode()
        if not kind or kind in (channel.STATUS, channel.ERROR, channel.FAILED):
            break
    ours.close()
    print(json.dumps([os.waitpid(pid, 0)[1], kinds]))
    sys.stdout.flush()
    os.close(pidfd)
"""


class Driver:
    """Starts pid 1 as the user, with orders that are changed."""

    def __init__(self, user: User) -> None:
        self._process = start(user, before=["/usr/bin/python3", "-ISB", "-c", DRIVER])
        assert self._process.stdout
        self.size = int(self._process.stdout.readline())

    def ask(
        self, changes: list[tuple[int, int]], size: int | None = None, *, checked: bool = False
    ) -> tuple[int, str]:
        """Raw wait status and what was said."""
        assert self._process.stdin
        assert self._process.stdout
        question = [changes, self.size if size is None else size, checked]
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()
        while not (line := self._process.stdout.readline()).startswith(b"["):
            assert line, finish(self._process)
        status, said = json.loads(line)
        return status, said

    def end(self) -> None:
        finish(self._process)


@pytest.fixture(scope="module")
def driver(shared_user: User) -> Driver:
    run(["ssh2containerctl", "compile"]).ok()
    return Driver(shared_user)


REFUSED = (125 << 8, "E")


def test_a_whole_order_is_carried_out(driver: Driver) -> None:
    assert driver.ask([]) == (0, "SX")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=1))
def test_a_changed_order_is_refused(driver: Driver, changes: list[tuple[int, int]]) -> None:
    assert driver.ask(changes) == REFUSED


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1 << 20))
def test_a_cut_order_is_refused(driver: Driver, size: int) -> None:
    assert driver.ask([], size % driver.size) == REFUSED


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.integers(0, HEAD - 1), st.integers(1, 255)), min_size=1, max_size=3)
    | st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=20)
)
def test_an_order_that_lies_never_crashes_pid_1(driver: Driver, changes: list[tuple[int, int]]) -> None:
    """With a check that fits it is refused, an operation fails, or it is done: no death by a signal."""
    status, said = driver.ask(changes, checked=True)
    assert os.WIFEXITED(status), (status, said)
    assert said in ("E", "F", "SX", "SE", "SF", "", "S"), said


def test_nothing_is_left(driver: Driver, shared_user: User) -> None:
    driver.end()
    until(lambda: not processes(shared_user.uid), "every pid 1 has ended")


def test_nobody_but_root_reads_the_program_of_pid_1() -> None:
    """That makes its process one that the user cannot look into (prctl(2), PR_SET_DUMPABLE)."""
    found = os.stat(INIT)
    assert (found.st_uid, found.st_mode & 0o777) == (0, 0o711)


def test_the_program_does_nothing_for_who_starts_it_by_hand(shared_user: User) -> None:
    done = finish(start(shared_user, before=["/usr/bin/env", "--", INIT]))
    assert (done.status, done.out, done.errors) == (125, b"", "")
