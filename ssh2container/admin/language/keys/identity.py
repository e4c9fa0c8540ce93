"""Keys of the image and of who the user is inside."""

from __future__ import annotations

from ssh2container.admin.language.declaration import Setting
from ssh2container.admin.language.scalars import Choice, Path, Text, Words

IMAGE = r"(?!.*\.\.)[a-z0-9][a-zA-Z0-9_.:/-]{0,254}(@sha256:[0-9a-f]{64})?"

SETTINGS = [
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
        "The user inside: self keeps the login's own name and id, root is user 0 of the session only.",
        "user: root",
    ),
    Setting(
        "userns_mode",
        Choice("single", "range", "own_range"),
        "single",
        "The ids inside: single maps the user alone, range a whole system's users from the ids that all such"
        " sessions share, own_range from ids that no other user has.",
        "userns_mode: single",
    ),
    Setting(
        "shell",
        Words(Path("an absolute path inside", specific=False), "a list of absolute paths"),
        ("/bin/bash", "/bin/sh"),
        "The shells to look for; the first one that the image has is started.",
        "shell: [/bin/zsh, /bin/bash, /bin/sh]",
    ),
]
