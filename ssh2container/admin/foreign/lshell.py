"""Reading lshell.conf: accounts whose commands, paths and transfers lshell limits."""

from __future__ import annotations

import ast
import os
import re
from typing import TYPE_CHECKING

from ssh2container.admin.convert.tree import Text, text_at
from ssh2container.admin.foreign import written
from ssh2container.admin.foreign.told import (
    NO_SFTP,
    OWN_PLACE,
    SCP_IS_NOT_SFTP,
    SCP_IS_SFTP,
    Told,
    unreadable,
)
from ssh2container.admin.policy.yaml.problems import did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ssh2container.admin.foreign.told import Subject
    from ssh2container.admin.foreign.written import Option

SHELLS = ("lshell",)
CONFIG = "/etc/lshell.conf"
_LONGEST_VALUE = 20_000
_TOKEN = re.compile(r"[+-]\s*\[[^\]]*\]")
_ADDING = ("path", "overssh", "allowed", "allowed_shell_escape", "allowed_file_extensions", "forbidden")
"""Lists that a section can add to and take from: ``+ [...] - [...]``."""
_ALL = ("all", "'all'", '"all"')

_IN_THE_SHELL = "a session's shell has its whole language and runs every program of its image"
_OF_THE_PROMPT = "it is of lshell's own prompt: a session's shell reads the files of its home"
_RECORDED = "sessions are in the audit trail, and record.terminal records terminals"
_NO_ROOT = "nothing inside gains rights"
_ONE_BY_ONE = "a policy limits sessions, not single commands"
_BY_SCP = "it is of the old protocol of scp, which is not served then"
NOT = {
    "aliases": _OF_THE_PROMPT,
    "allowed_cmd_path": _IN_THE_SHELL,
    "allowed_file_extensions": "no key of a policy looks at the names of files",
    "allowed_shell_escape": _IN_THE_SHELL,
    "command_timeout": _ONE_BY_ONE,
    "disable_exit": _OF_THE_PROMPT,
    "env_path": "the PATH of a session is its image's; write environment: {PATH: ...} for another",
    "env_vars_files": "name the variables themselves in environment",
    "forbidden": _IN_THE_SHELL,
    "history_file": _OF_THE_PROMPT,
    "history_size": _OF_THE_PROMPT,
    "home_path": "the home is that of the account",
    "include_dir": "its files have been read",
    "intro": "write it as banner",
    "logfilename": _RECORDED,
    "login_script": "the shell's own files in the home, or hooks.startContainer, run at a login",
    "loglevel": _RECORDED,
    "logpath": _RECORDED,
    "max_background_jobs": _ONE_BY_ONE,
    "messages": _OF_THE_PROMPT,
    "path_noexec": _IN_THE_SHELL,
    "policy_commands": "ssh2containerctl explain says what holds",
    "prompt": _OF_THE_PROMPT,
    "prompt_short": _OF_THE_PROMPT,
    "quiet": _OF_THE_PROMPT,
    "scp_download": _BY_SCP,
    "scp_upload": _BY_SCP,
    "scpforce": _BY_SCP,
    "security_audit_json": "write audit_format: ecs in config.yaml",
    "sftp_unsafe_legacy": "sftp is served inside the container",
    "strict": _OF_THE_PROMPT,
    "sudo_commands": _NO_ROOT,
    "syslogname": _RECORDED,
    "warning_counter": "nothing ends a session for what was refused; the audit trail has it",
    "winscp": "WinSCP is served by sftp",
}
"""Keys that no key of a policy is, and why."""
_ZEROS = ("command_timeout", "max_background_jobs", "security_audit_json", "disable_exit", "winscp", "strict")
"""Keys that say nothing where they are 0."""


class _Values:
    """What holds for the account, and on which line each was said last."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}
        self.places: dict[str, Text] = {}

    def take(self, option: Option) -> None:
        key, place = option.key, option.value
        tokens = _TOKEN.findall(place.text) if key in _ADDING else []
        if not tokens:
            self.said[key] = _value(place, key)
        else:
            first = _TOKEN.sub("", place.text).strip()
            listed = _value(text_at(place, first), key) if first else self.said.get(key, [])
            for token in tokens:
                listed = self._changed(listed, token, place, key)
            self.said[key] = listed
        self.places[key] = place

    def _changed(self, listed: Any, token: str, place: Text, key: str) -> Any:  # noqa: ANN401
        entries = _list(_value(text_at(place, token[1:].strip()), key), place, key)
        if listed == "all":
            return listed if token[0] == "+" else "all"
        kept = _list(listed, place, key)
        return [*kept, *entries] if token[0] == "+" else [entry for entry in kept if entry not in entries]


def read(subject: Subject) -> Told:
    """Return what lshell lets an account do. Raises PolicyError for a value that lshell would not take."""
    source = written.read(subject.root + CONFIG)
    told = Told(source)
    options = written.sections(source)
    for option in [one for one in options if (one.section, one.key) == ("global", "include_dir")]:
        for path in written.matching(subject.root + option.value.text.strip("'\"")):
            options += written.sections(written.read(path))
    values = _Values()
    names = ["default", *(f"grp:{name}" for name in reversed(subject.account.groups)), subject.account.name]
    for section in ("global", *names):
        for option in options:
            if option.section == section:
                values.take(option)
    for key, handler in _HANDLERS.items():
        if key in values.said:
            handler(told, values.places[key], values.said[key])
    _shell(told, subject, values)
    _transfers(told, values)
    _paths(told, subject, values)
    _rest(told, values)
    return told


def _value(place: Text, key: str) -> Any:  # noqa: ANN401
    """Return a value, which is written as in Python, or a text without quotes."""
    text = place.text.strip()
    if text in _ALL:
        return "all"
    if len(text) > _LONGEST_VALUE:
        raise unreadable(place.source, place.line, f"{key} has more than {_LONGEST_VALUE} characters")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        if text[:1] in ("[", "{", "("):
            found = f"{key} : {quoted(text)}"
            raise unreadable(
                place.source, place.line, found, "a value as in Python, such as ['ls', 'cat']"
            ) from None
        return text


def _list(value: Any, place: Text, key: str) -> list[str]:  # noqa: ANN401
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise unreadable(place.source, place.line, f"{key} : {quoted(str(value))}", "a list of texts")
    return value


def _number(value: Any, place: Text, key: str) -> int:  # noqa: ANN401
    if not isinstance(value, int):
        raise unreadable(place.source, place.line, f"{key} : {quoted(str(value))}", "a whole number")
    return value


def _shell(told: Told, subject: Subject, values: _Values) -> None:
    """Say what a login and a command get. lshell limits commands at its prompt; a shell inside does not."""
    place = values.places.get("allowed", told.whole)
    allowed = values.said.get("allowed", [])
    if allowed == "all":
        told.set("access.interactive", place, "true", "allowed : all")
    elif not subject.profile:
        told.set("access.interactive", place, "false", "allowed")
        why = f"{_IN_THE_SHELL}; where that is meant, name a profile that gives one (--profile shell)"
        told.leave(place, f"allowed : {allowed}", why)
    else:
        told.differ(
            place,
            f"allowed : {allowed}",
            f"the profile {subject.profile} says whether there is a shell, and {_IN_THE_SHELL}",
        )
    place = values.places.get("overssh", told.whole)
    for entry in _list(values.said.get("overssh", []), place, "overssh"):
        told.command(place, entry, f"overssh : {entry}")


def _transfers(told: Told, values: _Values) -> None:
    """Say whether sftp and scp are served: each is where it is not forbidden by 0, and scp without limits."""
    by_sftp, by_scp = (
        _number(values.said.get(key, 0), values.places.get(key, told.whole), key) == 1
        for key in ("sftp", "scp")
    )
    place = values.places.get("sftp", values.places.get("scp", told.whole))
    told.set("access.sftp", place, str(by_sftp).lower(), "sftp")
    limited = [key for key in ("scp_upload", "scp_download") if values.said.get(key) == 0]
    limited += ["scpforce"] if values.said.get("scpforce") else []
    scp = values.places.get("scp", told.whole)
    if by_scp and not limited:
        told.command(scp, "scp", "scp : 1")
    elif by_scp:
        told.leave(scp, "scp : 1", f"it is limited by {', '.join(limited)}, which no key of a policy is")
    if by_scp and not by_sftp:
        told.differ(scp, "scp : 1", SCP_IS_NOT_SFTP)
    if by_sftp and not by_scp:
        told.differ(place, "sftp : 1", SCP_IS_SFTP)
    if not told.draft.has("access.commands"):
        told.set("access.commands", values.places.get("overssh", told.whole), "none", "overssh", word=False)
    if by_sftp and "umask" in values.said:
        text = values.places["umask"].text.strip("'\" ")
        told.set("access.sftp.umask", values.places["umask"], text, f"umask : {text}", word=False)
    elif "umask" in values.said:
        told.leave(values.places["umask"], "umask", NO_SFTP)


def _paths(told: Told, subject: Subject, values: _Values) -> None:
    """Bind the directories in which the account may work, beyond what every session has."""
    if "path" not in values.said:
        return
    place = values.places["path"]
    home = os.path.normpath(subject.account.home)
    for entry in _list(values.said["path"], place, "path"):
        name = f"path : {entry}"
        path = os.path.normpath(entry)
        if (path + "/").startswith(home + "/"):
            continue
        if any(letter in entry for letter in "*?["):
            told.leave(place, name, "a pattern: name each directory in volumes")
        elif not path.startswith("/"):
            told.leave(place, name, "it is relative: name the directory in volumes")
        elif path.split("/")[1] in ("usr", "bin", "sbin", "lib", "lib64"):
            told.differ(place, name, "what of it the image has, read-only")
        elif path.split("/")[1] in ("", "etc", "proc", "sys", "dev", "run", "tmp", "home", "var"):
            told.leave(place, name, OWN_PLACE)
        else:
            told.bind(place, path, path, name, read_only=False)


def _variables(told: Told, place: Text, value: Any) -> None:  # noqa: ANN401
    if not isinstance(value, dict):
        raise unreadable(place.source, place.line, f"env_vars : {quoted(str(value))}", "{'NAME': 'VALUE'}")
    for key, text in value.items():
        told.draft.named(
            "environment", text_at(place, str(key)), text_at(place, str(text)), f"env_vars : {key}"
        )


def _timer(told: Told, place: Text, value: Any) -> None:  # noqa: ANN401
    if seconds := _number(value, place, "timer"):
        told.set("sessions.max_duration", place, f"{seconds}s", f"timer : {seconds}", word=False)


def _sessions(told: Told, place: Text, value: Any) -> None:  # noqa: ANN401
    if most := _number(value, place, "max_sessions_per_user"):
        told.set("sessions.max", place, str(most), f"max_sessions_per_user : {most}", word=False)


def _processes(told: Told, place: Text, value: Any) -> None:  # noqa: ANN401
    if most := _number(value, place, "max_processes"):
        told.draft.named(
            "ulimits", text_at(place, "nproc"), text_at(place, str(most)), f"max_processes : {most}"
        )


_HANDLERS: dict[str, Callable[[Told, Text, Any], None]] = {
    "env_vars": _variables,
    "timer": _timer,
    "max_sessions_per_user": _sessions,
    "max_processes": _processes,
}
_TAKEN = (*_HANDLERS, "allowed", "overssh", "path", "scp", "sftp", "umask")


def _rest(told: Told, values: _Values) -> None:
    """Say of everything else why it is not in the policy."""
    for key, value in values.said.items():
        if key in _TAKEN or (key in _ZEROS and value in (0, "0")) or key == "include_dir":
            continue
        why = NOT.get(key) or f"lshell has no such key; {did_you_mean(key, (*NOT, *_TAKEN))}".rstrip("; ")
        told.leave(values.places[key], f"{key} : {value}", why)
