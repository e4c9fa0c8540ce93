"""install.sh --demo: every step proves something; --clean takes all of it away."""

from __future__ import annotations

import re

import pytest
from support.installation import Installation


@pytest.mark.timeout(600)
def test_the_demonstration(bare: Installation) -> None:
    said = bare.run("--wheels", bare.wheels, "--demo").stdout
    demonstration = said.partition("The demonstration.")[2]
    titles = re.findall(r"^\[\d+/\d+\] (.*)", demonstration, re.MULTILINE)
    for what in ("ssh HOST COMMAND", "ssh -t", "scp, scp -O, sftp", "rsync"):
        assert what in titles
    assert demonstration.count("    proven: ") >= len(titles)
    assert "FAILED" not in said
    by_hand = re.search(r"^    (ssh -F \S+ demo)$", demonstration, re.MULTILINE)
    assert by_hand
    assert bare.machine.run(*by_hand[1].split(), "id -un").stdout == "s2c-demo\n"
    kept = bare.machine.run("cat", "/var/lib/ssh2container-demo/report").stdout
    assert kept.startswith("[1/")
    assert kept in demonstration
    assert by_hand[0] in kept
    for path in re.findall(r"/var/lib/ssh2container-demo/(?!homes)[\w/]+", kept):
        bare.machine.run("test", "-e", path)
    bare.run("--demo", "--clean")
    left = [path for path in bare.manifest() if "s2c-demo" in path or "ssh2container-demo" in path]
    assert not left
    assert bare.machine.run("id", "s2c-demo", check=False).returncode == 1
    assert not bare.machine.run("pgrep", "-f", "ssh2container-demo", check=False).stdout
    assert bare.run("--demo", "--clean").stdout == "Removing the demonstration\n"


def test_a_step_that_proves_nothing_fails(installed: Installation) -> None:
    """Without the drop-in's lines forwarding is open: the demonstration says so and its status is 1."""
    drop_in = "/etc/ssh/sshd_config.d/10-ssh2container.conf"
    installed.machine.shell(f"echo >>{drop_in}; sed -i '/Forwarding/s/^/# /' {drop_in}")
    done = installed.run("--wheels", installed.wheels, "--demo", check=False)
    assert done.returncode == 1
    assert "FAILED: not so: port forwarding to the host is refused" in done.stdout
