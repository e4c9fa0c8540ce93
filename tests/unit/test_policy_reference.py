"""What is generated from the declarations is committed as it is generated, and says what is true."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
from support.policies import problems

from ssh2container.admin.doctor import catalogue, code, kernel, places, ranges
from ssh2container.admin.policy.schema import json_schema, reference
from ssh2container.admin.policy.schema.settings import POLICY, SITE

DOCS = os.path.join(os.path.dirname(__file__), "..", "..", "docs")


@pytest.mark.parametrize(
    ("path", "option", "made"),
    [
        ("policy-reference.md", "--markdown", reference.markdown()),
        ("man/ssh2container.yaml.5", "--man", reference.manual()),
    ],
)
def test_committed_files_are_fresh(path: str, option: str, made: str) -> None:
    with open(os.path.join(DOCS, path), encoding="utf-8") as file:
        assert file.read() == made, f"run: ssh2containerctl schema {option} > docs/{path}"


def test_all_that_is_made_from_the_code_is_fresh() -> None:
    """The list of verbs in the manual page, the doctor's findings, and the two above."""
    made = subprocess.run(
        [sys.executable, f"{DOCS}/make.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (made.returncode, made.stdout, made.stderr) == (0, "", ""), "run: make docs"


def test_the_doctors_catalogue_has_what_the_doctor_says() -> None:
    """Read from the code's text; here the code runs, and every name that it gives is in the document."""
    entries = catalogue.entries()
    assert len(entries) > 60
    found = [*code.examine(), *kernel.examine(), *places.examine(), *ranges.examine()]
    assert found
    for one in found:
        assert one.level in entries[one.check].levels, one


def test_the_reference_names_every_key() -> None:
    table, page = reference.markdown(), reference.manual()
    for setting in [*POLICY, *SITE]:
        assert f"`{setting.key}`" in table
        assert setting.key.replace("-", "\\-") in page


def test_the_manual_page_is_good_roff() -> None:
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-wall", "-z"],
        input=reference.manual(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["policy.md", "policy-reference.md"])
def test_examples_in_the_documentation_are_valid(name: str) -> None:
    """Each block of YAML that is a policy; site settings and policy tests are none."""
    with open(os.path.join(DOCS, name), encoding="utf-8") as file:
        blocks = re.findall(r"```yaml\n(.*?)```", file.read(), re.DOTALL)
    assert blocks
    for block in blocks:
        if "group_order" in block or block.startswith("# tests/"):
            continue
        for document in _separate(block):
            assert [str(problem) for problem in problems(document)] == []


def _separate(block: str) -> list[str]:
    """The reference shows one example a line, which may repeat a key."""
    lines = block.rstrip("\n").split("\n")
    if all(re.match(r"[a-z_]+: ", line) for line in lines):
        return [line + "\n" for line in lines]
    return [block]


def test_the_schema_has_every_supported_key_and_no_other() -> None:
    made = json_schema.schema(POLICY)
    for setting in POLICY:
        place = made
        for name in setting.key.split("."):
            place = place.get("properties", {}).get(name) or next(
                (
                    one["properties"][name]
                    for one in place.get("anyOf", [])
                    if name in one.get("properties", {})
                ),
                {},
            )
        assert bool(place) == (setting.supported is not False), setting.key
        if place:
            assert place["description"] == setting.doc
