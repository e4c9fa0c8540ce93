"""What the doctor says of private networks, of places that are made up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ssh2container.admin.doctor import private_networks as doctor


def test_a_device_that_is_missing_or_closed(tmp_path: Path) -> None:
    (missing,) = doctor.of_device(f"{tmp_path}/tun")
    assert (missing.level, missing.check, missing.remedy) == ("problem", "network.tun", doctor._LOAD)
    # A character device that everybody may open, as udev has that one.
    assert not [*doctor.of_device("/dev/null")]
    (tmp_path / "tun").touch()
    (closed,) = doctor.of_device(f"{tmp_path}/tun")
    assert "users may not open it" in closed.text
    assert "chmod 0666" in closed.remedy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "does not exist"),
        ("", "names no name server"),
        ("# nameserver 192.0.2.1\nsearch example.org\n", "names no name server"),
        ("nameserver\n", "names no name server"),
        ("nameserver 192.0.2.1\n", None),
    ],
)
def test_a_resolver_that_asks_nobody(tmp_path: Path, text: str | None, said: str | None) -> None:
    path = tmp_path / "resolv.conf"
    if text is not None:
        path.write_text(text)
    found = [*doctor.of_resolver(str(path))]
    assert [finding.check for finding in found] == (["network.resolver"] if said else [])
    assert all(said and said in finding.text for finding in found)


@pytest.mark.parametrize(
    ("setting", "groups", "pings"),
    [
        ("1\t0\n", [1000], False),
        ("0\t2147483647\n", [1000], True),
        ("0\t999\n", [1000], False),
        ("0\t999\n", [1000, 27], True),
        (None, [1000], False),
    ],
)
def test_who_may_ping(tmp_path: Path, setting: str | None, groups: list[int], *, pings: bool) -> None:
    path = tmp_path / "range"
    if setting is not None:
        path.write_text(setting)
    found = [*doctor.of_groups("al", groups, os.fspath(path))]
    assert bool(found) != pings
    assert all("ping_group_range" in finding.remedy and finding.subject == "al" for finding in found)
