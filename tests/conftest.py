"""Fixtures that more than one suite uses. What they are made of stands in tests/support."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.client import Client
from support.host import mount_table, run
from support.leaks import assert_nothing_left
from support.ledger import CACHE, Ledger
from support.outcome import VARIABLE
from support.recorder import Recorder
from support.sshd import SFTP_SERVER, SUBSYSTEM, Server
from support.syslog import Syslog
from support.users import PLAIN, SHELL, MakeUser, User, Users

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def pytest_configure(config: pytest.Config) -> None:
    """Note what the run comes to where tests/run asks for it; programs of the tests do not inherit that."""
    if path := os.environ.pop(VARIABLE, ""):
        config.pluginmanager.register(Recorder(path))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root, skip what is marked needs_root, and what makes users, sshds or a log on the machine."""
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root")
    made_by_root = {"ledger", "files_of_root"}
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if item.get_closest_marker("needs_root") or not made_by_root.isdisjoint(item.fixturenames):
            item.add_marker(skip)


@pytest.fixture(scope="module")
def module_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Makes directories for what the tests of a module share; those of pytest stay to the end of the run."""
    made: list[Path] = []

    def make(name: str) -> Path:
        made.append(tmp_path_factory.mktemp(name))
        return made[-1]

    yield make
    for directory in made:
        shutil.rmtree(directory)


@pytest.fixture
def files_of_root() -> None:
    """For other fixtures: what they make is of use only when it belongs to root."""


@pytest.fixture(scope="session")
def checkout() -> str:
    """The top of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def ledger() -> Iterator[Ledger]:
    """Things made on this machine; what an earlier, killed run has made is removed first."""
    book = Ledger.open()
    yield book
    book.settle()


@pytest.fixture(scope="session")
def syslog() -> Iterator[Syslog]:
    """Every log record of the run, in place of the machine's own log daemon."""
    listener = Syslog()
    listener.start()
    yield listener
    listener.stop()


@pytest.fixture(scope="session")
def users(ledger: Ledger, syslog: Syslog) -> Iterator[Users]:  # noqa: ARG001  # sessions log
    """The maker of all users of this run."""
    maker = Users(ledger)
    yield maker
    maker.remove_all()


@pytest.fixture
def make_user(users: Users) -> Iterator[MakeUser]:
    """Make users for one test: ``make_user(policy=…, shell=…, groups=…, is_unshared=…)``."""
    made: list[User] = []
    before = mount_table()

    def make(
        policy: str | None = PLAIN,
        shell: str = SHELL,
        groups: tuple[str, ...] = (),
        *,
        is_unshared: bool = False,
    ) -> User:
        user = users.make(policy, shell, groups, is_unshared=is_unshared)
        made.append(user)
        return user

    yield make
    for user in made:
        try:
            assert_nothing_left(user, before)
        finally:
            users.remove(user)


@pytest.fixture(scope="session")
def shared_user(users: Users) -> User:
    """One user with the plain policy for the whole run; tests ask for ``user``."""
    return users.make()


@pytest.fixture
def user(shared_user: User) -> Iterator[User]:
    """A user with the plain policy (image host, ephemeral home); after the test, nothing of him is left."""
    before = mount_table()
    yield shared_user
    assert_nothing_left(shared_user, before)


@pytest.fixture
def other_user(make_user: MakeUser) -> User:
    """A second user with the plain policy."""
    return make_user()


@pytest.fixture
def host_directory(ledger: Ledger) -> Iterator[Callable[[User], str]]:
    """Make ``/srv/s2c-NAME``, the user's own, for policies with a home or volumes; gone after the test."""
    made: list[str] = []

    def make(user: User) -> str:
        directory = f"/srv/s2c-{user.name}"
        ledger.note_path(directory)
        os.mkdir(directory, 0o755)
        os.chown(directory, user.uid, user.gid)
        made.append(directory)
        return directory

    yield make
    for directory in made:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def server_directory(ledger: Ledger) -> Callable[[], str]:
    """Makes directories that sshd reads as the user who logs in: pytest's own are private to root."""

    def make() -> str:
        directory = tempfile.mkdtemp(prefix="sshd-", dir=CACHE)
        ledger.note_path(directory)
        return directory

    return make


@pytest.fixture(params=["with ForceCommand", "without"])
def rest(request: pytest.FixtureRequest, server_directory: Callable[[], str]) -> Iterator[str]:
    """The drop-in in one of its two forms, in a configuration with what each of them needs."""
    directory = server_directory()
    option = "--with-force-command" if request.param.startswith("with F") else "--without-force-command"
    subsystem = "internal-sftp" if request.param.startswith("with F") else SFTP_SERVER
    with open(f"{directory}/drop-in.conf", "w", encoding="utf-8") as file:
        file.write(run(["ssh2containerctl", "sshd-config", option]).ok().text)
    yield f"Include {directory}/drop-in.conf\nSubsystem sftp {subsystem}\n"
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def sshd(server_directory: Callable[[], str]) -> Iterator[Server]:
    """An sshd with Debian's defaults (external sftp subsystem), for the whole run."""
    server = Server(server_directory())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def exposing_sshd(server_directory: Callable[[], str]) -> Iterator[Server]:
    """One that tells sessions with which key a client came in, as the drop-in has it."""
    server = Server(server_directory(), SUBSYSTEM + "ExposeAuthInfo yes\n")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_sshd(server_directory: Callable[[], str]) -> Iterator[Callable[..., Server]]:
    """Start sshds with other configurations: ``make_sshd("ForceCommand …")``."""
    servers: list[Server] = []

    def make(rest: str = SUBSYSTEM, pam: str = "yes") -> Server:
        server = Server(server_directory(), rest, pam)
        server.start()
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.stop()
        shutil.rmtree(server.directory)


@pytest.fixture
def client(user: User, sshd: Server) -> Client:
    """Clients of the plain user on the plain server."""
    return sshd.client(user)
