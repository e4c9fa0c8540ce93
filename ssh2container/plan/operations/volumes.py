"""Attaching what a policy names, and what the user may have prepared, without being led astray."""

from __future__ import annotations

import os

from ssh2container.kernel import mounts

from . import Operation, State


class OpenVolume(Operation):
    """Take hold of a volume's source by descriptor, before anything can change what its path means.

    identity: (device, inode) that the planner saw; another object there now is an attack or a
    race, and fatal.
    """

    __slots__ = ("attributes", "identity", "name", "source")
    step = "open-volume"
    remedies = {2: "create it, or correct the policy", 13: "the user cannot reach it"}

    def __init__(self, name: str, source: str, attributes: int, identity: tuple[int, int], key: str) -> None:
        super().__init__(key)
        self.name = name
        self.source = source
        self.attributes = attributes
        self.identity = identity

    @property
    def calls(self) -> tuple[str, ...]:
        return ("open_tree", "mount_setattr")

    def describe(self) -> str:
        how = "read-only" if self.attributes & mounts.ATTR_RDONLY else "writable"
        return f"open the source {self.source} of {self.name}, {how}"

    def apply(self, state: State) -> None:
        place = mounts.open_path(self.source)
        try:
            seen = os.fstat(place)
            if (seen.st_dev, seen.st_ino) != self.identity:
                raise OSError(116, "another file took its place", self.source)  # ESTALE
            tree = mounts.clone_tree("", recursive=True, directory=place)
        finally:
            os.close(place)
        state.trees[self.name] = tree
        mounts.set_attributes(tree, self.attributes, recursive=True)


class AttachVolume(Operation):
    """Attach an opened source at its target, which no symbolic link may redirect.

    A user who can write below a volume could plant a link where another volume goes
    (CVE-2024-42472, CVE-2021-30465): the target is opened without following any, the mount goes on
    that descriptor, and afterwards the path must show the source.
    """

    __slots__ = ("directory", "identity", "name", "target")
    step = "attach-volume"
    remedies = {40: "a symbolic link stands in the way of the target"}

    def __init__(
        self, name: str, target: str, identity: tuple[int, int], *, directory: bool, key: str
    ) -> None:
        super().__init__(key)
        self.name = name
        self.target = target
        self.identity = identity
        self.directory = directory

    @property
    def calls(self) -> tuple[str, ...]:
        return ("move_mount",)

    def describe(self) -> str:
        return f"attach {self.name} at {self.target}, following no symbolic link"

    def apply(self, state: State) -> None:
        tree = state.trees.pop(self.name)
        place = open_or_make(self.target, directory=self.directory)
        try:
            mounts.attach_at(tree, place)
        finally:
            os.close(place)
            os.close(tree)
        seen = os.stat(self.target, follow_symlinks=False)
        if (seen.st_dev, seen.st_ino) != self.identity:
            raise OSError(116, "it is not what shows there", self.target)  # ESTALE


class OpenOwn(Operation):
    """Take hold of a directory of the writable memory file system, to be attached after the pivot."""

    __slots__ = ("name", "path")
    step = "open-own"

    def __init__(self, name: str, path: str) -> None:
        super().__init__()
        self.name = name
        self.path = path

    @property
    def calls(self) -> tuple[str, ...]:
        return ("open_tree",)

    def describe(self) -> str:
        return f"open {self.name} in the memory file system"

    def apply(self, state: State) -> None:
        state.trees[self.name] = mounts.clone_tree(self.path, recursive=False)


class AttachOwn(Operation):
    """Attach a directory of the writable memory file system."""

    __slots__ = ("name", "target")
    step = "attach-own"
    remedies = AttachVolume.remedies

    def __init__(self, name: str, target: str, key: str = "") -> None:
        super().__init__(key)
        self.name = name
        self.target = target

    @property
    def calls(self) -> tuple[str, ...]:
        return ("move_mount",)

    def describe(self) -> str:
        return f"attach {self.name} at {self.target}, in memory, gone with the session"

    def apply(self, state: State) -> None:
        tree = state.trees.pop(self.name)
        place = open_or_make(self.target, directory=True)
        try:
            mounts.attach_at(tree, place)
        finally:
            os.close(place)
            os.close(tree)


def open_or_make(target: str, *, directory: bool) -> int:
    """Open the mount point ``target``, made if missing, without following a link on the way.

    Raises OSError: ELOOP where a link stands, EROFS or EACCES where it cannot be made.
    """
    try:
        return mounts.open_path(target, mounts.RESOLVE_NO_SYMLINKS)
    except FileNotFoundError:
        parent, name = os.path.split(target)
        place = open_or_make(parent, directory=True)
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=place)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=place))
        return mounts.open_path(name, mounts.RESOLVE_NO_SYMLINKS | mounts.RESOLVE_BENEATH, directory=place)
    finally:
        os.close(place)
