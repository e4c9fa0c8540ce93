"""What a refused login says to do mends it, done literally; until then nobody says that all is well."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from support.installation import Installation

HOME = "/srv/homes/alice"
POLICY = "image: host\nhome: {source: /srv/homes/%u}\n"
DEAD = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
server = os.open("/tmp/fuse", os.O_RDWR)
options = b"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % server
sys.exit(libc.mount(b"dead", sys.argv[1].encode(), b"fuse", 0, options))
"""
"""Mounts a file system whose server ends at once: whoever looks there gets ENOTCONN."""


@pytest.fixture
def alice(shared: Installation) -> Iterator[str]:
    """A user of the shared machine who is enabled, with a kept home."""
    machine = shared.machine
    shared.add_user("alice")
    machine.write("/etc/ssh2container/users/alice.yaml", POLICY)
    shared.control("enable", "alice")
    shared.inside("alice", "echo kept >note")
    yield "alice"
    machine.run("pkill", "-KILL", "-U", "alice", check=False)
    machine.shell(
        f"umount --lazy {HOME} 2>/dev/null || true; uid=$(id -u alice);"
        "rm -rf /run/ssh2container/$uid /etc/tmpfiles.d/ssh2container-$uid.conf /srv/homes /etc/fstab"
        " /var/lib/ssh2container/enrolled/$uid.json /etc/ssh2container/users/alice.yaml;"
        "userdel --remove --force alice 2>/dev/null"
    )


def refused(shared: Installation, name: str) -> str:
    """The line of a login, after everybody who is asked has said the same."""
    done = shared.inside(name, "true", check=False)
    assert done.returncode in (125, 126), done
    line = done.stderr.strip().removeprefix("ssh2container: ")
    reason = line.partition("; ")[0]
    checked = shared.control("check", check=False)
    assert (checked.returncode, reason in checked.stdout) == (1, True), checked.stdout
    (finding,) = [one for one in shared.doctor(name) if one["check"] == "user.login"]
    assert (finding["level"], reason in finding["text"]) == ("problem", True)
    explained = shared.control("explain", name, "--", "true", check=False)
    assert (explained.returncode, reason in explained.stderr) == (done.returncode, True)
    return line


def remedy(line: str) -> str:
    """The command that a line tells to run."""
    found = re.search(r"(?:runs?|remounts it|then): (.*)$", line)
    assert found, line
    return found.group(1)


@pytest.mark.parametrize(
    "spoil",
    [
        f"rm -r {HOME}",
        "rm -r /srv/homes",
        f"chown root: {HOME}",
        f"chmod 600 {HOME}",
        f"chmod 700 {HOME}/..",
        f"mv {HOME} {HOME}.old; touch {HOME}",
    ],
)
def test_the_remedy_mends_the_login(shared: Installation, alice: str, spoil: str) -> None:
    shared.machine.shell(spoil)
    line = refused(shared, alice)
    if "moves it away" in line:
        shared.machine.shell(f"mv {HOME} {HOME}.away")
    if "let the user pass through" in line:
        assert "let the user pass through /srv/homes" in line
        shared.machine.shell("chmod a+x /srv/homes")
    else:
        shared.machine.shell(remedy(line))
    assert shared.inside(alice, "echo in").stdout == "in\n"
    assert shared.control("check", check=False).returncode == 0


def test_a_home_whose_server_is_gone(shared: Installation, alice: str) -> None:
    machine = shared.machine
    uid = machine.run("id", "-u", alice).stdout.strip()
    machine.write("/etc/fstab", f"none {HOME} tmpfs uid={uid},mode=700 0 0\n")
    machine.shell("test -e /tmp/fuse || mknod /tmp/fuse c 10 229")
    machine.run("python3", "-c", DEAD, HOME)
    line = refused(shared, alice)
    assert "Transport endpoint is not connected" in line
    done = shared.control("enable", alice, check=False)
    assert done.returncode != 0
    assert "remounts it" in done.stderr
    machine.shell(remedy(line))
    assert shared.inside(alice, "echo in").stdout == "in\n"


def test_enable_does_not_say_already_so_of_anothers_home(shared: Installation, alice: str) -> None:
    shared.machine.shell(f"chown nobody: {HOME}")
    done = shared.control("enable", alice, check=False)
    assert done.returncode == 126
    assert f"chown -R alice: {HOME}" in done.stderr


OUTAGE = r"""
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
static enum nss_status down(int *number) { *number = ECONNREFUSED; return NSS_STATUS_UNAVAIL; }
#define DOWN(name, key, entry) \
    enum nss_status _nss_outage_##name(key k, struct entry *e, char *b, size_t s, int *n) \
    { (void)k, (void)e, (void)b, (void)s; return down(n); }
DOWN(getpwnam_r, const char *, passwd) DOWN(getpwuid_r, uid_t, passwd)
DOWN(getgrnam_r, const char *, group) DOWN(getgrgid_r, gid_t, group)
"""
"""A name service whose server does not answer."""


@pytest.fixture
def outage(shared: Installation) -> Iterator[None]:
    """The machine's name service asks a server that does not answer, beside the files."""
    machine = shared.machine
    machine.write("/root/outage.c", OUTAGE)
    library = "$(dirname $(ldconfig -p | sed -n 's/.*libc.so.6 .*=> //p' | head -n1))/libnss_outage.so.2"
    machine.shell(f"gcc -shared -fPIC -o {library} /root/outage.c; cp /etc/nsswitch.conf /root/")
    machine.shell(r"sed -i -E 's/^(passwd|group):.*/\1: files outage/' /etc/nsswitch.conf")
    yield
    machine.shell("cp /root/nsswitch.conf /etc/")


class TestNameServiceDown:
    @pytest.mark.usefixtures("outage")
    def test_an_unknown_user_is_not_called_unknown(self, shared: Installation) -> None:
        for verb in (("enable",), ("explain",), ("doctor",), ("show",), ("disable",)):
            done = shared.control(*verb, "nobody-of-that-name", check=False)
            assert done.returncode not in (0, 126), verb
            assert "the name service does not answer (Connection refused)" in done.stderr, verb
            assert "useradd" not in done.stderr

    @pytest.mark.usefixtures("outage")
    def test_a_login_of_somebody_whom_it_cannot_find(self, shared: Installation) -> None:
        machine = shared.machine
        done = machine.run(
            "setpriv",
            "--reuid=54321",
            "--regid=54321",
            "--clear-groups",
            "/usr/bin/ssh2container",
            check=False,
        )
        assert done.returncode == 125
        assert (
            "cannot look up uid 54321: the name service does not answer (Connection refused)" in done.stderr
        )

    def test_nobody_is_gone_while_nobody_can_tell(
        self, shared: Installation, alice: str, request: pytest.FixtureRequest
    ) -> None:
        """What a user of a directory has on this host stays theirs through an outage."""
        machine = shared.machine
        request.getfixturevalue("outage")
        left = "/run/ssh2container/54321"
        machine.shell(f"install -d -o 54321 -m 700 {left}")
        try:
            (found,) = [one for one in shared.doctor("--host") if one["check"] == "user.gone"]
            assert "the name service does not answer" in found["text"]
            done = shared.control("disable", "--gone", check=False)
            assert done.returncode == 1
            assert "the name service does not answer" in done.stderr
            machine.run("test", "-d", left)
            machine.shell("cp /root/nsswitch.conf /etc/")
            assert left in str(self._gone(shared, "54321"))
            for found in self._gone(shared, "54321"):
                machine.shell(found["remedy"])
            assert not self._gone(shared, "54321")
            assert machine.run("test", "-e", left, check=False).returncode == 1
        finally:
            machine.shell(f"rm -rf {left}")
        assert shared.inside(alice, "echo in").stdout == "in\n"

    def _gone(self, shared: Installation, uid: str) -> list[Any]:
        """The findings about what an account that is no more has left; there may be others."""
        found = [one for one in shared.doctor("--host") if one["check"] == "user.gone"]
        return [one for one in found if uid in json.dumps(one)]

    def test_with_it_up_nobody_is_nobody(self, shared: Installation) -> None:
        done = shared.machine.run(
            "setpriv",
            "--reuid=54321",
            "--regid=54321",
            "--clear-groups",
            "/usr/bin/ssh2container",
            check=False,
        )
        assert done.returncode == 126
        assert "no passwd entry names it" in done.stderr

    def test_no_group_with_a_policy_is_lost(
        self, shared: Installation, alice: str, request: pytest.FixtureRequest
    ) -> None:
        """The policy of a group of the directory could admit or deny: without an answer nobody knows."""
        machine = shared.machine
        machine.write("/etc/ssh2container/groups/closed.yaml", "access: {login: false, message: Closed.}\n")
        before = machine.read("/etc/ssh2container/config.yaml")
        ordered = before.replace("group_order: []", "group_order: [closed]")
        machine.write("/etc/ssh2container/config.yaml", ordered)
        try:
            assert shared.inside(alice, "echo in").stdout == "in\n"
            request.getfixturevalue("outage")
            line = refused(shared, alice)
            assert line.startswith("cannot look up the group closed: the name service does not answer")
            assert shared.inside(alice, "true", check=False).returncode == 125
        finally:
            machine.write("/etc/ssh2container/config.yaml", before)
            machine.run("rm", "/etc/ssh2container/groups/closed.yaml")

    def test_a_local_user_of_local_groups_logs_in(
        self, shared: Installation, alice: str, request: pytest.FixtureRequest
    ) -> None:
        request.getfixturevalue("outage")
        assert shared.inside(alice, "echo in").stdout == "in\n"
