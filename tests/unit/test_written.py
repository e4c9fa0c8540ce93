"""Whether the installer finds out which pages the core writes to, and the short start asks for them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from ssh2container.admin.install import written
from ssh2container.policy import cold

PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def library(checkout: str, tmp_path: Path) -> Path:
    made = tmp_path / "start.so"
    subprocess.run([f"{checkout}/ssh2container/native/build.sh", "start", str(made)], check=True)
    return made


def test_the_pages_are_those_of_the_programs_data(library: Path) -> None:
    runs = [(int(at), int(size)) for at, size in re.findall(r"\{(\d+),(\d+)\}", written.option(str(library)))]
    headers = subprocess.run(["readelf", "-lW", cold.PYTHON], capture_output=True, text=True, check=True)
    loads = [line.split() for line in headers.stdout.splitlines() if line.strip().startswith("LOAD")]
    begin = int(loads[0][2], 16)
    (data,) = [words for words in loads if words[6:8] == ["RW", "0x1000"]]
    first, end = int(data[2], 16) - begin, int(data[2], 16) - begin + int(data[5], 16)
    assert runs
    assert sum(size for _, size in runs) > 64 * PAGE
    for at, size in runs:
        assert at % PAGE == size % PAGE == 0
        assert first // PAGE * PAGE <= at < at + size <= end + PAGE


def test_the_short_start_asks_for_them_at_once(checkout: str, library: Path) -> None:
    option = written.option(str(library))
    build = [f"{checkout}/ssh2container/native/build.sh", "start", str(library), option]
    subprocess.run(build, check=True)
    # With them asked for before, the same are written to.
    assert written.option(str(library)) == option


def test_a_library_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "start.so").write_bytes(b"")
    with pytest.raises(subprocess.SubprocessError):
        written.option(str(tmp_path / "start.so"))
