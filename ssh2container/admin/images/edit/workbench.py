"""The helper behind ``image edit``: a root shell in a writable copy of an image, contained.

Like ``confine``, whose namespaces and id map it uses, but the image's copy itself is the root, as in
a real system: package managers, useradd, chown and services work, what is written stays. ``root`` is
nobody on the host, keeps the capabilities that such work needs, and has the default system-call
filter. The terminal is one of the container's own.
"""

from __future__ import annotations

import _socket
import base64
import errno
import json
import os
import signal
import stat
import sys
from typing import Any, NoReturn

from ssh2container import paths
from ssh2container.admin import atomic
from ssh2container.admin.images.edit import terminals
from ssh2container.admin.images.sandbox import confine
from ssh2container.kernel import mounts, process, security, signals
from ssh2container.plan import host, insider
from ssh2container.plan.operations import carry_out, identity, network, proc
from ssh2container.run import terminal

_AUDIT_WRITE, _SETFCAP = 29, 31
CAPABILITIES = insider.ROOT_CAPABILITIES | {_AUDIT_WRITE, _SETFCAP}
"""What root of a session has, and what useradd and package managers need beside it."""
MOUNT_POINTS = ("dev", "proc", "run", "tmp")
_ROOT = "/tmp"
_NOSUID_NODEV = mounts.MS_NOSUID | mounts.MS_NODEV
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
          "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"}  # fmt: skip


def main() -> int:
    """Carry out the JSON in argv[1]; exit as the payload exits."""
    return confine.contain(json.loads(sys.argv[1]), _inside)


def _inside(settings: dict[str, Any], ready: int) -> None:
    """Be pid 1: build the container, start the payload, reap until it ends. Never returns."""
    step = "start"
    try:
        confine.prepare(ready)
        last = confine.last_capability()
        step = "open the copy of the image"
        tree = mounts.clone_tree(settings["root"], recursive=False)
        devices = {
            name: mounts.clone_tree("/dev/" + name, recursive=False) for name in (*confine.DEVICES, "tty")
        }
        carry_out(identity.ForbidNestedNamespaces())
        step = "become an unprivileged id"
        confine.become_unprivileged()
        carry_out(identity.SetHostname(settings["hostname"]))
        if not settings["network"]:
            carry_out(network.LoopbackUp())
            carry_out(network.LimitBuffers())
        step = "mount the container's file systems"
        _mount(tree, devices)
        _name_servers(base64.b64decode(settings["resolv_conf"]))
        step = "open a terminal"
        channel = _socket.socket(fileno=settings["channel"]) if settings["channel"] >= 0 else None
        slave = terminals.open_inside(channel, terminal.likeness(0)) if channel else -1
        step = "give up rights"
        security.drop_bounding_set(last, CAPABILITIES)
        security.set_capabilities(CAPABILITIES)
        security.forbid_new_privileges()
        # Without this, root inside could open the administrator's terminal through /proc/1/fd.
        process.set_dumpable(dumpable=False)
        step = "start " + settings["argv"][0]
        payload = os.fork()
        if not payload:
            _become_payload(settings, slave)
        if channel:
            channel.close()
            os.close(slave)
        process.replace_standard_descriptors(() if slave >= 0 else (2,))
        os._exit(_reap(payload))
    except BaseException as error:  # noqa: BLE001 - nothing may run on behind the clone
        os.write(2, f"image edit: cannot {step}: {error}\n".encode("utf-8", "backslashreplace"))
    finally:
        os._exit(125)


def _mount(tree: int, devices: dict[str, int]) -> None:
    mounts.set_attributes(tree, mounts.ATTR_NOSUID | mounts.ATTR_NODEV, recursive=False)
    mounts.attach(tree, _ROOT)
    for name in MOUNT_POINTS:
        # Nobody but us is in this tree yet: what is a directory now is still one in the next line.
        if not stat.S_ISDIR(os.lstat(f"{_ROOT}/{name}").st_mode):
            raise NotADirectoryError(f"/{name} of the image is no directory")
    mounts.mount("proc", f"{_ROOT}/proc", _NOSUID_NODEV | mounts.MS_NOEXEC, "")
    mounts.mount("tmpfs", f"{_ROOT}/dev", mounts.MS_NOSUID, "mode=755,size=64k")
    mounts.mount("tmpfs", f"{_ROOT}/run", _NOSUID_NODEV, "mode=755,size=64m")
    mounts.mount("tmpfs", f"{_ROOT}/tmp", _NOSUID_NODEV, "mode=1777,size=50%")
    for name in ("pts", "shm"):
        os.mkdir(f"{_ROOT}/dev/{name}")
    mounts.mount(
        "devpts",
        f"{_ROOT}/dev/pts",
        mounts.MS_NOSUID | mounts.MS_NOEXEC,
        "newinstance,ptmxmode=666,mode=620,gid=5,max=64",
    )
    mounts.mount("tmpfs", f"{_ROOT}/dev/shm", _NOSUID_NODEV, "mode=1777,size=64m")
    for name, device in devices.items():
        os.close(os.open(f"{_ROOT}/dev/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
        mounts.set_attributes(device, mounts.ATTR_NOSUID, recursive=False)
        mounts.attach(device, f"{_ROOT}/dev/{name}")
    for name, target in _LINKS.items():
        os.symlink(target, f"{_ROOT}/dev/{name}")
    mounts.pivot_root(_ROOT)
    mounts.detach_old_root()
    for name in host.PROTECTED:
        if os.path.exists(f"/proc/{name}"):
            carry_out(proc.ProtectProc(f"/proc/{name}"))
    for name in host.MASKED_FILES:
        if os.path.exists(f"/proc/{name}"):
            carry_out(proc.MaskFile(f"/proc/{name}"))
    for name in host.MASKED_DIRECTORIES:
        if os.path.exists(f"/proc/{name}"):
            carry_out(proc.MaskDirectory(f"/proc/{name}"))


def _name_servers(content: bytes) -> None:
    """Let /etc/resolv.conf show the host's, without a change of the image."""
    if not content:
        return
    place = os.path.realpath(paths.RESOLV_CONF)
    if place.startswith("/run/"):
        os.makedirs(os.path.dirname(place), exist_ok=True)
        atomic.write(place, content)
    elif os.path.isfile(place):
        shown = "/run/ssh2container-resolv.conf"
        atomic.write(shown, content)
        mounts.bind(shown, place)


def _become_payload(settings: dict[str, Any], slave: int) -> NoReturn:
    status = 126
    try:
        os.setsid()
        if slave >= 0:
            terminals.adopt(slave)
        process.close_from(3)
        signals.reset()
        signals.unblock()
        os.chdir(settings["directory"])
        if bpf := base64.b64decode(settings["bpf"]):
            security.load_filter(bpf)
        status = _execute(settings["argv"], settings["environment"])
    except BaseException as error:  # noqa: BLE001 - nothing may run on behind the fork
        os.write(2, f"image edit: cannot start {settings['argv'][0]}: {error}\n".encode("utf-8", "replace"))
        status = 126
    finally:
        os._exit(status)


def _execute(argv: list[str], environment: dict[str, str]) -> int:
    """Become the program; return a shell's status where there is none, having said so.

    Like os.execvpe, which cannot be used here: it imports modules, and those lie on the host.
    """
    places = [argv[0]]
    if "/" not in argv[0]:
        places = [f"{place or '.'}/{argv[0]}" for place in environment.get("PATH", "").split(":")]
    worst: OSError = FileNotFoundError(errno.ENOENT, "no such program")
    for place in places:
        try:
            os.execve(place, argv, environment)  # noqa: S606
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            worst = error if isinstance(worst, FileNotFoundError) else worst
    os.write(2, f"image edit: cannot run {argv[0]}: {worst.strerror}\n".encode("utf-8", "replace"))
    return 127 if isinstance(worst, FileNotFoundError) else 126


def _reap(payload: int) -> int:
    """Wait for whoever ends, as pid 1 has to, until the payload has; return its status as a shell does."""
    while True:
        pid, status = os.wait()
        if pid == payload:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os._exit(main())
