"""The clients people use, set up for one user of one server: ssh, scp, sftp, rsync, terminals."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import pexpect

from support.host import DEADLINE_SECONDS, Done, run, until
from support.users import User

CONFIGURATION = """\
Host box
    HostName 127.0.0.1
    Port {port}
    User {name}
    IdentityFile {directory}/user_key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {directory}/known_hosts
    StrictHostKeyChecking yes
    BatchMode yes
    LogLevel ERROR
    ControlPath {control}
"""
Terminal: TypeAlias = "pexpect.spawn[bytes]"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "TERM": "xterm-256color"}


class Client:
    """Runs real clients; the host is called ``box`` in all of them."""

    def __init__(self, user: User, directory: str, port: int, control: str = "none") -> None:
        self.user = user
        self.port = port
        self.control = control
        self.key = f"{directory}/user_key"
        self.known_hosts = f"{directory}/known_hosts"
        self._directory = directory
        self.configuration = f"{directory}/client-{user.name}-{secrets.token_hex(3)}"
        with open(self.configuration, "w", encoding="utf-8") as file:
            file.write(CONFIGURATION.format(port=port, name=user.name, directory=directory, control=control))

    def command(self, *arguments: str | bytes) -> list[str | bytes]:
        """``ssh`` with the options that lead to the user; end with ``box`` and the remote command."""
        return ["ssh", "-F", self.configuration, *arguments]

    def start(self, *arguments: str | bytes, **options: object) -> subprocess.Popen[bytes]:
        """Start ssh in the background; all three streams are pipes unless ``options`` say otherwise."""
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            self.command(*arguments), env=ENVIRONMENT, **{**streams, **options}
        )
        return process

    def ssh(self, *arguments: str | bytes, stdin: bytes = b"") -> Done:
        return run(self.command(*arguments), stdin, env=ENVIRONMENT)

    def box(self, remote: str | bytes, stdin: bytes = b"") -> Done:
        """``ssh box REMOTE``: the remote command is one string, as the shell gets it."""
        return self.ssh("box", remote, stdin=stdin)

    def scp(self, *arguments: str) -> Done:
        return run(["scp", "-F", self.configuration, *arguments], env=ENVIRONMENT)

    def sftp(self, *commands: str, options: tuple[str, ...] = ()) -> Done:
        """Run sftp's ``commands`` as a batch: the first that fails ends it with status 1."""
        batch = "".join(line + "\n" for line in commands).encode()
        command = ["sftp", "-q", "-F", self.configuration, "-b", "-", *options, "box"]
        return run(command, batch, env=ENVIRONMENT)

    def curl(self, protocol: str, path: str, *options: str) -> Done:
        """curl and libssh2; protocol: sftp or scp. path: ``~/`` is the home."""
        login = ["--insecure", "-u", f"{self.user.name}:", "--key", self.key, "--pubkey", f"{self.key}.pub"]
        url = f"{protocol}://127.0.0.1:{self.port}/{path}"
        return run(["curl", "-sS", *login, *options, url], env=ENVIRONMENT)

    def remote_shell(self) -> str:
        """The value for ``rsync -e``, GIT_SSH_COMMAND and their like."""
        return f"ssh -F {shlex.quote(self.configuration)}"

    def rsync(self, *arguments: str) -> Done:
        return run(["rsync", "-e", self.remote_shell(), *arguments], env=ENVIRONMENT)

    @contextmanager
    def terminal(self, *arguments: str, columns: int = 80, rows: int = 24) -> Iterator[Terminal]:
        """An ssh that has a terminal; ``arguments`` are its own (default: a login, ``box``)."""
        command = [os.fsdecode(word) for word in self.command(*(arguments or ("box",)))]
        child: Terminal = pexpect.spawn(
            command[0],
            command[1:],
            env=ENVIRONMENT,
            dimensions=(rows, columns),
            timeout=DEADLINE_SECONDS,
            echo=False,
        )
        child.delaybeforesend = None
        child.delayafterclose = child.delayafterterminate = 0
        try:
            yield child
        finally:
            child.kill(signal.SIGKILL)
            child.close(force=True)

    @contextmanager
    def master(self) -> Iterator[Client]:
        """One connection, kept open, that every command of the client given here shares."""
        control = f"{self._directory}/m-{secrets.token_hex(3)}"
        shared = self._sharing(control)
        process = shared.start("-M", "-N", "box", stdin=subprocess.DEVNULL)
        shared.connection = process
        try:
            until(
                lambda: process.poll() is not None or shared.ssh("-O", "check", "box").status == 0,
                "the shared connection is up",
            )
            assert process.poll() is None, process.communicate()
            yield shared
        finally:
            # Not SIGTERM: the client loses one that comes just before it waits for something else.
            if shared.ssh("-O", "exit", "box").status:
                process.kill()
            process.communicate()

    def _sharing(self, control: str) -> Client:
        return Client(self.user, self._directory, self.port, control)

    connection: subprocess.Popen[bytes] | None = None
    """The process that holds the shared connection, on a client made by :meth:`master`."""
