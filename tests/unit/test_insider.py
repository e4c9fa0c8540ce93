"""Who the payload is: what an image may say about it, and what its account files may hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import planning
from support.policies import policy

from ssh2container.errors import Refusal
from ssh2container.plan import insider
from ssh2container.plan.image import Image
from ssh2container.plan.insider import ROOT_CAPABILITIES, Insider
from ssh2container.plan.ranges import Range

COUNT = 65536
PASSWD = b"root:x:0:0::/root:/bin/sh\napp:x:5:6::/srv:/bin/sh\n7:x:8:9::/seven:/bin/sh\nshort:x:1\n"
GROUP = b"root:x:0:\nstaff:x:6:\nother:x:50:\n"


def chosen(user: str, passwd: bytes = PASSWD, group: bytes = GROUP, more: str = "") -> Insider:
    """The identity in an image whose own user is ``user``."""
    wanted = policy(f"image: lab\nuserns_mode: range\n{more}")
    host = planning.host(wanted)
    host.image = Image("lab", kind="tree", root="/tree", user=user, passwd=passwd, group=group)
    host.range = Range(1879113728, COUNT, "/tree", own=False)
    return insider.choose(planning.account(), wanted, host)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("app", ("app", "staff", 5, 6, "/srv")),
        ("5", ("app", "staff", 5, 6, "/srv")),
        ("app:other", ("app", "other", 5, 50, "/srv")),
        ("app:50", ("app", "other", 5, 50, "/srv")),
        ("app:51", ("app", "51", 5, 51, "/srv")),
        ("7", ("7", "9", 8, 9, "/seven")),
        ("1001", ("1001", "root", 1001, 0, "/home")),
        ("1001:other", ("1001", "other", 1001, 50, "/home")),
    ],
)
def test_an_images_user_is_a_name_or_a_number(user: str, expected: tuple[object, ...]) -> None:
    found = chosen(user)
    assert (found.name, found.group, found.uid, found.gid, found.home) == expected
    assert found.capabilities == frozenset()


@pytest.mark.parametrize("user", ["0", "root", "0:0", "root:root", "root:50"])
def test_an_image_for_root_runs_as_root(user: str) -> None:
    found = chosen(user)
    assert (found.uid, found.gid, found.capabilities) == (0, 0, ROOT_CAPABILITIES)


def test_the_policys_word_comes_first() -> None:
    assert chosen("root", more="user: app\n").name == "app"


@pytest.mark.parametrize(
    ("written", "home"),
    [
        ("/srv/app", "/srv/app"), ("/a b/", "/a b"), ("/srv/../opt", "/opt"), ("", "/home"), ("/", "/home"),
        ("../../x", "/home"), ("relative", "/home"), ("/usr/sbin", "/home"), ("/bin", "/home"),
        ("/dev", "/home"), ("/srv/../proc/self", "/home"), ("/run/ssh2container/tools", "/home"),
        ("/etc/passwd", "/home"), ("/device", "/device"),
    ],
)  # fmt: skip
def test_the_home_of_an_images_user_hides_no_system(written: str, home: str) -> None:
    assert chosen("app", f"app:x:5:6::{written}:/bin/sh\n".encode()).home == home


@pytest.mark.parametrize("user", ["nobody-here", "short", "65536", "-1", ":5", "app:none", "app:-1", "٣"])
def test_a_user_that_is_none_is_refused(user: str) -> None:
    with pytest.raises(Refusal, match="no such user"):
        chosen(user)


@pytest.mark.parametrize("number", ["-1", "x", "", "9" * 5000, "65536", "4294967295", "1e3", " 5", "٣"])
@pytest.mark.parametrize("line", ["app:x:{}:6::/:/bin/sh\n", "app:x:5:{}::/:/bin/sh\n"])
def test_a_number_that_is_no_id_is_refused(line: str, number: str) -> None:
    """To setresuid(2), -1 means: stay root."""
    with pytest.raises(Refusal, match="no such user"):
        chosen("app", line.format(number).encode())


@given(passwd=st.binary(max_size=60), group=st.binary(max_size=60))
def test_account_files_of_any_bytes_give_an_id_of_the_map_or_a_refusal(passwd: bytes, group: bytes) -> None:
    try:
        found = chosen("app:staff", b"app:x:5:" + passwd, b"staff:x:" + group)
    except Refusal:
        return
    assert 0 <= found.uid < COUNT
    assert 0 <= found.gid < COUNT
