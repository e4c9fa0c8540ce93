# Longer than 300 lines: every login imports all of it; each more module costs it time.
"""What the host looks like at this login: everything the planner has to know, read in one place.

The planner itself touches nothing, so that ``explain`` and the tests can plan for any host.
"""

from __future__ import annotations

import _stat as stat
import posix as os

from ssh2container import paths
from ssh2container.errors import Refusal, SessionError
from ssh2container.kernel import landlock, mounts, process
from ssh2container.policy import filters

from .image import IMAGES, Image
from .insider import kept, set_id_bits
from .sources import Source, home_source, source, that_answer
from .tools import Tools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ssh2container.policy.hours import Times
    from ssh2container.policy.policy import Policy

    from .account import Account
    from .devices import Brought
    from .host_commands import Commands
    from .hours import Opening
    from .pools import Pool
    from .private import Observed
    from .ranges import Range

RUNTIME, WELCOMED = paths.RUNTIME, paths.WELCOMED
"""Where a user's sessions leave notes for each other, and the one with the mark of their last welcome."""
SKELETONS = paths.parent(paths.parent(paths.parent(__file__))) + "/skeleton"
"""Mount points owned by root, one tree per kind of image; made by ``admin.skeleton``."""

ETC = (
    "alternatives",
    "bash.bashrc",
    "debian_version",
    "gai.conf",
    "gitconfig",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "magic",
    "mime.types",
    "nanorc",
    "profile",
    "profile.d",
    "protocols",
    "python3",
    "redhat-release",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
    "vim",
)
"""What sessions on the image ``host`` see of /etc: nothing secret, nothing of this host's own."""
ETC_LINKS = ("localtime", "os-release")
_OF_MAIL = ("bsd-mailx", "mail", "mail.mailutils", "mailx")
STAND_INS = (
    *(f"/usr/bin/{name}" for name in ("at", "crontab", "gpasswd", "newgrp", "sudo", *_OF_MAIL)),
    *(f"/usr/sbin/{name}" for name in ("exim4", "sendmail")),
)
"""Programs of the image ``host`` that cannot work inside and have no libpam to say why (docs/clients.md).

su, passwd, chsh and chfn ask libpam, whose answer is in the skeleton.
"""
MASKED_FILES = ("interrupts", "kcore", "keys", "latency_stats", "sched_debug", "timer_list", "timer_stats")
MASKED_DIRECTORIES = ("acpi", "asound", "scsi")
PROTECTED = ("bus", "fs", "irq", "sys", "sysrq-trigger")
OLD_TOP = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")
_SKEL_LIMIT_BYTES = 1 << 20
_LONGEST_OF_PROC = 4096
_LIMITS = (("core", 4), ("nproc", 6), ("nofile", 7))
CORE_PATTERN = "/proc/sys/kernel/core_pattern"
_LOWEST_PID, _HIGHEST_PID = 1000, 30000
"""Below pid_max of every kernel, 32768 at least, and above those that start a system."""


class Host:
    """Observations of one login.

    session: the session's id. served: sources that somebody else may serve, all of whom answered.
    last_capability: the highest that the kernel knows. landlock: the kernel's ABI of it, 0 for none.
    limits: the login's hard ones by name, -1 for none (getrlimit(2)). processes: its soft one of processes.
    core_handler: whether a crash starts a program of the host, or reaches one, whatever the limit of 0 says.
    last_pid: random, what the container's processes are numbered from.
    masked_files, masked_directories, protected: what of /proc exists to be hidden.
    etc: (name, is a directory) of what exists of :data:`ETC`; etc_links: (name, target).
    top: directories at the root of a host whose /usr is not merged.
    stand_ins: those of :data:`STAND_INS` that the host has as files of their own.
    skel: (path, mode, content) for a new home, parents first.
    tools: the transfer programs, for an image of the store.
    sources: the volumes' target as written -> Source; home: the Source of a kept home.
    shell: the first of the policy's shells that the session will find.
    terminal: whether one of the standard descriptors is a terminal; interactive: whether stdin is.
    hushed: whether a kept home says that it wants no welcome; welcomed: the mark of the last one shown.
    set_id_bits: those that the session may set on files (:func:`.insider.set_id_bits`).
    bpf, init_bpf: the compiled system-call filters of the payload and of pid 1.
    recorder: the filter that records violations, b"" when the policy does not want them recorded.
    range: the ids of a session that has many, or None.
    networks: those that root prepared for the policy's, or None.
    resolv_conf: the resolver configuration, for sessions with a way out.
    private: what a private network finds here, or None.
    devices: what those of the policy bring in, or None where it names none.
    opening: how the hours of the account stand, or None where it has none.
    commands: what brings in the host's commands, or None where the policy names none.
    agent: the Source of the client's agent; agent_missing: why the one that was offered is not taken.
    """

    __slots__ = (
        "agent",
        "agent_missing",
        "bpf",
        "commands",
        "core_handler",
        "devices",
        "etc",
        "etc_links",
        "home",
        "hushed",
        "image",
        "init_bpf",
        "interactive",
        "landlock",
        "last_capability",
        "last_pid",
        "limits",
        "masked_directories",
        "masked_files",
        "networks",
        "opening",
        "private",
        "processes",
        "protected",
        "range",
        "recorder",
        "resolv_conf",
        "served",
        "session",
        "set_id_bits",
        "shell",
        "skel",
        "skeleton",
        "sources",
        "stand_ins",
        "terminal",
        "tools",
        "top",
        "welcomed",
    )

    session: str
    set_id_bits: int
    served: tuple[str, ...]
    image: Image
    skeleton: str
    last_capability: int
    last_pid: int
    limits: dict[str, int]
    processes: int
    core_handler: bool
    landlock: int
    masked_files: tuple[str, ...]
    masked_directories: tuple[str, ...]
    protected: tuple[str, ...]
    etc: tuple[tuple[str, bool], ...]
    etc_links: tuple[tuple[str, str], ...]
    top: tuple[str, ...]
    stand_ins: tuple[str, ...]
    skel: tuple[tuple[str, int | None, bytes | str | None], ...]
    sources: dict[str, Source]
    home: Source | None
    shell: str
    terminal: bool
    tools: Tools | None
    interactive: bool
    hushed: bool
    welcomed: bytes
    bpf: bytes
    init_bpf: bytes
    range: Range | None
    networks: Pool | None
    private: Observed | None
    recorder: bytes
    resolv_conf: bytes
    devices: Brought | None
    opening: Opening | None
    commands: Commands | None
    agent: Source | None
    agent_missing: str

    @classmethod
    def observe(
        cls, policy: Policy, account: Account, session: str, given: Mapping[bytes, bytes] | None = None
    ) -> Host:
        """Look at all that ``policy``, an expanded one, needs. Raises Refusal where that is missing.

        given: the environment that the caller handed to the login shell.
        """
        self = cls()
        self.opening = None if policy.access.times is None else _opening(policy, policy.access.times)
        self.session, self.served = session, that_answer(_sources(policy))
        self.interactive = os.isatty(0)
        self.terminal = self.interactive or os.isatty(1) or os.isatty(2)
        self.image = Image.find(policy.image)
        self.tools = Tools.find() if self.image.kind == "tree" else None
        self.shell = _shell(policy, self.image)
        self.range, self.skeleton = None, _skeleton(self.image.kind)
        if policy.ranged:
            from .ranges import Range

            self.range = Range.observe(policy, account, self.image)
        self.landlock = landlock.abi()
        pairs = {name: process.get_limit(number) for name, number in _LIMITS}
        self.limits = {name: hard for name, (_, hard) in pairs.items()}
        self.processes = pairs["nproc"][0]
        self.core_handler = not self.limits["core"] and _read(CORE_PATTERN)[:1] in (b"|", b"@")
        self.last_pid = _LOWEST_PID + int.from_bytes(os.urandom(4), "little") % (_HIGHEST_PID - _LOWEST_PID)
        self.last_capability = int(_read("/proc/sys/kernel/cap_last_cap"))
        self.masked_files = _existing("/proc", MASKED_FILES)
        self.masked_directories = _existing("/proc", MASKED_DIRECTORIES)
        self.protected = _existing("/proc", PROTECTED)
        self.etc, self.etc_links, self.top, self.skel, self.stand_ins = (), (), (), (), ()
        if self.image.kind == "host":
            self.etc, self.etc_links = tuple(_kinds("/etc", ETC)), tuple(_links("/etc", ETC_LINKS))
            self.top = tuple(name for name in OLD_TOP if _is_plain_directory("/" + name))
            self.stand_ins = plain_files(STAND_INS)
        self.home, self.hushed, self.welcomed = None, False, b""
        if policy.home is not None:
            self.home = home_source(policy.home, account)
            self.hushed = self.interactive and paths.exists(self.home.path + "/.hushlogin")
        elif self.image.kind == "host":
            self.skel = tuple(read_skel("/etc/skel"))
        if self.interactive and account.uid == os.getuid():
            own = _read(f"{RUNTIME}/{account.uid}/{WELCOMED}")
            self.welcomed = own or _read(f"{RUNTIME}/users/{account.uid}/{WELCOMED}")
        self.sources = {
            volume.written: source(volume.written, volume.source, account) for volume in policy.volumes
        }
        self.devices = _devices(policy, account, session) if policy.values["devices"] else None
        keeps = kept(policy, self.image)
        self.set_id_bits = set_id_bits(keeps, self.writable(policy))
        (self.init_bpf, _), (self.bpf, self.recorder) = filters.load(
            (filters.INIT, keeps & filters.SYS_BOOT, 0), (policy.seccomp, keeps, self.set_id_bits)
        )
        self.resolv_conf, self.private = (b"", None) if policy.network_mode == "none" else _network(policy)
        self.networks = self._prepared(policy, account) if policy.networks else None
        self.commands, self.agent, self.agent_missing = _commands(policy, account, self.image), None, ""
        _require_hooks(policy)
        if policy.allow_agent_forwarding and given and b"SSH_AUTH_SOCK" in given:
            self._observe_agent(given[b"SSH_AUTH_SOCK"], account)
        return self

    def _prepared(self, policy: Policy, account: Account) -> Pool:
        """Return the networks that root has prepared, and take their resolver's configuration."""
        from .pools import Pool

        found = Pool.observe(policy, account, self.range)
        self.resolv_conf = found.resolv_conf
        return found

    def writable(self, policy: Policy) -> list[Source]:
        """Return what of the host the session can write to."""
        found = [self.sources[volume.written] for volume in policy.volumes if not volume.read_only]
        if self.home is not None and policy.home is not None and not policy.home.read_only:
            found.append(self.home)
        return found

    def _observe_agent(self, path: bytes, account: Account) -> None:
        """Take the agent if it is our sshd's; a login does not fail for want of it."""
        from . import agent

        try:
            that_answer((paths.fsdecode(path),))
            agent.check(path, account.uid)
            self.agent = source("the agent", paths.fsdecode(path), account)
        except SessionError as error:
            self.agent_missing = str(error)


def _opening(policy: Policy, times: Times) -> Opening:
    from . import hours

    return hours.observe(policy, times)


def _require_hooks(policy: Policy) -> None:
    if policy.hooks:
        from . import hooks

        hooks.require_trusted(policy.hooks)


def _skeleton(kind: str) -> str:
    """Return the mount points for images of ``kind``. Raises Refusal."""
    place = f"{SKELETONS}/{kind}"
    if not paths.is_directory(place):
        why = "the installation is incomplete"
        raise Refusal(f"cannot find the mount points {place}", why, "run install.sh")
    return place


def _network(policy: Policy) -> tuple[bytes, Observed | None]:
    if policy.network_mode == "host":
        return _read(paths.RESOLV_CONF), None
    from . import private

    seen = private.observe(policy)
    return seen.resolv_conf, seen


def _devices(policy: Policy, account: Account, session: str) -> Brought:
    from . import devices

    return devices.observe(policy, account, specifier_values(account, session))


def _commands(policy: Policy, account: Account, image: Image) -> Commands | None:
    if not policy.values["host_commands"]:
        return None
    from . import host_commands

    return host_commands.observe(policy, account, image)


def _sources(policy: Policy) -> list[str]:
    """Return every path that the policy names, and the store where its image lies there."""
    home = policy.home
    named = [*(v.source for v in policy.volumes), *((home.source or "", home.skel or "") if home else ())]
    return named + [IMAGES] * (policy.image != "host")


def _shell(policy: Policy, image: Image) -> str:
    """Return the first of the policy's shells that ``image`` or a volume has, else the first of all."""
    targets = tuple(volume.target + "/" for volume in policy.volumes)
    for shell in policy.shell:
        if shell.startswith(targets) or _is_in(image, shell):
            return shell
    return policy.shell[0]


def _is_in(image: Image, path: str) -> bool:
    if image.kind == "host":
        return os.access(path, os.F_OK)
    root = os.open(image.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(mounts.open_path(path, mounts.RESOLVE_IN_ROOT, directory=root))
    except OSError:
        return False
    finally:
        os.close(root)
    return True


def specifier_values(account: Account, session: str) -> dict[str, str]:
    """Return what each specifier of the policy language stands for in this session."""
    return {
        "u": account.name,
        "U": str(account.uid),
        "g": account.group,
        "h": account.home,
        "i": session,
    }


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        # The kernel clears as much memory as is asked for before it answers from /proc/sys.
        size = os.fstat(descriptor).st_size or _LONGEST_OF_PROC
        return os.read(descriptor, min(size, _SKEL_LIMIT_BYTES))
    finally:
        os.close(descriptor)


def _existing(directory: str, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(path for path in (f"{directory}/{name}" for name in names) if os.access(path, os.F_OK))


def _kinds(directory: str, names: Iterable[str]) -> Iterable[tuple[str, bool]]:
    for name in names:
        try:
            mode = os.stat(f"{directory}/{name}").st_mode
        except OSError:
            continue
        yield name, stat.S_ISDIR(mode)


def _links(directory: str, names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        try:
            target = os.readlink(f"{directory}/{name}")
        except OSError:
            continue
        # Both lead to /usr, which the session has under the same name.
        yield name, paths.normal(f"{directory}/{target}" if target[0] != "/" else target)


def plain_files(names: Iterable[str]) -> tuple[str, ...]:
    """Return which of ``names`` are files: a mount on a link covers what it leads to, say busybox."""
    found = []
    for name in names:
        try:
            if stat.S_ISREG(os.lstat(name).st_mode):
                found.append(name)
        except OSError:
            continue
    return tuple(found)


def _is_plain_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def read_skel(directory: str) -> Iterable[tuple[str, int | None, bytes | str | None]]:
    """Read a home's first files; only what root wrote for that purpose is here."""
    if not paths.is_directory(directory):
        return
    for entry in sorted(os.scandir(directory), key=_by_name):
        if entry.is_symlink():
            yield entry.name, None, os.readlink(entry.path)
        elif entry.is_dir():
            yield entry.name, 0o755, None
            for path, mode, content in read_skel(entry.path):
                yield f"{entry.name}/{path}", mode, content
        elif entry.is_file():
            yield entry.name, 0o644, _read(entry.path)


def _by_name(entry: os.DirEntry[str]) -> str:
    return entry.name
