"""``ssh2containerctl image`` on the command line: who may, what is said, what a script gets."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.host import run
from support.material import busybox_tree
from support.users import MakeUser

from ssh2container.admin.images.store.store import Store

CONTROL = "/usr/bin/ssh2containerctl"
VERBS = ("import", "bootstrap", "build", "update", "range", "edit", "list", "info", "rm", "gc", "verify")
NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


@pytest.fixture
def name(tmp_path: Path) -> Iterator[str]:
    made = "verbs-" + secrets.token_hex(3)
    tree = busybox_tree(str(tmp_path / "tree"))
    Path(tree, "name").write_text(made)  # or it is the version of another test
    done = run([CONTROL, "image", "import", made, tree]).ok()
    assert done.text.startswith(f"{made} is sha256:")
    yield made
    run([CONTROL, "image", "rm", "--force", made])


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_for_everybody(verb: str) -> None:
    assert run([*NOBODY, CONTROL, "image", verb, "--help"]).ok().text.startswith("Usage: ")


@pytest.mark.parametrize(
    "words",
    [
        ["import", "x", "docker://registry.invalid/x"], ["import", "x", "/no/such/file"],
        ["bootstrap", "debian:bookworm"], ["build", "host-tools"], ["update", "--all"], ["range", "x"],
        ["edit", "x"], ["rm", "x"], ["gc"], ["verify"],
    ],
)  # fmt: skip
def test_what_must_be_root_says_so_first(words: list[str]) -> None:
    """Before a registry is asked or a file is looked for."""
    done = run([*NOBODY, CONTROL, "image", *words])
    assert done.status == 125
    assert (
        done.errors
        == f"ssh2containerctl: cannot {words[0]} images: the image store is root's; run it with sudo\n"
    )


def test_everybody_may_look(name: str) -> None:
    listed = json.loads(run([*NOBODY, CONTROL, "image", "list", "--json"]).ok().out)["images"]
    (ours,) = [row for row in listed if row["name"] == name]
    shown = json.loads(run([*NOBODY, CONTROL, "image", "info", name, "--json"]).ok().out)
    assert shown["digest"] == ours["digest"]
    assert shown["inside_id"] == 1001
    assert "user at" not in run([CONTROL, "image", "info", name]).ok().text


def test_check_knows_which_images_there_are(name: str, make_user: MakeUser) -> None:
    user = make_user(f"image: {name}\n")
    assert f"the image {name} is not installed" not in run([CONTROL, "check"]).text
    run(["install", "-m", "644", "/dev/stdin", user.policy_file], f"image: {name}-x\n".encode()).ok()
    assert f"the image {name}-x is not installed" in run([CONTROL, "check"]).text


def test_check_knows_a_registrys_digest(name: str, make_user: MakeUser) -> None:
    """As logins do: a pinned reference may be by the version's own digest, or by its registry's."""
    digest = json.loads(run([CONTROL, "image", "info", name, "--json"]).ok().out)["digest"]
    registrys = f"sha256:{secrets.token_hex(32)}"
    alias = Path(Store().path, "digests", registrys[7:])
    make_user(f"image: {name}@{digest}\n")
    make_user(f"image: {name}@{registrys}\n")
    said = f"{name}@{{}} is not installed"
    alias.symlink_to(f"../trees/{digest[7:]}/record")
    try:
        text = run([CONTROL, "check"]).text
        assert said.format(digest) not in text
        assert said.format(registrys) not in text
    finally:
        alias.unlink()
    assert said.format(registrys) in run([CONTROL, "check"]).text


def test_the_users_id_inside_is_chosen_at_import_and_told(name: str) -> None:
    """The image has a user 1000: the login's own stands at the first id that nothing of it uses."""
    run([CONTROL, "image", "range", name]).ok()
    assert "user at 1001" in run([CONTROL, "image", "info", name]).ok().text


def test_verify_finds_one_changed_byte(name: str) -> None:
    run([CONTROL, "image", "verify", name]).ok()
    tree = json.loads(run([CONTROL, "image", "info", name, "--json"]).ok().out)["digest"][7:]
    path = Path(f"/var/lib/ssh2container/images/trees/{tree}/root/etc/group")
    before = path.read_bytes()
    path.write_bytes(before.replace(b"root", b"toor"))
    try:
        done = run([CONTROL, "image", "verify", name])
        assert done.status == 1
        assert "root/etc/group: content changed" in done.text
        assert f"to repair it: ssh2containerctl image rm --force {name}, then import it" in done.text
    finally:
        path.write_bytes(before)
    run([CONTROL, "image", "verify", name]).ok()


def test_sizes_and_choices_are_checked_with_a_hint(tmp_path: Path) -> None:
    done = run([CONTROL, "image", "import", "--max-size", "huge", "x", str(tmp_path)])
    assert done.status == 2
    assert "write 512m or 32g" in done.errors
    done = run([CONTROL, "image", "import", "--max-size", "1k", "x", busybox_tree(str(tmp_path / "t"))])
    assert done.status == 126
    assert "--max-size" in done.errors
    assert run([CONTROL, "image", "info", "x"]).status == 127
    assert os.listdir("/var/lib/ssh2container/images/staging") == []
