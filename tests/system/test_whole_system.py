"""On a whole system, with systemd and the distribution's kernel: units, journal, logins by PAM, a reboot."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator

import pytest
from support import emulated
from support.emulated import TREE, WHEELS, System
from support.host import Done, until

pytestmark = pytest.mark.timeout(1500)  # the first test makes the system, all of them wait for an emulator

SLOW_SECONDS = 120.0
"""How long the emulated machine may take where a real one takes a moment."""
ADD_USERS = """
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id
for user in alice ranger; do
    useradd --create-home --shell /bin/bash --password '*' $user
    mkdir -m 700 /home/$user/.ssh
    cp /root/.ssh/id.pub /home/$user/.ssh/authorized_keys
    chown -R $user: /home/$user/.ssh
done
ssh2containerctl enable alice
"""


@pytest.fixture(scope="module")
def system(wheels: str) -> Iterator[System]:
    """A system with the product and its user alice."""
    suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    if why := emulated.missing():
        pytest.skip(why)
    if platform.freedesktop_os_release()["ID"] != "debian":
        pytest.skip("the emulated system is bootstrapped from this one's sources, which are not Debian's")
    with System(suite, wheels) as made:
        made.run(f"cd {TREE}; ./install.sh --wheels {WHEELS} --reload-sshd", 900).ok()
        made.run(ADD_USERS).ok()
        yield made


def login(system: System, command: str, user: str = "alice", options: str = "") -> Done:
    """Log in from within the system, as PAM, logind and sshd see it."""
    ssh = "ssh -i /root/.ssh/id -o StrictHostKeyChecking=no -o LogLevel=ERROR"
    return system.run(f"{ssh} {options} {user}@localhost {command!r}")


def test_everything_is_started_and_healthy(system: System) -> None:
    units = ("ssh2container-compile.path", "ssh2container-record.socket", "ssh2container-image-update.timer")
    assert system.says(f"systemctl is-active {' '.join(units)}").split() == ["active"] * 3
    assert system.says(f"systemctl is-enabled {' '.join(units)}").split() == ["enabled"] * 3
    assert system.says("systemctl is-system-running") == "running"
    assert ", 0 problem\n" in system.run("ssh2containerctl doctor alice").text
    system.run("systemctl start ssh2container-image-update.service").ok()


def test_a_login_is_contained_and_in_the_journal(system: System) -> None:
    said = (
        login(system, "cat /proc/1/comm; test -e /etc/ssh || echo no-host; grep ^Seccomp: /proc/self/status")
        .ok()
        .text
    )
    assert "no-host\n" in said
    assert "Seccomp:\t2\n" in said
    assert "systemd" not in said
    logged = system.says("ssh2containerctl log alice")
    assert "open" in logged
    assert "status 0" in logged
    fields = json.loads(
        system.says(
            "journalctl -t ssh2container -o json -n 1 --output-fields=SSH2CONTAINER_EVENT,SSH2CONTAINER_USER"
        )
    )
    assert (fields["SSH2CONTAINER_EVENT"], fields["SSH2CONTAINER_USER"]) == ("close", "alice")


def test_transfers(system: System) -> None:
    system.run("""
        cd /root; head -c 3000000 /dev/urandom >data
        options='-i /root/.ssh/id -o StrictHostKeyChecking=no -o LogLevel=ERROR'
        scp -q $options data alice@localhost:
        scp -q -O $options data alice@localhost:
        echo 'put data' | sftp -q $options -b - alice@localhost
        rsync -e "ssh $options" data alice@localhost:
        ! test -e /home/alice/data
    """).ok()


def test_an_edited_policy_is_compiled_by_itself(system: System) -> None:
    stamp = "find /var/lib/ssh2container/compiled -path '*alice*' -type f -printf '%i %C@\\n'"
    before = system.says(stamp)
    assert before
    system.run("echo 'hostname: renamed' >>/etc/ssh2container/users/alice.yaml").ok()
    until(lambda: system.says(stamp) != before, "the path unit has had the policy compiled", SLOW_SECONDS)
    assert login(system, "hostname").ok().text == "renamed\n"


def test_the_collector_keeps_a_recording(system: System) -> None:
    system.run("echo 'record: {terminal: true}' >>/etc/ssh2container/users/alice.yaml").ok()
    assert "shown" in login(system, "echo shown", options="-tt").ok().text
    kept = system.says("ls /var/log/ssh2container/recordings/alice")
    assert kept.endswith(".cast")
    assert system.says("stat -c %U /var/log/ssh2container/recordings/alice/*") == "ssh2container-record"
    assert (
        system.run("ssh2containerctl replay --verify /var/log/ssh2container/recordings/alice/*").status == 0
    )
    assert system.says("systemctl is-active ssh2container-record.service") == "active"
    system.run("sed -i /^record/d /etc/ssh2container/users/alice.yaml").ok()


def test_a_shared_container_outlives_the_login(system: System) -> None:
    """logind keeps a user's processes unless it is told otherwise (logind.conf(5), KillUserProcesses)."""
    system.run("printf 'container_per: user\\nlinger: 10m\\n' >>/etc/ssh2container/users/alice.yaml").ok()
    login(system, "echo kept >/tmp/kept").ok()
    until(lambda: system.run("pgrep -u alice sshd").status == 1, "the login is over", SLOW_SECONDS)
    assert login(system, "cat /tmp/kept").ok().text == "kept\n"
    system.run("sed -i '/^container_per/d; /^linger/d' /etc/ssh2container/users/alice.yaml").ok()


def test_verify_on_this_kernel(system: System) -> None:
    done = system.run("ssh2containerctl verify alice --json", 900)
    failed = [probe for probe in json.loads(done.text)["probes"] if probe["result"] == "fail"]
    assert failed == []
    assert done.status == 0


def test_a_range_of_ids(system: System) -> None:
    """Before Linux 6.6 a tmpfs has no user extended attributes: refused, with the remedy. Later: it works."""
    system.run("""
        mkdir -p tree/bin tree/etc; cp /bin/busybox tree/bin/; ln -s busybox tree/bin/sh
        printf 'root:x:0:0:root:/root:/bin/sh\\n' >tree/etc/passwd; printf 'root:x:0:\\n' >tree/etc/group
        ssh2containerctl image import small tree
        ssh2containerctl image range small
        printf 'image: small\\nuserns_mode: range\\nuser: root\\n' >/etc/ssh2container/users/ranger.yaml
        ssh2containerctl enable ranger
    """, 600).ok()  # fmt: skip
    major, minor = (int(number) for number in system.says("uname -r").split(".")[:2])
    done = login(system, "id -u", "ranger")
    if (major, minor) < (6, 6):
        assert done.status == 125
        assert "user extended attributes" in done.errors
        assert "userns_mode: single" in done.errors
    else:
        assert done.ok().text == "0\n"


def test_after_a_reboot(system: System) -> None:
    system.reboot()
    assert system.says("systemctl is-system-running") == "running"
    assert system.says("stat -c '%a %U' /run/ssh2container/$(id -u alice)") == "700 alice"
    assert login(system, "hostname").ok().text == "renamed\n"


def test_uninstalled(system: System) -> None:
    """The last test of this module: the user cannot log in any more, and nothing is left running."""
    system.run(f"cd {TREE}; ./install.sh --uninstall --purge").ok()
    assert system.says("getent passwd alice").endswith(":/usr/sbin/nologin")
    assert login(system, "true").status != 0
    assert system.says("systemctl list-units --all --no-legend 'ssh2container*' || true") == ""
    assert system.says("systemctl is-system-running") == "running"
