"""Users with limits in an emulated machine: made, logged in without PAM, and what is known of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from support.emulated import System
from support.host import Done, until

SLOW_SECONDS = 600.0
"""How long the emulated machine may take where a real one takes a moment."""
MIB = 1 << 20
EAT = "tail /dev/zero"
"""Takes memory for ever: it keeps the last line, which has no end."""
KILLED = (
    "ssh2container: killed, as this session needed more than the 64 MiB of memory that it may use; "
    "an administrator can allow more (mem_limit)"
)
_PATIENT = """
cd -P /usr/lib/ssh2container/current
scope=ssh2container/run/scope.py
mkdir /root/as-installed; cp -a *.bundle $scope /root/as-installed/
sed -i 's/^_PATIENCE_S = .*/_PATIENCE_S = 900.0/; s/^_FIRST_S = .*/_FIRST_S = 450.0/' $scope
test $(grep -Ec '^_(PATIENCE|FIRST)_S = (900|450)' $scope) = 2
python3 -ISB ssh2container/admin/install/bundle.py "$PWD"
"""
_AS_INSTALLED = """
cd -P /usr/lib/ssh2container/current
cp -a /root/as-installed/*.bundle .; cp -a /root/as-installed/scope.py ssh2container/run/
rm -r /root/as-installed
"""


@contextlib.contextmanager
def patient(system: System) -> Iterator[None]:
    """Logins wait longer for the service manager: an emulated one may take more than their second."""
    system.run(_PATIENT).ok()
    yield
    system.run(_AS_INSTALLED).ok()


class LimitedUser:
    """A contained user of ``system``, from the beginning to the end of a ``with`` block."""

    def __init__(self, system: System, name: str, policy: str) -> None:
        self._system = system
        self.name = name
        self.file = f"/etc/ssh2container/users/{name}.yaml"
        self._policy = policy

    def __enter__(self) -> LimitedUser:
        self._system.run(f"""
            useradd --create-home --shell /bin/bash --password '*' {self.name}
            cp -a /home/alice/.ssh /home/{self.name}/; chown -R {self.name}: /home/{self.name}/.ssh
            cat >{self.file} <<'END'\n{self._policy}END
            ssh2containerctl enable {self.name}
        """).ok()
        return self

    def __exit__(self, *_: object) -> None:
        self._system.run(f"""
            ssh2containerctl disable {self.name} --kill || true
            rm -f {self.file}; ssh2containerctl compile
            loginctl disable-linger {self.name}; loginctl terminate-user {self.name} || true
            userdel --force --remove {self.name}
        """)

    @property
    def uid(self) -> int:
        return int(self._system.says(f"id -u {self.name}"))

    def rewrite(self, policy: str) -> None:
        """Put another policy into force."""
        self._system.run(f"cat >{self.file} <<'END'\n{policy}END\nssh2containerctl compile").ok()

    def linger(self) -> None:
        """Have a service manager that is always there."""
        self._system.run(f"loginctl enable-linger {self.name}").ok()
        bus = f"test -S /run/user/{self.uid}/bus"
        until(lambda: self._system.run(bus).status == 0, "the manager has started", SLOW_SECONDS)

    def end_manager(self) -> None:
        """Have no service manager, until somebody logs in."""
        self._system.run(f"loginctl disable-linger {self.name}; loginctl terminate-user {self.name} || true")
        gone = f"! systemctl --quiet is-active user@{self.uid}.service && ! test -e /run/user/{self.uid}/bus"
        until(lambda: self._system.run(gone).status == 0, "the user's manager has ended", SLOW_SECONDS)

    def runs(self, command: str) -> Done:
        """Run the login shell without PAM, as an sshd with UsePAM no does: quicker, and in nobody's slice."""
        shell = f"runuser -u {self.name} -- /usr/bin/ssh2container"
        return self._system.run(f"{shell} -c {command!r} </dev/null")

    def starts(self, command: str, output: str = "/dev/null") -> None:
        """Start the login shell as :meth:`runs`, and leave it."""
        shell = f"runuser -u {self.name} -- /usr/bin/ssh2container"
        self._system.run(f"{shell} -c {command!r} </dev/null >{output} 2>&1 &").ok()

    def listed(self) -> dict[str, Any]:
        """What ``sessions`` tells."""
        found: dict[str, Any] = json.loads(self._system.says(f"ssh2containerctl sessions --json {self.name}"))
        return found

    def end(self) -> None:
        """End all sessions, and see that nothing is left of their scopes."""
        self._system.run(f"ssh2containerctl kill --user {self.name} --grace 1").ok()
        await_no_scopes(self._system)


def scopes(system: System) -> list[str]:
    """The directories of the scopes that sessions have."""
    return system.says("find /sys/fs/cgroup -name 'ssh2container-*.scope' -type d").split()


def await_no_scopes(system: System) -> None:
    """Wait until no session has a scope."""
    until(lambda: not scopes(system), "the scopes have gone with the sessions", SLOW_SECONDS)


def record(system: System, event: str = "close") -> dict[str, str]:
    """The fields of the last record of an event."""
    entry = json.loads(
        system.says(f"journalctl -t ssh2container SSH2CONTAINER_EVENT={event} -o json -n 1 --all")
    )
    begin = "SSH2CONTAINER_"
    return {
        name.removeprefix(begin).lower(): value for name, value in entry.items() if name.startswith(begin)
    }
