"""Two sessions on one kept home never look like one host whose process numbers come again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import pytest
from support.host import processes, run, until
from support.login import Live, inside, live
from support.users import MakeUser, User

CTL = "ssh2containerctl"
KEPT = "image: host\nhome: {source: /srv/s2c-%u}\n"
LOWEST, HIGHEST = 1000, 30100


@pytest.fixture
def keeper(make_user: MakeUser, host_directory: Callable[[User], str]) -> Iterator[User]:
    user = make_user(KEPT)
    host_directory(user)
    yield user
    until(lambda: not processes(user.uid), "nothing of it runs")


def number(session: Live) -> int:
    return int(session.ask("sh -c 'echo $$'"))


def test_sessions_have_names_and_process_numbers_of_their_own(keeper: User) -> None:
    with live(keeper) as first, live(keeper) as second:
        names = [session.ask("hostname").strip() for session in (first, second)]
        assert names[0] != names[1]
        ids = {f"container-{found['id']}" for found in sessions(keeper)}
        assert set(names) == ids
        for session, name in zip((first, second), names, strict=True):
            assert session.ask("cat /etc/hostname").strip() == name
            assert session.ask(f"getent hosts {name}").split() == ["127.0.1.1", name]
            assert session.ask("cat /proc/1/comm").strip() == "init"
            assert LOWEST < number(session) < HIGHEST


def sessions(user: User) -> list[dict[str, str]]:
    found = json.loads(run([CTL, "sessions", "--json", user.name]).ok().text)
    return list(found["sessions"])


def test_process_numbers_start_anywhere(keeper: User) -> None:
    found = {inside(keeper, "echo $$").ok().text for _ in range(4)}
    assert len(found) == 4


def test_a_lock_that_lives_is_nobodys_in_another_session(keeper: User) -> None:
    """As programs that lock by host name and process number look at each other's."""
    take = "ln -s $(hostname):$$ ~/lock"
    look = (
        'held=$(readlink ~/lock); if [ "${held%:*}" != "$(hostname)" ]; then echo foreign; '
        'elif kill -0 "${held#*:}" 2>/dev/null; then echo live; else echo stale; fi'
    )
    with live(keeper) as first:
        first.ask(take)
        assert first.ask(look) == "live\n"
        assert inside(keeper, look).ok().text == "foreign\n"


def test_a_name_that_the_policy_gives_stays(
    make_user: MakeUser, host_directory: Callable[[User], str]
) -> None:
    user = make_user(KEPT + "hostname: box-%u\n")
    host_directory(user)
    assert inside(user, "hostname").ok().text == f"box-{user.name}\n"
    found = run([CTL, "check", user.policy_file])
    assert "look like one host" in found.text + found.errors
    assert "hostname: box-%u-%i" in found.text + found.errors


def test_a_container_of_all_logins_keeps_its_name(
    make_user: MakeUser, host_directory: Callable[[User], str]
) -> None:
    user = make_user(KEPT + "container_per: user\n")
    host_directory(user)
    with live(user) as first, live(user) as second:
        name = first.ask("hostname")
        assert second.ask("hostname") == name
        first.ask("echo $$ >~/pid")
        assert second.ask("kill -0 $(cat ~/pid) && echo live") == "live\n"
    until(lambda: not processes(user.uid), "the container is gone")
    assert inside(user, "hostname").ok().text == name
    with open(user.policy_file, "a", encoding="ascii") as policy:
        policy.write("environment: {A: b}\n")
    assert inside(user, "hostname").ok().text != name
    until(lambda: not processes(user.uid), "the container is gone")
    assert os.path.isdir(user.runtime_directory)
