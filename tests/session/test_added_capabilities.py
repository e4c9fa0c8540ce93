"""Capabilities that a policy adds to root's in a range: they work, in the session's own namespaces alone."""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Callable, Iterator

import pytest
from support.images import grant, ranged_image
from support.login import login
from support.users import MakeUser, User
from support.verification import failed, start

from ssh2container.admin.verify.verdicts import EXPECTED, PASS
from ssh2container.plan.insider import ADDED_CAPABILITIES, ROOT_CAPABILITIES

OF_A_SYSTEM = (
    "loosen the securebits",
    "securebits that outlive a program",
    "netlink kobject_uevent",
    "reboot",
)
"""What a whole system (``boot``) may do, or more than it may: nobody else."""


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    with ranged_image() as name:
        yield name


@pytest.fixture
def root_with(image: str, make_user: MakeUser) -> Callable[..., User]:
    """A user who is root of a range with ``added`` capabilities."""

    def make(*added: str, more: str = "") -> User:
        text = f"image: {image}\nuserns_mode: range\nuser: root\nshell: [/bin/sh]\n{more}"
        user = make_user(text + (f"cap_add: [{', '.join(added)}]\n" if added else ""))
        grant(user)
        return user

    return make


@pytest.mark.parametrize("added", [("NET_RAW",), ("SETFCAP",), ("NET_RAW", "SETFCAP", "CHOWN")])
def test_exactly_what_is_added_is_added(root_with: Callable[..., User], added: tuple[str, ...]) -> None:
    done = login(root_with(*added), "-c", "busybox grep Cap /proc/self/status").ok()
    sets = dict(line.split(":\t") for line in done.text.splitlines())
    numbers = ROOT_CAPABILITIES | {ADDED_CAPABILITIES[name] for name in added if name in ADDED_CAPABILITIES}
    safe, none = f"{sum(1 << number for number in numbers):016x}", "0" * 16
    assert sets == {"CapInh": none, "CapPrm": safe, "CapEff": safe, "CapBnd": safe, "CapAmb": none}


def test_ping_works_with_raw_sockets_and_only_then(root_with: Callable[..., User]) -> None:
    ping = "busybox ping -c 1 127.0.0.1"
    assert "1 packets received" in login(root_with("NET_RAW"), "-c", ping).ok().text
    refused = login(root_with(), "-c", ping)
    assert refused.status != 0
    assert "ermi" in refused.errors


def test_frames_stay_closed(root_with: Callable[..., User]) -> None:
    """Packet sockets were a way into the kernel (CVE-2017-7308, CVE-2020-14386): the filter has them."""
    done = login(root_with("NET_RAW"), "-c", "busybox arping -c 1 -I lo 127.0.0.1")
    assert done.status != 0
    assert "not permitted" in done.errors


def test_verify_takes_what_was_added_for_wanted_and_nothing_else(root_with: Callable[..., User]) -> None:
    user = root_with("NET_RAW", "SETFCAP")
    rows = {row["name"]: row for row in map(json.loads, start(user, "probes").out.splitlines())}
    assert failed(rows) == set()
    for name in ("raw IPv4 socket", "give a file capabilities", "send from any IPv4 address"):
        assert (rows[name]["result"], rows[name]["key"]) == (EXPECTED, "cap_add")
    for name in ("packet socket", *OF_A_SYSTEM):
        assert rows[name]["result"] == PASS, name


def test_other_users_inside_have_none_of_it(root_with: Callable[..., User]) -> None:
    script = "busybox grep CapEff /proc/self/status; busybox ping -c 1 127.0.0.1 >/dev/null || echo refused"
    done = login(root_with("NET_RAW"), "-c", f"busybox su -s /bin/sh service -c '{script}'")
    assert done.text.splitlines() == ["CapEff:\t" + "0" * 16, "refused"]


GIVE = """
import os, struct
open("/tmp/f", "w").close()
try:
    os.setxattr("/tmp/f", "security.capability", struct.pack("<5I", 0x2000001, 1 << 13, 0, 0, 0))
except OSError as error:
    print(error.strerror)
else:
    print(len(os.getxattr("/tmp/f", "security.capability")))
"""


@pytest.mark.parametrize(("added", "answer"), [(("SETFCAP",), "20"), ((), "Operation not permitted")])
def test_files_get_capabilities_with_setfcap(
    root_with: Callable[..., User], added: tuple[str, ...], answer: str
) -> None:
    """As packages set them; the kernel notes whose they are (capabilities(7))."""
    libraries = f"/opt/usr/lib/{sysconfig.get_config_var('MULTIARCH')}"
    user = root_with(*added, more="volumes: [/usr:/opt/usr:ro]\nenvironment: {PYTHONHOME: /opt/usr}\n")
    command = f"for l in {libraries}/ld-linux*; do exec $l --library-path {libraries} /opt/usr/bin/python3"
    done = login(user, "-c", f"{command} -c '{GIVE}'; done")
    assert done.ok().text.strip() == answer


def test_who_is_not_root_of_a_range_is_refused(make_user: MakeUser, image: str) -> None:
    user = make_user(
        f"image: {image}\nuserns_mode: single\nuser: root\nshell: [/bin/sh]\ncap_add: [NET_RAW]\n"
    )
    done = login(user, "-c", "echo in")
    assert (done.status, done.out) == (126, b"")
    assert "capabilities are for root in a range" in done.errors
