"""A file server that does not answer: a login says so in time, and is listed and ended like any other."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.hanging import Server, served
from support.host import DEADLINE_SECONDS, processes, run, until
from support.login import finish, inside, start
from support.syslog import Syslog
from support.tracing import strace
from support.users import MakeUser, User

from ssh2container.admin.sessions import kernel

CTL = "ssh2containerctl"
PACKAGE = "/usr/lib/ssh2container/current"


@dataclass
class Served:
    """A user whose policy names a directory that a server of ours serves."""

    user: User
    server: Server
    place: str
    logins: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def login(self) -> subprocess.Popen[bytes]:
        self.logins.append(start(self.user, "-c", "true"))
        return self.logins[-1]

    def is_forgotten(self) -> None:
        """What no signal reaches is listed until the server lets go of it; then nothing is."""
        self.server.end()
        until(lambda: listed(self.user) == [], "nothing of it is listed")


@pytest.fixture
def make_served(
    make_user: MakeUser, host_directory: Callable[[User], str]
) -> Iterator[Callable[[str], Served]]:
    """Make users with a policy in which PLACE stands for the directory."""
    made: list[Served] = []

    def make(policy: str) -> Served:
        user = make_user()
        place = host_directory(user)
        with open(user.policy_file, "w", encoding="utf-8") as file:
            file.write(policy.replace("PLACE", place))
        made.append(Served(user, servers.enter_context(served(place, user.uid, user.gid)), place))
        return made[-1]

    # All servers end before anything is waited for, or looks at what they serve: that would hang, too.
    with ExitStack() as servers:
        yield make
    for case in made:
        for login in case.logins:
            login.kill()
            login.wait(DEADLINE_SECONDS)
        until(lambda user=case.user: not processes(user.uid), "nothing of it runs")  # type: ignore[misc]


def listed(user: User) -> list[dict[str, object]]:
    found = json.loads(run([CTL, "sessions", "--json", user.name]).ok().text)
    return list(found["sessions"])


def said(session: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Status and what the login says; a process that no signal reaches may hold the pipe for longer."""
    status = session.wait(DEADLINE_SECONDS)
    assert session.stdin
    assert session.stdout
    assert session.stderr
    os.set_blocking(session.stderr.fileno(), False)
    line = session.stderr.read()
    for stream in (session.stdin, session.stdout, session.stderr):
        stream.close()
    return status, line.decode()


HOME = "image: host\nhome: {source: PLACE}\n"
POLICIES = {
    "home": HOME,
    "volume": "image: host\nvolumes: ['PLACE:/mnt:ro']\n",
    "shared": HOME + "container_per: user\n",
}


def test_it_is_named_in_time(make_served: Callable[[str], Served], syslog: Syslog) -> None:
    cases = [make_served(policy) for policy in POLICIES.values()]
    for case in cases:
        inside(case.user, "true").ok()
        until(lambda case=case: not processes(case.user.uid), "the container is gone")  # type: ignore[misc]
        case.server.hang()
    logins = [case.login() for case in cases]
    for case in cases:
        until(lambda case=case: case.server.taken, "the server is asked")  # type: ignore[misc]
        # The owner of a shared container is listed beside its first login, if it has come as far.
        assert [one["command"] for one in listed(case.user)].count("true") == 1
    for case, login in zip(cases, logins, strict=True):
        status, line = said(login)
        assert status == 125
        assert line.startswith(f"ssh2container: cannot reach {case.place}: ")
        assert "findmnt" in line
        assert len(line.splitlines()) == 1
        until(lambda case=case: [r for r in syslog.of(case.user.name) if "cannot reach" in r], "a record")  # type: ignore[misc]
        case.is_forgotten()


@pytest.mark.parametrize("container_per", ["session", "user"])
def test_one_that_hangs_when_the_container_is_made(
    make_served: Callable[[str], Served], container_per: str
) -> None:
    """It answered when the login looked at the source, and does not any more when process 1 does."""
    case = make_served(HOME + f"container_per: {container_per}\n")
    before = case.server.answered
    inside(case.user, "true").ok()
    until(lambda: not processes(case.user.uid), "the container is gone")
    case.server.hang(after=(case.server.answered - before) // 2)
    status, line = said(case.login())
    assert status == 125
    assert line.startswith(f"ssh2container: cannot reach {case.place}: ")
    case.is_forgotten()


def test_who_asks_the_server_is_no_session_of_its_own(make_served: Callable[[str], Served]) -> None:
    case = make_served(HOME)
    case.server.hang()
    login = case.login()
    until(lambda: case.server.taken, "the server is asked")
    until(lambda: len(there_for(2.5, case.user)) > 1, "who asks is old enough for a session")
    assert [one["monitor"] for one in listed(case.user)] == [login.pid]
    login.kill()
    case.is_forgotten()


def there_for(seconds: float, user: User) -> list[int]:
    """The user's processes that have been there so long."""
    return [one.pid for one in processes(user.uid) if kernel.Process(one.pid).since + seconds < time.time()]


@pytest.mark.parametrize("way", ["kill", "SIGTERM", "SIGHUP"])
def test_it_can_be_ended_meanwhile(make_served: Callable[[str], Served], way: str) -> None:
    case = make_served(HOME)
    case.server.hang()
    login = case.login()
    until(lambda: case.server.taken, "the server is asked")
    (session,) = listed(case.user)
    if way == "kill":
        assert run([CTL, "kill", str(session["id"])]).ok().text == f"{session['id']}: ended\n"
    else:
        login.send_signal(getattr(signal, way))
    status, line = said(login)
    assert status == 125
    assert line.startswith(f"ssh2container: gave up waiting for {case.place}: ")
    case.is_forgotten()


def test_verbs_name_it_too(make_served: Callable[[str], Served]) -> None:
    case = make_served(HOME)
    case.server.hang()
    verbs = [["explain", case.user.name], ["check", case.user.policy_file], ["status"]]
    verbs += [["check"], ["doctor", case.user.name]]
    running = [
        subprocess.Popen([CTL, *verb], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for verb in verbs
    ]
    texts = [process.communicate(timeout=DEADLINE_SECONDS)[0].decode() for process in running]
    assert running[0].returncode == 125
    assert f"cannot reach {case.place}" in " ".join(texts[0].split())
    # These look at a writable source themselves, as root: for its mount options and for set-ID bits.
    assert [process.returncode for process in running[3:]] == [1, 2]
    assert f"logins are refused to {case.user.name}" in " ".join(texts[3].split())


def verbs_say(*verbs: list[str]) -> list[tuple[int, str]]:
    """Run verbs side by side; the status and the words of each, line ends as spaces."""
    running = [
        subprocess.Popen([CTL, *verb], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for verb in verbs
    ]
    texts = [process.communicate(timeout=DEADLINE_SECONDS)[0].decode() for process in running]
    return [
        (process.returncode, " ".join(text.split())) for process, text in zip(running, texts, strict=True)
    ]


def test_every_verb_of_the_administrator_ends_and_names_it(
    make_served: Callable[[str], Served], tmp_path: Path
) -> None:
    """Many kinds of request, a writable volume and a place for recordings: each of them is looked at."""
    case = make_served(
        "image: host\nvolumes: ['PLACE:/mnt:rw']\naccess: {commands: [id, ls, cat], interactive: false}\n"
        "record: {terminal: true, to: user_directory, directory: /var/lib/none-here}\n"
    )
    shutil.copytree("/etc/ssh2container", tmp_path / "policies")
    case.server.hang()
    name = case.user.name
    for (status, text), expected in zip(
        verbs_say(
            ["check"],
            ["doctor", name],
            ["explain", name, "--", "id"],
            ["enable", name],
            ["show", name],
            ["deploy", "--dry-run", str(tmp_path / "policies")],
        ),
        (1, 2, 125, 1, 0, 0),
        strict=True,
    ):
        assert f"cannot reach {case.place}" in text
        assert status == expected, text
    assert all("Traceback" not in text for _, text in verbs_say(["status"], ["compile"]))


def test_a_home_on_the_host_that_hangs(make_user: MakeUser) -> None:
    """sshd waits for it before any session starts, so no verb says that logins start."""
    who = make_user()
    with served(who.home, who.uid, who.gid) as server:
        server.hang()
        told = verbs_say(
            ["check"],
            ["doctor", "--json", who.name],
            ["explain", who.name, "--", "true"],
            ["try", "--user", who.name, "--", "true"],
            ["enable", who.name],
        )
        for status, text in told:
            assert f"cannot reach {who.home}, {who.name}'s home on the host" in text
            assert status != 0
        found = json.loads(told[1][1])["findings"]
        (cause,) = [one for one in found if one["check"] == "user.home"]
        assert cause["level"] == "problem"
        assert [one["because"] for one in found if one["check"] == "user.login"] == [f"user.home {who.name}"]
    found = json.loads(verbs_say(["doctor", "--json", who.name])[0][1])["findings"]
    assert not [one for one in found if one["check"] in ("user.home", "user.login") and one["level"] != "ok"]


def test_many_users_on_one_server_wait_for_it_once(make_served: Callable[[str], Served]) -> None:
    case = make_served(HOME)
    case.server.hang()
    script = (
        "import sys\nfrom ssh2container.admin.login import verdict\n"
        "first = verdict.of_user(sys.argv[1]).failed\n"
        "verdict.DEADLINE_S = 10.0  # less than one wait for a server\n"
        "print([str(each.error) for each in (first, verdict.of_user(sys.argv[1]).failed)])"
    )
    words = ["/usr/bin/python3", "-I", "-c", f"import sys; sys.path[:0] = [{PACKAGE!r}]\n{script}"]
    with subprocess.Popen([*words, case.user.name], stdout=subprocess.PIPE) as asking:
        text = asking.communicate(timeout=DEADLINE_SECONDS)[0].decode()
    assert text.count(f"cannot reach {case.place}") == 2


def test_policies_on_a_server_that_hangs(make_served: Callable[[str], Served]) -> None:
    """In a mount namespace of its own, in which the served directory is in the place of all policies."""
    case = make_served(HOME)
    script = (
        'mount --bind "$1" /etc/ssh2container; echo; read line; '
        'exec setpriv --reuid "$2" --regid "$3" --clear-groups -- "$4" -c true'
    )
    who = case.user
    words = [
        "unshare",
        "--mount",
        "sh",
        "-ec",
        script,
        "sh",
        case.place,
        str(who.uid),
        str(who.gid),
        who.shell,
    ]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=who.environment()
    ) as login:
        assert login.stdout
        assert login.stdout.readline() == b"\n"
        case.server.hang()
        _, errors = login.communicate(b"\n", timeout=DEADLINE_SECONDS)
        assert login.returncode == 125
        assert errors.startswith(b"ssh2container: cannot reach /etc/ssh2container: ")


def test_a_local_home_on_a_file_system_of_its_own_asks_nobody(
    make_user: MakeUser, host_directory: Callable[[User], str]
) -> None:
    user = make_user()
    place = host_directory(user)
    with open(user.policy_file, "w", encoding="utf-8") as file:
        file.write(HOME.replace("PLACE", place))
    run(["mount", "-t", "tmpfs", "-o", f"uid={user.uid},gid={user.gid},nosuid,nodev", "home", place]).ok()
    try:
        trace = strace(("clone", "clone3", "fork", "vfork"), log="", user=user.name)
        done = run([*trace, user.shell, "-c", "true"], env=user.environment(), cwd="/").ok()
        assert done.errors.count("clone(") + done.errors.count("fork(") == 2, "pid 1 and the payload"
    finally:
        run(["umount", "-l", place]).ok()
    assert os.path.isdir(place)
    assert finish(start(user, "-c", "true")).status == 0
