"""Which image of a policy with several a session has: the client's word, its variable, or the first. Pure.

Imported only where a policy has more than one of ``images``.
"""

from __future__ import annotations

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.policy import images, rules

from .request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ssh2container.policy.policy import Policy

VARIABLE = b"SSH2CONTAINER_IMAGE"
"""What a client sets to choose (``ssh -o SetEnv``); the drop-in has sshd accept it."""
WORD = b"image="
"""What the first word of a command begins with that chooses; the rest of it is the image."""
_BLANKS = b" \t"
_IN_A_NAME = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-:/@")
"""A word with anything else, such as a quote or ``$``, is an assignment of the shell's and left to it."""
_LONGEST_SHOWN = 100


def settle(request: Request, policy: Policy, given: Mapping[bytes, bytes]) -> tuple[Request, Policy, str]:
    """Return the request without its word, the policy of the image that is meant, and who chose it.

    given: the environment that the caller handed to the login shell.
    The last is "command", "variable", or "" for the policy's first image. The word outdoes the variable,
    which may be set for all of a client's logins.

    Raises Refusal for an image that is none of the policy's, and where the policy breaks a rule with it.
    """
    wanted, rest = _word(request.command)
    how = "command"
    if wanted:
        request = Request.of_command(rest, request.forced) if rest else Request("login", b"", request.forced)
    else:
        wanted, how = paths.fsdecode(given.get(VARIABLE, b"")), "variable"
    if not wanted:
        return request, policy, ""
    chosen = images.choosing(policy, find(wanted, images.of(policy)))
    rules.require(chosen)
    return request, chosen, how


def _word(command: bytes) -> tuple[str, bytes]:
    """Return the image that the first word of ``command`` chooses, "" for none, and what follows it."""
    if not command.startswith(WORD):
        return "", command
    end = next((at for at, byte in enumerate(command) if byte in _BLANKS), len(command))
    name = command[len(WORD) : end]
    if not _IN_A_NAME.issuperset(name):
        return "", command
    return name.decode("ascii"), command[end:].strip(_BLANKS)


def find(wanted: str, known: Sequence[str]) -> str:
    """Return the one of ``known`` that ``wanted`` names, in full or without what no other needs.

    A registry and its path, a tag, and a digest may be left out. Raises Refusal, which lists them all.
    """
    if wanted in known:
        return wanted
    found = [image for image in known if wanted in _short(image)]
    if len(found) == 1:
        return found[0]
    what = f"the image {wanted[:_LONGEST_SHOWN]!r} is {'more than one' if found else 'none'} of yours"
    raise Refusal("cannot choose an image", what, f"choose one of: {', '.join(known)}", "image")


def _short(image: str) -> set[str]:
    """Return what ``image`` may be called; no tag and ``latest`` are the same."""
    tagged = image.partition("@")[0]
    way, slash, last = tagged.rpartition("/")
    word, _, tag = last.partition(":")
    names = {tagged, last, way + slash + word, word}
    if tag in ("", "latest"):
        names |= {f"{way}{slash}{word}:latest", f"{word}:latest"}
    return names
