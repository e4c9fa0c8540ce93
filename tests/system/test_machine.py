"""Throw-away machines begin with what was done to another, where they are made so."""

from __future__ import annotations

import os
from pathlib import Path

from support.machine import Machine


def test_a_machine_begins_with_what_was_done_to_another(tmp_path: Path) -> None:
    with Machine() as one:
        one.shell(
            "cp /usr/bin/id /root/id; chmod 4755 /root/id; touch -d 2001-02-03 /root/old;"
            "setcap cap_chown+ep /usr/bin/id; rm /usr/bin/getent; rm -r /srv; mkdir /srv /run/here;"
            "chmod 700 /run/here; useradd anew"
        )
        one.save(str(tmp_path))
    for _ in range(2):  # what one of them does is not the next one's
        with Machine(str(tmp_path)) as other:
            assert other.shell("stat -c '%a %u' /root/id /run/here").splitlines() == ["4755 0", "700 0"]
            assert other.shell("stat -c %y /root/old").startswith("2001-02-03")
            assert "cap_chown" in other.shell("getcap /usr/bin/id")
            assert (
                other.shell("! test -e /usr/bin/getent; ls -A /srv; id -un anew; touch /srv/more") == "anew\n"
            )
    assert os.path.exists("/usr/bin/getent")
