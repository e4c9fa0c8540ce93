"""``host_commands`` from real sessions, by the service as systemd starts it: what crosses, what does not."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator

import pytest
from session.test_audit import in_place_of, site
from support.host import processes, run, until
from support.host_commands import programs, serving
from support.leaks import tidy_after_a_killed_monitor
from support.login import Live, inside, live, python_inside
from support.material import busybox_tree
from support.syslog import PATH as DEV_LOG
from support.syslog import Syslog
from support.users import MakeUser, User, Users

from ssh2container.admin.host_commands import frames, service
from ssh2container.plan.host_commands import PLACE, SOCKET, STAND_IN

__all__ = ["site"]

CONTROL = "/usr/bin/ssh2containerctl"
SHOW = """#!/bin/bash
read -r line
echo "$0 $# $* <$line>"
id -u; id -G; pwd; umask
python3 -c 'import os; print(sorted(os.environ), sorted(map(int, os.listdir("/proc/self/fd")))[:3])'
grep -E '^(Cap(Prm|Eff|Inh|Amb)|NoNewPrivs|SigIgn|SigBlk)' /proc/self/status | tr -d '\\n\\t 0'
echo
echo >&2 oops
exit 7
"""
LEAVES = "#!/bin/bash\nsetsid sleep 12345.6 >/dev/null 2>&1 &\necho left\n"


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    """The directory of the programs, with the service at work."""
    scripts = {
        "show": SHOW,
        "leaves": LEAVES,
        "copy": "#!/bin/sh\nexec cat\n",
        "waits": "#!/bin/sh\necho $$\nexec sleep 23456.7\n",
        "who": "#!/bin/sh\nexec id -un\n",
    }
    with serving(), programs(**scripts) as found:
        yield found


@pytest.fixture
def make(make_user: MakeUser, place: str) -> Callable[..., User]:
    """Users whose policy has these commands."""

    def act(commands: str, more: str = "image: host\n") -> User:
        return make_user(f"{more}host_commands: {commands.replace('@', place)}\n")

    return act


def ask(session: Live, text: str) -> str:
    """What ``text`` prints in the session, whose own input no command takes."""
    return session.ask(f"( {text}\n) </dev/null")


def asking(user: User, *words: str) -> tuple[str, int]:
    """What the service says, and the status, to a process of the user's that is in no session."""
    program = (
        "import socket, sys\n"
        "words = b''.join(word.encode() + b'\\0' for word in sys.argv[2:])\n"
        "end = socket.socket(socket.AF_UNIX)\n"
        "end.connect(sys.argv[1])\n"
        "end.sendall(b'R' + len(words).to_bytes(4, 'little') + words)\n"
        "while piece := end.recv(65536): sys.stdout.buffer.write(piece)\n"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-c", program, SOCKET, *words],
        user=user.uid,
        group=user.gid,
        extra_groups=[],
        capture_output=True,
        check=True,
    )
    assert done.stdout[-6:-1] == frames.ended(0)[:-1]
    return done.stdout[:-6].decode(errors="replace"), done.stdout[-1]


def test_nothing_but_words_and_bytes_crosses(make: Callable[..., User], syslog: Syslog, place: str) -> None:
    user = make("{show: {path: @/show, args: ['%u', two words], accept: ['[a-z]+']}}")
    # A login shell, whose profile sets PATH, and variables that a program of the host's might obey.
    hostile = "LD_PRELOAD=/nowhere.so BASH_ENV=/etc/passwd IFS=/ PATH=$PATH:/nowhere"
    done = inside(user, f"bash -lc 'cd /tmp; umask 0; {hostile} show abc; echo =$?'", b"a line\n")
    said = done.text.splitlines()
    assert said[:5] == [
        f"{place}/show 3 {user.name} two words abc <a line>",
        str(user.uid),
        str(user.gid),
        "/",
        "0022",
    ]
    assert said[5] == "['LC_CTYPE', 'PWD', 'SHLVL', '_'] [0, 1, 2]"
    assert "CapPrm:CapEff:" in said[6]
    assert "NoNewPrivs:1" in said[6]
    assert said[-1] == "=7"
    assert done.errors == "oops\n"
    ran = syslog.wait(lambda r: "event=host-command " in r and user.name in r, "it is recorded")
    over = syslog.wait(lambda r: "event=host-command-end " in r and user.name in r, "so is its end")
    opened = syslog.wait(lambda r: "event=open " in r and user.name in r, "the session is, too")
    session = opened.partition(' session="')[2].partition('"')[0]
    for record in (ran, over):
        assert f' session="{session}"' in record
        assert ' command="show abc"' in record
        assert f' path="{place}/show"' in record
        assert f' run_as="{user.name}"' in record
        assert f' uid="{user.uid}"' in record
    assert ' exit="7"' in over


REFUSED = {
    "show": "it takes 1 argument, and was given 0",
    "show abc def": "it takes 1 argument, and was given 2",
    "show ABC": "its argument 1 is not accepted: 'ABC'",
    "show -abc": "its argument 1 is not accepted",
    "show $'abc\\ndef'": "its words are not all printable text",
    "show $'\\xff'": "its words are not all printable text",
    "show $(printf %01500d 0 | tr 0 a)": "characters that are recorded",
    f"(exec -a other {STAND_IN} abc)": "the policy has no such command",
    f"(exec -a /bin/../show {STAND_IN} ABC)": "its argument 1 is not accepted",
    f"(exec -a '' {STAND_IN} abc)": "the policy has no such command",
}


def test_what_the_policy_does_not_say_is_refused_and_recorded(
    make: Callable[..., User], syslog: Syslog
) -> None:
    user = make("{show: {path: @/show, accept: ['[a-z-]+']}}")
    with live(user) as session:
        for text, why in REFUSED.items():
            said = ask(session, f"(exec 2>&1; {text}; echo =$?)")
            *lines, status = said.splitlines()
            assert (len(lines), status) == (1, "=126"), (text, said)
            assert lines[0].startswith("ssh2container: cannot run ")
            assert why in lines[0]
    refused = [one for one in syslog.of(user.name) if "event=host-command-refused " in one]
    assert len(refused) == len(REFUSED)
    assert not [one for one in syslog.of(user.name) if "event=host-command " in one]


def test_one_user_has_nothing_of_another(make: Callable[..., User], make_user: MakeUser) -> None:
    """Not where the policy has no commands, and not by saying whose command it is."""
    mine, other = make("{show: @/show, who: @/who}"), make_user("image: host\n")
    assert asking(mine, "who") == (frames.frame(frames.OUTPUT, f"{mine.name}\n".encode()).decode(), 0)
    for words in (("who",), (f"{mine.name}/who",), ("who", mine.name), (mine.name, "who")):
        said, status = asking(other, *words)
        assert "the policy has no such command" in said
        assert status == 126
    done = inside(other, f"ls -d {PLACE} {STAND_IN} /usr/local/bin/who; type who")
    assert done.text == "who is /usr/bin/who\n"
    assert "show: command not found" in inside(other, "show").errors
    # Whose sessions are not contained has none, either, and root has no policy.
    run(["usermod", "--shell", "/bin/sh", mine.name]).ok()
    assert "are not contained" in asking(mine, "who")[0]
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(SOCKET)
        end.sendall(frames.frame(frames.REQUEST, b"who\0"))
        assert b"root has no sessions" in end.recv(1000)


def test_the_policy_of_the_moment_counts(make: Callable[..., User], users: Users, place: str) -> None:
    user = make("{who: @/who}")
    with live(user) as session:
        assert ask(session, "who") == f"{user.name}\n"
        users.write_policy(
            user, f"image: host\nhost_commands: {{who: {{path: {place}/who, user: nobody}}}}\n"
        )
        assert ask(session, "who") == "nobody\n"
        for more, why in (
            ("access: {login: false}\n", "this account is suspended"),
            ("access: {until: 2001-01-01}\n", "this account is closed"),
            ("host_commands: !override {}\n", "the policy has no such command"),
            ("imag: host\n", "imag"),
        ):
            text = f"image: host\nhost_commands: {{who: {place}/who}}\n"
            text = more if more.startswith(("host", "imag:")) else text + more
            users.write_policy(user, text)
            said = ask(session, "who 2>&1; echo =$?")
            assert why in said
            assert "=126" in said


def test_a_program_that_others_can_change_does_not_run(make: Callable[..., User], place: str) -> None:
    user = make("{who: @/who, gone: @/gone}")
    with live(user) as session:
        for path, mode in ((f"{place}/who", 0o775), (place, 0o757)):
            before = os.stat(path).st_mode & 0o777
            os.chmod(path, mode)
            said = ask(session, "who 2>&1; echo =$?")
            checked = run([CONTROL, "check"])
            os.chmod(path, before)
            assert f"{path} is writable by others than root" in said
            assert "=126" in said
            assert checked.status == 1
            assert f"{user.policy_file}:2:" in checked.text
            assert f"{path} is writable by others than root" in checked.text
        assert "No such file or directory" in ask(session, "gone 2>&1")
        os.chmod(f"{place}/who", 0o700)
        said = ask(session, "who 2>&1; echo =$?")
        os.chmod(f"{place}/who", 0o755)
        assert "cannot be executed: Permission denied" in said
        assert "=126" in said
        assert ask(session, "who") == f"{user.name}\n"


def sleeping(seconds: str) -> list[str]:
    """The processes that do nothing for so long, whoever started them."""
    return run(["pgrep", "-xf", f"sleep {seconds}"]).text.split()


def test_nothing_stays(make: Callable[..., User], syslog: Syslog) -> None:
    """Of a command that is over, of one whose time is, and of one whose session is gone."""
    user = make("{leaves: @/leaves, waits: {path: @/waits, timeout: 1}, stays: @/waits}")
    with live(user) as session:
        assert ask(session, "leaves") == "left\n"
        assert sleeping("12345.6") == []
        pid, why, status = ask(session, "waits 2>&1; echo =$?").splitlines()
        assert not os.path.exists(f"/proc/{pid}")
        assert why == "ssh2container: waits: it took longer than 1 s"
        assert status == "=125"
        assert "143" in ask(session, "stays & until [ -e /proc/$! ]; do :; done; kill $!; wait $!; echo $?")
        until(lambda: not sleeping("23456.7"), "its program is gone")
        session.send("stays </dev/null")
        until(lambda: len(sleeping("23456.7")) == 1, "it runs")
        session.process.send_signal(signal.SIGKILL)
        until(lambda: not sleeping("23456.7"), "its program is gone")
    until(lambda: not processes(user.uid), "nothing of the session is left")
    tidy_after_a_killed_monitor(user)
    ended = [one for one in syslog.of(user.name) if "event=host-command-end " in one]
    assert sum(' reason="it took longer than 1 s"' in one for one in ended) == 1
    syslog.wait(lambda r: user.name in r and ' reason="its session has ended"' in r, "that is recorded")


def test_bytes_come_and_go_unchanged(make: Callable[..., User]) -> None:
    """More than fits in between, in both directions; and a reader that goes away ends it."""
    user = make("{copy: @/copy}")
    content = secrets.token_bytes(3_000_001)
    assert inside(user, "copy", content).ok().out == content
    assert inside(user, "yes | copy | head -n 1").ok().text == "y\n"
    assert inside(user, "copy <&-").ok().out == b""
    # A peer that speaks another language is told, and costs nobody else anything.
    connect = f"import socket; end = socket.socket(socket.AF_UNIX); end.connect({SOCKET!r})"
    program = f"{connect}; end.sendall(b'GET /'); print(end.recv(999))"
    assert "what it says is no request" in python_inside(user, program).ok().text


def test_one_user_has_so_many_at_once(make: Callable[..., User]) -> None:
    user, other = make("{stays: @/waits}"), make("{who: @/who}")
    with live(user) as session:
        ask(session, f"for i in $(seq {service.MOST_OF_ONE}); do stays >/tmp/$i & done")
        until(lambda: len(sleeping("23456.7")) == service.MOST_OF_ONE, "they run")
        said = ask(session, "stays 2>&1; echo =$?")
        assert said == "ssh2container: too many commands run at once; try again later\n=125\n"
        assert asking(other, "who")[1] == 0
    until(lambda: not sleeping("23456.7"), "they have ended with their session")


def test_who_attends_to_a_command_takes_it_along(make: Callable[..., User], syslog: Syslog) -> None:
    """Killed, it can say nothing: the name inside ends, and the service has the record."""
    user = make("{stays: @/waits}")
    with live(user) as session:
        session.send("stays </dev/null >/dev/null 2>/tmp/said; echo =$? >>/tmp/said")
        (pid,) = until(lambda: sleeping("23456.7"), "it runs")
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            attendant = int(file.read().rpartition(")")[2].split()[1])
        os.kill(attendant, signal.SIGKILL)
        until(lambda: not sleeping("23456.7"), "its program is gone")
        assert ask(session, "cat /tmp/said") == (
            "stays: cannot run it on the host: it has ended the connection\n=125\n"
        )
    syslog.wait(
        lambda r: "event=host-command-end " in r and f'uid="{user.uid}" reason="signal 9 ended it"' in r,
        "it is recorded",
    )


def test_nothing_runs_that_a_required_record_lacks(
    make: Callable[..., User], site: Callable[[str], None]
) -> None:
    user = make("{who: @/who}")
    with live(user) as session:
        site("audit: required")
        with in_place_of(DEV_LOG):
            said = ask(session, "who 2>&1; echo =$?")
    assert "cannot write the audit record" in said
    assert said.endswith("=125\n")
    assert user.name not in said


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    name = f"s2c-test-{os.getpid()}/{secrets.token_hex(3)}"
    with tempfile.TemporaryDirectory() as directory:
        tree = busybox_tree(f"{directory}/tree")
        os.makedirs(f"{tree}/usr", exist_ok=True)
        # A hostile image: our names do not follow its link.
        os.symlink("/tmp", f"{tree}/usr/local")
        run([CONTROL, "image", "import", name, tree]).ok()
    yield name
    run([CONTROL, "image", "rm", "--force", name]).ok()


def test_in_an_image_without_libraries(make: Callable[..., User], image: str) -> None:
    user = make("{who-am-i: @/who}", f"image: {image}\n")
    done = inside(user, "export PATH=/usr/local/bin:$PATH; who-am-i; ls /tmp; touch /usr/local/bin/x")
    assert done.text == f"{user.name}\n"
    assert done.status != 0


def test_a_host_that_takes_none(make: Callable[..., User]) -> None:
    user = make("{who: @/who}")
    with live(user) as session:
        os.rename(SOCKET, SOCKET + ".aside")
        said = ask(session, "who 2>&1; echo =$?")
        os.rename(SOCKET + ".aside", SOCKET)
        assert (
            said
            == "who: cannot run it on the host: nobody there takes commands; ask the administrator\n=125\n"
        )
        # The same session finds one that was made anew.
        assert ask(session, "who") == f"{user.name}\n"
    os.rename(PLACE, PLACE + ".aside")
    done = inside(user, "true")
    os.rename(PLACE + ".aside", PLACE)
    assert done.status == 126
    assert "systemctl enable --now ssh2container-commands.socket" in done.errors
    assert len(done.errors.splitlines()) == 1


def test_a_range_of_ids_is_refused(make: Callable[..., User], image: str) -> None:
    user = make("{who: @/who}", f"image: {image}\nuser: root\n")
    assert "from which the host cannot tell whose session it is" in inside(user, "true").errors
    assert "from which the host cannot tell whose session it is" in run([CONTROL, "check"]).text


def test_the_doctor_explain_and_check_say_what_there_is(
    make: Callable[..., User], make_user: MakeUser
) -> None:
    rooted = make_user(None, groups=("root",))
    user = make(f"{{who: {{path: @/who, user: daemon}}, root: {{path: @/who, user: {rooted.name}}}}}")
    assert f"{rooted.name} is root, or in root's group" in run([CONTROL, "check"]).text
    assert f"{rooted.name} is root, or in root's group" in inside(user, "root").errors
    told = json.loads(run([CONTROL, "doctor", "--json", user.name]).text)
    found = {one["check"]: one["level"] for one in told["findings"] if one["check"].startswith("commands.")}
    assert found == {"commands.program": "warning"}
    explained = " ".join(run([CONTROL, "explain", user.name]).ok().text.split())
    assert "What it can have the host run" in explained
    assert "as daemon, for 60 s at most" in explained
