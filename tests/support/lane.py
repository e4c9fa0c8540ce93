"""pid 1 of a lane of tests: makes the machine of the lane out of namespaces, runs its tests, reaps orphans.

``unshare --mount --pid --ipc --uts --fork … python3 lane.py ROOT SHARED NETWORK COMMAND…`` starts it. ROOT is
a copy of this machine (support.copying) that becomes the root, or /, which stays the root; SHARED are the
trees, with colons between them, of which it has overlays in place of copies. It writes the line READY, runs
COMMAND once a line has come from its stdin, and ends with COMMAND's exit status, and all that is left in the
lane with it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys

READY = "ready"
OWN_NETWORK, SHARED_NETWORK = "own-network", "shared-network"
_NODES = (
    "null",
    "zero",
    "full",
    "random",
    "urandom",
    "tty",
    "fuse",
    "kvm",
    "loop-control",
    "btrfs-control",
    "net/tun",
)
_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # netdevice(7)
BELOW = "/run/below-the-lane"
"""Where a lane has the trees that it has overlays of, as they are without its changes."""
_DEATH_BY_SIGNAL = 128


def _mount(kind: str, place: str, options: str = "") -> None:
    more = ["-o", options] if options else []
    os.makedirs(place, exist_ok=True)
    subprocess.run(["mount", "-t", kind, *more, kind, place], check=True)


def _make_devices(place: str) -> None:
    """A /dev of its own: what tests put there, such as a log's socket, is theirs alone."""
    _mount("tmpfs", place, "mode=755,nosuid")
    loops = [name for name in os.listdir("/dev") if name.startswith("loop") and name[4:].isdigit()]
    for name in (*_NODES, *loops):
        try:
            status = os.stat(f"/dev/{name}")
        except FileNotFoundError:
            continue
        os.makedirs(os.path.dirname(f"{place}/{name}"), exist_ok=True)
        os.mknod(f"{place}/{name}", status.st_mode, status.st_rdev)
        os.chmod(f"{place}/{name}", stat.S_IMODE(status.st_mode))
        os.chown(f"{place}/{name}", status.st_uid, status.st_gid)
    for name, target in _LINKS.items():
        os.symlink(target, f"{place}/{name}")
    _mount("devpts", f"{place}/pts", "newinstance,ptmxmode=0666,mode=620,gid=5")
    _mount("tmpfs", f"{place}/shm", "mode=1777,nosuid,nodev")
    _mount("mqueue", f"{place}/mqueue")


def _make_run(place: str) -> None:
    """A /run of its own, with what the product's installation keeps there."""
    _mount("tmpfs", place, "mode=755,nosuid,nodev")
    for name, mode in (("sshd", 0o755), ("lock", 0o1777)):
        os.mkdir(f"{place}/{name}")
        os.chmod(f"{place}/{name}", mode)
    if os.path.isdir("/run/ssh2container"):
        os.mkdir(f"{place}/ssh2container")
        shutil.copystat("/run/ssh2container", f"{place}/ssh2container")
    resolver = os.path.realpath("/etc/resolv.conf")
    if resolver.startswith("/run/") and os.path.isfile(resolver):
        os.makedirs(place + os.path.dirname(resolver.removeprefix("/run")))
        shutil.copy(resolver, place + resolver.removeprefix("/run"))


def overlay(tree: str, layers: str, place: str) -> list[str]:
    """Make the directory ``layers`` of an overlay of ``tree``; the command that mounts it at ``place``."""
    for name in ("upper", "work"):
        os.makedirs(f"{layers}/{name}")
    status = os.stat(tree)
    os.chown(f"{layers}/upper", status.st_uid, status.st_gid)
    shutil.copystat(tree, f"{layers}/upper")  # it is what the top of the overlay is seen as
    # redirect_dir: a directory of below can be renamed, as anywhere else (overlayfs.rst).
    options = f"redirect_dir=on,lowerdir={tree},upperdir={layers}/upper,workdir={layers}/work"
    return ["mount", "-t", "overlay", "-o", options, "overlay", place]


def _enter(root: str, shared: list[str]) -> None:
    """Make ``root``, a copy of this machine but for the trees ``shared``, the root of this namespace."""
    subprocess.run(["mount", "--bind", root, root], check=True)
    # Whatever holds for the file system that it is on.
    subprocess.run(["mount", "-o", "remount,bind,suid,dev,exec", root], check=True)
    _make_run(f"{root}/run")
    for number, tree in enumerate(shared):
        below = root + BELOW + tree
        os.makedirs(below)
        subprocess.run(["mount", "--bind", tree, below], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", below], check=True)
        layers = f"{os.path.dirname(root)}/layers/{number}"
        os.makedirs(root + tree, exist_ok=True)
        subprocess.run(overlay(tree, layers, root + tree), check=True)
    _make_devices(f"{root}/dev")
    _mount("proc", f"{root}/proc", "nosuid,nodev,noexec")
    subprocess.run(["mount", "--rbind", "/sys", f"{root}/sys"], check=True)
    os.chdir(root)
    subprocess.run(["pivot_root", ".", "mnt"], check=True)
    os.chdir("/")
    subprocess.run(["umount", "--lazy", "/mnt"], check=True)


def _start_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack_from("16sH", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _boot() -> None:
    """Make below /run what the product's unit makes at each boot, where it is installed."""
    control = shutil.which("ssh2containerctl")
    if control:
        subprocess.run([control, "enable", "--runtime"], check=True, stdout=subprocess.DEVNULL)


def _run(command: list[str], checkout: str) -> int:
    """Run ``command`` and reap orphans until it ends; SIGTERM interrupts it as Ctrl-C would."""
    watched = {signal.SIGCHLD, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    os.chdir(checkout)
    child = os.posix_spawn(
        command[0], command, os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)],
        setsid=True, setsigmask=[], setsigdef=[signal.SIGINT, signal.SIGPIPE],
    )  # fmt: skip
    while True:
        if signal.sigwait(watched) == signal.SIGTERM:
            os.kill(child, signal.SIGINT)
            continue
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else _DEATH_BY_SIGNAL - code
            if not pid:
                break


def main(root: str, shared: str, network: str, *command: str) -> int:
    """See the module; ``network`` is OWN_NETWORK where unshare has made one, which then gets its loopback."""
    checkout = os.getcwd()
    os.setsid()  # a group of outside is 0 in here, which kill(2) takes for the caller's own
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    if network == OWN_NETWORK:
        _start_loopback()
    if root == "/":
        _mount("proc", "/proc", "nosuid,nodev,noexec")
    else:
        _enter(root, [tree for tree in shared.split(":") if tree])
        _boot()
    os.write(1, READY.encode() + b"\n")
    if not sys.stdin.readline():
        return _DEATH_BY_SIGNAL
    return _run(list(command), checkout)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
