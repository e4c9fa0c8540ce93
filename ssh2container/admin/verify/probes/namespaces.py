"""Namespaces: none can be made, none but the own can be joined (part of the group of mounts)."""

from __future__ import annotations

import _thread
import os
from errno import EACCES, EINVAL, ENOSPC, ENOSYS, EPERM, EROFS
from typing import TYPE_CHECKING

from ssh2container.admin.verify.calls import call, clone, clone3
from ssh2container.admin.verify.probe import require
from ssh2container.admin.verify.probes.mounts import GROUP
from ssh2container.admin.verify.verdicts import Escaped
from ssh2container.kernel import namespaces

if TYPE_CHECKING:
    from ssh2container.admin.verify.surroundings import Surroundings


for _kind, _flag in (
    ("mount", namespaces.CLONE_NEWNS),
    ("network", namespaces.CLONE_NEWNET),
    ("pid", namespaces.CLONE_NEWPID),
    ("ipc", namespaces.CLONE_NEWIPC),
    ("uts", namespaces.CLONE_NEWUTS),
    ("cgroup", namespaces.CLONE_NEWCGROUP),
    ("time", namespaces.CLONE_NEWTIME),
):
    GROUP.refused(
        f"unshare a {_kind} namespace",
        "unshare(2)",
        lambda _, flag=_flag: call("unshare", flag),  # type: ignore[misc]
        EPERM,
        weak=(EINVAL,),
        calls=("unshare",),
    )
GROUP.refused(
    "unshare a user namespace",
    "user_namespaces(7); CVE-2022-0185",
    lambda _: call("unshare", namespaces.CLONE_NEWUSER),
    EPERM,
    ENOSPC,
    calls=("unshare",),
)
GROUP.refused(
    "clone into a user namespace",
    "clone(2); CVE-2022-0185",
    lambda _: clone(namespaces.CLONE_NEWUSER),
    EPERM,
    ENOSPC,
    calls=("clone",),
)
GROUP.refused(
    "clone into user and mount namespaces",
    "clone(2)",
    lambda _: clone(namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNS),
    EPERM,
    ENOSPC,
    calls=("clone",),
)
GROUP.refused(
    "clone3 into a user namespace",
    "clone3(2)",
    lambda _: clone3(namespaces.CLONE_NEWUSER),
    EPERM,
    ENOSPC,
    ENOSYS,
    calls=("clone3",),
)


GROUP.refused(
    "clone into a user namespace with high bits set",
    "clone(2); CVE-2019-10063's way",
    lambda _: clone(namespaces.CLONE_NEWUSER | 1 << 32),
    EPERM,
    ENOSPC,
    calls=("clone",),
)
GROUP.refused(
    "unshare a user namespace with high bits set",
    "unshare(2); CVE-2019-10063's way",
    lambda _: call("unshare", namespaces.CLONE_NEWUSER | 1 << 32),
    EPERM,
    ENOSPC,
    EINVAL,
    calls=("unshare",),
)


@GROUP.check("the second lock on user namespaces", "namespaces(7), max_user_namespaces")
def _second_lock(_: Surroundings) -> str:
    path = "/proc/sys/user/max_user_namespaces"
    with open(path, encoding="ascii") as file:
        value = file.read().strip()
    require(value == "0", f"{path} is {value}")
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except OSError as error:
        require(error.errno in (EACCES, EROFS, EPERM), f"{path}: {error}")
        return "0, and cannot be raised"
    try:
        os.write(descriptor, b"100")
    except OSError as error:
        return f"0, and cannot be raised ({error.strerror})"
    raise Escaped(f"{path} can be raised")


@GROUP.check("threads and processes still work", "clone3(2), NOTES; pthread_create(3)", works=True)
def _threads(_: Surroundings) -> str:
    lock = _thread.allocate_lock()
    lock.acquire()
    _thread.start_new_thread(lock.release, ())
    require(lock.acquire(timeout=20), "a thread did not run")
    child = os.fork()
    if child == 0:
        os._exit(7)
    require(os.waitpid(child, 0)[1] == 7 << 8, "a child did not run")
    return "a thread, a fork"


for _kind in ("mnt", "pid", "net", "user", "ipc", "uts", "cgroup"):
    GROUP.refused(
        f"open the {_kind} namespace of pid 1",
        "setns(2); ptrace(2), access mode checking",
        lambda _, kind=_kind: os.open(f"/proc/1/ns/{kind}", os.O_RDONLY),  # type: ignore[misc]
        EACCES,
        EPERM,
    )


def _join_own(kind: str, flag: int) -> None:
    def attempt(_: Surroundings) -> int:
        return call("setns", os.open(f"/proc/self/ns/{kind}", os.O_RDONLY), flag)

    GROUP.refused(f"setns to the own {kind} namespace", "setns(2)", attempt, EPERM, EINVAL, calls=("setns",))


_join_own("mnt", namespaces.CLONE_NEWNS)
_join_own("user", namespaces.CLONE_NEWUSER)


@GROUP.check("setns by a pidfd of pid 1", "setns(2), pidfd_open(2)", calls=("setns", "pidfd_open"))
def _join_by_pidfd(_: Surroundings) -> str:
    try:
        descriptor = call("pidfd_open", 1, 0)
        call("setns", descriptor, namespaces.CLONE_NEWNS)
    except OSError as error:
        require(error.errno in (EPERM, ENOSYS), str(error))
        return error.strerror or ""
    raise Escaped("joined the mount namespace of pid 1")


@GROUP.check("every namespace is the session's own", "namespaces(7)")
def _own_namespaces(surroundings: Surroundings) -> str:
    shared = [
        kind
        for kind, outside in surroundings.namespaces.items()
        if os.readlink(f"/proc/self/ns/{kind}") == outside
        and not (kind == "net" and surroundings.shares_network)
    ]
    require(not shared, "shared with the host: " + ", ".join(shared))
    return ", ".join(surroundings.namespaces)


def _excuse_network(surroundings: Surroundings) -> str:
    return "network_mode" if surroundings.shares_network else ""


@GROUP.check("the network namespace is the session's own", "network_namespaces(7)", excuse=_excuse_network)
def _own_network(surroundings: Surroundings) -> str:
    own = os.readlink("/proc/self/ns/net")
    require(own != surroundings.namespaces["net"], "shared with the host")
    return own
