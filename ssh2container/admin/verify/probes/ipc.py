"""Sockets, queues, keys and networks of the host (part of the group of processes)."""

from __future__ import annotations

import os
import socket
import stat
from errno import (
    EACCES,
    EAFNOSUPPORT,
    EBADF,
    ECONNREFUSED,
    EINVAL,
    ENETUNREACH,
    ENODATA,
    ENOENT,
    ENOKEY,
    ENOSYS,
    EPERM,
)
from typing import TYPE_CHECKING

from ssh2container import paths
from ssh2container.admin.verify.calls import call
from ssh2container.admin.verify.probe import refusal, require
from ssh2container.admin.verify.probes.processes import GROUP
from ssh2container.admin.verify.verdicts import Escaped, Skipped, Weak

if TYPE_CHECKING:
    from ssh2container.admin.verify.surroundings import Surroundings

_KEYCTL_READ, _KEYCTL_DESCRIBE = 11, 6
_SESSION = -3


def _network(surroundings: Surroundings) -> str:
    return "network_mode" if surroundings.shares_network else ""


@GROUP.check("the host's SysV memory, semaphores and queues are absent", "sysvipc(7), ipc_namespaces(7)")
def _sysv(surroundings: Surroundings) -> str:
    if not surroundings.ipc_key:
        raise Weak("the host has no SysV IPC")
    key = surroundings.ipc_key
    expected = (ENOENT, ENOSYS, EPERM)
    refusal(lambda: call("shmget", key, 4096, 0o666), expected)
    refusal(lambda: call("semget", key, 1, 0o666), expected)
    return refusal(lambda: call("msgget", key, 0o666), expected)


@GROUP.check("the host's POSIX queues are absent", "mq_overview(7), ipc_namespaces(7)")
def _queue(surroundings: Surroundings) -> str:
    if not surroundings.mqueue:
        raise Weak("the host has no POSIX queues")
    name = surroundings.mqueue.encode()
    return refusal(lambda: call("mq_open", name, os.O_RDWR, 0, None), (ENOENT, ENOSYS, EPERM, EACCES))


@GROUP.check("SysV lists show nothing", "proc_sysvipc(5)")
def _sysv_lists(_: Surroundings) -> str:
    for name in ("shm", "sem", "msg"):
        try:
            with open(f"/proc/sysvipc/{name}", encoding="ascii") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            continue
        require(len(lines) == 1, f"/proc/sysvipc/{name} lists {len(lines) - 1}")
    return "headings only"


def _connect(kind: int, address: str | tuple[str, int]) -> None:
    client = socket.socket(kind)
    client.settimeout(5)
    try:
        client.connect(address)
    finally:
        client.close()


GROUP.refused(
    "connect to the host's abstract socket",
    "unix(7), network_namespaces(7); CVE-2020-15257",
    lambda s: _connect(socket.AF_UNIX, "\0" + s.abstract),
    ECONNREFUSED,
    EPERM,
    excuse=_network,
)
GROUP.refused(
    "connect to the host's loopback",
    "network_namespaces(7)",
    lambda s: _connect(socket.AF_INET, ("127.0.0.1", s.port)),
    ECONNREFUSED,
    EPERM,
    EACCES,
    ENETUNREACH,
    excuse=_network,
)
GROUP.refused(
    "connect to a socket in the host's /tmp",
    "unix(7)",
    lambda s: _connect(socket.AF_UNIX, s.path_socket),
    ENOENT,
)
for _path in (
    "/run/dbus/system_bus_socket", "/run/systemd/private", "/run/systemd/journal/stdout", "/dev/log",
    "/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock",
    "/run/libvirt/libvirt-sock", "/tmp/.X11-unix/X0", "/run/pcscd/pcscd.comm", "/run/snapd.socket",
    paths.COLLECTOR,
):  # fmt: skip
    GROUP.refused(
        f"connect to {_path}",
        "unix(7)",
        lambda _, path=_path: _connect(socket.AF_UNIX, path),  # type: ignore[misc]
        ENOENT,
        EACCES,
        weak=(ECONNREFUSED,),
    )


@GROUP.check(
    "no socket of the administrator's tools is in reach", "unix(7); run/views.py, sessions/entering.py"
)
def _our_sockets(_: Surroundings) -> str:
    """Whoever connects to ``watch`` first, or listens in place of pid 1, would be believed."""
    found = [
        f"{place}/{name}"
        for place, _, names in os.walk(paths.RUNTIME)
        for name in names
        if stat.S_ISSOCK(os.lstat(f"{place}/{name}").st_mode)
    ]
    require(not found, ", ".join(found))
    return "none"


@GROUP.check("the user's own services on the host are absent", "user@.service; DBUS_SESSION_BUS_ADDRESS")
def _user_services(surroundings: Surroundings) -> str:
    for uid in {os.getuid(), 0, 1000}:
        for name in ("bus", "systemd/private", "gnupg/S.gpg-agent", "keyring/ssh"):
            refusal(lambda p=f"/run/user/{uid}/{name}": _connect(socket.AF_UNIX, p), (ENOENT,))  # type: ignore[misc]
    agent = os.environ.get("SSH_AUTH_SOCK")
    require(not agent or surroundings.policy.allow_agent_forwarding, f"an agent at {agent}")
    return "none"


@GROUP.check(
    "the session has a loopback interface and no other",
    "network_namespaces(7)",
    excuse=lambda s: (
        "network_mode" if s.policy.network_mode != "none" else "networks" if s.policy.networks else ""
    ),
)
def _interfaces(_: Surroundings) -> str:
    names = [name for _, name in socket.if_nameindex()]
    require(set(names) <= {"lo"}, ", ".join(names))
    with open("/proc/net/route", encoding="ascii") as file:
        routes = file.read().splitlines()[1:]
    require(not routes, f"{len(routes)} routes")
    return ", ".join(names) or "none at all"


@GROUP.check("the host's connections are not listed", "proc_net(5)", excuse=_network)
def _connections(surroundings: Surroundings) -> str:
    with open("/proc/net/tcp", encoding="ascii") as file:
        require(f":{surroundings.port:04X} " not in file.read(), "the host's sockets are listed")
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        require(surroundings.abstract not in file.read(), "the host's abstract sockets are listed")
    return "neither TCP nor abstract"


GROUP.refused(
    "add a key",
    "add_key(2), keyrings(7); CVE-2016-0728",
    lambda _: call("add_key", b"user", b"verify", b"x", 1, _SESSION),
    EPERM,
    ENOSYS,
    calls=("add_key",),
)
GROUP.refused(
    "request a key",
    "request_key(2)",
    lambda _: call("request_key", b"user", b"verify", None, _SESSION),
    EPERM,
    ENOSYS,
    calls=("request_key",),
)
GROUP.refused(
    "keyctl on the session keyring",
    "keyctl(2)",
    lambda _: call("keyctl", _KEYCTL_DESCRIBE, _SESSION, bytearray(64), 64, 0),
    EPERM,
    ENOSYS,
    calls=("keyctl",),
)


@GROUP.check("read a key of the caller's session keyring", "session-keyring(7)")
def _key(surroundings: Surroundings) -> str:
    if not surroundings.key:
        raise Weak("the host has no keyrings")
    expected = (EPERM, ENOSYS, EACCES, ENOKEY, ENODATA)
    return refusal(lambda: call("keyctl", _KEYCTL_READ, surroundings.key, bytearray(16), 16, 0), expected)


@GROUP.check("files of the user in the host's shared directories are absent", "hier(7)")
def _shared_files(surroundings: Surroundings) -> str:
    if not surroundings.files:
        raise Skipped("no bait could be laid")
    for path in surroundings.files:
        require(not os.path.lexists(path), f"{path} is visible")
    return ", ".join(os.path.dirname(path) for path in surroundings.files)


@GROUP.check("the host's name is not the session's", "uts_namespaces(7)")
def _host_name(surroundings: Surroundings) -> str:
    name = os.uname().nodename
    if name == surroundings.hostname:
        raise Escaped(f"both are called {name}")
    return name


GROUP.refused(
    "the socket of a parent directory by descriptor",
    "CVE-2024-21626",
    lambda _: os.stat("../../../../../run/sshd", dir_fd=0),
    ENOENT,
    20,  # ENOTDIR
    EBADF,
    EACCES,
)
GROUP.refused(
    "send a descriptor's credentials as root",
    "unix(7), SCM_CREDENTIALS",
    lambda _: _forge_credentials(),
    EPERM,
    EINVAL,  # a uid that is not mapped
)


def _forge_credentials() -> int:
    left, right = socket.socketpair()
    right.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    words = b"".join(value.to_bytes(4, "little") for value in (1, 0 if os.getuid() else 1, 0))
    return left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, words)])


GROUP.refused(
    "watch the whole file system",
    "fanotify_init(2)",
    lambda _: call("fanotify_init", 0, 0),
    EPERM,
    ENOSYS,
    weak=(EINVAL, EAFNOSUPPORT),
    calls=("fanotify_init",),
)
