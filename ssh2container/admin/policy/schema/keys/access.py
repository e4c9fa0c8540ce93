"""Keys of what a client may ask for."""

from __future__ import annotations

from ssh2container.admin.policy.schema.declaration import Setting
from ssh2container.admin.policy.types.commands import Commands, FlagOrProgram, Program
from ssh2container.admin.policy.types.entries import ListOf
from ssh2container.admin.policy.types.hours import Hours, Moment
from ssh2container.admin.policy.types.keys import Keys
from ssh2container.admin.policy.types.numbers import Octal
from ssh2container.admin.policy.types.scalars import Choice, Flag, Optional, Path, Text

SETTINGS = [
    Setting(
        "access.login",
        Flag(),
        True,
        "Whether the user may log in at all; access.message says why not.",
        "access: {login: false, message: suspended until Monday}",
    ),
    Setting(
        "access.hours",
        Optional(Hours(), "any"),
        None,
        "The hours at which the user may log in; sessions end with them. Without a zone they are the host's.",
        'access: {hours: "Mon-Fri 08:00-18:00 Europe/Berlin"}',
    ),
    Setting(
        "access.from",
        Optional(Moment(), "none"),
        None,
        "When the account opens; a date alone means its first moment.",
        "access: {from: 2026-10-01}",
    ),
    Setting(
        "access.until",
        Optional(Moment(), "none"),
        None,
        "When the account closes, and its sessions end; a date alone means its last moment.",
        "access: {until: 2027-01-31}",
    ),
    Setting(
        "authorized_keys",
        Choice("host", "home"),
        "host",
        "Where sshd looks for the user's keys: host is where sshd_config says, home also "
        "~/.ssh/authorized_keys of the kept home, which the user writes inside (ssh-copy-id).",
        "authorized_keys: home",
    ),
    Setting(
        "keys",
        Keys(),
        {},
        "What a public key or a certificate has for a policy: that of the user, and upon it the profiles of "
        "its rule.",
        'keys: [{fingerprint: "SHA256:TDGS1xGvIVHUvuEzW4YH8dMYXGrMYyKZ8lF1Ku9YAVA", extends: [borg-append]}]',
    ),
    Setting(
        "access.command",
        Optional(
            Program(Text("a text", r"[^\0]+", specific=True), "a command line | a list of its words"), "none"
        ),
        None,
        "What runs whatever a client asks for, which is then in SSH_ORIGINAL_COMMAND, as with sshd's "
        "ForceCommand; none runs what it asks for.",
        "access: {command: [borg, serve, --append-only, --restrict-to-path, /backup]}",
    ),
    Setting(
        "access.interactive",
        FlagOrProgram(
            Program(Text("a text", r"[^\0]+", specific=True), "a command line | a list of its words")
        ),
        True,
        "What a login without a command gets: true the shell, false a refusal, a command line the program "
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
        "The umask of files that arrive by sftp, also for modes that the client sets (chmod, put -p);"
        " none leaves it to the client.",
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
        "access.sftp.overwrite",
        Flag(),
        True,
        "Whether sftp may change files that exist; false lets it only make new ones.",
        "access: {sftp: {overwrite: false}}",
    ),
    Setting(
        "access.terminal",
        Choice("optional", "required"),
        "optional",
        "Whether a shell or a command needs a terminal, as record.terminal does to see it; not sftp.",
        "access: {terminal: required}",
    ),
    Setting(
        "access.message",
        Text("a text", limit=1024),
        "",
        "A line shown with every refusal.",
        'access: {message: "Help: https://lab.example"}',
    ),
]
