"""install.sh: what it leaves, twice in a row, after a kill, with an administrator's changes, and refused."""

from __future__ import annotations

import re

import pytest
from support.host import DEADLINE_SECONDS, until
from support.installation import TREE, Installation

STEPS = 14
DROP_IN = "/etc/ssh/sshd_config.d/10-ssh2container.conf"
LIB = "/usr/lib/ssh2container"


def numbered(said: str) -> list[str]:
    return re.findall(r"^\[\d+/\d+\] .*", said, re.MULTILINE)


def test_a_second_run_changes_nothing(installed: Installation) -> None:
    installed.add_user("alice")
    installed.control("enable", "alice")
    before = installed.manifest()
    said = installed.install().stdout
    assert installed.manifest() == before
    assert len(numbered(said)) == STEPS
    assert not re.search(r"^    (install|update|switch|remove|add|link|bundle) ", said, re.MULTILINE), said


def test_a_dry_run_changes_nothing_and_says_what_would_be(bare: Installation) -> None:
    before = bare.manifest()
    said = bare.install("--dry-run").stdout
    assert bare.manifest() == before
    assert len(numbered(said)) == STEPS
    for what in (f"would make {LIB}", "would install /usr/bin/ssh2container", "would add the system group"):
        assert what in said


@pytest.mark.parametrize("missing", ["/usr/lib/python3/dist-packages/prctl.py", "/usr/bin/python3"])
def test_a_dry_run_goes_to_its_end_before_the_packages_are_there(bare: Installation, missing: str) -> None:
    """What it is for: to see, on a machine that has nothing of ours yet, what would be done."""
    bare.machine.run("mv", missing, f"{missing}.away")
    said = bare.install("--dry-run").stdout
    assert len(numbered(said)) == STEPS
    assert f"would make {LIB}" in said


@pytest.mark.parametrize(
    "line",
    [
        *(f"[{number}/{STEPS}]" for number in range(1, STEPS + 1)),
        "copy the package",
        "pyseccomp from",
        "build the door",
        "compile to bytecode",
        "install /usr/bin/ssh2containerctl",
    ],
)
def test_a_killed_run_is_completed_by_the_next(bare: Installation, line: str) -> None:
    """After the second run everything is as after one run alone, and works; --uninstall takes it all away."""
    before = bare.names()
    bare.killed_at(line)
    bare.install()
    completed = bare.names()
    bare.add_user("alice")
    bare.control("enable", "alice")
    assert bare.inside("alice", "echo inside").stdout == "inside\n"
    assert not [path for path in completed - before if ".stage-" in path or "-new\t" in path]
    bare.control("disable", "--restore-shell", "alice")
    bare.machine.run("userdel", "-r", "alice", check=False)
    bare.run("--uninstall", "--purge")
    assert bare.names() - before == set()
    assert before - bare.names() == set()


def test_a_killed_run_can_be_uninstalled(bare: Installation) -> None:
    before = bare.names()
    bare.killed_at(f"[8/{STEPS}]")
    bare.run("--uninstall", "--purge")
    assert bare.names() == before


def test_what_is_installed(installed: Installation) -> None:
    """The layout that the documentation names; all of it root's, nothing writable by others."""
    machine = installed.machine
    version = machine.run("readlink", f"{LIB}/current").stdout.strip()
    assert machine.run("/usr/bin/ssh2container", "--version").stdout == f"ssh2container {version}\n"
    first = machine.run("head", "-n1", f"{LIB}/login").stdout
    assert first == "#!/usr/bin/python3 -ISB\n"
    assert machine.run("head", "-c4", "/usr/bin/ssh2container").stdout == "\x7fELF"
    places = [f"{root}/ssh2container" for root in ("/usr/lib", "/etc", "/usr/share", "/var/lib")]
    weak = ["-not", "-type", "l", "(", "-not", "-uid", "0", "-o", "-perm", "/022", ")"]
    assert not machine.run(
        "find", "/usr/bin/ssh2container", "/usr/bin/ssh2containerctl", *places, *weak
    ).stdout
    assert "/usr/bin/ssh2container" not in machine.read("/etc/shells")
    for page in ("ssh2container.1", "ssh2containerctl.8"):
        machine.run("test", "-s", f"/usr/share/man/man{page[-1]}/{page}")
    machine.run("getent", "group", "ssh2container")
    for unit in ("multi-user.target.wants/ssh2container-compile.path",
                 "multi-user.target.wants/ssh2container-runtime.service",
                 "sockets.target.wants/ssh2container-record.socket",
                 "sockets.target.wants/ssh2container-commands.socket",
                 "timers.target.wants/ssh2container-image-update.timer"):  # fmt: skip
        machine.run("test", "-f", f"/etc/systemd/system/{unit}")


def test_a_login_writes_no_bytecode_and_reads_all_of_it(installed: Installation) -> None:
    """Every module has bytecode of this interpreter and this source: nothing is compiled at a login."""
    assert not [found for found in installed.doctor("--host") if found["check"] == "code.bytecode"]
    installed.machine.shell(f"find {LIB}/current/ssh2container/run/ -name '*.pyc' -delete")
    assert [found for found in installed.doctor("--host") if found["check"] == "code.bytecode"]


def test_an_incomplete_installation_gives_one_line(installed: Installation) -> None:
    """No traceback reaches a client, no shell of the host takes over, and the doctor names it."""
    installed.add_user("alice")
    installed.control("enable", "alice")
    installed.machine.shell(f"ln -sfn nowhere {LIB}/current")
    done = installed.inside("alice", "id", check=False)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("ssh2container: the installation is incomplete")
    installed.install()
    assert installed.inside("alice", "echo inside").stdout == "inside\n"


@pytest.mark.parametrize("damage", ["rm {}", "echo >>{}"])
def test_a_file_that_was_lost_or_changed_comes_back(installed: Installation, damage: str) -> None:
    installed.add_user("alice")
    installed.control("enable", "alice")
    installed.machine.shell(damage.format(f"{LIB}/current/ssh2container/run/owner.py"))
    assert "is damaged" in installed.install().stdout
    installed.machine.shell(f"grep -q getppid {LIB}/current/ssh2container/run/owner.py")
    assert installed.inside("alice", "echo inside").stdout == "inside\n"
    assert "is complete" in installed.install().stdout


def test_a_login_runs_without_its_bundle(installed: Installation) -> None:
    installed.add_user("alice")
    installed.control("enable", "alice")
    installed.machine.shell(f"rm {LIB}/current/*.bundle")
    assert installed.inside("alice", "echo inside").stdout == "inside\n"
    assert [found for found in installed.doctor("--host") if found["check"] == "code.bundle"]
    installed.install()
    assert not [found for found in installed.doctor("--host") if found["check"] == "code.bundle"]


def test_a_login_runs_without_the_short_way_through_the_interpreters_start(installed: Installation) -> None:
    installed.add_user("alice")
    installed.control("enable", "alice")
    assert not [found for found in installed.doctor("--host") if found["check"] == "code.start"]
    installed.machine.shell(f"rm {LIB}/current/start.so")
    assert installed.inside("alice", "echo inside").stdout == "inside\n"
    assert [found for found in installed.doctor("--host") if found["check"] == "code.start"]


def test_a_login_runs_with_a_bundle_that_cannot_be_read(installed: Installation) -> None:
    """A broken file is no shell of the host and no traceback."""
    installed.add_user("alice")
    installed.control("enable", "alice")
    installed.machine.shell(f"for file in {LIB}/current/*.bundle; do echo broken >$file; done")
    done = installed.inside("alice", "id", check=False)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("ssh2container: the installation is incomplete")
    assert done.stderr.count("\n") == 1


def test_shells_list_only_when_asked(installed: Installation) -> None:
    installed.install("--etc-shells")
    assert "/usr/bin/ssh2container\n" in installed.machine.read("/etc/shells")
    levels = {found["check"]: found["level"] for found in installed.doctor("--host")}
    assert levels["routes.chsh"] == "warning"
    installed.run("--uninstall")
    assert "/usr/bin/ssh2container\n" not in installed.machine.read("/etc/shells")


class TestConfiguration:
    """A file belongs to the administrator once it is there."""

    FILE = "/etc/ssh2container/defaults.yaml"
    SHIPPED = f"{TREE}/etc/defaults.yaml"

    def ship(self, installed: Installation, text: str) -> None:
        """Have a later version ship another text."""
        installed.machine.run("bash", "-c", f"cat >>{self.SHIPPED}", stdin=text.encode())

    def test_unchanged_it_is_updated(self, installed: Installation) -> None:
        self.ship(installed, "# later\n")
        installed.install()
        assert installed.machine.read(self.FILE).endswith("# later\n")

    def test_changed_it_stays_and_ours_lies_beside(self, installed: Installation) -> None:
        installed.machine.run("bash", "-c", f"echo '# mine' >>{self.FILE}")
        self.ship(installed, "# later\n")
        said = installed.install().stdout
        assert installed.machine.read(self.FILE).endswith("# mine\n")
        assert installed.machine.read(self.FILE + ".new").endswith("# later\n")
        assert f"keep {self.FILE}" in said
        assert "keep" not in installed.install().stdout

    def test_removed_it_stays_removed(self, installed: Installation) -> None:
        installed.machine.run("rm", self.FILE)
        assert "stays removed" in installed.install().stdout
        assert installed.machine.run("test", "-e", self.FILE, check=False).returncode == 1


class TestDropIn:
    """sshd's own word decides whether the drop-in stays."""

    def test_it_is_what_the_source_tree_holds(self, installed: Installation) -> None:
        assert installed.machine.read(DROP_IN) == installed.machine.read(
            f"{TREE}/etc/sshd_config.d/10-ssh2container.conf"
        )

    def test_refused_by_sshd_the_former_one_is_restored(self, installed: Installation) -> None:
        render = f"{LIB}/current/ssh2container/admin/sshd/render.py"
        installed.machine.run("sed", "-i", "s/    PermitUserRC no/    PermitUserNonsense no/", render)
        before = installed.machine.read(DROP_IN)
        done = installed.control("sshd-config", "--write", check=False)
        assert done.returncode == 1
        assert "PermitUserNonsense" in done.stderr
        assert "the previous state was restored" in done.stderr
        assert installed.machine.read(DROP_IN) == before
        installed.machine.run("rm", DROP_IN)
        assert installed.control("sshd-config", "--write", check=False).returncode == 1
        assert installed.machine.run("ls", "/etc/ssh/sshd_config.d").stdout.strip() == ""

    def test_a_configuration_that_sshd_refused_before_is_left_alone(self, bare: Installation) -> None:
        bare.machine.write("/etc/ssh/sshd_config.d/50-broken.conf", "Nonsense yes\n")
        done = bare.install(check=False)
        assert done.returncode == 1
        assert "sshd already refuses its configuration" in done.stdout + done.stderr
        assert bare.machine.run("test", "-e", DROP_IN, check=False).returncode == 1

    def test_changed_by_hand_it_stays(self, installed: Installation) -> None:
        installed.machine.run("sed", "-i", "s/MaxSessions 10/MaxSessions 4/", DROP_IN)
        said = installed.install().stdout
        assert "was changed by hand and stays" in said
        assert "MaxSessions 4" in installed.machine.read(DROP_IN)
        assert "MaxSessions 10" in installed.machine.read(DROP_IN + ".new")
        installed.control("sshd-config", "--write", "--force")
        assert "MaxSessions 10" in installed.machine.read(DROP_IN)

    def test_the_choice_against_forcecommand_outlives_upgrades(self, installed: Installation) -> None:
        installed.control("sshd-config", "--write", "--without-force-command")
        assert "ForceCommand " not in installed.machine.read(DROP_IN)
        installed.install()
        installed.add_user("alice")
        installed.control("enable", "alice")
        assert "ForceCommand " not in installed.machine.read(DROP_IN)
        installed.control("sshd-config", "--write", "--with-force-command")
        assert "ForceCommand ssh2container-session" in installed.machine.read(DROP_IN)


class TestRefusals:
    """Each with its reason and the remedy, before anything was made."""

    def test_an_old_python(self, bare: Installation) -> None:
        bare.machine.run("rm", "/usr/bin/python3")
        bare.machine.write("/usr/bin/python3", "#!/bin/sh\necho 3.9.2\n", 0o755)
        done = bare.install(check=False)
        assert done.returncode == 1
        assert "/usr/bin/python3 is 3.9.2, ssh2container needs 3.11" in done.stderr

    def test_no_package_index(self, bare: Installation) -> None:
        done = bare.machine.run(
            *bare.command(),
            check=False,
            environment={"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0"},
        )
        assert done.returncode == 1
        for part in ("pip could not fetch pyseccomp", "--wheels", "PIP_INDEX_URL"):
            assert part in done.stderr
        assert not bare.machine.run("bash", "-c", f"ls -A {LIB}").stdout

    def test_a_wheel_with_another_content(self, bare: Installation) -> None:
        bare.machine.shell(
            f"cp -r {bare.wheels} /root/wheels; for file in /root/wheels/*; do echo >>$file; done"
        )
        done = bare.run("--wheels", "/root/wheels", check=False)
        assert done.returncode == 1
        assert "hash" in done.stderr.lower()

    def test_a_user_who_is_not_root(self, bare: Installation) -> None:
        bare.machine.run("cp", "-a", TREE, "/opt/source")
        done = bare.machine.run(
            "setpriv", "--reuid=65534", "--clear-groups", "/opt/source/install.sh", check=False
        )
        assert done.returncode == 1
        assert "has to be run as root" in done.stderr

    @pytest.mark.parametrize(
        "options", [["--nonsense"], ["--purge"], ["--clean"], ["--wheels"], ["--restore-shell"]]
    )
    def test_wrong_usage(self, bare: Installation, options: list[str]) -> None:
        done = bare.run(*options, check=False)
        assert done.returncode == 2
        assert "usage:" in done.stderr

    def test_a_second_installer_at_the_same_time(self, bare: Installation) -> None:
        """The lock of a running one; it is the kernel's, so a killed one leaves none."""
        holder = bare.machine.spawn(
            "flock", "/run/ssh2container-install.lock", "sh", "-c", "echo held; exec sleep 100"
        )
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        done = bare.install(check=False)
        assert done.returncode == 1
        assert "another install.sh is running" in done.stderr
        holder.kill()


def test_an_upgrade_leaves_live_sessions_and_their_version_alone(installed: Installation) -> None:
    installed.add_user("alice")
    installed.control("enable", "alice")
    machine = installed.machine
    old = machine.run("readlink", f"{LIB}/current").stdout.strip()
    session = machine.spawn("su", "-", "alice", "-c", "echo up; read -r line </dev/null; sleep 1000")
    assert session.stdout
    assert session.stdout.readline() == "up\n"
    machine.run("sed", "-i", 's/^__version__ = .*/__version__ = "99.0"/', f"{TREE}/ssh2container/__init__.py")
    said = installed.install().stdout
    assert f"{old} is still in use" in said
    assert machine.run("readlink", f"{LIB}/current").stdout.strip() == "99.0"
    assert session.poll() is None
    machine.run("test", "-d", f"{LIB}/{old}")
    machine.run("pkill", "-KILL", "-U", "alice")
    session.communicate(timeout=DEADLINE_SECONDS)
    until(lambda: not machine.run("pgrep", "-U", "alice", check=False).stdout, "the session's processes end")
    assert f"remove {old}" in installed.install().stdout
    assert machine.run("test", "-d", f"{LIB}/{old}", check=False).returncode == 1
    assert machine.run("/usr/bin/ssh2container", "--version").stdout == "ssh2container 99.0\n"


def test_a_second_run_after_a_change_of_the_same_version_changes_nothing(installed: Installation) -> None:
    """A checkout that was updated: its first run makes a directory of its own, its second finds that."""
    machine = installed.machine
    machine.run("sed", "-i", "$ a # changed", f"{TREE}/ssh2container/shell.py")
    installed.install()
    current = machine.run("readlink", f"{LIB}/current").stdout.strip()
    assert "+" in current
    before = installed.manifest()
    assert f"{LIB}/{current} is complete" in installed.install().stdout
    assert installed.manifest() == before


def test_what_a_tests_run_built_in_the_tree_is_neither_needed_nor_taken(installed: Installation) -> None:
    machine, module = installed.machine, f"{TREE}/ssh2container/kernel/_syscall.abi3.so"
    for prepare in (f"rm -f {module}", f"echo older than its sources >{module}"):
        machine.run("sh", "-c", f"{prepare}; echo '# changed' >>{TREE}/ssh2container/shell.py")
        installed.install()
        machine.run("sh", "-c", f"cd {LIB}/current && sha256sum --quiet -c FILES")
        machine.run("/usr/bin/python3", "-ISBc", f"import sys; sys.path.insert(0, '{LIB}/current')\n"
                    "from ssh2container.kernel.script import PROTOCOL")  # fmt: skip


def test_completions(installed: Installation) -> None:
    """The file that bash loads completes a verb; the others are there for zsh and fish."""
    script = (
        "source /usr/share/bash-completion/completions/ssh2containerctl; COMP_WORDS=(ssh2containerctl ena)\n"
        "COMP_CWORD=1; _ssh2containerctl_completion ssh2containerctl; echo ${COMPREPLY[@]}"
    )
    assert installed.machine.run("bash", "-c", script).stdout.split() == ["enable"]
    installed.machine.run("grep", "-q", "compdef", "/usr/share/zsh/vendor-completions/_ssh2containerctl")
    installed.machine.run("test", "-s", "/usr/share/fish/vendor_completions.d/ssh2containerctl.fish")


def test_units_are_valid(installed: Installation) -> None:
    if installed.machine.run("which", "systemd-analyze", check=False).returncode:
        pytest.skip("systemd is not installed on this machine")
    services = ("compile.service", "sshd.service", "limits.service", "runtime.service")
    names = ("compile.path", "image-update.timer", *services)
    done = installed.machine.run(
        "systemd-analyze",
        "verify",
        *(f"/usr/lib/systemd/system/ssh2container-{name}" for name in names),
        check=False,
    )
    assert "ssh2container" not in done.stderr, done.stderr
    installed.machine.run("systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/ssh2container.conf")
