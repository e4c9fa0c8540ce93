"""Every sshd of this host: what its configuration leaves open for each user."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ssh2container.admin.doctor.finding import NOTE, OK, PROBLEM, WARNING, Finding
from ssh2container.admin.enrol.enrol import policy_of
from ssh2container.admin.sshd import DROP_IN, place
from ssh2container.admin.sshd.effective import CONFIG, Effective, binary, complaint, effective
from ssh2container.admin.sshd.judge import judge
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ssh2container.admin.enrol.account import Account


def configurations() -> list[str]:
    """Return the standard configuration and those of running sshds that were given another (-f)."""
    found = [CONFIG] if os.path.exists(CONFIG) else []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                # A listener's title is "sshd: /usr/sbin/sshd -f FILE [listener] 0 of 10-100 startups".
                words = os.fsdecode(file.read().replace(b"\0", b" ")).split(" ")
            if os.path.basename(os.readlink(f"/proc/{entry}/exe")) != "sshd":
                continue
        except OSError:
            continue
        for index, word in enumerate(words):
            path = (
                words[index + 1]
                if word == "-f" and index + 1 < len(words)
                else word[2:] * word.startswith("-f/")
            )
            if path and path not in found and os.path.isfile(path):
                found.append(path)
    return found


def examine(accounts: Sequence[Account]) -> Iterator[Finding]:
    """Yield what each sshd leaves open for each of ``accounts``."""
    if binary() is None:
        yield Finding(NOTE, "sshd", "", "no sshd is installed here")
        return
    yield from _drop_in()
    for config in configurations():
        refused = complaint(config)
        if refused:
            yield Finding(
                PROBLEM, "sshd.config", config, f"sshd refuses it: {refused}", f"sshd -t -f {config}"
            )
            continue
        for account in accounts:
            yield from _user(account, config)


def _drop_in() -> Iterator[Finding]:
    if not place.exists():
        yield Finding(
            PROBLEM,
            "sshd.drop-in",
            DROP_IN,
            "does not exist: sshd runs internal-sftp and forwarding as it likes",
            "ssh2containerctl sshd-config --write --reload",
        )
        return
    if not place.is_read():
        yield Finding(
            PROBLEM,
            "sshd.drop-in",
            CONFIG,
            "has no Include for the drop-in",
            "make this its first line: Include /etc/ssh/sshd_config.d/*.conf",
        )
    elif not place.is_ours():
        yield Finding(
            NOTE, "sshd.drop-in", DROP_IN, "was changed by hand; each user is judged by what sshd makes of it"
        )
    else:
        yield Finding(OK, "sshd.drop-in", DROP_IN, "is in place and included")


def _user(account: Account, config: str) -> Iterator[Finding]:
    try:
        found = effective(account.name, config=config)
    except SessionError as error:
        yield Finding(PROBLEM, "sshd.config", config, str(error))
        return
    try:
        policy = policy_of(account)
    except SessionError:
        policy = None
    agent = policy is not None and bool(policy.allow_agent_forwarding)
    for finding in (*judge(found, agent_allowed=agent), *_key_files(account, found)):
        if config != CONFIG:
            finding.detail["config"] = config
        yield finding


def _key_files(account: Account, found: Effective) -> Iterator[Finding]:
    """Yield key files in places where the user could write, other than below the home (judged elsewhere)."""
    for pattern in found.words("authorizedkeysfile"):
        path = pattern.replace("%u", account.name).replace("%U", str(account.uid)).replace("%%", "%")
        if not path.startswith("/") or "%h" in path:
            continue
        for part in (path, os.path.dirname(path)):
            try:
                mode = os.stat(part)
            except OSError:
                continue
            if mode.st_uid == account.uid or mode.st_mode & stat.S_IWOTH:
                yield Finding(
                    WARNING,
                    "sshd.authorizedkeysfile",
                    account.name,
                    f"{part} can be changed by the user",
                    f"chown root {part}",
                )
                break
