"""The rules that an image's members are held against."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssh2container.admin.images.unpack import rules
from ssh2container.admin.images.unpack.rules import Count, HostileError, Limits

NAMES = st.text(alphabet="ab./\n\udc80é", max_size=40)


@given(NAMES)
def test_a_member_is_inside_the_image_or_refused(name: str) -> None:
    try:
        path = rules.member_path(name)
    except HostileError:
        assert ".." in name.split("/")
        return
    assert not path.startswith("/")
    assert posixpath.normpath("/" + path) == "/" + path


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/../x", "a/..", "./../x"])
def test_a_name_with_dots_is_refused(name: str) -> None:
    with pytest.raises(HostileError) as caught:
        rules.member_path(name)
    assert caught.value.name == name


def test_names_that_no_tool_could_handle_are_refused() -> None:
    with pytest.raises(HostileError, match="deeper"):
        rules.member_path("a/" * 200 + "a")
    with pytest.raises(HostileError, match="longer"):
        rules.member_path("/".join(["é" * 100] * 20))


@given(NAMES, NAMES)
def test_a_hard_link_stays_inside(name: str, target: str) -> None:
    try:
        path = rules.link_target(name, target)
    except HostileError as error:
        assert error.name == name  # noqa: PT017
        return
    assert path
    assert ".." not in path.split("/")


@pytest.mark.parametrize(
    ("base", "removed"),
    [
        ("file", None),
        (".wh.file", "file"),
        (".wh..wh..opq", ""),
        (".wh..wh.plnk", ".wh..wh.plnk"),
        (".whfile", None),
    ],
)
def test_whiteouts(base: str, removed: str | None) -> None:
    assert rules.whiteout("dir/" + base, base) == removed


@pytest.mark.parametrize("base", [".wh.", ".wh..", ".wh..."])
def test_a_whiteout_of_its_own_directory_is_refused(base: str) -> None:
    with pytest.raises(HostileError):
        rules.whiteout("dir/" + base, base)


def test_what_lies_below_a_whiteout_has_no_meaning_or_is_refused() -> None:
    assert not rules.is_bookkeeping("etc/passwd", "etc")
    assert rules.is_bookkeeping(".wh..wh.plnk/1", ".wh..wh.plnk")
    with pytest.raises(HostileError):
        rules.is_bookkeeping("a/.wh.b/c", "a/.wh.b")


@given(st.integers(min_value=0, max_value=0o7777))
def test_no_mode_keeps_an_s_bit(value: int) -> None:
    assert rules.mode(value) & 0o6000 == 0
    assert rules.mode(value) == value & 0o1777


@pytest.mark.parametrize(
    "key",
    ["security.capability", "trusted.overlay.opaque", "user.overlay.whiteout", "user.overlay.redirect",
     "system.posix_acl_access", "security.selinux"],
)  # fmt: skip
def test_attributes_that_mean_something_to_a_kernel_go(key: str) -> None:
    assert not rules.keeps_attribute(key)


def test_plain_attributes_stay() -> None:
    assert rules.keeps_attribute("user.comment")


def test_the_first_member_beyond_a_limit_is_named() -> None:
    count = Count(Limits(size=100, entries=3))
    count.add("a", 60)
    with pytest.raises(HostileError, match="100 bytes") as caught:
        count.add("b", 41)
    assert caught.value.name == "b"
    count = Count(Limits(size=100, entries=3))
    for name in "abc":
        count.add(name, 0)
    with pytest.raises(HostileError, match="3 entries"):
        count.add("d", 0)


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(HostileError):
        Count(Limits()).add("x", -1)


@pytest.mark.parametrize("nanoseconds", [-1, 0, 1_700_000_000_123_456_789, 6_000_000_000 * 10**9])
def test_a_time_stays_what_it_is(nanoseconds: int) -> None:
    """Before 1970 and after 2106 too: the filesystem takes the nearest that it can hold."""
    assert rules.moment(nanoseconds) == nanoseconds


@pytest.mark.parametrize("nanoseconds", [10**40, -(10**40)])
def test_an_impossible_time_becomes_one_that_a_system_call_takes(nanoseconds: int) -> None:
    assert -(2**63) < rules.moment(nanoseconds) // 10**9 < 2**63
