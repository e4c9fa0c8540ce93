"""Other programs that put a command into a container, each set up to do what our default session does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from support.host import run
from support.material import busybox_tree
from support.users import User, Users

from benchmarks.clock import Command, as_user

PACKAGES = (
    "bubblewrap", "firejail", "crun", "podman", "uidmap", "systemd-container", "jailkit",
    "iperf3", "slirp4netns", "passt",
)  # fmt: skip
_TREE = "--ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64"
BUBBLEWRAP = "bubblewrap, all namespaces"
FIREJAIL = "firejail, default profile"
_MOUNTS = ("/bin/busybox", "readlink", "/proc/self/ns/mnt")
_READLINK = ("/usr/bin/readlink", "/proc/self/ns/mnt")
"""The same where the host's files are seen; firejail's default profile hides busybox."""
_ROOT = ("/bin/busybox", "stat", "-c", "%d:%i", "/")
_PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_JAIL_SHELL = "/usr/sbin/jk_chrootsh"


@dataclass
class Peer:
    """One way to run a command in a container.

    before, command: what is timed. outside: prints what must differ inside; probe: the same, as the peer
    has to be told. user: who runs it, None for root. ready: what has to run once, before, if anything.
    """

    name: str
    before: list[str]
    user: User | None = None
    command: Sequence[str] = ("/bin/true",)
    probe: Sequence[str] = _MOUNTS
    outside: Sequence[str] = _MOUNTS
    ready: Sequence[str] = ()

    @property
    def environment(self) -> dict[str, str]:
        return _PATH | (self.user.environment() if self.user else {})

    def timed(self) -> Command:
        return [*self.before, *self.command]

    def why_not(self) -> str:
        """Why it cannot be measured here, or "": it must really contain, and some give up silently."""
        if not shutil.which(self.before[0], path=_PATH["PATH"]):
            return "not installed"
        inside = ""
        for command in filter(None, (self.ready, [*self.before, *self.probe])):
            status, inside, errors = self._run(command)
            if status:
                return _last(errors) or f"it ended with status {status}"
        outside = run(self.outside).ok().text
        return "" if inside.strip() not in ("", outside.strip()) else "it contained nothing"

    def _run(self, command: Sequence[str]) -> tuple[int, str, str]:
        def work() -> tuple[int, str, str]:
            try:
                done = run(command, env=self.environment)
            except subprocess.TimeoutExpired as error:
                return -1, "", str(error)
            return done.status, done.out.decode(errors="replace"), done.errors

        if self.user is None:
            return work()
        status, out, errors = as_user(self.user, work)
        return status, out, errors


def _last(errors: str) -> str:
    return next(iter(errors.strip().splitlines()[-1:]), "")


def install() -> None:
    """Install the peers that this system has; one that cannot be installed is left out."""
    subprocess.run(["apt-get", "-q", "update"], stdout=sys.stderr, check=False)
    for package in PACKAGES:
        command = ["apt-get", "-q", "-y", "--no-install-recommends", "install", package]
        subprocess.run(command, stdout=sys.stderr, stdin=subprocess.DEVNULL, check=False)


def of_user(user: User, place: str) -> list[Peer]:
    """Return what ``user`` can run himself. place: a directory of its own, to be made."""
    root = f"{place}/rootfs"
    os.makedirs(place)
    _image(root)
    _bundle(f"{place}/probe", root, _MOUNTS)
    _bundle(f"{place}/timed", root, ("/bin/true",))
    run(["chown", "-R", f"{user.uid}:{user.gid}", place]).ok()
    bwrap = f"bwrap --unshare-all {_TREE} --proc /proc --dev /dev --tmpfs /tmp".split()
    crun = ["crun", f"--root={place}/state", "--cgroup-manager=disabled", "run"]
    return [
        Peer(BUBBLEWRAP, bwrap, user, probe=_READLINK),
        Peer(FIREJAIL, ["firejail", "--quiet"], user, probe=_READLINK),
        Peer("firejail, no profile", ["firejail", "--quiet", "--noprofile"], user, probe=_READLINK),
        Peer(
            "crun run", crun, user, (f"--bundle={place}/timed", "timed"), (f"--bundle={place}/probe", "probe")
        ),
    ]


def slow_ones(user: User, place: str) -> list[Peer]:
    """Return what ``user`` can run, but takes so long that it would hold the others up. place: as above."""
    root = f"{place}/rootfs"
    os.makedirs(place)
    _image(root)
    run(["chown", "-R", f"{user.uid}:{user.gid}", place]).ok()
    podman = ["podman", "--cgroup-manager=cgroupfs"]
    fresh = [*podman, "run", "--cgroups=disabled", "--network=none"]
    kept = [*fresh, "--detach", "--name=kept", "--rootfs", root, "/bin/busybox", "sleep", "3600"]
    return [
        Peer("podman run", [*fresh, "--rm", "--rootfs", root], user),
        Peer("podman exec, its container running", [*podman, "exec", "kept"], user, ready=kept),
    ]


def of_others(users: Users, place: str) -> list[Peer]:
    """Return what root runs, or a user with another login shell. place: as above; root's alone can write."""
    root, jail = f"{place}/rootfs", f"{place}/jail"
    for path in (root, jail):
        os.makedirs(path)
        _image(path)
    nspawn = ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "-D", root]
    found = [Peer("systemd-nspawn, as root", nspawn)]
    if os.path.exists(_JAIL_SHELL):
        user = users.make(None, _JAIL_SHELL)
        run(["usermod", "--move-home", "--home", f"{jail}/./home/{user.name}", user.name]).ok()
        with open(f"{jail}/etc/passwd", "a", encoding="ascii") as file:
            file.write(f"{user.name}:x:{user.uid}:{user.gid}::/home/{user.name}:/bin/sh\n")
        with open(f"{jail}/etc/group", "a", encoding="ascii") as file:
            file.write(f"{user.name}:x:{user.gid}:\n")
        shell = [_JAIL_SHELL, "-c"]
        found.append(Peer("jailkit: chroot alone", shell, user, ("true",), (" ".join(_ROOT),), _ROOT))
    return found


def _image(root: str) -> None:
    """Make the smallest root that all of them run."""
    busybox_tree(root)
    for directory in ("proc", "dev", "sys", "run", "var"):
        os.makedirs(f"{root}/{directory}")
    with open(f"{root}/etc/os-release", "w", encoding="utf-8") as file:
        file.write("ID=benchmark\n")


def _bundle(bundle: str, root: str, arguments: Sequence[str]) -> None:
    """Make a bundle of crun's own default for users, with this root and command."""
    os.makedirs(bundle)
    if not shutil.which("crun"):
        return
    run(["crun", "spec", "--rootless"], cwd=bundle).ok()
    with open(f"{bundle}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    config["process"] |= {"terminal": False, "args": list(arguments)}
    config["root"]["path"] = root
    with open(f"{bundle}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
