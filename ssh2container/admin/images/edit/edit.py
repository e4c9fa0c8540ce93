"""``image edit``: change an image by hand, inside a container, and keep the result as a new version."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ssh2container import paths
from ssh2container.admin.images import manifest, ownership
from ssh2container.admin.images.edit import workbench
from ssh2container.admin.images.sandbox import sandbox
from ssh2container.admin.images.sources import tools
from ssh2container.admin.images.store import shift
from ssh2container.admin.images.store.staging import Staging
from ssh2container.admin.images.store.store import MovedError, Store, Version
from ssh2container.admin.images.unpack import streams
from ssh2container.admin.images.unpack.rules import Count, HostileError, Limits
from ssh2container.admin.images.unpack.streams import Defaults, Progress
from ssh2container.admin.terminal import aside, relays
from ssh2container.errors import Refusal, SessionError
from ssh2container.plan import insider
from ssh2container.plan.environment import ROOT_PATH
from ssh2container.policy import filters
from ssh2container.policy.cold import PYTHON
from ssh2container.policy.policy import Seccomp
from ssh2container.run import channel, packets

UNCHANGED = "nothing has changed"
"""Why nothing was kept, where there was nothing."""
_SHELLS = ("/bin/bash", "/bin/zsh", "/bin/sh", "/bin/busybox")


class Work(NamedTuple):
    """What to do to an image. argv: () for a shell; network: share the host's; name: of the result."""

    argv: tuple[str, ...]
    network: bool
    name: str


Decide = Callable[[int, list[str]], str]
"""Told the status of the shell or command and a sentence for each change; returns why not, or ""."""


class Result(NamedTuple):
    """What became of it.

    status: the shell's or command's own. version: None where nothing was kept; then ``why`` says why.
    name: what the version is called now, which is another name than asked for if that has moved.
    """

    status: int
    version: Version | None
    name: str
    why: str


def edit(store: Store, reference: str, work: Work, decide: Decide, progress: Progress) -> Result:
    """Let the administrator change ``reference``, and keep the result as ``decide`` says.

    Raises SessionError, Refusal for a result that breaks a rule of images. The old version stays.
    """
    before = store.version(reference)
    expected = before.digest if work.name == reference else store.current(work.name)
    with store.stage() as staging:
        if not staging.hold(store.tree(before)):
            raise SessionError(f"{reference} was removed", step="image")
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
        why = decide(status, changes) if changes else UNCHANGED
        if why:
            return Result(status, None, work.name, why)
        defaults = before.info["defaults"]
        kept = Defaults(
            tuple((key, value) for key, value in defaults["environment"]),
            defaults["user"],
            defaults["working_directory"],
            tuple(defaults["command"]),
        )
        origin = {"kind": "edit", "reference": reference, "digest": before.digest, **limits.kept()}
        version = store.publish(staging, unpacked, kept, origin, progress)
        name = work.name
        try:
            store.point(name, version, origin, instead_of=expected)
        except MovedError:
            name = f"{name}-edited-{version.hexadecimal[:8]}"
            store.point(name, version, origin)
        if before.info["range"][1]:
            version = shift.ensure(store, version, progress)
    return Result(status, version, name, "")


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
    environment = {"PATH": ROOT_PATH, **dict(version.info["defaults"]["environment"]), "HOME": "/root"}
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
        "bpf": base64.b64encode(filters.filter_for(seccomp, workbench.CAPABILITIES, insider.SET_ID)).decode(),
    }
    argv = [PYTHON, "-IB", "-c", sandbox.program("edit.workbench", "m.os._exit(m.main())")]
    if not interactive and aside.is_needed():
        # Our terminal is not for what runs inside, neither to write to nor to read from.
        theirs.close()
        ours.close()
        command = [*argv, json.dumps(settings)]
        return os.waitstatus_to_exitcode(aside.run(lambda: os.execv(command[0], command)))  # noqa: S606
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
    if kind == channel.TERMINAL:
        relays.Terminal(Helper(process), master).run()


class Helper(relays.Program):
    """The process behind the shell; what is typed, Ctrl-C included, goes to the shell's terminal."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.descriptor = os.pidfd_open(process.pid)

    def hear(self) -> bool:
        """Collect it: it has ended."""
        self.status = self._process.wait()
        os.close(self.descriptor)
        return False

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        self._process.send_signal(number)


def _shell(copy: str) -> list[str]:
    """Return the first shell that the image has."""
    for path in _SHELLS:
        if os.path.lexists(copy + path) or os.path.lexists(f"{copy}/usr{path}"):
            return [path, "sh"] if path.endswith("busybox") else [path, "-l"]
    raise SessionError(
        "the image has no shell", "", "give a command: image edit NAME -- COMMAND", step="image"
    )


def _resolv_conf() -> bytes:
    with contextlib.suppress(OSError), open(paths.RESOLV_CONF, "rb") as file:
        return file.read(1 << 16)
    sys.stderr.write(f"image edit: this host has no {paths.RESOLV_CONF}\n")
    return b""
