"""Every command in README.md is run by a test, with a throw-away user in alice's place."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator

import pytest
from support.host import Done, run
from support.ledger import Ledger
from support.users import MakeUser, User

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ELSEWHERE = {
    "./install.sh --demo": "tests/system/test_demo.py",
    "./install.sh --demo --clean": "tests/system/test_demo.py",
    "./install.sh": "tests/run",
    "./tests/run": ".ci/run",
}
"""Commands that are run by something else: the file that does."""
NEEDS = {"/srv/course": "/srv/s2c-course-%USER%", "/srv/homes/%u": "/srv/s2c-homes-%USER%"}
"""Directories of README's policy and what stands for them here."""


def readme() -> str:
    with open(f"{ROOT}/README.md", encoding="utf-8") as file:
        return file.read()


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", readme(), re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Each line of the console blocks and each `sudo …` in the text, without prompt, sudo and comment."""
    lines = [line for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    inline = re.findall(
        r"`((?:sudo|su) [^`]+)`", re.sub(r"^```.*?^```$", "", readme(), flags=re.MULTILINE | re.DOTALL)
    )
    words = [
        shlex.split(line.removeprefix("$ ").removeprefix("sudo "), comments=True) for line in lines + inline
    ]
    return [shlex.join(line) for line in words]


@pytest.fixture
def alice(make_user: MakeUser, ledger: Ledger) -> Iterator[User]:
    """A user with the policy that README shows, and the directories it names."""
    (policy,) = (block for block in blocks("yaml") if "users/alice.yaml" in block)
    for shown, real in NEEDS.items():
        assert shown in policy
        policy = policy.replace(shown, real)
    user = make_user(policy.replace("alice", "%USER%"))
    places = [real.replace("%USER%", user.name) for real in NEEDS.values()]
    for place in places:
        ledger.note_path(place)
        os.mkdir(place)
    os.chown(places[1], user.uid, user.gid)
    yield user
    for place in places:
        run(["rm", "-rf", place]).ok()


def run_as_shown(line: str, user: User) -> Done:
    line = re.sub(r"\balice\b", user.name, line)
    for shown, real in NEEDS.items():
        line = line.replace(shown, real.replace("%USER%", user.name))
    return run(["bash", "-c", line], cwd=ROOT)


def test_there_are_the_commands_that_the_project_promises() -> None:
    assert {"./install.sh --demo", "./tests/run"} <= set(commands())
    assert len(commands()) > 6


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_each_command_works_as_shown(alice: User, line: str) -> None:
    if line in ELSEWHERE:
        with open(f"{ROOT}/{ELSEWHERE[line]}", encoding="utf-8") as file:
            assert os.path.basename(shlex.split(line)[0]) in file.read()
        return
    done = run_as_shown(line, alice)
    if "doctor" in line:
        # Its status says whether this machine has a problem, which is not README's business.
        assert done.status in (0, 1, 2), done
        assert done.text
    else:
        done.ok()
    if " try " in f" {line} ":
        assert done.out
    if " show " in f" {line} ":
        assert f"{alice.name}.yaml:" in done.text


def test_copied_in_their_order_the_commands_end_in_a_working_login(
    make_user: MakeUser, ledger: Ledger
) -> None:
    """On a machine with nothing but the account and the policy file."""
    (policy,) = (block for block in blocks("yaml") if "users/alice.yaml" in block)
    (block,) = (block for block in blocks("console") if "enable alice" in block)
    for shown, real in NEEDS.items():
        policy = policy.replace(shown, real)
    user = make_user(policy.replace("alice", "%USER%"), "/bin/bash")
    os.rmdir(user.runtime_directory)
    for real in NEEDS.values():
        ledger.note_path(real.replace("%USER%", user.name))
    for line in block.splitlines():
        command = line.removeprefix("$ sudo ")
        done = run_as_shown(command, user)
        if "doctor" not in command:
            done.ok()
    assert run(["getent", "passwd", user.name]).text.rstrip().endswith(":/usr/bin/ssh2container")
    assert run(["su", "-", user.name, "-c", "ls -l /course"]).ok().text == "total 0\n"
    run(["ssh2containerctl", "disable", "--restore-shell", user.name]).ok()
    for real in NEEDS.values():
        run(["rm", "-rf", real.replace("%USER%", user.name)]).ok()


def test_the_break_glass_way_leads_to_an_ordinary_shell(alice: User) -> None:
    (line,) = (line for line in commands() if line.startswith("su "))
    done = run(
        ["bash", "-c", line.replace("alice", alice.name)], b"readlink /proc/self/ns/mnt; id -un\n"
    ).ok()
    assert done.text.split() == [os.readlink("/proc/self/ns/mnt"), alice.name]


def test_every_link_leads_to_a_file() -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", readme())
    assert targets
    assert [target for target in targets if not os.path.exists(f"{ROOT}/{target}")] == []


def heading_anchors(path: str) -> set[str]:
    """The anchors that a renderer makes of the headings of a document."""
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"^```.*?^```$", "", file.read(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_into_a_document_leads_to_a_heading() -> None:
    found = 0
    for document in ["README.md", *(f"docs/{name}" for name in os.listdir(f"{ROOT}/docs"))]:
        if document.endswith(".md"):
            with open(f"{ROOT}/{document}", encoding="utf-8") as file:
                text = file.read()
            for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
                path = os.path.join(os.path.dirname(f"{ROOT}/{document}"), target) if target else document
                assert anchor in heading_anchors(os.path.join(ROOT, path)), f"{document}: {target}#{anchor}"
                found += 1
    assert found


def test_every_document_links_to_files_that_exist() -> None:
    for directory, _, names in os.walk(f"{ROOT}/docs"):
        for name in names:
            if name.endswith(".md"):
                with open(f"{directory}/{name}", encoding="utf-8") as file:
                    text = re.sub(r"^```.*?^```$", "", file.read(), flags=re.MULTILINE | re.DOTALL)
                for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
                    assert os.path.exists(f"{directory}/{target}"), f"{name}: {target}"
