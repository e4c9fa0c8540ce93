"""All policies changed in one step: whole, checked, taken back on failure, and no login notices."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from support.host import DEADLINE_SECONDS
from support.installation import Installation

ETC, LAST = "/etc/ssh2container", "/etc/ssh2container.last"
TREE = "/root/policies"


@pytest.fixture
def alice(shared: Installation) -> Iterator[str]:
    """An enabled user of the shared machine, and the tree in force in TREE."""
    machine = shared.machine
    shared.add_user("alice")
    shared.control("enable", "alice")
    machine.shell(f"rm -rf {TREE} {LAST}; cp -a {ETC} {TREE}; cp -a {ETC} /root/before")
    yield "alice"
    machine.run("pkill", "-KILL", "-U", "alice", check=False)
    machine.shell(
        f"rm -rf {ETC} {LAST} {TREE}; mv /root/before {ETC}; uid=$(id -u alice);"
        "rm -rf /run/ssh2container/$uid /etc/tmpfiles.d/ssh2container-$uid.conf"
        " /var/lib/ssh2container/enrolled/$uid.json /etc/ssh2container/users/alice.yaml;"
        "userdel --remove --force alice 2>/dev/null"
    )


def version(shared: Installation, name: str) -> None:
    """Make TREE the policies ``name``, which show in three files."""
    machine = shared.machine
    machine.write(f"{TREE}/defaults.yaml", f"image: host\nenvironment: {{DEFAULTS: {name}}}\n")
    machine.write(f"{TREE}/users/alice.yaml", f"environment: {{OWN: {name}}}\n")
    machine.write(f"{TREE}/enforced.yaml", f"environment: {{ENFORCED: {name}}}\n")


SHOWN = "echo $DEFAULTS $OWN $ENFORCED"


def test_a_tree_comes_into_force_and_goes_again(shared: Installation, alice: str) -> None:
    machine = shared.machine
    version(shared, "one")
    machine.write(f"{ETC}/NOTES", "the administrator's own\n")
    machine.shell(f"chmod -R g+w {TREE}")  # as `git archive | tar` leaves it
    shared.control("deploy", TREE)
    assert shared.inside(alice, SHOWN).stdout == "one one one\n"
    assert machine.shell(f"find {ETC} -perm /022 ! -type l").strip() == ""
    assert machine.read(f"{ETC}/NOTES") == "the administrator's own\n"
    assert shared.control("status").returncode == 0  # all is compiled
    version(shared, "two")
    shared.control("deploy", TREE)
    assert shared.inside(alice, SHOWN).stdout == "two two two\n"
    for name in ("one", "two"):
        shared.control("deploy", "--back")
        assert shared.inside(alice, SHOWN).stdout == f"{name} {name} {name}\n"
    assert shared.control("check").returncode == 0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (f"echo 'imagine: x' >>{TREE}/users/alice.yaml", f"{TREE}/users/alice.yaml:2:1"),
        (f"echo 'image: none:1' >{TREE}/users/alice.yaml", "logins are refused to alice"),
        (f"rm {TREE}/users/alice.yaml", "there is no policy for alice"),
        (f"ln -s /etc/passwd {TREE}/users/bob.yaml", "neither a file nor a directory"),
        (f"rm -r {TREE}; mkdir {TREE}", "there is no policy in this directory"),
    ],
)
def test_what_is_wrong_changes_nothing(shared: Installation, alice: str, spoil: str, said: str) -> None:
    version(shared, "one")
    shared.machine.shell(spoil)
    before = shared.names()
    done = shared.control("deploy", TREE, check=False)
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert shared.names() ^ before == set()
    assert shared.inside(alice, "echo in").stdout == "in\n"


def test_a_step_that_fails_is_taken_back(shared: Installation, alice: str) -> None:
    """The drop-in cannot be rendered: the exchange and the compilation before it are undone."""
    version(shared, "one")
    shared.machine.write(f"{TREE}/users/alice.yaml", "allow_agent_forwarding: true\n")
    shared.machine.shell(
        "mv /usr/sbin/sshd /usr/sbin/sshd.away; printf '#!/bin/sh\nexit 1\n' >/usr/sbin/sshd"
    )
    shared.machine.shell("chmod +x /usr/sbin/sshd")
    before = shared.names()
    try:
        done = shared.control("deploy", TREE, check=False)
    finally:
        shared.machine.shell("mv /usr/sbin/sshd.away /usr/sbin/sshd")
    assert done.returncode == 1
    assert f"undone: exchange {ETC}" in done.stdout
    changed = {line.split("\t")[0] for line in shared.names() ^ before}
    assert not {path for path in changed if not path.startswith("/usr/sbin/sshd")}
    assert shared.inside(alice, "echo $OWN").stdout == "\n"


def test_a_dry_run_changes_nothing(shared: Installation, alice: str) -> None:
    version(shared, "one")
    before = shared.names()
    done = json.loads(shared.control("deploy", "--dry-run", "--json", TREE).stdout)
    assert [one for one in done["problems"] if one["severity"] == "error"] == []
    assert shared.names() ^ before == set()
    assert shared.inside(alice, "echo $OWN").stdout == "\n"


def test_nothing_to_go_back_to(shared: Installation, alice: str) -> None:  # noqa: ARG001
    done = shared.control("deploy", "--back", check=False)
    assert (done.returncode, f"there is no {LAST}" in done.stderr) == (1, True)


def test_no_login_fails_or_sees_two_versions(shared: Installation, alice: str) -> None:
    """Logins without end while the policies are exchanged again and again."""
    machine = shared.machine
    for name in ("one", "two"):
        version(shared, name)
        shared.control("deploy", TREE)
    machine.write(
        "/root/logins",
        f"while test ! -e /root/enough; do su - {alice} -c '{SHOWN}' || echo FAILED $?; done\n",
    )
    machine.shell("rm -f /root/enough")
    running = [
        subprocess.Popen(
            machine.inside("bash", "/root/logins"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        for _ in range(8):
            shared.control("deploy", "--back")
    finally:
        machine.shell("touch /root/enough")
        said = "".join(process.communicate(timeout=DEADLINE_SECONDS)[0] for process in running)
    seen = said.splitlines()
    assert len(seen) > 10
    assert set(seen) <= {"one one one", "two two two"}
    assert len(set(seen)) == 2, "they were exchanged meanwhile"
