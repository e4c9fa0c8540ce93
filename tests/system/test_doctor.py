"""The doctor finds each way around the login shell when it is there, and none when it is not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from support.installation import Installation
from support.sshd import free_port

SSHD = "/etc/ssh/sshd_config.d/00-careless.conf"
MATCH = "Match User alice\\n"


@dataclass(frozen=True)
class Plant:
    """Something an administrator or a user may have left on the host."""

    check: str
    level: str
    make: str
    undo: str
    shown: str = ""


PLANTS = {
    "cron": Plant(
        "routes.cron",
        "problem",
        "mkdir -p /var/spool/cron/crontabs; echo '* * * * * id' >/var/spool/cron/crontabs/alice",
        "rm /var/spool/cron/crontabs/alice",
        "cron runs its lines",
    ),
    "cron.allow": Plant(
        "routes.cron",
        "note",
        "printf '#!/bin/sh\\n' >/usr/local/bin/crontab; chmod 755 /usr/local/bin/crontab; echo alice "
        ">/etc/cron.allow",
        "rm /usr/local/bin/crontab /etc/cron.allow",
    ),
    "at": Plant(
        "routes.at",
        "problem",
        "mkdir -p /var/spool/cron/atjobs; echo id >/var/spool/cron/atjobs/a1; chown alice "
        "/var/spool/cron/atjobs/a1",
        "rm /var/spool/cron/atjobs/a1",
    ),
    "linger": Plant(
        "routes.linger",
        "warning",
        "mkdir -p /var/lib/systemd/linger; touch /var/lib/systemd/linger/alice",
        "rm /var/lib/systemd/linger/alice",
    ),
    "user units": Plant(
        "routes.user-units",
        "warning",
        "mkdir -p ~alice/.config/systemd/user; touch ~alice/.config/systemd/user/x.service",
        "rm -r ~alice/.config",
    ),
    "forward": Plant(
        "routes.mail",
        "problem",
        "echo '|/bin/sh' >~alice/.forward; printf '#!/bin/sh\\n' >/usr/sbin/exim4",
        "rm ~alice/.forward /usr/sbin/exim4",
    ),
    "doas": Plant(
        "routes.sudo", "warning", "echo 'permit nopass alice' >/etc/doas.conf", "rm /etc/doas.conf"
    ),
    "sshrc": Plant("routes.sshrc", "warning", "echo id >/etc/ssh/sshrc", "rm /etc/ssh/sshrc"),
    "pam_env": Plant(
        "routes.pam-env",
        "problem",
        "echo 'session required pam_env.so user_readenv=1' >/etc/pam.d/careless; touch "
        "~alice/.pam_environment",
        "rm /etc/pam.d/careless ~alice/.pam_environment",
    ),
    "etc shells": Plant(
        "routes.chsh",
        "warning",
        "echo /usr/bin/ssh2container >>/etc/shells",
        "sed -i '\\,ssh2container,d' /etc/shells",
    ),
    "open home": Plant("routes.home", "problem", "chmod o+w ~alice", "chmod o-w ~alice"),
    "two names": Plant(
        "user.uid",
        "problem",
        "useradd -o -u $(id -u alice) -s /usr/bin/ssh2container twin",
        "userdel --force twin",
        "share uid",
    ),
    "powerful group": Plant("user.groups", "problem", "gpasswd -a alice adm", "gpasswd -d alice adm"),
    "no group": Plant(
        "user.group", "problem", "gpasswd -d alice ssh2container", "gpasswd -a alice ssh2container"
    ),
    "no runtime directory": Plant(
        "user.runtime",
        "problem",
        "mv /run/ssh2container/$(id -u alice) /run/away",
        "mv /run/away /run/ssh2container/$(id -u alice)",
    ),
    "no tmpfiles entry": Plant(
        "user.tmpfiles",
        "warning",
        "mv /etc/tmpfiles.d/ssh2container-$(id -u alice).conf /root/away",
        "mv /root/away /etc/tmpfiles.d/ssh2container-$(id -u alice).conf",
    ),
    "no policy": Plant(
        "user.policy",
        "problem",
        "mv /etc/ssh2container/users/alice.yaml /root/away",
        "mv /root/away /etc/ssh2container/users/alice.yaml; ssh2containerctl compile",
        "there is no policy",
    ),
    "a policy with an error": Plant(
        "user.policy",
        "problem",
        "cp -a /etc/ssh2container/users/alice.yaml /root/away; echo nonsense: 1 "
        ">>/etc/ssh2container/users/alice.yaml",
        "mv /root/away /etc/ssh2container/users/alice.yaml; ssh2containerctl compile",
        "is refused",
    ),
    "stale policy": Plant(
        "policy.compiled",
        "warning",
        "echo >>/etc/ssh2container/users/alice.yaml",
        "ssh2containerctl compile",
        "users/alice",
    ),
    "bound home": Plant(
        "user.host-home",
        "problem",
        "cp -a /etc/ssh2container/users/alice.yaml /root/away; "
        "echo 'volumes: [\"/home/alice:/mine:rw\"]' >>/etc/ssh2container/users/alice.yaml",
        "mv /root/away /etc/ssh2container/users/alice.yaml; ssh2containerctl compile",
    ),
    "no collector": Plant(
        "record.collector",
        "problem",
        "cp -a /etc/ssh2container/users/alice.yaml /root/away; "
        "echo 'record: {terminal: true}' >>/etc/ssh2container/users/alice.yaml",
        "mv /root/away /etc/ssh2container/users/alice.yaml; ssh2containerctl compile",
        "refused",
    ),
    "writable interpreter": Plant(
        "code.ownership", "problem", "chmod o+w /usr/lib/python3", "chmod o-w /usr/lib/python3"
    ),
    "writable policies": Plant(
        "code.ownership", "problem", "chown alice /etc/ssh2container", "chown root /etc/ssh2container"
    ),
    "another interpreter": Plant(
        "code.interpreter",
        "problem",
        "sed -i '1s,.*,#!/usr/bin/env python3,' /usr/lib/ssh2container/login",
        "sed -i '1s,.*,#!/usr/bin/python3 -ISB,' /usr/lib/ssh2container/login",
    ),
    "an upgraded distribution": Plant(
        "code.modules",
        "problem",
        "ln -s /usr/lib/python3/dist-packages/gone.so /usr/lib/ssh2container/current/gone.so",
        "rm /usr/lib/ssh2container/current/gone.so",
    ),
    "preloaded library": Plant(
        "kernel.ld-so-preload", "warning", "echo '# none' >/etc/ld.so.preload", "rm /etc/ld.so.preload"
    ),
    "no drop-in": Plant(
        "sshd.drop-in",
        "problem",
        "mv /etc/ssh/sshd_config.d/10-ssh2container.conf /root/away",
        "mv /root/away /etc/ssh/sshd_config.d/10-ssh2container.conf",
    ),
    "internal-sftp": Plant(
        "sshd.internal-sftp",
        "problem",
        f"printf '{MATCH}ForceCommand internal-sftp\\n' >{SSHD}",
        f"rm {SSHD}",
    ),
    "chroot": Plant(
        "sshd.chrootdirectory", "problem", f"printf '{MATCH}ChrootDirectory /srv\\n' >{SSHD}", f"rm {SSHD}"
    ),
    "environment": Plant(
        "sshd.permituserenvironment",
        "problem",
        f"printf 'PermitUserEnvironment yes\\n' >{SSHD}",
        f"rm {SSHD}",
    ),
    "key files": Plant(
        "sshd.authorizedkeysfile",
        "warning",
        f"mkdir /srv/keys; touch /srv/keys/alice; chown alice /srv/keys/alice; "
        f"printf 'AuthorizedKeysFile /srv/keys/%%u\\n' >{SSHD}",
        f"rm -r /srv/keys {SSHD}",
    ),
    "logind": Plant(
        "sharing.logind",
        "warning",
        "cp -p /etc/ssh2container/users/alice.yaml /root/alice.yaml; "
        "echo 'container_per: user' >>/etc/ssh2container/users/alice.yaml; "
        "test -e /usr/lib/systemd/systemd-logind || { mkdir -p /usr/lib/systemd; touch /root/no-logind "
        "/usr/lib/systemd/systemd-logind; }; mkdir -p /etc/systemd/logind.conf.d; "
        "printf '[Login]\\nKillUserProcesses=yes\\n' >/etc/systemd/logind.conf.d/50-test.conf",
        "mv /root/alice.yaml /etc/ssh2container/users/alice.yaml; "
        "ssh2containerctl compile; rm /etc/systemd/logind.conf.d/50-test.conf; "
        "! test -e /root/no-logind || rm /root/no-logind /usr/lib/systemd/systemd-logind",
        "logind ends all processes of a login",
    ),
    "broken sshd_config": Plant("sshd.config", "problem", f"echo Nonsense >{SSHD}", f"rm {SSHD}"),
    **{
        keyword: Plant(
            f"sshd.{keyword.lower()}",
            "problem",
            f"printf '{MATCH}{keyword} {value}\\n' >{SSHD}",
            f"rm {SSHD}",
        )
        for keyword, value in {
            "AllowTcpForwarding": "local",
            "AllowStreamLocalForwarding": "yes",
            "X11Forwarding": "yes",
            "PermitTunnel": "yes",
            "GatewayPorts": "yes",
            "AcceptEnv": "LD_*",
        }.items()
    },
}


@pytest.fixture(scope="module")
def healthy(shared: Installation) -> Installation:
    """An installed machine with one enabled user, and nothing else that could be found."""
    machine = shared.machine
    machine.shell(
        "sed -i 's/ user_readenv=1//' /etc/pam.d/*; rm -f /etc/cron.allow /etc/at.allow; chmod 700 /root"
    )
    machine.shell("touch /dev/log; userdel --force s2c-other 2>/dev/null || true")
    shared.add_user("alice")
    shared.control("enable", "alice")
    return shared


def problems(installation: Installation) -> set[tuple[str, str, str]]:
    return {
        (found["check"], found["level"], found["text"])
        for found in installation.doctor("alice")
        if found["level"] != "ok"
    }


def test_a_healthy_host(healthy: Installation) -> None:
    """Nothing but notes, status 0, and every check said what it had seen."""
    assert {level for _, level, _ in problems(healthy)} <= {"note"}
    assert healthy.control("doctor", "alice").returncode == 0
    shown = healthy.control("doctor", "--all", "alice").stdout
    for words in ("a complete container was made", "X11Forwarding is no", "ForceCommand"):
        assert words in shown


@pytest.mark.parametrize("name", PLANTS)
def test_what_is_planted_is_found(healthy: Installation, name: str) -> None:
    plant = PLANTS[name]
    before = problems(healthy)
    healthy.machine.shell(plant.make)
    try:
        names = [] if plant.check == "user.uid" else ["alice"]
        told = healthy.doctor(*names)
        status = healthy.control("doctor", *names, check=False).returncode
    finally:
        healthy.machine.shell(plant.undo)
    new = {(found["check"], found["level"], found["text"]) for found in told} - before
    assert any(
        (check, level) == (plant.check, plant.level) and plant.shown in text for check, level, text in new
    ), new
    assert status >= {"note": 0, "warning": 1, "problem": 2}[plant.level]
    assert all(found["remedy"] for found in told if found["level"] in ("warning", "problem"))
    assert problems(healthy) == before


def test_a_running_sshd_with_another_configuration(healthy: Installation) -> None:
    """The doctor asks every sshd that runs, not only the one of /etc/ssh."""
    machine = healthy.machine
    machine.shell("ssh-keygen -q -t ed25519 -N '' -f /root/other_key")
    machine.write(
        "/root/other_config",
        f"ListenAddress 127.0.0.1\nPort {free_port()}\nHostKey /root/other_key\nPidFile /root/other.pid\n"
        "Subsystem sftp internal-sftp\n",
    )
    server = machine.spawn("/usr/sbin/sshd", "-D", "-f", "/root/other_config")
    try:
        machine.shell("for i in $(seq 100); do [ -e /root/other.pid ] && exit; sleep 0.1; done; exit 1")
        found = [one for one in healthy.doctor("alice") if one["check"] == "sshd.internal-sftp"]
    finally:
        machine.shell("kill $(cat /root/other.pid)")
        server.communicate(timeout=30)
    assert {(one["level"], one["detail"].get("config")) for one in found} == {
        ("ok", None),
        ("problem", "/root/other_config"),
    }


def test_no_user_namespaces(healthy: Installation) -> None:
    """The trial names the step, the errno and the switch (here one of a namespace of our own)."""
    script = "echo 0 >/proc/sys/user/max_user_namespaces; exec ssh2containerctl doctor --host --json"
    everybody = [
        "unshare",
        "--user",
        "--map-users=0,0,65536",
        "--map-groups=0,0,65536",
        "--setuid=0",
        "--setgid=0",
    ]
    healthy.machine.shell("for file in /etc/subuid /etc/subgid; do echo root:0:65536 >>$file; done")
    done = healthy.machine.run(*everybody, "bash", "-c", script, check=False)
    assert done.returncode == 2, done.stderr
    assert "ENOSPC" in done.stdout
    assert "step namespaces" in done.stdout
    assert "sysctl user.max_user_namespaces=" in done.stdout


def test_it_has_to_be_root(healthy: Installation) -> None:
    done = healthy.machine.run(
        "setpriv", "--reuid=65534", "--clear-groups", "ssh2containerctl", "doctor", check=False
    )
    assert done.returncode == 2
    assert "run it as root" in done.stderr
