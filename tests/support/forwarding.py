"""The forwarder of private networks, driven directly: a namespace with a tap in the place of a container.

The forwarder runs in the host of an Internet (internet.py), as a user without rights.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ssh2container.kernel import private_network as inside
from support.host import Done, run
from support.internet import Internet

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000
UID = 59123
"""Of nobody: what the forwarder could do as a user is not what it needs."""
_OPENER = """
import fcntl, os, socket, struct, sys
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, {request}, struct.pack("16sH22x", b"tap0", {flags}))
socket.send_fds(socket.socket(fileno=int(sys.argv[1])), [b"t"], [tap])
"""


class Container:
    """A network namespace with a tap, addresses and routes as pid 1 makes them. tap: its descriptor."""

    def __init__(self, name: str, mtu: int = int(inside.MTU)) -> None:
        self.name, self.tap = name, -1
        self._mtu = mtu

    def open(self) -> None:
        os.makedirs(f"/etc/netns/{self.name}", exist_ok=True)
        with open(f"/etc/netns/{self.name}/resolv.conf", "w", encoding="utf-8") as file:
            file.write(f"nameserver {inside.DNS4}\n")
        run(["ip", "netns", "add", self.name]).ok()
        if not os.path.exists("/dev/net/tun"):
            os.makedirs("/dev/net", exist_ok=True)
            os.mknod("/dev/net/tun", 0o20666, os.makedev(10, 200))
        ours, theirs = socket.socketpair()
        program = _OPENER.format(request=TUNSETIFF, flags=IFF_TAP | IFF_NO_PI)
        with ours, theirs:
            subprocess.run(
                ["ip", "netns", "exec", self.name, "/usr/bin/python3", "-c", program, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                check=True,
            )
            _, (self.tap,), _, _ = socket.recv_fds(ours, 1, 1)
        self.shell(
            f"""set -e
            echo 0 >/proc/sys/net/ipv6/conf/tap0/accept_ra
            echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range
            ip link set lo up
            ip link set tap0 mtu {self._mtu} up
            ip address add {inside.OWN4}/{inside.PREFIX4} dev tap0
            ip address add {inside.OWN6}/{inside.PREFIX6} dev tap0 nodad
            ip route add default via {inside.GATEWAY4}
            ip route add default via {inside.GATEWAY6}"""
        ).ok()

    def shell(self, script: str) -> Done:
        return self.run(["sh", "-c", script])

    def run(self, command: Sequence[str], stdin: bytes = b"") -> Done:
        """Run a program inside."""
        return run(["ip", "netns", "exec", self.name, *command], stdin)

    def python(self, program: str, *words: str) -> Done:
        return self.run(["/usr/bin/python3", "-c", program, *words])

    def close(self) -> None:
        if self.tap >= 0:
            os.close(self.tap)
        run(["ip", "netns", "delete", self.name])
        if os.path.exists(f"/etc/netns/{self.name}/resolv.conf"):
            os.unlink(f"/etc/netns/{self.name}/resolv.conf")
            os.rmdir(f"/etc/netns/{self.name}")


class Forwarder:
    """The program at ``path``, serving a container. process: it. life: our end of its life line."""

    def __init__(self, path: str, net: Internet, container: Container, uid: int = UID) -> None:
        self.process: subprocess.Popen[bytes]
        self._path, self._net, self._container, self._uid = path, net, container, uid
        self.life = -1

    def start(self, *lines: str) -> None:
        """Start it with a configuration; whether it is ready is the caller's question."""
        end, self.life = os.pipe()
        high = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 100) for one in (self._container.tap, end)]
        os.close(end)
        # bash, as other shells know no numbers of several digits here.
        script = 'exec "$0" 3<&{} 4<&{}'.format(*high)
        user = ["setpriv", f"--reuid={self._uid}", f"--regid={self._uid}", "--clear-groups"]
        self.process = subprocess.Popen(
            [*self._net.prefix(self._net.host), *user, "bash", "-c", script, self._path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=high,
        )
        for one in high:
            os.close(one)
        assert self.process.stdin
        with self.process.stdin as pipe:
            pipe.write("".join(f"{line}\n" for line in lines).encode())

    def line(self) -> str:
        """The next line of its status; "" at its end."""
        assert self.process.stdout
        return self.process.stdout.readline().decode().rstrip("\n")

    def refused(self, count: int) -> list[str]:
        """The next so many lines of its status."""
        return [self.line() for _ in range(count)]

    def failure(self) -> tuple[int, str, str]:
        """How it ended: the status, what it said on both descriptors."""
        assert self.process.stdout
        assert self.process.stderr
        out, errors = self.process.stdout.read(), self.process.stderr.read()
        return self.process.wait(), out.decode(), errors.decode()

    def stop(self) -> int:
        """End its life line, and return its exit status."""
        if self.life >= 0:
            os.close(self.life)
            self.life = -1
        status = self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()
        return status


@contextmanager
def forwarding(
    path: str, net: Internet, *lines: str, mtu: int = int(inside.MTU)
) -> Iterator[tuple[Container, Forwarder]]:
    """A container and its forwarder, which is ready."""
    container = Container(f"s2c-inside-{os.getpid()}", mtu)
    try:
        container.open()
        forwarder = Forwarder(path, net, container)
        forwarder.start(f"mtu {mtu}", *lines)
        try:
            first = forwarder.line()
            assert first == "ready", (first, forwarder.failure())
            yield container, forwarder
        finally:
            forwarder.stop()
    finally:
        container.close()
