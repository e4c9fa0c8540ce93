"""What brings commands of the host into a session: a socket, the program that speaks over it, and names.

Nothing of the host runs by this: who listens at the socket decides anew, by what the policy then says
(``admin.host_commands``). Imported only for a policy that has some.
"""

from __future__ import annotations

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.policy.host_commands import BIN, KEY, of

from .operations import filesystem as fs
from .operations.filesystem import BASE
from .sources import source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.policy.policy import Policy

    from .account import Account
    from .image import Image
    from .operations import Operation
    from .sources import Source

PLACE = paths.RUNTIME + "/commands"
"""Outside and inside: the directory of the socket; as a directory, it shows one that systemd makes anew."""
SOCKET = PLACE + "/socket"
STAND_IN = paths.RUNTIME + "/host-command"
"""Inside: the program that every name is a link to (``native/inside/command.c``)."""
PROGRAM = paths.parent(paths.parent(paths.parent(__file__))) + "/host-command"
UNIT = "ssh2container-commands.socket"
REMEDY = "systemctl enable --now " + UNIT
_OVER = BASE + "/host-commands"


class Commands:
    """What the host has for them.

    names: by which they are called inside. place, program: the Sources of the socket's directory and of the
    stand-in. over: whether the names lie over a directory of the host's, as its image has no other.
    """

    __slots__ = ("names", "over", "place", "program")

    def __init__(self, names: tuple[str, ...], place: Source, program: Source, *, over: bool) -> None:
        self.names = names
        self.place = place
        self.program = program
        self.over = over

    @property
    def brought_in(self) -> tuple[tuple[str, Source, str], ...]:
        """What is attached, as (what it is, source, target)."""
        place, program = "the socket for the host's commands", "the program that speaks over it"
        return (place, self.place, PLACE), (program, self.program, STAND_IN)

    @property
    def links(self) -> list[tuple[str, str]]:
        """Return (path, target) of the names, for an upper layer over the image."""
        return [] if self.over else [(f"{BIN}/{name}", STAND_IN) for name in self.names]

    def over_host(self) -> Iterator[Operation]:
        """Yield what lays the names over the host's own programs, before /usr is bound."""
        if not self.over:
            return
        links = tuple((f"{_OVER}/{name}", None, STAND_IN) for name in self.names)
        yield fs.MakeTree("the names of the host's commands", ((_OVER, 0o755, None), *links))
        yield fs.Mount(
            "overlay",
            BIN,
            fs.NOSUID_NODEV,
            f"lowerdir={_OVER}:{BIN},userxattr",
            "the names of the host's commands over its own",
            KEY,
        )


def observe(policy: Policy, account: Account, image: Image) -> Commands:
    """Return what the host has for the commands of ``policy``. Raises Refusal where something is missing."""
    if policy.ranged:
        why = "the host cannot tell whose session it is from a range of ids"
        raise Refusal("cannot have commands of the host", why, "an administrator changes the policy", KEY)
    over = image.kind == "host"
    if over and source("the names of the host's commands", BIN, account, f"mkdir {BIN}").path != BIN:
        why = f"{BIN} is a link, and the names would not come along with /usr"
        raise Refusal(
            "cannot have commands of the host", why, f"an administrator makes it a directory: {BIN}", KEY
        )
    return Commands(
        tuple(one.name for one in of(policy.values)),
        source("the host's commands", PLACE, account, "an administrator runs: " + REMEDY),
        source("the host's commands", PROGRAM, account, "run install.sh"),
        over=over,
    )
