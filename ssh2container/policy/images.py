"""The images of a policy, of which each session has one. Pure; imported where all of them count."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.policy.policy import Policy

MENU = "image_menu"
"""The key that has a login at a terminal asked which one it is to have (``run.image_menu``)."""


def of(policy: Policy) -> tuple[str, ...]:
    """Return all images that sessions may have, the default first."""
    return tuple(policy.values["images"]) or (policy.image,)


def key(policy: Policy) -> str:
    """Return the setting or item that names the image of ``policy``."""
    return f"images.{policy.image}" if policy.values["images"] else "image"


def choosing(policy: Policy, image: str) -> Policy:
    """Return the policy of a session that has ``image``, one of :func:`of`."""
    other = type(policy).__new__(type(policy))
    for name in policy.__slots__:
        setattr(other, name, getattr(policy, name))
    other.image = image
    return other


def choices(policy: Policy) -> tuple[Policy, ...]:
    """Return the policies of sessions with each of :func:`of`, the default first."""
    return tuple(choosing(policy, image) for image in of(policy))
