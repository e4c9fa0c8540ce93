"""What other projects are configured to do, as policies: their own examples, written anew."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.policies import policy

from ssh2container.admin.account import Account
from ssh2container.admin.foreign import choose
from ssh2container.admin.foreign.told import Subject, Told
from ssh2container.errors import Refusal

if TYPE_CHECKING:
    from pathlib import Path

    from ssh2container.policy.policy import Policy

Write = Callable[..., None]
ALICE = Account("alice", 1001, 1001, "/home/alice", "/bin/bash", ("alice", "staff", "web"), local=True)


class Host:
    """Files of a host below a directory of the test's own."""

    def __init__(self, root: str) -> None:
        self.root = root

    def write(self, path: str, text: str = "") -> None:
        os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
        with open(self.root + path, "w", encoding="utf-8") as file:
            file.write(text)

    def make(self, *paths: str) -> None:
        for path in paths:
            os.makedirs(self.root + path)

    def told(self, name: str, shell: str, **others: str) -> Told:
        account = replace(ALICE, shell=shell, home=others.pop("home", ALICE.home))
        return choose.told(name, Subject(account, root=self.root, **others))

    def refused(self, name: str, shell: str, **others: str) -> str:
        with pytest.raises(Refusal) as caught:
            self.told(name, shell, **others)
        return str(caught.value).replace(self.root, "")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(os.fspath(tmp_path))


def meant(told: Told) -> Policy:
    """The policy, also where a file below it says the contrary of all that matters."""
    return policy("\n".join(told.lines()))


def left(told: Told) -> dict[str, tuple[int, str]]:
    return {note.key: (note.line, note.why) for note in told.notes.left_out}


def volumes(told: Told) -> list[tuple[str, str, bool]]:
    return [(one.source, one.target, one.read_only) for one in meant(told).volumes]


def commands(told: Told) -> str | list[str]:
    found = meant(told).access.commands
    return found if isinstance(found, str) else [" ".join(one.words) for one in found]


@pytest.mark.parametrize("name", sorted(set(choose.NAMES) - {choose.OF_SSHD, "cagefs"}))
def test_whose_login_shell_is_another_is_left_alone(host: Host, name: str) -> None:
    assert f"has the login shell /bin/bash, which is not {name}'s" in host.refused(name, "/bin/bash")


def test_commands_of_files_below_do_not_come_back(host: Host) -> None:
    host.write("/etc/rssh.conf", "allowrsync\n")
    lines = host.told("rssh", "/usr/bin/rssh").lines()
    assert "  commands: !override" in lines
    assert "  interactive: false" in lines
    assert "  sftp: false" in lines


class TestChrootSftp:
    CONFIG = (
        "Include /etc/ssh/sshd_config.d/*.conf\n"
        "Subsystem sftp internal-sftp\n\n"
        "Match Group sftponly\n"
        "    ChrootDirectory /srv/sftp/%u\n"
        "    ForceCommand internal-sftp -u 0027 -l INFO\n"
        "    AllowTcpForwarding no\n"
    )
    FORCED = "internal-sftp -u 0027 -l INFO"

    def test_what_is_in_the_chroot_is_where_it_was(self, host: Host) -> None:
        host.write("/etc/ssh/sshd_config", self.CONFIG)
        host.make("/srv/sftp/alice/upload", "/srv/sftp/alice/dev", "/srv/sftp/alice/50%")
        os.symlink("/etc", f"{host.root}/srv/sftp/alice/link")
        told = host.told("chroot-sftp", "/usr/sbin/nologin", forced=self.FORCED, chroot="/srv/sftp/%u")
        found = meant(told)
        assert (found.access.interactive, found.access.commands) == (False, "none")
        assert found.access.sftp is not None
        assert (found.access.sftp.umask, found.access.sftp.start_directory) == (0o027, "/")
        assert volumes(told) == [
            ("/srv/sftp/alice/50%%", "/50%%", False),
            ("/srv/sftp/alice/upload", "/upload", False),
        ]
        assert (told.apart, told.home) == (True, "")
        assert {key: line for key, (line, _) in left(told).items()} == {
            "internal-sftp -l INFO": 6,
            "ChrootDirectory: /srv/sftp/alice/link": 5,
            "ChrootDirectory: dev in /srv/sftp/alice": 5,
        }
        assert "sshd_config:5: ChrootDirectory /srv/sftp/alice: what is in it" in told.differs()[0]

    def test_a_home_in_the_chroot_is_the_home(self, host: Host) -> None:
        host.write("/etc/ssh/sshd_config", "# nothing of it here\n")
        host.write("/etc/ssh/sshd_config.d/sftp.conf", "Match User alice\nChrootDirectory /jail\n")
        host.make("/jail/home/alice", "/jail/pub")
        told = host.told("chroot-sftp", "/bin/false", forced="internal-sftp -R", chroot="/jail")
        found = meant(told)
        assert found.access.sftp is not None
        assert (found.access.sftp.read_only, found.access.sftp.start_directory) == (True, None)
        assert (told.apart, told.home) == (True, "/jail/home/alice")
        assert volumes(told) == [("/jail/pub", "/pub", False)]

    def test_sftp_alone_without_a_chroot_keeps_the_account_s_home(self, host: Host) -> None:
        host.write("/etc/ssh/sshd_config", self.CONFIG)
        told = host.told("chroot-sftp", "/bin/sh", forced="internal-sftp -d /home/%u/in -P remove,rename")
        found = meant(told)
        assert found.access.sftp is not None
        assert found.access.sftp.start_directory == "/home/alice/in"
        assert set(found.access.sftp.deny) == {"remove", "rename"}
        assert not told.apart

    def test_only_the_named_requests(self, host: Host) -> None:
        host.write("/etc/ssh/sshd_config", self.CONFIG)
        told = host.told("chroot-sftp", "/bin/sh", forced="internal-sftp -p open,close,write,stat,realpath")
        found = meant(told).access.sftp
        assert found is not None
        assert {"read", "opendir", "remove"} <= set(found.deny)
        assert not {"open", "close", "write", "stat", "realpath"} & set(found.deny)

    @pytest.mark.parametrize(
        ("forced", "chroot", "says"),
        [
            ("", "", "sshd forces no command on alice; allowed: ForceCommand internal-sftp"),
            ("/usr/bin/backup", "", 'sshd forces "/usr/bin/backup" on alice'),
            ("internal-sftp -x", "", "the option -x is not known"),
            ("internal-sftp -u", "", "-u has no value"),
            (FORCED, "/srv/sftp/%u", "sshd_config:5:1: ChrootDirectory: /srv/sftp/alice: No such file"),
            (FORCED, "%k", '%k in "%k"; allowed: %% %h %u %U'),
        ],
    )
    def test_what_cannot_be_followed(self, host: Host, forced: str, chroot: str, says: str) -> None:
        host.write("/etc/ssh/sshd_config", self.CONFIG)
        assert says in host.refused("chroot-sftp", "/bin/sh", forced=forced, chroot=chroot)

    def test_too_much_in_a_chroot(self, host: Host) -> None:
        host.write("/etc/ssh/sshd_config", self.CONFIG)
        host.make(*(f"/srv/sftp/alice/{number}" for number in range(33)))
        said = host.refused("chroot-sftp", "/bin/sh", forced=self.FORCED, chroot="/srv/sftp/%u")
        assert "sshd_config:5:1: ChrootDirectory: 33 files and directories in /srv/sftp/alice" in said


class TestRssh:
    EXAMPLE = (
        "# for everybody\n"
        "logfacility = LOG_USER # said at the end of a line\n"
        "AllowSCP\nallowsftp\n#allowcvs\nallowrsync\n"
        "umask = 022\n"
        '#chrootpath = "/usr/local/my chroot"\n'
    )

    def test_for_everybody(self, host: Host) -> None:
        host.write("/etc/rssh.conf", self.EXAMPLE)
        told = host.told("rssh", "/usr/bin/rssh")
        found = meant(told)
        assert (commands(told), found.access.interactive) == (["scp", "rsync"], False)
        assert found.access.sftp is not None
        assert found.access.sftp.umask == 0o022
        assert {key: line for key, (line, _) in left(told).items()} == {"logfacility LOG_USER": 2}
        assert [note.line for note in told.notes.differs] == [7]
        assert not told.apart

    def test_the_line_of_a_user_leaves_nothing_of_the_rest(self, host: Host) -> None:
        host.write("/etc/rssh.conf", self.EXAMPLE + 'user = "bob:011:111111:"\nuser=alice:077:00010\n')
        told = host.told("rssh", "/usr/bin/rssh")
        found = meant(told)
        assert (commands(told), found.access.login) == ("none", True)
        assert found.access.sftp is not None
        assert found.access.sftp.umask == 0o077
        assert "scp of OpenSSH 9 speaks sftp, and works, too" in told.differs()[0]

    def test_a_user_in_a_chroot_whose_home_is_within(self, host: Host) -> None:
        host.write("/etc/rssh.conf", "user = 'alice:022:000011:/usr/local/my jail'\n")
        host.make("/usr/local/my jail/home/alice", "/usr/local/my jail/in coming", "/usr/local/my jail/lib")
        told = host.told("rssh", "/usr/bin/rssh", home="/usr/local/my jail/home/alice")
        assert (commands(told), told.apart) == (["scp", "svnserve"], False)
        assert volumes(told) == [("/usr/local/my jail/in coming", "/in coming", False)]
        assert meant(told).access.sftp is None
        assert "its users say scp -O" in " ".join(told.differs())

    def test_whom_nothing_is_allowed(self, host: Host) -> None:
        host.write("/etc/rssh.conf", "user = alice:022:00000:\nallowscp\n")
        assert not meant(host.told("rssh", "/usr/bin/rssh")).access.login

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("allowftp\n", '/etc/rssh.conf:1:1: found "allowftp"; allowed: allowrsync, '),
            ("\nallowscp = 1\n", '/etc/rssh.conf:2:1: found "allowscp = 1"; allowed: allowscp'),
            ("umask 022\n", 'found "umask 022"'),
            ("user = alice:9:11:\n", 'user = "alice:9:11:"; allowed: NAME:UMASK:BITS[:PATH]'),
            ('chrootpath = "/x\n', "a quote is not closed"),
            ("chrootpath = /nowhere\nallowscp\n", "/etc/rssh.conf:1:1: chrootpath: /nowhere: No such file"),
        ],
    )
    def test_what_locks_everybody_out_is_an_error(self, host: Host, text: str, says: str) -> None:
        host.write("/etc/rssh.conf", text)
        assert says in host.refused("rssh", "/usr/bin/rssh")

    def test_without_a_file_nobody_is_let_in(self, host: Host) -> None:
        assert "/etc/rssh.conf: there is no such file" in host.refused("rssh", "/usr/bin/rssh")


class TestLshell:
    EXAMPLE = (
        "# lshell.py configuration file\n"
        "[global]\nlogpath         : /var/log/lshell/\nloglevel        : 2\n"
        "include_dir : /etc/lshell.d/*.conf\n\n"
        "[default]\nallowed         : ['ls','echo','cd']\nforbidden       : [';', '&', '|']\n"
        "warning_counter : 2\naliases         : {'ll':'ls -l'}\nstrict          : 0\n"
        "command_timeout : 0\n"
        "overssh : ['ls',\n    'rsync']\nscp : 1\nsftp : 0\numask : 0027\n"
        "[grp:web]\npath : ['/srv/web', '/etc', '/usr', '/home/alice/x', 'www']\n"
        "env_vars        : {'foo':1, 'bar':'helloworld'}\ntimer : 300\n"
        "[grp:alice]\nmax_sessions_per_user : 3\nmax_processes : 20\n"
    )

    def test_sections_in_their_order(self, host: Host) -> None:
        host.write("/etc/lshell.conf", self.EXAMPLE)
        host.write("/etc/lshell.d/a.conf", "[alice]\novershh : []\novershh: 1\novershh = 2\nsftp : 1\n")
        host.write("/etc/lshell.d/b.conf", "[alice]\nover = 1\noverssh : - ['ls'] + ['git pull', 'tar']\n")
        told = host.told("lshell", "/usr/bin/lshell")
        found = meant(told)
        assert commands(told) == ["rsync", "git pull", "tar", "scp"]
        assert found.access.interactive is False
        assert found.access.sftp is not None
        assert found.access.sftp.umask == 0o027
        assert volumes(told) == [("/srv/web", "/srv/web", False)]
        assert dict(found.environment) == {"foo": "1", "bar": "helloworld"}
        assert (found.values["sessions.max"], found.values["sessions.max_duration"]) == (3, 300)
        assert dict(found.ulimits)["nproc"] == (20, 20)
        said = left(told)
        assert said["allowed : ['ls', 'echo', 'cd']"][0] == 8
        assert "--profile shell" in said["allowed : ['ls', 'echo', 'cd']"][1]
        assert said["forbidden : [';', '&', '|']"][0] == 9
        assert "lshell has no such key" in said["overshh : 2"][1]
        assert 'did you mean "overssh"?' in said["overshh : 2"][1]
        assert {"path : /etc", "path : www"} <= said.keys()
        assert not {key for key in said if key.startswith(("strict", "command_timeout", "include_dir"))}

    def test_a_profile_says_whether_there_is_a_shell(self, host: Host) -> None:
        host.write("/etc/lshell.conf", self.EXAMPLE)
        told = host.told("lshell", "/usr/bin/lshell", profile="shell")
        assert not [line for line in told.lines() if "interactive" in line]
        assert commands(told) == ["ls", "rsync", "scp"]
        assert meant(told).access.sftp is None

    def test_all_commands_are_a_shell(self, host: Host) -> None:
        host.write("/etc/lshell.conf", "[default]\nallowed : 'all'\n[alice]\nallowed : + ['su'] - ['vi']\n")
        told = host.told("lshell", "/usr/bin/lshell")
        assert meant(told).access.interactive is True
        assert (commands(told), meant(told).access.sftp) == ("none", None)

    def test_scp_that_is_limited_is_not_given(self, host: Host) -> None:
        host.write("/etc/lshell.conf", "[default]\nscp = 1\nscp_upload = 0\nscpforce = '/x'\n")
        told = host.told("lshell", "/usr/bin/lshell")
        assert commands(told) == "none"
        assert "limited by scp_upload, scpforce" in left(told)["scp : 1"][1]

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("allowed : []\n", '/etc/lshell.conf:1:1: "allowed" stands in no section'),
            ("[default]\nwhat is this\n", '/etc/lshell.conf:2:1: found "what is this"'),
            ("[default]\noverssh : ['ls'\n", "/etc/lshell.conf:2:1: overssh : "),
            ("[alice]\noverssh : [1]\n", "allowed: a list of texts"),
            ("[alice]\ntimer : soon\n", 'timer : "soon"; allowed: a whole number'),
            ("[alice]\nenv_vars : ['a']\n", "/etc/lshell.conf:2:1: env_vars"),
            ("[alice]\nsftp : __import__('os').system('id')\n", "allowed: a whole number"),
            ("[alice]\noverssh : [" + "[" * 9000 + "\n", "/etc/lshell.conf:2:1: overssh : "),
            ("[alice]\nprompt : " + "x" * 30000 + "\n", "prompt has more than 20000 characters"),
        ],
    )
    def test_what_cannot_be_read(self, host: Host, text: str, says: str) -> None:
        host.write("/etc/lshell.conf", text)
        assert says in host.refused("lshell", "/usr/bin/lshell")


class TestPodmansh:
    UNIT = (
        "[Unit]\nDescription=The podmansh container\nAfter=local-fs.target\n\n[Container]\n"
        "Image=registry.fedoraproject.org/fedora\nContainerName=podmansh\nRemapUsers=keep-id\nRunInit=yes\n"
        "DropCapability=all\nNoNewPrivileges=true\nVolume=%h/data:/data:Z\nExec=sleep infinity\n\n"
        "[Install]\nRequiredBy=default.target\n"
    )
    PLACE = "/etc/containers/systemd/users"

    def test_the_unit_of_the_user_before_that_of_everybody(self, host: Host) -> None:
        host.write(f"{self.PLACE}/podmansh.container", self.UNIT.replace("fedora\n", "other\n"))
        host.write(f"{self.PLACE}/1001/another.container", "[Container]\nImage=x\n")
        host.write(f"{self.PLACE}/1001/shell.container", self.UNIT)
        told = host.told("podmansh", "/usr/bin/podmansh")
        found = meant(told)
        assert (found.image, found.values["container_per"]) == ("registry.fedoraproject.org/fedora", "user")
        assert volumes(told) == [("%h/data", "/data", False)]
        assert (told.apart, told.home) == (True, "")
        assert left(told)["RemapUsers"][0] == 8
        assert "image import registry.fedoraproject.org/fedora" in told.notes.prepare[0]

    def test_a_unit_that_the_account_writes_is_for_root_to_read(self, host: Host) -> None:
        host.write("/home/alice/.config/containers/systemd/podmansh.container", self.UNIT)
        said = host.refused("podmansh", "/usr/bin/podmansh")
        assert "the account itself can change the unit; read it, and move it to" in said

    def test_a_unit_that_cannot_be_read(self, host: Host) -> None:
        host.write(f"{self.PLACE}/podmansh.container", "[Container]\nContainerName=podmansh\nwhat\n")
        assert f'{self.PLACE}/podmansh.container:3:1: found "what"' in host.refused(
            "podmansh", "/bin/podmansh"
        )

    def test_without_a_unit(self, host: Host) -> None:
        assert "no unit has ContainerName=podmansh" in host.refused("podmansh", "/usr/bin/podmansh")


class TestJailkit:
    LIMITS = (
        "# jk_lsh.ini\n[alice]\npaths= /usr/bin, /usr/lib/\n"
        "executables= /usr/bin/scp, /usr/lib/sftp-server,/usr/bin/rsync\n"
        "allow_word_expansion = 1\numask = 002\nenvironment= TMP=/tmp/, A=b\n"
        "[group alice]\nexecutables = /usr/bin/cvs\n"
    )
    HOME = "/srv/jail/./home/alice"

    def jail(self, host: Host, shell: str) -> None:
        host.write(
            "/etc/passwd", f"root:x:0:0::/:/bin/sh\nalice:x:1001:1001::{self.HOME}:/usr/sbin/jk_chrootsh\n"
        )
        host.write("/srv/jail/etc/passwd", f"alice:x:1001:1001::/home/alice:{shell}\n")
        host.make("/srv/jail/home/alice", "/srv/jail/home/bob", "/srv/jail/usr", "/srv/jail/pub")

    def test_a_limited_shell_in_a_jail(self, host: Host) -> None:
        self.jail(host, "/usr/sbin/jk_lsh")
        host.write("/srv/jail/etc/jailkit/jk_lsh.ini", self.LIMITS)
        host.write("/etc/jailkit/jk_chrootsh.ini", "[DEFAULT]\nenv = TERM, DISPLAY\n")
        told = host.told("jailkit", "/usr/sbin/jk_chrootsh", home=self.HOME)
        found = meant(told)
        assert (commands(told), found.access.interactive) == (["scp", "rsync"], False)
        assert found.access.sftp is not None
        assert found.access.sftp.umask == 0o002
        assert dict(found.environment) == {"TMP": "/tmp/", "A": "b"}
        assert volumes(told) == [("/srv/jail/pub", "/pub", False)]
        assert (told.apart, told.home) == (False, "/srv/jail/home/alice")
        assert {key: line for key, (line, _) in left(told).items()} == {
            "jail: etc, usr in /srv/jail": 2,
            "env = TERM, DISPLAY": 2,
            "allow_word_expansion = 1": 5,
        }

    def test_a_shell_in_a_jail(self, host: Host) -> None:
        self.jail(host, "/bin/bash")
        told = host.told("jailkit", "/usr/sbin/jk_chrootsh", home=self.HOME)
        assert (commands(told), meant(told).access.interactive) == ("any", True)
        assert "not those that jk_init copied" in " ".join(told.differs())

    def test_the_limited_shell_alone(self, host: Host) -> None:
        host.write("/etc/jailkit/jk_lsh.ini", self.LIMITS.replace("[alice]", "[bob]"))
        told = host.told("jailkit", "/usr/sbin/jk_lsh")
        assert (commands(told), meant(told).access.sftp) == (["cvs"], None)

    def test_what_cannot_be_followed(self, host: Host) -> None:
        self.jail(host, "/usr/sbin/jk_lsh")
        said = host.refused("jailkit", "/usr/sbin/jk_chrootsh")
        assert '/etc/passwd:2:1: the home "/home/alice" names no jail; allowed: JAIL/./HOME' in said
        host.write("/srv/jail/etc/jailkit/jk_lsh.ini", "[bob]\nexecutables = /bin/ls\n")
        said = host.refused("jailkit", "/usr/sbin/jk_chrootsh", home=self.HOME)
        assert "/srv/jail/etc/jailkit/jk_lsh.ini: no section with executables holds for alice" in said
        host.write("/srv/jail/etc/passwd", "bob:x:1:1::/:/bin/sh\n")
        said = host.refused("jailkit", "/usr/sbin/jk_chrootsh", home=self.HOME)
        assert "/srv/jail/etc/passwd: alice is not in it" in said


class TestCageFS:
    MOUNTS = (
        "# mounts\n/var/lib/mysql\n/proc\n/dev/pts\n/opt\n!/srv/shared\n%/srv/fcgi\n*/srv/byuid\n"
        "@/var/spool/cron,700\n/etc/mail\n/var/gone\n"
    )

    @pytest.fixture
    def caged(self, host: Host) -> Host:
        host.write("/etc/cagefs/cagefs.mp", self.MOUNTS)
        host.make("/var/lib/mysql", "/opt", "/srv/shared", "/srv/fcgi/alice", "/srv/byuid/1001")
        host.make("/etc/cagefs/users.disabled/02", "/etc/cagefs/exclude")
        return host

    def test_mount_points(self, caged: Host) -> None:
        caged.write("/etc/cagefs/conf.d/wp.cfg", "[wp]\ncomment=CLI\npaths=/usr/bin/wp, /opt/wp\n")
        caged.write("/etc/cagefs/custom.proxy.commands", "X:Y=root:/usr/bin/x\n")
        caged.write("/var/cagefs/01/alice/virt.mp", ">/var/www,0755\n@one\n")
        told = caged.told("cagefs", "/bin/sh")
        assert volumes(told) == [
            ("/var/lib/mysql", "/var/lib/mysql", False),
            ("/opt", "/opt", False),
            ("/srv/shared", "/srv/shared", True),
            ("/srv/fcgi/alice", "/srv/fcgi/alice", False),
            ("/srv/byuid/1001", "/srv/byuid/1001", False),
        ]
        found = meant(told)
        assert [(one.target, one.mode) for one in found.tmpfs] == [("/var/spool/cron", 0o700)]
        assert (found.shell, found.access.interactive, commands(told)) == (("/bin/sh",), True, "any")
        assert {key: line for key, (line, _) in left(told).items()} == {
            "/etc/mail": 10,
            "/var/gone": 11,
            "wp: paths /opt/wp": 3,
            "X:Y=root:/usr/bin/x": 1,
            ">/var/www,0755": 1,
            "@one": 2,
        }
        assert not told.apart

    def test_who_is_not_locked_in_is_left_alone(self, caged: Host) -> None:
        caged.write("/etc/cagefs/exclude/mine", "bob\nalice\n")
        assert "is not in CageFS: /etc/cagefs/exclude/mine has it" in caged.refused("cagefs", "/bin/sh")
        os.unlink(f"{caged.root}/etc/cagefs/exclude/mine")
        caged.write("/etc/cagefs/users.disabled/01/alice")
        assert "/etc/cagefs/users.disabled has it" in caged.refused("cagefs", "/bin/sh")
        caged.make("/etc/cagefs/users.enabled")
        assert "/etc/cagefs/users.enabled does not have it" in caged.refused("cagefs", "/bin/sh")
        caged.write("/etc/cagefs/users.enabled/alice")
        assert caged.told("cagefs", "/bin/sh")

    def test_a_line_that_is_none(self, caged: Host) -> None:
        caged.write("/etc/cagefs/cagefs.mp", "/opt\n$/what\n")
        assert '/etc/cagefs/cagefs.mp:2:1: found "$/what"' in caged.refused("cagefs", "/bin/sh")

    def test_where_nobody_is(self, host: Host) -> None:
        assert "neither users.enabled nor users.disabled" in host.refused("cagefs", "/bin/sh")


class TestJailbash:
    SCRIPT = (
        "#!/usr/bin/env bash\n# calls bwrap with these\nset -euo pipefail\n"
        "(exec -a jailbash bwrap --ro-bind /usr /usr \\\n"
        "\t--tmpfs /usr/lib/modules \\\n\t--proc /proc --dev /dev \\\n"
        "\t--bind ${HOME} ${HOME} \\\n\t--ro-bind-try /etc/hosts /etc/hosts \\\n"
        "\t--bind-try /srv/sock /srv/sock \\\n\t--bind-try /srv/none /srv/none \\\n"
        "\t--chdir ${HOME} --unshare-all --share-net --die-with-parent \\\n"
        '\t--dir /run/user/$(id -u) --setenv PS1 "$(id -nu)$ " \\\n\t--file 11 /etc/passwd \\\n'
        '\t/bin/bash -l "$@") \\\n\t11< <(getent passwd $UID 65534)\n'
    )

    def test_the_call_of_bubblewrap(self, host: Host) -> None:
        host.write("/usr/bin/jailbash", self.SCRIPT)
        host.make("/srv/sock")
        told = host.told("jailbash", "/usr/bin/jailbash")
        found = meant(told)
        assert (found.network_mode, found.access.interactive) == ("host", True)
        assert volumes(told) == [("/srv/sock", "/srv/sock", False)]
        assert dict(found.environment) == {"PS1": "alice$ "}
        assert not told.apart
        assert {key: line for key, (line, _) in left(told).items()} == {"--bind-try /srv/none /srv/none": 10}
        assert len(told.differs()) == 2

    @pytest.mark.parametrize(
        ("old", "new", "says"),
        [
            ("--unshare-all", "--unshare-al", "jailbash:11:1: --unshare-al is not known"),
            ("bwrap --ro", "cage --ro", "it does not call bwrap"),
            ("--proc /proc", "--proc '/proc", "jailbash:6:1: found"),
        ],
    )
    def test_a_call_that_cannot_be_told(self, host: Host, old: str, new: str, says: str) -> None:
        host.write("/usr/bin/jailbash", self.SCRIPT.replace(old, new))
        assert says in host.refused("jailbash", "/usr/bin/jailbash")

    def test_another_home_and_no_network(self, host: Host) -> None:
        host.write(
            "/bin/jailbash", "exec bwrap --unshare-net --ro-bind /srv/h $HOME --hostname box /bin/sh\n"
        )
        told = host.told("jailbash", "/bin/jailbash")
        assert (told.apart, told.home, told.read_only) == (True, "/srv/h", True)
        assert (meant(told).network_mode, meant(told).hostname) == ("none", "box")


class TestFirejail:
    USERS = (
        "# login.users\nbob: --net=none\nal*: --private --net=none --rlimit-nproc=40\nalice: --noprofile\n"
    )

    def test_the_first_line_of_the_user_and_the_default_profile(self, host: Host) -> None:
        host.write("/etc/firejail/login.users", self.USERS)
        host.write(
            "/etc/firejail/default.profile",
            "# default\ninclude default.local\ninclude disable.inc\nignore seccomp.drop\ncaps.drop all\n"
            "netfilter\nnonewprivs\nseccomp mount,@clock\nseccomp.drop ptrace\nseccomp-error-action kill\n"
            "timeout 01:30:00\nenv A=b c\nprivate-bin ls,cat # only these\n?HAS_NET: ignore net\n",
        )
        host.write(
            "/etc/firejail/disable.inc", "blacklist /boot\nblacklist ${HOME}/.ssh\nblacklist /usr/bin/gcc\n"
        )
        told = host.told("firejail", "/usr/bin/firejail")
        found = meant(told)
        assert (told.apart, told.home, found.network_mode) == (True, "", "none")
        assert dict(found.ulimits)["nproc"] == (40, 40)
        assert dict(found.environment) == {"A": "b c"}
        assert found.values["sessions.max_duration"] == 5400
        assert list(found.values["seccomp.deny"]) == ["mount"]
        assert found.values["seccomp.on_violation"] == "kill"
        assert {key: line for key, (line, _) in left(told).items()} == {
            "netfilter": 6,
            "seccomp mount,@clock: @clock": 8,
            "private-bin ls,cat": 13,
            "?HAS_NET: ignore net": 14,
            "blacklist ${HOME}/.ssh": 2,
            "blacklist /usr/bin/gcc": 3,
        }

    def test_what_is_listed_of_a_home_is_all_there_is_of_it(self, host: Host) -> None:
        host.write("/etc/firejail/login.users", "alice: --profile=work\n")
        host.write(
            "/etc/firejail/work.profile",
            "whitelist ${HOME}/work\nwhitelist ~/gone\nwhitelist-ro /srv/course\nwhitelist ${HOME}/*.txt\n"
            "read-only ${HOME}\nread-only ${HOME}/work\n",
        )
        host.make("/home/alice/work", "/srv/course")
        told = host.told("firejail", "/usr/bin/firejail")
        assert volumes(told) == [
            ("/home/alice/work", "/home/alice/work", True),
            ("/srv/course", "/srv/course", True),
        ]
        assert (told.apart, told.home) == (True, "")
        assert set(left(told)) == {"whitelist /home/alice/gone", "whitelist ${HOME}/*.txt"}

    @pytest.mark.parametrize(
        ("users", "says"),
        [
            ("alice --net=none\n", '/etc/firejail/login.users:1:1: found "alice --net=none"'),
            ("alice: net=none\n", 'found "net=none"; allowed: --OPTION'),
            ("alice: --profile=none\n", "/etc/firejail/none.profile: there is no such file"),
            ("alice: --noprofile --timeout=5\n", "allowed: timeout HH:MM:SS"),
            ("alice: --env='A\n", "closed quotes"),
        ],
    )
    def test_what_cannot_be_followed(self, host: Host, users: str, says: str) -> None:
        host.write("/etc/firejail/login.users", users)
        assert says in host.refused("firejail", "/usr/bin/firejail")

    def test_profiles_that_include_each_other(self, host: Host) -> None:
        host.write("/etc/firejail/default.profile", "include default.profile\n")
        assert "more than 100 profiles" in host.refused("firejail", "/usr/bin/firejail")
