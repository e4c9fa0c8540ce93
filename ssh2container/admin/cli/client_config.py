"""``ssh2containerctl client-config``."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import click

from ssh2container.admin import account
from ssh2container.admin.accounts import enable, host_key
from ssh2container.admin.change import carry_out
from ssh2container.admin.cli import completing, output, public_key
from ssh2container.admin.sshd.effective import effective_globally
from ssh2container.errors import Refusal, SessionError, printable
from ssh2container.plan import forwarding
from ssh2container.plan.request import FORWARDED
from ssh2container.policy import key_rules, keyed

if TYPE_CHECKING:
    from ssh2container.policy.key_rules import Used
    from ssh2container.policy.policy import Policy

SECTION = "Users"

_USUAL_PORT = 22
_COMMAND = "access.command"
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
@click.option(
    "--key",
    type=public_key.PUBLIC_KEY,
    metavar="KEY",
    help="For logins with KEY: a fingerprint, or the file of a public key or certificate.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    user: str, host: str | None, port: int | None, alias: str | None, *, key: Used | None, as_json: bool
) -> None:
    """Print a block for ~/.ssh/config with which USER's ssh runs through an sshd inside the container.

    USER's policy needs allow_forwarding: true. If the containers have no host key to show yet, it is made.

    With --key, so does the policy of that key. Without it, a line on standard error names the keys with a
    policy of their own with which the block is of no use.

    Exit status: 0 printed, 125 there is no such user, 126 the policy does not allow it.
    """
    found = account.find(user)
    policy = enable.policy_of(found)
    used = policy if policy is None or key is None else public_key.under(policy, key)
    if used is None or _barred_by(used):
        raise _refusal(found.name, used)
    carry_out([host_key.MakeHostKey(found, lambda _: policy)], lambda *_: None)
    others = [] if key is not None else [one.rule for one in keyed.every(used) if _barred_by(one)]
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
        about = {"sessions": forwarding.gives_sessions(used), "rule": used.rule, "not_with": others}
        output.print_report({**values, **about, "block": _BLOCK.format(**values)})
        return
    if others:
        names = ", ".join(printable(name) for name in others)
        click.echo(f"ssh2containerctl: of no use with these of {key_rules.KEY}: {names}", err=True)
    click.echo(_BLOCK.format(**values), nl=False)


def _barred_by(policy: Policy) -> str:
    """Return which setting keeps clients from the sshd inside, "" for none."""
    if not policy.values[forwarding.KEY]:
        return forwarding.KEY
    return _COMMAND if policy.access.command is not None else ""


def _refusal(name: str, policy: Policy | None) -> Refusal:
    """Return why there is no block. policy: that of the login, None where there is none."""
    barred = forwarding.KEY if policy is None else _barred_by(policy)
    origin = None if policy is None else policy.origin(barred)
    rule = "" if policy is None or not policy.rule else f" with {printable(policy.rule)}"
    found, remedy = f"{barred} is false", f"write {forwarding.KEY}: true"
    if barred == _COMMAND:
        found, remedy = f"{barred} runs whatever a client asks for", f"leave {barred} out"
    return Refusal(
        f"{name} has no way into the container{rule} but the sshd outside",
        f"{found} ({origin or 'built-in'})",
        f"{remedy}: ssh2containerctl edit {name}",
        barred,
    )


def _port() -> int:
    """Return the first port on which sshd listens, the usual one where nobody can say."""
    try:
        listed = effective_globally().words("port")
    except SessionError:
        return _USUAL_PORT
    return int(listed[0]) if listed and listed[0].isdecimal() else _USUAL_PORT
