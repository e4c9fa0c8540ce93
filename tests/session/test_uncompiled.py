"""A login with nothing compiled: what it needs is made elsewhere, and its monitor is that of any other."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from support.host import children, run
from support.login import inside, live
from support.users import MakeUser, User

COMPILED = "/var/lib/ssh2container/compiled"


@pytest.fixture
def nothing_compiled() -> Iterator[None]:
    for name in ("policy", "seccomp"):
        shutil.rmtree(f"{COMPILED}/{name}")
        os.mkdir(f"{COMPILED}/{name}", 0o755)
    yield
    run(["ssh2containerctl", "compile"]).ok()


def mapped(pid: int) -> set[str]:
    """The files that a process has in its memory."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
        return set(re.findall(r" (/.*)", file.read()))


@pytest.mark.usefixtures("nothing_compiled")
def test_its_monitor_holds_nothing_more(user: User) -> None:
    """No reader of YAML, no libseccomp, no child but the container."""
    with live(user) as session:
        uncompiled = mapped(session.monitor)
        assert len(children(session.monitor)) == 1
    run(["ssh2containerctl", "compile"]).ok()
    with live(user) as session:
        assert mapped(session.monitor) == uncompiled
    assert not [path for path in uncompiled if "yaml" in path or "seccomp" in path]


@pytest.mark.usefixtures("nothing_compiled")
def test_a_wrong_policy_is_refused_with_its_place(make_user: MakeUser) -> None:
    guest = make_user("image: host\n")
    with open(guest.policy_file, "a", encoding="utf-8") as file:
        file.write("hostnam: x\n")
    done = inside(guest, "true")
    assert done.status == 126
    place = f"{guest.policy_file}:2:1"
    assert done.errors.startswith(f'ssh2container: the policy is not valid: {place}: unknown key "hostnam"; ')
    assert done.errors.endswith(
        '; did you mean "hostname"?; the administrator finds all errors with: ssh2containerctl check\n'
    )


@pytest.mark.usefixtures("nothing_compiled")
def test_a_filter_that_cannot_be_built_ends_the_session(make_user: MakeUser) -> None:
    os.makedirs("/etc/ssh2container/seccomp", exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir="/etc/ssh2container/seccomp", suffix=".json") as file:
        os.chmod(file.name, 0o644)
        file.write("{")
        file.flush()
        name = os.path.basename(file.name).removesuffix(".json")
        done = inside(make_user(f"image: host\nseccomp: {{profile: {name}}}\n"), "true")
        assert done.status == 125
        assert f"cannot build the system-call filter from {file.name}: " in done.errors
        assert done.errors.endswith("an administrator can examine it with: ssh2containerctl seccomp show\n")
