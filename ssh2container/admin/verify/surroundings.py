"""What the probes have to know of the host and of the policy, gathered before the container is made.

Many probes need something outside to reach for: without a listening socket, "connection refused"
shows nothing. The baits here are laid by the user, on the host, before their session starts.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ssh2container.admin.verify import partner
from ssh2container.admin.verify.calls import call
from ssh2container.admin.verify.verdicts import Skipped
from ssh2container.kernel import interfaces, landlock
from ssh2container.plan.account import Account
from ssh2container.plan.host import specifier_values
from ssh2container.plan.operations.ranges import MapRange
from ssh2container.plan.ranges import Range
from ssh2container.policy import specifiers

if TYPE_CHECKING:
    from ssh2container.plan.make import Plan
    from ssh2container.policy.policy import Policy

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
_IPC_CREAT, _IPC_EXCL, _IPC_RMID = 0o1000, 0o2000, 0
_KEY_SPEC_SESSION_KEYRING = -3


@dataclass
class Surroundings:
    """Facts for the probes.

    policy, plan: of this session. helper: the static program for what only an exec shows, b"" if
    none was built. namespaces: kind -> identity on the host. pid, started: the monitor's, on the host.
    abstract, path_socket, port: a listening abstract socket, one in /tmp, a TCP port on loopback.
    addresses: the host's, but those of loopback and of one link. everywhere: a port of TCP and UDP at all of
    them, which answers no datagram; 0 where none could be had.
    ipc_key: of a SysV memory segment, a semaphore and a message queue; mqueue: a POSIX queue; "" or 0
    where the host has none. key: serial of a key in the caller's session keyring. files: the user's own
    files in /tmp, /var/tmp, /dev/shm. device: the host's root file system. hostname: the host's.
    core_pattern: what the host does with a core. landlock: the kernel's ABI of it.
    partner: of :func:`partner.tried`. recordings: (device, inode) -> path of the directory in which the
    user's recordings are made, and of those on the way to it.
    """

    helper: bytes
    namespaces: dict[str, str]
    pid: int
    started: str
    hostname: str
    device: tuple[int, int]
    core_pattern: str
    landlock: int
    abstract: str = ""
    path_socket: str = ""
    port: int = 0
    everywhere: int = 0
    addresses: tuple[str, ...] = ()
    ipc_key: int = 0
    mqueue: str = ""
    key: int = 0
    files: list[str] = field(default_factory=list)
    policy: Policy = None  # type: ignore[assignment]  # known once the session's steps have run
    plan: Plan = None  # type: ignore[assignment]
    descriptors: tuple[int, ...] = ()
    partner: list[tuple[str, str]] = field(default_factory=list)
    recordings: dict[tuple[int, int], str] = field(default_factory=dict)
    _open: list[socket.socket] = field(default_factory=list)
    _ipc: list[tuple[str, int]] = field(default_factory=list)

    @classmethod
    def gather(cls, helper: bytes) -> Surroundings:
        """Look at the host and lay the baits; :meth:`remove` takes them away."""
        status = os.stat("/usr")
        with open("/proc/sys/kernel/core_pattern", encoding="utf-8", errors="replace") as file:
            pattern = file.read().strip()
        self = cls(
            helper,
            {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in NAMESPACES},
            os.getpid(),
            start_time(os.getpid()),
            os.uname().nodename,
            (os.major(status.st_dev), os.minor(status.st_dev)),
            pattern,
            landlock.abi(),
        )
        name = "ssh2container-verify-" + secrets.token_hex(6)
        self._listen(name)
        self._share(name)
        for directory in ("/tmp", "/var/tmp", "/dev/shm"):
            path = f"{directory}/{name}"
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            except OSError:
                continue
            self.files.append(path)
        return self

    def know(self, policy: Policy, plan: Plan) -> None:
        """Be told of the session, right before it starts; have a partner outside do what they can."""
        self.policy, self.plan = policy, plan
        maps = next((step for step in plan.container.mapping if isinstance(step, MapRange)), None)
        account = Account.current(os.environb)
        ids = Range.observe(policy, account, plan.container.image) if maps is not None else None
        if maps is not None and ids is not None:
            try:
                self.partner = partner.tried(ids, maps)
            except OSError:
                self.partner = []
        record = policy.record
        if not record.terminal or record.to != "user_directory":
            return
        path = specifiers.expand(record.directory, specifier_values(account, plan.watch.session))
        while path not in ("", "/"):
            try:
                status = os.stat(path)
            except OSError:
                pass  # the first session that is recorded makes it
            else:
                self.recordings[(status.st_dev, status.st_ino)] = path
            path = os.path.dirname(path)

    def _listen(self, name: str) -> None:
        self.abstract = name
        self.path_socket = f"/tmp/{name}.socket"
        for address in ("\0" + name, self.path_socket):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(address)
            listener.listen(4)
            self._open.append(listener)
        tcp = socket.create_server(("127.0.0.1", 0))
        self.port = tcp.getsockname()[1]
        self._open.append(tcp)
        self.addresses = tuple(interfaces.addresses_of(os.getpid()))
        try:
            everywhere = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        except (OSError, ValueError):  # no IPv6
            everywhere = socket.create_server(("0.0.0.0", 0))  # noqa: S104 - what is to be out of reach
        self.everywhere = everywhere.getsockname()[1]
        datagrams = socket.socket(everywhere.family, socket.SOCK_DGRAM)
        if datagrams.family == socket.AF_INET6:
            datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        datagrams.bind((everywhere.getsockname()[0], self.everywhere))
        self._open += (everywhere, datagrams)

    def _share(self, name: str) -> None:
        key = secrets.randbits(30) | 1
        flags = _IPC_CREAT | _IPC_EXCL | 0o666
        try:
            self._ipc.append(("shmctl", call("shmget", key, 4096, flags)))
            self._ipc.append(("semctl", call("semget", key, 1, flags)))
            self._ipc.append(("msgctl", call("msgget", key, flags)))
            self.ipc_key = key
        except OSError:
            pass  # a kernel without SysV IPC, or its limit: the probes say so
        try:
            os.close(call("mq_open", name.encode() + b"\0", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666, None))
            self.mqueue = name
        except OSError:
            pass
        try:
            self.key = call(
                "add_key", b"user\0", name.encode() + b"\0", b"bait", 4, _KEY_SPEC_SESSION_KEYRING
            )
        except OSError:
            pass

    def remove(self) -> None:
        """Take every bait away."""
        for path in (*self.files, self.path_socket):
            try:
                os.unlink(path)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
        for listener in self._open:
            listener.close()
        for name, number in self._ipc:
            call(name, number, *((0,) if name == "semctl" else ()), _IPC_RMID, None)
        if self.mqueue:
            call("mq_unlink", self.mqueue.encode() + b"\0")

    @property
    def uid(self) -> int:
        """The payload's uid inside."""
        return os.getuid()

    @property
    def home(self) -> str:
        """The home inside."""
        return self.plan.payload.directory

    @property
    def set_id_bits(self) -> int:
        """The set-ID bits that the filter lets the session's files have."""
        found = [getattr(step, "bits", None) for step in self.plan.payload.operations]
        return next((bits for bits in found if bits is not None), 0)

    @property
    def shares_network(self) -> bool:
        """Whether the session is on the host's network."""
        return self.policy.network_mode == "host"

    def need_helper(self) -> bytes:
        """Return the static helper; raises Skipped when none was built."""
        if not self.helper:
            raise Skipped("no static helper was built: there was no compiler at installation")
        return self.helper


def weaker_filter(surroundings: Surroundings, calls: tuple[str, ...]) -> str:
    """Return the policy key by which the filter lets one of ``calls`` pass, or is not the shipped one."""
    seccomp = surroundings.policy.seccomp
    if set(calls) & set(seccomp.allow):
        return "seccomp.allow"
    if calls and seccomp.on_violation == "log":
        return "seccomp.on_violation"
    return "seccomp.profile" if calls and seccomp.profile != "default" else ""


def start_time(pid: int) -> str:
    """Return when process ``pid`` began, in ticks since boot: names it (proc_pid_stat(5)); raises OSError."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[19].decode()
