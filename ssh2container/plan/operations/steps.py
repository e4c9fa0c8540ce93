"""Steps that several operations are made of: mounts by path, where only root can change it, or by descriptor.

Sources: mount(2), open_tree(2), move_mount(2), mount_setattr(2), openat2(2).
"""

from __future__ import annotations

from ssh2container.kernel import mounts

ESTALE = 116
"""errno(3): what a step reports that finds another file than the one that was planned."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script, Slot


def mount(script: Script, kind: str, target: str, flags: int, options: str) -> None:
    """Mount a new file system of ``kind`` on ``target``."""
    script.call("mount", kind, target, kind, flags, options)


def bind(script: Script, source: str, target: str) -> None:
    """Bind ``source`` on ``target``, one mount."""
    script.call("mount", source, target, 0, mounts.MS_BIND, 0)


def bind_tree(script: Script, source: str, target: str, attributes: int, *, recursive: bool) -> None:
    """Bind ``source`` on ``target`` with ``attributes``, symbolic links in ``target`` followed."""
    tree = script.slot()
    clone_tree(script, tree, source, recursive=recursive)
    set_attributes(script, tree, attributes, recursive=recursive)
    script.call("move_mount", tree, "", mounts.AT_FDCWD, target, mounts.MOVE_ON_PATH)
    script.close(tree)


def open_path(script: Script, path: str, result: Slot) -> None:
    """Open ``path`` without touching it; a magic link on the way is ELOOP."""
    how = mounts.how_to_open(0)
    script.call("openat2", mounts.AT_FDCWD, path, how, len(how), result=result, at=path)


def clone_tree(script: Script, result: Slot, source: str | Slot, *, recursive: bool) -> None:
    """Make a detached copy of the mount (tree) at a path, or at what a slot has open."""
    flags = mounts.clone_flags(recursive=recursive)
    if isinstance(source, str):
        script.call("open_tree", mounts.AT_FDCWD, source, flags, result=result)
    else:
        script.call("open_tree", source, "", flags | mounts.AT_EMPTY_PATH, result=result)


def set_attributes(script: Script, tree: Slot, attributes: int, *, recursive: bool) -> None:
    """Add ``attributes`` to every mount of ``tree``; one call covers submounts too."""
    request = mounts.attributes_request(attributes)
    script.call("mount_setattr", tree, "", mounts.setattr_flags(recursive=recursive), request, len(request))


def attach(script: Script, tree: Slot, place: Slot) -> None:
    """Attach the detached mount ``tree`` on what ``place`` has open."""
    script.call("move_mount", tree, "", place, "", mounts.MOVE_ON_DESCRIPTOR)
