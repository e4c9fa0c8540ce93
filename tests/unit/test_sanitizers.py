"""The tests of what is written in C once more, with the code built to see what C itself does not.

AddressSanitizer and UndefinedBehaviorSanitizer stand in the module that Python imports; the tests are those
of the unit suite that execute it, in a copy of the checkout.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.test_house import ROOT, tracked

SANITIZERS = "-fsanitize=address,undefined"
OF_C = ("test_script.py", "test_channel.py", "test_offer.py", "test_policy_commands.py", "test_plan.py")
"""Tests of the unit suite that call the module: scripts, messages, waiting, patterns, whole plans."""


@pytest.fixture(scope="module")
def copy(module_directory: Callable[[str], Path]) -> Path:
    """A checkout whose module has the sanitizers in it."""
    top = module_directory("sanitized")
    for name in tracked():
        if os.path.isfile(f"{ROOT}/{name}") and not name.startswith("docs/"):
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(f"{ROOT}/{name}", top / name)
    build(top)
    return top


def build(top: Path) -> None:
    options = ("-g", SANITIZERS, "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer")
    module = top / "ssh2container/kernel/_syscall.abi3.so"
    # Without --gc-sections the linker keeps what registers the sanitizers' tables.
    subprocess.run(
        [top / "ssh2container/native/build.sh", "module", module, *options, "-Wl,--no-gc-sections"],
        check=True,
    )


def run(top: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    library = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    environment = {
        **os.environ,
        "LD_PRELOAD": library,
        # Python frees little of what it has at its end.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=77",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"{top}:{top}/tests",
    }
    return subprocess.run(
        [sys.executable, *arguments], cwd=top, env=environment, capture_output=True, text=True, check=False
    )


def test_the_tests_of_c_pass_under_the_sanitizers(copy: Path) -> None:
    tests = [f"tests/unit/{name}" for name in OF_C]
    done = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > 100
    assert "runtime error" not in done.stdout + done.stderr
    assert "AddressSanitizer" not in done.stdout + done.stderr


def test_the_sanitizers_see_a_read_beyond_the_end(copy: Path, tmp_path: Path) -> None:
    """The same module with one length too many: the tests above would end with that."""
    broken = tmp_path / "broken"
    shutil.copytree(copy, broken)
    source = broken / "ssh2container/native/init/globs.c"
    text = source.read_text(encoding="utf-8")
    start = text.index("bool matches(")
    body = text.index("{", start) + 1
    damage = "\n    volatile uint8_t few[4] = {0};\n    if (few[size])\n        return true;\n"
    source.write_text(text[:body] + damage + text[body:], encoding="utf-8")
    build(broken)
    program = "from ssh2container.kernel import _syscall; _syscall.matches(b'name', b'pattern')"
    done = run(broken, "-c", program)
    assert done.returncode != 0
    assert "globs.c" in done.stderr
    assert re.search("AddressSanitizer|runtime error: index 7 out of bounds", done.stderr)
