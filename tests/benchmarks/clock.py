"""Timing commands side by side: one of each in turn, so that what else the machine does hits all alike."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from support.users import User

Command = Sequence[str]
INTERPRETER: Command = ("/usr/bin/python3", "-I", "-S", "-c", "pass")
"""The least that any program in Python takes."""
_PRIORITY = 50


def as_user(user: User, work: Callable[[], Any], *, first: bool = True) -> Any:
    """Run ``work`` in a process of the user's own and return what it returns (of what JSON has).

    first: where the kernel lets us, that process and its children go before all others (SCHED_FIFO,
    sched(7)), because the machine may be busy. A program of many threads that wait for each other gets
    slower by it.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            with contextlib.suppress(PermissionError):
                if first:
                    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
            os.initgroups(user.name, user.gid)
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
            os.chdir("/")
            with open(writer, "w", encoding="utf-8") as pipe:
                json.dump(work(), pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        text = pipe.read()
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("a measurement failed; the reason is above")
    return json.loads(text)


def interleaved(
    commands: Mapping[str, Command], rounds: int, environment: Mapping[str, str]
) -> dict[str, list[float]]:
    """Return the wall time in ms of each command's every run, from spawn to the end of waitpid."""
    null = os.open("/dev/null", os.O_RDWR)
    quiet = [(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1)]
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            began = time.perf_counter_ns()
            child = os.posix_spawnp(command[0], list(command), environment, file_actions=quiet)
            status = os.waitpid(child, 0)[1]
            took = time.perf_counter_ns() - began
            if status:
                raise RuntimeError(f"{name} ended with {status}: {' '.join(command)}")
            if number:  # the first round fills the caches
                times[name].append(took / 1e6)
    os.close(null)
    return times
