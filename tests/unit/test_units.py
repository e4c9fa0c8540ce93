"""systemd's own opinion of the units: they are valid, and no more exposed than docs/installation.md says."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.host import Done, run

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNITS = f"{ROOT}/systemd/system"
NAMES = sorted(name for name in os.listdir(UNITS) if os.path.isfile(f"{UNITS}/{name}"))
SERVICES = [name for name in NAMES if name.endswith(".service")]
DROP_IN = "user@.service.d/10-ssh2container.conf"
PROGRAMS = ("/usr/bin/ssh2containerctl", "/usr/bin/true")
"""A unit's program that is not installed here, and one that is."""


@pytest.fixture(scope="module")
def units(module_directory: Callable[[str], Path]) -> str:
    """The units in a directory of their own, valid on a machine without the product, too."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    directory = str(module_directory("units"))
    for name in NAMES:
        with open(f"{UNITS}/{name}", encoding="utf-8") as file:
            text = file.read()
        with open(f"{directory}/{name}", "w", encoding="utf-8") as file:
            file.write(text if os.path.exists(PROGRAMS[0]) else text.replace(*PROGRAMS))
    return directory


def analyze(units: str, *words: str) -> Done:
    path = f"{units}:/usr/lib/systemd/system:/lib/systemd/system"
    return run(["systemd-analyze", *words], env={**os.environ, "SYSTEMD_UNIT_PATH": path, "LANG": "C.UTF-8"})


def told() -> dict[str, str]:
    """The exposure that the table of docs/installation.md has for each service."""
    with open(f"{ROOT}/docs/installation.md", encoding="utf-8") as file:
        return dict(
            re.findall(r"^\| `(ssh2container-[a-z-]+\.service)` \| ([0-9.]+) \|", file.read(), re.MULTILINE)
        )


def test_every_service_is_in_the_table() -> None:
    assert sorted(told()) == SERVICES


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_is_valid(units: str, name: str) -> None:
    done = analyze(units, "verify", "--man=no", f"{units}/{name}")
    about_ours = [line for line in (done.text + done.errors).splitlines() if "ssh2container" in line]
    assert about_ours == []
    done.ok()


def test_what_service_managers_are_given_is_valid(units: str, tmp_path: Path) -> None:
    """Looked at through a manager's own unit; a wrong word in it would be noticed."""
    with open(f"{UNITS}/{DROP_IN}", encoding="utf-8") as file:
        text = file.read()
    for content, is_valid in ((text, True), (text.replace("Delegate=", "Delegates="), False)):
        copy = tmp_path / DROP_IN
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(content)
        done = analyze(f"{tmp_path}:{units}", "verify", "--man=no", "user@1000.service")
        assert (DROP_IN not in done.text + done.errors) is is_valid, done.errors


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_no_more_exposed_than_is_told(units: str, name: str) -> None:
    if not analyze(units, "--version").text.startswith("systemd 252 "):
        pytest.skip("the table is of systemd 252; others weigh differently")
    threshold = str(round(float(told()[name]) * 10))
    words = ("security", "--offline=yes", "--no-pager", f"--threshold={threshold}", f"{units}/{name}")
    done = analyze(units, *words)
    assert done.status == 0, done.text.splitlines()[-1]
