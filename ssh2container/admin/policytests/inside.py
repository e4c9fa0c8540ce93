"""What a policy test does inside a session, in place of a program. Imported before the container is made.

Each function returns None when the action worked, or raises OSError with the reason why not.
"""

from __future__ import annotations

import _socket
import codecs
import os

TIMEOUT_SECONDS = 10.0
_ECHO4, _ECHO6 = (1, 8), (58, 128)
"""Protocol and type of an echo request (RFC 792, RFC 4443)."""
codecs.lookup("idna")  # getaddrinfo's, else loaded on first use: inside, where the image may have no Python


def read(path: str) -> None:
    """Open and read the first byte."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.read(descriptor, 1)
    os.close(descriptor)


def write(path: str) -> None:
    """Open an existing file for writing without changing it, or make a new one and remove it."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except FileNotFoundError:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.unlink(path)


def list_directory(path: str) -> None:
    """Read the names in a directory."""
    os.listdir(path)


def execute(path: str) -> None:
    """Find a regular file with the right to execute it."""
    os.stat(path)
    if os.path.isdir(path) or not os.access(path, os.X_OK):
        raise PermissionError(13, "Permission denied")


def connect(address: str) -> None:
    """Connect to HOST:PORT."""
    host, _, port = address.rpartition(":")
    found = _socket.getaddrinfo(host.strip("[]"), int(port), 0, _socket.SOCK_STREAM)
    family, kind, protocol, _, where = found[0]
    caller = _socket.socket(family, kind, protocol)
    caller.settimeout(TIMEOUT_SECONDS)
    caller.connect(where)
    caller.close()


def listen(port: str) -> None:
    """Listen on a port of 127.0.0.1."""
    listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", int(port)))
    listener.listen(1)
    listener.close()


def resolve(name: str) -> None:
    """Find an address of a name, by whatever the session has for that."""
    _socket.getaddrinfo(name, None, 0, _socket.SOCK_STREAM)


def ping(host: str) -> None:
    """Send an echo request and wait for an answer (icmp(7), ping_group_range)."""
    family, _, _, _, where = _socket.getaddrinfo(host.strip("[]"), None, 0, _socket.SOCK_DGRAM)[0]
    protocol, request = _ECHO6 if family == _socket.AF_INET6 else _ECHO4
    sender = _socket.socket(family, _socket.SOCK_DGRAM, protocol)
    sender.settimeout(TIMEOUT_SECONDS)
    sender.connect(where)
    sender.send(bytes((request, 0, 0, 0, 0, 0, 0, 1)))  # the kernel writes checksum and identifier
    sender.recv(1024)
    sender.close()


def nothing(_: str) -> None:
    """Be there: the session could be made."""


NOTHING = "nothing"
FAILED = 70
"""Exit status of an action that did not work; any other but 0 comes from somewhere else."""

ACTIONS = {
    NOTHING: nothing,
    "read": read,
    "write": write,
    "list": list_directory,
    "execute": execute,
    "connect": connect,
    "listen": listen,
    "resolve": resolve,
    "ping": ping,
}
