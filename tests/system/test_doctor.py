"""The doctor finds each way around the login shell when it is there, and none when it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.host import DEADLINE_SECONDS, until
from support.installation import Installation
from support.sshd import free_port, written

SSHD = "/etc/ssh/sshd_config.d/00-careless.conf"
MATCH = "Match User alice\\n"
POLICY = "/etc/ssh2container/users/alice.yaml"
LIMITED = f"cp -a {POLICY} /root/without; printf 'mem_limit: 1g\\nlimits: best\\n' >>{POLICY}"
UNLIMITED = f"mv /root/without {POLICY}; ssh2containerctl compile"


@dataclass(frozen=True)
class Plant:
    """Something an administrator or a user may have left on the host. remedy: what is in its finding's."""

    check: str
    level: str
    make: str
    undo: str
    shown: str = ""
    remedy: str = ""


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
    "linger of whom it limits": Plant(
        "routes.linger",
        "note",
        f"{LIMITED}; mkdir -p /var/lib/systemd/linger; touch /var/lib/systemd/linger/alice",
        f"rm /var/lib/systemd/linger/alice; {UNLIMITED}",
        "which limits sessions",
    ),
    "user units beside limits": Plant(
        "routes.user-units",
        "warning",
        f"{LIMITED}; mkdir -p ~alice/.config/systemd/user; touch ~alice/.config/systemd/user/x.service",
        f"rm -r ~alice/.config; {UNLIMITED}",
        remedy="the manager has to stay",
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
        "useradd -o -u $(id -u alice) -s /bin/bash twin",
        "userdel --force twin",
        "twin shares uid",
    ),
    "the shell of before": Plant(
        "user.shell",
        "problem",
        "usermod -s /bin/bash alice",
        "usermod -s /usr/bin/ssh2container alice",
        "was enabled",
    ),
    "powerful group": Plant("user.groups", "problem", "gpasswd -a alice adm", "gpasswd -d alice adm"),
    "no group": Plant(
        "user.group", "problem", "gpasswd -d alice ssh2container", "gpasswd -a alice ssh2container"
    ),
    "an open runtime directory": Plant(
        "user.runtime",
        "problem",
        "chmod 755 /run/ssh2container/$(id -u alice)",
        "chmod 700 /run/ssh2container/$(id -u alice)",
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
    **{
        f"internal-sftp for {criterion.partition(' ')[0]}": Plant(
            "sshd.internal-sftp",
            "problem",
            f"printf 'Match {criterion} User alice\\nForceCommand internal-sftp\\n' >{SSHD}",
            f"rm {SSHD}",
            f"{SSHD}:2 says so below Match {criterion.partition(' ')[0]}",
        )
        for criterion in (
            "LocalPort 2222",
            "Address 10.0.0.0/8,!10.9.0.0/16",
            "LocalAddress 203.0.113.9",
            "Host *.example.org",
            "RDomain blue",
        )
    },
    "two conditions, the second hidden by the first": Plant(
        "sshd.internal-sftp",
        "problem",
        "printf 'Match LocalAddress 127.0.0.1\\nForceCommand ssh2container-session\\nMatch LocalPort 2222\\n"
        f"ForceCommand internal-sftp\\n' >{SSHD}",
        f"rm {SSHD}",
        f"{SSHD}:4 says so below Match LocalPort 2222",
    ),
    "a condition around an Include": Plant(
        "sshd.x11forwarding",
        "problem",
        "printf 'Match Group ssh2container\\nX11Forwarding yes\\n' >/root/more.conf; "
        f"printf 'Match LocalPort 2222\\nInclude /root/more.conf\\n' >{SSHD}",
        f"rm {SSHD} /root/more.conf",
        "connections with lport=2222",
    ),
    "a key that forces internal-sftp, without ForceCommand": Plant(
        "keys.command",
        "problem",
        "ssh2containerctl sshd-config --write --without-force-command; mkdir -p ~alice/.ssh; "
        "echo 'command=\"internal-sftp\" ssh-ed25519 AAAA' >~alice/.ssh/authorized_keys",
        "rm ~alice/.ssh/authorized_keys; ssh2containerctl sshd-config --write --with-force-command",
        "authorized_keys:1",
    ),
    "a key that forces a command": Plant(
        "keys.command",
        "note",
        "mkdir -p ~alice/.ssh; printf '# mine\\nrestrict,command=\"rsync --server\" ssh-ed25519 AAAA\\n' "
        ">~alice/.ssh/authorized_keys",
        "rm ~alice/.ssh/authorized_keys",
        "authorized_keys:2",
    ),
    "a key file that cannot be read": Plant(
        "keys.unreadable",
        "warning",
        "mkdir -p ~alice/.ssh/authorized_keys",
        "rmdir ~alice/.ssh/authorized_keys",
    ),
    "keys of a command": Plant(
        "keys.authorizedkeyscommand",
        "note",
        f"printf 'AuthorizedKeysCommand /usr/bin/true\\nAuthorizedKeysCommandUser nobody\\n' >{SSHD}",
        f"rm {SSHD}",
        "not checked here",
    ),
    "no word of which key was used": Plant(
        "sshd.exposeauthinfo", "problem", f"printf '{MATCH}ExposeAuthInfo no\\n' >{SSHD}", f"rm {SSHD}"
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
        "sed -i 's/ user_readenv=1//' /etc/pam.d/*; rm -f /etc/cron.allow /etc/at.allow "
        "/usr/bin/crontab /usr/bin/at; chmod 700 /root"
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


@pytest.fixture(scope="module")
def at_rest(healthy: Installation) -> set[tuple[str, str, str]]:
    """What is found where nothing is planted; each test leaves the host so."""
    return problems(healthy)


def test_a_healthy_host(healthy: Installation) -> None:
    """Nothing but notes, status 0, and every check said what it had seen."""
    assert {level for _, level, _ in problems(healthy)} <= {"note"}
    assert healthy.control("doctor", "alice").returncode == 0
    shown = healthy.control("doctor", "--all", "alice").stdout
    for words in ("a complete container was made", "X11Forwarding is no", "ForceCommand"):
        assert words in shown


@pytest.mark.parametrize("name", PLANTS)
def test_what_is_planted_is_found(
    healthy: Installation, at_rest: set[tuple[str, str, str]], name: str
) -> None:
    plant = PLANTS[name]
    before = at_rest
    healthy.machine.shell(plant.make)
    try:
        done = healthy.control("doctor", "--json", "alice", check=False)
        told, status = json.loads(done.stdout)["findings"], done.returncode
    finally:
        healthy.machine.shell(plant.undo)
    new = {(found["check"], found["level"], found["text"]) for found in told} - before
    assert any(
        (check, level) == (plant.check, plant.level) and plant.shown in text for check, level, text in new
    ), new
    assert any(plant.remedy in found["remedy"] for found in told if found["check"] == plant.check)
    assert status >= {"note": 0, "warning": 1, "problem": 2}[plant.level]
    assert all(found["remedy"] for found in told if found["level"] in ("warning", "problem"))
    assert problems(healthy) == before


@pytest.mark.parametrize(
    "name",
    [
        "cron",
        "open home",
        "two names",
        "the shell of before",
        "powerful group",
        "no group",
        "an open runtime directory",
        "no tmpfiles entry",
        "stale policy",
        "key files",
        "a key that forces internal-sftp, without ForceCommand",
    ],
)
def test_what_the_remedy_says_mends_it(healthy: Installation, name: str) -> None:
    """Typed as it stands, up to what else one might do."""
    plant = PLANTS[name]
    healthy.machine.shell(plant.make)
    try:
        found = [
            one
            for one in healthy.doctor("alice")
            if (one["check"], one["level"]) == (plant.check, plant.level)
        ]
        assert found
        healthy.machine.shell(found[0]["remedy"].partition(" (or ")[0])
        after = {(one["check"], one["level"]) for one in healthy.doctor("alice")}
        assert (plant.check, plant.level) not in after
    finally:
        healthy.machine.run("bash", "-c", plant.undo, check=False)


def test_programs_that_collect_get_status_0(healthy: Installation) -> None:
    """What is found is the same, in both forms: only the status is not what tells it."""
    plant = PLANTS["cron"]
    healthy.machine.shell(plant.make)
    try:
        usual, collected = (
            healthy.control("doctor", "alice", *options, check=False) for options in ((), ("--exit-zero",))
        )
        as_json = healthy.control("doctor", "--json", "--exit-zero", "alice")
    finally:
        healthy.machine.shell(plant.undo)
    assert (usual.returncode, collected.returncode) == (2, 0)
    assert plant.shown in usual.stdout
    assert collected.stdout == usual.stdout
    assert plant.check in {one["check"] for one in json.loads(as_json.stdout)["findings"]}


def test_a_user_who_was_renamed(healthy: Installation) -> None:
    """The policy goes by the name of before; the remedy brings it along."""
    machine = healthy.machine
    policy = machine.read("/etc/ssh2container/users/alice.yaml")
    machine.shell("usermod --login alicia alice")
    try:
        (found,) = [one for one in healthy.doctor("alicia") if one["check"] == "user.policy"]
        assert "alice had one" in found["text"]
        machine.shell(found["remedy"])
        assert machine.read("/etc/ssh2container/users/alicia.yaml") == policy
        assert healthy.inside("alicia", "id -un").stdout == "alicia\n"
        told = {one["check"] for one in healthy.doctor("alicia") if one["level"] in ("warning", "problem")}
        assert not told & {"user.policy", "user.login"}
    finally:
        machine.shell("usermod --login alice alicia; rm -f /etc/ssh2container/users/alicia.yaml")
        machine.write("/etc/ssh2container/users/alice.yaml", policy)
        healthy.control("enable", "alice")


def test_a_renamed_users_home_comes_along(healthy: Installation) -> None:
    """Neither doctor's remedy nor enable hides what is kept behind a new, empty home."""
    machine = healthy.machine
    healthy.add_user("before")
    machine.write("/etc/ssh2container/users/before.yaml", "home: {source: /srv/homes/%u}\n")
    try:
        healthy.control("enable", "before")
        healthy.inside("before", "echo precious >~/data")
        machine.shell("usermod --login after before")
        (found,) = [one for one in healthy.doctor("after") if one["check"] == "user.policy"]
        assert "mv -nT /srv/homes/before /srv/homes/after" in found["remedy"]
        machine.shell("cp /etc/ssh2container/users/before.yaml /etc/ssh2container/users/after.yaml")
        refused = healthy.control("enable", "after", check=False)
        assert refused.returncode
        assert "was called before when enabled" in refused.stderr
        assert not machine.shell("find /srv/homes -name after")
        machine.shell("rm /etc/ssh2container/users/after.yaml")
        machine.shell(found["remedy"])
        assert healthy.inside("after", "cat ~/data").stdout == "precious\n"
        told = {one["check"] for one in healthy.doctor("after") if one["level"] in ("warning", "problem")}
        assert not told & {"user.policy", "user.login"}
        healthy.control("disable", "--restore-shell", "after")
        assert healthy.shell_of("after") == "/bin/bash"
    finally:
        machine.shell("for name in after before; do userdel --force $name 2>/dev/null || true; done")
        machine.shell("rm -rf /srv/homes/{before,after} /etc/ssh2container/users/{before,after}.yaml")
        healthy.control("disable", "--gone", check=False)


def test_another_ssh_server(healthy: Installation, at_rest: set[tuple[str, str, str]]) -> None:
    """No drop-in holds for dropbear: doctor and enable say so, and the remedy stops it."""
    machine, port = healthy.machine, free_port()
    machine.shell("rm -f /root/dropbear_key; dropbearkey -t ed25519 -f /root/dropbear_key")
    server = machine.spawn(
        "dropbear", "-F", "-E", "-r", "/root/dropbear_key", "-p", f"127.0.0.1:{port}", "-P", "/root/bear.pid"
    )
    machine.shell(written("bear"))
    pid = machine.read("/root/bear.pid").strip()
    try:
        (found,) = [one for one in healthy.doctor("alice") if one["check"] == "sshd.other-server"]
        assert (found["level"], found["subject"]) == ("warning", f"dropbear (pid {pid})")
        said = healthy.control("enable", "alice").stderr
        assert f"warning: dropbear (pid {pid}) runs" in said
        warnings = json.loads(healthy.control("enable", "--json", "alice").stdout)["warnings"]
        assert [one for one in warnings if one.startswith(f"dropbear (pid {pid})")]
        machine.shell(found["remedy"].partition(" (or ")[0])
    finally:
        server.communicate(timeout=DEADLINE_SECONDS)
    assert problems(healthy) == at_rest
    assert "warning: dropbear" not in healthy.control("enable", "alice").stderr


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
        machine.shell(written("other"))
        found = [one for one in healthy.doctor("alice") if one["check"] == "sshd.internal-sftp"]
    finally:
        machine.shell("kill $(cat /root/other.pid)")
        server.communicate(timeout=DEADLINE_SECONDS)
    assert {(one["level"], one["detail"].get("config")) for one in found} == {
        ("ok", None),
        ("problem", "/root/other_config"),
    }


class TestRunningServer:
    """What the running sshd has read, not what the files say now."""

    @pytest.fixture
    def server(self, healthy: Installation) -> Iterator[int]:
        """An sshd that was started before the drop-in came; the value is its pid."""
        machine = healthy.machine
        machine.shell("ssh-keygen -q -t ed25519 -N '' -f /root/live_key; mkdir -p /root/live.d")
        machine.write(
            "/root/live_config",
            f"ListenAddress 127.0.0.1\nPort {free_port()}\nHostKey /root/live_key\nPidFile /root/live.pid\n"
            "Include /root/live.d/*.conf\nSubsystem sftp internal-sftp\n",
        )
        process = machine.spawn("/usr/sbin/sshd", "-D", "-f", "/root/live_config")
        machine.shell(written("live"))
        pid = int(machine.read("/root/live.pid"))
        yield pid
        machine.shell(f"kill {pid}; rm -rf /root/live*")
        process.communicate(timeout=DEADLINE_SECONDS)

    def told(self, healthy: Installation, server: int) -> dict[str, Any] | None:
        """The finding about this server, None when it has read its files."""
        found = [one for one in healthy.doctor("alice") if one["check"] == "sshd.running"]
        return next(
            (one for one in found if one["level"] != "ok" and f"pid {server})" in one["subject"]), None
        )

    @pytest.mark.parametrize(
        "change",
        [
            "cp /etc/ssh/sshd_config.d/10-ssh2container.conf /root/live.d/",
            "echo 'X11Forwarding no' >>/root/live_config",
            # With the times of before, as an archive is unpacked or a package restored.
            "echo MaxSessions 3 >/root/live.d/a.conf; touch -r /root/live_config /root/live.d/a.conf",
        ],
    )
    def test_what_it_has_not_read_is_a_problem_until_the_remedy(
        self, healthy: Installation, server: int, change: str
    ) -> None:
        assert self.told(healthy, server) is None
        healthy.machine.shell(change)
        found = self.told(healthy, server)
        assert found
        assert found["level"] == "problem"
        assert found["remedy"] == f"kill -HUP {server}"
        healthy.machine.shell(f"rm /root/live.pid; {found['remedy']}")
        healthy.machine.shell(written("live"))
        assert self.told(healthy, server) is None

    def test_a_file_that_it_has_read_and_that_is_gone(self, healthy: Installation, server: int) -> None:
        healthy.machine.shell("echo 'AllowTcpForwarding yes' >/root/live.d/50-gone.conf")
        healthy.machine.shell(f"rm /root/live.pid; kill -HUP {server}; " + written("live"))
        assert self.told(healthy, server) is None
        healthy.machine.shell("rm /root/live.d/50-gone.conf")
        found = self.told(healthy, server)
        assert found
        assert "/root/live.d/50-gone.conf" in found["text"]

    def test_who_writes_the_drop_in_is_offered_the_reload(self, healthy: Installation, server: int) -> None:
        healthy.machine.shell("echo 'MaxSessions 4' >/root/live.d/a.conf")
        said = healthy.control("sshd-config", "--write").stdout
        assert f"kill -HUP {server}" in said
        assert self.told(healthy, server)
        done = healthy.control("enable", "--reload-sshd", "alice")
        assert "done: make the running sshd read its files" in done.stdout
        assert self.told(healthy, server) is None

    @pytest.mark.parametrize(
        ("answer", "read"), [(b"y\n", True), (b"\n", True), (b"n\n", False), (b"", False)]
    )
    def test_the_question_on_a_terminal(
        self, healthy: Installation, server: int, answer: bytes, *, read: bool
    ) -> None:
        """Yes, just return, no, and no answer at all: then it is said how, and nothing has failed."""
        healthy.machine.shell("echo 'X11Forwarding no' >>/root/live_config")
        done = healthy.machine.run(
            "script", "-qec", "ssh2containerctl sshd-config --write", "/dev/null", stdin=answer
        )
        assert "Reload it? Existing connections are kept. [Y/n]" in done.stdout
        assert (self.told(healthy, server) is None) == read
        assert (f"kill -HUP {server}" in done.stdout.rpartition("[Y/n]")[2]) is True
        assert ("still uses the earlier ones" in done.stdout) != read

    def test_who_is_no_terminal_is_not_asked(self, healthy: Installation, server: int) -> None:
        healthy.machine.shell("echo 'X11Forwarding no' >>/root/live_config")
        done = healthy.control("sshd-config", "--write")
        assert "[Y/n]" not in done.stdout + done.stderr
        assert self.told(healthy, server) is not None

    def test_enable_warns_of_one_without_the_drop_in(self, healthy: Installation, server: int) -> None:
        said = healthy.control("enable", "alice").stderr
        line = next(one for one in said.splitlines() if one.startswith(f"warning: sshd (pid {server})"))
        assert "/root/live_config, which does not include" in line
        include = line.partition("first line: ")[2]
        healthy.machine.shell(f"sed -i '1i{include}' /root/live_config; kill -HUP {server}")
        until(lambda: self.told(healthy, server) is None, "it has read the drop-in")
        assert f"sshd (pid {server})" not in healthy.control("enable", "alice").stderr

    def test_one_whose_program_was_replaced(self, healthy: Installation) -> None:
        """After an upgrade without a restart: the answers are those of the program on disk."""
        machine = healthy.machine
        machine.shell(
            "mkdir -p /root/old; cp /usr/sbin/sshd /root/old/;ssh-keygen -q -t ed25519 -N '' -f /root/old/key"
        )
        machine.write(
            "/root/old/config",
            f"ListenAddress 127.0.0.1\nPort {free_port()}\nHostKey /root/old/key\nPidFile /root/old.pid\n"
            "Include /etc/ssh/sshd_config.d/*.conf\n",
        )
        process = machine.spawn("/root/old/sshd", "-D", "-f", "/root/old/config")

        def replaced() -> list[dict[str, Any]]:
            return [one for one in healthy.doctor("alice") if one["check"] == "sshd.replaced"]

        try:
            machine.shell(written("old"))
            assert replaced() == []
            machine.shell("cp /usr/sbin/sshd /root/old/new; mv /root/old/new /root/old/sshd")
            (found,) = replaced()
            machine.shell(found["remedy"])
            until(lambda: not replaced(), "it runs the program on disk")
        finally:
            machine.shell("kill $(cat /root/old.pid); rm -r /root/old")
            process.communicate(timeout=DEADLINE_SECONDS)

    def test_an_option_on_its_command_line_outdoes_the_files(self, healthy: Installation) -> None:
        machine = healthy.machine
        machine.shell("ssh-keygen -q -t ed25519 -N '' -f /root/option_key")
        machine.write(
            "/root/option_config",
            "ListenAddress 127.0.0.1\nHostKey /root/option_key\nPidFile /root/option.pid\n"
            "Include /etc/ssh/sshd_config.d/10-ssh2container.conf\n",
        )
        process = machine.spawn(
            "/usr/sbin/sshd", "-D", "-f", "/root/option_config", "-p", str(free_port()), "-oMaxSessions=99"
        )
        try:
            machine.shell(written("option"))
            found = [one for one in healthy.doctor("alice") if one["detail"].get("options")]
            assert any("MaxSessions=99" in one["detail"]["options"] for one in found)
        finally:
            machine.shell("kill $(cat /root/option.pid); rm -f /root/option*")
            process.communicate(timeout=DEADLINE_SECONDS)


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
