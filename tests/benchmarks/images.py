"""Start-up in images of different sizes: a login must not feel how large its image is."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile

from support.host import run
from support.ledger import CACHE
from support.material import busybox_tree
from support.users import SHELL, User, Users

from benchmarks.clock import Command, as_user, interleaved
from benchmarks.table import Row, Section

CONTROL = "/usr/bin/ssh2containerctl"
SIZES_MIB = {"2 MB": 0, "150 MB": 150, "2 GB": 2048}
"""Name -> what is added to busybox alone, in files as a distribution has them."""
BAR = "<= 1.1"
_FILE_BYTES = 20_000
_FILES_OF_A_DIRECTORY = 100
_POLICY = "image: {image}\nshell: [/bin/sh]\n"


def measure(users: Users, rounds: int) -> Section:
    """Import the images, start a session in each of them in turn, remove them."""
    images = {size: f"benchmark-{os.getpid()}/{added}" for size, added in SIZES_MIB.items()}
    who: dict[str, User] = {}
    files: dict[str, int] = {}
    try:
        for size, image in images.items():
            files[size] = _bring(image, SIZES_MIB[size])
            who[size] = users.make(_POLICY.format(image=image))
        run([CONTROL, "compile"]).ok()
        times: dict[str, list[float]] = {size: [] for size in images}
        for _ in range(rounds):
            for size, user in who.items():
                times[size] += _one(user)
    finally:
        for image in images.values():
            run([CONTROL, "image", "rm", image])
    rows = [Row(f"an image of {size}, {files[size]} files", "ms", samples) for size, samples in times.items()]
    for row in rows[1:]:
        row.ratio, row.against, row.bar = row.median / rows[0].median, "the smallest", BAR
    return Section("images", "ssh2container -c true, one in each image in turn", rows)


def _one(user: User) -> list[float]:
    command: dict[str, Command] = {"ours": [SHELL, "-c", "true"]}
    samples: list[float] = as_user(user, lambda: interleaved(command, 1, user.environment()))["ours"]
    return samples


def _bring(name: str, mib: int) -> int:
    """Import busybox and ``mib`` of other files; return how many there are."""
    noise = random.Random(mib)  # no two files alike, or they would share blocks
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        tree = busybox_tree(f"{directory}/tree")
        count = (mib << 20) // _FILE_BYTES
        for number in range(count):
            where = f"{tree}/usr/share/{number // _FILES_OF_A_DIRECTORY}"
            if number % _FILES_OF_A_DIRECTORY == 0:
                os.makedirs(where)
            with open(f"{where}/{number}", "wb") as file:
                file.write(noise.randbytes(_FILE_BYTES))
        subprocess.run([CONTROL, "image", "import", name, tree], check=True, stdout=subprocess.DEVNULL)
        return sum(len(names) for _, _, names in os.walk(tree))
