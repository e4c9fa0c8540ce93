"""--uninstall: who is affected is said first, nobody gets a shell of the host, nothing of ours remains."""

from __future__ import annotations

import secrets

import pytest
from support.host import DEADLINE_SECONDS
from support.installation import Installation

DROP_IN = "/etc/ssh/sshd_config.d/10-ssh2container.conf"
NOLOGIN = "/usr/sbin/nologin"


@pytest.fixture
def enrolled(installed: Installation) -> Installation:
    """A machine with two enabled users."""
    for name in ("alice", "bob"):
        installed.add_user(name)
        installed.control("enable", name)
    return installed


def exists(installed: Installation, path: str) -> bool:
    return installed.machine.run("test", "-e", path, check=False).returncode == 0


def test_users_are_listed_and_get_nologin(enrolled: Installation) -> None:
    said = enrolled.run("--uninstall").stdout
    for name in ("alice", "bob"):
        assert f"{name}: login shell becomes {NOLOGIN}" in said
        assert enrolled.shell_of(name) == NOLOGIN
    assert said.index("alice: login shell becomes") < said.index("usermod --shell")
    assert not exists(enrolled, "/usr/bin/ssh2container")
    assert not exists(enrolled, "/usr/lib/ssh2container")
    assert not exists(enrolled, "/run/ssh2container")


def test_the_limits_of_slices_are_removed(enrolled: Installation) -> None:
    machine = enrolled.machine
    policy = "limits: best\nuser_limits: {pids_limit: 100}\n"
    machine.write("/etc/ssh2container/users/alice.yaml", policy)
    machine.shell("echo 'site_limits: {pids_limit: 8000}' >>/etc/ssh2container/config.yaml")
    enrolled.control("compile")
    find = "find /etc/systemd/system -path '*user*.slice.d*'"
    assert len(machine.shell(find).splitlines()) == 4
    enrolled.run("--uninstall")
    assert machine.shell(find) == ""


def test_jobs_are_removed(enrolled: Installation) -> None:
    """Those for systemd and those for cron, whoever has changed them; nobody else's units."""
    machine, units, name = enrolled.machine, "/etc/systemd/system", "ssh2container-schedule-alice"
    ours = (
        *(f"{units}/{name}-1.{kind}" for kind in ("timer", "service")),
        f"{units}/timers.target.d/50-{name}.conf",
        f"/etc/cron.d/{name}",
    )
    for path in (*ours, f"{units}/other.timer"):
        machine.shell(f"mkdir -p {path.rpartition('/')[0]}")
        machine.write(path, "# a job\n")
    enrolled.run("--uninstall")
    assert [path for path in ours if exists(enrolled, path)] == []
    assert not exists(enrolled, f"{units}/timers.target.d")
    assert exists(enrolled, f"{units}/other.timer")


def test_networks_are_taken_away(enrolled: Installation) -> None:
    """Prepared namespaces, the records of addresses, and a bridge that "network create" made, with its table.

    The network is this machine's own: nothing may be left there whatever happens.
    """
    machine, name = enrolled.machine, "nu" + secrets.token_hex(4)
    seen = f"{{ ip -br link; nft list tables; }} | grep -e {name} -e ^sc || true"
    before = machine.shell(seen)
    enrolled.control("network", "create", "--internal", name)
    try:
        machine.write("/etc/ssh2container/users/alice.yaml", f"image: host\nnetworks: [{name}]\n")
        enrolled.control("enable", "alice")
        assert machine.shell(seen).count(name) > before.count(name)
        assert "/run/ssh2container/networks/" in machine.shell("cat /proc/self/mountinfo")
        said = enrolled.run("--uninstall").stdout
        assert "take the networks of users away" in said
        assert f"remove the network {name}" in said
        assert machine.shell(seen) == before
        assert "/run/ssh2container/" not in machine.shell("cat /proc/self/mountinfo")
        for path in ("/var/lib/ssh2container/networks", "/var/lib/ssh2container/bridges"):
            assert not exists(enrolled, path)
    finally:
        for command in (f"ip link delete {name}", f"nft delete table inet ssh2container-{name}"):
            machine.run(*command.split(), check=False)


def test_what_nologin_leaves_open_stays_closed(enrolled: Installation) -> None:
    """sshd gives a user with nologin forwarding and internal-sftp: drop-in and group stay."""
    said = enrolled.run("--uninstall").stdout
    assert exists(enrolled, DROP_IN)
    assert enrolled.machine.run("getent", "group", "ssh2container").stdout.strip().endswith(":alice,bob")
    assert f"Kept: {DROP_IN}" in said
    asked = ("-T", "-C", "user=alice,host=h,addr=127.0.0.1")
    effective = enrolled.machine.run("/usr/sbin/sshd", *asked).stdout
    assert "forcecommand ssh2container-session\n" in effective
    assert "allowtcpforwarding no\n" in effective


def test_restored_shells_need_no_drop_in(enrolled: Installation) -> None:
    said = enrolled.run("--uninstall", "--restore-shell").stdout
    for name in ("alice", "bob"):
        assert f"{name}: login shell becomes /bin/bash" in said
        assert enrolled.shell_of(name) == "/bin/bash"
    assert not exists(enrolled, DROP_IN)
    assert enrolled.machine.run("getent", "group", "ssh2container", check=False).returncode == 2


def test_a_user_without_a_record_gets_nologin_even_then(enrolled: Installation) -> None:
    enrolled.machine.shell("rm /var/lib/ssh2container/enrolled/$(id -u bob).json")
    enrolled.run("--uninstall", "--restore-shell")
    assert enrolled.shell_of("alice") == "/bin/bash"
    assert enrolled.shell_of("bob") == NOLOGIN
    assert exists(enrolled, DROP_IN)


def test_data_stays_without_purge_and_serves_the_next_installation(enrolled: Installation) -> None:
    said = enrolled.run("--uninstall").stdout
    assert "kept: /etc/ssh2container" in said
    assert exists(enrolled, "/etc/ssh2container/users/alice.yaml")
    enrolled.install()
    enrolled.control("enable", "alice")
    assert enrolled.inside("alice", "echo inside").stdout == "inside\n"
    enrolled.control("disable", "--restore-shell", "alice")
    assert enrolled.shell_of("alice") == "/bin/bash"


def test_purge_removes_data_but_no_home(enrolled: Installation) -> None:
    enrolled.run("--uninstall", "--purge")
    for path in ("/etc/ssh2container", "/var/lib/ssh2container", "/var/log/ssh2container"):
        assert not exists(enrolled, path)
    assert exists(enrolled, "/home/alice")


def test_purge_after_an_uninstall_without_it(enrolled: Installation) -> None:
    """What the first run says it has kept, "--purge removes it"."""
    enrolled.run("--uninstall")
    enrolled.run("--uninstall", "--purge")
    for path in ("/etc/ssh2container", "/var/lib/ssh2container", "/var/log/ssh2container"):
        assert not exists(enrolled, path)
    assert enrolled.machine.run("getent", "passwd", "ssh2container-record", check=False).returncode == 2
    assert exists(enrolled, DROP_IN)
    assert "not installed here" in enrolled.run("--uninstall", "--purge").stdout


def test_a_dry_run_changes_nothing(enrolled: Installation) -> None:
    before = enrolled.manifest()
    said = enrolled.run("--uninstall", "--purge", "--dry-run").stdout
    assert enrolled.manifest() == before
    assert enrolled.shell_of("alice") == "/usr/bin/ssh2container"
    assert "would usermod --shell /usr/sbin/nologin alice" in said
    assert "would remove /usr/bin/ssh2container" in said


def test_killed_it_is_completed_by_the_next(enrolled: Installation) -> None:
    process = enrolled.machine.spawn(*enrolled.command("--uninstall", "--restore-shell", "--purge"))
    assert process.stdout
    for line in process.stdout:
        if line.startswith("[5/"):
            break
    process.kill()
    process.communicate()
    enrolled.run("--uninstall", "--restore-shell", "--purge")
    assert not exists(enrolled, "/usr/bin/ssh2container")
    assert not exists(enrolled, "/var/lib/ssh2container")
    assert enrolled.shell_of("alice") == "/bin/bash"


def test_where_nothing_is_installed(bare: Installation) -> None:
    assert "not installed here" in bare.run("--uninstall").stdout


def test_former_shells_outlive_the_program(enrolled: Installation) -> None:
    """--restore-shell after an --uninstall without it: for whom that closed, not for the disabled."""
    enrolled.control("disable", "bob")
    enrolled.run("--uninstall")
    assert enrolled.shell_of("alice") == NOLOGIN
    assert (
        "alice: login shell becomes /bin/bash"
        in enrolled.run("--uninstall", "--restore-shell", "--dry-run").stdout
    )
    enrolled.run("--uninstall", "--restore-shell")
    assert enrolled.shell_of("alice") == "/bin/bash"
    assert enrolled.shell_of("bob") == NOLOGIN
    assert exists(enrolled, DROP_IN), "bob's nologin still needs it"
    assert "not installed" in enrolled.run("--uninstall", "--restore-shell").stdout


def test_who_is_enabled_and_disabled_again_after_an_uninstall_stays_closed(enrolled: Installation) -> None:
    enrolled.run("--uninstall")
    enrolled.install()
    enrolled.control("enable", "alice")
    enrolled.control("disable", "alice")
    enrolled.run("--uninstall", "--restore-shell")
    assert enrolled.shell_of("alice") == NOLOGIN
    assert enrolled.shell_of("bob") == "/bin/bash"


def test_purge_forgets_them(enrolled: Installation) -> None:
    enrolled.run("--uninstall")
    enrolled.run("--uninstall", "--purge")
    assert "not installed" in enrolled.run("--uninstall", "--restore-shell").stdout
    assert enrolled.shell_of("alice") == NOLOGIN


def test_what_still_runs_is_said_and_ended_where_asked(enrolled: Installation) -> None:
    session = enrolled.machine.spawn("su", "-", "alice", "-c", "echo up; exec sleep 600")
    assert session.stdout
    assert session.stdout.readline() == "up\n"
    said = enrolled.run("--uninstall", "--dry-run")
    assert "alice has 1 sessions that go on until they end; --kill ends them" in said.stdout + said.stderr
    assert session.poll() is None
    enrolled.run("--uninstall", "--kill")
    assert session.wait(timeout=DEADLINE_SECONDS) != 0
    assert enrolled.shell_of("alice") == NOLOGIN
