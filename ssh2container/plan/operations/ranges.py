"""A whole range of ids for the session (user_namespaces(7), newuidmap(1)); most sessions have none."""

from __future__ import annotations

from ssh2container.kernel import namespaces

from . import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script


class IdMaps(Operation):
    """Map a range of ids for pid 1, in a way that the kinds of this differ in."""

    __slots__ = ("gid_map", "uid_map")
    step = "identity-map"
    why = "every id inside is one that the host has set aside, so none of its own can be taken"
    way = ""

    def __init__(
        self, uid_map: tuple[tuple[int, int, int], ...], gid_map: tuple[tuple[int, int, int], ...]
    ) -> None:
        super().__init__("userns_mode")
        self.uid_map = uid_map
        self.gid_map = gid_map

    def describe(self) -> str:
        lines = ", ".join(
            f"{inside}-{inside + count - 1} to {outside}" for inside, outside, count in self.uid_map
        )
        return f"map a range of ids {self.way}: uids {lines}"


class MapRange(IdMaps):
    """Have newuidmap(1) and newgidmap(1), side by side, map the set-aside range for pid 1."""

    __slots__ = ()
    way = "with newuidmap and newgidmap"
    remedies = {
        1: "the range is not granted to the user in /etc/subuid and /etc/subgid: ssh2containerctl enable",
        2: "install uidmap",
    }

    def apply(self, init: int) -> None:
        namespaces.map_range(init, self.uid_map, self.gid_map)


class MapThrough(IdMaps):
    """Map a range of ids that root has put into the user namespace around the session's."""

    __slots__ = ()
    why = "every id inside is one that the host has set aside for sessions"
    way = "through the prepared network's user namespace"
    remedies = {1: "the network was prepared for other ids: ssh2containerctl enable"}

    def apply(self, init: int) -> None:
        from ssh2container.kernel import prepared

        prepared.write_maps_from_around(init, self.uid_map, self.gid_map)


class AwaitMaps(Operation):
    """Wait until the monitor has had the ids mapped."""

    __slots__ = ()
    step = "identity-map"
    why = MapRange.why
    opening = True

    def __init__(self) -> None:
        super().__init__("userns_mode")

    def describe(self) -> str:
        return "wait until the range of ids is mapped"

    def write(self, script: Script) -> None:
        script.await_word()


class BecomeIds(Operation):
    """Change to ids of the map, without supplementary groups."""

    __slots__ = ("gid", "uid")
    step = "become"
    why = "the payload runs as this user of the image"

    def __init__(self, uid: int, gid: int) -> None:
        super().__init__("userns_mode")
        self.uid = uid
        self.gid = gid

    def describe(self) -> str:
        return f"become uid {self.uid} and gid {self.gid} of the map, with no other group"

    def write(self, script: Script) -> None:
        script.call("setgroups", 0, 0)
        script.call("setresgid", self.gid, self.gid, self.gid)
        script.call("setresuid", self.uid, self.uid, self.uid)
