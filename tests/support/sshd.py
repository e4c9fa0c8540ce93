"""A real sshd on a free loopback port, with a host key and a configuration of its own."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from support.client import Client
from support.host import run, until
from support.users import User

SFTP_SERVER = "/usr/lib/openssh/sftp-server"
CONFIGURATION = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host_key
PidFile {directory}/sshd.pid
AuthorizedKeysFile {directory}/keys/%u
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM {pam}
StrictModes no
LogLevel VERBOSE
MaxStartups 100
MaxSessions 64
UseDNS no
{rest}
"""
SUBSYSTEM = f"Subsystem sftp {SFTP_SERVER}\n"
"""What Debian's sshd_config says."""


def written(name: str) -> str:
    """Shell words of a throw-away machine: wait for the pid file of an sshd, which has then read the rest.

    name: of the file, in /root and without its ending.
    """
    return f"for i in $(seq 1200); do [ -e /root/{name}.pid ] && exit; sleep 0.1; done; exit 1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One running sshd; clients of it are made by :meth:`client`."""

    def __init__(self, directory: str, rest: str = SUBSYSTEM, pam: str = "yes") -> None:
        """directory: an existing directory of the server's own; rest: more of sshd_config, last."""
        self.directory = directory
        self.rest = rest
        self.pam = pam
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        os.chmod(directory, 0o755)
        os.makedirs(f"{directory}/keys", exist_ok=True)
        for name in ("host_key", "user_key"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{directory}/{name}"]).ok()

    @property
    def configuration(self) -> str:
        return f"{self.directory}/sshd_config"

    def start(self) -> None:
        """Start it; on another port if someone took the free one in between."""
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        for _ in range(10):
            self.port = free_port()
            text = CONFIGURATION.format(
                port=self.port, directory=self.directory, pam=self.pam, rest=self.rest
            )
            with open(self.configuration, "w", encoding="utf-8") as file:
                file.write(text)
            run(["/usr/sbin/sshd", "-t", "-f", self.configuration]).ok()
            self._process = subprocess.Popen(
                ["/usr/sbin/sshd", "-D", "-E", f"{self.directory}/log", "-f", self.configuration],
                stdin=subprocess.DEVNULL,
            )
            if until(self._settled, "sshd listens or has ended") == "listens":
                return
        raise AssertionError(f"sshd does not start: {self.log()}")

    def _settled(self) -> str:
        if self._process is None or self._process.poll() is not None:
            return "ended"
        return "listens" if f"port {self.port}." in self.log() else ""

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def log(self) -> str:
        try:
            with open(f"{self.directory}/log", encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def client(self, user: User, key_options: str = "") -> Client:
        """A client that logs in as ``user``; ``key_options`` stand before his key (``command="…"``)."""
        with open(f"{self.directory}/user_key.pub", encoding="utf-8") as file:
            key = file.read()
        with open(f"{self.directory}/keys/{user.name}", "w", encoding="utf-8") as file:
            file.write(f"{key_options} {key}".lstrip())
        with open(f"{self.directory}/host_key.pub", encoding="utf-8") as file:
            host_key = " ".join(file.read().split()[:2])
        with open(f"{self.directory}/known_hosts", "w", encoding="utf-8") as file:
            file.write(f"[127.0.0.1]:{self.port} {host_key}\n")
        return Client(user, self.directory, self.port)


@contextmanager
def serving(directory: str, rest: str = SUBSYSTEM, pam: str = "yes") -> Iterator[Server]:
    """An sshd for the length of a ``with`` block."""
    server = Server(directory, rest, pam)
    server.start()
    try:
        yield server
    finally:
        server.stop()
