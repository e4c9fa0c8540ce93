"""Keys of what a client may ask for."""

from __future__ import annotations

from ssh2container.admin.language.declaration import Setting
from ssh2container.admin.language.entries import ListOf
from ssh2container.admin.language.programs import Commands
from ssh2container.admin.language.scalars import Choice, Flag, FlagOr, Octal, Optional, Path, Text, Words

SETTINGS = [
    Setting(
        "access.login",
        Flag(),
        True,
        "Whether the user may log in at all; access.message says why not.",
        "access: {login: false, message: suspended until Monday}",
    ),
    Setting(
        "access.interactive",
        FlagOr(Words(Text("a text", r"[^\0]+", specific=True), "a list of words")),
        True,
        "What a login without a command gets: true the shell, false a refusal, a list the program "
        "that runs instead of the shell.",
        "access: {interactive: [/usr/bin/menu, --lab]}",
    ),
    Setting(
        "access.commands",
        Commands(),
        "any",
        "The commands a client may run: any goes to the shell, none refuses, a list is run without a shell.",
        'access: {commands: [rsync, {exact: "make test"}]}',
    ),
    Setting(
        "access.sftp",
        Flag(),
        True,
        "Whether sftp, and scp and sshfs over it, are served; a map sets its limits.",
        "access: {sftp: false}",
        mapping=True,
    ),
    Setting(
        "access.sftp.read_only",
        Flag(),
        False,
        "Refuse every sftp request that writes.",
        "access: {sftp: {read_only: true}}",
    ),
    Setting(
        "access.sftp.umask",
        Optional(Octal(0o777), "none"),
        None,
        "The umask of files that come by sftp; none leaves it to the client.",
        'access: {sftp: {umask: "027"}}',
    ),
    Setting(
        "access.sftp.start_directory",
        Optional(Path("an absolute path inside"), "none"),
        None,
        "The directory in which sftp starts; none is the home.",
        "access: {sftp: {start_directory: /submit}}",
    ),
    Setting(
        "access.sftp.deny",
        ListOf(
            Choice(
                "open",
                "close",
                "read",
                "write",
                "lstat",
                "fstat",
                "setstat",
                "fsetstat",
                "opendir",
                "readdir",
                "remove",
                "mkdir",
                "rmdir",
                "realpath",
                "stat",
                "rename",
                "readlink",
                "symlink",
                "posix-rename",
                "statvfs",
                "fstatvfs",
                "hardlink",
                "fsync",
                "lsetstat",
                "limits",
                "expand-path",
                "copy-data",
                "home-directory",
                "users-groups-by-id",
            )
        ),
        {},
        "The sftp requests to refuse, by the names of sftp-server -Q requests.",
        "access: {sftp: {deny: [remove, rename]}}",
    ),
    Setting(
        "access.message",
        Text("a text", limit=1024),
        "",
        "A line shown with every refusal.",
        'access: {message: "Help: https://lab.example"}',
    ),
]
