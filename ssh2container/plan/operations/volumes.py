"""Attaching what a policy names, and what the user may have prepared, without being led astray."""

from __future__ import annotations

from ssh2container.kernel import mounts

from . import Operation, steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script


class OpenVolume(Operation):
    """Take hold of a volume's source by descriptor, before anything can change what its path means.

    identity: (device, inode) that the planner saw; another object there now is an attack or a
    race, and fatal.
    """

    __slots__ = ("attributes", "identity", "name", "source")
    step = "open-volume"
    why = "a descriptor leads to the source that was examined, whatever happens to its path"
    remedies = {2: "create it, or correct the policy", 13: "the user cannot reach it"}
    reasons = {steps.ESTALE: "another file took its place"}

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

    def write(self, script: Script) -> None:
        place = script.slot()
        steps.open_path(script, self.source, place)
        script.expect(place, self.identity, self.source)
        tree = script.named(self.name)
        steps.clone_tree(script, tree, place, recursive=True)
        script.close(place)
        steps.set_attributes(script, tree, self.attributes, recursive=True)


class AttachVolume(Operation):
    """Attach an opened source at its target, which no symbolic link may redirect.

    A user who can write below a volume could plant a link where another volume goes
    (CVE-2024-42472, CVE-2021-30465): the target is opened without following any, the mount goes on
    that descriptor, and afterwards the path must show the source.
    """

    __slots__ = ("directory", "identity", "name", "target")
    step = "attach-volume"
    why = "what the user may have prepared at the target must not redirect it"
    remedies = {
        22: "a directory needs a directory as its target, anything else a file: remove what is at the target",
        40: "a symbolic link is in the path of the target",
    }
    reasons = {steps.ESTALE: "something else is visible there"}

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

    def write(self, script: Script) -> None:
        _attach(script, self.name, self.target, directory=self.directory)
        script.expect(self.target, self.identity)


class OpenOwn(Operation):
    """Take hold of a directory of the writable memory file system, to be attached after the pivot."""

    __slots__ = ("name", "path")
    step = "open-own"
    why = "a descriptor leads to the right directory whatever happens to its path"

    def __init__(self, name: str, path: str) -> None:
        super().__init__()
        self.name = name
        self.path = path

    @property
    def calls(self) -> tuple[str, ...]:
        return ("open_tree",)

    def describe(self) -> str:
        return f"open {self.name} in the memory file system"

    def write(self, script: Script) -> None:
        steps.clone_tree(script, script.named(self.name), self.path, recursive=False)


class AttachOwn(Operation):
    """Attach a directory of the writable memory file system."""

    __slots__ = ("name", "target")
    step = "attach-own"
    why = "only after the host's tree is gone, so that no path can lead there"
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

    def write(self, script: Script) -> None:
        _attach(script, self.name, self.target, directory=True)


def _attach(script: Script, name: str, target: str, *, directory: bool) -> None:
    tree = script.named(name)
    place = script.place(target, directory=directory)
    steps.attach(script, tree, place)
    script.close(place)
    script.close(tree)
