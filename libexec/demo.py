# ruff: noqa: T201 - a script that talks
"""The demonstration behind ``install.sh --demo``: a user, an sshd, and each client at work, with proof.

Everything it makes has the name below and is removed by ``--clean``: the user, the policy, the state
directory with the sshd's key, configuration and log.
"""

from __future__ import annotations

import hashlib
import os
import pty
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

USER = "s2c-demo"
STATE = "/var/lib/ssh2container-demo"
HOMES = f"{STATE}/homes"
REPORT = f"{STATE}/report"
POLICY = f"/etc/ssh2container/users/{USER}.yaml"
DROP_IN = "/etc/ssh/sshd_config.d/10-ssh2container.conf"
CONTROL = "/usr/bin/ssh2containerctl"
SSHD = "/usr/sbin/sshd"
DEADLINE_SECONDS = 60
_MEGABYTE = 1 << 20

_SSHD_CONFIG = """\
# The sshd of "install.sh --demo"; removed by "install.sh --demo --clean".
Include {drop_in}
ListenAddress 127.0.0.1
Port {port}
HostKey {state}/host_key
PidFile {state}/sshd.pid
AuthorizedKeysFile {state}/authorized_keys
AllowUsers {user}
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
Subsystem sftp /usr/lib/openssh/sftp-server
"""
_CLIENT_CONFIG = """\
Host demo
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {state}/key
    IdentitiesOnly yes
    UserKnownHostsFile {state}/known_hosts
    StrictHostKeyChecking yes
    LogLevel ERROR
"""
_POLICY = """\
# Written by "install.sh --demo"; removed by "install.sh --demo --clean".
extends: [shell]
home: {{source: "{homes}/%u"}}   # the one place that is kept between sessions
"""


class Failed(Exception):
    """A step did not prove what it should."""


def run(*command: str, check: bool = True, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end; with ``check`` its failure is the step's."""
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=DEADLINE_SECONDS, check=False)
    if check and done.returncode:
        said = (done.stderr or done.stdout).decode(errors="backslashreplace").strip()
        raise Failed(f"{' '.join(command)}: exit status {done.returncode}: {said}")
    return done


def prove(condition: object, what: str) -> None:
    """Fail the step unless ``condition`` holds."""
    if not condition:
        raise Failed(f"not so: {what}")


def write(path: str, text: str, mode: int = 0o644) -> None:
    """Write a file of root's."""
    with open(path, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)


def digest(path: str) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Demo:
    """The demonstration; each step returns the lines that say what it has proven."""

    def __init__(self) -> None:
        self.port = 0
        self.uid = 0

    def ssh(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run ssh to the demonstration's sshd."""
        return run("ssh", "-F", f"{STATE}/ssh_config", *arguments, check=check)

    def inside(self, command: str) -> str:
        """Return what a command prints inside a session of its own."""
        return self.ssh("demo", command).stdout.decode().strip()

    def make_user(self) -> list[str]:
        """Make the user and give them the login shell."""
        os.mkdir(STATE, 0o755)
        os.mkdir(HOMES, 0o755)
        run("useradd", "--create-home", "--user-group", "--shell", "/bin/bash", "--password", "*", USER)
        write(POLICY, _POLICY.format(homes=HOMES))
        run(CONTROL, "enable", USER)
        entry = pwd.getpwnam(USER)
        self.uid = entry.pw_uid
        prove(entry.pw_shell == "/usr/bin/ssh2container", "the login shell in /etc/passwd is ssh2container")
        return [f"{USER} (uid {entry.pw_uid}) has the login shell {entry.pw_shell}; policy: {POLICY}"]

    def start_sshd(self) -> list[str]:
        """Start an sshd of our own on a free port of 127.0.0.1."""
        for name in ("host_key", "key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", f"{STATE}/{name}")
        with open(f"{STATE}/key.pub", encoding="utf-8") as file:
            write(f"{STATE}/authorized_keys", file.read())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        values = {"state": STATE, "port": self.port, "user": USER, "drop_in": DROP_IN}
        write(f"{STATE}/sshd_config", _SSHD_CONFIG.format(**values))
        write(f"{STATE}/ssh_config", _CLIENT_CONFIG.format(**values))
        with open(f"{STATE}/host_key.pub", encoding="utf-8") as file:
            key = " ".join(file.read().split()[:2])
        write(f"{STATE}/known_hosts", f"[127.0.0.1]:{self.port} {key}\n")
        os.makedirs("/run/sshd", 0o755, exist_ok=True)
        run(SSHD, "-t", "-f", f"{STATE}/sshd_config")
        run(SSHD, "-f", f"{STATE}/sshd_config", "-E", f"{STATE}/log")
        self.wait(lambda: os.path.exists(f"{STATE}/sshd.pid"), "sshd writes its PidFile")
        return [f"sshd listens on 127.0.0.1:{self.port} with a host key of its own and the installed drop-in"]

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Poll until ``condition`` holds."""
        end = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            if time.monotonic() > end:
                raise Failed(f"waited {DEADLINE_SECONDS} s in vain: {what}")
            time.sleep(0.02)

    def command(self) -> list[str]:
        """Run commands by ssh: another root, other namespaces, the command's own status."""
        there = self.inside("stat -c %d:%i / /proc/self/ns/pid").split()
        here = [f"{found.st_dev}:{found.st_ino}" for found in (os.stat("/"), os.stat("/proc/self/ns/pid"))]
        prove(there[0] != here[0], f"/ inside ({there[0]}) is another directory than outside ({here[0]})")
        prove(there[1] != here[1], "the pid namespace inside is another one")
        status = self.ssh("demo", "exit 7", check=False).returncode
        prove(status == 7, f"ssh gives the command's exit status 7 (it gave {status})")  # noqa: PLR2004
        exact = self.ssh("demo", r"printf '\0\1\377'").stdout
        prove(exact == b"\0\1\377", "not a byte is added to the command's output")
        return [
            f"/ inside is device:inode {there[0]}, outside {here[0]}; the pid namespaces differ too",
            "an exit status of 7 arrives as 7; three bytes of output arrive as three bytes",
        ]

    def processes(self) -> list[str]:
        """Look at the processes inside."""
        listed = self.inside("cd /proc; echo [0-9]*; tr '\\0' ' ' </proc/1/cmdline").splitlines()
        numbers = listed[0].split()
        outside = sum(entry.isdigit() for entry in os.listdir("/proc"))
        prove(len(numbers) < 10, f"only the session's own processes are visible, not {len(numbers)}")  # noqa: PLR2004
        return [f"{len(numbers)} processes inside ({outside} outside); pid 1 is {listed[1].split(' -c ')[0]}"]

    def secrets(self) -> list[str]:
        """Look for what must not be there, and try to change what must not be changed."""
        names = "/etc/shadow /etc/ssh /etc/ssh2container /root/.ssh /var/lib/ssh2container /boot"
        found = self.inside(f"ls -d {names} 2>/dev/null; true")
        prove(not found, f"none of {names} exists inside (found {found})")
        refused = self.ssh("demo", "touch /usr/bin/x 2>/dev/null", check=False).returncode
        prove(refused != 0, "/usr is read-only inside")
        capabilities = self.inside("grep CapEff /proc/self/status").split()[1]
        prove(int(capabilities, 16) == 0, "the session has no capability")
        return ["no /etc/shadow, host keys or policies inside; /usr is read-only; CapEff is " + capabilities]

    def terminal(self) -> list[str]:
        """Log in with a terminal and type."""
        pid, master = pty.fork()
        if pid == 0:
            os.environ["TERM"] = "xterm"
            os.execvp("ssh", ["ssh", "-F", f"{STATE}/ssh_config", "-t", "demo"])  # noqa: S606
        said = b""
        end = time.monotonic() + DEADLINE_SECONDS
        os.write(master, b"echo on-$(tty); test -t 1 && echo is-a-$((40 + 2)); exit 5\n")
        while time.monotonic() < end:
            if not select.select([master], [], [], 1)[0]:
                continue
            try:
                data = os.read(master, 4096)
            except OSError:  # EIO: the last process on the terminal is gone
                break
            said += data
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(master)
        prove(
            b"on-/dev/pts/" in said and b"is-a-42" in said, f"the session has a terminal (it said {said!r})"
        )
        prove(status == 5, f"the shell's exit status 5 arrives (it was {status})")  # noqa: PLR2004
        line = said[said.rindex(b"on-/dev/pts/") + 3 :].split()[0].decode()
        return [f"ssh -t: an interactive shell on the container's own terminal {line}; exit 5 arrives as 5"]

    def ephemeral(self) -> list[str]:
        """Write a file, log out, log in, look for it."""
        before = self.inside("echo gone >/tmp/note && stat -c %i /tmp/note")
        after = self.inside("cat /tmp/note 2>/dev/null || echo no such file")
        prove(after == "no such file", f"/tmp/note is gone in the next session (it says {after!r})")
        prove(not os.path.exists("/tmp/note"), "/tmp/note never was on the host")
        return [f"/tmp/note (inode {before}) was inside; after logout it is gone, on the host it never was"]

    def copies(self) -> list[str]:
        """Copy a megabyte in and out, with scp over sftp, scp over its old protocol, and sftp."""
        original = f"{STATE}/megabyte"
        with open(original, "wb") as file:
            file.write(os.urandom(_MEGABYTE))
        lines = []
        options = ["-q", "-F", f"{STATE}/ssh_config"]
        for name, flags in (("scp", []), ("scp -O", ["-O"])):
            run("scp", *options, *flags, original, "demo:by-scp")
            run("scp", *options, *flags, "demo:by-scp", f"{STATE}/back")
            lines.append(self.compare(name, "by-scp"))
        batch = f"put {original} by-sftp\nget by-sftp {STATE}/back\nrename by-sftp renamed\nls -l\n".encode()
        run("sftp", *options, "-b", "-", "demo", stdin=batch)
        return [*lines, self.compare("sftp", "renamed")]

    def compare(self, name: str, kept: str) -> str:
        """Check that what went in is what came out and what is kept on the host."""
        original, back, home = f"{STATE}/megabyte", f"{STATE}/back", f"{HOMES}/{USER}/{kept}"
        prove(digest(original) == digest(back), f"{name} brings back what it took there")
        prove(digest(original) == digest(home), f"{name} wrote {home}")
        prove(os.stat(home).st_uid == self.uid, f"{home} belongs to {USER}")
        os.unlink(back)
        os.unlink(home)
        return (
            f"{name}: 1 MiB there and back, SHA-256 {digest(original)[:16]}… equal; on the host it was {home}"
        )

    def synchronise(self) -> list[str]:
        """Synchronise a directory by rsync, twice."""
        tree = f"{STATE}/tree"
        os.makedirs(f"{tree}/deep/er")
        for name in ("one", "deep/two", "deep/er/three"):
            write(f"{tree}/{name}", name * 1000)
        command = ["rsync", "-a", "-i", "-e", f"ssh -F {STATE}/ssh_config", f"{tree}/", "demo:tree/"]
        sent = run(*command).stdout.count(b"<f")
        again = run(*command).stdout
        prove(sent == 3, f"rsync sends three files (it sent {sent})")  # noqa: PLR2004
        prove(not again.strip(), f"the second rsync finds nothing to send (it said {again!r})")
        for name in ("one", "deep/two", "deep/er/three"):
            prove(
                digest(f"{tree}/{name}") == digest(f"{HOMES}/{USER}/tree/{name}"), f"{name} arrived unchanged"
            )
        return ["rsync: 3 files in 3 directories arrive unchanged; a second run sends nothing"]

    def ways_around(self) -> list[str]:
        """Try what would not go through the login shell."""
        refused = self.ssh("-W", f"127.0.0.1:{self.port}", "demo", check=False)
        prove(refused.returncode != 0 and not refused.stdout, "port forwarding to the host is refused")
        listing = run(
            "sftp", "-q", "-F", f"{STATE}/ssh_config", "-b", "-", "demo", stdin=b"ls /etc\n"
        ).stdout.split()
        prove(b"/etc/passwd" in listing and b"/etc/shadow" not in listing, "sftp sees the container's /etc")
        return ["port forwarding (-W) is refused; sftp lists the container's /etc, where there is no shadow"]

    def nothing_left(self) -> list[str]:
        """Look for what the sessions may have left behind."""
        self.wait(lambda: not self.processes_of_user(), f"all processes of {USER} end")
        # .welcomed notes which welcome the user has read.
        left = [name for name in os.listdir(f"/run/ssh2container/{self.uid}") if name != ".welcomed"]
        prove(not left, f"no session is left in /run/ssh2container/{self.uid} (found {left})")
        return [f"after the last logout: no process of {USER}, nothing in /run/ssh2container/{self.uid}"]

    def processes_of_user(self) -> list[str]:
        """Return the user's processes."""
        found = []
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.stat(f"/proc/{entry}").st_uid == self.uid:
                    found.append(entry)
            except FileNotFoundError:
                continue
        return found


def stop_sshd() -> bool:
    """End the demonstration's sshd, if it runs: that process and no other."""
    try:
        with open(f"{STATE}/sshd.pid", encoding="ascii") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            ours = f"{STATE}/sshd_config".encode() in file.read()
    except (FileNotFoundError, ValueError):
        return False
    if ours:
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + DEADLINE_SECONDS
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
            time.sleep(0.02)
    return ours


def clean() -> None:
    """Remove everything that the demonstration makes; say what was there."""
    if stop_sshd():
        print("    stopped its sshd")
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        entry = None
    if entry is not None:
        run("pkill", "-KILL", "-U", str(entry.pw_uid), check=False)
        run("userdel", "--remove", "--force", USER, check=False)
        for path in (
            f"/etc/tmpfiles.d/ssh2container-{entry.pw_uid}.conf",
            f"/var/lib/ssh2container/enrolled/{entry.pw_uid}.json",
        ):
            if os.path.exists(path):
                os.unlink(path)
        shutil.rmtree(f"/run/ssh2container/{entry.pw_uid}", ignore_errors=True)
        print(f"    removed the user {USER}")
    if os.path.exists(POLICY):
        os.unlink(POLICY)
        if os.path.exists(CONTROL):
            run(CONTROL, "compile", check=False)
        print(f"    removed {POLICY}")
    if os.path.exists(STATE):
        shutil.rmtree(STATE)
        print(f"    removed {STATE}")


class Report:
    """What the demonstration says: printed as it comes, and kept in a file for those who come later."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Print a line and note it."""
        print(line, flush=True)
        self.lines.append(line)

    def close(self) -> None:
        """Say how to remove everything, and keep all that was said."""
        self.say("Remove everything that the demonstration made:\n    sudo ./install.sh --demo --clean")
        if os.path.isdir(STATE):
            write(REPORT, "".join(f"{line}\n" for line in self.lines))
            print(f"This text is kept in {REPORT}.", flush=True)


def demonstrate() -> int:
    """Run all steps; return the exit status."""
    demo = Demo()
    steps: list[tuple[str, Callable[[], list[str]]]] = [
        ("make a user", demo.make_user),
        ("start an sshd", demo.start_sshd),
        ("ssh HOST COMMAND", demo.command),
        ("processes inside", demo.processes),
        ("what is not inside", demo.secrets),
        ("ssh -t", demo.terminal),
        ("what remains after logout", demo.ephemeral),
        ("scp, scp -O, sftp", demo.copies),
        ("rsync", demo.synchronise),
        ("ways around the login shell", demo.ways_around),
        ("what is left behind", demo.nothing_left),
    ]
    print("\nThe demonstration. An earlier one is removed first.", flush=True)
    clean()
    report = Report()
    for number, (title, step) in enumerate(steps, 1):
        report.say(f"[{number}/{len(steps)}] {title}")
        try:
            for line in step():
                report.say(f"    proven: {line}")
        except (Failed, OSError, subprocess.TimeoutExpired) as error:
            report.say(f"    FAILED: {error}")
            report.say(f"\nsshd's log is {STATE}/log.")
            report.close()
            return 1
    report.say(f"\nLog in by hand (as root, who owns the key):\n    ssh -F {STATE}/ssh_config demo")
    report.close()
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--clean"]:
        print("Removing the demonstration")
        clean()
        sys.exit(0)
    sys.exit(demonstrate())
