"""Which services of pam.d(5) put what they start into the user's slice."""

from __future__ import annotations

import pathlib

import pytest

from ssh2container.admin.login.pam import puts_into_slice


@pytest.mark.parametrize(
    ("files", "answer"),
    [
        ({}, None),
        ({"cron": "session required pam_env.so\n"}, False),
        ({"cron": "session optional pam_systemd.so\n"}, True),
        ({"cron": "-session optional /usr/lib/security/pam_systemd.so debug\n"}, True),
        ({"cron": "session [success=ok default=ignore] pam_systemd.so\n"}, True),
        ({"cron": "session optional \\\n  pam_systemd.so\n"}, True),
        ({"cron": "# session optional pam_systemd.so\n"}, False),
        ({"cron": "auth optional pam_systemd.so\n"}, False),
        ({"cron": "@include common\n", "common": "session optional pam_systemd.so\n"}, True),
        ({"cron": "@include common\n", "common": "session required pam_unix.so\n"}, False),
        ({"cron": "session include common\n", "common": "session optional pam_systemd.so\n"}, True),
        ({"cron": "session substack common\n", "common": "session optional pam_systemd.so\n"}, True),
        ({"cron": "auth include common\n", "common": "session optional pam_systemd.so\n"}, False),
        ({"cron": "@include nowhere\n@include\nsession\n"}, False),
        ({"cron": "@include cron\n"}, False),
    ],
)
def test_a_service_puts_what_it_starts_into_the_slice(
    tmp_path: pathlib.Path,
    files: dict[str, str],
    answer: bool | None,  # noqa: FBT001
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert puts_into_slice("cron", (str(tmp_path / "absent"), str(tmp_path))) is answer


def test_the_first_directory_with_the_service_counts(tmp_path: pathlib.Path) -> None:
    for name, text in (
        ("etc", "session required pam_env.so\n"),
        ("usr", "session optional pam_systemd.so\n"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cron").write_text(text)
    assert puts_into_slice("cron", (f"{tmp_path}/etc", f"{tmp_path}/usr")) is False
    assert puts_into_slice("cron", (f"{tmp_path}/usr", f"{tmp_path}/etc")) is True
