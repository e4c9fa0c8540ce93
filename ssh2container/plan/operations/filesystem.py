"""The session's file tree: mounts, mount points, generated files, masks.

Until :class:`PivotRoot` the new tree is built below :data:`ROOT`; everything there comes from
our own skeleton, so no path can lead elsewhere. What the user or an image may have prepared
(``volumes``) is reached only after the pivot, and without following a link.
"""

from __future__ import annotations

from ssh2container.kernel import mounts

from . import Operation, steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script

BASE = "/tmp"
"""Where the one writable memory file system is mounted while the tree is built."""
ROOT = BASE + "/root"
UPPER = BASE + "/upper"
WORK = BASE + "/work"
NOSUID_NODEV = mounts.MS_NOSUID | mounts.MS_NODEV

_NO_SPACE = {28: "raise storage_opt.size or storage_opt.inodes"}


class MakeMountsPrivate(Operation):
    """No mount of the session reaches the host, none of the host's reaches the session."""

    __slots__ = ()
    step = "private-mounts"
    why = "otherwise mounts of the session could appear on the host"

    @property
    def calls(self) -> tuple[str, ...]:
        return ("mount",)

    def describe(self) -> str:
        return "cut mount propagation between host and session"

    def write(self, script: Script) -> None:
        script.call("mount", 0, "/", 0, mounts.MS_REC | mounts.MS_PRIVATE, 0)


class Mount(Operation):
    """Mount a new file system: tmpfs, overlay, proc or devpts."""

    __slots__ = ("flags", "kind", "options", "target", "what")
    step = "mount"
    why = "a new instance shows and keeps nothing that belongs to the host or to another session"
    remedies = {
        1: "the kernel forbids it in a user namespace; ssh2containerctl doctor names the setting",
        **_NO_SPACE,
    }

    def __init__(self, kind: str, target: str, flags: int, options: str, what: str, key: str = "") -> None:
        super().__init__(key)
        self.kind = kind
        self.target = target
        self.flags = flags
        self.options = options
        self.what = what

    @property
    def calls(self) -> tuple[str, ...]:
        return ("mount",)

    def describe(self) -> str:
        return f"mount {self.what}: {self.kind} on {_inside(self.target)} ({self.options or 'no options'})"

    def write(self, script: Script) -> None:
        steps.mount(script, self.kind, self.target, self.flags, self.options)


class Bind(Operation):
    """Bind a path of the host that only root can change, one mount."""

    __slots__ = ("source", "target")
    step = "bind"
    why = "only what everybody may read, chosen name by name"

    def __init__(self, source: str, target: str, key: str = "") -> None:
        super().__init__(key)
        self.source = source
        self.target = target

    @property
    def calls(self) -> tuple[str, ...]:
        return ("mount",)

    def describe(self) -> str:
        return f"bind {self.source} on {_inside(self.target)}"

    def write(self, script: Script) -> None:
        steps.bind(script, self.source, self.target)


class BindTree(Operation):
    """Bind a tree, submounts included, with ``attributes`` set on each of them."""

    __slots__ = ("attributes", "source", "target")
    step = "bind-tree"
    why = "a submount left out would keep its own, weaker flags"

    def __init__(self, source: str, target: str, attributes: int, key: str = "") -> None:
        super().__init__(key)
        self.source = source
        self.target = target
        self.attributes = attributes

    @property
    def calls(self) -> tuple[str, ...]:
        return ("open_tree", "mount_setattr", "move_mount")

    def describe(self) -> str:
        how = "read-only" if self.attributes & mounts.ATTR_RDONLY else "writable"
        return f"bind {_inside(self.source)} with its submounts on {_inside(self.target)}, {how}"

    def write(self, script: Script) -> None:
        steps.bind_tree(script, self.source, self.target, self.attributes, recursive=True)


class MakeTree(Operation):
    """Make directories, files and symbolic links on the writable memory file system."""

    __slots__ = ("entries", "what")
    step = "make-tree"
    why = "mount points and generated files are the session's own, and gone with it"
    remedies = _NO_SPACE

    def __init__(self, what: str, entries: tuple[tuple[str, int | None, bytes | str | None], ...]) -> None:
        """``entries``: (path, mode, content): content None is a directory, bytes a file, str a link."""
        super().__init__()
        self.what = what
        self.entries = entries

    def describe(self) -> str:
        return f"make {self.what}: " + ", ".join(_inside(path) for path, _, _ in self.entries)

    def write(self, script: Script) -> None:
        for path, mode, content in self.entries:
            if content is None:
                script.directory(path, mode)
            elif isinstance(content, str):
                script.link(path, content)
            else:
                script.file(path, mode, content)


class RequireAttributes(Operation):
    """Make sure that the upper layer can note a directory that replaced one of the image.

    Without user extended attributes on tmpfs (before Linux 6.6) ``rm -r d; mkdir d`` fails with EIO for
    directories of the image (Documentation/filesystems/overlayfs.rst).
    """

    __slots__ = ()
    step = "attributes"
    why = "without them, the overlay cannot record that a directory replaces one of the image"
    remedies = {95: "this kernel's tmpfs has no user extended attributes: use userns_mode: single"}

    def __init__(self) -> None:
        super().__init__("userns_mode")

    def describe(self) -> str:
        return "make sure that the upper layer takes extended attributes"

    def write(self, script: Script) -> None:
        script.call("setxattr", UPPER, b"user.ssh2container", b"", 0, 0)
        script.call("removexattr", UPPER, b"user.ssh2container")


class GiveTo(Operation):
    """Give a directory of the memory file system, with all in it, to ids of the map."""

    __slots__ = ("gid", "path", "uid")
    step = "give"
    why = "what was made as root has to belong to those who use it"

    def __init__(self, path: str, uid: int, gid: int) -> None:
        super().__init__("user")
        self.path = path
        self.uid = uid
        self.gid = gid

    def describe(self) -> str:
        return f"give {_inside(self.path)} to uid {self.uid} and gid {self.gid}"

    def write(self, script: Script) -> None:
        script.give(self.path, self.uid, self.gid)


class PivotRoot(Operation):
    """Enter the new root and let go of the host's."""

    __slots__ = ()
    step = "pivot-root"
    why = "no path can reach what is detached"

    @property
    def calls(self) -> tuple[str, ...]:
        return ("pivot_root", "umount2")

    def describe(self) -> str:
        return "make the new tree the root and detach the host's"

    def write(self, script: Script) -> None:
        script.call("chdir", ROOT)
        script.call("pivot_root", ".", ".")
        script.call("chdir", "/")
        # The old root lies on the new one and nothing names it any more (pivot_root(2), NOTES).
        script.call("umount2", ".", mounts.MNT_DETACH)


def _inside(path: str) -> str:
    """Show a path of the tree under construction as it will be called inside."""
    if path == ROOT:
        return "/"
    return path[len(ROOT) :] if path.startswith(ROOT + "/") else path
