"""Groups inside: the user's own, and none that programs would try to use and cannot."""

from __future__ import annotations

import grp
import os
import secrets
from collections.abc import Callable, Iterator

import pytest
from support.host import run
from support.images import grant, ranged_image
from support.login import inside, login
from support.users import MakeUser, User

OVERFLOW = 65534


@pytest.fixture
def group() -> Iterator[str]:
    name = "s2cg" + secrets.token_hex(3)
    run(["groupadd", name]).ok()
    yield name
    run(["groupdel", name])


@pytest.fixture
def member(group: str, make_user: MakeUser) -> User:
    return make_user("image: host\n", groups=(group,))


def test_no_group_shows_that_is_not_mapped(member: User) -> None:
    """getgroups(2) names none, so nobody tries to give a file to one; the kernel's own list is unchanged."""
    assert inside(member, "id -G; groups").out.decode().split() == [str(member.gid), member.name]
    (line,) = inside(member, "grep ^Groups: /proc/self/status").out.decode().splitlines()
    assert str(OVERFLOW) in line.split(), "the membership itself is the host's matter"


@pytest.mark.parametrize(
    "command",
    [
        "rsync -a /etc/profile.d /etc/profile ~/copy/",
        "cp -a /etc/profile ~/copy",
        "tar -C /etc -cf - profile profile.d | tar -C ~ -xpf -",
        "install -p -D /etc/profile ~/copy/profile",
        "cp -p /etc/profile ~/x && mv ~/x /tmp/y && ls -l /tmp/y >/dev/null",
    ],
)
def test_files_of_root_can_be_copied_with_all_that_can_be_kept(member: User, command: str) -> None:
    """The tools' own way: what may not be given away is not tried, and is no error."""
    done = inside(member, f"set -o pipefail; {command}")
    assert (done.status, done.out, done.err) == (0, b"", b"")


def test_rsync_from_outside_keeps_what_it_can(member: User) -> None:
    """The receiving side, which ssh starts as a server: no group to try, status 0."""
    done = inside(member, "rsync -a --no-owner -g /etc/profile ~/p && stat -c %g:%a ~/p /etc/profile")
    assert done.status == 0, done.err
    assert done.out.decode().splitlines() == [f"{member.gid}:644", f"{OVERFLOW}:644"]


def bind_the_groups(member: User, group: str, host_directory: Callable[[User], str]) -> str:
    """Bind a 2770 directory of the group's at /work, and return its place on the host."""
    place = host_directory(member)
    os.chown(place, 0, grp.getgrnam(group).gr_gid)
    os.chmod(place, 0o2770)
    with open(member.policy_file, "w", encoding="ascii") as file:
        file.write(f"image: host\nvolumes: ['{place}:/work:rw']\n")
    return place


def test_a_group_still_counts_where_the_policy_binds_its_files(
    member: User, group: str, host_directory: Callable[[User], str]
) -> None:
    """A member's 2770 directory can be written, and what is made there is the group's."""
    place = bind_the_groups(member, group, host_directory)
    assert inside(member, "echo x >/work/f && cat /work/f").out == b"x\n"
    assert os.stat(f"{place}/f").st_gid == grp.getgrnam(group).gr_gid


def test_who_wants_the_call_itself_allows_it(member: User) -> None:
    with open(member.policy_file, "w", encoding="ascii") as file:
        file.write("image: host\nseccomp: {allow: [getgroups]}\n")
    assert str(OVERFLOW) in inside(member, "id -G").out.decode().split()


def test_root_of_the_users_own_id_sees_none_either(make_user: MakeUser, group: str) -> None:
    user = make_user("image: host\nuser: root\n", groups=(group,))
    assert login(user, "-c", "id -G").out == b"0\n"


def test_what_cannot_be_mapped_has_no_name(
    member: User, group: str, host_directory: Callable[[User], str]
) -> None:
    """Every such group is one number inside; a name for it would be the name of the host's root's, too."""
    bind_the_groups(member, group, host_directory)
    shown = inside(member, "touch /work/f ~/own; stat -c %G /work /work/f /usr ~/own; id -Gn; groups").ok()
    assert shown.text.split() == ["nogroup"] * 3 + [member.name] * 3
    done = inside(member, f"getent group {group}; chgrp {group} ~; chgrp $(id -gn) ~ && stat -c %G ~")
    assert (done.status, done.text.split()) == (0, [member.name])
    assert "chgrp: invalid group: " in done.errors


def test_the_kernel_maps_no_other_group_without_root(member: User, group: str) -> None:
    """Why there is no name: a process maps its own group, one line, and nothing else (user_namespaces(7))."""
    other = grp.getgrnam(group).gr_gid
    program = (
        "import os, sys\n"
        "os.unshare(0x10000000) if hasattr(os, 'unshare') else "
        "__import__('ctypes').CDLL(None).unshare(0x10000000)\n"
        "open('/proc/self/setgroups', 'w').write('deny')\n"
        "handle = os.open('/proc/self/gid_map', os.O_WRONLY)\n"
        "try:\n    os.write(handle, sys.argv[1].encode())\n"
        "except OSError as error:\n    print(error.errno)\n"
        "else:\n    print('mapped')\n"
    )
    own, more = f"{member.gid} {member.gid} 1\n", f"{other} {other} 1\n"
    become = ["setpriv", "--reuid", member.name, "--regid", str(member.gid), "--groups", str(other)]
    answers = [
        run([*become, "python3", "-c", program, wanted]).ok().text.strip()
        for wanted in (own, more, own + more)
    ]
    assert answers == ["mapped", "1", "1"]


def test_a_range_has_the_name_of_the_users_own_group(make_user: MakeUser) -> None:
    with ranged_image() as image:
        user = make_user(f"image: {image}\nshell: [/bin/sh]\nuser: self\nuserns_mode: range\n")
        grant(user)
        shown = inside(user, "busybox touch ~/own; busybox stat -c %G ~/own; busybox id -gn")
        assert shown.ok().text.split() == [user.name] * 2
