"""Which name servers sessions on networks ask: those that config.yaml names, else the host's own."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ssh2container import paths

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ssh2container.admin.networks.definitions import Definition

_SYSTEMS = "/run/systemd/resolve/resolv.conf"
"""Where systemd-resolved writes whom it asks itself (systemd-resolved.service(8))."""


def text(networks: Iterable[Definition]) -> bytes:
    """Return the resolv.conf(5) of sessions on ``networks``; empty where nobody but this host answers."""
    written = dict.fromkeys(server for network in networks for server in network.dns)
    if written:
        return "".join(f"nameserver {server}\n" for server in written).encode()
    for path in (paths.RESOLV_CONF, _SYSTEMS):
        lines = [line for line in read(path).decode("utf-8", "replace").splitlines() if line.strip()]
        usable = [line for line in lines if _is_usable(line)]
        if any(line.startswith("nameserver") for line in usable):
            return "".join(f"{line}\n" for line in usable).encode()
    return b""


def _is_usable(line: str) -> bool:
    word, *rest = line.split()
    if word in ("search", "domain", "options"):
        return True
    if word != "nameserver" or not rest:
        return False
    try:
        # The host's loopback is not the session's.
        return not ipaddress.ip_address(rest[0].partition("%")[0]).is_loopback
    except ValueError:
        return False


def read(path: str) -> bytes:
    """Return a file's content, b"" where there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
