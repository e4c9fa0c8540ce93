"""``ssh2containerctl network``: the networks that policies can name."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

import click

from ssh2container.admin.cli import completing, output
from ssh2container.admin.networks import bridges, definitions, pool, tools
from ssh2container.admin.networks.bridges import Bridge
from ssh2container.admin.policy.types.addresses import INTERFACE, INTERFACE_WORDS
from ssh2container.errors import Refusal, SessionError

if TYPE_CHECKING:
    from typing import Any

    from ssh2container.admin.networks.definitions import Definition

SECTION = "The host"


@click.group("network", short_help="Make, list, show and remove networks for sessions.")
def command() -> None:
    """Manage what policies name in networks. All but list and show need root."""


@command.command("create")
@click.argument("name")
@click.option(
    "--subnet", "subnets", multiple=True, metavar="RANGE", help="Addresses, as 10.77.0.0/24; repeatable."
)
@click.option("--ipv4-only", is_flag=True, help="Choose no range of IPv6.")
@click.option("--internal", is_flag=True, help="No way out: sessions reach each other, and nothing else.")
@click.option("--together", is_flag=True, help="Let sessions reach each other.")
@click.option("--internet-only", is_flag=True, help="Keep private ranges out of reach.")
@click.option("--host-services", is_flag=True, help="Let sessions reach services of this host.")
@click.option("--dry-run", is_flag=True, help="Print the rules, and make nothing.")
def create(name: str, *, subnets: tuple[str, ...], ipv4_only: bool, dry_run: bool, internal: bool,
           together: bool, internet_only: bool, host_services: bool) -> None:  # fmt: skip
    """Make a bridge NAME with addresses and a way out by address translation, and again at each boot.

    Sessions on it reach where the host reaches, over IPv4 and IPv6, under the host's address. By default
    they do not reach each other, the host's own services, or link-local addresses, where clouds have the
    host's credentials. Nobody outside can connect to them. Without --subnet, ranges are chosen that this
    host has no route to.

    Exit status: 0 done, 126 something has the name already.
    """
    if not re.fullmatch(INTERFACE, name):
        raise click.UsageError(f"NAME is {INTERFACE_WORDS}")
    versions = (4,) if ipv4_only else (4, 6)
    bridge = Bridge(
        name,
        tuple(map(_subnet, subnets)) or tuple(bridges.choose_subnets(name, versions)),
        isolated=not (together or internal),
        internal=internal,
        internet_only=internet_only,
        host_services=host_services,
    )
    if dry_run:
        click.echo(bridges.rules(bridge), nl=False)
        return
    bridges.make(bridge)
    click.echo(f"made the network {name}: {', '.join(bridge.subnets)}")
    click.echo(f"a policy names it so: networks: [{name}]")
    for chain in [] if internal else bridges.dropping():
        click.echo(
            f"warning: the nftables chain {chain} drops what nobody accepts there: nothing gets out until it"
            f" accepts what comes from {name}, and what goes there for established connections",
            err=True,
        )


def _subnet(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise click.UsageError(f"--subnet {text}: {error}") from None
    if network.num_addresses < 4:  # noqa: PLR2004
        raise click.UsageError(f"--subnet {text}: has no room for a session")
    return str(network)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(*, as_json: bool) -> None:
    """List the networks that policies can name, and who is on them.

    Exit status: 0 listed.
    """
    found = [_describe(name, one) for name, one in sorted(definitions.known().items())]
    if as_json:
        output.print_report({"networks": found})
        return
    rows = [
        (
            one["name"],
            one["on"],
            ", ".join(one["subnets"]) or "-",
            one["from"],
            ", ".join(one["users"]) or "-",
        )
        for one in found
    ]
    output.table(("NAME", "IS", "ADDRESSES", "DEFINED BY", "USERS"), rows)


@command.command("show")
@click.argument("name", shell_complete=completing.networks)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, *, as_json: bool) -> None:
    """Show what the network NAME is, who has which addresses of it, and how config.yaml would say it.

    Exit status: 0 shown, 125 there is no such network.
    """
    found = definitions.find(name, definitions.of_site())
    said = _describe(name, found)
    if as_json:
        output.print_report({"network": said})
        return
    click.echo(f"{name}: {found.words()}, defined by {said['from']}")
    click.echo(f"state: {said['state']}")
    for user, addresses in said["users"].items():
        click.echo(f"{user}: {', '.join(addresses) or 'by DHCP'}")
    click.echo(f"in config.yaml it is:\nnetworks:\n  {definitions.written(found)}")


@command.command("remove")
@click.argument("name", shell_complete=completing.own_networks)
@click.option("--force", is_flag=True, help="Although users' sessions are on it.")
def remove(name: str, *, force: bool) -> None:
    """Remove the network NAME that "network create" made: bridge, rules, and forwarding if that was ours.

    Exit status: 0 done, 126 it is not ours, or sessions are on it.
    """
    bridge = bridges.ours().get(name)
    if bridge is None:
        raise Refusal(
            f"cannot remove the network {name}",
            "we have not made it",
            f"ours are: {', '.join(sorted(bridges.ours())) or 'none'}",
            "networks",
        )
    users = pool.users_of(name)
    if users and not force:
        raise Refusal(
            f"cannot remove the network {name}",
            f"sessions of {', '.join(users)} are on it",
            "take it out of their policies first, or use --force",
            "networks",
        )
    bridges.take_down(bridge)
    click.echo(f"removed the network {name}")


def _describe(name: str, found: Definition) -> dict[str, Any]:
    try:
        definitions.require_parent(found, tools.devices())
        state = "there"
    except SessionError as error:
        state = error.why
    origin = "config.yaml" if name in definitions.of_site() else "the host"
    return {
        "name": name,
        "on": found.words(),
        "driver": found.driver,
        "parent": found.parent,
        "subnets": [str(subnet.network) for subnet in found.subnets],
        "from": "network create" if name in bridges.ours() and origin == "the host" else origin,
        "state": state,
        "users": pool.users_of(name),
    }
