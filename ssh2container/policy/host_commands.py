"""The commands of the host that a policy lets sessions run (``host_commands``). Pure.

Imported only where there are any.
"""

from __future__ import annotations

from . import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .policy import Policy, Values

KEY = "host_commands"
SELF = "self"
"""Whom a command runs as that names nobody: the session's user."""
DEFAULT_TIMEOUT_S = 60
_PREFIX = "/usr/local"
BIN = _PREFIX + "/bin"
"""Inside: where the names are: every shell of every image looks there."""


class HostCommand:
    """One command.

    name: what it is called inside. path: its program on the host. args: what the program is given first.
    accept: a regular expression for each argument that the session gives. user: :data:`SELF`, or the name of
    another user. timeout: seconds.
    """

    __slots__ = ("name", "path", "args", "accept", "user", "timeout")  # noqa: RUF023 - as in a policy

    def __init__(
        self, name: str, path: str, args: tuple[str, ...], accept: tuple[str, ...], user: str, timeout: int
    ) -> None:
        self.name = name
        self.path = path
        self.args = args
        self.accept = accept
        self.user = user
        self.timeout = timeout

    @property
    def key(self) -> str:
        """The item of the policy that it is."""
        return f"{KEY}.{self.name}"


def of(values: Values) -> tuple[HostCommand, ...]:
    """Return the commands of a policy."""
    return tuple(HostCommand(name, *item) for name, item in values[KEY].items())


def broken(policy: Policy) -> Iterator[tuple[str, str, str]]:
    """Yield what else in ``policy`` does not go with commands: key, message, allowed."""
    if any(one.ranged for one in images.choices(policy)):
        yield (
            KEY,
            "host_commands beside a range of ids, from which the host cannot tell whose session it is",
            "userns_mode: single, or an image and user that need no range, beside host_commands",
        )
    for volume in policy.volumes:
        for name in policy.values[KEY]:
            if f"{BIN}/{name}/".startswith(volume.target.rstrip("/") + "/"):
                yield (
                    volume.key,
                    f"{volume.target} hides the host command {name}, which is {BIN}/{name} inside",
                    f"a target that is not above {BIN}",
                )
