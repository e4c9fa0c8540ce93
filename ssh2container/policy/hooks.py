"""The hooks that a policy names, for the sessions that have any (``hooks``)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .policy import Values

CREATE, START, STOP = "createRuntime", "startContainer", "poststop"
STAGES = (CREATE, START, STOP)
"""In the order in which they come (OCI runtime specification, "POSIX-platform Hooks")."""
PREFIX = "S2C_"
"""What the names of the variables begin with that say whose session it is."""
DEFAULT_TIMEOUT_S = 5


class Hook:
    """One program.

    stage: of :data:`STAGES`. args: its argument vector, of which the first is its name. env: NAME=VALUE
    texts. timeout: seconds. ignore_failure: whether a failure is only logged.
    """

    __slots__ = ("stage", "path", "args", "env", "timeout", "ignore_failure")  # noqa: RUF023 - as in a policy

    def __init__(
        self,
        stage: str,
        path: str,
        args: tuple[str, ...],
        env: tuple[str, ...],
        timeout: int,
        ignore_failure: bool,  # noqa: FBT001 - as the key of the language
    ) -> None:
        self.stage = stage
        self.path = path
        self.args = args
        self.env = env
        self.timeout = timeout
        self.ignore_failure = ignore_failure

    @property
    def counts(self) -> bool:
        """Whether a failure refuses the login."""
        return self.stage != STOP and not self.ignore_failure

    @property
    def key(self) -> str:
        """The item of the policy that it is."""
        return f"hooks.{self.stage}." + " ".join((self.path, *self.args[1:]))


def of(values: Values) -> tuple[Hook, ...]:
    """Return the hooks of a policy in the order in which they run."""
    return tuple(Hook(stage, *item) for stage in STAGES for item in values[f"hooks.{stage}"].values())


def before_s(hooks: Iterable[Hook]) -> int:
    """Return how many seconds a container may take longer to start because of them."""
    return sum(hook.timeout for hook in hooks if hook.stage != STOP)
