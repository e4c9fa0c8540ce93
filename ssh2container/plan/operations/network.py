"""The session's network namespace."""

from __future__ import annotations

from . import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script

_AF_INET, _SOCK_DGRAM_CLOEXEC = 2, 2 | 0o2000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_UP = b"lo".ljust(16, b"\0") + _IFF_UP.to_bytes(2, "little") + bytes(22)
"""struct ifreq (netdevice(7))."""


class LoopbackUp(Operation):
    """Bring up the loopback interface, the only one there is."""

    __slots__ = ()
    step = "loopback"

    def describe(self) -> str:
        return "bring up the loopback interface of the session's own network"

    def write(self, script: Script) -> None:
        probe = script.slot()
        script.call("socket", _AF_INET, _SOCK_DGRAM_CLOEXEC, 0, result=probe)
        script.call("ioctl", probe, _SIOCSIFFLAGS, _UP)
        script.close(probe)
