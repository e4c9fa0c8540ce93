"""The filter of real sessions: what policies say about it, and what is learnt from commands."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

import pytest
from support.host import Done, run, until
from support.login import inside, python_inside
from support.users import MakeUser, User

PROFILES = "/etc/ssh2container/seccomp"
UNSHARE = 272 if os.uname().machine == "x86_64" else 97


@pytest.fixture
def profile_path(user: User) -> Iterator[str]:
    """A place for a profile of the site that no other test uses."""
    os.makedirs(PROFILES, mode=0o755, exist_ok=True)
    path = f"{PROFILES}/{user.name}.json"
    yield path
    if os.path.lexists(path):
        os.unlink(path)


def policy(seccomp: str) -> str:
    return f"image: host\nseccomp: {{{seccomp}}}\n"


def test_a_refused_call_is_an_error_to_the_program(user: User) -> None:
    done = inside(user, "unshare --user true; echo $?")
    assert done.text == "1\n"
    assert "Operation not permitted" in done.errors


def test_kill_ends_the_program_that_violates(make_user: MakeUser) -> None:
    user = make_user(policy("on_violation: kill"))
    assert inside(user, "unshare --user true 2>/dev/null; echo $?").text == "159\n"  # 128 + SIGSYS
    assert inside(user, "exec unshare --user true").status == -31


def test_under_kill_ordinary_programs_run(make_user: MakeUser) -> None:
    user = make_user(policy("on_violation: kill"))
    program = "import threading, subprocess\nt = threading.Thread(target=print, args=[1]); t.start()"
    assert python_inside(user, program + "\nsubprocess.run(['echo', '2'])").ok().text.split() == ["2", "1"]


def kernel_log() -> list[str]:
    return [line for line in run(["dmesg"]).ok().text.splitlines() if "type=1326" in line]


def test_log_records_the_violation_and_nothing_else(make_user: MakeUser) -> None:
    """Starting programs makes clone3 fail with ENOSYS all the time: that is no violation."""
    user = make_user(policy("on_violation: log"))
    before = set(kernel_log())
    done = inside(user, "bash -c '(echo a) | cat'; unshare --user true; echo $?")
    assert done.text == "a\n1\n"

    def records() -> list[str]:
        return [line for line in kernel_log() if line not in before and f" uid={user.uid} " in line]

    (record,) = until(records, "the kernel's log has a record")
    assert f" syscall={UNSHARE} " in record
    assert 'comm="unshare"' in record
    assert "code=0x5" in record  # SECCOMP_RET_ERRNO: it was refused


def test_allow_and_deny_by_name_and_number(make_user: MakeUser) -> None:
    user = make_user(policy(f"allow: [{UNSHARE}], deny: [memfd_create]"))
    # Allowed, but for the second lock: no user namespace below the session's own.
    assert "No space left on device" in inside(user, "unshare --user true").errors
    assert "PermissionError" in python_inside(user, "import os; os.memfd_create('x')").errors


def test_a_profile_of_the_site(make_user: MakeUser, profile_path: str) -> None:
    """A deny-list in the OCI format, as a site may have it for other containers."""
    content = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["memfd_create"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}],
    }
    with open(profile_path, "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.chmod(profile_path, 0o644)
    name = os.path.basename(profile_path).removesuffix(".json")
    user = make_user(policy(f"profile: {name}"))
    done = python_inside(user, "import os; os.memfd_create('x')")
    assert "[Errno 13] Permission denied" in done.errors
    os.chmod(profile_path, 0o666)
    refused = inside(user, "true")
    assert refused.status == 125
    assert "users other than root can change it" in refused.errors


@pytest.mark.parametrize(
    ("seccomp", "text"),
    [
        ("profile: nosuchprofile", "nosuchprofile"),
        ("allow: [frobnicate]", "frobnicate"),
    ],
)
def test_what_cannot_be_obeyed_ends_the_login(make_user: MakeUser, seccomp: str, text: str) -> None:
    done = inside(make_user(policy(seccomp)), "echo in")
    assert (done.out, done.status) in ((b"", 125), (b"", 126))
    assert text in done.errors
    assert len(done.errors.splitlines()) == 1 or done.status == 126


def learn(user: User, path: str, *words: str, options: tuple[str, ...] = ()) -> Done:
    command = ["ssh2containerctl", "seccomp", "learn", "--json", "--output", path, *options, user.name, "--"]
    return run([*command, *words])


def test_learning_and_the_worth_of_every_call(make_user: MakeUser, user: User, profile_path: str) -> None:
    """CMD passes under what was learnt from it; without any single call it fails, or the call is spare."""
    command = "cat /etc/hostname >/dev/null; printf done"
    done = learn(user, profile_path, command).ok()
    assert done.text.startswith("done{")
    report = json.loads(done.text.removeprefix("done"))
    assert report["beyond_policy"] == []
    needed = set(report["used"]) - set(report["spare"])
    assert {"execve", "openat", "write"} <= needed
    assert report["spare"]
    name = os.path.basename(profile_path).removesuffix(".json")
    learner = make_user(policy(f"profile: {name}"))
    assert passes(learner, command)
    assert "Operation not permitted" in inside(learner, "sleep 0.1; exit 3").errors
    with open(profile_path, encoding="utf-8") as file:
        complete = json.load(file)
    assert {call for rule in complete["syscalls"] for call in rule["names"]} >= set(report["used"])
    for call in sorted(needed):
        without(profile_path, complete, call)
        assert not passes(learner, command), f"it passes without {call}"
    for call in report["spare"]:
        without(profile_path, complete, call)
        assert passes(learner, command), f"it does not pass without {call}"


def passes(user: User, command: str) -> bool:
    """Whether the command ends as it should; without some calls a shell waits for ever.

    Signal 64 is the monitor's word for the end of its client.
    """
    done = inside(user, command, before=["timeout", "--signal=64", "5"])
    return done == Done(0, b"done", b"")


def without(path: str, document: dict[str, list[dict[str, list[str]]]], call: str) -> None:
    rest = [
        {**rule, "names": [name for name in rule["names"] if name != call]} for rule in document["syscalls"]
    ]
    content = {**document, "syscalls": [rule for rule in rest if rule["names"]]}
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(content, file)
        os.fchmod(file.fileno(), 0o644)
    os.rename(path + ".new", path)


def test_learning_sees_what_the_own_filter_refuses(user: User, profile_path: str) -> None:
    """The command works in the first run although its call is refused otherwise; the report says so."""
    program = "import ctypes; raise SystemExit(ctypes.CDLL(None).ptrace(0, 0, 0, 0))"
    assert python_inside(user, program).status == 255
    done = learn(user, profile_path, f"exec python3 -c '{program}'", options=("--no-trials",)).ok()
    report = json.loads(done.text)
    assert report["beyond_policy"] == ["ptrace"]
    assert report["spare"] is None


def test_learning_keeps_conditions_on_arguments(user: User, profile_path: str) -> None:
    program = "import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM)"
    learn(user, profile_path, f"exec python3 -c '{program}'", options=("--no-trials",)).ok()

    def answer(*arguments: str) -> str:
        command = ["ssh2containerctl", "seccomp", "simulate", "--profile", profile_path, *arguments]
        return str(run(command).ok().text.rpartition(": ")[2].strip())

    assert answer("socket", "AF_INET", "SOCK_STREAM") == "allow"
    assert answer("socket", "AF_INET6", "SOCK_STREAM") == "EPROTONOSUPPORT"
    assert answer("socket", "AF_ALG", "SOCK_STREAM") == "EAFNOSUPPORT"
    assert answer("clone3") == "ENOSYS"
    assert answer("unshare", "CLONE_NEWUSER") == "EPERM"


def test_learning_follows_every_process_of_the_session(user: User, profile_path: str) -> None:
    command = "(setsid sh -c 'umask 7') & nice true; wait"
    report = json.loads(learn(user, profile_path, command, options=("--no-trials",)).ok().text)
    assert {"setsid", "umask", "wait4", "execve"} <= set(report["used"])
    assert {"setpriority", "getpriority"} & set(report["used"])


def test_learning_fails_closed(user: User, profile_path: str) -> None:
    failed = learn(user, profile_path, "exit 3")
    assert failed.status == 125
    assert "cannot learn from a command that fails: it ended with status 3" in failed.errors
    assert not os.path.exists(profile_path)
    with open(profile_path, "w", encoding="utf-8") as file:
        file.write("kept")
    exists = learn(user, profile_path, "true")
    assert exists.status == 125
    assert "--force" in exists.errors
    with open(profile_path, encoding="utf-8") as file:
        assert file.read() == "kept"
    unknown = learn(User("nobody-here", 1, 1, "/", "/bin/sh"), profile_path + "x", "true")
    assert unknown.status in (125, 126)


def test_learning_leaves_no_session_when_it_is_killed(user: User, profile_path: str) -> None:
    command = ["ssh2containerctl", "seccomp", "learn", "-o", profile_path, user.name, "--", "sleep 1000"]
    pid = os.posix_spawnp(command[0], command, dict(os.environ))

    def running() -> bool:
        return bool(re.search(rb"sleep\x001000", _commands(user)))

    until(running, "the session runs")
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    until(lambda: not _commands(user), "nothing of the session is left")


def _commands(user: User) -> bytes:
    found = b""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == user.uid or _owner(name) == user.uid:
                    with open(f"/proc/{name}/cmdline", "rb") as file:
                        found += file.read() + b"\n"
            except OSError:
                continue
    return found


def _owner(name: str) -> int:
    with open(f"/proc/{name}/status", encoding="utf-8") as file:
        return int(next(line.split()[1] for line in file if line.startswith("Uid:")))


def test_show_diff_and_simulate_answer_for_a_users_policy(make_user: MakeUser) -> None:
    user = make_user(policy("allow: [ptrace], deny: [listen]"))

    def ask(*words: str) -> Done:
        return run(["ssh2containerctl", "seccomp", words[0], "--user", user.name, *words[1:]])

    shown = json.loads(ask("show", "--json").ok().text)
    assert "ptrace" in shown["answers"]["allow"]
    assert "listen" in shown["answers"]["EPERM"]
    assert shown["foreign_architectures"] == "kill process"
    assert len(ask("show", "--bpf").ok().out) == 8 * shown["instructions"]
    differences = {each["name"]: each for each in json.loads(ask("diff", "--json").ok().text)["differences"]}
    assert differences["listen"]["ours"] == ["EPERM"]
    assert "ptrace" not in differences
    assert ask("simulate", "listen").ok().text == "listen(0x0): EPERM\n"
    assert ask("simulate", "ioctl", "0", "TIOCSTI").ok().text == "ioctl(0x0, 0x5412): EPERM\n"
    assert ask("simulate", "clone", "CLONE_NEWUSER|SIGCHLD").ok().text == "clone(0x10000011): EPERM\n"
    assert ask("simulate", "0x6").ok().text == ask("simulate", "6").ok().text
    assert ask("simulate", "0x40000001").ok().text.endswith(": kill process\n")
    assert ask("simulate", "0x100000001").status == 2
    wrong = ask("simulate", "frobnicate")
    assert wrong.status == 2
    assert "no system call is called 'frobnicate'" in wrong.errors
