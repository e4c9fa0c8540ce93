"""Whether a command of the host may run at all: whom it runs as, and who could change its program."""

from __future__ import annotations

from ssh2container.errors import Refusal, SessionError
from ssh2container.plan.account import Account
from ssh2container.plan.hooks import Untrusted, require_only_root
from ssh2container.policy.host_commands import SELF, of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.policy.host_commands import HostCommand
    from ssh2container.policy.policy import Policy


class Unsafe(Refusal):
    """A command that must not run at all: as root, or of a program that others can change."""


def require_program(command: HostCommand) -> None:
    """Raise Refusal unless the program is there and only root can change it, or what leads to it."""
    what = f"cannot run {command.name} on the host"
    try:
        require_only_root(command.path)
    except Untrusted as fault:
        raise Unsafe(what, f"{command.path}: {fault.why}", fault.remedy) from None
    except OSError as error:
        raise Refusal(what, f"{command.path}: {error.strerror}", "an administrator installs it") from None


def user_of(command: HostCommand, own: Account | None = None) -> Account | None:
    """Return whom it runs as; own: the user whose session asks, or None where that is nobody in particular.

    Raises SessionError for root, for root's group, and for a user who is not there.
    """
    user = own if command.user == SELF else Account.named(command.user)
    if user is not None and (user.uid == 0 or 0 in user.gids):
        what = f"cannot run {command.name} on the host"
        raise Unsafe(what, f"{user.name} is root, or in root's group", "an administrator names another user")
    return user


def faults(policy: Policy) -> Iterator[tuple[HostCommand, SessionError]]:
    """Yield which commands of ``policy`` this host would refuse to run, for whoever asks, and why."""
    for command in of(policy.values):
        try:
            require_program(command)
            user_of(command)
        except SessionError as fault:
            yield command, fault
