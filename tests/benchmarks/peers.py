"""Other programs that put a command into a container, each set up to do what our default session does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

from benchmarks.clock import Command

PACKAGES = ("bubblewrap", "firejail", "crun", "podman", "systemd-container")
_TREE = "--ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64"
BUBBLEWRAP = f"bwrap --unshare-all {_TREE} --proc /proc --dev /dev --tmpfs /tmp true".split()
"""The same kinds of namespaces and mounts as a session of ours, without policy, log, filter or masks."""
_AS_USER: dict[str, Command] = {
    "firejail, default profile": ["firejail", "--quiet"],
    "firejail, no profile": ["firejail", "--quiet", "--noprofile"],
}
"""Name -> what stands before the command that is run inside."""
_AS_ROOT: dict[str, Command] = {
    "systemd-nspawn (root)": ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "-D", "ROOT"],
    "crun (root)": ["crun", "run", "--bundle", "BUNDLE", "NAME"],
    "podman run (root)": ["podman", "run", "--rm", "--network=none", "--rootfs", "ROOT"],
}
"""Likewise; the words in capitals are filled in."""
_WHERE = ("/usr/bin/readlink", "/proc/self/ns/mnt")


def install() -> None:
    """Install the peers that this system has; one that cannot be installed is left out."""
    subprocess.run(["apt-get", "-q", "update"], stdout=sys.stderr, check=False)
    for package in PACKAGES:
        command = ["apt-get", "-q", "-y", "--no-install-recommends", "install", package]
        subprocess.run(command, stdout=sys.stderr, stdin=subprocess.DEVNULL, check=False)


def of_user() -> dict[str, Command]:
    """Return the peers that a user can run here, by name; what does not work here is said and left out."""
    return {name: [*before, "true"] for name, before in _AS_USER.items() if _contains(name, before)}


def of_root(place: str) -> dict[str, Command]:
    """Return the peers that only root can run here. place: a directory for an image of busybox."""
    found: dict[str, Command] = {}
    for name, words in _AS_ROOT.items():
        if not shutil.which(words[0]):
            continue
        root = f"{place}/rootfs"
        filled = {"ROOT": root, "BUNDLE": place, "NAME": f"benchmark-{os.getpid()}"}
        if not os.path.exists(root):
            _make_image(root)
        before = [filled.get(word, word) for word in words]
        if words[0] == "crun":
            _configure(place, _WHERE)
        if _contains(name, before, () if words[0] == "crun" else _WHERE):
            found[name] = before if words[0] == "crun" else [*before, "/bin/true"]
        if words[0] == "crun":
            _configure(place, ("/bin/true",))
    return found


def _contains(name: str, before: Command, inside: Command = _WHERE) -> bool:
    """Tell whether the peer works here and really leaves the mount namespace: some give up silently."""
    if not shutil.which(before[0]):
        return False
    done = subprocess.run(
        [*before, *inside], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
    )
    seen = done.stdout.decode(errors="replace").strip()
    if done.returncode == 0 and seen.startswith("mnt:") and seen != os.readlink(_WHERE[1]):
        return True
    why = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it contains nothing here"]
    print(f"not measured: {name}: {why[0]}", file=sys.stderr)  # noqa: T201
    return False


def _make_image(root: str) -> None:
    """Make the smallest root that all of them run."""
    for directory in ("bin", "usr/bin", "proc", "dev", "sys", "tmp", "etc", "run", "var"):
        os.makedirs(f"{root}/{directory}")
    with open(f"{root}/etc/os-release", "w", encoding="utf-8") as file:
        file.write("ID=benchmark\n")
    shutil.copy("/bin/busybox", f"{root}/bin/busybox")
    for link in ("bin/true", "usr/bin/readlink"):
        os.symlink("/bin/busybox", f"{root}/{link}")


def _configure(bundle: str, arguments: Command) -> None:
    """Write the bundle's config.json: crun's own default, with this command."""
    path = f"{bundle}/config.json"
    if not os.path.exists(path):
        subprocess.run(["crun", "spec"], cwd=bundle, check=True)
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    config["process"] |= {"terminal": False, "args": list(arguments)}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)
