"""Reading CageFS' files: accounts that see a skeleton of the file system, and mount points of the host."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ssh2container.admin.convert.tree import Text, text_at
from ssh2container.admin.foreign import written
from ssh2container.admin.foreign.told import OWN_PLACE, Told, unreadable
from ssh2container.admin.policy.yaml.problems import quoted
from ssh2container.errors import Refusal

if TYPE_CHECKING:
    from ssh2container.admin.foreign.told import Subject

SHELLS = ()
"""PAM locks accounts in (pam_lve), whatever the login shell is."""
_DIRECTORY = "/etc/cagefs"
_MOUNTS = f"{_DIRECTORY}/cagefs.mp"
_ENABLED, _DISABLED, _EXCLUDED = "users.enabled", "users.disabled", "exclude"
_ENTRY = re.compile(r"(?P<kind>[!@%*]?)(?P<path>/[^,]*?)(?:,(?P<mode>0?[0-7]{3,4}))?/?")
_ALWAYS = frozenset(("proc", "dev", "sys", "tmp", "usr", "bin", "sbin", "lib", "lib64"))
"""What a container has without being told to."""
_PROGRAMS = frozenset(("usr", "bin", "sbin", "lib", "lib64", "etc", "dev"))
_OWN_COPY = "each session has it in memory: what is written to it ends with the session"
_VIRTUAL = "name the directories in volumes, in a policy of the user"
_PROXIED = "nothing inside runs a program outside"
_HIDDEN = "an image has it or not; the host's /usr is there as a whole"


def read(subject: Subject) -> Told:
    """Return what CageFS shows an account.

    Raises Refusal where it is not locked in, PolicyError for a line that is none.
    """
    _require_locked_in(subject)
    source = written.read(subject.root + _MOUNTS)
    told = Told(source)
    for number, line in written.lines(source):
        place = Text(line, number, 1, source)
        match = _ENTRY.fullmatch(line)
        if match is None:
            raise unreadable(
                source, number, f"found {quoted(line)}", "/PATH, !/PATH, %/PATH, */PATH, @/PATH,MODE"
            )
        _mount(told, subject, place, match)
    _skeleton(told, subject)
    told.gives_a_shell(told.whole, "a shell")
    shell = subject.account.shell or "/bin/sh"
    if os.path.normpath(shell).lstrip("/").split("/")[0] in _PROGRAMS:
        told.set("shell", told.whole, shell, f"the login shell {shell}", word=False)
    return told


def _require_locked_in(subject: Subject) -> None:
    """Raise Refusal for an account that CageFS leaves outside (cagefsctl --display-user-mode)."""
    directory = subject.root + _DIRECTORY
    name = subject.account.name
    why = ""
    if os.path.exists(f"{directory}/{_ENABLED}"):
        why = (
            ""
            if _is_listed(f"{directory}/{_ENABLED}", subject)
            else f"{_DIRECTORY}/{_ENABLED} does not have it"
        )
    elif os.path.exists(f"{directory}/{_DISABLED}"):
        why = f"{_DIRECTORY}/{_DISABLED} has it" if _is_listed(f"{directory}/{_DISABLED}", subject) else ""
    else:
        why = f"neither {_ENABLED} nor {_DISABLED} is in {_DIRECTORY}"
    for path in written.matching(f"{directory}/{_EXCLUDED}/*"):
        if name in (line for _, line in written.lines(written.read(path))):
            why = f"{path.removeprefix(subject.root)} has it"
    if why:
        raise Refusal("is not in CageFS", why, "without --from, its login shell says what it may")


def _is_listed(directory: str, subject: Subject) -> bool:
    """Tell whether a directory has an account: by its name, there or below the last two digits of its uid."""
    name, prefix = subject.account.name, f"{subject.account.uid % 100:02d}"
    return any(os.path.lexists(f"{directory}/{path}") for path in (name, f"{prefix}/{name}"))


def _mount(told: Told, subject: Subject, place: Text, match: re.Match[str]) -> None:
    kind, path = match["kind"], os.path.normpath(match["path"])
    name = place.text
    if path.split("/")[1] in _ALWAYS:
        return
    if path.split("/")[1] in ("", "etc"):
        told.leave(place, name, OWN_PLACE)
        return
    if kind == "@":
        text = f"{path}:mode={(match['mode'] or '755').lstrip('0')}"
        if told.draft.entry("tmpfs", text_at(place, text.replace("%", "%%")), name):
            told.differ(place, name, _OWN_COPY)
        return
    if kind in ("%", "*"):
        path += f"/{subject.account.name if kind == '%' else subject.account.uid}"
    told.bind_if_there(place, subject.root, path, name, read_only=kind == "!")


def _skeleton(told: Told, subject: Subject) -> None:
    """Say what of the skeleton's files a container does not have in the same way."""
    directory = subject.root + _DIRECTORY
    for path in written.matching(f"{directory}/conf.d/*.cfg"):
        for option in written.sections(written.read(path)):
            words = [word.strip() for word in option.value.text.replace("\n", ",").split(",") if word.strip()]
            others = [word for word in words if word.lstrip("/").split("/")[0] not in _PROGRAMS]
            if option.key in ("paths", "devices") and others:
                shown = f"{option.section}: {option.key} {', '.join(others)}"
                told.leave(
                    option.value, shown, "what is not part of the image is named in volumes or devices"
                )
    number = subject.account.uid % 100
    virtual = f"{subject.root}/var/cagefs/{number:02d}/{subject.account.name}/virt.mp"
    for path, why in (
        (f"{directory}/custom.black.list", _HIDDEN),
        (f"{directory}/custom.proxy.commands", _PROXIED),
        (virtual, _VIRTUAL),
    ):
        if os.path.isfile(path):
            source = written.read(path)
            for line_number, line in written.lines(source):
                told.leave(Text(line, line_number, 1, source), line, why)
