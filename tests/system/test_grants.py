"""Who may map the ids that sessions share: as long as his policy and his login shell say so."""

from __future__ import annotations

from support.installation import Installation

BASE = 1_879_113_728
RANGED = "image: lab\nuserns_mode: range\nuser: root\n"


def granted(host: Installation, name: str) -> list[str]:
    """The ranges of ``name``, the same in both files."""
    texts = [host.machine.run("cat", path).stdout for path in ("/etc/subuid", "/etc/subgid")]
    found = [[line for line in text.splitlines() if line.startswith(name + ":")] for text in texts]
    assert found[0] == found[1]
    return found[0]


def import_image(host: Installation) -> None:
    """Import the image that the policies name: enable refuses whose logins would not start."""
    host.machine.shell(
        "mkdir -p /root/lab/bin /root/lab/etc;"
        "cp /bin/busybox /root/lab/bin/; ln -sf busybox /root/lab/bin/sh;"
        "echo root:x:0:0::/root:/bin/sh >/root/lab/etc/passwd;"
        "/usr/bin/ssh2containerctl image import --range lab /root/lab"
    )


def policy(host: Installation, name: str, text: str) -> None:
    host.machine.write(f"/etc/ssh2container/users/{name}.yaml", text)


def test_a_grant_comes_and_goes_with_the_policy_and_the_shell(installed: Installation) -> None:
    installed.add_user("alice")
    own = granted(installed, "alice")
    shared = f"alice:{BASE}:65536"
    import_image(installed)
    policy(installed, "alice", RANGED)
    for _ in range(2):
        installed.control("enable", "alice")
        assert granted(installed, "alice") == [*own, shared]
    policy(installed, "alice", "image: host\n")
    installed.control("enable", "alice")
    assert granted(installed, "alice") == own
    policy(installed, "alice", RANGED)
    installed.control("enable", "alice")
    installed.control("disable", "--restore-shell", "alice")
    assert granted(installed, "alice") == own


def test_a_range_of_ones_own_is_the_one_of_useradd_or_a_new_one(installed: Installation) -> None:
    for name in ("alice", "berta"):
        installed.add_user(name)
        policy(installed, name, RANGED.replace("range", "own_range"))
    alice = granted(installed, "alice") or [f"alice:{BASE + 65_536}:65536"]
    installed.machine.shell("sed -i /^berta:/d /etc/subuid /etc/subgid")
    # The machine's own file system is an overlay, which has no idmapped mounts.
    done = installed.control("enable", "alice", check=False)
    assert done.returncode == 1
    assert "no idmapped mounts: use userns_mode: range" in done.stderr
    assert "undone" in done.stdout
    installed.machine.shell("mount -t tmpfs images /var/lib/ssh2container/images")
    import_image(installed)
    for name in ("alice", "berta"):
        installed.control("enable", name)
    assert granted(installed, "alice") == alice
    (berta,) = granted(installed, "berta")
    assert int(berta.split(":")[1]) >= BASE + 65_536
    assert berta.split(":")[1] != alice[0].split(":")[1]


def test_the_doctor_finds_who_could_meet_the_sessions_of_others(installed: Installation) -> None:
    installed.add_user("mallory")
    installed.machine.shell(f"echo mallory:{BASE + 1000}:10 >>/etc/subuid")
    (found,) = [one for one in installed.doctor("--host") if one["check"] == "ranges.shared"]
    assert (found["level"], found["subject"]) == ("problem", "mallory")
    installed.machine.shell("sed -i /^mallory:/d /etc/subuid")
    assert not [
        one for one in installed.doctor("--host") if one["check"] == "ranges.shared" and one["level"] != "ok"
    ]
