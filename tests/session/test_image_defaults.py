"""What an OCI image says about running it: the defaults of a session, below the policy's own words."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.host import run
from support.login import login
from support.material import BUSYBOX, busybox_tree, directory, entry, oci_layout, tar
from support.users import MakeUser

CONTROL = "/usr/bin/ssh2containerctl"
CONFIG: dict[str, object] = {
    "Env": ["FROM_IMAGE=yes", "PATH=/app"],
    "WorkingDir": "/app",
    "Entrypoint": ["/app/busybox", "echo"],
    "Cmd": ["the image's", "own"],
}


@pytest.fixture(scope="module")
def image(module_directory: Callable[[str], Path]) -> Iterator[str]:
    """An image without a shell, of one program."""
    layer = tar([directory("app"), entry("app/busybox", Path(BUSYBOX).read_bytes(), mode=0o755)])
    layout = oci_layout(str(module_directory("layout")), [layer], CONFIG)
    name = f"s2c-test-{os.getpid()}/{secrets.token_hex(3)}"
    run([CONTROL, "image", "import", name, f"oci:{layout}"]).ok()
    yield name
    run([CONTROL, "image", "rm", "--force", name]).ok()


def test_entrypoint_and_cmd_where_there_is_no_shell(image: str, make_user: MakeUser) -> None:
    """A login without a command runs them; a command has no shell to run in."""
    user = make_user(f"image: {image}\n")
    assert login(user, "-l").ok().text == "the image's own\n"
    assert login(user, "-c", "true").status == 127


def test_environment_and_directory(image: str, make_user: MakeUser) -> None:
    """A listed command needs no shell: it finds the image's variables and starts in its directory."""
    user = make_user(f"image: {image}\naccess: {{commands: [busybox]}}\n")
    assert login(user, "-c", "busybox pwd").ok().text == "/app\n"
    shown = login(user, "-c", "busybox env").ok().text.splitlines()
    assert {"FROM_IMAGE=yes", "PATH=/app"} <= set(shown)
    other = make_user(
        f"image: {image}\nenvironment: {{FROM_IMAGE: policy}}\naccess: {{commands: [busybox]}}\n"
    )
    assert "FROM_IMAGE=policy" in login(other, "-c", "busybox env").ok().text.splitlines()


def test_a_shell_of_the_policy_comes_first(image: str, make_user: MakeUser) -> None:
    user = make_user(f"image: {image}\nshell: [/app/busybox]\n")
    assert login(user, "-l").ok().text.startswith("BusyBox")


def test_the_shell_that_is_told_is_one_that_the_image_has(
    make_user: MakeUser, module_directory: Callable[[str], Path]
) -> None:
    """Editors, tmux and su start what SHELL and /etc/passwd say; the policy's first is not everywhere."""
    tree = busybox_tree(str(module_directory("tree")))
    os.symlink("/bin/nothing", f"{tree}/bin/bash")
    tools = tempfile.mkdtemp(dir="/srv")
    os.chmod(tools, 0o755)
    shutil.copy(BUSYBOX, f"{tools}/ash")
    name = f"s2c-test-{os.getpid()}/{secrets.token_hex(3)}"
    run([CONTROL, "image", "import", name, tree]).ok()
    try:
        script = "echo $SHELL; while IFS=: read -r a b c d e f shell; do s=$shell; done </etc/passwd; echo $s"
        user = make_user(f"image: {name}\n")
        assert login(user, "-c", script).ok().text == "/bin/sh\n/bin/sh\n"
        bound = make_user(f"image: {name}\nshell: [/opt/ash, /bin/sh]\nvolumes: ['{tools}:/opt:ro']\n")
        assert login(bound, "-c", "echo $SHELL").ok().text == "/opt/ash\n"
        host = make_user("shell: [/bin/no-such-shell, /usr/bin/dash]\n")
        assert login(host, "-c", "echo $SHELL").ok().text == "/usr/bin/dash\n"
    finally:
        shutil.rmtree(tools)
        run([CONTROL, "image", "rm", "--force", name]).ok()
