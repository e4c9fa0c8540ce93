"""A user's effective policy under a version of the configuration that is not the installed one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.policy.compile import compiler, loader
from ssh2container.admin.policy.yaml import files
from ssh2container.admin.policy.yaml.problems import PolicyError
from ssh2container.errors import Refusal
from ssh2container.policy import rules, store

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ssh2container.policy.merge import Layer
    from ssh2container.policy.policy import Policy
    from ssh2container.policy.store import Places


def policy_under(user: str, groups: Collection[str], path: str) -> Policy:
    """Return the policy of ``user`` if ``path`` were in force.

    path: a configuration directory, or a file in the place of the user's own.

    Raises PolicyError and Refusal as a login would.
    """
    if os.path.isdir(path):
        return policy_in(user, groups, elsewhere(path))
    return policy_of_file(groups, path, store.STANDARD)


def policy_in(user: str, groups: Collection[str], places: Places) -> Policy:
    """Return the policy of ``user`` in ``places``, read from the YAML alone."""
    site = compiler.part("config", places).layers[0][2]
    chain = below(groups, places)
    own = compiler.part("users/" + user, places)
    listed = own.exists or any(compiler.part("groups/" + group, places).exists for group in groups)
    if not listed and site["admit"] != "everybody":
        raise Refusal(f"there is no policy for {user}", f"in {places.configuration}", step="policy")
    return _checked([*chain, *own.layers], compiler.part("enforced", places).layers)


def policy_of_file(groups: Collection[str], path: str, places: Places) -> Policy:
    """Return the policy in ``places`` of a user whose own file were ``path``."""
    try:
        source = files.read_any(path)
    except FileNotFoundError:
        raise Refusal(f"there is no file {path}", step="policy") from None
    layers, problems = compiler.profile_layers(source, loader.load(source), places)
    if problems:
        raise PolicyError(problems)
    return _checked([*below(groups, places), *layers], compiler.part("enforced", places).layers)


def elsewhere(directory: str) -> Places:
    """Return the places of a configuration directory that nobody logs in by: owners do not matter."""
    standard = store.STANDARD
    return store.Places(os.path.abspath(directory), standard.shipped, standard.compiled, anchor="")


def judged(directory: str) -> Places:
    """Return the places of a configuration directory that is to be installed: its modes and owners matter.

    What lies around it does not. Who is not root has a work tree of their own, which root copies.
    """
    standard = store.STANDARD
    whole = os.path.abspath(directory)
    return store.Places(whole, standard.shipped, standard.compiled, anchor=whole, owner=os.geteuid())


def below(groups: Collection[str], places: Places) -> list[Layer]:
    """Return the layers below a user's own file. Raises PolicyError when one of them is not valid."""
    site = compiler.part("config", places).layers[0][2]
    order = ["groups/" + group for group in site["group_order"] if group in groups]
    return [layer for name in ("defaults", *order) for layer in compiler.part(name, places).layers]


def _checked(layers: Sequence[Layer], above: Sequence[Layer]) -> Policy:
    policy = store.merged(layers, above)
    rules.require(policy)
    return policy
