"""docs/seccomp.md names every difference from moby's profile, and nothing that is none."""

from __future__ import annotations

import os
import re

from ssh2container.admin.seccomp import bpf, build, moby, profile, rules, syscalls, views
from ssh2container.admin.seccomp.syscalls import AARCH64, X86_64
from ssh2container.policy.policy import Seccomp


def ours(checkout: str) -> profile.Profile:
    path = os.path.join(checkout, "etc/seccomp/default.json")
    with open(path, "rb") as file:
        return profile.read(path, file.read())


def differences(checkout: str) -> dict[str, views.Difference]:
    found = {}
    for machine in (X86_64, AARCH64):
        table = build.decide(ours(checkout), Seccomp("default", (), (), "errno"), (), machine)
        theirs = moby.profile().table(machine)
        found.update({each.name: each for each in views.differences(table, theirs, machine)})
    return found


def rows(checkout: str) -> dict[str, list[str]]:
    """Call -> the cells of its row."""
    with open(os.path.join(checkout, "docs/seccomp.md"), encoding="utf-8") as file:
        lines = (
            file.read().partition("## Compared with Docker's profile")[2].partition("\n## ")[0].splitlines()
        )
    found = {}
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `"):
            found.update(dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), cells))
    return found


def test_every_difference_is_justified_and_nothing_else(checkout: str) -> None:
    documented = rows(checkout)
    assert sorted(documented) == sorted(differences(checkout))
    for name, cells in documented.items():
        assert len(cells) == 4, name
        assert len(cells[3]) >= len("See below"), name


def test_the_answers_in_the_document_are_the_answers(checkout: str) -> None:
    documented = rows(checkout)
    for name, each in differences(checkout).items():
        if not views.depends(each):
            assert documented[name][1] == each.ours[0], name
            assert documented[name][2].split()[0] == each.theirs[0], name


def test_nothing_is_permitted_that_moby_refuses(checkout: str) -> None:
    for name, each in differences(checkout).items():
        assert each.theirs != ["EPERM"] or not any("allow" in line for line in each.ours), name


def test_what_flatpak_refuses_is_refused(checkout: str) -> None:
    """The calls of flatpak-run's filter outside --devel and --multiarch."""
    refused = (  # noqa: SIM905
        "syslog uselib acct quotactl add_key keyctl request_key move_pages mbind get_mempolicy set_mempolicy "
        "migrate_pages unshare setns mount umount2 pivot_root chroot clone3 open_tree move_mount fsopen "
        "fsconfig fsmount fspick mount_setattr perf_event_open ptrace modify_ldt"
    ).split()
    table = build.decide(ours(checkout), Seccomp("default", (), (), "errno"), (), X86_64)
    for name in refused:
        answer = table.decisions[syscalls.table(X86_64)[name]].same_for_all()
        assert answer is not None, name
        assert rules.describe(answer) in ("EPERM", "ENOSYS"), name


def test_figures_of_the_document(checkout: str) -> None:
    """Roughly: another libseccomp orders its tree in another way."""
    with open(os.path.join(checkout, "docs/seccomp.md"), encoding="utf-8") as file:
        text = " ".join(file.read().split())
    said = re.search(r"(\d+) instructions \(5 kB\) on x86_64, (\d+) on aarch64", text)
    assert said
    plain = Seccomp("default", (), (), "errno")
    for machine, number in zip((X86_64, AARCH64), said.groups(), strict=True):
        table = build.decide(ours(checkout), plain, (), machine)
        instructions = len(build.assemble(table, machine)) // bpf.INSTRUCTION_BYTES
        assert abs(instructions - int(number)) < int(number) // 10
        allowed = len(views.summary(table, machine).plain["allow"])
        assert machine is AARCH64 or abs(allowed - 270) < 10
