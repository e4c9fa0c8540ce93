"""The session's network namespace."""

from __future__ import annotations

from . import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script

AF_INET, SOCK_DGRAM_CLOEXEC = 2, 2 | 0o2000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
_UP = b"lo".ljust(16, b"\0") + IFF_UP.to_bytes(2, "little") + bytes(22)
"""struct ifreq (netdevice(7))."""
_SETTINGS = {
    "ipv4/tcp_rmem": b"4096 32768 65536",
    "ipv4/tcp_wmem": b"4096 16384 65536",
}
"""Below /proc/sys/net: bytes of a TCP socket's buffers, smallest, first, largest (tcp(7))."""
WIDE = {
    "ipv4/tcp_rmem": b"4096 131072 2097152",
    "ipv4/tcp_wmem": b"4096 65536 2097152",
}
"""The same for a network with a way out, whose packets of 64 kB would stop and go with less."""


class LoopbackUp(Operation):
    """Bring up the loopback interface, the only one there is."""

    __slots__ = ()
    step = "loopback"
    why = "programs expect 127.0.0.1; this one is the session's own"

    def describe(self) -> str:
        return "bring up the loopback interface of the session's own network"

    def write(self, script: Script) -> None:
        probe = script.slot()
        script.call("socket", AF_INET, SOCK_DGRAM_CLOEXEC, 0, result=probe)
        script.call("ioctl", probe, SIOCSIFFLAGS, _UP)
        script.close(probe)


class LimitBuffers(Operation):
    """Let a connection hold little memory: all networks of the host take it from one pool (tcp_mem).

    Who has emptied that pool slows every connection of the host down, loopback first. The loopback is as fast
    with buffers of this size. wide: whether there is a way out, which needs more.
    """

    __slots__ = ("wide",)
    step = "network-buffers"
    why = "connections on all networks of the host share one memory pool"

    def __init__(self, *, wide: bool = False) -> None:
        super().__init__()
        self.wide = wide

    def describe(self) -> str:
        most = "2048" if self.wide else "64"
        return f"let connections in the session's own network hold {most} kB each way"

    def write(self, script: Script) -> None:
        for name, value in (WIDE if self.wide else _SETTINGS).items():
            script.write(f"/proc/sys/net/{name}", value)
