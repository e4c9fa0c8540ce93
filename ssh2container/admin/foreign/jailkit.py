"""Reading jailkit's files: accounts that jk_chrootsh locks in, or whose commands jk_lsh limits.

Who is locked in, and where, stands in passwd: the home of such an account is JAIL/./HOME (jk_chrootsh(8)).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.convert.tree import Text, text_at
from ssh2container.admin.foreign import chroots, written
from ssh2container.admin.foreign.told import NO_SFTP, SCP_IS_NOT_SFTP, Told, unreadable
from ssh2container.admin.policy.yaml.problems import quoted

if TYPE_CHECKING:
    from ssh2container.admin.foreign.told import Subject
    from ssh2container.admin.foreign.written import Option

_LOCKING = "jk_chrootsh"
_LIMITING = "jk_lsh"
SHELLS = (_LOCKING, _LIMITING)
_DIRECTORY = "/etc/jailkit"
_MARK = "/./"
_FIELDS = 7
_LIMITS = ("executables", "paths", "allow_word_expansion", "umask", "environment")
_NOT = {
    "env": "accept_env names what a client may set",
    "relax_home_group_permissions": "homes of sessions are not looked at by their group",
    "relax_home_other_permissions": "homes of sessions are not looked at by their permissions",
    "relax_home_group": "homes of sessions are not looked at by their group",
    "skip_injail_passwd_check": "there is no second passwd",
}
_FILLED = "its programs are those of the image, not those that jk_init copied into the jail"


def read(subject: Subject) -> Told:
    """Return what jailkit lets an account do. Raises PolicyError for what jailkit would not let in by."""
    shell = subject.account.shell
    if os.path.basename(shell) == _LIMITING:
        source = written.read(f"{subject.root}{_DIRECTORY}/{_LIMITING}.ini")
        told = Told(source)
        _limits(told, subject, source.path)
        return told
    passwd = written.read(f"{subject.root}/etc/passwd")
    place = _entry(passwd.text, subject.account.name, Text("", 0, 0, passwd))
    jail, mark, inner = subject.account.home.rpartition(_MARK)
    if not mark or not jail.startswith("/"):
        found = f"the home {quoted(subject.account.home)} names no jail"
        raise unreadable(passwd, place.line, found, "JAIL/./HOME")
    told = Told(passwd)
    chroots.take(told, subject, place, jail, "jail", f"/{inner}")
    told.differ(place, f"jail {jail}", _FILLED)
    inside = _injail_shell(told, subject, jail)
    if os.path.basename(inside.text) == _LIMITING:
        _limits(told, subject, f"{subject.root}{jail}{_DIRECTORY}/{_LIMITING}.ini")
    else:
        told.gives_a_shell(inside, f"the shell {inside.text}")
    return told


def _entry(text: str, name: str, place: Text) -> Text:
    """Return the shell of an account in a passwd file, at its line. Raises PolicyError for none."""
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split(":")
        if fields[0] == name and len(fields) == _FIELDS:
            return Text(fields[-1].strip(), number, 1, place.source)
    raise unreadable(place.source, 0, f"{name} is not in it", "a line of passwd")


def _injail_shell(told: Told, subject: Subject, jail: str) -> Text:
    """Return the shell that is started in the jail: that of its passwd, unless jailkit names another."""
    path = f"{subject.root}{_DIRECTORY}/{_LOCKING}.ini"
    shell = None
    if os.path.exists(path):
        for option in _section(path, subject):
            if option.key == "injail_shell":
                shell = option.value
            else:
                why = _NOT.get(option.key, f"{_LOCKING} has no such key")
                told.leave(option.value, f"{option.key} = {option.value.text}", why)
    if shell is None:
        inside = written.read(f"{subject.root}{jail}/etc/passwd")
        shell = _entry(inside.text, subject.account.name, Text("", 0, 0, inside))
    return shell


def _section(path: str, subject: Subject) -> list[Option]:
    """Return the options that hold: of the user, else of the primary group, else of DEFAULT."""
    options = written.sections(written.read(path))
    group = subject.account.groups[0] if subject.account.groups else ""
    for name in (subject.account.name, f"group {group}", "DEFAULT"):
        found = [option for option in options if option.section == name]
        if found:
            return found
    return []


def _limits(told: Told, subject: Subject, path: str) -> None:
    """Take what jk_lsh lets an account run: no shell, and what executables lists."""
    said = {option.key: option.value for option in _section(path, subject)}
    executables = said.get("executables")
    if executables is None:
        source = written.read(path)
        raise unreadable(source, 0, f"no section with executables holds for {subject.account.name}",
                         f"[{subject.account.name}], [group NAME] or [DEFAULT]")  # fmt: skip
    by_sftp = False
    for word in filter(None, map(str.strip, executables.text.split(","))):
        name = os.path.basename(word)
        if name == "sftp-server":
            by_sftp = True
        else:
            told.command(executables, name, f"executables = {word}")
    told.only_transfers(executables)
    told.set("access.sftp", executables, str(by_sftp).lower(), "sftp-server")
    if not by_sftp and "scp" in executables.text:
        told.differ(executables, "executables", SCP_IS_NOT_SFTP)
    if (umask := said.get("umask")) is not None and by_sftp:
        told.set("access.sftp.umask", umask, umask.text, f"umask = {umask.text}", word=False)
    elif umask is not None:
        told.leave(umask, f"umask = {umask.text}", NO_SFTP)
    if (environment := said.get("environment")) is not None:
        for word in filter(None, map(str.strip, environment.text.split(","))):
            name, _, value = word.partition("=")
            shown = f"environment = {word}"
            told.draft.named("environment", text_at(environment, name), text_at(environment, value), shown)
    if (expansion := said.get("allow_word_expansion")) is not None and expansion.text != "0":
        why = "a command of a list is run without a shell, which would expand its words"
        told.leave(expansion, f"allow_word_expansion = {expansion.text}", why)
    for key in sorted(set(said) - set(_LIMITS)):
        told.leave(said[key], f"{key} = {said[key].text}", f"{_LIMITING} has no such key")
