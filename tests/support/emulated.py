"""A whole system in an emulated machine: the distribution's own kernel, systemd, a network of its own.

The product is installed in it from a copy of the source tree. Nothing in it reaches the network, and
what it changes on its disk is gone with it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import socket
import subprocess
import tempfile
from typing import TYPE_CHECKING, Self

from support.host import Done, run, until
from support.installation import PARTS
from support.machine import SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE = "/var/cache/ssh2container-tests"
TREE = "/root/source"
WHEELS = "/root/wheels"
BOOT_DEADLINE_SECONDS = 300.0
"""Software emulation takes half a minute on an idle machine."""
_PACKAGES = (
    # a system that boots, and that one can log in to
    "systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "openssh-server", "iproute2",
    "procps", "kmod", "udev", "linux-image-cloud-amd64",
    # what install.sh needs: it has no network there
    "python3", "python3-pip", "python3-yaml", "python3-prctl", "python3-click", "python3-rich", "libseccomp2",
    "patchelf", "gcc", "libc6-dev", "libpython3-dev",
    # what the tests run there
    "busybox-static", "rsync", "uidmap",
)  # fmt: skip
_NETWORK = "[Match]\nName=eth0\n[Network]\nDHCP=yes\n"
_SIZE = "3G"


def missing() -> str:
    """Say why no system can be emulated here, "" when one can."""
    if platform.machine() != "x86_64":
        return "the emulated machine is an x86_64 one"
    absent = [name for name in ("qemu-system-x86_64", "mmdebstrap", "mke2fs") if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


class System:
    """An emulated machine that runs until the end of a ``with`` block."""

    def __init__(self, suite: str, wheels: str) -> None:
        """``suite``: Debian's name of the release; ``wheels``: what install.sh takes from a package index."""
        self._suite = suite
        self._wheels = wheels
        self._directory = tempfile.mkdtemp(prefix="system-", dir=CACHE)
        self._port = 0
        self._machine: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._make_disk(_root(self._suite))
            self._start()
            self._await_boot()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Switch it off."""
        if self._machine is not None:
            self._machine.kill()
            self._machine.wait()
        shutil.rmtree(self._directory)

    def run(self, script: str, deadline_seconds: float = 300.0) -> Done:
        """Run a shell script in it as root; a script that fails or is too slow fails the test."""
        done = subprocess.run(
            [*self._ssh(), "bash -eu"], input=script.encode(), capture_output=True, timeout=deadline_seconds,
            check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    def says(self, script: str, deadline_seconds: float = 300.0) -> str:
        """What a script that must succeed writes, without the last line's end."""
        return self.run(script, deadline_seconds).ok().text.rstrip("\n")

    def reboot(self) -> None:
        """Start the system anew: its disk stays, /run does not."""
        before = self.says("cat /proc/sys/kernel/random/boot_id")
        self.run("systemctl reboot")
        until(lambda: self._boot() not in ("", before), "the system has booted anew", BOOT_DEADLINE_SECONDS)
        self._await_boot()

    def console(self) -> str:
        """The end of what it wrote to its console."""
        with open(f"{self._directory}/console", errors="backslashreplace") as file:
            return file.read()[-4000:]

    def _ssh(self) -> list[str]:
        options = (
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=20",
        )
        words = ["ssh", "-i", f"{self._directory}/key", "-p", str(self._port)]
        for option in options:
            words += ["-o", option]
        return [*words, "root@127.0.0.1"]

    def _boot(self) -> str:
        done = self.run("cat /proc/sys/kernel/random/boot_id")
        return done.text.rstrip("\n") if done.status == 0 else ""

    def _await_boot(self) -> None:
        """Wait until all units have started. Raises AssertionError with the console's end."""
        machine = self._machine
        assert machine is not None

        def answers() -> bool:
            assert machine.poll() is None, f"the emulator ended: {self.console()}"
            return bool(self._boot())

        try:
            until(answers, "the emulated system answers", BOOT_DEADLINE_SECONDS)
        except AssertionError as failure:
            raise AssertionError(f"{failure}; its console: {self.console()}") from None
        self.run("systemctl is-system-running --wait")

    def _make_disk(self, archive: str) -> None:
        root = f"{self._directory}/root"
        os.mkdir(root)
        run(["tar", "-C", root, "-xf", archive, "--exclude=./dev/*"]).ok()
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self._directory}/key"]).ok()
        os.makedirs(f"{root}/root/.ssh", mode=0o700, exist_ok=True)
        shutil.copy(f"{self._directory}/key.pub", f"{root}/root/.ssh/authorized_keys")
        os.makedirs(f"{root}{TREE}")
        run(["cp", "-a", *(f"{SOURCE}/{part}" for part in PARTS), f"{root}{TREE}"]).ok()
        run(["chown", "-R", "0:0", f"{root}{TREE}"]).ok()
        shutil.copytree(self._wheels, f"{root}{WHEELS}")
        for path, content in (
            ("etc/hostname", "emulated\n"),
            ("etc/hosts", "127.0.0.1 localhost emulated\n"),
            ("etc/fstab", "/dev/vda / ext4 rw 0 1\n"),
            ("etc/systemd/network/10-eth0.network", _NETWORK),
        ):
            with open(f"{root}/{path}", "w") as file:
                file.write(content)
        wants = f"{root}/etc/systemd/system/multi-user.target.wants"
        os.makedirs(wants, exist_ok=True)
        os.symlink("/lib/systemd/system/systemd-networkd.service", f"{wants}/systemd-networkd.service")
        for name in ("vmlinuz", "initrd.img"):
            found = next(entry for entry in os.listdir(f"{root}/boot") if entry.startswith(name + "-"))
            shutil.copy(f"{root}/boot/{found}", f"{self._directory}/{name}")
        run(["mke2fs", "-q", "-t", "ext4", "-d", root, f"{self._directory}/disk", _SIZE]).ok()
        shutil.rmtree(root)

    def _start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        arguments = [
            "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2",
            "-m", "1536", "-display", "none", "-serial", f"file:{self._directory}/console",
            "-kernel", f"{self._directory}/vmlinuz", "-initrd", f"{self._directory}/initrd.img",
            "-append", "root=/dev/vda rw console=ttyS0 edd=off net.ifnames=0 mitigations=off quiet",
            "-drive", f"file={self._directory}/disk,format=raw,if=virtio,cache=unsafe",
            "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22",
            "-device", "virtio-net-pci,netdev=net",
        ]  # fmt: skip
        with open(f"{self._directory}/emulator", "wb") as log:
            self._machine = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _root(suite: str) -> str:
    """An archive of the system's root, bootstrapped once and kept."""
    key = hashlib.sha256(" ".join((suite, *_PACKAGES)).encode()).hexdigest()[:12]
    archive = f"{CACHE}/system-{suite}-{key}.tar"
    if os.path.exists(archive):
        return archive
    for old in _old_archives():
        os.unlink(old)
    command = [
        "mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(_PACKAGES)}", "--quiet",
        suite, f"{archive}.new.tar",
    ]  # fmt: skip
    environment = {**os.environ, "TMPDIR": CACHE}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    os.rename(f"{archive}.new.tar", archive)
    return archive


def _old_archives() -> Iterator[str]:
    for name in os.listdir(CACHE):
        if name.startswith("system-") and name.endswith(".tar"):
            yield f"{CACHE}/{name}"
