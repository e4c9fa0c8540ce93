"""Every example of a policy in README and the documents is one that ``ssh2containerctl check`` takes."""

from __future__ import annotations

import glob
import os
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from support.policies import ETC, Tree

from ssh2container.admin.policy import test_file
from ssh2container.admin.policy.check import installation
from ssh2container.admin.policy.schema.settings import SITE
from ssh2container.admin.policy.yaml.files import Source
from ssh2container.admin.policy.yaml.problems import ERROR

if TYPE_CHECKING:
    from pathlib import Path

ROOT = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", ".."))
MADE = {"policy-reference.md"}
"""Made from the declarations, an example a line; test_policy_reference.py reads those."""
SITE_ONLY = tuple(setting.key for setting in SITE if setting.key in ("admit", "group_order", "site_limits"))


def blocks() -> list[tuple[str, str]]:
    """Return the place and the text of each block of YAML."""
    found = []
    for path in [f"{ROOT}/README.md", *sorted(glob.glob(f"{ROOT}/docs/**/*.md", recursive=True))]:
        if os.path.basename(path) in MADE:
            continue
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for match in re.finditer(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append((f"{os.path.relpath(path, ROOT)}:{line}", match[1]))
    return found


BLOCKS = dict(blocks())


def is_of_the_site(text: str) -> bool:
    """Whether it is config.yaml: it says so, or has a key that is nowhere else."""
    return "config.yaml" in text.partition("\n")[0] or any(
        re.match(rf"{key}:", line) for key in SITE_ONLY for line in text.split("\n")
    )


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A configuration with the shipped profiles."""
    made = Tree(os.fspath(tmp_path))
    for path in glob.glob(f"{ETC}/profiles/*.yaml"):
        shutil.copy(path, f"{made.base}/share")
    return made


def errors(tree: Tree) -> list[str]:
    return [str(problem) for problem in installation(tree.places).all() if problem.severity == ERROR]


def test_the_documents_have_examples() -> None:
    named = {place.partition(":")[0] for place in BLOCKS}
    assert named >= {"README.md", "docs/networks.md", "docs/limits.md", "docs/policy.md"}
    assert any(is_of_the_site(text) for text in BLOCKS.values())


@pytest.mark.parametrize("place", BLOCKS)
def test_check_takes_the_example(tree: Tree, place: str) -> None:
    text = BLOCKS[place]
    if text.startswith("# tests/"):
        assert test_file.parse(Source("/tests.yaml", text, (0, 0, 0, 0, 0)))
        return
    if is_of_the_site(text):
        for group in ("students", "staff"):
            tree.write(f"groups/{group}", "hostname: box")
        tree.write("config", text if "group_order" in text else text + "group_order: [students, staff]\n")
    else:
        tree.write("config", "group_order: [students]")
        tree.write("groups/students", text)
    assert errors(tree) == []


def test_an_example_that_is_wrong_is_found(tree: Tree) -> None:
    tree.write("config", "group_order: [students]")
    tree.write("groups/students", "network_mode: none\negress: any\n")
    (error,) = errors(tree)
    assert "egress" in error
