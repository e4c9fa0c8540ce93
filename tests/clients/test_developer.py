"""The profile ``developer``: root's daily work inside, over real ssh, on real distributions, gone at logout.

apk itself is in no package registry, so that an .apk is put in by what it is made of: a tar whose scripts
run behind chroot(2), owners set, files renamed into place.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.client import Client
from support.host import run
from support.material import busybox_tree
from support.sshd import Server
from support.users import MakeUser, User

CONTROL = "/usr/bin/ssh2containerctl"
FIRST_UID = 1000
DAEMON = r"""
#define _GNU_SOURCE
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int count, char **words) {
    gid_t group = atoi(words[2]);
    if (count < 3 || setgroups(1, &group) || setresgid(group, group, group)) { perror("group"); return 1; }
    uid_t user = atoi(words[1]);
    if (setresuid(user, user, user)) { perror("user"); return 2; }
    if (setuid(0) == 0) { puts("root again"); return 3; }
    printf("%d %d %d\n", (int)getuid(), (int)getegid(), getgroups(0, NULL));
    return access("/etc/secret", R_OK) == 0 ? 4 : 0;
}
"""


def bring(name: str, *words: str) -> str:
    subprocess.run([CONTROL, "image", *words], check=True, stdout=subprocess.DEVNULL)
    return name


@pytest.fixture(scope="module")
def debian() -> Iterator[str]:
    """Debian from its own packages, with a service that drops privileges."""
    name = f"s2c-test-{os.getpid()}/debian:12"
    options = ["--name", name, "--range", "--include", "nginx-light"]
    yield bring(name, "bootstrap", "debian:bookworm", *options)
    run([CONTROL, "image", "rm", "--force", name]).ok()


@pytest.fixture(scope="module")
def alpine(module_directory: Callable[[str], Path]) -> Iterator[str]:
    """Alpine's layout: musl, busybox with all its applets, and a daemon linked with musl."""
    if shutil.which("musl-gcc") is None:
        pytest.skip("musl-tools is not installed")
    tree = busybox_tree(str(module_directory("alpine") / "tree"))
    for applet in run([f"{tree}/bin/busybox", "--list"]).ok().text.split():
        link = Path(tree, "bin", applet)
        if not link.exists():
            link.symlink_to("busybox")
    for path in ("lib/apk/db", "var/cache", "root"):
        os.makedirs(f"{tree}/{path}")
    (loader,) = Path("/lib").glob("ld-musl-*.so.1")
    shutil.copy(os.path.realpath(loader), f"{tree}/lib/{loader.name}")
    Path(tree, "etc/secret").write_text("x")
    Path(tree, "etc/secret").chmod(0o600)
    Path(tree, "etc/shells").write_text("/bin/sh\n")
    Path(f"{tree}/daemon.c").write_text(DAEMON)
    subprocess.run(["musl-gcc", "-o", f"{tree}/bin/daemon", f"{tree}/daemon.c"], check=True)
    name = f"s2c-test-{os.getpid()}/alpine"
    yield bring(name, "import", "--range", name, tree)
    run([CONTROL, "image", "rm", "--force", name]).ok()


@pytest.fixture
def box(make_user: MakeUser, sshd: Server) -> Iterator[Callable[..., Client]]:
    """Clients of a user whom ``enable`` has let into an image, by the profile."""
    made: list[User] = []

    def make(image: str, more: str = "") -> Client:
        text = f"extends: [developer]\nimage: {image}\nshell: [/bin/bash, /bin/sh]\n"
        user = make_user(f"{text}storage_opt: {{size: 512m}}\n{more}")
        made.append(user)
        run([CONTROL, "enable", user.name]).ok()
        return sshd.client(user)

    yield make
    for user in made:
        run([CONTROL, "disable", user.name]).ok()


def lines(client: Client, script: str) -> list[str]:
    return client.box("set -e; umask 022\n" + script).ok().text.splitlines()


PACKAGE = r"""
mkdir -p p/DEBIAN p/opt/local p/usr/share/doc/local
printf 'Package: local\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: x\n' >p/DEBIAN/control
printf '#!/bin/sh\nset -e\nadduser --system --group --no-create-home local\n' >p/DEBIAN/postinst
echo 'chown local:local /opt/local/file' >>p/DEBIAN/postinst; chmod 755 p/DEBIAN/postinst
echo text >p/opt/local/file; cp /bin/true p/opt/local/suid; chmod 4755 p/opt/local/suid
dpkg-deb -b p local.deb
"""


def test_a_local_package_is_installed_and_gone_at_logout(debian: str, box: Callable[..., Client]) -> None:
    """apt-get with its dependencies and scripts: a system user, an owner, a set-user-id file."""
    client = box(debian)
    script = """
    apt-get install -qq -y ./local.deb >log 2>&1 || { cat log; exit 1; }
    dpkg-query -W -f '${Status}\\n' local; stat -c '%U:%G %a' /opt/local/file /opt/local/suid
    apt-get remove -qq -y local >log 2>&1; test -e /opt/local || echo removed
    """
    assert lines(client, PACKAGE + script)[1:] == [
        "install ok installed", "local:local 644", "root:root 4755", "removed"
    ]  # fmt: skip
    assert lines(client, "ls /opt; getent passwd local || echo nobody; ls") == ["nobody"], "all of it is gone"


def test_users_are_made_and_become_each_other(debian: str, box: Callable[..., Client]) -> None:
    client = box(debian)
    script = """
    useradd -m -s /bin/bash other; groupadd crew; usermod -aG crew,tty other
    echo other:secret | chpasswd; passwd -S other | cut -d' ' -f1,2
    su - other -c 'id -un; id -Gn; pwd; touch mine; stat -c %U mine; cat /etc/shadow 2>&1 || true'
    touch /srv/file; chown other:crew /srv/file; chmod 640 /srv/file; stat -c '%U:%G %a' /srv/file
    userdel -r other; getent passwd other || echo gone
    """
    assert lines(client, script) == [
        "other P", "other", "other tty crew", "/home/other", "other",
        "cat: /etc/shadow: Permission denied", "other:crew 640", "gone",
    ]  # fmt: skip
    assert lines(client, "getent group crew || echo gone; ls /srv /home") == ["gone", "/home:", "", "/srv:"]


def test_a_service_drops_its_privileges(debian: str, box: Callable[..., Client]) -> None:
    """nginx: root's master binds port 80, its workers are www-data; it answers and ends with the session."""
    client = box(debian)
    script = """
    nginx; exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3
    for p in $(grep -l '^Name:.nginx' /proc/[0-9]*/status); do
        awk '/^Uid/ { print $2, $5 }' $p
    done | sort -u
    """
    assert [line.strip() for line in lines(client, script)] == ["HTTP/1.1 200 OK", "0 0", "33 33"]
    assert client.box("ls /run/nginx.pid").status != 0


def test_su_on_a_terminal_asks_for_the_password(debian: str, box: Callable[..., Client]) -> None:
    client = box(debian)
    with client.terminal() as child:
        child.expect("# ")
        child.sendline("useradd -m -s /bin/bash other && echo other:word | chpasswd && su - other; echo back")
        child.expect(r"\$ ")
        child.sendline("su - other")
        child.expect("Password: ")
        child.sendline("word")
        # su is no set-user-id program in an image, as nothing there is: only root can become another.
        child.expect("(failure|denied)")
        child.sendline("id -un; exit")
        child.expect("other\r\n")
        child.expect("back")
        child.sendline("exit")
        child.expect(b"closed|logout|$")


APK = r"""
mkdir -p data/usr/lib/tool data/etc control
echo text >data/usr/lib/tool/file; echo setting >data/etc/tool.conf
printf '#!/bin/sh\necho tool:x:200: >>/etc/group\n' >control/.pre-install
echo 'echo tool:x:200:200::/:/bin/false >>/etc/passwd' >>control/.pre-install
printf '#!/bin/sh\nchown -R tool:tool /usr/lib/tool\nchmod 750 /usr/lib/tool\n' >control/.post-install
chmod 755 control/.p*
tar -czf control.tar.gz -C control .pre-install .post-install; tar -czf data.tar.gz -C data .
cat control.tar.gz data.tar.gz >tool.apk
mkdir -p /lib/apk/exec; tar -xzf control.tar.gz -C /lib/apk/exec
chroot / /lib/apk/exec/.pre-install
for part in usr/lib/tool etc; do mkdir -p /$part; done
tar -xzf data.tar.gz -C / ./usr ./etc
cp /etc/tool.conf /etc/.apk.tool; chown 0:0 /etc/.apk.tool; mv /etc/.apk.tool /etc/tool.conf
chroot / /lib/apk/exec/.post-install
"""


def test_alpines_layout(alpine: str, box: Callable[..., Client]) -> None:
    """A package's files, owners and scripts, users, su, chown, and a musl daemon that drops privileges."""
    client = box(alpine)
    script = """
    stat -c '%U:%G %a' /usr/lib/tool /etc/tool.conf
    echo other:x:1002: >>/etc/group; echo other:x:1002:1002::/home/other:/bin/sh >>/etc/passwd
    mkdir -p /home/other; chown other:other /home/other
    su - other -c 'id -un; pwd; cat /etc/secret 2>&1 || true'
    chown other:tool /etc/tool.conf; stat -c %U:%G /etc/tool.conf
    daemon $(id -u other) $(id -g other)
    """
    assert lines(client, APK + script) == [
        "tool:tool 750", "root:root 644", "other", "/home/other",
        "cat: can't open '/etc/secret': Permission denied", "other:tool", "1002 1002 1",
    ]  # fmt: skip
    assert lines(client, "grep -c tool /etc/passwd || true; ls /lib/apk") == ["0", "db"]


def test_sftp_scp_and_rsync_are_roots_too(debian: str, box: Callable[..., Client], tmp_path: Path) -> None:
    client = box(debian)
    sent = tmp_path / "sent"
    sent.write_text("text")
    client.sftp(f"put {sent} /etc/new", f"get /etc/new {tmp_path}/back").ok()
    client.scp(str(sent), "box:/usr/local/sent").ok()
    client.rsync(str(sent), "box:/opt/").ok()
    assert (tmp_path / "back").read_text() == "text"
    assert client.box("ls /etc/new /usr/local/sent /opt/sent").status != 0, "each login has its own tree"
