"""The helper that puts one program into the sandbox: run by ``sandbox.Sandbox``, never imported by it.

A process of its own, because clone(2) without a stack wants a single thread. It makes the
namespaces, maps the ids, and waits; its child builds a small read-only root, becomes ``root`` of
unprivileged ids with few capabilities, and execs the program.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from ssh2container.kernel import mounts, namespaces, process, security
from ssh2container.plan.operations import carry_out, identity
from ssh2container.plan.operations.filesystem import MakeMountsPrivate

_READ_ONLY = mounts.ATTR_RDONLY | mounts.ATTR_NOSUID | mounts.ATTR_NODEV
_LAST_CAPABILITY = "/proc/sys/kernel/cap_last_cap"
_SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime")
_ETC_ONLINE = ("resolv.conf", "hosts", "nsswitch.conf", "ssl", "ca-certificates", "pki", "containers")
DEVICES = ("null", "zero", "full", "random", "urandom")


def main() -> int:
    """Carry out the JSON in argv[1]; exit as the program exits."""
    return contain(json.loads(sys.argv[1]), _inside)


def contain(settings: dict[str, Any], inside: Callable[[dict[str, Any], int], None]) -> int:
    """Run ``inside`` as pid 1 of new namespaces with the id map of ``settings``; return its status.

    It is handed the settings and a descriptor from which a byte can be read when the ids are mapped.
    """
    process.die_with_parent(signal.SIGKILL)
    if os.getppid() != settings["parent"]:
        return 1
    process.keep_from_core_handlers()
    flags = namespaces.ALL_BUT_NETWORK | (0 if settings["network"] else namespaces.CLONE_NEWNET)
    ready, go = os.pipe()
    pid, _ = namespaces.clone(flags)
    if not pid:
        os.close(go)
        inside(settings, ready)
        os._exit(125)
    identity = f"0 {settings['base']} {settings['count']}"
    try:
        namespaces.write_file(f"/proc/{pid}/uid_map", identity)
        namespaces.write_file(f"/proc/{pid}/gid_map", identity)
    except OSError as error:
        os.kill(pid, signal.SIGKILL)
        sys.stderr.write(f"cannot map the ids {identity}: {error}\n")
        return 125
    os.write(go, b"!")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status < 0:
        process.die_by_signal(-status)
    return status


def _inside(settings: dict[str, Any], ready: int) -> None:
    """Be the child: build the root, give up rights, exec. Never returns."""
    step = "start"
    try:
        prepare(ready)
        step = "open what the program may see"
        last = last_capability()
        # Opened while our host uid is still root's, as its owner: a path below /root can be bound,
        # and yet the program has no more than everybody's right to what it finds there.
        trees = _open_trees(settings)
        if not settings["nested"]:
            carry_out(identity.ForbidNestedNamespaces())
        step = "become an unprivileged id"
        become_unprivileged()
        step = "build the sandbox's root"
        _build(trees, settings)
        step = "limit the program"
        for name, value in settings["rlimits"].items():
            number = getattr(resource, "RLIMIT_" + name)
            resource.setrlimit(number, (value, value))
        if settings["capabilities"] is not None:
            keep = frozenset(settings["capabilities"])
            security.drop_bounding_set(last, keep)
            security.set_capabilities(keep)
        security.forbid_new_privileges()
        security.load_filter(base64.b64decode(settings["bpf"]))
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.chdir(settings["directory"])
        step = "start " + settings["argv"][0]
        process.close_from(3)
        os.execvpe(settings["argv"][0], settings["argv"], settings["environment"])  # noqa: S606
    except BaseException as error:  # noqa: BLE001 - nothing may run on behind the fork
        os.write(2, f"sandbox: cannot {step}: {error}\n".encode("utf-8", "backslashreplace"))
    finally:
        os._exit(125)


def prepare(ready: int) -> None:
    """Wait for the id map, tied to the parent's life and cut off from the host's keys and mounts."""
    process.die_with_parent(signal.SIGKILL)
    if os.read(ready, 1) != b"!":
        os._exit(125)
    carry_out(identity.NewSessionKeyring())
    carry_out(MakeMountsPrivate())


def last_capability() -> int:
    """Return the highest capability that the kernel knows."""
    with open(_LAST_CAPABILITY, encoding="ascii") as text:
        return int(text.read())


def become_unprivileged() -> None:
    """Become ``root`` of the user namespace, who is nobody on the host."""
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    process.die_with_parent(signal.SIGKILL)  # the kernel took it away with the change of uid


def _open_trees(settings: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return target → (detached mount, attributes) of all that is bound."""
    trees: dict[str, tuple[int, int]] = {}
    for name in _SYSTEM:
        if os.path.isdir("/" + name) and not os.path.islink("/" + name):
            trees["/" + name] = (mounts.clone_tree("/" + name, recursive=True), _READ_ONLY)
    for name in _ETC + (_ETC_ONLINE if settings["network"] else ()):
        path = os.path.realpath("/etc/" + name)
        if os.path.exists(path):
            trees["/etc/" + name] = (mounts.clone_tree(path, recursive=True), _READ_ONLY)
    for name in DEVICES:
        trees["/dev/" + name] = (mounts.clone_tree("/dev/" + name, recursive=False), mounts.ATTR_NOSUID)
    for target, source in settings["readable"].items():
        trees[target] = (mounts.clone_tree(source, recursive=False), _READ_ONLY)
    for target, source in settings["writable"].items():
        attributes = mounts.ATTR_NOSUID | mounts.ATTR_NODEV
        trees[target] = (mounts.clone_tree(source, recursive=False), attributes)
    return trees


def _build(trees: dict[str, tuple[int, int]], settings: dict[str, Any]) -> None:
    root = "/tmp"
    files = {target for target, (tree, _) in trees.items() if not os.path.isdir(f"/proc/self/fd/{tree}")}
    mounts.mount("tmpfs", root, mounts.MS_NOSUID | mounts.MS_NODEV, "mode=755,size=16m")
    for name in _SYSTEM:
        if os.path.islink("/" + name):
            os.symlink(os.readlink("/" + name), f"{root}/{name}")
    for target, (tree, attributes) in trees.items():
        place = root + target
        if target in files:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))
        else:
            os.makedirs(place, exist_ok=True)
        mounts.set_attributes(tree, attributes, recursive=True)
        mounts.attach(tree, place)
    for name, size in (("tmp", settings["tmp"]), ("dev/shm", "16m")):
        os.makedirs(f"{root}/{name}", exist_ok=True)
        flags = mounts.MS_NOSUID | mounts.MS_NODEV
        mounts.mount("tmpfs", f"{root}/{name}", flags, f"mode=1777,size={size}")
    os.makedirs(f"{root}/etc", exist_ok=True)
    with open(f"{root}/etc/passwd", "w", encoding="ascii") as passwd:
        passwd.write("root:x:0:0:root:/tmp:/bin/sh\n")
    with open(f"{root}/etc/group", "w", encoding="ascii") as group:
        group.write("root:x:0:\n")
    os.symlink("/proc/self/fd", f"{root}/dev/fd")
    os.makedirs(f"{root}/proc")
    mounts.mount("proc", f"{root}/proc", mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC, "")
    mounts.pivot_root(root)
    mounts.detach_old_root()
    own = os.open("/", os.O_PATH | os.O_DIRECTORY)
    mounts.set_attributes(own, _READ_ONLY, recursive=False)
    os.close(own)


if __name__ == "__main__":
    os._exit(main())
