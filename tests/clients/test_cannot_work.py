"""Programs that cannot work in a container say so, and what to do: the host's own ones, over a real ssh."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client import Client
from support.host import run
from support.login import login
from support.material import BUSYBOX, directory, entry, oci_layout, tar
from support.users import MakeUser

CONTROL = "/usr/bin/ssh2containerctl"
HINT = "Ask the administrator of this host."
ACCOUNTS = "no passwords and no accounts of the host"
GROUPS = "nobody can enter another one"
CRON = "no cron runs; jobs are in the schedule of the user's policy"
NEWGRP = "/usr/bin/newgrp"
OTHERS = "nobody can become another user"


@pytest.mark.parametrize("terminal", ["-T", "-tt"])
@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("passwd", ACCOUNTS),
        ("su", OTHERS),
        ("su - root -c id", OTHERS),
        ("chsh", ACCOUNTS),
        ("chsh -s /bin/sh", ACCOUNTS),
        ("chfn", ACCOUNTS),
        ("newgrp", GROUPS),
        ("sg users id", GROUPS),
        ("gpasswd users", GROUPS),
        ("crontab -e", CRON),
        ("/usr/bin/crontab -l", CRON),
        ("at now", CRON),
        ("sudo -l", OTHERS),
    ],
)
def test_it_says_why(client: Client, command: str, why: str, terminal: str) -> None:
    program = command.split(maxsplit=1)[0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    done = client.ssh(terminal, "box", f"{command} </dev/null")
    assert done.status not in (0, 255)
    said = (done.out + done.err).decode()
    assert os.path.basename(program) in said
    assert " cannot work here: this session runs in a container" in said
    assert why in said
    assert HINT in said


def test_nobody_inside_changes_what_stands_in(client: Client) -> None:
    done = client.ssh("box", f"rm -f {NEWGRP}; echo x >{NEWGRP}; umount {NEWGRP}; newgrp; id -u")
    assert b"newgrp cannot work here" in done.err
    assert done.out.decode().strip() == str(client.user.uid)


def test_the_hosts_own_programs_stay(client: Client) -> None:
    """What a session puts on names of the host's, it puts into its own view alone."""
    before = os.stat(NEWGRP)
    client.ssh("box", "newgrp")
    after = os.stat(NEWGRP)
    assert (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino)
    assert "stand-in" not in run(["cat", "/proc/self/mountinfo"]).ok().text


MAIL = "cannot work here: this session runs in a container, from which no mail is sent; "


@pytest.fixture
def mail_programs() -> Iterator[None]:
    """A host that has mail programs: those that it lacks are made."""
    made = []
    for path in ("/usr/bin/bsd-mailx", "/usr/sbin/sendmail"):
        if not os.path.lexists(path):
            Path(path).write_text("#!/bin/sh\necho the host speaks\n", encoding="ascii")
            os.chmod(path, 0o755)
            made.append(path)
    link = f"/usr/bin/s2c-test-{secrets.token_hex(3)}-mail"
    os.symlink("bsd-mailx", link)
    yield
    for path in (*made, link):
        os.unlink(path)


@pytest.mark.usefixtures("mail_programs")
def test_mail_is_not_sent(client: Client) -> None:
    """By sendmail nor by what is a link to a program that would start it; what it reads is not waited for."""
    done = client.box(
        "echo hello | /usr/sbin/sendmail root; echo $?; cd /usr/bin; ./s2c-test-*-mail root; exit $?"
    )
    assert done.status == 69
    assert done.out == b"69\n"
    first, second = done.errors.splitlines()
    assert first.startswith(f"sendmail {MAIL}")
    assert second.startswith("s2c-test-")
    assert MAIL in second
    assert first.endswith(HINT)
    assert "the host speaks" not in done.errors


@pytest.fixture
def image(tmp_path: Path) -> Iterator[str]:
    """An image whose libpam would let anybody become anybody."""
    layer = tar(
        [
            *(directory(name) for name in ("bin", "etc", "etc/pam.d", "usr", "usr/bin", "usr/sbin")),
            entry("usr/bin/mailx", b"#!/bin/sh\nexit 1\n", mode=0o755),
            entry("usr/sbin/zic", b""),
            entry("bin/sh", Path(BUSYBOX).read_bytes(), mode=0o755),
            *(entry(f"etc/pam.d/{name}", b"auth sufficient pam_permit.so\n") for name in ("su", "sshd")),
        ]
    )
    name = f"s2c-test-{os.getpid()}/{secrets.token_hex(3)}"
    run([CONTROL, "image", "import", name, f"oci:{oci_layout(str(tmp_path), [layer], {})}"]).ok()
    yield name
    run([CONTROL, "image", "rm", "--force", name]).ok()


def test_an_image_has_the_same_answer_for_its_libpam(image: str, make_user: MakeUser) -> None:
    user = make_user(f"image: {image}\nshell: [/bin/sh]\n")
    shown = login(user, "-c", "cat /etc/pam.d/su /etc/pam.d/passwd /etc/pam.d/sshd").ok().text
    assert shown.count("auth requisite pam_echo.so %s cannot work here") == 2
    assert "auth sufficient pam_permit.so" in shown  # the image's other services are its own


def test_an_image_without_mail_programs_says_that_mail_is_not_sent(image: str, make_user: MakeUser) -> None:
    """One that it has is its own, and so is all else of the directories that have ours."""
    user = make_user(f"image: {image}\nshell: [/bin/sh]\n")
    done = login(
        user, "-c", "for name in mail mailx /usr/sbin/sendmail; do $name root; echo $?; done; ls /usr/sbin"
    )
    assert done.out == b"69\n1\n69\nsendmail\nzic\n"
    assert [line.partition(":")[0] for line in done.errors.splitlines()] == [
        "mail cannot work here",
        "sendmail cannot work here",
    ]
    assert done.errors.count(MAIL) == 2
