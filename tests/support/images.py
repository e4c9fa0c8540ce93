"""Images in the machine's own store, and users who may map a range of ids over them."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ssh2container.admin.images.ids import set_aside
from support.host import run
from support.material import busybox_tree
from support.users import User

CONTROL = "/usr/bin/ssh2containerctl"


@contextmanager
def ranged_image(tree: Callable[[str], str] = busybox_tree) -> Iterator[str]:
    """The name of an image with a tree for the range map, for the length of a ``with``.

    tree: makes the image's root at the path that it is given, and returns it.
    """
    name = f"s2c-test-{os.getpid()}/{secrets.token_hex(3)}"
    with tempfile.TemporaryDirectory() as directory:
        run([CONTROL, "image", "import", "--range", name, tree(f"{directory}/tree")]).ok()
    try:
        yield name
    finally:
        run([CONTROL, "image", "rm", "--force", name]).ok()


def grant(user: User) -> None:
    """Let ``user`` map the set-aside range, as ``enable`` does; userdel takes it back."""
    shared = set_aside()
    assert shared is not None, "install.sh sets a range aside"
    for path in ("/etc/subuid", "/etc/subgid"):
        with open(path, "a", encoding="ascii") as file:
            file.write(f"{user.name}:{shared.base}:{shared.count}\n")
