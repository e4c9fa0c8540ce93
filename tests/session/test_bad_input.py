"""Whatever is wrong: one clear line on stderr, a record, status 125 or 126, nothing on stdout, no shell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest
from support.host import DEADLINE_SECONDS, Done, run, until
from support.ledger import Ledger
from support.login import finish, inside, login, start
from support.syslog import Syslog
from support.tracing import traced
from support.users import POLICIES, SHELL, MakeUser, User, Users

MARK = "echo ran-inside-or-out"


def assert_clear(done: Done, status: int, *words: str) -> None:
    """One line that names everything in ``words``, the status, and nothing on stdout."""
    lines = done.errors.splitlines()
    assert done.status == status, done.errors
    assert done.out == b""
    assert len(lines) == 1, done.errors
    assert "Traceback" not in done.errors
    assert lines[0].isprintable()
    for word in words:
        assert word in lines[0]


def assert_recorded(syslog: Syslog, user: User, *words: str) -> None:
    records = until(
        lambda: [record for record in syslog.of(user.name) if all(word in record for word in words)],
        f"a record of {user.name} with {words}: {syslog.of(user.name)}",
    )
    assert records


@pytest.mark.parametrize("closed", ["/etc/ssh2container", "/etc/ssh2container/users"])
def test_a_configuration_that_users_cannot_reach_is_refused(
    make_user: MakeUser, syslog: Syslog, closed: str
) -> None:
    """The work of an administrator with umask 077; the record is written all the same."""
    guest = make_user("image: host\n")
    assert inside(guest, "echo before").ok().text == "before\n"
    try:
        os.chmod(closed, 0o700)
        done = inside(guest, MARK)
    finally:
        os.chmod(closed, 0o755)
    assert_clear(done, 126, "cannot look at", "Permission denied", f"chmod a+rx {closed}")
    assert_recorded(syslog, guest, "event=refused", f"chmod a+rx {closed}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("-i",),
        ("-c",),
        ("-x", "ls"),
        ("ls",),
        ("-c", "ls", "more"),
        ("-l", "-c", "ls"),
        ("--login", "x"),
        ("-s",),
        ("--rcfile", "/etc/passwd"),
        ("",),
        ("-cl", "ls"),
        ("-c=ls",),
        ("--", "ls"),
        (b"\xff\x1b[31m",),
        ("--norc", "-c", "ls"),
        ("-lc",),
        ("-lc", "a", "b"),
        ("--version", "x"),
        ("--help", "--help"),
    ],
)
def test_any_other_argv_is_refused(user: User, arguments: tuple[str | bytes, ...]) -> None:
    assert_clear(login(user, *arguments, stdin=MARK.encode()), 126, "usage")


def test_root_is_refused() -> None:
    """README names the way in when all else is broken: su -s /bin/bash - NAME, as root."""
    for arguments in ((), ("-c", MARK), ("-l",)):
        done = run([SHELL, *arguments], MARK.encode())
        assert_clear(done, 126, "root", "su -s /bin/bash -")


def test_effective_root_is_refused(user: User) -> None:
    for ids in (["--ruid", str(user.uid)], ["--euid", str(user.uid)]):
        done = run(["setpriv", *ids, "--clear-groups", "--", SHELL, "-c", MARK])
        assert_clear(done, 126)


def test_no_policy_is_a_refusal(make_user: MakeUser, syslog: Syslog) -> None:
    guest = make_user(None)
    assert_clear(inside(guest, MARK), 126, guest.name, "policy")
    assert_recorded(syslog, guest, "126")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image: host\nimagee: host\n", (":2:1", "imagee")),
        ("image: host\naccess:\n  comands: any\n", (":3:3", "comands")),
        ("image: host\nstorage_opt: {size: lots}\n", (":2:21", "lots")),
        ("image: host\nimage: host\n", (":2:1", "image")),
        ("image: [host\n", (":",)),
        ("image: &a host\nhostname: *a\n", (":1:",)),
        ("- image\n", (":1:1",)),
        ("image: host\nhome: 5\n", (":2:7",)),
        ("image: host\nvolumes: [relative:/x]\n", (":2:", "relative")),
        ("image: host\naccess: {login: maybe}\n", (":2:17", "maybe")),
        ("\tx: 1\n", (":1:1",)),
        ("image: host\x00\n", (":1:",)),
    ],
)
def test_a_wrong_policy_is_refused_with_its_place(
    make_user: MakeUser, syslog: Syslog, text: str, words: tuple[str, ...]
) -> None:
    guest = make_user(text)
    done = inside(guest, MARK)
    assert done.status in (125, 126)
    assert done.out == b""
    assert "Traceback" not in done.errors
    assert any(guest.policy_file + words[0] in line for line in done.errors.splitlines()), done.errors
    for word in words[1:]:
        assert word in done.errors
    assert_recorded(syslog, guest, str(done.status))


def test_a_policy_others_can_write_is_refused(make_user: MakeUser) -> None:
    guest = make_user()
    os.chmod(guest.policy_file, 0o666)
    assert_clear(inside(guest, MARK), 126, guest.policy_file, "writ")
    os.chmod(guest.policy_file, 0o664)
    assert_clear(inside(guest, MARK), 126, guest.policy_file)


def test_a_policy_of_another_owner_is_refused(make_user: MakeUser) -> None:
    guest = make_user()
    os.chown(guest.policy_file, guest.uid, guest.gid)
    assert_clear(inside(guest, MARK), 126, guest.policy_file, "uid 0")


def test_a_policy_that_is_a_symlink_is_refused(make_user: MakeUser, other_user: User) -> None:
    guest = make_user()
    os.unlink(guest.policy_file)
    os.symlink(other_user.policy_file, guest.policy_file)
    assert_clear(inside(guest, MARK), 126, guest.policy_file)


def test_a_policy_that_is_no_file_is_refused(make_user: MakeUser) -> None:
    guest = make_user()
    os.unlink(guest.policy_file)
    os.mkfifo(guest.policy_file)
    assert_clear(inside(guest, MARK), 126, guest.policy_file)
    os.unlink(guest.policy_file)
    os.mkdir(guest.policy_file)
    assert_clear(inside(guest, MARK), 126, guest.policy_file)
    os.rmdir(guest.policy_file)


def test_a_policy_directory_others_can_write_is_refused(make_user: MakeUser) -> None:
    guest = make_user()
    mode = os.stat(POLICIES).st_mode & 0o7777
    os.chmod(POLICIES, mode | 0o002)
    try:
        done = inside(guest, MARK)
    finally:
        os.chmod(POLICIES, mode)
    assert_clear(done, 126, POLICIES)


def test_a_huge_policy_is_refused(make_user: MakeUser) -> None:
    guest = make_user("image: host\n#" + "x" * 5_000_000 + "\n")
    assert_clear(inside(guest, MARK), 126, guest.policy_file)


def test_a_policy_changed_after_compiling_counts_at_once(make_user: MakeUser, users: Users) -> None:
    guest = make_user("image: host\nhostname: first\n")
    run(["ssh2containerctl", "compile"])
    assert inside(guest, "uname -n").ok().text == "first\n"
    users.write_policy(guest, "image: host\nhostname: second\n")
    assert inside(guest, "uname -n").ok().text == "second\n"
    run(["ssh2containerctl", "compile"])
    assert inside(guest, "uname -n").ok().text == "second\n"
    os.unlink(guest.policy_file)
    assert inside(guest, MARK).status == 126


def test_a_missing_image_is_refused(make_user: MakeUser, syslog: Syslog) -> None:
    guest = make_user("image: no-such-image:1\n")
    assert_clear(inside(guest, MARK), 126, "no-such-image:1", "ssh2containerctl image")
    assert_recorded(syslog, guest, "no-such-image")


def test_a_missing_volume_is_refused(make_user: MakeUser) -> None:
    guest = make_user("image: host\nvolumes: ['/no/such/place:/x']\n")
    assert_clear(inside(guest, MARK), 126, "/no/such/place")


def test_a_volume_behind_a_planted_symlink_is_refused(make_user: MakeUser) -> None:
    """CVE-2024-42472: who can write to a parent of the source leads it anywhere."""
    guest = make_user("image: host\nvolumes: ['%h/link:/x']\n")
    os.symlink("/etc", f"{guest.home}/link")
    assert_clear(inside(guest, MARK), 126, f"{guest.home}/link")


def test_a_missing_home_is_refused(make_user: MakeUser) -> None:
    guest = make_user("image: host\nhome: {source: /srv/no-such-home-%u}\n")
    remedy = f"run: ssh2containerctl enable {guest.name}"
    assert_clear(inside(guest, MARK), 126, f"/srv/no-such-home-{guest.name}", remedy)


def test_an_unreadable_home_is_refused(make_user: MakeUser, syslog: Syslog) -> None:
    """The directory is there, but the user cannot reach it."""
    guest = make_user("image: host\nhome: {source: /srv/s2c-closed-%u/home}\n")
    closed = f"/srv/s2c-closed-{guest.name}"
    os.makedirs(f"{closed}/home")
    try:
        os.chmod(closed, 0o700)
        done = inside(guest, MARK)
        assert_clear(done, done.status, f"{closed}/home")
        assert done.status in (125, 126)
        assert_recorded(syslog, guest, closed)
        os.chmod(closed, 0o755)
        done = inside(guest, MARK)
        assert_clear(done, 126, f"{closed}/home")
    finally:
        run(["rm", "-rf", closed]).ok()


def test_a_home_that_nobody_can_enter_is_refused(
    make_user: MakeUser, host_directory: Callable[[User], str]
) -> None:
    """A session that silently starts in / would be taken for an empty home."""
    guest = make_user("image: host\nhome: {source: /srv/s2c-%u}\n")
    home = host_directory(guest)
    assert inside(guest, "pwd").ok().text == f"{guest.home}\n"
    os.chmod(home, 0o600)
    assert_clear(inside(guest, MARK), 126, home, "0600", f"chmod u+rx {home}")


def test_a_home_that_is_a_file_is_refused(make_user: MakeUser) -> None:
    guest = make_user("image: host\nhome: {source: /etc/passwd}\n")
    assert_clear(inside(guest, MARK), 126, "/etc/passwd")


@pytest.mark.parametrize("size", ["1", "4k"])
def test_a_session_too_small_to_start_fails_closed(make_user: MakeUser, size: str) -> None:
    """The set-up itself runs into the limit, or the policy is refused: never a session without one."""
    guest = make_user(f"image: host\nstorage_opt: {{size: {size}, inodes: 3}}\n")
    done = inside(guest, MARK)
    assert_clear(done, done.status)
    assert done.status in (125, 126)


def test_a_suspended_account(make_user: MakeUser, syslog: Syslog) -> None:
    guest = make_user("image: host\naccess: {login: false, message: 'ask at the desk'}\n")
    assert_clear(inside(guest, MARK), 126, "suspended", "ask at the desk")
    assert_recorded(syslog, guest, "suspended")


def test_a_member_of_a_rootlike_group_is_refused(make_user: MakeUser) -> None:
    guest = make_user(groups=("sudo",))
    assert_clear(inside(guest, MARK), 126, "sudo")


def in_user_namespace(user: User, before: str) -> Done:
    """The login inside a user namespace that has all ids, in which ``before`` was run as its root."""
    ids = f"--reuid {user.uid} --regid {user.gid} --clear-groups"
    # The programs started after the maps are written have root's rights in the namespace.
    script = f"read go; sh -c '{before}' && exec setpriv {ids} {SHELL} -c '{MARK}'"
    session = subprocess.Popen(
        ["unshare", "--user", "--mount", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=user.environment(),
        cwd=user.home,
    )
    namespace = f"/proc/{session.pid}/ns/user"
    until(lambda: os.readlink(namespace) != os.readlink("/proc/self/ns/user"), "the user namespace is made")
    for kind in ("uid", "gid"):
        with open(f"/proc/{session.pid}/{kind}_map", "w", encoding="ascii") as file:
            file.write("0 0 65536")
    out, err = session.communicate(b"go\n", timeout=DEADLINE_SECONDS)
    return Done(session.returncode, out, err)


def test_a_kernel_that_allows_no_user_namespaces(user: User, syslog: Syslog) -> None:
    """user.max_user_namespaces=0, as hardening guides set it: ENOSPC, and the line names the sysctl."""
    done = in_user_namespace(user, "echo 0 >/proc/sys/user/max_user_namespaces")
    assert_clear(done, 125, "namespace", "max_user_namespaces")
    assert_recorded(syslog, user, "125")


def test_the_same_kernel_with_user_namespaces_runs_it(user: User) -> None:
    """The control of the test above: nothing else is in the way."""
    assert in_user_namespace(user, "true").ok().text == "ran-inside-or-out\n"


@pytest.mark.parametrize("error", ["EPERM", "ENOSPC", "EINVAL", "EUSERS"])
def test_clone_refused_by_the_kernel(user: User, error: str) -> None:
    """Hardened Debian and Docker answer EPERM; others ENOSPC; old kernels EINVAL."""
    done, _ = traced(user, MARK, "clone", fault=f"error={error}")
    assert_clear(done, 125, "namespace")


def test_the_runtime_directory_of_another_is_not_used(user: User, other_user: User) -> None:
    """Whatever $XDG_RUNTIME_DIR, $HOME and $USER say: the kernel's word counts."""
    lies = {
        "USER": other_user.name,
        "HOME": other_user.home,
        "XDG_RUNTIME_DIR": other_user.home,
        "SHELL": "/bin/bash",
    }
    assert inside(user, "id -un; echo $HOME", environment=lies).ok().text.split() == [user.name, user.home]


def test_two_names_with_one_uid_are_refused(user: User, ledger: Ledger) -> None:
    name = "twin" + user.name
    ledger.note_user(name)
    run(["useradd", "--non-unique", "--uid", str(user.uid), "-M", "-s", SHELL, name]).ok()
    try:
        done = inside(user, MARK, environment={"LOGNAME": name, "USER": name})
        assert_clear(done, 126, name, str(user.uid))
        for shell in (SHELL, "/bin/bash"):
            run(["usermod", "-s", shell, name]).ok()
            assert_clear(inside(user, MARK), 126, name, str(user.uid))
        run(["usermod", "-s", "/usr/sbin/nologin", name]).ok()
        inside(user, MARK).ok()
    finally:
        run(["userdel", "--force", name])


def test_a_uid_without_a_name_is_refused() -> None:
    done = run(["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", SHELL, "-c", MARK])
    assert_clear(done, 126, "54321")


def test_a_login_without_a_log_daemon(user: User) -> None:
    """No /dev/log is normal early at boot: what happens then is decided, not an accident."""
    done = run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            (
                "mount --bind /dev/null /dev/log 2>/dev/null || mount -t tmpfs none /run/systemd/journal; "
                f"exec setpriv --reuid {user.uid} --regid {user.gid} --init-groups {SHELL} -c '{MARK}'"
            ),
        ],
        env=user.environment(),
        cwd=user.home,
    )
    assert done.status in (0, 125)
    assert "Traceback" not in done.errors
    assert done.out == (b"ran-inside-or-out\n" if done.status == 0 else b"")


def test_refusals_end_even_if_nobody_reads_them(user: User) -> None:
    """stderr closed or full: the refusal's status still arrives."""
    reader, writer = os.pipe()
    os.close(reader)
    session = start(user, "--wrong", stderr=writer, stdin=subprocess.DEVNULL)
    os.close(writer)
    assert finish(session).status in (126, -13)
