"""The networks that sessions are on: prepared as policies name them, and bridges of ours as made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.accounts.enable import policy_if_valid
from ssh2container.admin.accounts.networks import PrepareNetworks
from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import OK, PROBLEM, WARNING, Finding
from ssh2container.admin.networks import bridges, conflicts, namespaces, pool
from ssh2container.errors import SessionError
from ssh2container.plan import pools

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.account import Account
    from ssh2container.admin.networks.wanted import Link


@check.of_host("networks of ours", place=80)
def of_bridges() -> Iterator[Finding]:
    """Yield what of the bridges that "network create" made is not as it was made."""
    made = bridges.ours()
    for name, bridge in made.items():
        try:
            missing = bridges.missing(bridge)
        except SessionError as error:
            missing = [str(error)]
        if missing:
            yield Finding(
                PROBLEM,
                "networks.made",
                name,
                f"sessions on this network have no way out: {', '.join(missing)}",
                "ssh2containerctl enable --runtime",
            )
        else:
            yield Finding(
                OK, "networks.made", name, "the bridge, its rules and forwarding are as they were made"
            )
    if any(not bridge.internal for bridge in made.values()):
        for chain in bridges.dropping():
            yield Finding(
                WARNING,
                "networks.firewall",
                chain,
                "drops what is forwarded and nobody accepts there: sessions on our networks have no way out",
                f"have it accept what comes from {', '.join(made)}, and what is established the other way",
            )


@check.of_user(place=50)
def of_user(account: Account) -> Iterator[Finding]:
    """Yield whether the user's sessions have the networks that the policy names."""
    policy = policy_if_valid(account) if account.enrolled else None
    if policy is None or not policy.networks:
        return
    name = account.name
    change = PrepareNetworks(account, lambda _: policy)
    try:
        done = change.done()
    except (SessionError, OSError) as error:
        remedy = error.remedy if isinstance(error, SessionError) else "ssh2containerctl check"
        why = error.reason() if isinstance(error, SessionError) else str(error)
        yield Finding(PROBLEM, "networks.prepared", name, f"logins have no network: {why}", remedy)
        return
    directory = pool.directory_of(account.uid)
    there = pools.numbered(directory)
    busy = sum(namespaces.in_use(f"{directory}/{one}") for one in there)
    if not done:
        text = f"the networks that are prepared ({len(there)}, {busy} in use) are not those of the policy"
        yield Finding(PROBLEM, "networks.prepared", name, text, "ssh2containerctl compile")
    elif busy == len(there):
        text = f"all {busy} networks that are prepared are in use: the next login is refused"
        yield Finding(WARNING, "networks.used", name, text, "a larger network_pool in the policy")
    else:
        yield Finding(OK, "networks.prepared", name, f"{len(there)} networks are prepared, {busy} in use")
    if done:
        yield from _conflicts(name, change.links())


def _conflicts(name: str, links: list[Link]) -> Iterator[Finding]:
    """Yield whether another host has come to have an address since the networks were prepared."""
    try:
        conflicts.require_free(links)
    except SessionError as error:
        remedy = "another address in the policy or config.yaml, or take it from that host"
        yield Finding(PROBLEM, "networks.conflict", name, error.reason(), remedy)
