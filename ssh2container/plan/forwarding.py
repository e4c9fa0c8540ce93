"""What leads into a container: an sshd of its own for one client, and a connection to one place there.

``ssh HOST ssh2container-sshd`` starts the host's sshd inside, as the session's user, on the client's own
descriptors. What a client forwards through it, its terminals, files and agent live in the container's network
and file tree, and the sshd outside keeps all of that closed (docs/networks.md). It reads no file of the
container and none that a session could have prepared: the configuration is the words that it is started with,
and ``native/inside/sshd.c`` tells it the rest.

Imported for the requests of these kinds alone.
"""

from __future__ import annotations

from ssh2container import paths
from ssh2container.errors import Refusal

from . import inner
from .request import FORWARDED, INFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ssh2container.policy.policy import Policy

    from .host import Host
    from .inner import Restrictions
    from .program import Attempt
    from .request import Request

    Chosen = tuple[Sequence[Attempt], Mapping[bytes, bytes]]
    """What a program is made of: attempts to execute it, and what its environment has besides."""

SERVERS = ("/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd")
"""Where distributions keep it."""
PRELOADED, CONNECT = "inside-sshd.so", "connect"
"""Files of the version's directory, and of the injected programs."""
HOST_KEY = paths.RUNTIME + "/host_key"
"""What sshd is told that its host key is; ``native/inside/sshd.c`` gives it what is in the variable."""
SECRET = b"SSH2CONTAINER_HOST_KEY"
"""The variable with the private host key: nothing that shows an environment shows it."""
KEY = "allow_forwarding"
VERSION = paths.parent(paths.parent(paths.parent(__file__)))
"""The directory of this version, which sessions on the image ``host`` see at its own place."""
_TELLING = frozenset(" \t\"'#\\%")
"""What sshd would not leave as it is in a path (sshd_config(5), sftp-server(8))."""
_MOST_SESSIONS = b"1000"
"""In one connection; the policy's limits hold for all processes together."""
_SERVER, _CONNECT = FORWARDED
_PLACE = "PORT | HOST:PORT | [ADDRESS]:PORT | /SOCKET"


def choose(
    request: Request, policy: Policy, host: Host, given: Mapping[bytes, bytes], flags: Sequence[bytes]
) -> Chosen:
    """Return what runs for a request that leads into the container; raises Refusal for what is not allowed.

    given: the environment that the caller handed to the login shell. flags: what enforces the policy's rules
    for sftp (sftp-server(8)).
    """
    words = request.command.split()
    if request.kind == "info":
        what, remedy = (
            f"no container is made for {INFO.decode()}",
            "ssh2containerctl show USER --summary says it",
        )
        raise Refusal(what, "it says what the user can do", remedy, "request")
    if len(words) != (1 if request.kind == "sshd" else 2):
        name = words[0].decode()
        usage = f"usage: ssh HOST {name} {_PLACE if request.kind == 'connect' else ''}".rstrip()
        raise Refusal(f"cannot run {name} with these words", "", usage, "request")
    _require_allowed(policy, host)
    restrictions = inner.restrictions(given)
    if restrictions.closed:
        raise _refusal(policy, "the key that was used forbids it", "use another key")
    if request.kind == "connect":
        if restrictions.opens:
            why = "the key that was used may connect to some places only (permitopen)"
            raise _refusal(policy, why, f"use {_SERVER.decode()}, which minds them, or another key")
        return _connect(words[1], host)
    options = [b"-i", b"-e", b"-f", b"none"]
    for setting, value in _settings(policy, restrictions, flags):
        options += [b"-o", setting + b"=" + value]
    attempts, added = _server(host, tuple(options))
    return attempts, {**added, SECRET: inner.host_key(given)}


def _require_allowed(policy: Policy, host: Host) -> None:
    if not policy.values[KEY]:
        remedy = f"an administrator writes {KEY}: true into the policy"
        raise _refusal(policy, f"{KEY} is false", remedy)
    if policy.access.terminal == "required":
        raise _refusal(
            policy, "access.terminal is required, and this cannot be seen on one", "use a terminal"
        )
    if host.terminal:
        raise _refusal(policy, "it is no use on a terminal", "ssh -T HOST, as ProxyCommand of the client")


def _refusal(policy: Policy, why: str, remedy: str) -> Refusal:
    message = policy.access.message
    return Refusal("forwarding is not allowed here", why, "; ".join(filter(None, (remedy, message))), KEY)


def _connect(place: bytes, host: Host) -> Chosen:
    if host.image.kind == "host":
        return [(f"{VERSION}/{CONNECT}", (_CONNECT, place))], {}
    return _injected(host, _CONNECT, (place,))


def _server(host: Host, arguments: tuple[bytes, ...]) -> Chosen:
    if host.image.kind == "host":
        # It insists on an absolute path as its own name.
        attempts = [(path, (path.encode(), *arguments)) for path in SERVERS]
        return attempts, {b"LD_PRELOAD": paths.fsencode(f"{VERSION}/{PRELOADED}")}
    return _injected(host, _SERVER, arguments)


def _injected(host: Host, name: bytes, arguments: tuple[bytes, ...]) -> Chosen:
    start = host.tools.start(name.decode(), arguments) if host.tools is not None else None
    if start is None:
        raise Refusal(
            f"cannot run {name.decode()} in the image {host.image.name}",
            "it is not among the programs prepared for images",
            "an administrator has to run: ssh2containerctl compile",
            "tools",
        )
    return [start[:2]], start[2]


def _settings(
    policy: Policy, restrictions: Restrictions, flags: Sequence[bytes]
) -> Iterator[tuple[bytes, bytes]]:
    """Yield what configures sshd (sshd_config(5))."""
    yield b"HostKey", HOST_KEY.encode()
    # On the client's standard error: whatever a forwarding does not reach would be a line on its terminal.
    yield b"LogLevel", b"FATAL"
    yield b"PidFile", b"none"
    # Nobody but the client of this session, who is authenticated, has these descriptors.
    yield b"PermitEmptyPasswords", b"yes"
    yield b"PubkeyAuthentication", b"no"
    yield b"KbdInteractiveAuthentication", b"no"
    yield b"PrintMotd", b"no"
    yield b"PrintLastLog", b"no"
    yield b"AllowAgentForwarding", _yes(restrictions.agent)
    yield b"X11Forwarding", _yes(restrictions.x11)
    yield b"PermitUserRC", b"no"
    if policy.accept_env:
        yield b"AcceptEnv", " ".join(policy.accept_env).encode()
    if restrictions.opens:
        yield b"PermitOpen", b" ".join(restrictions.opens)
    if restrictions.listens:
        yield b"PermitListen", b" ".join(restrictions.listens)
    if not gives_sessions(policy):
        yield b"MaxSessions", b"0"
        # A socket that listens is a file, perhaps in the place of another one: a command's to make, not ours.
        yield b"AllowStreamLocalForwarding", b"local"
        return
    yield b"StreamLocalBindUnlink", b"yes"
    yield b"MaxSessions", _MOST_SESSIONS
    # What has a terminal outside is recorded there; here nothing could.
    yield b"PermitTTY", _yes(restrictions.terminal and not policy.record.terminal)
    subsystem = _subsystem(policy, list(flags))
    if subsystem:
        yield b"Subsystem", b"sftp " + subsystem


def gives_sessions(policy: Policy) -> bool:
    """Tell whether the sshd inside runs commands, shells and sftp, or only forwards.

    It knows no list of commands and reports no file that is transferred: under a policy with such rules, the
    sshd outside gives them.
    """
    access = policy.access
    return access.commands == "any" and access.interactive is True and policy.record.transfers == "none"


def _subsystem(policy: Policy, flags: list[bytes]) -> bytes:
    """Return sftp under the policy's rules, b"" where it cannot be had under them.

    What ``native/init`` holds against the requests of a session, it cannot hold against these.
    """
    sftp = policy.access.sftp
    if sftp is None or not sftp.overwrite or _TELLING.intersection(sftp.start_directory or ""):
        return b""
    if sftp.umask and not sftp.read_only:
        # Modes that a client sets would get around the umask.
        refused = [*sftp.deny, "setstat", "fsetstat", "lsetstat"]
        if b"-P" in flags:
            del flags[flags.index(b"-P") :]
        flags += [b"-P", ",".join(dict.fromkeys(refused)).encode()]
    return b" ".join((b"internal-sftp", *flags))


def _yes(is_so: bool) -> bytes:  # noqa: FBT001 - what sshd_config(5) calls yes and no
    return b"yes" if is_so else b"no"
