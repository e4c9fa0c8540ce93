"""Every key of the policy language, declared once.

From these declarations come validation, ``show``, the JSON Schema, the reference table and the
manual page. A key joins the language here, and nowhere else; a key whose feature does not exist
yet has ``supported=False`` and is rejected.
"""

# ruff: noqa: FBT003 - a default may be a boolean

from __future__ import annotations

from ssh2container.admin.language.declaration import Language, Setting
from ssh2container.admin.language.entries import Environment, ListOf, Ulimits
from ssh2container.admin.language.interfaces import EgressRules, Networks, Ports
from ssh2container.admin.language.mounts import TmpfsMounts, Volumes
from ssh2container.admin.language.programs import Commands
from ssh2container.admin.language.scalars import (
    Choice,
    Count,
    Duration,
    Flag,
    FlagOr,
    Fraction,
    Octal,
    Optional,
    Path,
    Size,
    Text,
    Words,
)

GIB = 1024**3
WEEK_SECONDS = 7 * 24 * 3600.0
NAME = r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,63}"
IMAGE = r"(?!.*\.\.)[a-z0-9][a-zA-Z0-9_.:/-]{0,254}(@sha256:[0-9a-f]{64})?"

POLICY = Language(
    {
        "Image and identity": [
            Setting(
                "image",
                Text("host, or [REGISTRY/]NAME[:TAG][@DIGEST]", IMAGE),
                "host",
                "The root file system of the session; host is the host's own /usr, read-only.",
                "image: debian:12",
            ),
            Setting(
                "hostname",
                Text(
                    "a host name of letters, digits and -; specifiers",
                    r"[A-Za-z0-9%][A-Za-z0-9%.-]{0,63}",
                    specific=True,
                ),
                "container",
                "The host name inside the session.",
                "hostname: box-%u",
            ),
            Setting(
                "user",
                Text("self, root, or a name in the image", r"[a-z_][a-z0-9_-]{0,31}\$?"),
                "self",
                "The user inside: self keeps the login's own name and id, root is user 0 of the session "
                "only.",
                "user: root",
                supported=("self", "root"),
            ),
            Setting(
                "userns_mode",
                Choice("single", "range"),
                "single",
                "The ids inside: single maps the user alone, range a whole system's users.",
                "userns_mode: single",
                supported=("single",),
            ),
            Setting(
                "shell",
                Words(Path("an absolute path inside", specific=False), "a list of absolute paths"),
                ("/bin/bash", "/bin/sh"),
                "The shells to look for; the first one that the image has is started.",
                "shell: [/bin/zsh, /bin/bash, /bin/sh]",
            ),
        ],
        "Files": [
            Setting(
                "home",
                Choice("ephemeral"),
                "ephemeral",
                "The home directory: ephemeral lives in memory and ends with the session, a map names "
                "a directory of the host that stays.",
                "home: {source: /srv/homes/%u, skel: /etc/skel}",
                mapping="kept",
            ),
            Setting(
                "home.source",
                Path("an absolute path on the host"),
                None,
                "The directory of the host that is mounted as the home.",
                "home: {source: /srv/homes/%u}",
            ),
            Setting(
                "home.skel",
                Optional(Path("an absolute path on the host"), "none"),
                None,
                "The directory whose files a new home starts with, or none.",
                "home: {source: /srv/homes/%u, skel: /etc/skel}",
            ),
            Setting(
                "home.read_only",
                Flag(),
                False,
                "Whether the home is mounted read-only.",
                "home: {source: /srv/homes/%u, read_only: true}",
            ),
            Setting(
                "unsafe_host_home",
                Flag(),
                False,
                "Allow home.source to be the user's home on the host (%h), from which user units, .forward "
                "and authorized_keys act outside.",
                "unsafe_host_home: true",
            ),
            Setting(
                "volumes",
                Volumes(),
                {},
                "Files and directories of the host to bind inside, read-only unless marked rw; a missing "
                "source refuses the login.",
                "volumes: [/srv/course:/course:ro]",
            ),
            Setting(
                "storage_opt.size",
                Size(1024**2, 1024 * GIB),
                256 * 1024**2,
                "The size of everything writable that is no volume, together, in memory.",
                "storage_opt: {size: 256m}",
            ),
            Setting(
                "storage_opt.inodes",
                Count(100, 100_000_000),
                50_000,
                "The number of files and directories in everything writable that is no volume, together.",
                "storage_opt: {inodes: 50000}",
            ),
            Setting(
                "tmpfs",
                TmpfsMounts(),
                {},
                "More memory file systems, each with a size (64m) and a mode (1777) of its own.",
                'tmpfs: ["/scratch:size=64m,mode=1777"]',
            ),
        ],
        "Access": [
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
                "The commands a client may run: any goes to the shell, none refuses, a list is run without "
                "a shell.",
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
        ],
        "Environment": [
            Setting(
                "environment",
                Environment(),
                {},
                "Variables of the session; one without a value is taken from the client.",
                "environment: {EDITOR: nano}",
            ),
            Setting(
                "accept_env",
                ListOf(Text("a name, with * and ? as wildcards", r"[A-Za-z_*?][A-Za-z0-9_*?]{0,254}")),
                {name: name for name in ("TERM", "LANG", "LC_*", "TZ", "GIT_PROTOCOL")},
                "Variables of the client that reach the session, if sshd's AcceptEnv lets them through.",
                'accept_env: [TERM, LANG, "LC_*", GIT_PROTOCOL]',
            ),
            Setting(
                "allow_agent_forwarding",
                Flag(),
                False,
                "Give the session the one socket of the client's agent.",
                "allow_agent_forwarding: true",
                supported=(False,),
            ),
        ],
        "Network": [
            Setting(
                "network_mode",
                Choice("none", "host", "private"),
                "none",
                "The network: none has only its own loopback, host shares the host's, private is its own "
                "with a way out.",
                "network_mode: none",
                supported=("none", "host"),
            ),
            Setting(
                "ports",
                Ports(),
                {},
                "Ports of a private network to publish on the host, on 127.0.0.1 unless an address is given.",
                'ports: ["127.0.0.1:8080:80/tcp"]',
                supported=False,
            ),
            Setting(
                "egress",
                EgressRules(),
                {},
                "The destinations that a private network may reach; without any, all.",
                'egress: [{to: 10.0.0.0/8, ports: [443, "8000-8010"], protocol: tcp}]',
                supported=False,
            ),
            Setting(
                "networks",
                Networks(),
                {},
                "Link-layer interfaces on bridges of the host.",
                "networks: {br0: {ipv4_address: 10.0.0.7/24, gateway: 10.0.0.1}}",
                supported=False,
            ),
        ],
        "Limits": [
            Setting(
                "mem_limit",
                Optional(Size(4 * 1024**2, 64 * 1024 * GIB), "none"),
                None,
                "The memory of all processes of the session together.",
                "mem_limit: 512m",
                supported=False,
            ),
            Setting(
                "cpus",
                Optional(Fraction(0.01, 4096), "none"),
                None,
                "The processors that the session may use, as a fraction.",
                "cpus: 0.5",
                supported=False,
            ),
            Setting(
                "pids_limit",
                Optional(Count(1, 4_194_304), "none"),
                None,
                "The number of processes and threads of the session.",
                "pids_limit: 100",
                supported=False,
            ),
            Setting(
                "ulimits",
                Ulimits(),
                {},
                "Resource limits of each process, as in setrlimit(2).",
                "ulimits: {nofile: {soft: 1024, hard: 4096}, nproc: 200}",
            ),
            Setting(
                "limits",
                Choice("required", "best_effort"),
                "required",
                "What happens when mem_limit, cpus or pids_limit cannot be set: refuse the login, or log "
                "and go on.",
                "limits: required",
                supported=False,
            ),
            Setting(
                "sessions.max",
                Optional(Count(1, 10_000), "none"),
                None,
                "The number of sessions that the user may have at once.",
                "sessions: {max: 4}",
                supported=False,
            ),
            Setting(
                "sessions.idle_timeout",
                Optional(Duration(1, WEEK_SECONDS), "none"),
                None,
                "The time without input or output after which a session ends.",
                "sessions: {idle_timeout: 15m}",
                supported=False,
            ),
            Setting(
                "sessions.max_duration",
                Optional(Duration(1, 52 * WEEK_SECONDS), "none"),
                None,
                "The time after which a session ends.",
                "sessions: {max_duration: 8h}",
                supported=False,
            ),
            Setting(
                "sessions.warn_before",
                Duration(0, 3600),
                60.0,
                "The time before the end at which an interactive session is warned.",
                "sessions: {warn_before: 1m}",
                supported=False,
            ),
            Setting(
                "container_per",
                Choice("session", "connection", "user"),
                "session",
                "What shares one container: nothing (session), the sessions of a connection, or all of the "
                "user's.",
                "container_per: session",
                supported=("session",),
            ),
            Setting(
                "linger",
                Duration(0, WEEK_SECONDS),
                0.0,
                "How long a container_per: user container lives on after the last session.",
                "linger: 10m",
                supported=False,
            ),
            Setting(
                "stop_grace_period",
                Duration(0, 600),
                10.0,
                "The time between the request to end and the kill.",
                "stop_grace_period: 10s",
            ),
        ],
        "Confinement": [
            Setting(
                "cap_add",
                ListOf(
                    Choice(
                        "CHOWN",
                        "DAC_OVERRIDE",
                        "FOWNER",
                        "FSETID",
                        "KILL",
                        "NET_BIND_SERVICE",
                        "SETGID",
                        "SETUID",
                    )
                ),
                {},
                "Capabilities of user: root in range mode, from the safe set.",
                "cap_add: [NET_BIND_SERVICE]",
                supported=False,
            ),
            Setting(
                "seccomp.profile",
                Text("the name of a profile", NAME),
                "default",
                "The system-call filter to start from.",
                "seccomp: {profile: default}",
            ),
            Setting(
                "seccomp.allow",
                ListOf(Text("a system call by name or number", r"[a-z_][a-z0-9_]{0,63}|0|[1-9][0-9]{0,3}")),
                {},
                "System calls to allow beyond the profile.",
                "seccomp: {allow: [ptrace]}",
            ),
            Setting(
                "seccomp.deny",
                ListOf(Text("a system call by name or number", r"[a-z_][a-z0-9_]{0,63}|0|[1-9][0-9]{0,3}")),
                {},
                "System calls to refuse beyond the profile.",
                "seccomp: {deny: [memfd_create]}",
            ),
            Setting(
                "seccomp.on_violation",
                Choice("errno", "kill", "log"),
                "errno",
                "What a refused system call gets: an error, death, or an error and a record in the kernel's "
                "log.",
                "seccomp: {on_violation: kill}",
            ),
        ],
        "Record": [
            Setting(
                "record.terminal",
                Flag(),
                False,
                "Record what interactive sessions print.",
                "record: {terminal: true}",
                supported=False,
            ),
            Setting(
                "record.input",
                Flag(),
                False,
                "Record what the user types too, passwords included.",
                "record: {input: true}",
                supported=False,
            ),
            Setting(
                "record.transfers",
                Choice("none", "names", "hashes"),
                "none",
                "What is kept of transferred files.",
                "record: {transfers: names}",
                supported=False,
            ),
            Setting(
                "record.on_failure",
                Choice("end_session", "go_on"),
                "end_session",
                "What happens when the recording cannot be written.",
                "record: {on_failure: end_session}",
                supported=False,
            ),
            Setting(
                "banner",
                Optional(Text("a text", limit=4096), "none"),
                None,
                "A text shown before an interactive session.",
                'banner: "Authorised use only"',
                supported=False,
            ),
            Setting(
                "motd",
                Optional(Text("a text", limit=4096), "none"),
                None,
                "A text shown when an interactive session starts.",
                'motd: "Welcome to the lab"',
                supported=False,
            ),
        ],
    }
)
"""The keys of defaults.yaml, groups/*.yaml, users/*.yaml, enforced.yaml and profiles."""

GROUP_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.@ \\-]{0,254}\$?"

SITE = Language(
    {
        "Site": [
            Setting(
                "admit",
                Choice("listed", "everybody"),
                "listed",
                "Who may log in: users with a file of their own or of a group, or everybody.",
                "admit: listed",
            ),
            Setting(
                "group_order",
                Words(Text("the name of a group", GROUP_NAME), "a list of group names", minimum=0),
                (),
                "The groups that have a file below groups/, the strongest last.",
                "group_order: [students, staff]",
            ),
        ]
    }
)
"""The keys of config.yaml."""
