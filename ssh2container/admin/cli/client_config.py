"""``ssh2containerctl client-config``."""

from __future__ import annotations

import socket

import click

from ssh2container.admin import account
from ssh2container.admin.accounts import enable, host_key
from ssh2container.admin.change import carry_out
from ssh2container.admin.cli import completing, output
from ssh2container.admin.sshd.effective import effective_globally
from ssh2container.errors import Refusal, SessionError
from ssh2container.plan import forwarding
from ssh2container.plan.request import FORWARDED

SECTION = "Users"

_USUAL_PORT = 22
_BLOCK = """\
# {user}'s containers on {host}, for ~/.ssh/config of OpenSSH on Linux, macOS and Windows.
# What goes through this connection (-L, -R, -D, -J, -A, -X, scp, sftp, rsync, git, editors) is inside.
Host {alias}
    HostName {host}
    Port {port}
    User {user}
    ProxyCommand ssh -T -p %p -l %r %h {request}
    HostKeyAlias {key_alias}
    # Outside, the connection has shown that it leads to {host}: this key comes through it, and is kept.
    # In known_hosts:  {known_host}
    StrictHostKeyChecking accept-new
    ServerAliveInterval 30
    # One container connection for all terminals and transfers; Windows has no ControlMaster.
    # ControlMaster auto
    # ControlPath ~/.ssh/%C
    # ControlPersist 10m
"""


@click.command("client-config", short_help="Print the Host block that leads a user's ssh into the container.")
@click.argument("user", shell_complete=completing.users)
@click.option("--host", metavar="NAME", help="The name by which clients know this host.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port of its sshd, as clients see it.")
@click.option("--alias", metavar="NAME", help="What USER types after ssh (default: HOST-inside).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(user: str, host: str | None, port: int | None, alias: str | None, *, as_json: bool) -> None:
    """Print a block for ~/.ssh/config with which USER's ssh runs through an sshd inside the container.

    USER's policy needs allow_forwarding: true. If the containers have no host key to show yet, it is made.

    Exit status: 0 printed, 125 there is no such user, 126 the policy does not allow it.
    """
    found = account.find(user)
    policy = enable.policy_of(found)
    if policy is None or not policy.values[forwarding.KEY]:
        origin = policy.origin(forwarding.KEY) if policy is not None else None
        raise Refusal(
            f"{found.name} has no way into the container but the sshd outside",
            f"{forwarding.KEY} is false ({origin or 'built-in'})",
            f"write {forwarding.KEY}: true: ssh2containerctl edit {found.name}",
            forwarding.KEY,
        )
    carry_out([host_key.MakeHostKey(found, lambda _: policy)], lambda *_: None)
    host = host or socket.getfqdn()
    alias = alias or f"{host.partition('.')[0]}-inside"
    request = next(word.decode() for word, kind in FORWARDED.items() if kind == "sshd")
    values = {
        "alias": alias,
        "host": host,
        "port": port or _port(),
        "user": found.name,
        "request": request,
        # Each user's containers have a key of their own.
        "key_alias": f"{found.name}.{alias}",
        "known_host": f"{found.name}.{alias} {host_key.public(found)}",
    }
    if as_json:
        sessions = forwarding.gives_sessions(policy)
        output.print_report({**values, "sessions": sessions, "block": _BLOCK.format(**values)})
        return
    click.echo(_BLOCK.format(**values), nl=False)


def _port() -> int:
    """Return the first port on which sshd listens, the usual one where nobody can say."""
    try:
        listed = effective_globally().words("port")
    except SessionError:
        return _USUAL_PORT
    return int(listed[0]) if listed and listed[0].isdecimal() else _USUAL_PORT
