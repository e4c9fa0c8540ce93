"""Short runs of the fuzz targets (tests/fuzz), and whether they would see something."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from fuzz import convert, policy

TARGETS = (
    *("script", "order", "messages", "members", "payload", "globs", "launcher"),
    *("frames", "rules", "answers"),
)


def fuzz(top: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the documented command of the checkout at ``top``."""
    return subprocess.run(
        [f"{top}/tests/fuzz/run", *arguments], capture_output=True, text=True, check=False, timeout=250
    )


def test_two_thousand_policies() -> None:
    count, valid = policy.run(seed=1, seconds=float("inf"), most=2000)
    assert count == 2000
    assert 200 < valid < 1800, "the mutations should reach both sides"


def test_a_thousand_files_to_convert() -> None:
    count, valid = convert.run(seed=1, seconds=float("inf"), most=1000)
    assert count == 1000
    assert 100 < valid < 900, "the mutations should reach both sides"


def test_each_parser_in_c(checkout: str) -> None:
    done = fuzz(checkout, "--seconds", "1", "c")
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(re.findall(r"^(\w+) +(\d+) inputs$", done.stdout, re.MULTILINE))
    assert set(counts) == set(TARGETS)
    assert all(int(count) > 0 for count in counts.values())


def test_an_error_in_a_parser_is_found_and_its_input_kept(checkout: str, tmp_path: os.PathLike[str]) -> None:
    """By the blind mutation too, which there is without clang."""
    top = os.fspath(tmp_path)
    for name in ("ssh2container", "tests", "etc"):
        shutil.copytree(f"{checkout}/{name}", f"{top}/{name}", ignore=shutil.ignore_patterns("__pycache__"))
    damaged = f"{top}/ssh2container/native/init/messages.c"
    with open(damaged, encoding="utf-8") as file:
        text = file.read()
    assert "length > from->left - sizeof length" in text
    with open(damaged, "w", encoding="utf-8") as file:
        file.write(text.replace("length > from->left - sizeof length", "length > from->left"))
    done = fuzz(top, "--seconds", "120", "--with", "gcc", "--keep", f"{top}/kept", "messages")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "heap-buffer-overflow" in done.stderr
    assert os.path.getsize(f"{top}/kept/messages-crash") > 0


def test_a_parser_that_calls_something_real_is_not_run(checkout: str, tmp_path: os.PathLike[str]) -> None:
    top = os.fspath(tmp_path)
    for name in ("ssh2container", "tests", "etc"):
        shutil.copytree(f"{checkout}/{name}", f"{top}/{name}", ignore=shutil.ignore_patterns("__pycache__"))
    with open(f"{top}/ssh2container/native/init/messages.c", "a", encoding="utf-8") as file:
        file.write('int rename(const char *, const char *);\nint moved(void) { return rename("a", "b"); }\n')
    done = fuzz(top, "--seconds", "1", "--with", "gcc", "messages")
    assert done.returncode == 2
    assert "calls rename" in done.stderr
