"""Work on many small files inside sessions, against the same on a tmpfs of the host."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

import pyseccomp
from support.host import run
from support.images import grant, ranged_image
from support.ledger import CACHE
from support.users import SHELL, User, Users

from benchmarks.clock import as_user
from benchmarks.table import Row, Section

BARE_BAR, WALLED_BAR = ">= 0.95", ">= 0.80"
"""Without Landlock, and with it."""
_ROOM = "storage_opt: {size: 4g, inodes: 400000}\n"
_OVERLAY = "userns_mode: range\nuser: root\n"
_FILES_OF_A_DIRECTORY = 25
_FILE_BYTES = (200, 6000)
_WHEELS, _MODULES_OF_A_WHEEL = 20, 100
_FILES_OF_THE_REPOSITORY = 10_000
_MODULE = "VALUE = {}\n\n\ndef value() -> int:\n    return VALUE\n"


@dataclass(frozen=True)
class _Place:
    """Where the work is done. shell: what stands before the script; bar: what the ratio should come to."""

    user: User
    shell: list[str]
    directory: str
    bar: str = ""
    without_landlock: bool = False


def measure(users: Users, files: int, rounds: int, directory: str) -> Section:
    """Unpack ``files`` files, clone a repository, install wheels: in each place in turn.

    directory: an empty one that users can read; it gets the sources of all three.
    """
    works = _prepare(directory, files)
    rows: list[Row] = []
    with _places(users, directory) as places:
        for name, script in works.items():
            times: dict[str, list[float]] = {place: [] for place in places}
            for _ in range(rounds):
                for place, where in places.items():
                    times[place].append(_seconds(where, script))
            host, *_ = times
            rows += [Row(f"{name}, {place}", "s", samples) for place, samples in times.items()]
            for row, (place, samples) in zip(rows[-len(places) :], times.items(), strict=True):
                if place != host:
                    # Pair by pair: what the machine did in that round slowed both.
                    row.ratio = statistics.median(
                        theirs / mine for theirs, mine in zip(times[host], samples, strict=True)
                    )
                    row.against, row.bar = f"{host} / it", places[place].bar
    return Section("metadata", "wall time of the work alone, without the session's start and end", rows)


@contextlib.contextmanager
def _places(users: Users, directory: str) -> Iterator[dict[str, _Place]]:
    """Name -> place; the first is the host's tmpfs."""
    tools = os.path.dirname(os.path.dirname(sys.executable))  # the virtual environment has pip
    sources = f"volumes: ['{directory}:{directory}', '{tools}:{tools}'%s]\n"
    plain = users.make("image: host\n" + _ROOM + sources % "")
    inside = [SHELL, "-c"]
    with contextlib.ExitStack() as stack:
        tmpfs = stack.enter_context(_host_tmpfs(plain))
        image = stack.enter_context(ranged_image(_empty_system))
        root = users.make(f"image: {image}\n" + _OVERLAY + _ROOM + sources % ", '/usr:/usr'")
        grant(root)
        run(["/usr/bin/ssh2containerctl", "compile"]).ok()
        yield {
            "host tmpfs": _Place(plain, ["/bin/bash", "-c"], tmpfs),
            "home": _Place(plain, inside, plain.home, WALLED_BAR),
            "/tmp": _Place(plain, inside, "/tmp", WALLED_BAR),
            "home, no Landlock": _Place(plain, inside, plain.home, BARE_BAR, without_landlock=True),
            "/tmp, no Landlock": _Place(plain, inside, "/tmp", BARE_BAR, without_landlock=True),
            "overlay, as root": _Place(root, inside, "/srv"),
        }


@contextlib.contextmanager
def _host_tmpfs(user: User) -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        os.chmod(directory, 0o755)
        options = f"size=4g,mode=700,uid={user.uid},gid={user.gid}"
        run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory]).ok()
        try:
            yield directory
        finally:
            run(["umount", "--lazy", directory])


def _empty_system(path: str) -> str:
    """A root that has everything from the host's /usr, bound there; writes go to the overlay."""
    for name in ("usr", "etc", "tmp", "home", "root", "srv"):
        os.makedirs(f"{path}/{name}")
    for name in ("bin", "sbin", "lib", "lib64"):
        os.symlink(f"usr/{name}", f"{path}/{name}")
    for name, line in (("passwd", "root:x:0:0:root:/root:/bin/bash\n"), ("group", "root:x:0:\n")):
        with open(f"{path}/etc/{name}", "w", encoding="ascii") as file:
            file.write(line)
    return path


def _seconds(place: _Place, script: str) -> float:
    """Run ``script`` in a directory of its own there, remove it, and return how long the script took."""
    text = (
        f"set -e; mkdir {place.directory}/work; cd {place.directory}/work; export HOME=$PWD TMPDIR=$PWD; "
        f"began=$EPOCHREALTIME; {script}; ended=$EPOCHREALTIME; cd /; rm -rf {place.directory}/work; "
        "echo $began $ended"
    )

    def work() -> str:
        if place.without_landlock:
            _hide_landlock()
        done = subprocess.run(
            [*place.shell, text], env=place.user.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        return done.stdout.decode("ascii")

    began, ended = map(float, as_user(place.user, work).split())
    return ended - began


def _hide_landlock() -> None:
    """Make the kernel look as if it were built without Landlock, to this process and its children."""
    found = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    found.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "landlock_create_ruleset")
    found.load()


def _prepare(directory: str, files: int) -> dict[str, str]:
    """Make the sources in ``directory``; return the scripts that work on them, by name."""
    noise = random.Random(files)  # the same in every run
    _pack(f"{directory}/tree.tar", files, noise)
    _repository(f"{directory}/repository", _FILES_OF_THE_REPOSITORY, noise)
    os.mkdir(f"{directory}/wheels")
    for number in range(_WHEELS):
        _wheel(f"{directory}/wheels", f"part{number}", noise)
    with open(f"{directory}/gitconfig", "w", encoding="ascii") as file:
        file.write("[safe]\n\tdirectory = *\n")  # it is root's
    pip = f"{sys.executable} -m pip --disable-pip-version-check --no-cache-dir install -q --no-index"
    names = " ".join(f"part{number}" for number in range(_WHEELS))
    return {
        f"untar of {files} files": f"tar -xf {directory}/tree.tar",
        f"git clone of {_FILES_OF_THE_REPOSITORY} files": (
            f"GIT_CONFIG_GLOBAL={directory}/gitconfig git clone -q {directory}/repository clone"
        ),
        f"pip install of {_WHEELS} wheels, {_WHEELS * _MODULES_OF_A_WHEEL} modules": (
            f"{pip} --find-links {directory}/wheels --prefix $PWD/prefix {names}"
        ),
    }


def _trees(files: int, noise: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield names, some levels deep as in a source tree, and contents."""
    for number in range(files):
        group = number // _FILES_OF_A_DIRECTORY
        name = f"src/{group % 20}/{group // 20 % 20}/{group // 400}/{number}.c"
        yield name, noise.randbytes(noise.randint(*_FILE_BYTES))


def _pack(path: str, files: int, noise: random.Random) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in _trees(files, noise):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def _repository(path: str, files: int, noise: random.Random) -> None:
    for name, content in _trees(files, noise):
        os.makedirs(os.path.dirname(f"{path}/{name}"), exist_ok=True)
        with open(f"{path}/{name}", "wb") as file:
            file.write(content)
    for command in ("init -q", "add .", "commit -q -m all", "gc -q"):
        who = ["-c", "gc.auto=0", "-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
        run(["git", "-C", path, *who, *command.split()]).ok()
    shutil.rmtree(f"{path}/src")


def _wheel(directory: str, name: str, noise: random.Random) -> None:
    """Write a wheel of small modules (PyPA's binary distribution format)."""
    about = f"{name}-1.dist-info"
    files = {
        f"{name}/m{number}.py": _MODULE.format(noise.getrandbits(2000))
        for number in range(_MODULES_OF_A_WHEEL)
    }
    files[f"{name}/__init__.py"] = ""
    files[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"
    files[f"{about}/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: benchmark\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in files) + f"{about}/RECORD,,\n"
    with zipfile.ZipFile(f"{directory}/{name}-1-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr(path, text)
