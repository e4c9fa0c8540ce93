"""``hooks``: the administrator's programs beside real sessions, in order, in time, with nothing left."""

from __future__ import annotations

import os
import pty
import signal
import socket
from collections.abc import Callable, Iterator

import pytest
from session import test_audit
from support.hooks import OUTSIDE, STAGES, Hooks
from support.host import children, processes, run, until
from support.leaks import tidy_after_a_killed_monitor
from support.ledger import Ledger
from support.login import finish, inside, live, start
from support.syslog import PATH as DEV_LOG
from support.syslog import Syslog
from support.users import MakeUser, User, Users

CONTROL = "/usr/bin/ssh2containerctl"
Make = Callable[[], Hooks]
site = test_audit.site


@pytest.fixture
def hooks(ledger: Ledger, make_user: MakeUser) -> Iterator[Hooks]:
    made = Hooks(ledger, make_user())
    yield made
    made.remove()


@pytest.fixture
def write(users: Users, hooks: Hooks) -> Callable[..., User]:
    """Put the policy with all hooks so far into force."""

    def act(more: str = "") -> User:
        users.write_policy(hooks.user, hooks.policy(more))
        return hooks.user

    return act


def test_they_run_in_order_and_nothing_of_the_client_reaches_them(
    hooks: Hooks, write: Callable[..., User]
) -> None:
    state = 'echo "$0 $1 $S2C_USER $S2C_UID $S2C_STATUS" >>$NOTES; '
    hooks.script("createRuntime", state + "kill -0 $S2C_PID && echo alive >>$NOTES", "args: [x, first]")
    hooks.script(
        "createRuntime", "env | sort >>$NOTES; pwd >>$NOTES; umask >>$NOTES; read x || echo nothing >>$NOTES"
    )
    hooks.inside(
        'echo "$S2C_USER $S2C_PID $S2C_STATUS." >/tmp/first; env | sort >>/tmp/first; pwd >>/tmp/first'
    )
    hooks.inside("echo second >>/tmp/first")
    hooks.script("poststop", state + "kill -0 $S2C_PID || echo gone >>$NOTES", "args: [x, last]")
    user = write()
    hostile = {
        "LD_PRELOAD": "/nowhere.so",
        "BASH_ENV": "/etc/passwd",
        "ENV": "/etc/passwd",
        "PATH": "/nowhere",
        "IFS": "/",
        "S2C_USER": "root",
        "NOTES": "/etc/passwd",
        "PYTHONPATH": "/tmp",
    }
    done = inside(user, "cat /tmp/first; exit 7", environment=hostile)
    assert done.status == 7
    words, *variables = done.text.splitlines()
    assert words == f"{user.name} 1 ."
    names = {line.partition("=")[0] for line in variables[:-2]}
    # What a shell sets by itself comes on top.
    ours = {"S2C_USER", "S2C_UID", "S2C_SESSION", "S2C_PID", "S2C_STATUS"}
    assert ours <= names <= ours | {"PWD", "OLDPWD", "SHLVL", "_"}
    assert variables[-2:] == ["/", "second"]
    first, alive, *middle, last, gone = hooks.said().splitlines()
    assert first.endswith(f" first {user.name} {user.uid} ")
    assert last.endswith(f" last {user.name} {user.uid} 7")
    assert (alive, gone) == ("alive", "gone")
    assert middle[-3:] == ["/", "0022", "nothing"]
    names = {line.partition("=")[0] for line in middle[:-3]}
    assert ours | {"NOTES"} <= names <= ours | {"NOTES", "PWD", "OLDPWD", "SHLVL", "_"}


def test_those_inside_are_locked_down_as_the_payload_is(hooks: Hooks, write: Callable[..., User]) -> None:
    status = "grep -E '^(Cap|NoNewPrivs|Seccomp|Uid|Gid|Groups)' /proc/self/status"
    hooks.inside(
        f"{{ {status}; ls /proc/self/fd | wc -l; touch /usr/x 2>/dev/null || echo closed; }} >/tmp/status"
    )
    done = inside(write(), f"{status}; ls /proc/self/fd | wc -l; echo closed; echo ---; cat /tmp/status").ok()
    payload, _, hook = done.text.partition("---\n")
    assert hook == payload
    assert "CapEff:\t0000000000000000" in hook
    assert "Seccomp:\t2" in hook


FAILURES = {
    "a status": ("exit 3", "", "its exit status was 3"),
    "a signal": ("kill -USR1 $$", "", "it was ended by signal 10"),
    "its time": ("trap '' TERM HUP INT; while :; do sleep 60; done", "timeout: 1", "it took longer than 1 s"),
    "stopped": ("kill -STOP $$", "timeout: 1", "it took longer than 1 s"),
}


@pytest.mark.parametrize("stage", ["createRuntime", "startContainer"])
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_failure_before_the_payload_refuses_the_login(
    hooks: Hooks, write: Callable[..., User], syslog: Syslog, stage: str, failure: tuple[str, str, str]
) -> None:
    text, more, words = failure
    text = "echo the reason is this >&2; " + text
    hooks.script("poststop", 'echo "stopped $S2C_STATUS" >>$NOTES')
    if stage == "startContainer":
        hooks.inside(text, more)
        path = "/bin/sh"
        hooks.inside("echo never >/tmp/x")
    else:
        path = hooks.script(stage, text, more)
        hooks.script(stage, "echo never >>$NOTES")
    user = write()
    mark = syslog.mark()
    done = inside(user, "echo payload")
    assert (done.status, done.out) == (126, b"")
    assert done.errors == (
        f"ssh2container: the hook {path} failed: {words}; an administrator finds more in the system log, "
        "or lets logins go on all the same (ignore_failure)\n"
    )
    assert hooks.said() == "stopped 126\n"
    record = syslog.wait(lambda line: f'stage="{stage}"' in line and user.name in line, "a record", mark)
    assert "event=hook" in record
    assert 'text="the reason is this"' in record
    assert f'reason="{words}"' in record


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_failure_that_is_to_be_ignored_is_logged(
    hooks: Hooks, write: Callable[..., User], syslog: Syslog, stage: str, failure: tuple[str, str, str]
) -> None:
    """Of those after the session none changes its status, marked or not."""
    text, more, words = failure
    more = ", ".join(part for part in (more, "ignore_failure: yes" if stage != "poststop" else "") if part)
    more = more.replace("yes", "true")
    if stage == "startContainer":
        hooks.inside(text, more)
        hooks.inside("echo next >/tmp/next")
    else:
        hooks.script(stage, text, more)
        hooks.script(stage, "echo next >>$NOTES")
    user = write()
    mark = syslog.mark()
    done = inside(user, "cat /tmp/next; exit 5")
    assert done.status == 5
    assert "next" in (done.text if stage == "startContainer" else hooks.said())
    record = syslog.wait(lambda line: f'reason="{words}"' in line and user.name in line, "a record", mark)
    assert f'stage="{stage}"' in record


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_hook_says_may_be_any_bytes(
    hooks: Hooks, write: Callable[..., User], syslog: Syslog, stage: str
) -> None:
    """Also half a letter, where only the beginning is kept; nothing of it forges a field or a line."""
    text = r"printf 'a\nevent=\"x\" \033[31m\000\377\302' >&2"
    if stage == "startContainer":
        hooks.inside(text)
    else:
        hooks.script(stage, text)
        hooks.script(stage, "echo next >>$NOTES")
    user = write()
    mark = syslog.mark()
    assert inside(user, "exit 5").status == 5
    assert stage == "startContainer" or hooks.said() == "next\n"
    record = syslog.wait(lambda line: f'stage="{stage}"' in line and user.name in line, "a record", mark)
    assert r'text="a\\nevent=\\\"x\\\" \\x1b[31m\\x00\\udcff\\udcc2"' in record


SLEEPER, FOUND = "sleep 4321", "[s]leep 4321"
STAYING = {
    "a child": f"{SLEEPER} &",
    "one that ignores signals": f"trap '' TERM HUP INT; {SLEEPER} & {SLEEPER} & sleep 0",
    "a session of its own": f"setsid sh -c '{SLEEPER} & {SLEEPER}' >/dev/null 2>&1 &",
    "forked twice": f"(setsid sh -c '(setsid {SLEEPER} &) &' &) >/dev/null 2>&1",
    "with its files closed": f"exec 0<&- 1>&- 2>&-; {SLEEPER} & exit 0",
    "a flood of words": "yes 0123456789012345678901234567890123456789 | head -c 3000000 >&2",
}
LEAVES = f"""#!/usr/bin/python3 -IS
import os, time
def chain(left):
    while left:
        if os.fork():
            os._exit(0)
        os.setsid()
        left -= 1
    os.execv("/bin/sh", ["sh", "-c", "exec {SLEEPER}"])
if not os.fork():
    chain(200)
"""


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_of_a_hook_stays(hooks: Hooks, write: Callable[..., User], stage: str) -> None:
    """Whatever it forks is gone before the next thing happens; a hook is no way to start a service."""
    for text in STAYING.values():
        if stage == "startContainer":
            hooks.inside(text)
        else:
            hooks.script(stage, text)
    if stage in OUTSIDE:
        hooks.add(stage, hooks.program("chain", LEAVES))
        hooks.script(stage, f"pgrep -u $S2C_UID -f '{FOUND}' >>$NOTES; echo end >>$NOTES", "timeout: 60")
    user = write()
    done = inside(user, f"pgrep -f '{FOUND}'; echo $(ls -d /proc/[0-9]* | wc -l)").ok()
    assert done.errors == ""
    if stage in OUTSIDE:
        assert hooks.said() == "end\n"
    else:
        # pid 1, the shell, and what it started to count.
        assert int(done.text) <= 5
    assert not processes(user.uid)


@pytest.mark.parametrize("stage", OUTSIDE)
def test_what_stays_of_a_hook_whose_time_is_over_is_ended_too(
    hooks: Hooks, write: Callable[..., User], stage: str
) -> None:
    hooks.script(stage, f"(setsid {SLEEPER} &); trap '' TERM; {SLEEPER}", "timeout: 1, ignore_failure: true")
    hooks.script(stage, f"pgrep -u $S2C_UID -f '{FOUND}' >>$NOTES; echo end >>$NOTES", "timeout: 60")
    inside(write(), "true").ok()
    assert hooks.said() == "end\n"


def test_a_hook_that_kills_its_parent_refuses_the_login(hooks: Hooks, write: Callable[..., User]) -> None:
    """Nothing of it stays, even so: what it leaves comes to the monitor."""
    hooks.script("createRuntime", f"(setsid {SLEEPER} &) ; kill -KILL $PPID; exec {SLEEPER}", "timeout: 60")
    user = write()
    done = inside(user, "echo payload")
    assert (done.status, done.out) == (125, b"")
    assert done.errors == (
        "ssh2container: cannot run the policy's hooks: the process that runs them was killed\n"
    )
    assert not processes(user.uid)


def test_a_hook_that_kills_what_runs_the_last_ones_changes_nothing_else(
    hooks: Hooks, write: Callable[..., User], syslog: Syslog
) -> None:
    hooks.script("poststop", f"(setsid {SLEEPER} &) ; kill -KILL $PPID; exec {SLEEPER}", "timeout: 60")
    user = write()
    mark = syslog.mark()
    assert inside(user, "exit 6").status == 6
    syslog.wait(lambda line: "did not all run" in line and user.name in line, "a note", mark)
    assert not processes(user.uid)


def _await_hook(hooks: Hooks, word: str) -> None:
    until(lambda: word in hooks.said(), f"a hook says {word}")


@pytest.mark.parametrize("step", ["before", "meanwhile", "after"])
def test_a_killed_monitor_skips_no_hook_after(hooks: Hooks, write: Callable[..., User], step: str) -> None:
    """By SIGKILL while a hook before runs, while the payload does, and while a hook after does."""
    waits = "echo waiting >>$NOTES; exec sleep 600"
    if step == "before":
        hooks.script("createRuntime", waits, "timeout: 3600")
    hooks.script("poststop", 'echo "first $S2C_STATUS." >>$NOTES')
    if step == "after":
        hooks.script("poststop", "echo waiting >>$NOTES; sleep 1")
    # Process 1 has ended, but perhaps nobody has collected it yet.
    hooks.script("poststop", "while kill -0 $S2C_PID 2>/dev/null; do sleep 0.1; done; echo last >>$NOTES")
    user = write()
    process = start(user, "-c", "echo here; exec sleep 600" if step == "meanwhile" else "true")
    if step == "meanwhile":
        assert process.stdout
        assert process.stdout.readline() == b"here\n"
    else:
        _await_hook(hooks, "waiting")
    process.kill()
    finish(process)
    _await_hook(hooks, "last")
    assert hooks.said().count("first") == 1
    assert ("first ." in hooks.said()) is (step != "after")
    until(lambda: not processes(user.uid), "nothing is left")
    tidy_after_a_killed_monitor(user)


def test_a_monitor_that_is_killed_as_a_hook_fails_skips_none_after(
    hooks: Hooks, write: Callable[..., User]
) -> None:
    """Who runs the hooks meets both at once, as it is stopped meanwhile."""
    hooks.script(
        "createRuntime",
        "monitor=$(cut -d' ' -f4 /proc/$PPID/stat); "
        '(while [ "$(cut -d" " -f3 /proc/$$/stat)" != Z ]; do sleep 0.1; done; kill -CONT $PPID) & '
        "kill -STOP $PPID; kill -KILL $monitor; exit 1",
        "timeout: 60",
    )
    hooks.script("poststop", 'echo "last $S2C_STATUS." >>$NOTES')
    user = write()
    finish(start(user, "-c", "true"))
    _await_hook(hooks, "last .")
    until(lambda: not processes(user.uid), "nothing is left")
    tidy_after_a_killed_monitor(user)


def test_a_hook_that_hands_its_errors_to_others_holds_nobody_up(
    hooks: Hooks, write: Callable[..., User], ledger: Ledger
) -> None:
    """They may keep the pipe open for as long as they like."""
    directory = f"/srv/s2c-handed-{hooks.user.name}"
    ledger.note_path(directory)
    os.mkdir(directory)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(directory + "/at")
        os.chmod(directory + "/at", 0o666)
        listener.listen()
        hand = (
            'import socket; s = socket.socket(socket.AF_UNIX); s.connect("/handed/at"); '
            'socket.send_fds(s, [b"x"], [2])'
        )
        hooks.add("startContainer", "/usr/bin/python3", f"args: [python3, -c, '{hand}']")
        user = write(f"volumes: ['{directory}:/handed']\n")
        process = start(user, "-c", "true")
        taken, _ = listener.accept()
        with taken:
            _, (kept,), *_ = socket.recv_fds(taken, 1, 1)
        assert finish(process).status == 0
        os.close(kept)
    run(["rm", "-r", directory]).ok()


@pytest.mark.parametrize("step", ["before", "after"])
def test_a_required_log_that_dies_skips_no_hook_after(
    hooks: Hooks, write: Callable[..., User], site: Callable[[str], None], step: str
) -> None:
    if step == "before":
        hooks.script(
            "createRuntime",
            "echo waiting >>$NOTES; while ! [ -e $NOTES.go ]; do sleep 0.1; done",
            "timeout: 600",
        )
    hooks.script("poststop", "echo first >>$NOTES")
    hooks.script("poststop", "echo last >>$NOTES")
    user = write()
    site("audit: required")
    process = start(user, "-c", "echo ready; read line")
    assert process.stdout
    if step == "before":
        _await_hook(hooks, "waiting")
    else:
        assert process.stdout.readline() == b"ready\n"
    with test_audit.in_place_of(DEV_LOG):
        with open(f"{hooks.notes}.go", "x", encoding="ascii"):
            pass
        done = finish(process, b"go\n")
        assert (done.status, done.out) == (125, b"")
    assert hooks.said().endswith("first\nlast\n")


def test_the_hooks_after_run_though_the_client_is_gone(hooks: Hooks, write: Callable[..., User]) -> None:
    hooks.script("poststop", 'echo "after $S2C_STATUS" >>$NOTES')
    user = write()
    master, slave = pty.openpty()
    os.fchown(slave, user.uid, user.gid)
    process = start(user, stdin=slave, stdout=slave, stderr=slave, environment={"TERM": "xterm"})
    os.close(slave)
    os.write(master, b"echo rea''dy\n")
    seen = b""
    while b"ready" not in seen.replace(b"rea''dy", b""):
        seen += os.read(master, 4096)
    os.close(master)
    process.wait()
    _await_hook(hooks, "after")
    assert hooks.said() == f"after {128 + signal.SIGHUP}\n"


def test_a_login_that_is_to_end_does_not_wait_for_its_hooks(hooks: Hooks, write: Callable[..., User]) -> None:
    hooks.script("createRuntime", "echo waiting >>$NOTES; exec sleep 600", "timeout: 3600")
    hooks.script("poststop", "echo after >>$NOTES")
    user = write()
    process = start(user, "-c", "true")
    _await_hook(hooks, "waiting")
    process.terminate()
    done = finish(process)
    assert done.status == 125
    assert done.errors == (
        "ssh2container: cannot go on with the session: it was to end before its hooks had run\n"
    )
    assert hooks.said() == "waiting\nafter\n"
    assert not processes(user.uid)


def test_a_session_counts_as_long_as_its_hooks_run(hooks: Hooks, write: Callable[..., User]) -> None:
    """That of a killed monitor, too."""
    hooks.script(
        "poststop", "echo waiting >>$NOTES; while [ ! -e $NOTES.go ]; do sleep 0.05; done", "timeout: 3600"
    )
    user = write("sessions: {max: 1}")
    for kills in (False, True):
        process = start(user, "-c", "true")
        _await_hook(hooks, "waiting")
        if kills:
            process.kill()
            process.wait()
        refused = inside(user, "true")
        assert refused.status == 126
        assert "too many sessions" in refused.errors
        open(hooks.notes + ".go", "w", encoding="utf-8").close()
        finish(process)
        until(lambda: not processes(user.uid), "the hook has ended")
        os.unlink(hooks.notes + ".go")
        hooks.forget()
    tidy_after_a_killed_monitor(user)


def test_logins_that_share_a_container_have_its_hooks_once(hooks: Hooks, write: Callable[..., User]) -> None:
    hooks.script("createRuntime", 'echo "made $S2C_SESSION" >>$NOTES')
    hooks.inside("echo started >>/tmp/started")
    hooks.script("poststop", 'echo "over $S2C_SESSION$S2C_STATUS" >>$NOTES')
    user = write("container_per: user\n")
    with live(user) as first:
        assert first.ask("cat /tmp/started") == "started\n"
        assert inside(user, "cat /tmp/started; exit 3").text == "started\n"
        made = hooks.said()
        assert made.startswith("made ")
        assert made.count("\n") == 1
        entered = run([CONTROL, "exec", made.split()[1], "--", "cat", "/tmp/started"]).ok()
        assert entered.text == "started\n"
        assert hooks.said() == made
    until(lambda: not processes(user.uid), "the container is gone")
    assert hooks.said() == made + made.replace("made", "over")


@pytest.mark.parametrize("stage", ["createRuntime", "startContainer"])
def test_a_shared_container_whose_hook_fails_refuses_its_login(
    hooks: Hooks, write: Callable[..., User], stage: str
) -> None:
    if stage == "startContainer":
        hooks.inside("exit 9")
    else:
        hooks.script(stage, "exit 9")
    hooks.script("poststop", "echo after >>$NOTES")
    user = write("container_per: user\n")
    done = inside(user, "true")
    assert done.status == 126
    assert "failed: its exit status was 9;" in done.errors
    until(lambda: not processes(user.uid), "the owner has ended")
    assert hooks.said() == "after\n"


def test_a_killed_owner_skips_no_hook_after(hooks: Hooks, write: Callable[..., User]) -> None:
    hooks.script("poststop", "echo after >>$NOTES")
    user = write("container_per: user\nlinger: 1h\n")
    inside(user, "true").ok()
    (owner,) = (one for one in processes(user.uid) if one.name != "ssh2c-hooks" and children(one.pid))
    os.kill(owner.pid, signal.SIGKILL)
    _await_hook(hooks, "after")
    until(lambda: not processes(user.uid), "nothing is left")
    tidy_after_a_killed_monitor(user)


def _refused(user: User, words: str) -> None:
    """A login, ``explain`` and ``check`` say the same."""
    done = inside(user, "echo payload")
    assert (done.status, done.out) == (126, b""), done
    assert words in done.errors
    assert done.errors.count("\n") == 1
    explained = run([CONTROL, "explain", user.name])
    assert explained.status == 126
    assert words in " ".join(explained.errors.split())
    checked = run([CONTROL, "check"])
    assert checked.status == 1
    assert words in " ".join((checked.text + checked.errors).split())


@pytest.mark.parametrize("stage", OUTSIDE)
def test_only_root_may_be_able_to_change_one(hooks: Hooks, write: Callable[..., User], stage: str) -> None:
    """The file, every directory on the way, and every link; whoever may be, before anything runs."""
    ran = f"{hooks.user.home}/ran"
    path = hooks.script(stage, f": >{ran}")
    user = write()
    try:
        os.chown(path, user.uid, -1)
        _refused(user, f"cannot run the hook {path}: {path} belongs to uid {user.uid}")
        os.chown(path, 0, -1)
        os.chmod(path, 0o775)
        _refused(user, f"{path} is writable by others than root (mode 0775)")
        os.chmod(path, 0o755)
        os.chmod(hooks.directory, 0o1777)
        _refused(user, f"{hooks.directory} is writable by others than root (mode 1777)")
        os.chmod(hooks.directory, 0o755)
        os.rename(path, path + ".real")
        os.symlink(f"{user.home}/x", path)
        os.symlink(path + ".real", f"{user.home}/x")
        os.lchown(f"{user.home}/x", user.uid, user.gid)
        _refused(user, f"{user.home} belongs to uid {user.uid}")
        os.unlink(path)
        os.symlink(path + ".real", path)
        assert not os.path.exists(ran)
        inside(user, "true").ok()
        assert os.path.exists(ran)
    finally:
        os.chown(hooks.directory, 0, 0)


def test_one_that_cannot_be_executed_refuses_what_it_would(
    hooks: Hooks, write: Callable[..., User], users: Users, syslog: Syslog
) -> None:
    path = hooks.script("createRuntime", ": not here")
    user = write()
    os.chmod(path, 0o700)
    _refused(user, f"cannot run the hook {path}: the user may not execute it")
    os.unlink(path)
    _refused(user, f"cannot run the hook {path}: No such file or directory")
    os.mkdir(path)
    _refused(user, f"cannot run the hook {path}: Is a directory")
    os.rmdir(path)
    # Whose failure refuses nothing is looked at all the same, for whose it is, and logged.
    for stage, more in (("createRuntime", ", ignore_failure: true"), ("poststop", "")):
        users.write_policy(user, f"image: host\nhooks: {{{stage}: [{{path: {path}{more}}}]}}\n")
        mark = syslog.mark()
        inside(user, "true").ok()
        wanted = f'path="{path}" reason="it cannot be executed: No such file or directory"'
        syslog.wait(lambda line, wanted=wanted: wanted in line, "a record", mark)  # type: ignore[misc]
        os.mkdir(path)
        os.chown(path, user.uid, -1)
        _refused(user, f"{path} belongs to uid {user.uid}")
        os.rmdir(path)


BROKEN = {
    "no first line": ("exit 0\n", "Exec format error"),
    "one that names nothing": ("#! \n", "Exec format error"),
    "an interpreter that is not there": ("#!/usr/bin/pyhton3\n", "No such file or directory"),
    "a carriage return": ("#!/bin/sh\r\nexit 0\r\n", "No such file or directory"),
}


@pytest.mark.parametrize(("text", "why"), BROKEN.values(), ids=BROKEN)
def test_one_that_the_kernel_does_not_execute_is_known_before_a_login(
    hooks: Hooks, write: Callable[..., User], text: str, why: str
) -> None:
    path = hooks.script("createRuntime", ": replaced")
    with open(path, "w", encoding="ascii", newline="") as file:
        file.write(text)
    _refused(write(), f"the hook {path} failed: it cannot be executed: {why}")


def test_one_inside_is_the_images_and_there(
    hooks: Hooks, write: Callable[..., User], host_directory: Callable[[User], str]
) -> None:
    volume = host_directory(hooks.user)
    hooks.add("startContainer", "/opt/writable/hook")
    user = write(f"volumes: ['{volume}:/opt/writable:rw']")
    _refused(user, "the user's sessions can write to /opt/writable")
    user = write(f"volumes: ['{volume}:/opt/writable:ro']")
    _refused(user, "the hook /opt/writable/hook failed: it cannot be executed: No such file or directory")


def test_explain_prints_what_runs_and_runs_nothing(hooks: Hooks, write: Callable[..., User]) -> None:
    first = hooks.script("createRuntime", "echo ran >>$NOTES", "args: [first, --quick], timeout: 7")
    hooks.inside("echo ran")
    last = hooks.script("poststop", "echo ran >>$NOTES")
    user = write()
    printed = " ".join(run([CONTROL, "explain", user.name]).ok().text.split())
    where = f"on the host as {user.name}"
    assert (
        f"run {first} as: first --quick, {where}, for 7 s at most; refuse the login where it fails" in printed
    )
    assert (
        "run /bin/sh as: sh -c echo ran, inside, for 5 s at most; refuse the login where it fails" in printed
    )
    assert f"run {last}, {where}, for 5 s at most; log a failure" in printed
    assert (
        printed.index("--quick")
        < printed.index("sh -c")
        < printed.index("The payload,")
        < printed.index(last)
    )
    run([CONTROL, "check"]).ok()
    assert hooks.said() == ""
