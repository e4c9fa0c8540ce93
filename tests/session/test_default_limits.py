"""What every policy has without a word about it: limits that hold for each user, without any cgroup."""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from support.host import processes, run, until
from support.login import Live, finish, inside, live, start
from support.users import MakeUser, User

CONNECTION = ("sh", "-c", '"$@"; exit $?', "sh")
"""A connection is the process whose child the login is."""


@contextmanager
def sessions_of(user: User, number: int, storage: int | None = None, name: str = "") -> Iterator[None]:
    """Entries of ``number`` sessions in the user's registry, held as long as the ``with`` block lasts.

    storage: what each says that it may write to memory, in bytes. name: what theirs begin with.
    """
    with ExitStack() as held:
        for place in range(number):
            path = f"{user.runtime_directory}/{name}ffff{place:06x}"
            file = held.enter_context(open(path, "w", encoding="ascii"))
            held.callback(os.unlink, path)
            os.chown(path, user.uid, user.gid)
            file.write("format 1\n" + (f"storage {storage}\n" if storage is not None else ""))
            file.flush()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_all_sessions_together_may_write_so_much_to_memory(make_user: MakeUser, other_user: User) -> None:
    """What counts is what each live one said; one that has said nothing yet has its whole share."""
    guest = make_user("image: host\nstorage_opt: {size: 16m, total: 64m}\ntmpfs: ['/x:size=4m']\n")
    with sessions_of(guest, 2, 20 << 20):
        inside(guest, "true").ok()
        with live(guest):
            done = inside(guest, "true")
            assert (done.status, done.out) == (126, b"")
            assert (
                "3 live sessions may use 60 of 64 MiB (storage_opt.total), and this one asks for 20 ("
                in done.errors
            )
            assert done.errors.count("ffff000000 has 20") == done.errors.count("ffff000001 has 20") == 1
            assert done.errors.endswith("log out of one of them first\n")
            inside(other_user, "true").ok()
    with sessions_of(guest, 3):
        assert inside(guest, "true").status == 126
    with sessions_of(guest, 3, 0):
        inside(guest, "true").ok()


def test_of_many_logins_at_once_no_two_get_the_same_memory(make_user: MakeUser) -> None:
    guest = make_user("image: host\nstorage_opt: {size: 16m, total: 60m}\n")
    sessions = [start(guest, "-c", "read line; exit 7") for _ in range(9)]
    until(lambda: sum(session.poll() == 126 for session in sessions) == 6, "all but three are refused")
    for session in sessions:
        session.communicate(b"\n")
    assert sorted(session.returncode for session in sessions) == [7] * 3 + [126] * 6


def test_a_shared_container_has_its_memory_once(make_user: MakeUser) -> None:
    guest = make_user("image: host\ncontainer_per: user\nstorage_opt: {size: 16m, total: 40m}\n")
    with live(guest), live(guest), live(guest):
        inside(guest, "true").ok()
    until(
        lambda: not [name for name in os.listdir(guest.runtime_directory) if "container" in name], "it ended"
    )
    with sessions_of(guest, 2, 16 << 20):
        assert "this one asks for 16" in inside(guest, "true").errors


def test_the_container_of_each_connection_counts(make_user: MakeUser) -> None:
    guest = make_user("image: host\ncontainer_per: connection\nstorage_opt: {size: 16m, total: 40m}\n")
    with live(guest, before=CONNECTION), live(guest, before=CONNECTION):
        done = inside(guest, "true", before=CONNECTION)
        assert done.status == 126
        assert "2 live sessions may use 32 of 40 MiB" in done.errors


def test_check_compares_it_with_the_machines_memory(make_user: MakeUser) -> None:
    guest = make_user("image: host\nstorage_opt: {total: 60000g}\n")
    done = run(["ssh2containerctl", "check"])
    (line,) = [line for line in (done.text + done.errors).splitlines() if f"{guest.name}.yaml" in line]
    assert "warning" in line
    assert "may write 61440000m to memory, and this machine has " in line
    of_group = "/etc/ssh2container/groups/s2c-spacious.yaml"
    with open(of_group, "w", encoding="utf-8") as file:
        file.write("image: host\nstorage_opt: {total: 61000g}\n")
    try:
        done = run(["ssh2containerctl", "check"])
    finally:
        os.unlink(of_group)
    assert (done.text + done.errors).count("may write 62464000m to memory") == 1


def test_connections_keep_no_more_containers_than_sessions(make_user: MakeUser) -> None:
    guest = make_user("image: host\ncontainer_per: connection\nsessions: {max: 3}\n")
    with sessions_of(guest, 3, name="container-00000000-"):
        done = inside(guest, "true")
        assert done.status == 126
        assert "too many containers: 3 of at most 3 (sessions.max)" in done.errors


STUBBORN = "trap '' HUP TERM; setsid sleep 1000 >/dev/null 2>&1 &"


def test_a_login_waits_for_the_container_that_is_about_to_end(make_user: MakeUser) -> None:
    """One after the other works with room for one, whatever the last has left behind."""
    one = "image: host\nsessions: {max: 1}\nstorage_opt: {size: 16m, total: 16m}\n"
    for per in ("user", "connection"):
        guest = make_user(f"{one}container_per: {per}\nstop_grace_period: 300ms\n")
        for _ in range(3):
            inside(guest, STUBBORN, before=CONNECTION).ok()
        with live(guest, before=CONNECTION):
            assert inside(guest, "true", before=CONNECTION).status == 126


def test_and_does_not_wait_for_long(make_user: MakeUser) -> None:
    guest = make_user(
        "image: host\ncontainer_per: user\nstop_grace_period: 60s\nstorage_opt: {size: 16m, total: 16m}\n"
    )
    inside(guest, STUBBORN).ok()
    done = inside(guest, "true")
    assert done.status == 126
    assert "1 live session may use 16 of 16 MiB" in done.errors
    for process in processes(guest.uid):
        if process.name == "sleep":
            os.kill(process.pid, signal.SIGKILL)


def test_memory_of_a_killed_monitor_is_there_again(make_user: MakeUser) -> None:
    guest = make_user("image: host\nstorage_opt: {size: 16m, total: 20m}\n")
    session = start(guest, "-c", "echo in; read line")
    assert session.stdout
    assert session.stdout.readline() == b"in\n"
    assert inside(guest, "true").status == 126
    session.kill()
    session.communicate()
    inside(guest, "true").ok()


def test_nobody_has_more_than_fifty_sessions(user: User, other_user: User) -> None:
    with sessions_of(user, 50):
        done = inside(user, "true")
        assert done.status == 126
        assert done.errors.endswith("too many sessions: 50 of at most 50 are open; log out of one first\n")
        inside(other_user, "true").ok()
    with sessions_of(user, 49):
        inside(user, "true").ok()


def test_a_policy_may_have_more(make_user: MakeUser) -> None:
    for words in ("none", "60"):
        guest = make_user(f"image: host\nsessions: {{max: {words}}}\n")
        with sessions_of(guest, 55):
            inside(guest, "true").ok()


BOMB = """
import os, signal
made = 0
try:
    while made < 5000:
        if os.fork() == 0:
            signal.pause()
        made += 1
except OSError as error:
    print(made, error.strerror, flush=True)
else:
    print(made, "processes and no end", flush=True)
"""
"""Forks until it may not, and leaves all it made where it is."""
MORE = """
import os, signal
print("ready", flush=True)
input()
try:
    for _ in range(3):
        os.fork() or signal.pause()
except BlockingIOError as error:
    print(error.strerror, flush=True)
input()
"""


def bomb(session: Live) -> int:
    """Have a session fork as often as it can; return how often that was."""
    session.ask(f"cat >/tmp/bomb.py <<'END'{BOMB}END\n")
    made, _, why = session.ask("exec 2>&1; python3 /tmp/bomb.py").partition(" ")
    assert why == "Resource temporarily unavailable\n"
    return int(made)


def limit_of(process: int) -> str:
    with open(f"/proc/{process}/limits", encoding="ascii") as file:
        return next(line.split()[2] for line in file if line.startswith("Max processes"))


def test_a_session_ends_its_fork_bomb_and_nobody_elses(user: User, other_user: User) -> None:
    with live(user) as session:
        assert 480 < bomb(session) < 512
        inside(other_user, "true").ok()
        inside(user, "true").ok()


def test_all_sessions_of_a_user_together_have_an_end(make_user: MakeUser, other_user: User) -> None:
    """Inside, each could have more; what counts is outside, where no session raises it."""
    guest = make_user("image: host\nuser_limits: {pids_limit: 60}\n", is_unshared=True)
    other = start(guest, "-c", f"exec python3 -c '{MORE}'")
    assert other.stdout
    assert other.stdout.readline() == b"ready\n"
    with live(guest) as session:
        session.send("ulimit -u unlimited; ulimit -Su hard")
        assert 30 < bomb(session) < 58
        assert other.stdin
        other.stdin.write(b"\n")
        other.stdin.flush()
        assert other.stdout.readline() == b"Resource temporarily unavailable\n"
        done = inside(guest, "true")
        assert (done.status, done.out) == (125, b"")
        assert "processes have reached their limit" in done.errors
        inside(other_user, "true").ok()
        finish(other, b"\n").ok()
    inside(guest, "true").ok()


def test_by_default_that_end_is_four_full_sessions(make_user: MakeUser) -> None:
    for words, most in (("", 2048), ("ulimits: {nproc: 50}\n", 1024), ("ulimits: {nproc: 1000}\n", 4000)):
        with live(make_user("image: host\n" + words)) as session:
            assert limit_of(session.monitor) == str(most)


TAKE = """
import ctypes, errno, mmap, os, resource, signal, sys

libc = ctypes.CDLL(None, use_errno=True)
for limit in resource.RLIMIT_MSGQUEUE, resource.RLIMIT_SIGPENDING:
    hard = resource.getrlimit(limit)[1]
    resource.setrlimit(limit, (hard, hard))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
pages = mmap.mmap(-1, 1 << 20)
start = ctypes.addressof(ctypes.c_char.from_buffer(pages))


def queue(number):
    made = libc.mq_open(f"/{os.getpid()}-{number}".encode(), os.O_CREAT | os.O_RDWR, 0o600, None)
    # Landlock lets nobody open what was made.
    return 0 if ctypes.get_errno() == errno.EACCES else made


def waiting(number):
    return libc.sigqueue(os.getpid(), signal.SIGRTMIN, None)


def timer(number):
    return libc.timer_create(0, None, ctypes.byref(ctypes.c_void_p()))


def locked(number):
    return libc.mlock(ctypes.c_void_p(start + number * mmap.PAGESIZE), ctypes.c_size_t(mmap.PAGESIZE))


taken = 0
while taken < 200 and globals()[sys.argv[1]](taken) >= 0:
    taken += 1
print(taken, errno.errorcode.get(ctypes.get_errno(), ""), flush=True)
sys.stdin.read()
"""
"""Takes what its argument says until it may not, after raising its own limits, and holds it."""


@pytest.mark.parametrize(
    ("what", "limit", "error"),
    [
        ("queue", "--msgqueue=400000:800000", "EMFILE"),
        ("waiting", "--sigpending=100:5000", "EAGAIN"),
        ("timer", "--sigpending=100:5000", "EAGAIN"),
    ],
)
def test_what_the_kernel_counts_by_user_has_one_end_for_all_sessions(
    what: str, limit: str, error: str, make_user: MakeUser
) -> None:
    """The limit is that of the login: a session may raise its own up to the hard one, and gains nothing."""
    user, other_user = make_user(is_unshared=True), make_user(is_unshared=True)
    command, before = f"exec python3 -c '{TAKE}' {what}", ["prlimit", limit]
    first = start(user, "-c", command, before=before)
    assert first.stdout
    taken, met = first.stdout.readline().decode().split()
    assert met == error
    assert 1 < int(taken) <= 100
    assert inside(user, command, before=before).ok().text == f"0 {error}\n"
    assert inside(other_user, command, before=before).ok().text == f"{taken} {error}\n"
    finish(first, b"").ok()
    assert inside(user, command, before=before).ok().text == f"{taken} {error}\n"


def test_each_process_may_lock_so_much_memory(user: User) -> None:
    done = inside(
        user, f"exec python3 -c '{TAKE}' locked", before=["prlimit", f"--memlock={8 * mmap.PAGESIZE}"]
    )
    assert done.ok().text == "8 ENOMEM\n"
