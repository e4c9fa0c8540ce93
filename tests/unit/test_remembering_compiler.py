"""The compiler of throw-away machines: what it has made before comes again, and nothing else does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.installation import COMPILER


@pytest.fixture
def known(tmp_path: Path) -> Path:
    (tmp_path / "known").mkdir()
    return tmp_path / "known"


@pytest.fixture
def build(tmp_path: Path, known: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Write a program and its header into a directory, and compile it there to ``out``."""

    def run(place: str, header: str, *options: str) -> subprocess.CompletedProcess[str]:
        directory = tmp_path / place
        directory.mkdir(exist_ok=True)
        (directory / "value.h").write_text(header)
        (directory / "one.c").write_text('#include "value.h"\nint main(void) { return VALUE; }\n')
        return subprocess.run(
            [COMPILER, *options, str(directory / "one.c"), "-o", str(directory / "out")],
            env={**os.environ, "SSH2CONTAINER_TESTS_COMPILED": str(known)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def test_the_same_sources_elsewhere_are_not_compiled_again(
    build: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, known: Path
) -> None:
    assert build("first", "#define VALUE 7\n").returncode == 0
    assert subprocess.run([tmp_path / "first/out"], check=False).returncode == 7
    (made,) = known.iterdir()
    made.write_text("#!/bin/sh\nexit 9\n")
    assert build("second", "#define VALUE 7\n").returncode == 0
    assert subprocess.run([tmp_path / "second/out"], check=False).returncode == 9, "it was taken from there"


@pytest.mark.parametrize(("header", "options"), [("#define VALUE 8\n", ()), ("#define VALUE 7\n", ("-O2",))])
def test_another_header_or_option_is_compiled(
    build: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    known: Path,
    header: str,
    options: tuple[str, ...],
) -> None:
    assert build("first", "#define VALUE 7\n").returncode == 0
    assert build("second", header, *options).returncode == 0
    assert len(list(known.iterdir())) == 2
    assert subprocess.run([tmp_path / "second/out"], check=False).returncode == int(header.rpartition(" ")[2])


def test_what_does_not_compile_fails_each_time(
    build: Callable[..., subprocess.CompletedProcess[str]], known: Path
) -> None:
    for _ in range(2):
        done = build("first", "#define OTHER 7\n")
        assert done.returncode != 0
        assert "VALUE" in done.stderr
    assert list(known.iterdir()) == []
