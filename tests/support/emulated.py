"""A whole system in an emulated machine: the distribution's own kernel, systemd, a network of its own.

The product is installed in it from a copy of the source tree. Nothing in it reaches the network, and
what it changes on its disk is gone with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import socket
import subprocess
from typing import Self

from support import scratch
from support.host import Done, run, until
from support.installation import COMPILER, PARTS
from support.machine import SOURCE

CACHE = "/var/cache/ssh2container-tests"
_SELECTED = "SSH2CONTAINER_TESTS_SYSTEMS"
"""The environment variable by which tests/run --systems names releases, with commas between them."""
TREE = "/root/source"
WHEELS = "/root/wheels"
_COMPILER, _COMPILED = "/root/compiler", "/root/compiled"
INSTALL = f"""
cd {TREE}
CC={_COMPILER} SSH2CONTAINER_TESTS_COMPILED={_COMPILED} ./install.sh --wheels {WHEELS} --reload-sshd
"""
"""Installs the product there. What the same compiler has made here of the same sources is not made again."""
BOOT_DEADLINE_SECONDS = 900.0
"""Software emulation takes half a minute on an idle machine."""
SCRIPT_SECONDS = 2400.0
"""How long a script may take there: install.sh takes minutes, and a machine may have much other work."""
TEST_SECONDS = 6000.0
"""How long a test may take there: the first may bootstrap the system, and boots and installs."""
_PACKAGES = (
    # a system that boots, and that one can log in to
    "systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "openssh-server", "iproute2",
    "procps", "kmod", "udev", "linux-image-cloud-amd64",
    # what install.sh needs: it has no network there
    "python3", "python3-pip", "python3-yaml", "python3-prctl", "python3-click", "python3-rich", "libseccomp2",
    "patchelf", "gcc", "libc6-dev", "libpython3-dev",
    # what the tests run there
    "btrfs-progs", "busybox-static", "rsync", "uidmap",
)  # fmt: skip
_NETWORK = "[Match]\nName=eth0\n[Network]\nDHCP=yes\n"
_UNREAD = ("dev", "usr/share/doc", "usr/share/locale")
"""What a system is not given of it: the first makes itself, nobody reads the others there."""
_SIZE = "3G"
_NICENESS = -10
"""It takes longest of all that runs side by side, and next to nothing of it is waiting: it goes first.

It has one processor, so that the others keep the rest of ours. Two take a third more for the same work:
what they share has to be emulated as shared.
"""
_BOOTSTRAP_BYTES = 1200 << 20
"""What a bootstrap takes at a time, measured, and a third more."""
_ROOT_BYTES = 900 << 20
"""What the root takes until its disk is made, measured, and a third more."""
_DISK_BYTES = 1400 << 20
"""What the disk of a running system takes, likewise: it has holes."""


def releases() -> list[str]:
    """The releases of Debian whose systems are emulated: this machine's, unless tests/run was told others."""
    chosen = os.environ.get(_SELECTED) or platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    return list(dict.fromkeys(chosen.split(",")))


def missing() -> str:
    """Say why no system can be emulated here, "" when one can."""
    if platform.machine() != "x86_64":
        return "the emulated machine is an x86_64 one"
    needed = ("qemu-system-x86_64", "mmdebstrap", "mke2fs", "zstd")
    absent = [name for name in needed if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    try:
        scratch.is_in_memory(_DISK_BYTES, CACHE)
        scratch.is_in_memory(_ROOT_BYTES, CACHE)
    except scratch.NoRoom as short:
        return f"no room for an emulated system: {short}"
    return ""


class System:
    """An emulated machine that runs until the end of a ``with`` block."""

    def __init__(self, suite: str, wheels: str, compiled: str, processors: int = 1) -> None:
        """``suite``: Debian's name of the release; ``wheels``: what install.sh takes from a package index.

        compiled: a directory with what the compiler has made for it here, if anything.
        """
        self._suite = suite
        self._wheels = wheels
        self._compiled = compiled
        self._processors = processors
        self._room = contextlib.ExitStack()
        self._directory = ""
        self._port = 0
        self._machine: subprocess.Popen[bytes] | None = None
        self._connection: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            archive = _root(self._suite)
            self._directory = self._room.enter_context(scratch.directory(_DISK_BYTES, CACHE))
            with scratch.directory(_ROOT_BYTES, CACHE) as place:
                self._make_disk(archive, f"{place}/root")
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
        self._disconnect()
        if self._machine is not None:
            self._machine.kill()
            self._machine.wait()
        self._room.close()

    def run(self, script: str) -> Done:
        """Run a shell script in it as root; a script that fails or is too slow fails the test."""
        done = subprocess.run(
            [*self._ssh(), "bash -eu"], input=script.encode(), capture_output=True, timeout=SCRIPT_SECONDS,
            check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    def says(self, script: str) -> str:
        """What a script that must succeed writes, without the last line's end."""
        return self.run(script).ok().text.rstrip("\n")

    def reboot(self) -> None:
        """Start the system anew: its disk stays, /run does not."""
        before = self.says("cat /proc/sys/kernel/random/boot_id")
        self.run("systemctl reboot")
        self._disconnect()
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
            f"ControlPath={self._control}",
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
        self._connect()
        self.run("systemctl is-system-running --wait")

    def _connect(self) -> None:
        """Have one connection for all scripts, as each of its own takes an emulator seconds."""
        words = self._ssh()
        null = subprocess.DEVNULL
        command = [*words[:-1], "-o", "ControlMaster=yes", "-N", words[-1]]
        self._connection = subprocess.Popen(command, stdin=null, stdout=null, stderr=null)
        until(lambda: os.path.exists(self._control), "the connection is there", BOOT_DEADLINE_SECONDS)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection.wait()
            self._connection = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._control)

    @property
    def _control(self) -> str:
        return f"{self._directory}/control"

    def _make_disk(self, archive: str, root: str) -> None:
        os.mkdir(root)
        left_out = [f"--exclude=./{path}/*" for path in _UNREAD]
        run(["tar", "-C", root, "-xf", archive, *left_out]).ok()
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self._directory}/key"]).ok()
        os.makedirs(f"{root}/root/.ssh", mode=0o700, exist_ok=True)
        shutil.copy(f"{self._directory}/key.pub", f"{root}/root/.ssh/authorized_keys")
        os.makedirs(f"{root}{TREE}")
        run(["cp", "-a", *(f"{SOURCE}/{part}" for part in PARTS), f"{root}{TREE}"]).ok()
        run(["chown", "-R", "0:0", f"{root}{TREE}"]).ok()
        shutil.copytree(self._wheels, f"{root}{WHEELS}")
        shutil.copytree(self._compiled, f"{root}{_COMPILED}")
        shutil.copy(COMPILER, f"{root}{_COMPILER}")
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

    def _start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        threads = "multi" if self._processors > 1 else "single"
        arguments = [
            "setpriv", "--pdeathsig", "KILL", "nice", "-n", str(_NICENESS),
            "qemu-system-x86_64", "-machine", "q35", "-accel", f"tcg,thread={threads}",
            "-cpu", "max", "-smp", str(self._processors),
            "-m", "1536", "-display", "none", "-serial", f"file:{self._directory}/console",
            "-kernel", f"{self._directory}/vmlinuz", "-initrd", f"{self._directory}/initrd.img",
            "-append", "root=/dev/vda rw console=ttyS0 edd=off net.ifnames=0 mitigations=off quiet",
            "-drive", f"file={self._directory}/disk,format=raw,if=virtio,cache=unsafe",
            "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22",
            "-device", "virtio-net-pci,netdev=net",
        ]  # fmt: skip
        with open(f"{self._directory}/emulator", "wb") as log:
            self._machine = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        # Where the kernel shares processors by session, that of a process within its own counts for nothing.
        with (
            contextlib.suppress(FileNotFoundError, PermissionError),
            open(f"/proc/{self._machine.pid}/autogroup", "w") as file,
        ):
            file.write(str(_NICENESS))


def _root(suite: str) -> str:
    """An archive of the system's root, bootstrapped once and kept."""
    key = hashlib.sha256(" ".join((suite, *_PACKAGES)).encode()).hexdigest()[:12]
    name = f"system-{suite}-{key}.tar"
    archive = f"{CACHE}/{name}.zst"
    if os.path.exists(archive):
        return archive
    outdated = re.compile(rf"system-{suite}-.*\.tar(\.zst)?")
    for old in [entry for entry in os.listdir(CACHE) if outdated.fullmatch(entry) and entry != name]:
        os.unlink(f"{CACHE}/{old}")
    if os.path.exists(f"{CACHE}/{name}"):  # as it was kept once: three times as large
        run(["zstd", "-q", "--rm", f"{CACHE}/{name}", "-o", archive]).ok()
        return archive
    with scratch.directory(_BOOTSTRAP_BYTES, CACHE) as place:
        command = [
            "mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(_PACKAGES)}", "--quiet",
            '--aptopt=Dir::Cache::pkgcache ""', '--aptopt=Dir::Cache::srcpkgcache ""',
            suite, f"{CACHE}/{name}.new.tar.zst",
        ]  # fmt: skip
        environment = {**os.environ, "TMPDIR": place}
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=SCRIPT_SECONDS, check=False
        )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    os.rename(f"{CACHE}/{name}.new.tar.zst", archive)
    return archive


def login(system: System, command: str, user: str = "alice", options: str = "") -> Done:
    """Log in from within the system, as PAM, logind and sshd see it."""
    ssh = "ssh -i /root/.ssh/id -o StrictHostKeyChecking=no -o LogLevel=ERROR"
    return system.run(f"{ssh} {options} {user}@localhost {command!r}")
