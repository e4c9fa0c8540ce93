"""Throw-away machines for tests that install, break and remove the whole product."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from support.installation import Installation
from support.machine import SOURCE, Machine

CACHE = "/var/cache/ssh2container-tests"


@pytest.fixture(scope="session")
def wheels() -> str:
    """A directory with what install.sh takes from the Python package index, so that it is fetched once."""
    directory = f"{CACHE}/wheels"
    os.makedirs(directory, exist_ok=True)
    subprocess.run(
        ["/usr/bin/python3", "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
         "--require-hashes", "-d", directory, "-r", f"{SOURCE}/libexec/requirements.txt"],
        check=True,
    )  # fmt: skip
    return directory


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A copy of this machine for one test."""
    with Machine() as made:
        yield made


@pytest.fixture
def bare(machine: Machine, wheels: str) -> Installation:
    """A machine on which the product is not installed."""
    return Installation.bare(machine, wheels)


@pytest.fixture
def installed(bare: Installation) -> Installation:
    """A machine on which the product has just been installed."""
    bare.install()
    return bare


@pytest.fixture(scope="module")
def shared(wheels: str) -> Iterator[Installation]:
    """One installed machine for all tests of a module that only look at it, or clean up."""
    with Machine() as made:
        installation = Installation.bare(made, wheels)
        installation.install()
        yield installation
