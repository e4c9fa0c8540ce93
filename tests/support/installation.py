"""install.sh and ssh2containerctl on a throw-away machine, from a copy of the source tree."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import Any

from support.machine import SOURCE, Machine

TREE = "/root/source"
"""The copy inside: what a developer changes meanwhile does not change what is tested."""
ROOTS = ("/usr", "/etc", "/var/lib", "/var/log", "/opt", "/srv")
"""Where a manifest looks: everywhere the installer could write to, and more."""
PARTS = ("install.sh", "libexec", "bin", "etc", "systemd", "docs", "ssh2container", "LICENSE")
COMPILER = f"{SOURCE}/tests/support/remembering-compiler"
"""What install.sh compiles with where it has done so before."""
_CHANGING = (
    "/var/log/",
    *(f"/etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")),
    "/etc/.pwd.lock",
)


def fetch_wheels(directory: str) -> None:
    """Have in ``directory`` what install.sh takes from the Python package index."""
    os.makedirs(directory, exist_ok=True)
    subprocess.run(
        ["/usr/bin/python3", "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
         "--require-hashes", "-d", directory, "-r", f"{SOURCE}/libexec/requirements.txt"],
        check=True,
    )  # fmt: skip


@dataclass
class Installation:
    """A machine with our source tree in it.

    wheels: what install.sh takes from a package index. compiled: what the compiler has already made for
    :meth:`install`.
    """

    machine: Machine
    wheels: str
    compiled: str

    @classmethod
    def bare(cls, machine: Machine, wheels: str, compiled: str) -> Installation:
        """Copy the source tree in and remove what the copied machine has of the product."""
        machine.run("mkdir", TREE)
        machine.run("cp", "-a", *(f"{SOURCE}/{part}" for part in PARTS), TREE)
        machine.run("chown", "-R", "root:root", TREE)
        made = cls(machine, wheels, compiled)
        made.run("--uninstall", "--purge")
        machine.shell(
            "rm -f /etc/ssh/sshd_config.d/10-ssh2container.conf*; groupdel ssh2container 2>/dev/null || true"
        )
        return made

    def command(self, *options: str) -> list[str]:
        """``install.sh`` with ``options``."""
        return [f"{TREE}/install.sh", *options]

    def run(self, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``install.sh OPTIONS``."""
        return self.machine.run(*self.command(*options), check=check)

    def install(self, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``install.sh OPTIONS`` with pyseccomp from the cache, and compile what never was before."""
        done = self.machine.run(
            *self.command("--wheels", self.wheels, *options), check=check,
            environment={"CC": COMPILER, "SSH2CONTAINER_TESTS_COMPILED": self.compiled},
        )  # fmt: skip
        inside = f"/proc/{self.machine.init}/root{self.compiled}"
        for name in set(os.listdir(inside)) - set(os.listdir(self.compiled)):
            shutil.copy(f"{inside}/{name}", self.compiled)
        return done

    def killed_at(self, line: str) -> str:
        """Run ``install.sh`` and kill it with all that it has started when ``line`` appears.

        Returns all that it has printed; raises AssertionError when the line never came.
        """
        process = self.machine.spawn(*self.command("--wheels", self.wheels))
        assert process.stdout
        said = ""
        for printed in process.stdout:
            said += printed
            if line in printed:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                return said
        raise AssertionError(f"install.sh never printed {line!r}:\n{said}")

    def control(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``ssh2containerctl ARGUMENTS``."""
        return self.machine.run("/usr/bin/ssh2containerctl", *arguments, check=check)

    def doctor(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the doctor's findings."""
        found: list[dict[str, Any]] = json.loads(
            self.control("doctor", "--json", *arguments, check=False).stdout
        )["findings"]
        return found

    def add_user(self, name: str, *options: str) -> None:
        """Make a user with a shell of the host; the machine that was copied may have one of that name."""
        self.machine.shell(
            f"! getent passwd {name} >/dev/null || userdel --force --remove {name} 2>/dev/null"
        )
        self.machine.run(
            "useradd", "--create-home", "--password", "*", "--shell", "/bin/bash", *options, name
        )

    def shell_of(self, name: str) -> str:
        """Return a user's login shell."""
        return self.machine.run("getent", "passwd", name).stdout.strip().rpartition(":")[2]

    def inside(self, name: str, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as a user, by his login shell."""
        return self.machine.run("su", "-", name, "-c", command, check=check)

    def manifest(self) -> dict[str, str]:
        """Return every file with type, mode, owner, size, mtime and target."""
        return {
            path: rest
            for path, rest in self.machine.manifest(*ROOTS).items()
            if not path.startswith(_CHANGING)
        }

    def names(self) -> set[str]:
        """Return every path with its type, mode, owner and target, without times and sizes."""
        return {
            "\t".join([path, *(word for n, word in enumerate(rest.split(" ")) if n in (0, 1, 2, 5))])
            for path, rest in self.manifest().items()
        }
