"""``image build host-tools``: chosen programs of this host with all that they need, about 20 to 25 MB.

Besides what the loader sees, programs open files by name: NSS and character-set modules, terminal
descriptions, the C.UTF-8 locale, certificates. Those, a small /etc, and the data of a few well-known
programs come along. Everything is the host's own and root's, so root copies it.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any

from ssh2container.admin.images.sources import directory
from ssh2container.admin.images.sources.source import Source
from ssh2container.admin.images.store.staging import Staging
from ssh2container.admin.images.tools import closure
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.admin.images.unpack.streams import Defaults, Progress, Stream
from ssh2container.errors import NotFound, SessionError
from ssh2container.plan.hours import LOCAL, ZONES

PROGRAMS = """
    sh bash dash ls cat cp mv rm mkdir rmdir ln touch chmod chown chgrp stat df du head tail wc sort uniq cut
    tr tee od basename dirname realpath readlink pwd echo printf true false test [ expr seq sleep date env
    id whoami groups uname nproc yes mktemp split csplit comm join paste fold fmt nl tac shuf md5sum
    sha1sum sha256sum sha512sum base64 dd sync truncate timeout nohup nice stty tty install mkfifo
    find xargs grep egrep fgrep sed awk mawk diff cmp diff3 patch tar gzip gunzip zcat bzip2 xz
    less more which hostname ps top free uptime kill pgrep pkill clear reset tput tset tabs
    nano vi ed getent locale iconv getopt script flock column hexdump cksum numfmt logname users who
    stdbuf unexpand expand b2sum
""".split()  # noqa: SIM905 - a list of 150 strings would be a page
"""Taken where the host has them. Transfer programs are not among them: sessions have them in any image."""
_LARGEST = 2 << 20
"""Bytes; a program that is larger (a full vim in place of the tiny one) comes only when it is asked for."""

_NSS = ("files", "compat", "dns")
_CHARSETS = """
    UTF-7 UTF-16 UTF-32 UNICODE ISO8859-1 ISO8859-2 ISO8859-9 ISO8859-15 CP1250 CP1251 CP1252 KOI8-R
""".split()  # noqa: SIM905
_TERMINALS = """
    xterm* linux screen* tmux* vt100 vt102 vt220 dumb ansi rxvt* putty* konsole* alacritty* foot* st-*
""".split()  # noqa: SIM905
_DATA = {
    "file": ("/usr/share/misc/magic.mgc", "/usr/lib/file/magic.mgc"),
    "git": ("/usr/lib/git-core", "/usr/libexec/git-core", "/usr/share/git-core"),
    "nano": ("/etc/nanorc", "/usr/share/nano"),
    "perl": ("/usr/lib/*-linux-gnu*/perl-base", "/usr/share/perl", "/usr/lib/*-linux-gnu*/perl"),
    "python3": ("/usr/lib/python3*", "/usr/lib64/python3*"),
    "vim": ("/usr/share/vim",),
    "man": ("/usr/share/man", "/etc/manpath.config"),
}
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"  # noqa: S105
_GROUP = "root:x:0:\ntty:x:5:\nusers:x:100:\nnogroup:x:65534:\n"
_NSSWITCH = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"


class HostTools(Source):
    """Programs of the host. extra: more programs (names or paths, directories too); only: no others."""

    kind = "host-tools"

    def __init__(self, extra: Iterable[str] = (), *, only: bool = False) -> None:
        # ``update`` runs in another directory.
        self._extra = tuple(os.path.abspath(word) if "/" in word else word for word in extra)
        self._only = only
        super().__init__(" ".join(self._extra) or "host-tools")
        self.defaults = Defaults((("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"),))
        self._tree = ""

    def prepare(self, staging: Staging, limits: Limits, progress: Progress) -> None:
        """Copy the closure into the staging directory."""
        progress("looking for libraries", 0, 0)
        self._tree = f"{staging.path}/host-tools"
        os.mkdir(self._tree)
        os.chmod(self._tree, 0o755)  # noqa: S103 - the root of a system
        paths = closure.closure(self._chosen())
        paths |= closure.closure(_modules(paths))
        _copy(sorted(paths | set(_plain_files())), self._tree)
        _write_etc(self._tree)

    def streams(self, staging: Staging, limits: Limits, progress: Progress) -> Iterator[Stream]:
        """Yield the one stream."""
        yield directory.stream(self._tree)

    def provenance(self) -> dict[str, Any]:
        """Return also what to build again."""
        return {**super().provenance(), "extra": list(self._extra), "only": self._only}

    def _chosen(self) -> set[str]:
        """Return the files to start from; raises NotFound for an extra that the host lacks."""
        chosen = set()
        for program in () if self._only else PROGRAMS:
            path = closure.which(program)
            if path and os.stat(path).st_size <= _LARGEST:
                chosen.add(path)
                chosen.update(_expanded(_DATA.get(program, ())))
        for program in self._extra:
            path = closure.which(program)
            if path is None:
                raise NotFound(f"this host has no {program}", "", "install it or leave it out", step="image")
            chosen.update(_expanded([path, *_DATA.get(os.path.basename(path), ())]))
        return chosen


def _expanded(patterns: Iterable[str]) -> Iterator[str]:
    """Yield the files that ``patterns`` mean, those below directories included."""
    for pattern in patterns:
        for path in glob.glob(pattern):
            yield path
            if os.path.isdir(path):
                for where, directories, files in os.walk(path):
                    yield from (f"{where}/{name}" for name in [*directories, *files])


def _modules(paths: set[str]) -> Iterator[str]:
    """Yield what the C library opens by name: found beside the libc that ``paths`` hold."""
    for libc in [path for path in paths if os.path.basename(path) == "libc.so.6"]:
        for beside in {os.path.dirname(libc), os.path.dirname(os.path.realpath(libc))}:
            yield from _expanded(f"{beside}/libnss_{name}.so.2" for name in _NSS)
            yield from _expanded((f"{beside}/gconv/gconv-modules*",))
            yield from _expanded(f"{beside}/gconv/{name}.so" for name in _CHARSETS)


def _plain_files() -> Iterator[str]:
    bases = ("/usr/share/terminfo", "/lib/terminfo", "/etc/terminfo")
    wanted = [f"{base}/{name[0]}/{name}" for base in bases for name in _TERMINALS]
    wanted += ["/usr/lib/locale/C.utf8", f"{ZONES}/UTC", LOCAL, *_CERTIFICATES]
    wanted += ["/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/inputrc", "/etc/profile", "/etc/bash.bashrc"]
    for path in _expanded(wanted):
        yield from closure.with_links(path)


def _copy(paths: list[str], tree: str) -> None:
    """Copy ``paths`` of the host to the same places below ``tree``, with the directories above them."""
    for path in paths:
        target = tree + path
        _make_parents(os.path.dirname(path), tree)
        if os.path.lexists(target):
            continue
        if os.path.islink(path):
            os.symlink(os.readlink(path), target)
        elif os.path.isdir(path):
            os.mkdir(target)
            shutil.copystat(path, target)
        elif os.path.isfile(path):
            shutil.copy2(path, target)


def _make_parents(path: str, tree: str) -> None:
    """Make ``path`` below ``tree`` as it is on the host: /bin a link to usr/bin, where it is one."""
    made = ""
    for part in filter(None, path.split("/")):
        made = f"{made}/{part}"
        if os.path.lexists(tree + made):
            continue
        if os.path.islink(made):
            os.symlink(os.readlink(made), tree + made)
            _make_parents(os.path.realpath(made), tree)
        else:
            os.mkdir(tree + made)
            os.chmod(tree + made, 0o755)  # noqa: S103


def _write_etc(tree: str) -> None:
    for name in ("etc", "tmp", "root", "home", "var/tmp", "usr/bin"):
        os.makedirs(f"{tree}/{name}", exist_ok=True)
    os.chmod(f"{tree}/tmp", 0o1777)  # noqa: S103
    os.chmod(f"{tree}/var/tmp", 0o1777)  # noqa: S103
    for name, text in (("passwd", _PASSWD), ("group", _GROUP), ("nsswitch.conf", _NSSWITCH)):
        with open(f"{tree}/etc/{name}", "w", encoding="ascii") as file:
            file.write(text)
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{name}") and not os.path.lexists(f"{tree}/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{tree}/{name}")
    result = subprocess.run(["ldconfig", "-r", tree], capture_output=True, check=False)
    if result.returncode:
        text = result.stderr.decode("utf-8", "replace").strip()
        raise SessionError("ldconfig failed on the image", text, step="image")
