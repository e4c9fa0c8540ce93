"""Clients of the sshd inside a user's container, by the Host block that the product prints for them."""

from __future__ import annotations

import shlex

from support.client import Client
from support.host import run

CTL = "ssh2containerctl"
OUTSIDE = """
Host 127.0.0.1
    IdentityFile {key}
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {known_hosts}
    StrictHostKeyChecking yes
    BatchMode yes
    LogLevel ERROR
    ControlPath {outer_control}
Host box
    UserKnownHostsFile {own_file}.known
    BatchMode yes
    LogLevel ERROR
    IdentityFile none
    IdentityAgent none
    ControlPath {control}
    {more}
"""


class Inside(Client):
    """``ssh box`` is the sshd inside; what a person has in front of the block leads to the one outside."""

    def __init__(self, outside: Client, more: str = "", control: str = "none") -> None:
        """outside: the client of the sshd outside, whose shared connection, if it has one, leads there.

        more: options for the connection inside.
        """
        directory = outside.known_hosts.removesuffix("/known_hosts")
        super().__init__(outside.user, directory, outside.port, control)
        words = [CTL, "client-config", outside.user.name, "--host", "127.0.0.1", "--port", str(outside.port)]
        block = run([*words, "--alias", "box"]).ok().text
        own = shlex.quote(self.configuration)
        with open(self.configuration, "w", encoding="utf-8") as file:
            # The same file for the connection outside as for the one inside, as in a home.
            file.write(block.replace("ProxyCommand ssh ", f"ProxyCommand ssh -F {own} "))
            file.write(
                OUTSIDE.format(
                    key=outside.key,
                    known_hosts=outside.known_hosts,
                    own_file=self.configuration,
                    more=more,
                    control=control,
                    outer_control=outside.control,
                )
            )
        self.outside = outside

    def _sharing(self, control: str) -> Inside:
        return Inside(self.outside, control=control)
