"""Sessions on networks: what the tests of ``networks`` share."""

from __future__ import annotations

from support.host import DEADLINE_SECONDS, Done, run
from support.lan import PORT
from support.users import User

CONTROL = "/usr/bin/ssh2containerctl"
ASK = f"""
import socket
def ask(host, kind=socket.SOCK_STREAM, wait={DEADLINE_SECONDS}):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as s:
        s.settimeout(wait)
        s.connect((host, {PORT}))
        if kind == socket.SOCK_DGRAM:
            s.send(b"?")
        return s.recv(100).decode()
"""
"""A function for programs inside: connect to one of the far end's addresses, return who it says we are."""


def inside_unseen(user: User, command: str) -> Done:
    """A session where the host's /proc shows users no processes but their own (proc(5), hidepid)."""
    script = 'mount -t proc -o hidepid=2 proc /proc && exec su - "$1" -c "$2"'
    return run(["unshare", "--mount", "sh", "-ec", script, "sh", user.name, command])
