"""The range map: a whole system's users inside, root with a safe set of capabilities, nothing outside."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.host import Done, run
from support.ledger import Ledger, remove_path
from support.login import finish, login, start
from support.material import busybox_tree, oci_layout
from support.outer import outer
from support.tracing import strace
from support.unmounting import mounted
from support.users import MakeUser, User

from ssh2container.admin.images.ids import set_aside
from ssh2container.admin.images.store.store import Store
from ssh2container.plan.image import Image
from ssh2container.plan.insider import ROOT_CAPABILITIES
from ssh2container.plan.ranges import SHARED_TREES
from ssh2container.plan.walls import DEFAULT_LIMITS

CONTROL = "/usr/bin/ssh2containerctl"
FIRST_FREE = 1001  # the image has a user 1000


@dataclass
class Ranged:
    """An image with a shifted tree, and the policies that use it."""

    name: str

    def policy(self, more: str = "") -> str:
        return f"image: {self.name}\nuserns_mode: range\nshell: [/bin/sh]\n{more}"

    @property
    def image(self) -> Image:
        found = Image.find(self.name)
        os.close(found.lock)
        return found

    @property
    def tree(self) -> str:
        """Where the shifted tree lies, for root alone."""
        return f"{Store().shifted_trees}/{self.image.require_range()}"

    @property
    def seen(self) -> str:
        """Where everybody sees it."""
        return f"{SHARED_TREES}/{self.image.require_range()}"


@pytest.fixture(scope="module")
def ranged(module_directory: Callable[[str], Path]) -> Iterator[Ranged]:
    tree = busybox_tree(str(module_directory("tree")))
    secret = Path(tree, "etc/secret")
    secret.write_text("root's\n", encoding="ascii")
    secret.chmod(0o600)
    name = "range-" + secrets.token_hex(3)
    run([CONTROL, "image", "import", "--range", name, tree])
    yield Ranged(name)
    run([CONTROL, "image", "rm", "--force", name])


@pytest.fixture
def spoilt() -> Iterator[None]:
    """For tests that spoil the view: others find it whole, also where such a test fails."""
    yield
    run([CONTROL, "enable", "--runtime"]).ok()


@pytest.fixture
def enrolled(make_user: MakeUser) -> Iterator[Callable[[str], User]]:
    """Make users whom ``enable`` granted the range."""
    made: list[User] = []

    def make(policy: str) -> User:
        user = make_user(policy=policy)
        made.append(user)
        base = set_aside()
        assert base is not None, "install.sh sets a range aside"
        for path in ("/etc/subuid", "/etc/subgid"):
            with open(path, "a", encoding="ascii") as file:
                file.write(f"{user.name}:{base.base}:{base.count}\n")
        return user

    yield make
    for path in ("/etc/subuid", "/etc/subgid"):
        lines = Path(path).read_text(encoding="ascii").splitlines(keepends=True)
        kept = [line for line in lines if line.partition(":")[0] not in {user.name for user in made}]
        Path(path).write_text("".join(kept), encoding="ascii")


def inside(user: User, script: str) -> list[str]:
    done = login(user, "-c", script)
    assert done.status == 0, done.err
    return done.out.decode().splitlines()


def test_root_inside_is_nobody_outside(ranged: Ranged, enrolled: Callable[[str], User]) -> None:
    """uid 0 of the session is the first id of the range; the user's own stands where the image has none."""
    user = enrolled(ranged.policy("user: root\n"))
    image = ranged.image
    lines = inside(user, "id -u; cat /proc/self/uid_map")
    assert lines[0] == "0"
    assert [tuple(map(int, line.split())) for line in lines[1:]] == [
        (0, image.range_base, FIRST_FREE),
        (FIRST_FREE, user.uid, 1),
        (FIRST_FREE + 1, image.range_base + FIRST_FREE + 1, image.range_count - FIRST_FREE - 1),
    ]


def test_root_changes_the_whole_tree_and_the_image_stays(
    ranged: Ranged, enrolled: Callable[[str], User]
) -> None:
    """Root inside writes root's files, makes, gives away and removes directories; all in memory."""
    user = enrolled(ranged.policy("user: root\n"))
    script = (
        "echo more >>/etc/secret && cat /etc/secret && busybox mkdir /etc/new && "
        "busybox chown 1000:1000 /etc/new && stat -c %u:%g /etc/new && busybox rm -r /usr && "
        "busybox mkdir /usr && ls /usr && busybox rm /bin/stat && ls -ld /bin | busybox cut -c1-10"
    )
    assert inside(user, script) == ["root's", "more", "1000:1000", "drwxr-xr-x"]
    tree = ranged.tree
    assert Path(tree, "etc/secret").read_text(encoding="ascii") == "root's\n"
    assert os.path.exists(f"{tree}/bin/stat")
    assert os.path.isdir(f"{tree}/usr/bin")
    assert inside(user, "cat /etc/secret") == ["root's"]


def test_root_has_exactly_the_safe_set(ranged: Ranged, enrolled: Callable[[str], User]) -> None:
    """Permitted, effective and bounding are the documented set; inheritable and ambient are empty."""
    user = enrolled(ranged.policy("user: root\n"))
    sets = dict(line.split(":\t") for line in inside(user, "busybox grep Cap /proc/self/status"))
    safe = f"{sum(1 << number for number in ROOT_CAPABILITIES):016x}"
    none = "0" * 16
    assert sets == {"CapInh": none, "CapPrm": safe, "CapEff": safe, "CapBnd": safe, "CapAmb": none}


def test_other_users_have_no_capability(ranged: Ranged, enrolled: Callable[[str], User]) -> None:
    """Root may become another user, who then has nothing of root's and cannot come back."""
    user = enrolled(ranged.policy("user: root\n"))
    script = "id -u; busybox grep CapEff /proc/self/status; cat /etc/secret"
    done = login(user, "-c", f"busybox su -s /bin/sh service -c '{script}'; true")
    assert done.out.decode().splitlines() == ["1000", "CapEff:\t" + "0" * 16]
    assert b"Permission denied" in done.err


@pytest.mark.parametrize(("who", "uid"), [("self", FIRST_FREE), ("service", 1000)])
def test_self_and_users_of_the_image(
    ranged: Ranged, enrolled: Callable[[str], User], who: str, uid: int
) -> None:
    """The payload may be the login's own user, or one that the image has; neither holds a right."""
    user = enrolled(ranged.policy(f"user: {who}\n"))
    script = "id -u; echo x >~/f && cat ~/f; cat /etc/secret || echo refused"
    lines = inside(user, script + "; busybox grep CapBnd /proc/self/status")
    assert lines == [str(uid), "x", "refused", "CapBnd:\t" + "0" * 16]


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ("image: host\nuserns_mode: range\n", b"imported image"),
        ("{ranged}network_mode: host\n", b"network_mode: none"),
        ("{ranged}user: stranger\n", b"no such user"),
    ],
)
def test_what_does_not_go_with_a_range_is_refused(
    ranged: Ranged, enrolled: Callable[[str], User], policy: str, why: bytes
) -> None:
    """The refusal says what would do."""
    done = login(enrolled(policy.replace("{ranged}", ranged.policy())), "-c", "true")
    assert done.status == 126
    assert why in done.err
    assert done.err.count(b"\n") == 1


def test_a_writable_source_with_a_mapped_group_is_refused(
    ranged: Ranged, enrolled: Callable[[str], User], host_directory: Callable[[User], str]
) -> None:
    """Root inside could leave set-user-id files of other ids there."""
    user = enrolled(ranged.policy())
    source = host_directory(user)
    Path(user.policy_file).write_text(
        ranged.policy(f"user: root\nvolumes: ['{source}:/data:rw']\n"), encoding="ascii"
    )
    done = login(user, "-c", "true")
    assert done.status == 126
    assert b"its group" in done.err
    Path(user.policy_file).write_text(
        ranged.policy(f"user: root\nvolumes: ['{source}:/data:ro']\n"), encoding="ascii"
    )
    assert login(user, "-c", "echo x >/data/f").status != 0
    assert login(user, "-c", "ls /data").status == 0


def test_without_a_grant_the_session_ends_with_the_remedy(ranged: Ranged, make_user: MakeUser) -> None:
    """newuidmap refuses a user without a line in /etc/subuid; nothing else is tried."""
    done = login(make_user(policy=ranged.policy()), "-c", "true")
    assert done.status == 125
    assert b"ssh2containerctl enable" in done.err


def test_two_sessions_of_a_range_do_not_meet(ranged: Ranged, enrolled: Callable[[str], User]) -> None:
    """Sessions that share host ids still have process and network namespaces of their own."""
    user, other = (enrolled(ranged.policy("user: root\n")) for _ in range(2))
    names = "for n in pid net ipc; do busybox readlink /proc/self/ns/$n; done"
    session = start(user, "-c", names + "; cat")
    assert session.stdout is not None
    ours = [session.stdout.readline().decode().strip() for _ in range(3)]
    theirs = inside(other, names)
    assert finish(session, b"").status == 0
    assert not set(ours) & set(theirs)
    assert len(ours) == len(theirs) == 3
    assert inside(user, "cd /proc; echo [0-9]*").pop().split()[0] == "1"


def test_an_images_own_user_and_directory_are_the_defaults(
    enrolled: Callable[[str], User], tmp_path: Path
) -> None:
    """OCI's User and WorkingDir hold where the policy says nothing; transfers still begin in the home."""
    tree = busybox_tree(str(tmp_path / "tree"))
    config: dict[str, object] = {"User": "service:service", "WorkingDir": "/usr", "Env": ["FROM_IMAGE=yes"]}
    layer = subprocess.run(["tar", "-C", tree, "-c", "."], capture_output=True, check=True).stdout
    layout = oci_layout(str(tmp_path / "layout"), [layer], config)
    name = "oci-" + secrets.token_hex(3)
    run([CONTROL, "image", "import", "--range", name, f"oci:{layout}"])
    try:
        image = Ranged(name)
        user = enrolled(image.policy())
        assert inside(user, "id -un; pwd; echo $FROM_IMAGE") == ["service", "/usr", "yes"]
        root = enrolled(image.policy("user: root\n"))
        assert inside(root, "id -un; pwd") == ["root", "/usr"]
        single = enrolled(f"image: {name}\nshell: [/bin/sh]\n")
        assert inside(single, "id -un; pwd; echo $FROM_IMAGE") == [single.name, "/usr", "yes"]
    finally:
        run([CONTROL, "image", "rm", "--force", name])


_ATTACK = r"""
exec 2>&1
mount -o remount,bind,rw {shared} && echo DONE remounted
umount {shared} && umount -l {shared} && echo DONE unmounted
chmod 4755 {seen}/bin/busybox && echo DONE chmod
chmod 4755 /proc/self/fd/{handed} && echo DONE chmod by the descriptor
chown 0:1000 /proc/self/fd/{handed} && echo DONE chown by the descriptor
touch -d yesterday {seen}/bin/busybox && echo DONE touch
setfattr -n user.x -v y {seen}/bin/busybox && echo DONE setfattr
echo x >>{seen}/etc/secret && echo DONE written
echo x >{seen}/etc/new && echo DONE made
mv {seen}/bin/busybox {seen}/bin/other && echo DONE renamed
ls {store}/shifted && echo DONE listed
chmod 4755 {tree}/bin/busybox && echo DONE chmod of the hidden one
mount --bind {store}/shifted /mnt && ls /mnt/trees && echo DONE entered
id -u
"""


def test_who_is_root_of_the_range_cannot_change_what_others_execute(
    ranged: Ranged, enrolled: Callable[[str], User]
) -> None:
    """Outside our shell, with every capability over the range, and a descriptor that somebody else opened.

    That is more than a session has: there Landlock and the filter stand before it.
    """
    user = enrolled(ranged.policy("user: root\n"))
    base = ranged.image.range_base
    before = os.stat(f"{ranged.tree}/bin/busybox")
    handed = os.open(f"{ranged.seen}/bin/busybox", os.O_PATH)
    script = _ATTACK.format(
        shared=SHARED_TREES, seen=ranged.seen, store=Store().path, tree=ranged.tree, handed=handed
    )
    words = ["setpriv", "--reuid", str(user.uid), "--regid", str(user.gid), "--clear-groups"]
    words += ["unshare", "--mount", "--setuid=0", "--setgid=0"]
    words += [f"--map-users={base},0,65536", f"--map-groups={base},0,65536", "bash", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False, pass_fds=(handed,))
    os.close(handed)
    lines = done.stdout.splitlines()
    assert lines[-1] == "0", "it has to be root of the range"
    assert not [line for line in lines if line.startswith("DONE")], done.stdout
    assert len(lines) > script.count("DONE"), "each attempt says why it was refused"
    after = os.stat(f"{ranged.tree}/bin/busybox")
    assert (after, after.st_ctime_ns) == (before, before.st_ctime_ns)


@pytest.mark.usefixtures("spoilt")
def test_a_view_that_can_be_written_through_is_refused(
    ranged: Ranged, enrolled: Callable[[str], User]
) -> None:
    """Remounted, or not a mount at all: the login says who repairs it, and the boot's command does."""
    user = enrolled(ranged.policy("user: root\n"))
    for spoil in (["mount", "-o", "remount,bind,rw", SHARED_TREES], ["umount", SHARED_TREES]):
        run(spoil).ok()
        done = login(user, "-c", "true")
        assert done.status == 126
        assert b"read-only, nosuid and nodev" in done.err
        assert f"ssh2containerctl enable {user.name}".encode() in done.err
        assert done.err.count(b"\n") == 1
        found = run([CONTROL, "doctor", "--host", "--json"])
        problems = [one for one in json.loads(found.text)["findings"] if one["level"] == "problem"]
        assert "images.shifted" in {one["check"] for one in problems}
        assert "share" in run([CONTROL, "enable", "--runtime"]).ok().text
        assert inside(user, "id -u") == ["0"]


def test_the_view_is_one_mount_where_run_is_on_the_store_s_file_system(
    ranged: Ranged, enrolled: Callable[[str], User], ledger: Ledger
) -> None:
    """As in a container, whose /run is no tmpfs: what is bound there has the device of what is around it."""
    user = enrolled(ranged.policy("user: root\n"))
    place = f"/var/lib/s2c-{user.name}"
    ledger.note_path(place)
    os.mkdir(place)
    become = f"setpriv --reuid {user.uid} --regid {user.gid} --clear-groups {user.shell} -c"
    script = (
        f"mount --bind {place} /run/ssh2container; {CONTROL} enable --runtime; echo again; "
        f"{CONTROL} enable --runtime; {become} 'id -u'; umount {SHARED_TREES}; {become} true"
    )
    done = run(["unshare", "--mount", "sh", "-c", script], env=user.environment(), cwd="/")
    try:
        first, again = done.text.split("again\n")
        assert "share" in first
        assert again == "0\n"
        assert done.status == 126
        assert "read-only, nosuid and nodev" in done.errors
    finally:
        remove_path(place)


@pytest.mark.usefixtures("spoilt")
def test_a_tree_where_its_owners_reach_it_is_replaced(
    ranged: Ranged, enrolled: Callable[[str], User]
) -> None:
    """As versions before left it: the doctor says so, and one command makes it anew from root's own."""
    user = enrolled(ranged.policy("user: root\n"))
    version = Store().version(ranged.name)
    old = f"{Store().tree(version)}/range-{ranged.image.range_base}"
    os.rename(ranged.tree, old)
    Path(old, "bin/busybox").write_bytes(b"#!changed by a user\n")
    found = json.loads(run([CONTROL, "doctor", "--host", "--json"]).text)["findings"]
    assert [one["subject"] for one in found if one["check"] == "images.shifted" and old in one["text"]] == [
        ranged.name
    ]
    assert login(user, "-c", "true").status == 126
    run([CONTROL, "enable", "--runtime"]).ok()
    assert not os.path.exists(old)
    assert inside(user, "id -u") == ["0"]
    run([CONTROL, "image", "verify", ranged.name]).ok()
    run([CONTROL, "image", "gc"]).ok()
    assert sorted(os.listdir(f"{Store().path}/shifted")) == ["trees"]


def test_explain_says_the_price(ranged: Ranged, enrolled: Callable[[str], User]) -> None:
    """Shared ids, two helpers at each login, a second tree: said before anybody logs in."""
    user = enrolled(ranged.policy("user: root\n"))
    base = ranged.image.range_base
    done = run([CONTROL, "explain", user.name, "--json", "--", "true"])
    told = json.loads(done.ok().out)
    assert [row["key"] for row in told["costs"]] == ["userns_mode"] * 2
    assert f"ids {base} to {base + 65_535} of the host" in told["costs"][0]["describe"]
    assert "all sessions of this mode share host ids" in str(told["weaker"])
    plain = json.loads(run([CONTROL, "explain", enrolled("image: host\n").name, "--json"]).ok().out)
    assert plain["costs"] == []


@pytest.mark.parametrize("missing", ["/usr/bin/newuidmap", "/usr/bin/newgidmap"])
def test_without_uidmap_the_policy_is_refused_with_the_remedy(
    missing: str, ranged: Ranged, enrolled: Callable[[str], User]
) -> None:
    """Nothing falls back to another map, and other policies need no helper."""
    user, plain = enrolled(ranged.policy("user: root\n")), enrolled("image: host\n")
    become = 'exec setpriv --reuid "$1" --regid "$2" --clear-groups "$3" -c true'
    hide = f"mount --bind /dev/null {missing} && {become}"

    def without_helper(who: User) -> Done:
        words = ["unshare", "--mount", "sh", "-c", hide, "sh", str(who.uid), str(who.gid), who.shell]
        return run(words, env=who.environment(), cwd="/")

    done = without_helper(user)
    assert done.status == 126
    assert f"{missing} is not installed" in done.errors
    assert "apt-get install uidmap" in done.errors
    assert done.err.count(b"\n") == 1
    without_helper(plain).ok()


def test_a_kernel_without_attributes_on_tmpfs_is_named(
    ranged: Ranged, enrolled: Callable[[str], User]
) -> None:
    """Before Linux 6.6 removing an image's directory would be EIO inside: refused, and single still works."""

    def old(user: User) -> list[str]:
        return strace("setxattr", fault="error=EOPNOTSUPP", user=user.name)

    user = enrolled(ranged.policy("user: root\n"))
    done = run([*old(user), user.shell, "-c", "true"], env=user.environment(), cwd="/")
    assert done.status == 125
    assert "takes extended attributes" in done.errors
    assert "userns_mode: single" in done.errors
    assert done.err.count(b"\n") == 1
    other = enrolled(f"image: {ranged.name}\nshell: [/bin/sh]\n")
    run([*old(other), other.shell, "-c", "true"], env=other.environment(), cwd="/").ok()


def test_image_and_map_that_do_not_go_together_are_found_by_check(
    enrolled: Callable[[str], User],
) -> None:
    user = enrolled("image: host\nuserns_mode: range\n")
    done = run([CONTROL, "check"])
    assert done.status == 1
    assert f"{user.policy_file}:2" in done.text + done.errors
    assert "image list" in done.text + done.errors


def test_a_session_with_a_range_holds_none_of_the_hosts_mounts(
    ranged: Ranged, enrolled: Callable[[str], User]
) -> None:
    user = enrolled(ranged.policy())
    with mounted("overlay") as system:
        session = start(user, "-c", "echo ready; exec sleep 1000")
        assert session.stdout
        assert session.stdout.readline() == b"ready\n"
        system.unmount()
        assert system.is_free()
        session.terminate()
        finish(session)


FLOOD = """
import os, resource, socket, sys
base, limit = int(sys.argv[1]), int(sys.argv[2])
os.setgroups([])
os.setresgid(base, base, base)
os.setresuid(base, base, base)
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
ours.setblocking(False)
kept = [(ours, theirs)]
sent = 0
while True:
    try:
        socket.send_fds(kept[-1][0], [b"x"], [0] * 250)
        sent += 250
    except BlockingIOError:
        kept.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
        kept[-1][0].setblocking(False)
    except OSError as error:
        print(error.errno, sent, flush=True)
        break
sys.stdin.read()
"""
TOO_MANY_REFERENCES = 109


def test_descriptors_in_flight_of_others_keep_nobody_out(
    ranged: Ranged, enrolled: Callable[[str], User]
) -> None:
    """They are counted for all sessions of a range together: each sends the terminal of a login that way."""
    shared = set_aside()
    assert shared is not None
    user = enrolled(ranged.policy("user: root\n"))
    _, most = DEFAULT_LIMITS["nofile"]
    with contextlib.ExitStack() as stack:
        said = []
        for limit in (most, 1024):
            flood = stack.enter_context(
                subprocess.Popen(
                    ["python3", "-c", FLOOD, str(shared.base), str(limit)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            assert flood.stdout
            said.append([int(word) for word in flood.stdout.readline().split()])
        # The first has taken as much as a payload can; another one of its id gets nothing through any more.
        assert said[0][0] == said[1][0] == TOO_MANY_REFERENCES
        assert said[0][1] >= most
        assert said[1][1] == 0
        with outer(user, "-c", "busybox test -t 0 && echo in$((1 + 1))") as session:
            session.expect(b"in2")
            assert session.ended() == 0
