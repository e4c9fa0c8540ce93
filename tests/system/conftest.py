"""Throw-away machines for tests that install, break and remove the whole product."""

from __future__ import annotations

import contextlib
import platform
import tempfile
from collections.abc import Iterator

import pytest
from support import emulated
from support.emulated import INSTALL, System
from support.installation import Installation, fetch_wheels
from support.ledger import Ledger
from support.machine import Machine

CACHE = "/var/cache/ssh2container-tests"
ADD_USERS = """
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id
for user in alice ranger; do
    useradd --create-home --shell /bin/bash --password '*' $user
    mkdir -m 700 /home/$user/.ssh
    cp /root/.ssh/id.pub /home/$user/.ssh/authorized_keys
    chown -R $user: /home/$user/.ssh
done
ssh2containerctl enable alice
"""


@pytest.fixture(scope="session")
def wheels() -> str:
    """A directory with what install.sh takes from the Python package index, so that it is fetched once."""
    directory = f"{CACHE}/wheels"
    fetch_wheels(directory)
    return directory


@pytest.fixture(scope="session")
def compiled(ledger: Ledger) -> str:
    """A directory for what the compiler makes of the product's sources, so that it is made once."""
    directory = tempfile.mkdtemp(prefix="compiled-", dir=CACHE)
    ledger.note_path(directory)
    return directory


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A copy of this machine for one test."""
    with Machine() as made:
        yield made


@pytest.fixture
def bare(machine: Machine, wheels: str, compiled: str) -> Installation:
    """A machine on which the product is not installed."""
    return Installation.bare(machine, wheels, compiled)


@pytest.fixture(scope="session")
def once_installed(wheels: str, compiled: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What an installation makes of a machine: others begin with it."""
    place = str(tmp_path_factory.mktemp("installed"))
    with Machine() as made:
        Installation.bare(made, wheels, compiled).install()
        made.save(place)
    return place


@contextlib.contextmanager
def _installed(saved: str, wheels: str, compiled: str) -> Iterator[Installation]:
    with Machine(saved) as made:
        installation = Installation(made, wheels, compiled)
        installation.control("enable", "--runtime")  # as the unit does at each start of a host
        yield installation


@pytest.fixture
def installed(once_installed: str, wheels: str, compiled: str) -> Iterator[Installation]:
    """A machine on which the product has just been installed."""
    with _installed(once_installed, wheels, compiled) as made:
        yield made


@pytest.fixture(scope="module")
def shared(once_installed: str, wheels: str, compiled: str) -> Iterator[Installation]:
    """One installed machine for all tests of a module that only look at it, or clean up."""
    with _installed(once_installed, wheels, compiled) as made:
        yield made


@pytest.fixture(scope="session", params=emulated.releases())
def system(wheels: str, compiled: str, request: pytest.FixtureRequest) -> Iterator[System]:
    """An emulated system with the product and its user alice, one for all files: it takes minutes to start.

    test_whole_system.py is the last of them, as it ends with the removal of the product.
    """
    if why := emulated.missing():
        pytest.skip(why)
    if platform.freedesktop_os_release()["ID"] != "debian":
        pytest.skip("the emulated system is bootstrapped from this one's sources, which are not Debian's")
    request.getfixturevalue("once_installed")  # where it is not skipped: then ``compiled`` has all of it
    with System(request.param, wheels, compiled) as made:
        made.run(INSTALL).ok()
        made.run(ADD_USERS).ok()
        yield made
