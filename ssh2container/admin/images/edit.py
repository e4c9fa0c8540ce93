"""``image edit``: change an image by hand, inside a container, and keep the result as a new version."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ssh2container.admin.images import manifest, ownership, sandbox, shifting, streams, workbench
from ssh2container.admin.images.safety import Count, HostileError, Limits
from ssh2container.admin.images.sources import tools
from ssh2container.admin.images.staging import Staging
from ssh2container.admin.images.store import Store, Version
from ssh2container.admin.images.streams import Defaults, Progress
from ssh2container.errors import Refusal, SessionError
from ssh2container.policy import filters
from ssh2container.policy.policy import Seccomp
from ssh2container.run import channel, packets
from ssh2container.run.terminal import Relay

_SHELLS = ("/bin/bash", "/bin/zsh", "/bin/sh", "/bin/busybox")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Work(NamedTuple):
    """What to do to an image. argv: () for a shell; network: share the host's; name: of the result."""

    argv: tuple[str, ...]
    network: bool
    name: str


Decide = Callable[[int, list[str]], bool]
"""Told the status of the shell or command and a sentence for each change; says whether to keep them."""


def edit(store: Store, reference: str, work: Work, decide: Decide, progress: Progress) -> Version | None:
    """Let the administrator change ``reference``; return the new version, None if it was not kept.

    Raises SessionError, Refusal for a result that breaks a rule of images. The old version stays.
    """
    before = store.version(reference)
    store.check_name(work.name)
    with store.stage() as staging:
        copy = f"{staging.path}/edit"
        progress("copying the image", 0, 0)
        ownership.copy(f"{store.tree(before)}/root", copy)
        listing = f"{store.tree(before)}/{manifest.NAME}"
        meant = (ownership.as_meant(line, staging.range.base) for line in manifest.read(listing))
        ownership.put_on(copy, meant)
        with _mount_points(copy, staging.range.base):
            status = _run(copy, before, staging, work)
        box = sandbox.scratch(staging.range, copy)
        stream = tools.tar_of(box, "/scratch", "the edited image")
        limits = Limits.of(before.info["source"])
        try:
            unpacked = streams.unpack([stream], staging.root, staging.range, Count(limits), progress)
        except HostileError as error:
            raise Refusal(
                f"the result is no image because of {error.name}", error.why, step="image"
            ) from None
        meant = (ownership.as_meant(line, staging.range.base) for line in manifest.read(listing))
        changes = list(manifest.differences(meant, staging.root))
        if not changes or not decide(status, changes):
            return None
        defaults = before.info["defaults"]
        kept = Defaults(
            tuple((key, value) for key, value in defaults["environment"]),
            defaults["user"],
            defaults["working_directory"],
            tuple(defaults["command"]),
        )
        origin = {"kind": "edit", "reference": reference, "digest": before.digest, **limits.kept()}
        version = store.publish(staging, unpacked, kept, origin, progress)
        store.point(work.name, version, origin)
    if before.info["range"][1]:
        version = shifting.ensure(store, version, progress)
    return version


@contextlib.contextmanager
def _mount_points(copy: str, base: int) -> Iterator[None]:
    """Make the directories that the container mounts on, and take those away again that the image lacks."""
    made = []
    for name in workbench.MOUNT_POINTS:
        path = f"{copy}/{name}"
        if not os.path.lexists(path):
            os.mkdir(path)
            os.chmod(path, 0o755)  # noqa: S103
            os.chown(path, base, base)
            made.append(path)
    try:
        yield
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                os.rmdir(path)


def _run(copy: str, version: Version, staging: Staging, work: Work) -> int:
    """Run the shell or command in the container of ``copy`` and return its status."""
    interactive = os.isatty(0) and os.isatty(1)
    ours, theirs = packets.pair()
    inherited = theirs.fileno() if interactive else -1
    environment = {"PATH": _PATH, **dict(version.info["defaults"]["environment"]), "HOME": "/root"}
    environment.update({key: os.environ[key] for key in ("TERM", "LANG", "LC_ALL") if key in os.environ})
    seccomp = Seccomp("default", (), (), "errno")
    settings: dict[str, Any] = {
        "parent": os.getpid(),
        "base": staging.range.base,
        "count": staging.range.count,
        "network": work.network,
        "root": copy,
        "hostname": "image-edit",
        "channel": inherited,
        "argv": list(work.argv) or _shell(copy),
        "directory": "/",
        "environment": environment,
        "resolv_conf": base64.b64encode(_resolv_conf() if work.network else b"").decode(),
        "bpf": base64.b64encode(filters.filter_for(seccomp, workbench.CAPABILITIES)).decode(),
    }
    argv = [sandbox.PYTHON, "-IB", "-c", sandbox.program("workbench", "m.os._exit(m.main())")]
    # Ctrl-C belongs to the shell inside, whose terminal sees it; here it would end the helper.
    process = subprocess.Popen(
        [*argv, json.dumps(settings)],
        pass_fds=(inherited,) if interactive else (),
        start_new_session=interactive,
    )
    theirs.close()
    try:
        if interactive:
            _relay(ours, process)
        return process.wait()
    finally:
        ours.close()
        if process.poll() is None:
            process.kill()
            process.wait()


def _relay(end: Any, process: subprocess.Popen[bytes]) -> None:  # noqa: ANN401 - _socket.socket
    """Copy between our terminal and the container's until the shell inside ends."""
    kind, _, master = packets.receive(end)
    if kind != channel.TERMINAL:
        return
    pidfd = os.pidfd_open(process.pid)
    poll = select.epoll()
    poll.register(pidfd, select.EPOLLIN)
    relay = Relay(poll, master)
    resized = signal.signal(signal.SIGWINCH, lambda *_: relay.resize())
    try:
        while not relay.hung_up:
            for descriptor, events in poll.poll():
                if descriptor == pidfd:
                    return
                relay.handle(descriptor, events)
    finally:
        signal.signal(signal.SIGWINCH, resized)
        relay.drain()
        relay.restore()
        os.close(pidfd)
        poll.close()


def _shell(copy: str) -> list[str]:
    """Return the first shell that the image has."""
    for path in _SHELLS:
        if os.path.lexists(copy + path) or os.path.lexists(f"{copy}/usr{path}"):
            return [path, "sh"] if path.endswith("busybox") else [path, "-l"]
    raise SessionError(
        "the image has no shell", "", "give a command: image edit NAME -- COMMAND", step="image"
    )


def _resolv_conf() -> bytes:
    with contextlib.suppress(OSError), open("/etc/resolv.conf", "rb") as file:
        return file.read(1 << 16)
    sys.stderr.write("image edit: this host has no /etc/resolv.conf\n")
    return b""
