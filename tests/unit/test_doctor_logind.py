"""What logind does to processes of a login that ends, read as logind reads it."""

from __future__ import annotations

import pathlib

import pytest

from ssh2container.admin.doctor.logind import Killing

YES, NO = "[Login]\nKillUserProcesses=yes\n", "[Login]\nKillUserProcesses=no\n"


@pytest.mark.parametrize(
    ("files", "ends", "place"),
    [
        ({}, False, ""),
        ({"etc/logind.conf": "[Login]\n#KillUserProcesses=no\n"}, False, "the default of"),
        ({"etc/logind.conf": "[Login]\n#KillUserProcesses=yes\n"}, True, "the default of"),
        ({"etc/logind.conf": YES}, True, "etc/logind.conf"),
        ({"etc/logind.conf": "[Login]\n KillUserProcesses = 1\n"}, True, "etc/logind.conf"),
        ({"etc/logind.conf": "KillUserProcesses=yes\n[Other]\nKillUserProcesses=yes\n"}, False, ""),
        # the first main file alone counts, fragments of all places, by their names
        ({"etc/logind.conf": NO, "usr/logind.conf": YES}, False, "etc/logind.conf"),
        ({"etc/logind.conf": NO, "usr/logind.conf.d/50-x.conf": YES}, True, "50-x.conf"),
        ({"etc/logind.conf.d/10-a.conf": NO, "usr/logind.conf.d/50-x.conf": YES}, True, "50-x.conf"),
        ({"etc/logind.conf.d/50-x.conf": NO, "usr/logind.conf.d/50-x.conf": YES}, False, "etc/"),
        ({"etc/logind.conf.d/x": YES}, False, ""),
        ({"etc/logind.conf": YES + "KillExcludeUsers=root alice\n"}, False, ""),
        ({"etc/logind.conf": YES + "KillExcludeUsers=alice\nKillExcludeUsers=\n"}, True, ""),
        ({"etc/logind.conf": NO + "KillOnlyUsers=bob alice\n"}, True, ""),
        ({"etc/logind.conf": YES + "KillOnlyUsers=bob\n"}, False, ""),
    ],
)
def test_logind(tmp_path: pathlib.Path, files: dict[str, str], ends: bool, place: str) -> None:  # noqa: FBT001
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    found = Killing([f"{tmp_path}/etc", f"{tmp_path}/usr"])
    assert found.ends("alice") is ends
    assert place in found.place


def test_root_is_spared_by_default_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "logind.conf").write_text(YES, encoding="utf-8")
    assert not Killing([str(tmp_path)]).ends("root")
    (tmp_path / "logind.conf").write_text(YES + "KillExcludeUsers=bob\n", encoding="utf-8")
    assert Killing([str(tmp_path)]).ends("root")
