"""What the host looks like at this login: everything the planner has to know, read in one place.

The planner itself touches nothing, so that ``explain`` and the tests can plan for any host.
"""

from __future__ import annotations

import _stat as stat
import posix as os

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.kernel import landlock, mounts
from ssh2container.policy import filters, specifiers

from .image import Image
from .insider import kept
from .tools import Tools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ssh2container.policy.policy import Policy

    from .account import Account
    from .ranges import Range

RUNTIME, WELCOMED = "/run/ssh2container", ".welcomed"
"""Where the user's sessions leave notes for each other, and the one that has the mark of his last welcome."""
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
MASKED_FILES = ("interrupts", "kcore", "keys", "latency_stats", "sched_debug", "timer_list", "timer_stats")
MASKED_DIRECTORIES = ("acpi", "asound", "scsi")
PROTECTED = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_OLD_TOP = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")
_SKEL_LIMIT_BYTES = 1 << 20
_LONGEST_OF_PROC = 4096
_LINKS_LIMIT = 40  # as in path_resolution(7)


class Source:
    """Something of the host that a volume brings in.

    path: without symbolic links. identity: (device, inode) seen there.
    gid: its group. flags: those of its file system (statvfs(3)).
    """

    __slots__ = ("directory", "flags", "gid", "identity", "path")

    def __init__(
        self, path: str, identity: tuple[int, int], *, directory: bool, gid: int = 0, flags: int = 0
    ) -> None:
        self.path = path
        self.identity = identity
        self.directory = directory
        self.gid = gid
        self.flags = flags


class Host:
    """Observations of one login.

    session: the session's id. last_capability: the highest that the kernel knows. landlock: the
    kernel's ABI of it, 0 for none.
    masked_files, masked_directories, protected: what of /proc exists to be hidden.
    etc: (name, is a directory) of what exists of :data:`ETC`; etc_links: (name, target).
    top: directories at the root of a host whose /usr is not merged.
    skel: (path, mode, content) for a new home, parents first.
    tools: the transfer programs, for an image of the store.
    sources: the volumes' target -> Source; home: the Source of a kept home.
    shell: the first of the policy's shells that the session will find.
    terminal: whether one of the standard descriptors is a terminal; interactive: whether stdin is.
    hushed: whether a kept home says that it wants no welcome; welcomed: the mark of the last one shown.
    bpf, init_bpf: the compiled system-call filters of the payload and of pid 1.
    recorder: the filter that records violations, b"" when the policy does not want them recorded.
    range: the ids of a session that has many, or None.
    resolv_conf: the host's resolver configuration, for sessions on its network.
    agent: the Source of the client's agent; agent_missing: why the one that was offered is not taken.
    """

    __slots__ = (
        "agent",
        "agent_missing",
        "bpf",
        "etc",
        "etc_links",
        "home",
        "hushed",
        "image",
        "init_bpf",
        "interactive",
        "landlock",
        "last_capability",
        "masked_directories",
        "masked_files",
        "protected",
        "range",
        "recorder",
        "resolv_conf",
        "session",
        "shell",
        "skel",
        "skeleton",
        "sources",
        "terminal",
        "tools",
        "top",
        "welcomed",
    )

    session: str
    image: Image
    skeleton: str
    last_capability: int
    landlock: int
    masked_files: tuple[str, ...]
    masked_directories: tuple[str, ...]
    protected: tuple[str, ...]
    etc: tuple[tuple[str, bool], ...]
    etc_links: tuple[tuple[str, str], ...]
    top: tuple[str, ...]
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
    recorder: bytes
    resolv_conf: bytes
    agent: Source | None
    agent_missing: str

    @classmethod
    def observe(
        cls, policy: Policy, account: Account, session: str, given: Mapping[bytes, bytes] | None = None
    ) -> Host:
        """Look at all that ``policy`` needs. Raises Refusal where something it names is missing.

        given: the environment that the caller handed to the login shell.
        """
        self = cls()
        self.session = session
        self.interactive = os.isatty(0)
        self.terminal = self.interactive or os.isatty(1) or os.isatty(2)
        self.image = Image.find(policy.image)
        self.tools = Tools.find() if self.image.kind == "tree" else None
        self.shell = _shell(policy, self.image)
        self.range = None
        if policy.ranged:
            from .ranges import Range

            self.range = Range.observe(policy, account, self.image)
        self.skeleton = f"{SKELETONS}/{self.image.kind}"
        if not paths.is_directory(self.skeleton):
            raise Refusal(
                f"cannot find the mount points {self.skeleton}",
                "the installation is incomplete",
                "run install.sh",
            )
        self.landlock = landlock.abi()
        self.last_capability = int(_read("/proc/sys/kernel/cap_last_cap"))
        self.masked_files = _existing("/proc", MASKED_FILES)
        self.masked_directories = _existing("/proc", MASKED_DIRECTORIES)
        self.protected = _existing("/proc", PROTECTED)
        self.etc, self.etc_links, self.top, self.skel = (), (), (), ()
        if self.image.kind == "host":
            self.etc = tuple(_kinds("/etc", ETC))
            self.etc_links = tuple(_links("/etc", ETC_LINKS))
            self.top = tuple(name for name in _OLD_TOP if _is_plain_directory("/" + name))
        values = specifier_values(account, session)
        self.home, self.hushed = None, False
        if policy.home is not None:
            self.home = _source("home", specifiers.expand(policy.home.source or "", values), account)
            self.hushed = self.interactive and paths.exists(self.home.path + "/.hushlogin")
        elif self.image.kind == "host":
            self.skel = tuple(read_skel("/etc/skel"))
        self.welcomed = b""
        if self.interactive and account.uid == os.getuid():
            self.welcomed = _read(f"{RUNTIME}/{account.uid}/{WELCOMED}")
        self.sources = {
            volume.target: _source(volume.target, specifiers.expand(volume.source, values), account)
            for volume in policy.volumes
        }
        self.init_bpf = filters.filter_for(filters.INIT, frozenset())
        self.bpf = filters.filter_for(policy.seccomp, kept(policy, self.image))
        self.recorder = filters.recorder_for(policy.seccomp, frozenset())
        self.resolv_conf = _read("/etc/resolv.conf") if policy.network_mode == "host" else b""
        self.agent, self.agent_missing = None, ""
        if policy.allow_agent_forwarding and given and b"SSH_AUTH_SOCK" in given:
            self._observe_agent(given[b"SSH_AUTH_SOCK"], account)
        return self

    def _observe_agent(self, path: bytes, account: Account) -> None:
        """Take the agent if it is our sshd's; a login does not fail for want of it."""
        from . import agent

        try:
            agent.check(path, account.uid)
            self.agent = _source("the agent", paths.fsdecode(path), account)
        except Refusal as refusal:
            self.agent_missing = str(refusal)


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


def _source(what: str, path: str, account: Account) -> Source:
    enable = f"run: ssh2containerctl enable {account.name}"
    real, status = _resolve(what, path, enable if what == "home" else "create it, or correct the policy")
    directory = stat.S_ISDIR(status.st_mode)
    if what == "home" and not directory:
        raise Refusal(f"cannot use {path} as the home", "it is not a directory", step="volume")
    if what == "home" and status.st_uid != account.uid:
        raise Refusal(
            f"cannot use {path} as the home",
            f"it belongs to uid {status.st_uid}, not to {account.name}",
            enable,
            step="volume",
        )
    if what == "home" and not status.st_mode & stat.S_IXUSR:
        raise Refusal(
            f"cannot use {path} as the home",
            f"its mode {stat.S_IMODE(status.st_mode):04o} keeps {account.name} out",
            f"run: chmod u+rx {path}",
            step="volume",
        )
    if not (directory or stat.S_ISREG(status.st_mode) or stat.S_ISSOCK(status.st_mode)):
        raise Refusal(
            f"cannot bind {path}", "it is neither a directory nor a file nor a socket", step="volume"
        )
    return Source(
        real,
        (status.st_dev, status.st_ino),
        directory=directory,
        gid=status.st_gid,
        flags=os.statvfs(real).f_flag,
    )


def _resolve(what: str, path: str, missing: str) -> tuple[str, os.stat_result]:
    """Follow ``path`` to a place without symbolic links; ``missing`` says what to do when there is none.

    Root may use links on the way to a source; a link in a directory that anybody else can write to
    could lead anywhere tomorrow (CVE-2024-42472) and is refused.
    """
    if not path.startswith("/"):
        raise Refusal(f"cannot bind {path}", "the path is not absolute", step="volume")
    current, todo, links, trusted = "", path.split("/")[::-1], 0, True
    status = os.stat("/")
    while todo:
        name = todo.pop()
        if name in ("", "."):
            continue
        if name == "..":
            current = current.rpartition("/")[0]
            status = os.stat(current or "/")
            continue
        try:
            entry = os.lstat(f"{current}/{name}")
        except OSError as error:
            remedy = missing
            if isinstance(error, PermissionError):
                remedy = f"let the user pass through {current or '/'}, or correct the policy"
            raise Refusal(
                f"cannot find the source of {what}, {path}",
                error.strerror or "",
                remedy,
                step="volume",
                number=error.errno or 0,
            ) from None
        trusted = trusted and status.st_uid == 0 and not status.st_mode & 0o022
        if not stat.S_ISLNK(entry.st_mode):
            current, status = f"{current}/{name}", entry
            continue
        links += 1
        if links > _LINKS_LIMIT or not trusted:
            raise Refusal(
                f"cannot use the source of {what}, {path}",
                f"{current}/{name} is a symbolic link that others than root can change",
                "name the place it should lead to in the policy",
                step="volume",
            )
        target = os.readlink(f"{current}/{name}")
        todo.extend(target.split("/")[::-1])
        if target.startswith("/"):
            current, status = "", os.stat("/")
    return current or "/", status


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
