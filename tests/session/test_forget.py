"""forget: what is held of real accounts that were deleted or disabled; kept, archived or removed."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import secrets
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.host import Done, run
from support.ledger import Ledger, remove_path
from support.login import live
from support.networks import CONTROL
from support.users import PLAIN, MakeUser, User

from ssh2container.admin.change import read_or_none
from ssh2container.admin.forgetting.trees import ARCHIVES
from ssh2container.admin.recordings.collector import DIRECTORY as RECORDINGS

HOMES = "/srv/homes"
WITH_HOME = f"image: host\nhome: {{source: {HOMES}/%u}}\nuser_limits: {{pids_limit: 700}}\nlimits: best\n"


def control(*words: str) -> Done:
    return run([CONTROL, *words])


def held(*words: str) -> dict[str, dict[str, str]]:
    """What is held of each, by --dry-run: name -> what -> what becomes of it."""
    report: dict[str, Any] = json.loads(control("forget", *words, "--dry-run", "--json").ok().out)
    return {
        one["user"] or str(one["uid"]): {each["what"]: each["then"] for each in one["held"]}
        for one in report["held"]
    }


@dataclass
class Person:
    """A user with a kept home, a note in it and a link that leads out of it."""

    user: User

    @property
    def name(self) -> str:
        return self.user.name

    @property
    def home(self) -> str:
        return f"{HOMES}/{self.name}"

    @property
    def recordings(self) -> str:
        return f"{RECORDINGS}/{self.name}"

    def places(self) -> list[str]:
        """Where something is held of whoever was enabled."""
        uid = self.user.uid
        return [
            self.user.policy_file,
            f"/var/lib/ssh2container/compiled/policy/users/{self.name}",
            self.user.runtime_directory,
            f"/etc/tmpfiles.d/ssh2container-{uid}.conf",
            f"/etc/systemd/system/user-{uid}.slice.d/50-ssh2container.conf",
            f"/var/lib/ssh2container/enrolled/{uid}.json",
        ]

    def there(self) -> list[str]:
        return [path for path in self.places() if os.path.lexists(path)]

    def delete(self) -> None:
        run(["userdel", self.name]).ok()


@pytest.fixture
def outside(ledger: Ledger) -> Iterator[str]:
    """A directory of the administrator's, into which links lead."""
    path = f"/srv/s2c-outside-{secrets.token_hex(3)}"
    ledger.note_path(path)
    os.mkdir(path)
    with open(f"{path}/precious", "w", encoding="utf-8") as file:
        file.write("precious\n")
    yield path
    remove_path(path)


@pytest.fixture
def make_person(make_user: MakeUser, ledger: Ledger, outside: str) -> Iterator[Callable[..., Person]]:
    made: list[Person] = []
    had_homes, had_archives = os.path.isdir(HOMES), os.path.isdir(ARCHIVES)

    def make(policy: str = WITH_HOME) -> Person:
        person = Person(make_user(policy, "/bin/bash"))
        made.append(person)
        ledger.note_path(person.home)
        control("enable", person.name).ok()
        if os.path.isdir(person.home):
            with open(f"{person.home}/note", "w", encoding="utf-8") as file:
                file.write("mine\n")
            os.symlink(outside, f"{person.home}/out")
            run(["chown", "-Rh", f"{person.user.uid}:{person.user.gid}", person.home]).ok()
        return person

    yield make
    for person in made:
        control("disable", person.name)
        for path in (*person.places(), person.home, person.recordings):
            remove_path(path)
        for archive in os.listdir(ARCHIVES) if os.path.isdir(ARCHIVES) else ():
            if archive.startswith(person.name):
                os.unlink(f"{ARCHIVES}/{archive}")
    with contextlib.suppress(OSError):
        if not had_homes:
            os.rmdir(HOMES)
        if not had_archives:
            os.rmdir(ARCHIVES)


def record(person: Person) -> None:
    os.makedirs(person.recordings)
    with open(f"{person.recordings}/20260101T000000Z-x.cast", "w", encoding="utf-8") as file:
        file.write("{}\n")


class TestDeleted:
    def test_listed_and_left_until_somebody_agrees(self, make_person: Callable[..., Person]) -> None:
        person = make_person()
        person.delete()
        before = person.there()
        assert len(before) == len(person.places())
        done = control("forget", person.name)
        assert (done.status, "there is no terminal to ask on" in done.errors) == (125, True)
        for path in (*before, person.home):
            assert path in done.text
        assert person.there() == before

    def test_all_but_the_home_and_the_recordings_goes(self, make_person: Callable[..., Person]) -> None:
        person = make_person()
        record(person)
        person.delete()
        control("forget", person.name, "--yes").ok()
        assert person.there() == []
        assert read_or_none(f"{person.home}/note") == "mine\n"
        found = os.stat(person.home)
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o700), "the next one with the uid"
        assert os.listdir(person.recordings)
        control("forget", person.name, "--homes", "remove", "--recordings", "remove", "--yes").ok()
        assert not os.path.exists(person.home)
        assert not os.path.exists(person.recordings)
        done = control("forget", person.name, "--yes")
        assert (done.status, f"no user '{person.name}'" in done.errors) == (1, True)

    def test_a_home_is_removed_and_what_its_links_lead_to_is_not(
        self, make_person: Callable[..., Person], outside: str
    ) -> None:
        person = make_person()
        person.delete()
        control("forget", person.name, "--homes", "remove", "--yes").ok()
        assert not os.path.lexists(person.home)
        assert read_or_none(f"{outside}/precious") == "precious\n"

    def test_an_archive_is_whole_and_roots_alone(
        self, make_person: Callable[..., Person], outside: str
    ) -> None:
        person = make_person()
        person.delete()
        control("forget", person.name, "--homes", "archive", "--yes").ok()
        assert not os.path.lexists(person.home)
        (name,) = (name for name in os.listdir(ARCHIVES) if name.startswith(person.name))
        found = os.stat(f"{ARCHIVES}/{name}")
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)
        assert stat.S_IMODE(os.stat(ARCHIVES).st_mode) == 0o700
        listed = run(["tar", "--list", "--verbose", "--numeric-owner", "--file", f"{ARCHIVES}/{name}"]).ok()
        lines = listed.text.splitlines()
        assert any(line.startswith("l") and line.endswith(f"out -> {outside}") for line in lines)
        assert any(f" {person.user.uid}/{person.user.gid} " in line for line in lines if "note" in line)
        assert "precious" not in listed.text
        unpacked = run(["tar", "-xOf", f"{ARCHIVES}/{name}", f"{person.name}/note"]).ok()
        assert unpacked.text == "mine\n"

    def test_an_archive_that_cannot_be_written_leaves_everything(
        self, make_person: Callable[..., Person], ledger: Ledger
    ) -> None:
        person = make_person()
        person.delete()
        files = [path for path in person.there() if path != person.user.runtime_directory]
        place = f"/srv/s2c-open-{secrets.token_hex(3)}"
        ledger.note_path(place)
        os.mkdir(place)
        os.chmod(place, 0o777)
        done = control("forget", person.name, "--homes", "archive", "--to", place, "--yes")
        assert done.status == 1
        assert "writable by others" in done.text
        assert read_or_none(f"{person.home}/note") == "mine\n"
        assert [path for path in files if not os.path.lexists(path)] == []
        assert os.listdir(place) == []
        os.chmod(place, 0o700)
        control("forget", person.name, "--homes", "archive", "--to", place, "--yes").ok()
        assert len(os.listdir(place)) == 1
        remove_path(place)

    def test_the_uid_is_anothers_now(
        self, make_person: Callable[..., Person], make_user: MakeUser, ledger: Ledger
    ) -> None:
        person = make_person()
        person.delete()
        heir = f"s2c{secrets.token_hex(4)}"
        ledger.note_user(heir)
        run(["useradd", "--uid", str(person.user.uid), "--no-create-home", heir]).ok()
        try:
            done = control("forget", person.name, "--homes", "remove", "--yes").ok()
            assert f"it is {heir}'s now" in done.text
            assert f"the uid {person.user.uid} of {person.name} is {heir}'s now" in done.text
            assert read_or_none(f"{person.home}/note") == "mine\n"
            assert not os.path.exists(person.user.policy_file)
            assert os.path.exists(person.user.runtime_directory)
            refused = control("forget", str(person.user.uid), "--yes")
            # The heir never had our shell: by number nobody is meant but them.
            assert (refused.status, heir in refused.errors) == (126, True)
        finally:
            run(["userdel", heir])

    def test_files_of_another_in_a_home_that_root_was_given(self, make_person: Callable[..., Person]) -> None:
        person, other = make_person(), make_person()
        person.delete()
        control("forget", person.name, "--yes").ok()
        os.chown(f"{person.home}/note", other.user.uid, other.user.gid)
        done = control("forget", person.name, "--homes", "remove", "--yes").ok()
        assert f"it holds files of {other.name}" in done.text
        assert os.path.exists(f"{person.home}/note")

    def test_a_link_in_place_of_the_home(self, make_person: Callable[..., Person], outside: str) -> None:
        person = make_person()
        person.delete()
        remove_path(person.home)
        os.symlink(outside, person.home)
        control("forget", person.name, "--homes", "remove", "--yes").ok()
        assert os.readlink(person.home) == outside
        assert read_or_none(f"{outside}/precious") == "precious\n"

    def test_a_home_below_a_directory_that_others_can_write(
        self, make_person: Callable[..., Person], ledger: Ledger
    ) -> None:
        place = f"/srv/s2c-open-{secrets.token_hex(3)}"
        ledger.note_path(place)
        os.mkdir(place)
        person = make_person(f"image: host\nhome: {{source: {place}/%u}}\n")
        person.delete()
        os.chmod(place, 0o777)
        done = control("forget", person.name, "--homes", "remove", "--yes").ok()
        assert "writable by others" in done.text
        assert os.path.isdir(f"{place}/{person.name}")
        remove_path(place)

    def test_a_home_that_somebody_else_uses(self, make_person: Callable[..., Person]) -> None:
        person = make_person()
        other = make_person(PLAIN)
        person.delete()
        with open(other.user.policy_file, "w", encoding="utf-8") as file:
            file.write(f"image: host\nhome: {{source: {person.home}/below}}\n")
        done = control("forget", person.name, "--homes", "remove", "--yes").ok()
        assert f"it is the home of {other.name}'s sessions, too" in done.text
        assert os.path.exists(f"{person.home}/note")

    def test_all_who_are_gone(self, make_person: Callable[..., Person], make_user: MakeUser) -> None:
        first, second, stays = make_person(), make_person(), make_person()
        stray = f"{RECORDINGS}/stray{secrets.token_hex(3)}"
        had_recordings = os.path.isdir(RECORDINGS)
        os.makedirs(RECORDINGS, exist_ok=True)
        with open(stray, "w", encoding="utf-8") as file:
            file.write("no directory, and nobody's recordings\n")
        early = f"early{secrets.token_hex(3)}"
        policy = f"/etc/ssh2container/users/{early}.yaml"
        with open(policy, "w", encoding="utf-8") as file:
            file.write(PLAIN)
        try:
            first.delete()
            second.delete()
            found = held("--gone")
            assert {first.name, second.name} <= {*found}
            assert stays.name not in found
            assert early not in found, "a policy may be there before its account is"
            control("forget", "--gone", "--yes").ok()
            assert first.there() == second.there() == []
            assert len(stays.there()) == len(stays.places())
            assert control("forget", "--gone").ok().text.splitlines()[-1] == "nothing was changed"
            assert held(early)[early]["policy"] == "remove"
            assert os.path.exists(stray)
        finally:
            os.unlink(policy)
            os.unlink(stray)
            if not had_recordings:
                os.rmdir(RECORDINGS)

    def test_ranges_of_ids_that_enable_gave(self, make_person: Callable[..., Person]) -> None:
        person = make_person(PLAIN)
        person.delete()  # userdel takes the lines of who is deleted
        for path in ("/etc/subuid", "/etc/subgid"):
            with open(path, "a", encoding="utf-8") as file:
                file.write(f"{person.name}:1879113728:65536\n{person.name}:1000:65536\n")
        try:
            control("forget", person.name, "--yes").ok()
            for path in ("/etc/subuid", "/etc/subgid"):
                lines = (read_or_none(path) or "").splitlines()
                assert [line for line in lines if line.startswith(person.name)] == [
                    f"{person.name}:1000:65536"
                ], "a range that we do not give is not ours to take"
        finally:
            for path in ("/etc/subuid", "/etc/subgid"):
                text = read_or_none(path) or ""
                with open(path, "w", encoding="utf-8") as file:
                    file.writelines(
                        f"{line}\n" for line in text.splitlines() if not line.startswith(person.name)
                    )


class TestDisabled:
    def test_the_account_and_its_home_stay(self, make_person: Callable[..., Person]) -> None:
        person = make_person()
        control("disable", person.name).ok()
        control("forget", person.name, "--yes").ok()
        assert person.there() == []
        assert os.stat(person.home).st_uid == person.user.uid
        assert run(["id", person.name]).status == 0
        assert control("forget", person.name).ok().text.splitlines()[-1] == "nothing was changed"

    def test_the_home_on_the_host_is_never_removed(self, make_person: Callable[..., Person]) -> None:
        person = make_person()
        control("disable", person.name).ok()
        run(["usermod", "--home", person.home, person.name]).ok()
        done = control("forget", person.name, "--homes", "remove", "--yes").ok()
        assert f"it is the home of {person.name} on the host" in done.text
        assert os.path.exists(f"{person.home}/note")
        run(["usermod", "--home", person.user.home, person.name]).ok()


class TestRefused:
    def test_who_is_enabled(self, make_person: Callable[..., Person]) -> None:
        person = make_person()
        done = control("forget", person.name, "--yes", "--homes", "remove")
        assert (done.status, "is enabled" in done.errors) == (126, True)
        assert len(person.there()) == len(person.places())
        assert os.path.exists(person.home)

    def test_one_who_is_refused_keeps_no_other(self, make_person: Callable[..., Person]) -> None:
        enabled, deleted = make_person(), make_person()
        deleted.delete()
        assert control("forget", enabled.name, deleted.name, "--yes").status == 126
        assert deleted.there() == []
        assert len(enabled.there()) == len(enabled.places())

    def test_whose_sessions_still_run(self, make_user: MakeUser) -> None:
        user = make_user()
        with live(user) as session:
            control("disable", user.name).ok()
            done = control("forget", user.name, "--yes")
            assert (done.status, f"sessions still run (pid {session.monitor})" in done.errors) == (126, True)
            assert os.path.exists(user.policy_file)
            run(["userdel", "--force", user.name])
            done = control("forget", user.name, str(user.uid), "--yes")
            assert (done.status, "sessions still run" in done.errors) == (126, True)

    def test_whose_processes_still_run(self, make_person: Callable[..., Person]) -> None:
        person = make_person()
        with subprocess.Popen(["sleep", "infinity"], user=person.user.uid) as process:
            run(["userdel", "--force", person.name])
            done = control("forget", person.name, "--yes")
            process.kill()
        assert (done.status, f"(pid {process.pid})" in done.errors) == (126, True)
        assert len(person.there()) == len(person.places())

    def test_who_was_taken_over(self, make_user: MakeUser) -> None:
        user = make_user(None, "/bin/bash")
        control("adopt", "--home", "keep", "--yes", user.name).ok()
        try:
            control("disable", user.name).ok()
            done = control("forget", user.name, "--yes")
            assert (done.status, f"adopt --undo {user.name}" in done.errors) == (126, True)
            assert os.path.exists(user.policy_file)
        finally:
            control("adopt", "--undo", user.name).ok()


def test_on_a_terminal_it_asks_and_no_is_no(make_person: Callable[..., Person]) -> None:
    person = make_person()
    person.delete()
    before = person.there()
    ours, theirs = pty.openpty()
    command = [CONTROL, "forget", person.name, "--homes", "remove"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown, answered = b"", False
        with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
            while part := os.read(ours, 1 << 16):
                shown += part
                if b"[y/N]" in shown and not answered:
                    os.write(ours, b"n\n")
                    answered = True
    os.close(ours)
    assert (process.returncode, answered) == (0, True)
    assert b"gone for good then" in shown
    assert b"Nothing brings it back." in shown
    assert person.there() == before
    assert os.path.exists(f"{person.home}/note")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("no-such-user-here",), 1, "no user 'no-such-user-here': there is no such account, and nothing"),
        (("../../etc/passwd",), 1, "no account can have that name"),
        (("4000000",), 1, "no user 'uid 4000000'"),
        (("root", "--dry-run"), 0, ""),
        (("0",), 126, "it is root's"),
        ((), 2, "name USERs, or --gone"),
        (("someone", "--gone"), 2, "name USERs, or --gone"),
        (("someone", "--homes", "burn"), 2, "'burn' is not one of 'keep', 'archive', 'remove'"),
        (("someone", "--to", "here"), 2, "absolute path"),
    ],
)
def test_bad_input(words: tuple[str, ...], status: int, said: str) -> None:
    done = control("forget", *words)
    assert (done.status, said in done.errors) == (status, True), done
