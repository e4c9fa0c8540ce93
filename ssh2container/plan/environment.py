"""The payload's environment, built from nothing."""

from __future__ import annotations

from ssh2container import paths
from ssh2container.kernel import _syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssh2container.policy.policy import Policy

    from .image import Image
    from .request import Request

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FROM_SSHD = (b"SSH_CLIENT", b"SSH_CONNECTION")
_LONGEST_VALUE = 4096
"""A client may send much; a locale or a terminal's name is short."""


def make(
    request: Request,
    policy: Policy,
    image: Image,
    given: Mapping[bytes, bytes],
    *,
    name: str,
    home: str,
    shell: str,
    terminal: bool,
) -> dict[bytes, bytes]:
    """Return the environment: ours, the image's, what the client may send, the policy's last.

    given: the environment that sshd handed to the login shell; nothing of it comes through but
    the connection's addresses and what ``accept_env`` and ``environment`` name.
    """
    result = {
        b"PATH": (ROOT_PATH if name == "root" else PATH).encode(),
    }
    result.update((paths.fsencode(key), paths.fsencode(value)) for key, value in image.environment)
    result[b"HOME"] = paths.fsencode(home)
    result[b"USER"] = result[b"LOGNAME"] = paths.fsencode(name)
    result[b"SHELL"] = paths.fsencode(shell)
    result.update((key, given[key]) for key in _FROM_SSHD if key in given)
    accepted = [paths.fsencode(pattern) for pattern in policy.accept_env]
    result.update(
        (key, value)
        for key, value in given.items()
        if len(value) <= _LONGEST_VALUE and any(matches(key, pattern) for pattern in accepted)
    )
    if terminal:
        result[b"SSH_TTY"] = b"/dev/pts/0"
    if request.forced is not None:
        result[b"SSH_ORIGINAL_COMMAND"] = request.forced
    for key, chosen in policy.environment.items():
        if chosen is not None:
            result[paths.fsencode(key)] = paths.fsencode(chosen)
        elif paths.fsencode(key) in given:
            result[paths.fsencode(key)] = given[paths.fsencode(key)]
    return result


def matches(name: bytes, pattern: bytes) -> bool:
    """Match a variable's name as sshd_config(5) PATTERNS does: ``*`` any text, ``?`` one character."""
    # Nothing else is special there: what is so for a shell is quoted.
    return _syscall.matches(name, pattern.replace(b"\\", b"\\\\").replace(b"[", b"\\["))
