"""Keys of the image and of who the user is inside."""

from __future__ import annotations

from ssh2container.admin.policy.schema import compose
from ssh2container.admin.policy.schema.declaration import Setting
from ssh2container.admin.policy.types.entries import ImageNames
from ssh2container.admin.policy.types.scalars import Choice, Flag, Optional, Path, Text, Words
from ssh2container.admin.policy.types.systems import FlagOrPath, Signal

IMAGE = r"(?!.*\.\.)[a-z0-9][a-zA-Z0-9_.:/-]{0,254}(@sha256:[0-9a-f]{64})?"

SETTINGS = [
    Setting(
        "image",
        Text("host, or [REGISTRY/]NAME[:TAG][@DIGEST]", IMAGE),
        "host",
        "The root file system of the session; host is the host's own /usr, read-only.",
        "image: debian:12",
        rival="images",
    ),
    Setting(
        "images",
        ImageNames(Text("host, or [REGISTRY/]NAME[:TAG][@DIGEST]", IMAGE)),
        {},
        "The images of which a login chooses one, in place of image; the first is what it has without.",
        "images: [debian:12, alpine:3]",
        rival="image",
    ),
    Setting(
        "image_menu",
        Flag(),
        False,
        "Whether a login at a terminal that has chosen none of several images is asked for one.",
        "image_menu: true",
    ),
    Setting(
        "hostname",
        Text(
            "a host name of letters, digits and -; specifiers",
            r"[A-Za-z0-9%][A-Za-z0-9%.-]{0,63}",
            specific=True,
        ),
        "container-%i",
        "The host name inside; with container_per: user its %i stays the same for all containers.",
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
        Choice("auto", "single", "range", "own_range", instead={"host": compose.SERVICE["userns_mode"].why}),
        "auto",
        "The ids inside: single maps only the user; range maps a whole system's users to ids that all such"
        " sessions share, own_range to ids that no other user has. auto is single for user: self; for root"
        " and users of an image it is own_range, or range if the host does not support that.",
        "userns_mode: single",
    ),
    Setting(
        "shell",
        Words(Path("an absolute path inside", specific=False), "an absolute path, or a list of them"),
        ("/bin/bash", "/bin/sh"),
        "The shells to look for; the first one that the image has is started.",
        "shell: [/bin/zsh, /bin/bash, /bin/sh]",
    ),
    Setting(
        "boot",
        FlagOrPath(),
        False,
        "Whether a login is a whole system that starts on its terminal: true with the image's own init, or"
        " the path of one; with user: root and a range of ids.",
        "boot: /sbin/init",
    ),
    Setting(
        "stop_signal",
        Optional(Signal(), "auto"),
        None,
        "The signal that asks the init of boot to end the system; auto is what the image's init understands.",
        "stop_signal: SIGRTMIN+3",
    ),
]
