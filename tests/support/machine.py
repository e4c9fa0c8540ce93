"""A throw-away copy of this machine: own root (an overlay over the real one), users, processes, /run.

What a test installs, breaks or removes there is gone with it. The network is the machine's own: tests
listen on free ports of 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import tempfile
from typing import TYPE_CHECKING

from support.host import until
from support.lane import BELOW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The source tree under test; read-only inside, at the same path."""
ENVIRONMENT = {
    "HOME": "/root",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}
_TOPS = ("usr", "etc", "var", "home", "opt", "root", "srv", "boot")
DEADLINE_SECONDS = 300

_START = r"""
set -eu
new=$1 source=$2 ready=$3 saved=$4 below=$5; shift 5
unpack() { tar --xattrs --xattrs-include='*' --numeric-owner -xpf "$saved/$1" -C "$2"; }
mount --make-rprivate /
mount -t tmpfs -o mode=755 machine "$new"
layer() {  # PATH: an overlay over it, at the same place below the new root
    local lower=/$1
    # The overlay of a lane is one already, and that of a session is one more: the kernel stacks two.
    [[ ! -d $below/$1 ]] || lower=$below/$1
    mkdir -p "$new/upper/$1" "$new/work/$1"
    mount -t overlay -o "lowerdir=$lower,upperdir=$new/upper/$1,workdir=$new/work/$1" machine "$new/root/$1"
}
mkdir "$new/upper" "$new/work" "$new/root" "$new/work/_" "$new/upper/_"
[[ -z $saved ]] || unpack upper "$new/upper"
exec 9<"$new/upper"
mount -t overlay -o "lowerdir=/,upperdir=$new/upper/_,workdir=$new/work/_" machine "$new/root"
for top in "$@"; do ! mountpoint -q "/$top" || layer "$top"; done
cd "$new/root"
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs -o mode=755 dev dev
for name in null zero full random urandom tty; do : >"dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd; ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t tmpfs -o mode=755 run run
mkdir run/sshd run/lock; chmod 1777 run/lock
[[ -z $saved ]] || unpack run run
mount -t tmpfs -o mode=1777 tmp tmp
mkdir -p ".$source"; mount --bind "$source" ".$source"; mount -o remount,bind,ro ".$source"
echo ready >&"$ready"
exec {ready}>&-
mkdir -p mnt
pivot_root . mnt; umount -l /mnt; cd /
hostname machine
exec /usr/bin/python3 -ISc '
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
while signal.sigwait({signal.SIGCHLD, signal.SIGTERM}) == signal.SIGCHLD:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except ChildProcessError: pass
'
"""


class Machine:
    """The copy, while its ``with`` block lasts; :meth:`run` runs a command in it as root."""

    def __init__(self, saved: str = "") -> None:
        """saved: a directory of :meth:`save`; what was done to that machine is done to this one."""
        self._saved = saved
        self.init = 0
        self._unshare: subprocess.Popen[bytes] | None = None
        self._place = ""

    def __enter__(self) -> Machine:
        self._place = tempfile.mkdtemp(prefix="machine-")
        reader, writer = os.pipe()
        command = [
            "unshare",
            "--mount",
            "--pid",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child",
            "bash",
            "-c",
            _START,
        ]
        self._unshare = subprocess.Popen(
            [*command, "machine", self._place, SOURCE, str(writer), self._saved, BELOW, *_TOPS],
            stdin=subprocess.DEVNULL,
            pass_fds=(writer,),
            start_new_session=True,
        )
        os.close(writer)
        with open(reader, "rb") as pipe:
            if not pipe.readline():
                raise RuntimeError("the throw-away machine did not start")
        self.init = self._child()
        program = f"/proc/{self.init}/exe"
        until(lambda: not os.path.basename(os.readlink(program)).startswith("bash"), "it has started")
        return self

    def _child(self) -> int:
        assert self._unshare is not None
        pid = self._unshare.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return int(file.read().split()[0])

    def __exit__(self, *_: object) -> None:
        assert self._unshare is not None
        with contextlib.suppress(ProcessLookupError):
            self._unshare.kill()
        self._unshare.wait(DEADLINE_SECONDS)
        os.rmdir(self._place)

    def save(self, directory: str) -> None:
        """Save what was done to its files, but for those in /tmp, for other machines to begin with."""
        for name, place in (("upper", "fd/9"), ("run", "root/run")):
            subprocess.run(
                ["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--one-file-system", "-cf",
                 f"{directory}/{name}", "-C", f"/proc/{self.init}/{place}", "."],
                check=True,
            )  # fmt: skip

    def inside(self, *command: str, environment: Mapping[str, str] | None = None) -> list[str]:
        """Return the command line that runs ``command`` inside."""
        variables = [f"{name}={value}" for name, value in {**ENVIRONMENT, **(environment or {})}.items()]
        enter = ["nsenter", "-t", str(self.init), "-m", "-p", "-i", "-u", "--"]
        return [*enter, "env", "-i", "-C", SOURCE, *variables, *command]

    def run(
        self,
        *command: str,
        check: bool = True,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        timeout: float = DEADLINE_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` inside and return its result; with ``check``, fail with all that it said."""
        result = subprocess.run(
            self.inside(*command, environment=environment),
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        text = subprocess.CompletedProcess(
            command,
            result.returncode,
            result.stdout.decode(errors="backslashreplace"),
            result.stderr.decode(errors="backslashreplace"),
        )
        if check and text.returncode:
            raise AssertionError(
                f"{shlex.join(command)} gave {text.returncode}\n{text.stdout}\n{text.stderr}"
            )
        return text

    def shell(self, script: str, *, check: bool = True) -> str:
        """Run a bash script inside and return its stdout."""
        return self.run("bash", "-euc", script, check=check).stdout

    def spawn(self, *command: str) -> subprocess.Popen[str]:
        """Start ``command`` inside in a session of its own, its output a pipe."""
        return subprocess.Popen(
            self.inside(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Put a file of root's inside."""
        script = 'mkdir -p "$(dirname "$1")"; cat >"$1"; chmod "$2" "$1"'
        self.run("bash", "-euc", script, "write", path, f"{mode:o}", stdin=text.encode())

    def read(self, path: str) -> str:
        """Return the text of a file inside."""
        return self.run("cat", path).stdout

    def manifest(self, *roots: str) -> dict[str, str]:
        """Return every file below ``roots`` with its type, mode, owner, size, mtime and target."""
        form = r"%p\t%y %m %U:%G %s %T@ %l\n"
        listed = self.run("find", *roots, "-xdev", "-printf", form, check=False).stdout
        return dict(line.split("\t", 1) for line in listed.splitlines() if "\t" in line)


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """Give a throw-away machine."""
    with Machine() as made:
        yield made
