"""Quotas of kept homes on a whole system, whose kernel knows those of ext4, xfs and btrfs."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from support.emulated import TEST_SECONDS, System
from support.host import Done, run, until
from support.limited import SLOW_SECONDS

pytestmark = pytest.mark.timeout(TEST_SECONDS)

USER = "saver"
FILE = f"/etc/ssh2container/users/{USER}.yaml"
PLACE = "/srv/limited"
IMAGE = "/root/limited.img"
EXT4 = f"truncate -s 200M {IMAGE}; mke2fs -qt ext4 -O project,quota -E quotatype=prjquota {IMAGE}"
MOUNT = f"mount -o loop,prjquota {IMAGE} {PLACE}"
ADD = f"""
mkdir -p {PLACE}; mount -o loop {IMAGE} {PLACE}
useradd --create-home --shell /bin/bash --password '*' {USER}
cat >{FILE} <<'END'
image: host
home: {{source: {PLACE}/%u, size: 8m, inodes: 100}}
END
"""
KEPT = f"""
install -d -o {USER} -g {USER} -m 700 {PLACE}/{USER}
head -c 1000000 /dev/urandom >{PLACE}/{USER}/before; chown {USER}: {PLACE}/{USER}/before
"""
REMOVE = f"""
ssh2containerctl disable {USER} --kill || true
rm -f {FILE}; ssh2containerctl compile; userdel --force --remove {USER}
umount {PLACE}; rm -f {IMAGE}
"""


def made_here(kind: str, factory: pytest.TempPathFactory) -> str:
    """A script that unpacks an empty file system: what would make it takes long there, or is not there."""
    image = factory.mktemp(kind) / os.path.basename(IMAGE)
    image.touch()
    os.truncate(image, 300 << 20)
    run([f"mkfs.{kind}", "-q", str(image)]).ok()
    packed = base64.b64encode(run(["tar", "-C", str(image.parent), "-cSzf", "-", image.name]).ok().out)
    return f"base64 -d <<'END' | tar -C {os.path.dirname(IMAGE)} -xSzf -\n{packed.decode()}\nEND"


@pytest.fixture(params=["ext4", "xfs"])
def saving(
    system: System, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[System]:
    """The system with a user whose home is to be limited, on a file system mounted without quotas."""
    system.run((EXT4 if request.param == "ext4" else made_here("xfs", tmp_path_factory)) + ADD + KEPT).ok()
    yield system
    system.run(REMOVE)


@pytest.fixture
def on_btrfs(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The system with a user whose home is to be limited, and made, on a btrfs that counts nothing."""
    system.run(made_here("btrfs", tmp_path_factory) + ADD + f"sed -i 's/, inodes: 100//' {FILE}").ok()
    yield system
    system.run(REMOVE)


def told(system: System) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(system.says(f"ssh2containerctl status --json {USER}"))["users"][0]
    return found


def inside(system: System, command: str) -> Done:
    return system.run(f"runuser -u {USER} -- /usr/bin/ssh2container -c {command!r} </dev/null")


def test_a_home_holds_what_its_policy_says(saving: System) -> None:
    refused = saving.run(f"ssh2containerctl enable {USER}")
    assert refused.status == 1
    assert "prjquota" in refused.errors
    saving.run(f"umount {PLACE}; {MOUNT}; ssh2containerctl enable {USER}").ok()
    found = told(saving)
    assert (found["limit_bytes"], found["limit_inodes"]) == (8 << 20, 100)
    assert 1_000_000 <= found["used_bytes"] < 2_000_000, "what was there before counts"
    full = inside(saving, "head -c 20000000 /dev/zero >big; echo status $?; ls").ok()
    assert full.text == "status 1\nbefore\nbig\n"
    assert "No space left on device" in full.errors or "Disk quota exceeded" in full.errors
    files = inside(saving, "rm big; for n in $(seq 150); do >f$n || break; done; ls | wc -l; rm f*").ok()
    assert 90 < int(files.text) < 100
    # Others in the file system have no part in it.
    saving.run(f"head -c 20000000 /dev/zero >{PLACE}/others").ok()
    # The policy is the quota's only place: systemd has an edited one put into force.
    saving.run(f"sed -i s/8m/30m/ {FILE}").ok()
    until(lambda: told(saving)["limit_bytes"] == 30 << 20, "the quota is raised", SLOW_SECONDS)
    inside(saving, "head -c 20000000 /dev/zero >big").ok()
    saving.run(f"ssh2containerctl disable {USER}").ok()
    assert told(saving)["limit_bytes"] is None
    saving.run(f"runuser -u {USER} -- sh -c 'head -c 20000000 /dev/zero >{PLACE}/{USER}/more'").ok()


def test_a_home_on_btrfs_holds_what_its_policy_says(on_btrfs: System) -> None:
    refused = on_btrfs.run(f"ssh2containerctl enable {USER}")
    assert refused.status == 1
    assert f"btrfs quota enable {PLACE}" in refused.errors
    on_btrfs.run(f"btrfs quota enable {PLACE}; ssh2containerctl enable {USER}").ok()
    assert told(on_btrfs)["limit_bytes"] == 8 << 20
    full = inside(on_btrfs, "head -c 20000000 /dev/zero >big; echo status $?").ok()
    assert full.text == "status 1\n"
    assert "Disk quota exceeded" in full.errors
    on_btrfs.run(f"sed -i s/8m/30m/ {FILE}").ok()
    until(lambda: told(on_btrfs)["limit_bytes"] == 30 << 20, "the quota is raised", SLOW_SECONDS)
    inside(on_btrfs, "head -c 20000000 /dev/zero >big").ok()
    on_btrfs.run(f"ssh2containerctl disable {USER}").ok()
    assert told(on_btrfs)["limit_bytes"] is None
