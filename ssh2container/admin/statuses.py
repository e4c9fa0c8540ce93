"""The exit statuses of ``ssh2containerctl``: the one set that all its verbs use, and what each means.

125 to 127 are those of a login (:mod:`ssh2container.errors`), with the same meaning.
"""

from __future__ import annotations

from ssh2container.errors import EXIT_NOT_FOUND, EXIT_OURS, EXIT_REFUSED

DONE, AMISS, USAGE = range(3)
PROBLEM = 2
"""As of wrong usage, so that what watches a host takes either as critical."""
MEANINGS = {
    DONE: "done, and nothing is wrong",
    AMISS: "errors, warnings or differences were found, or a part of it failed",
    USAGE: "wrong usage, and nothing was done; where a verb's help says so, a problem was found: a way around"
    " the login shell is open, or logins fail",
    EXIT_OURS: "it could not be done: a container could not be made, who was named is not there, or only"
    " root may",
    EXIT_REFUSED: "refused: by a policy, for want of a valid one, or for the sake of safety",
    EXIT_NOT_FOUND: "there is no such program inside, or no such image or tool",
}
"""Status -> what it means, whichever verb ends with it."""
ANYWHERE = (DONE, USAGE, EXIT_OURS, EXIT_REFUSED)
"""What any verb can end with, whether its help says when or not; the others only where it does."""
SENTENCE = "Exit status: "
"""How the end of a help text begins."""


def short() -> str:
    """Return the end of ``ssh2containerctl --help``."""
    return SENTENCE + "; ".join(f"{status} {means}" for status, means in MEANINGS.items()) + "."
