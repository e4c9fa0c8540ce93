"""What each sshd says of each user: whether the logins come to our shell, and why not."""

from __future__ import annotations

import contextlib
import os
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ssh2container.admin.account import spellings
from ssh2container.admin.accounts import drop_in
from ssh2container.admin.accounts.enable import policy_of
from ssh2container.admin.doctor import keys
from ssh2container.admin.doctor.finding import NOTE, OK, PROBLEM, WARNING, Finding
from ssh2container.admin.doctor.sshd import judge
from ssh2container.admin.sshd import DROP_IN, GROUP, MARK, SENTINEL, conditions, running
from ssh2container.admin.sshd.effective import Effective, effective, effective_globally
from ssh2container.errors import SessionError
from ssh2container.plan.sshd_files import CONFIG, Files
from ssh2container.policy import images, key_rules, rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ssh2container.admin.account import Account
    from ssh2container.admin.sshd.conditions import Connection


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that an sshd has or would have: its file, its ``-o`` options, who runs with it."""

    path: str
    options: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()


def configurations() -> list[Configuration]:
    """Return the standard configuration and those of running sshds that were given another."""
    found: dict[tuple[str, tuple[str, ...]], Configuration] = {}
    if os.path.exists(CONFIG):
        found[CONFIG, ()] = Configuration(CONFIG)
    for server in running.servers():
        key = server.config, server.options
        known = found.get(key, Configuration(*key))
        found[key] = replace(known, pids=(*known.pids, server.pid))
    return list(found.values())


def of_drop_in() -> Iterator[Finding]:
    """Yield whether the drop-in is there, is read and is ours."""
    if not drop_in.exists():
        yield Finding(
            PROBLEM,
            "sshd.drop-in",
            DROP_IN,
            "does not exist: nothing restricts sshd's internal-sftp and forwarding",
            "ssh2containerctl sshd-config --write --reload",
        )
        return
    if not drop_in.is_read():
        yield Finding(
            PROBLEM,
            "sshd.drop-in",
            CONFIG,
            "has no Include for the drop-in",
            "make this its first line: Include /etc/ssh/sshd_config.d/*.conf",
        )
    elif not drop_in.is_ours():
        yield Finding(
            NOTE,
            "sshd.drop-in",
            DROP_IN,
            "was changed by hand; each user is checked against what sshd makes of it",
        )
    else:
        yield Finding(OK, "sshd.drop-in", DROP_IN, "is in place and included")


def of_users(
    accounts: Sequence[Account], config: Configuration, advance: Callable[[str], None]
) -> Iterator[Finding]:
    """Yield what one configuration leaves open; sshd is asked once for users whom no line tells apart."""
    files = Files(config.path)
    for path in files.unreadable:
        yield Finding(WARNING, "sshd.config", path, "cannot be read: conditions in it were not tried")
    try:
        general = effective_globally(config.path, config.options)
    except SessionError as error:
        yield Finding(PROBLEM, "sshd.config", config.path, str(error), f"sshd -T -f {config.path}")
        return
    examples = conditions.examples(files.blocks, _ports(general))
    for block, criterion in examples.unknown:
        yield Finding(
            WARNING,
            "sshd.match",
            block.place,
            f'"{block}" has the criterion {criterion}, which cannot be tried: '
            "the lines below it were not checked",
            "check it, or move it after the drop-in",
        )
    if accounts and not examples.complete:
        yield Finding(
            NOTE,
            "sshd.match",
            config.path,
            f"its Match lines distinguish more connections than are tried ({len(examples.connections)}): "
            "each line was tried separately, not all combinations",
        )
    asked = _Asked(config, examples.connections, files)
    for account in accounts:
        advance(f"sshd for {account.name}")
        yield from _user(account, config, files, asked)


class _Asked:
    """sshd's answers, kept for users whom no Match line tells apart."""

    def __init__(self, config: Configuration, connections: Sequence[Connection], files: Files) -> None:
        self._config = config
        self._connections = connections
        self._files = files
        self._known: dict[tuple[bool, ...], list[tuple[Connection, Effective]]] = {}

    def answers(self, account: Account) -> list[tuple[Connection, Effective]]:
        """Return each different answer with the first connection that gets it. Raises SessionError."""
        kind = conditions.alike(self._files.blocks, account.name, account.groups)
        if kind not in self._known:
            found: list[tuple[Connection, Effective]] = []
            for connection in self._connections:
                answer = effective(
                    account.name,
                    config=self._config.path,
                    connection=connection,
                    options=self._config.options,
                )
                if not any(answer.values == other.values for _, other in found):
                    found.append((connection, answer))
            self._known[kind] = found
        return [(one, replace(answer, user=account.name)) for one, answer in self._known[kind]]


def _user(account: Account, config: Configuration, files: Files, asked: _Asked) -> Iterator[Finding]:
    try:
        answers = asked.answers(account)
    except SessionError as error:
        yield Finding(PROBLEM, "sshd.config", config.path, str(error), f"sshd -t -f {config.path}")
        return
    yield from _other_spellings(account, config, answers)
    try:
        policy = policy_of(account)
    except SessionError:
        policy = None
    agent = policy is not None and bool(policy.allow_agent_forwarding)
    several = policy is not None and len(images.of(policy)) > 1
    own_keys = rules.own_keys(policy) if policy is not None else ""
    ruled = policy is not None and bool(policy.values[key_rules.KEY])
    told: set[tuple[str, str, str]] = set()
    for number, (connection, answer) in enumerate(answers):
        cause = None if _is_covered(answer) else _cause(account, config, files, connection)
        if cause is not None and cause.identity not in {why for _, why, _ in told}:
            told.add(("", cause.identity, ""))
            yield cause
        judged = judge(answer, agent_allowed=agent, images_to_choose=several)
        for finding in (*judged, *keys.examine(account, answer, own_keys, ruled=ruled)):
            key = finding.level, finding.check, finding.text
            if key in told or (number and finding.level == OK):
                continue
            told.add(key)
            placed = _placed(finding, account, config, files, connection if number else None)
            elsewhere = "place" in placed.detail and not _is_usual(placed.detail["place"], files)
            if cause is not None and not elsewhere and placed.level in (WARNING, PROBLEM):
                placed = replace(placed, because=cause.identity)
            yield placed


def _other_spellings(
    account: Account, config: Configuration, answers: Sequence[tuple[Connection, Effective]]
) -> Iterator[Finding]:
    """Yield a name by which the user logs in past a drop-in that covers the account's own name."""
    if GROUP in account.groups or not all(_is_covered(answer) for _, answer in answers):
        return
    for spelt in spellings(account):
        with contextlib.suppress(SessionError):
            if not _is_covered(effective(spelt, config=config.path, options=config.options)):
                yield Finding(
                    PROBLEM,
                    "user.spelling",
                    account.name,
                    f"the name service accepts {spelt} for this user, and the drop-in does not apply to"
                    " logins by that name: sshd compares user names as typed, groups by the account",
                    f"gpasswd --add {shlex.quote(account.name)} {GROUP}",
                    {"spelling": spelt},
                )
                return


def _is_covered(answer: Effective) -> bool:
    """Tell whether the drop-in holds: by its mark, or in one from before there was a mark by ForceCommand."""
    marked = any(value.startswith(f"{MARK}=") for value in answer.values.get("setenv", ()))
    return marked or answer.get("forcecommand") == SENTINEL


def _is_usual(where: str, files: Files) -> bool:
    """Tell whether a place is outside of every Match block: the drop-in outdoes what is written there."""
    return any(line.place == where and line.block is None for line in files.lines)


def _cause(account: Account, config: Configuration, files: Files, connection: Connection) -> Finding:
    """Return why the drop-in does not hold for a connection of a user."""
    if config.path == CONFIG and (not drop_in.exists() or not drop_in.is_read()):
        return next(iter(of_drop_in()))
    if DROP_IN not in files.paths:
        ours = any(SENTINEL.encode() in text for text in files.texts.values())
        if not ours:
            return Finding(
                PROBLEM,
                "sshd.drop-in",
                config.path,
                f"has no Include for {DROP_IN}",
                f"make this its first line: Include {DROP_IN}",
                {"config": config.path},
            )
    other = conditions.written(files.lines, "setenv", account.name, account.groups, connection)
    if other is not None and other.path != DROP_IN and other.block is not None:
        return Finding(
            PROBLEM,
            "sshd.setenv",
            account.name,
            f"SetEnv in {other.place} (below {other.block}) hides that of the drop-in: logins are refused",
            f"remove {other.place}, or move its block after the drop-in, then reload sshd",
            {"place": other.place},
        )
    named = f"is in none of the groups (such as {GROUP}), and none of the users, that {DROP_IN} names"
    return Finding(
        PROBLEM,
        "user.group",
        account.name,
        f"{named}: the drop-in does not apply to this user",
        f"ssh2containerctl enable {shlex.quote(account.name)}"
        if account.local
        else "ssh2containerctl sshd-config --write --reload",
    )


def _placed(
    finding: Finding,
    account: Account,
    config: Configuration,
    files: Files,
    connection: Connection | None,
) -> Finding:
    """Return a finding with the line that is to blame, and with the connections that it is about.

    connection: None for what holds on the usual one.
    """
    detail, text, remedy = dict(finding.detail), finding.text, finding.remedy
    if config.path != CONFIG:
        detail["config"] = config.path
    if config.options:
        detail["options"] = list(config.options)
    if finding.level in (OK, NOTE):
        return replace(finding, detail=detail)
    if connection is not None:
        text += f" (connections with {connection})"
        detail["connection"] = connection.asked(account.name)
    keyword = finding.check.removeprefix("sshd.")
    keywords = ("forcecommand", "subsystem") if keyword == "internal-sftp" else (keyword,)
    for one in keywords:
        line = conditions.written(
            files.lines, one, account.name, account.groups, connection or conditions.Connection()
        )
        if line is not None and line.path != DROP_IN:
            within = f" below {line.block}" if line.block else ""
            text += f"; {line.place} says so{within}"
            remedy = f"remove {line.place}, or move its block after the drop-in, then reload sshd"
            if line.block is None:
                remedy = f"{finding.remedy} (or remove {line.place})"
            detail["place"] = line.place
            break
    if config.options and any(option.lower().startswith(keywords) for option in config.options):
        text += f"; given to sshd with -o (pid {', '.join(map(str, config.pids))})"
    return replace(finding, text=text, remedy=remedy, detail=detail)


def _ports(sshd: Effective) -> list[str]:
    """Return the ports that a configuration listens on."""
    found = list(sshd.values.get("port", ()))
    found += [address.rpartition(":")[2] for address in sshd.values.get("listenaddress", ())]
    return list(dict.fromkeys(port for port in found if port.isdigit())) or ["22"]
