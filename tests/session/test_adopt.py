"""adopt: real accounts are taken over and given back, by a keyed login before, while and after."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pexpect
import pytest
from support.client import Client
from support.host import Done, run, until
from support.ledger import Ledger, remove_path
from support.networks import CONTROL
from support.sshd import Server
from support.users import SHELL, MakeUser, User

from ssh2container.admin import atomic, durable
from ssh2container.admin.adopt import records, unconfirmed
from ssh2container.admin.change import read_or_none
from ssh2container.admin.sshd import effective

CRONTAB = "MAILTO=root\n# nightly\n0 3 * * * $HOME/bin/backup\n"
HOMES = "/srv/homes"


def control(*words: str) -> Done:
    return run([CONTROL, *words])


def said(*words: str) -> dict[str, Any]:
    """What the verb says as JSON."""
    value: dict[str, Any] = json.loads(control(*words, "--json").out)
    return value


@dataclass
class Person:
    """An account with a shell of the host, and a client that logs in by the key in its home."""

    user: User
    client: Client

    @property
    def name(self) -> str:
        return self.user.name

    @property
    def shell(self) -> str:
        return pwd.getpwnam(self.name).pw_shell

    def write(self, name: str, text: str, mode: int = 0o600) -> None:
        """Put a file of theirs into the home."""
        path = f"{self.user.home}/{name}"
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        run(["chown", "-R", f"{self.user.uid}:{self.user.gid}", self.user.home]).ok()

    def state(self) -> dict[str, str]:
        """Everything of theirs on this host that adopting may touch: files as they are, and accounts."""
        crontab = f"/var/spool/cron/crontabs/{self.name}"
        roots = [
            self.user.home, crontab, self.user.policy_file, f"{HOMES}", self.user.runtime_directory,
            f"/etc/tmpfiles.d/ssh2container-{self.user.uid}.conf", records.path_of(self.name),
            f"/var/lib/ssh2container/enrolled/{self.user.uid}.json",
            f"/var/lib/ssh2container/compiled/policy/users/{self.name}",
            f"/var/lib/ssh2container/host-keys/{self.user.uid}",
        ]  # fmt: skip
        there = [root for root in roots if os.path.lexists(root)]
        # What is written anew has another inode and other times; what is moved and brought back has not.
        plain, whole = "%p %y %m %U:%G %s %l\\n", "%p %y %m %U:%G %s %T@ %i %l\\n"
        tests = ["-path", f"{self.user.home}*", "-type", "f", "-printf", whole, "-o", "-type", "d"]
        form = ["find", *there, *tests, "-printf", "%p %y %m %U:%G\\n", "-o", "-printf", plain]
        found = {line.partition(" ")[0]: line for line in run(form).ok().text.splitlines()}
        found["passwd"] = ":".join(map(str, pwd.getpwnam(self.name)))
        found["groups"] = " ".join(sorted(run(["id", "-Gn", self.name]).ok().text.split()))
        return found


@pytest.fixture
def make_person(make_user: MakeUser, sshd: Server, ledger: Ledger) -> Iterator[Callable[..., Person]]:
    made: list[Person] = []
    had_homes = os.path.isdir(HOMES)

    def make(groups: tuple[str, ...] = (), login: str = "/bin/bash", options: str = "") -> Person:
        user = make_user(None, login, groups)
        shutil.rmtree(user.runtime_directory)  # as before any enable
        client = sshd.client(user, options)
        keys = f"{sshd.directory}/keys/{user.name}"
        person = Person(user, client)
        with open(keys, encoding="utf-8") as file:
            person.write(".ssh/authorized_keys", file.read())
        os.unlink(keys)
        os.symlink(f"{user.home}/.ssh/authorized_keys", keys)
        ledger.note_path(f"{HOMES}/{user.name}")
        made.append(person)
        return person

    yield make
    for person in made:
        if os.path.exists(records.path_of(person.name)):
            control("adopt", "--undo", person.name)
        run(["crontab", "-r", "-u", person.name])
        for path in (f"{HOMES}/{person.name}", f"{records.DIRECTORY}/{person.name}.late"):
            remove_path(path)
    if not had_homes:
        with contextlib.suppress(OSError):
            os.rmdir(HOMES)


class TestOne:
    @pytest.mark.parametrize("home", ["move", "copy", "keep"])
    def test_by_the_same_key_inside_and_afterwards_as_before(
        self, make_person: Callable[..., Person], home: str
    ) -> None:
        person = make_person()
        person.write("work/notes", "mine\n")
        run(["crontab", "-u", person.name, "-"], stdin=CRONTAB.encode()).ok()
        before = person.state()
        assert (
            person.client.box("cat work/notes; test -e /etc/ssh2container && echo host").ok().text
            == "mine\nhost\n"
        )
        control("adopt", "--home", home, "--yes", person.name).ok()
        assert person.shell == SHELL
        inside = person.client.box("cat work/notes; pwd; test -e /etc/ssh2container || echo inside").ok().text
        assert inside == f"mine\n{person.user.home}\ninside\n"
        assert run(["crontab", "-l", "-u", person.name]).status != 0
        control("adopt", "--undo", person.name).ok()
        assert person.state() == before
        assert (
            person.client.box("cat work/notes; test -e /etc/ssh2container && echo host").ok().text
            == "mine\nhost\n"
        )


KILLED = """
import os, sys
sys.path[:0] = ["/usr/lib/ssh2container/current"]
from click.testing import CliRunner
from ssh2container.admin.accounts import account_changes, runtime
from ssh2container.admin.adopt import doing, homes, records
from ssh2container.admin.cli.main import command

name, when, *words = sys.argv[1:]
rooms = (homes, doing, records, account_changes, runtime)
room = next(room for room in rooms if hasattr(room, name))
step = getattr(room, name)
do, times = step.do, [0]

def killed(self):
    times[0] += 1
    if when == "before":
        os._exit(9)
    do(self)
    if when == "after" or when == f"after {times[0]}":
        os._exit(9)

step.do = killed
CliRunner().invoke(command, words)
os._exit(0)
"""
"""Runs a verb that is killed at a step of the class NAME."""


def killed(name: str, when: str, *words: str) -> None:
    done = run(["/usr/bin/python3", "-IB", "-c", KILLED, name, when, *words])
    assert done.status == 9, done.err


class TestKilled:
    def test_whenever_it_is_killed_the_way_back_leads_to_where_it_began(
        self, make_person: Callable[..., Person]
    ) -> None:
        person = make_person()
        person.write("work/notes", "mine\n")
        run(["crontab", "-u", person.name, "-"], stdin=CRONTAB.encode()).ok()
        before = person.state()
        for name, when in (
            ("Keep", "after 1"),
            ("SetAside", "after"),
            ("MoveHome", "before"),
            ("MoveHome", "after"),
            ("JoinGroup", "before"),
            ("SetShell", "after"),
        ):
            killed(name, when, "adopt", "--yes", person.name)
            control("adopt", "--undo", person.name).ok()
            assert person.state() == before, (name, when)

    def test_a_half_moved_home_and_a_way_back_that_is_killed(
        self, make_person: Callable[..., Person]
    ) -> None:
        person = make_person()
        before = person.state()
        control("adopt", "--yes", person.name).ok()
        for name, when in (
            ("SetShell", "after"),
            ("RemoveRuntimeDirectory", "after"),
            ("LeaveGroup", "before"),
        ):
            killed(name, when, "adopt", "--undo", person.name)
        # Taking over again finds that, gives back, and begins anew.
        again = control("adopt", "--yes", person.name).ok()
        assert b"interrupted" in again.err
        assert person.client.box("test -e /etc/ssh2container || echo inside").ok().text == "inside\n"
        control("adopt", "--undo", person.name).ok()
        assert person.state() == before


class TestTheWayBack:
    def test_what_was_written_since_is_kept(self, make_person: Callable[..., Person]) -> None:
        """In a moved home it comes along; a policy that was edited, and keys that came, have a name."""
        person = make_person(groups=("adm",))
        control("adopt", "--yes", "--leave-groups", person.name).ok()
        assert "adm" not in run(["id", "-Gn", person.name]).ok().text.split()
        person.client.box("echo new >note").ok()
        with open(person.user.policy_file, "a", encoding="utf-8") as file:
            file.write("hostname: mine\n")
        with open(f"{person.user.home}/.ssh/authorized_keys", "a", encoding="utf-8") as file:
            file.write("# another\n")
        told = control("adopt", "--undo", person.name).ok().text
        assert "the policy was changed since, and is now " in told
        assert "keys that came meanwhile may be in " in told
        assert person.client.box("cat note; id -Gn").ok().text.split()[0] == "new"
        assert "adm" in run(["id", "-Gn", person.name]).ok().text.split()
        for word in told.split():
            if word.startswith((records.DIRECTORY, HOMES)):
                remove_path(word.rstrip(",;"))

    def test_who_was_locked_out_since_stays_so(self, make_person: Callable[..., Person]) -> None:
        person = make_person()
        control("adopt", "--yes", person.name).ok()
        control("disable", person.name).ok()
        told = control("adopt", "--undo", person.name).ok().text
        assert "the login shell is /usr/sbin/nologin since, and stays" in told
        assert person.shell == "/usr/sbin/nologin"

    def test_a_step_that_fails_leaves_everything_as_it_was(self, make_person: Callable[..., Person]) -> None:
        person = make_person()
        before = person.state()
        done = control("adopt", "--yes", "--profile", "no-such-profile", person.name)
        assert done.status == 126
        assert "no-such-profile" in done.text
        assert person.state() == before

    def test_a_link_in_the_home_leads_root_nowhere(self, make_person: Callable[..., Person]) -> None:
        """What takes the place of a moved home is filled with what its user can read."""
        person = make_person()
        os.symlink("/etc/shadow", f"{person.user.home}/.hushlogin")
        os.symlink("/etc/shadow", f"{person.user.home}/.ssh/authorized_keys2")
        control("adopt", "--yes", person.name).ok()
        assert sorted(os.listdir(person.user.home)) == [".ssh"]
        assert os.listdir(f"{person.user.home}/.ssh") == ["authorized_keys"]
        control("adopt", "--undo", person.name).ok()
        assert os.readlink(f"{person.user.home}/.hushlogin") == "/etc/shadow"


class TestMany:
    @pytest.fixture
    def crew(self, make_person: Callable[..., Person]) -> Iterator[tuple[str, list[Person]]]:
        """A group with two members."""
        run(["groupadd", "adoptcrew"]).ok()
        yield "adoptcrew", [make_person(groups=("adoptcrew",)) for _ in range(2)]
        run(["groupdel", "--force", "adoptcrew"])

    def test_one_first_then_the_others_and_all_back(self, crew: tuple[str, list[Person]]) -> None:
        group, people = crew
        told = said("adopt", "--group", group, "--canary", "5%", "--yes")
        assert len(told["users"]) == len(told["later"]) == 1
        assert sorted(person.shell == SHELL for person in people) == [False, True]
        shown = control("adopt", "--group", group, "--yes").ok().text
        assert "was taken over already" in shown
        assert [person.shell for person in people] == [SHELL, SHELL]
        control("adopt", "--undo", "--group", group).ok()
        assert [person.shell for person in people] == ["/bin/bash", "/bin/bash"]

    def test_of_all_a_group_and_everybody_back(
        self, crew: tuple[str, list[Person]], make_person: Callable[..., Person]
    ) -> None:
        group, people = crew
        other = make_person()
        told = said("adopt", "--all", "--canary", group, "--dry-run")
        assert {plan["user"] for plan in told["plans"]} == {person.name for person in people}
        assert other.name in told["later"]
        control("adopt", "--yes", people[0].name, other.name).ok()
        control("adopt", "--undo", "--all").ok()
        assert [person.shell for person in (*people, other)] == ["/bin/bash"] * 3
        assert control("adopt", "--undo", "--all").text == "nobody is taken over\n"

    def test_what_nobody_confirms_is_taken_back(self, make_person: Callable[..., Person]) -> None:
        person = make_person()
        before = person.state()
        shown = control("adopt", "--confirm-within", "1s", "--yes", person.name).ok().text
        assert "taken back unless confirmed in time, by " in shown
        until(lambda: not os.path.exists(f"{records.DIRECTORY}/unconfirmed"), "it is taken back")
        assert person.state() == before

    def test_what_is_confirmed_stays(self, make_person: Callable[..., Person]) -> None:
        person = make_person()
        control("adopt", "--confirm-within", "1h", "--yes", person.name).ok()
        assert control("adopt", "--confirm").ok().text == f"confirmed: {person.name}\n"
        assert person.shell == SHELL
        assert control("adopt", "--confirm").status == 126


class TestUnconfirmed:
    """What waits, and what becomes of it where something comes between."""

    @pytest.fixture
    def adopted(self, make_person: Callable[..., Person]) -> Iterator[tuple[Person, dict[str, str]]]:
        """Somebody who was taken over, and as what."""
        person = make_person()
        before = person.state()
        control("adopt", "--yes", person.name).ok()
        yield person, before
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unconfirmed.FILE)

    @staticmethod
    def let_wait(person: Person, seconds: float) -> None:
        """Have the time of a person end so many seconds from now."""
        waits = {"users": [person.name], "deadline": time.time() + seconds, "means": "a test"}
        atomic.write(unconfirmed.FILE, json.dumps(waits), 0o600)

    def test_the_time_begins_when_the_run_ends(self, adopted: tuple[Person, dict[str, str]]) -> None:
        person, before = adopted
        with durable.locked(records.DIRECTORY):
            self.let_wait(person, -1)
            waiting = subprocess.Popen([CONTROL, "adopt", "--undo", unconfirmed.WAITING])
            until(lambda: waits_for_a_lock(waiting.pid), "it has come to the run that goes on")
            self.let_wait(person, 1)
        assert waiting.wait() == 0
        assert person.state() == before

    def test_after_a_boot_it_goes_on(self, adopted: tuple[Person, dict[str, str]]) -> None:
        person, before = adopted
        self.let_wait(person, 3600)
        control("enable", "--runtime")
        until(lambda: "the process " in (read_or_none(unconfirmed.FILE) or ""), "somebody waits again")
        assert person.shell == SHELL
        self.let_wait(person, -1)
        until(lambda: not os.path.exists(unconfirmed.FILE), "it is taken back")
        assert person.state() == before

    def test_after_a_boot_that_took_too_long_it_is_taken_back(
        self, adopted: tuple[Person, dict[str, str]]
    ) -> None:
        person, before = adopted
        self.let_wait(person, -1)
        said = control("enable", "--runtime").text
        assert f"{person.name} was not confirmed in time, and is as before" in said
        assert person.state() == before

    def test_who_could_not_be_given_back_is_tried_again(self, adopted: tuple[Person, dict[str, str]]) -> None:
        person, before = adopted
        path = records.path_of(person.name)
        self.let_wait(person, -1)
        os.rename(path, f"{path}.away")
        with open(path, "w", encoding="utf-8") as file:
            file.write("{")
        assert control("adopt", "--undo", unconfirmed.WAITING).status == 1
        assert person.name in (read_or_none(unconfirmed.FILE) or "")
        os.rename(f"{path}.away", path)
        control("adopt", "--undo", unconfirmed.WAITING).ok()
        assert not os.path.exists(unconfirmed.FILE)
        assert person.state() == before


def waits_for_a_lock(pid: int) -> bool:
    """Whether a process stands in the line for a lock (proc_locks(5))."""
    with open("/proc/locks", encoding="ascii") as file:
        return any(line.split()[1] == "->" and line.split()[5] == str(pid) for line in file)


class TestPlan:
    def test_what_ends_and_for_whom(self, make_person: Callable[..., Person]) -> None:
        person = make_person(options='permitopen="127.0.0.1:80",from="127.0.0.1"')
        person.write(".forward", '"|/usr/bin/vacation"\n')
        person.write(".config/systemd/user/web.service", "[Service]\n")
        run(["crontab", "-u", person.name, "-"], stdin=CRONTAB.encode()).ok()
        with sudo_rule(f"{person.name} ALL=(root) NOPASSWD: /usr/bin/true\n"):
            told = said("adopt", "--dry-run", person.name)
            shown = control("adopt", "--dry-run", person.name).ok().text
        (plan,) = told["plans"]
        states = {row["what"]: row["state"] for row in plan["plan"]}
        expected = {"crontab", "sudo", "user units", ".forward", "network", "forwarded by sshd"}
        assert expected <= {what for what, state in states.items() if state == "ends"}
        assert plan["crontab"][-3:] == CRONTAB.splitlines()
        assert [key["options"] for key in plan["keys"]] == [
            {"permitopen": "127.0.0.1:80", "from": "127.0.0.1"}
        ]
        assert "ssh -L is closed" in shown
        assert "0 3 * * * $HOME/bin/backup" in shown
        assert "nothing was changed" in shown
        assert person.shell == "/bin/bash"

    def test_everybody_s_plan_has_their_jobs_and_last_logins(
        self, make_person: Callable[..., Person], ledger: Ledger
    ) -> None:
        """Of all real accounts of this host, two have been in; nothing is changed."""
        people, began = [make_person() for _ in range(2)], int(time.time())
        waiting, absent = people[0], make_person()
        for person in people:
            with person.client.terminal() as child:
                child.sendline("exit")
                child.expect_exact(pexpect.EOF)
                child.wait()
        minute = began // 60 + 24 * 60
        path = f"/var/spool/cron/atjobs/a00f0f{minute:08x}"
        made = not os.path.isdir(os.path.dirname(path))
        ledger.note_path(os.path.dirname(path) if made else path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:  # as at writes it; without atd nobody runs it
            file.write("#!/bin/sh\ntrue\n")
        os.chown(path, waiting.user.uid, waiting.user.gid)
        before = [person.state() for person in (*people, absent)]
        try:
            told = said("adopt", "--all", "--dry-run")
            shown = control("adopt", "--all", "--dry-run").ok().text
            first = said("adopt", "--all", "--canary", "1%", "--dry-run")
        finally:
            remove_path(os.path.dirname(path) if made else path)
        plans = {one["user"]: one for one in told["plans"]}
        assert {person.name for person in (*people, absent)} <= plans.keys()
        assert plans[waiting.name]["at_jobs"] == [path]
        (row,) = [row for row in plans[waiting.name]["plan"] if row["what"] == "jobs of at"]
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(minute * 60))
        assert (row["today"], row["state"]) == (f"1: {when}", "ends")
        assert plans[people[1].name]["at_jobs"] == []
        assert all(plans[person.name]["last_login"] >= began for person in people)
        assert plans[absent.name]["last_login"] is None
        assert absent.name not in {one["user"] for one in first["plans"]}
        assert any(line.startswith(absent.name) and "never" in line for line in shown.splitlines())
        assert [person.state() for person in (*people, absent)] == before

    def test_without_an_answer_nothing_is_done(self, make_person: Callable[..., Person]) -> None:
        person = make_person()
        before = person.state()
        done = control("adopt", person.name)
        assert done.status != 0
        assert b"there is no terminal to ask on; say --yes, or --dry-run" in done.err
        assert person.state() == before

    def test_every_name_that_is_none_has_a_line_and_nobody_is_touched(
        self, make_person: Callable[..., Person]
    ) -> None:
        person = make_person()
        done = control("adopt", "--yes", "nobody-of-that", person.name, "nor-of-this")
        assert done.status == 1
        assert [line.split(":")[1] for line in done.err.decode().splitlines()] == [
            " no user 'nobody-of-that'",
            " no user 'nor-of-this'",
        ]
        assert person.shell == "/bin/bash"

    def test_who_is_left_alone_and_why(self, make_person: Callable[..., Person], make_user: MakeUser) -> None:
        admin, other = make_person(groups=("adm",)), make_person(login="/usr/sbin/nologin")
        contained, with_policy = make_user(), make_person()
        ruler = make_person()
        with open(with_policy.user.policy_file, "w", encoding="utf-8") as file:
            file.write("image: host\n")
        names = ["root", "daemon", admin.name, other.name, contained.name, with_policy.name, ruler.name]
        with sudo_rule(f"{ruler.name} ALL=(ALL:ALL) NOPASSWD: ALL\n"):
            done = run([CONTROL, "adopt", "--yes", *names], env={**os.environ, "SUDO_USER": with_policy.name})
        os.unlink(with_policy.user.policy_file)
        assert done.status == 126
        lines = [line for line in done.text.splitlines() if line.startswith("left alone: ")]
        assert [line.split()[2] for line in lines] == names
        for line, why in zip(
            lines,
            [
                "uid 0 cannot be contained",
                "is a system account's",
                "is in adm (reads the logs): --leave-groups",
                "has the login shell /usr/sbin/nologin",
                "is contained already",
                "is you: --force",
                "becomes root by a rule of sudo: --force",
            ],
            strict=True,
        ):
            assert why in line

    def test_what_restricts_an_account_today_is_not_opened(self, make_person: Callable[..., Person]) -> None:
        person = make_person(
            login="/usr/bin/git-shell" if os.path.exists("/usr/bin/git-shell") else "/bin/ls"
        )
        (left,) = said("adopt", "--dry-run", person.name)["left_alone"]
        assert "which /etc/shells lacks: name --profile" in left["why"]


class TestFrom:
    """What another project lets an account do is what its policy lets it do."""

    def test_sftp_in_a_chroot_goes_on_at_the_same_places(
        self, make_person: Callable[..., Person], ledger: Ledger
    ) -> None:
        person = make_person(login="/usr/sbin/nologin")
        jail = f"/srv/jail-{person.name}"
        configuration = f"/etc/ssh/sshd_config.d/jail-{person.name}.conf"
        ledger.note_path(jail)
        ledger.note_path(configuration)
        os.makedirs(f"{jail}/upload")
        os.chown(f"{jail}/upload", person.user.uid, person.user.gid)
        left = said("adopt", "--dry-run", "--from", "chroot-sftp", person.name)["left_alone"]
        assert "sshd forces no command" in left[0]["why"]
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(f"Match User {person.name}\n  ChrootDirectory /srv/jail-%u\n")
            file.write("  ForceCommand internal-sftp -u 0077 -l INFO\n")
        before = person.state()
        shown = control("adopt", "--from", "chroot-sftp", "--yes", person.name).ok().text
        assert "internal-sftp -u 0077 -l INFO /srv/jail-%u" in shown
        assert f"not kept: {configuration}:3: internal-sftp -l INFO: " in shown
        assert f"not quite the same: {configuration}:2: ChrootDirectory {jail}: " in shown
        assert person.client.sftp("put /etc/hostname /upload/here", "ls").ok()
        assert os.stat(f"{jail}/upload/here").st_mode & 0o077 == 0
        assert person.client.box("id").status == 126
        assert effective.effective(person.name).get("chrootdirectory") == "none"
        control("adopt", "--undo", person.name).ok()
        assert person.state() == before

    def test_a_limited_shell_in_a_jail(
        self, make_person: Callable[..., Person], sshd: Server, ledger: Ledger
    ) -> None:
        person = make_person()
        jail = f"/srv/jail-{person.name}"
        home = f"{jail}/./home/{person.name}"
        ledger.note_path(jail)
        os.makedirs(f"{jail}/home")
        run(["usermod", "-m", "-d", home, "-s", "/usr/sbin/jk_chrootsh", person.name]).ok()
        keys = f"{sshd.directory}/keys/{person.name}"
        os.unlink(keys)
        os.symlink(f"{home}/.ssh/authorized_keys", keys)
        os.makedirs(f"{jail}/etc/jailkit")
        with open(f"{jail}/etc/passwd", "w", encoding="utf-8") as file:
            file.write(f"{person.name}:x:1:1::/home/{person.name}:/usr/sbin/jk_lsh\n")
        with open(f"{jail}/etc/jailkit/jk_lsh.ini", "w", encoding="utf-8") as file:
            file.write(f"[{person.name}]\nexecutables = /usr/bin/uname, /usr/lib/sftp-server\n")
        before = pwd.getpwnam(person.name)
        (plan,) = said("adopt", "--dry-run", "--from", "jailkit", person.name)["plans"]
        assert [entry.split(": ", 1)[1].split(":")[0] for entry in plan["differs"]] == [f"jail {jail}"]
        control("adopt", "--from", "jailkit", "--yes", person.name).ok()
        assert person.client.box("uname").ok().text == "Linux\n"
        assert person.client.box("id").status == 126
        person.client.sftp("put /etc/hostname here").ok()
        assert os.path.exists(f"{HOMES}/{person.name}/here")
        control("adopt", "--undo", person.name).ok()
        assert pwd.getpwnam(person.name) == before
        assert os.path.exists(f"{home}/here")

    def test_what_is_listed_of_a_home(self, make_person: Callable[..., Person], ledger: Ledger) -> None:
        person = make_person()
        run(["usermod", "-s", "/usr/bin/firejail", person.name]).ok()
        person.write("work/notes", "mine\n")
        if not os.path.isdir("/etc/firejail"):
            ledger.note_path("/etc/firejail")
            os.mkdir("/etc/firejail")
        line = f"{person.name}: --noprofile --whitelist=${{HOME}}/work --net=none --cpu=0\n"
        before = person.state()
        with replaced("/etc/firejail/login.users", line):
            shown = control("adopt", "--from", "firejail", "--yes", person.name).ok().text
        assert "not kept: /etc/firejail/login.users:1: cpu 0: cpus says how much, not which" in shown
        inside = person.client.box("ls -A; cat work/notes; echo more > work/notes").ok().text
        assert "mine\n" in inside
        assert ".ssh" not in inside
        with open(f"{person.user.home}/work/notes", encoding="utf-8") as file:
            assert file.read() == "more\n"
        person.write("work/notes", "mine\n")
        control("adopt", "--undo", person.name).ok()
        assert person.state().keys() == before.keys()
        assert person.shell == "/usr/bin/firejail"


@contextlib.contextmanager
def replaced(path: str, text: str) -> Iterator[None]:
    """A file with this content for the length of a ``with`` block, though the machine may have its own."""
    aside = f"{path}.aside"
    if os.path.exists(path):
        os.rename(path, aside)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    try:
        yield
    finally:
        os.unlink(path)
        if os.path.exists(aside):
            os.rename(aside, path)


@contextlib.contextmanager
def sudo_rule(text: str) -> Iterator[None]:
    path = "/etc/sudoers.d/adopt-test"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o440)
    try:
        yield
    finally:
        os.unlink(path)
