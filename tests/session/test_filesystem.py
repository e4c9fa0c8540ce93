"""The root of a session: an overlay in memory on the image, fresh /proc and /dev, a curated /etc."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from support.host import mount_table, run
from support.login import inside, live, python_inside
from support.outer import outer
from support.users import MakeUser, User

HostDirectory = Callable[[User], str]
MEGABYTE = 1024 * 1024


def mounts_inside(user: User) -> list[list[str]]:
    """The fields of each line of the session's /proc/self/mountinfo."""
    return [line.split() for line in inside(user, "cat /proc/self/mountinfo").ok().text.splitlines()]


def test_the_root_is_an_overlay_of_the_sessions_own(user: User) -> None:
    root = [fields for fields in mounts_inside(user) if fields[4] == "/"]
    assert len(root) == 1
    assert root[0][root[0].index("-") + 1] == "overlay"
    inode = inside(user, "stat -c %d:%i /").ok().text.strip()
    assert inode != f"{os.stat('/').st_dev}:{os.stat('/').st_ino}"


def test_no_mount_names_the_old_root_or_the_policies(user: User) -> None:
    """Not even as the source or an option of one: lowerdir, upperdir and bind roots are readable."""
    for fields in mounts_inside(user):
        line = " ".join(fields)
        assert "/etc/ssh2container" not in line
        assert "ssh2container/users" not in line
        assert "/old" not in fields[4]


def test_every_mount_is_nosuid_and_writable_ones_are_nodev(user: User) -> None:
    for fields in mounts_inside(user):
        options = fields[5].split(",")
        assert "nosuid" in options, fields
        # Device nodes live in /dev; a mask is a bind of /dev/null.
        if not fields[4].startswith("/dev") and fields[3] != "/null":
            assert "nodev" in options, fields


def test_parent_of_the_root_is_the_root(user: User) -> None:
    assert inside(user, "cd /../../..; pwd -P; ls -di / /..").ok().text.split()[0] == "/"


def test_the_working_directory_is_the_home_and_reachable(user: User) -> None:
    assert inside(user, "pwd -P; readlink /proc/self/cwd").ok().text.split() == [user.home, user.home]


def test_the_image_is_unchanged_after_removing_everything(user: User) -> None:
    """rm -rf /* inside: the host keeps every file, the next session is whole again."""

    def snapshot() -> list[tuple[str, int, int]]:
        found = []
        for top in ("/usr/bin", "/usr/lib/openssh", "/etc", user.home):
            for name in sorted(os.listdir(top)):
                status = os.lstat(f"{top}/{name}")
                found.append((f"{top}/{name}", status.st_ino, status.st_mtime_ns))
        return found

    before = snapshot()
    inside(user, "cd /; exec 2>/dev/null; rm -rf --no-preserve-root /* /.[!.]*; echo gone >/tmp/x")
    assert snapshot() == before
    assert inside(user, "ls /tmp; rsync --version | head -n 1; ls -d ~").ok().text.startswith("rsync")


def test_writes_are_gone_at_the_next_login(user: User) -> None:
    inside(user, "for d in ~ /tmp /var/tmp /dev/shm; do echo x >$d/mark || echo failed; done").ok()
    assert inside(user, "ls ~/mark /tmp/mark /var/tmp/mark /dev/shm/mark 2>/dev/null").text == ""


def test_the_hosts_home_is_not_seen(user: User) -> None:
    with open(f"{user.home}/private", "w", encoding="utf-8") as file:
        file.write("secret")
    assert inside(user, "cat ~/private 2>/dev/null; ls -A /home").text.split() == [
        os.path.basename(user.home)
    ]
    os.unlink(f"{user.home}/private")


def test_homes_of_others_are_not_seen(user: User, other_user: User) -> None:
    assert inside(user, f"ls -d {other_user.home}").status == 2


def test_the_new_home_has_the_skeletons_files(user: User) -> None:
    wanted = sorted(os.listdir("/etc/skel"))
    assert sorted(inside(user, "ls -A ~").ok().text.split()) == wanted


def test_the_new_home_has_them_at_a_terminal_too(user: User) -> None:
    with outer(user, "-c", "ls -A ~; echo end") as session:
        shown = session.expect(b"end\r\n").split()
    assert sorted(name.decode() for name in shown) == sorted([*os.listdir("/etc/skel"), "end"])


def test_a_home_with_a_source_is_kept(make_user: MakeUser, host_directory: HostDirectory) -> None:
    guest = make_user("image: host\nhome: {source: /srv/s2c-%u}\n")
    place = host_directory(guest)
    inside(guest, "echo kept >~/file; mkdir -p ~/.config; ln -s file ~/link").ok()
    assert inside(guest, "cat ~/link; ls -A /home").ok().text == f"kept\n{os.path.basename(guest.home)}\n"
    with open(f"{place}/file", encoding="utf-8") as file:
        assert file.read() == "kept\n"
    assert os.stat(f"{place}/file").st_uid == guest.uid
    assert not os.path.exists(f"{guest.home}/file")


def test_a_read_only_home(make_user: MakeUser, host_directory: HostDirectory) -> None:
    guest = make_user("image: host\nhome: {source: /srv/s2c-%u, read_only: true}\n")
    host_directory(guest)
    done = inside(guest, "echo x >~/file")
    assert done.status == 1
    assert "Read-only file system" in done.errors


def test_volumes(make_user: MakeUser, host_directory: HostDirectory) -> None:
    """Read-only by default, read-write when asked, a single file too; nothing beside them is seen."""
    guest = make_user(
        """
        image: host
        volumes:
          - /srv/s2c-%u/course:/course
          - {type: bind, source: /srv/s2c-%u/submit, target: /deep/er/submit, read_only: false}
          - /srv/s2c-%u/motd:/motd:ro
        """
    )
    place = host_directory(guest)
    for name in ("course", "submit", "secret"):
        os.makedirs(f"{place}/{name}")
        os.chown(f"{place}/{name}", guest.uid, guest.gid)
    for name in ("course/task", "motd"):
        with open(f"{place}/{name}", "w", encoding="utf-8") as file:
            file.write(name + "\n")
    done = inside(
        guest,
        "cat /course/task /motd; echo done >/deep/er/submit/answer && cat /deep/er/submit/answer;"
        " echo x >/course/y; echo x >/motd; ls /srv",
    )
    assert done.text.splitlines() == ["course/task", "motd", "done"]
    assert done.errors.count("Read-only file system") + done.errors.count("Permission denied") == 2
    assert os.listdir(f"{place}/submit") == ["answer"]
    assert os.listdir(f"{place}/course") == ["task"]


def test_a_read_only_volume_covers_the_mounts_below_it(
    make_user: MakeUser, host_directory: HostDirectory
) -> None:
    """The classic mistake: a recursive bind whose submounts stay writable."""
    guest = make_user("image: host\nvolumes: ['/srv/s2c-%u:/v:ro']\n")
    place = host_directory(guest)
    os.makedirs(f"{place}/sub")
    run(["mount", "-t", "tmpfs", "-o", "mode=1777", "s2c-test", f"{place}/sub"]).ok()
    try:
        done = inside(guest, "echo x >/v/sub/file")
        assert done.status == 1
        assert "Read-only file system" in done.errors
        assert os.listdir(f"{place}/sub") == []
    finally:
        run(["umount", f"{place}/sub"]).ok()


def test_a_mount_made_on_the_host_later_does_not_appear(
    make_user: MakeUser, host_directory: HostDirectory
) -> None:
    guest = make_user("image: host\nvolumes: ['/srv/s2c-%u:/v:ro']\n")
    place = host_directory(guest)
    os.makedirs(f"{place}/sub")
    with live(guest) as session:
        run(["mount", "-t", "tmpfs", "s2c-test", f"{place}/sub"]).ok()
        try:
            with open(f"{place}/sub/late", "w", encoding="utf-8"):
                pass
            assert session.ask("ls /v/sub") == ""
        finally:
            run(["umount", f"{place}/sub"]).ok()


def test_dev_has_the_documented_entries_and_no_other(user: User) -> None:
    listed = inside(user, "ls /dev").ok().text.split()
    assert sorted(listed) == sorted(
        [
            "fd",
            "full",
            "null",
            "ptmx",
            "pts",
            "random",
            "shm",
            "stderr",
            "stdin",
            "stdout",
            "tty",
            "urandom",
            "zero",
        ]
        + (["console"] if "console" in listed else [])
        + (["mqueue"] if "mqueue" in listed else [])
    )


def test_the_devices_work(user: User) -> None:
    """The mode of /dev matters: with a sticky world-writable one `echo >/dev/null` is refused."""
    done = inside(
        user,
        "echo x >/dev/null && head -c 3 /dev/zero | od -An -tx1; head -c 9 /dev/urandom | wc -c;"
        " head -c 9 /dev/random | wc -c; echo x >/dev/full; echo out >/dev/stdout; echo err >/dev/stderr;"
        " cat /dev/stdin; readlink /dev/stderr /dev/fd",
        stdin=b"in\n",
    )
    assert [line.strip() for line in done.text.splitlines()] == [
        "00 00 00",
        "9",
        "9",
        "out",
        "in",
        "/proc/self/fd/2",
        "/proc/self/fd",
    ]
    assert "No space left" in done.errors
    assert "err" in done.errors.splitlines()


def test_dev_cannot_be_changed(user: User) -> None:
    done = inside(
        user, "touch /dev/x; rm -f /dev/null; mknod /dev/sda b 8 0; mknod /tmp/mem c 1 1; ls /dev /tmp"
    )
    assert "sda" not in done.text.split()
    assert "mem" not in done.text.split()
    assert "x" not in done.text.split()
    assert "null" in done.text.split()


def test_proc_is_fresh_and_masked(user: User) -> None:
    program = """
import os
for name in ("kcore", "keys", "timer_list", "sched_debug", "latency_stats", "interrupts"):
    path = "/proc/" + name
    try:
        data = open(path, "rb").read(100)
    except OSError as error:
        data = b""
    if data: print("readable", name)
    if os.path.islink(path): print("link", name)
for name in ("acpi", "asound", "scsi"):
    try:
        if os.listdir("/proc/" + name): print("listed", name)
    except OSError:
        pass
for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname",
             "/proc/sys/kernel/modprobe", "/proc/sys/user/max_user_namespaces",
             "/proc/irq/default_smp_affinity"):
    try:
        os.close(os.open(path, os.O_WRONLY))
        print("writable", path)
    except OSError:
        pass
"""
    assert python_inside(user, program).ok().text == ""


def test_nothing_below_proc_sys_is_writable(user: User) -> None:
    program = """
import os
tried = 0
for directory, _, names in os.walk("/proc/sys"):
    for name in names:
        tried += 1
        try:
            os.close(os.open(directory + "/" + name, os.O_WRONLY))
            print(directory, name)
        except OSError:
            pass
print(tried > 100)
"""
    assert python_inside(user, program).ok().text == "True\n"


def test_there_is_no_sysfs_and_no_cgroupfs(user: User) -> None:
    types = {fields[fields.index("-") + 1] for fields in mounts_inside(user)}
    assert not types & {"sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "bpf"}


def test_etc_is_curated(user: User) -> None:
    """No secret and nothing of this host's own: no shadow, no host keys, no policies, no machine-id."""
    listed = set(inside(user, "find /etc -mindepth 1 -maxdepth 1 -printf '%f\\n'").ok().text.split())
    for secret in (
        "shadow",
        "gshadow",
        "shadow-",
        "passwd-",
        "ssh",
        "ssh2container",
        "sudoers",
        "sudoers.d",
        "subuid",
        "subgid",
        "machine-id",
        "fstab",
        "crontab",
        "cron.d",
        "security",
        "apt",
        "systemd",
        "default",
        "init.d",
        "skel",
    ):
        assert secret not in listed
    assert {"passwd", "group", "hosts", "nsswitch.conf", "hostname"} <= listed
    assert inside(user, "find / -xdev -name 'ssh_host_*' 2>/dev/null; cat /etc/shadow").out == b""
    # Ours says why nothing that asks libpam works inside, and lets nobody in.
    assert inside(user, "ls -A /etc/pam.d/").ok().text == "other\n"
    rules = inside(user, "cat /etc/pam.d/other").ok().text.splitlines()
    assert {rule.split()[2] for rule in rules} == {"pam_echo.so", "pam_deny.so"}
    assert {rule.split()[0] for rule in rules} == {"account", "auth", "password", "session"}


def test_passwd_and_group_name_the_user_and_nobody_else_of_the_host(user: User, other_user: User) -> None:
    done = inside(user, "getent passwd $(id -u); getent group $(id -g); cat /etc/passwd /etc/group")
    text = done.ok().text
    assert text.startswith(f"{user.name}:x:{user.uid}:{user.gid}:")
    assert other_user.name not in text
    program = "import pwd, os; print(pwd.getpwuid(os.getuid()).pw_name, pwd.getpwuid(0).pw_name)"
    assert python_inside(user, program).ok().text == f"{user.name} root\n"


def test_usr_is_read_only(user: User) -> None:
    done = inside(user, "touch /usr/bin/x; rm -f /usr/bin/env; echo >/usr/lib/os-release; ls /usr/bin/env")
    assert done.text == "/usr/bin/env\n"
    assert done.errors.count("Read-only file system") + done.errors.count("Permission denied") >= 2


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("printf 'a b\\nc d\\n' | awk '{print $2}'", "b\nd\n"),
        ("python3 -c 'import ssl, sqlite3, json; print(6*7)'", "42\n"),
        (
            (
                "cd && git init -q r && cd r && echo x >f && git add f"
                " && git -c user.name=n -c user.email=e commit -qm m"
                " && git log --format=%s"
            ),
            "m\n",
        ),
        ("echo text | less", "text\n"),
        (
            "printf 'one\\ntwo\\n' >/tmp/f && vim -es -u NONE -c '%s/one/three/' -c wq /tmp/f; cat /tmp/f",
            "three\ntwo\n",
        ),
        ("script -qec 'echo inside' /dev/null </dev/null | tr -d '\\r'", "inside\n"),
        ("date -u -d @0 +%Y; TZ=XYZ-1 date -d @0 +%H", "1970\n01\n"),
        ("tar -C /usr/bin -c env | tar -t", "env\n"),
        ("bash -c 'cat <(echo process substitution)'", "process substitution\n"),
    ],
)
def test_usual_programs_work(user: User, command: str, expected: str) -> None:
    assert inside(user, command).ok().text.endswith(expected)


def test_the_size_of_everything_writable_is_limited(make_user: MakeUser) -> None:
    guest = make_user("image: host\nstorage_opt: {size: 16m, inodes: 2000}\n")
    done = inside(
        guest,
        "for d in ~ /tmp /var/tmp /dev/shm; do head -c 40000000 /dev/zero >$d/big; stat -c %s $d/big; done",
    )
    sizes = [int(word) for word in done.text.split()]
    assert len(sizes) == 4
    assert sum(sizes) <= 16 * MEGABYTE
    assert done.errors.count("No space left") == 4
    done = inside(
        guest, "mkdir /tmp/d; cd /tmp/d; for i in $(seq 5000); do : >$i || break; done; ls -U | wc -l"
    )
    assert 0 < int(done.text) < 2000
    assert "No space left" in done.errors


def test_a_full_session_can_still_be_used_and_left(make_user: MakeUser) -> None:
    guest = make_user("image: host\nstorage_opt: {size: 8m, inodes: 2000}\n")
    with live(guest) as session:
        session.ask("cat /dev/zero >/tmp/big 2>/dev/null")
        assert session.ask("echo x >~/y || echo full").strip() == "full"
        session.ask("rm /tmp/big")
        assert session.ask("echo fits >~/y; cat ~/y").strip() == "fits"


def test_the_hosts_mount_table_does_not_change(user: User) -> None:
    before = mount_table()
    with live(user):
        assert mount_table() == before
