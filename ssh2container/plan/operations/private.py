"""The interface of a private network: a tap in the session's own, whose other side is a program outside.

Sources: netdevice(7), route(8), ip(7), ipv6(7), icmp(7); the kernel's Documentation/networking/tuntap.rst and
ip-sysctl.rst. Imported only for a plan that has such a network.
"""

from __future__ import annotations

import posix as os

from ssh2container.kernel import mounts
from ssh2container.kernel import private_network as inside

from . import Operation
from .network import AF_INET, IFF_UP, SIOCSIFFLAGS, SOCK_DGRAM_CLOEXEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script, Slot

DEVICE = "/dev/net/tun"
INTERFACE = "tap0"

_KEY = "network_mode"
_AF_INET6 = 10
_TUNSETIFF, _TUNSETIFINDEX, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x400454DA, 0x2, 0x1000
_SIOCADDRT, _SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFMTU = 0x890B, 0x8916, 0x891C, 0x8922
_IFF_RUNNING = 0x40
_RTF_UP_GATEWAY = 0x1 | 0x2
_INDEX = 100
"""Of the interface: beyond those of any that the kernel puts into a new network by itself (sit0, tunl0 …)."""
_SETTINGS6 = {"disable_ipv6": b"0", "accept_dad": b"0", "accept_ra": b"0", "autoconf": b"0"}
"""Below /proc/sys/net/ipv6/conf/tap0: the one address is fixed, and nobody else is there to have it."""


class MakeTap(Operation):
    """Make the interface, in the session's own network: later no process inside has the right to (tun)."""

    __slots__ = ()
    step = "network"
    why = "what leaves the session's network comes to a program outside, which has the rules"
    remedies = {
        2: "load the kernel's module for it, now and at each boot: modprobe tun",
        6: "load the kernel's module for it, now and at each boot: modprobe tun",
        13: f"let users open it, as udev does: chmod 0666 {DEVICE}",
        19: "load the kernel's module for it, now and at each boot: modprobe tun",
    }

    def __init__(self) -> None:
        super().__init__(_KEY)

    def describe(self) -> str:
        return f"make the interface {INTERFACE} by {DEVICE}, in the session's own network"

    def write(self, script: Script) -> None:
        tap = script.named(INTERFACE)
        how = (os.O_RDWR | os.O_CLOEXEC).to_bytes(8, "little") + bytes(16)
        script.call("openat2", mounts.AT_FDCWD, DEVICE, how, len(how), result=tap, at=DEVICE)
        script.call("ioctl", tap, _TUNSETIFINDEX, _INDEX.to_bytes(4, "little"), at=DEVICE)
        flags = (_IFF_TAP | _IFF_NO_PI).to_bytes(2, "little")
        script.call("ioctl", tap, _TUNSETIFF, _request(flags), at=DEVICE)


class SetUpTap(Operation):
    """Give the interface its addresses and routes, ready at once: nobody is asked whether they are free."""

    __slots__ = ("has_ipv6",)
    step = "network"
    why = MakeTap.why

    def __init__(self, *, has_ipv6: bool) -> None:
        super().__init__(_KEY)
        self.has_ipv6 = has_ipv6

    def describe(self) -> str:
        six = (
            f" and {inside.OWN6}/{inside.PREFIX6}, {inside.GATEWAY6}"
            if self.has_ipv6
            else ", and no IPv6, as the host has none"
        )
        four = f"{inside.OWN4}/{inside.PREFIX4} with the gateway {inside.GATEWAY4}"
        return f"give {INTERFACE} the address {four}{six}"

    def write(self, script: Script) -> None:
        if self.has_ipv6:
            for name, value in _SETTINGS6.items():
                script.write(f"/proc/sys/net/ipv6/conf/{INTERFACE}/{name}", value)
        probe = script.slot()
        script.call("socket", AF_INET, SOCK_DGRAM_CLOEXEC, 0, result=probe)
        up = (IFF_UP | _IFF_RUNNING).to_bytes(2, "little")
        for number, value in (
            (_SIOCSIFMTU, int(inside.MTU).to_bytes(4, "little")),
            (_SIOCSIFADDR, _address(inside.OWN4)),
            (_SIOCSIFNETMASK, _address(inside.NETMASK4)),
            (SIOCSIFFLAGS, up),
        ):
            script.call("ioctl", probe, number, _request(value), at=INTERFACE)
        script.call("ioctl", probe, _SIOCADDRT, _route(), at=INTERFACE)
        if self.has_ipv6:
            self._set_up_ipv6(script)
            own = _AF_INET6.to_bytes(2, "little") + bytes(6) + _address6(inside.OWN6) + bytes(4)
            script.await_address(own, INTERFACE)
            # The address is usable a moment before its route: that comes under the lock which this waits for.
            script.call("ioctl", probe, SIOCSIFFLAGS, _request(up), at=INTERFACE)
        script.close(probe)

    def _set_up_ipv6(self, script: Script) -> None:
        probe: Slot = script.slot()
        index = _INDEX.to_bytes(4, "little")
        script.call("socket", _AF_INET6, SOCK_DGRAM_CLOEXEC, 0, result=probe)
        # struct in6_ifreq, struct in6_rtmsg
        address = _address6(inside.OWN6) + int(inside.PREFIX6).to_bytes(4, "little") + index
        route = bytes(32) + _address6(inside.GATEWAY6) + bytes(8) + (1).to_bytes(4, "little") + bytes(12)
        route += _RTF_UP_GATEWAY.to_bytes(4, "little") + index
        script.call("ioctl", probe, _SIOCSIFADDR, address, at=INTERFACE)
        script.call("ioctl", probe, _SIOCADDRT, route, at=INTERFACE)
        script.close(probe)


class AllowPing(Operation):
    """Let every group inside send echo requests, without any right (ping_group_range, icmp(7))."""

    __slots__ = ("first", "last")
    step = "network"
    why = "ping works without a raw socket, which nobody inside gets"

    def __init__(self, first: int, last: int) -> None:
        super().__init__(_KEY)
        self.first = first
        self.last = last

    def describe(self) -> str:
        return f"let the groups {self.first} to {self.last} send echo requests (ping)"

    def write(self, script: Script) -> None:
        script.write("/proc/sys/net/ipv4/ping_group_range", b"%d %d" % (self.first, self.last))


class HandOverTap(Operation):
    """Hand the other side of the interface to the monitor, and keep nothing of it."""

    __slots__ = ()
    step = "network"
    why = "nothing inside has a descriptor with which packets could be put on the wire"

    def __init__(self) -> None:
        super().__init__(_KEY)

    def describe(self) -> str:
        return f"hand the other side of {INTERFACE} to the monitor"

    def write(self, script: Script) -> None:
        tap = script.named(INTERFACE)
        script.hand_over(tap)
        script.close(tap)


class AwaitForwarder(Operation):
    """Wait until the program outside is there: nothing runs inside before its network is ready."""

    __slots__ = ()
    step = "network"
    why = "the first connection works as well as a later one, and none comes before the rules"

    def __init__(self) -> None:
        super().__init__(_KEY)

    def describe(self) -> str:
        return "wait until the forwarder is ready"

    def write(self, script: Script) -> None:
        script.await_word()


def _request(value: bytes) -> bytes:
    """Return the struct ifreq of netdevice(7) with ``value``."""
    return INTERFACE.encode().ljust(16, b"\0") + value.ljust(24, b"\0")


def _address(text: str) -> bytes:
    """Return a struct sockaddr_in."""
    return AF_INET.to_bytes(2, "little") + bytes(2) + bytes(map(int, text.split("."))) + bytes(8)


def _address6(text: str) -> bytes:
    """Return a struct in6_addr; of ``text`` the two parts around its "::" are known."""
    before, _, after = text.partition("::")
    words = [[int(word, 16) for word in part.split(":") if word] for part in (before, after)]
    middle = [0] * (8 - len(words[0]) - len(words[1]))
    return b"".join(word.to_bytes(2, "big") for word in (*words[0], *middle, *words[1]))


def _route() -> bytes:
    """Return the struct rtentry of the default route (route(7)): everything by the gateway."""
    anywhere = _address("0.0.0.0")  # noqa: S104 - a route's destination
    head = bytes(8) + anywhere + _address(inside.GATEWAY4) + anywhere + _RTF_UP_GATEWAY.to_bytes(2, "little")
    return head.ljust(120, b"\0")
