"""On a whole system, with systemd and the distribution's kernel: units, journal, logins by PAM, a reboot."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest
from support.emulated import TEST_SECONDS, TREE, System, login
from support.host import until
from support.limited import SLOW_SECONDS

pytestmark = pytest.mark.timeout(TEST_SECONDS)


def test_everything_is_started_and_healthy(system: System) -> None:
    units = (
        "ssh2container-compile.path",
        "ssh2container-record.socket",
        "ssh2container-commands.socket",
        "ssh2container-image-update.timer",
    )
    assert system.says(f"systemctl is-active {' '.join(units)}").split() == ["active"] * 4
    assert system.says(f"systemctl is-enabled {' '.join(units)}").split() == ["enabled"] * 4
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


def test_units_do_their_work_within_what_confines_them(system: System) -> None:
    """Slices get their limits from a unit that can write nothing else, and images are unpacked by another."""
    slice_has = "systemctl show --property TasksMax --value user-$(id -u alice).slice"
    without = system.says(slice_has)
    system.run("echo 'user_limits: {pids_limit: 321}' >>/etc/ssh2container/users/alice.yaml").ok()
    until(lambda: system.says(slice_has) == "321", "the slice has the limit", SLOW_SECONDS)
    assert system.says("systemctl show --property Result --value ssh2container-limits.service") == "success"
    system.run("sed -i /^user_limits/d /etc/ssh2container/users/alice.yaml").ok()
    until(lambda: system.says(slice_has) == without, "the slice has it no more", SLOW_SECONDS)
    system.run("""
        ssh2containerctl image build host-tools --name tools --only --with /bin/busybox
        systemctl start ssh2container-image-update.service
    """).ok()  # fmt: skip
    assert "tools: unchanged: sha256:" in system.says(
        "journalctl --no-pager -o cat -u ssh2container-image-update.service"
    )


def unread(system: System) -> list[dict[str, Any]] | None:
    """What the doctor says of an sshd that has not read its files; None while it takes no connection.

    What is run here comes by the very sshd that is reloaded.
    """
    done = system.run("ssh2containerctl doctor --host --json --exit-zero")
    if done.status:
        return None
    told = json.loads(done.text)["findings"]
    return [one for one in told if one["check"] == "sshd.running" and one["level"] != "ok"]


def sshd_of(system: System) -> str:
    """The process that listens: a reload keeps it, and with it every connection."""
    return system.says("systemctl show --property MainPID --value ssh.service")


def test_a_groups_policy_reaches_the_sshd_that_runs(system: System) -> None:
    """The unit that compiles starts another one, which renders the drop-in and has sshd read it."""
    listening = sshd_of(system)
    system.run("""
        groupadd crew
        useradd --create-home --groups crew --shell /usr/bin/ssh2container --password '*' deckhand
        cp -a /home/alice/.ssh /home/deckhand/; chown -R deckhand: /home/deckhand/.ssh
        cp -a /etc/ssh2container/config.yaml /root/
        sed -i 's/^group_order:.*/group_order: [crew]/' /etc/ssh2container/config.yaml
        echo 'image: host' >/etc/ssh2container/groups/crew.yaml
    """).ok()
    drop_in = "cat /etc/ssh/sshd_config.d/10-ssh2container.conf"
    until(lambda: "crew" in system.run(drop_in).text, "the drop-in covers the group", SLOW_SECONDS)
    until(lambda: unread(system) == [], "sshd has read it", SLOW_SECONDS)
    assert system.says("systemctl show --property Result --value ssh2container-sshd.service") == "success"
    assert sshd_of(system) == listening
    assert login(system, "id -un; test -e /etc/ssh || echo no-host", "deckhand").ok().text == (
        "deckhand\nno-host\n"
    )
    system.run("""
        cp -a /root/config.yaml /etc/ssh2container/; rm /etc/ssh2container/groups/crew.yaml
        userdel --force --remove deckhand; groupdel crew
    """).ok()
    until(
        lambda: (done := system.run(drop_in)).status == 0 and "crew" not in done.text,
        "the group is covered no more",
        SLOW_SECONDS,
    )


def test_the_doctors_remedy_reloads_sshd_by_its_unit(system: System) -> None:
    until(lambda: unread(system) == [], "sshd has read what was written before", SLOW_SECONDS)
    listening = sshd_of(system)
    system.run("echo 'MaxSessions 7' >/etc/ssh/sshd_config.d/20-more.conf").ok()
    (found,) = unread(system) or []
    assert found["remedy"] == "systemctl reload ssh.service"
    system.run(found["remedy"]).ok()
    until(lambda: unread(system) == [], "sshd has read it", SLOW_SECONDS)
    system.run("rm /etc/ssh/sshd_config.d/20-more.conf").ok()
    assert "systemctl reload ssh.service" in system.says("ssh2containerctl sshd-config --write --reload")
    until(lambda: unread(system) == [], "sshd has read that it is gone", SLOW_SECONDS)
    assert sshd_of(system) == listening


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
    done = system.run("ssh2containerctl verify alice --json")
    failed = [probe for probe in json.loads(done.text)["probes"] if probe["result"] == "fail"]
    assert failed == []
    assert done.status == 0


def test_a_range_of_ids(system: System) -> None:
    """Before Linux 6.6 a tmpfs has no user extended attributes.

    There enable refuses, says what to do, and leaves the user as before.
    """
    system.run("""
        mkdir -p tree/bin tree/etc; cp /bin/busybox tree/bin/; ln -s busybox tree/bin/sh
        printf 'root:x:0:0:root:/root:/bin/sh\\n' >tree/etc/passwd; printf 'root:x:0:\\n' >tree/etc/group
        ssh2containerctl image import small tree
        ssh2containerctl image range small
        printf 'image: small\\nuserns_mode: range\\nuser: root\\n' >/etc/ssh2container/users/ranger.yaml
    """).ok()  # fmt: skip
    account = "getent passwd ranger; id ranger; ls -ld /home/ranger"
    before = system.says(account)
    major, minor = (int(number) for number in system.says("uname -r").split(".")[:2])
    done = system.run("ssh2containerctl enable ranger")
    if (major, minor) < (6, 6):
        assert done.status == 1
        assert "user extended attributes" in done.errors
        assert "userns_mode: single" in done.errors
        assert system.says(account) == before
        login(system, "test -e /etc/ssh", "ranger").ok()  # the host's, by the shell of before
        system.run("rm /etc/ssh2container/users/ranger.yaml; ssh2containerctl compile").ok()
    else:
        done.ok()
        assert login(system, "id -u", "ranger").ok().text == "0\n"


def test_a_hook_reaches_a_socket_unit_of_root(system: System) -> None:
    """The example of docs/hooks.md, as it stands there: what it marks is as sure as the kernel."""
    with open(f"{os.path.dirname(__file__)}/../../docs/hooks.md", encoding="utf-8") as file:
        blocks = re.findall(r"```(\w+)\n(.*?)```", file.read().partition("## What needs root")[2], re.DOTALL)
    made = "mkdir -p /etc/ssh2container/hooks"
    for kind, text in blocks:
        place = re.search(r"^# (/\S+)$", text, re.MULTILINE)
        path = place[1] if place else "/etc/ssh2container/users/alice.yaml"
        made += f"\ncat {'>' if place else '>>'}{path} <<'END'\n{text}END"
        if kind == "sh":
            made += f"\nchmod 755 {path}"
    system.run("cp /etc/ssh2container/users/alice.yaml /root/alice.before").ok()
    system.run(f"{made}\nsystemctl daemon-reload\nsystemctl enable --now session-mark.socket").ok()
    assert login(system, "exit 3").status == 3
    marks = "cut -d ' ' -f 2- /var/log/session-marks"
    uid = system.says("id -u alice").strip()
    until(
        lambda: system.says(marks).split("\n")[:2] == [f"{uid} opened", f"{uid} closed"],
        "marks",
        SLOW_SECONDS,
    )
    system.run("""
        mv /root/alice.before /etc/ssh2container/users/alice.yaml; ssh2containerctl compile
        systemctl disable --now session-mark.socket; rm /etc/systemd/system/session-mark*
    """).ok()


def test_a_command_of_the_host(system: System) -> None:
    """Run by the units of systemd, which confine it, and gone from the session with the policy."""
    system.run("""
        mkdir -p /opt/courses
        printf '#!/bin/sh\\nid -un; echo "$@"; cat; touch /usr/there 2>&1; exit 3\\n' >/opt/courses/submit
        chmod 755 /opt/courses/submit
        echo 'host_commands: {submit: {path: /opt/courses/submit, accept: ["[a-z]+"], user: daemon}}' \\
            >>/etc/ssh2container/users/alice.yaml
    """).ok()
    done = login(system, "echo homework | submit algebra; echo =$?")
    *said, refused, status = done.ok().text.splitlines()
    assert (said, status) == (["daemon", "algebra", "homework"], "=3")
    assert "Read-only file system" in refused
    logged = system.says("journalctl -t ssh2container -o json --no-pager | grep host-command | tail -n 2")
    ended = json.loads(logged.splitlines()[1])
    assert ended["SSH2CONTAINER_EVENT"] == "host-command-end"
    assert (ended["SSH2CONTAINER_USER"], ended["SSH2CONTAINER_EXIT"]) == ("alice", "3")
    system.run("sed -i /^host_commands/d /etc/ssh2container/users/alice.yaml").ok()
    assert login(system, "submit algebra").status == 127


def test_timers_start_jobs_and_write_metrics(system: System) -> None:
    job, metrics = "ssh2container-schedule-alice-1", "/var/lib/prometheus/node-exporter/ssh2container.prom"
    policy = "/etc/ssh2container/users/alice.yaml"
    # The first time is when counting begins.
    system.run(f"mkdir -p {os.path.dirname(metrics)}; systemctl start ssh2container-metrics.service").ok()
    system.run(f"""
        echo 'schedule: [{{at: "* * * * *", command: "echo at work beside $(ls /home)"}}]' >>{policy}
    """).ok()
    until(lambda: system.run(f"systemctl is-active {job}.timer").status == 0, "its timer waits", SLOW_SECONDS)
    journal = f"journalctl -o cat --no-pager -u {job}.service"
    until(lambda: "at work beside alice\n" in system.run(journal).text, "it has run", SLOW_SECONDS)
    assert '"job": "1"' in system.says("ssh2containerctl log alice --json")
    system.run("systemctl start ssh2container-metrics.service").ok()
    started = 'ssh2container_sessions_started_total{kind="command"} '
    assert int(system.says(f"cat {metrics}").partition(started)[2].split()[0]) > 0
    system.run(f"sed -i /^schedule/d {policy}").ok()
    gone = f"! systemctl is-active {job}.timer && ! test -e /etc/systemd/system/{job}.timer"
    until(lambda: system.run(gone).status == 0, "nothing of it is left", SLOW_SECONDS)


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
