"""Rules over more than one key: what no single declaration can refuse. Pure."""

from __future__ import annotations

from ssh2container.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ssh2container.policy.policy import Policy


POWERFUL_GROUPS = {
    "docker": "starts containers as root",
    "podman": "reaches a container service of root's",
    "lxd": "starts containers as root",
    "incus": "starts containers as root",
    "incus-admin": "starts containers as root",
    "libvirt": "starts virtual machines as root",
    "sudo": "may become root",
    "wheel": "may become root",
    "admin": "may become root",
    "adm": "reads the logs",
    "systemd-journal": "reads the logs",
    "disk": "reads and writes every block device",
    "shadow": "reads the password hashes",
    "kmem": "reads the memory",
    "root": "root's group owns many files",
}
"""Groups whose membership is worth more than the container, and why: neither ``enable`` nor a login admits
their members. A group that is not mapped shows as nogroup inside and still opens files of the host."""


class Broken:
    """A rule that a merged policy breaks.

    key: the setting or entry to blame, for its origin.
    message: what was found; allowed: what would be right.
    """

    __slots__ = ("allowed", "key", "message")

    def __init__(self, key: str, message: str, allowed: str) -> None:
        self.key = key
        self.message = message
        self.allowed = allowed


HOST_HOME = Broken(
    "home.source",
    "the home of the session is the user's home on the host, where user units, .forward and "
    "authorized_keys act outside of any container",
    "a directory of its own such as /srv/homes/%u, or unsafe_host_home: true beside it",
)


def exposes_home(policy: Policy, source: str, host_home: str) -> bool:
    """Tell whether the session's home would be the user's home on the host, or a directory around it.

    source: ``home.source``, expanded like ``host_home``. A directory below the home is no exposure.
    """
    if policy.unsafe_host_home:
        return False
    return (host_home.rstrip("/") + "/").startswith(source.rstrip("/") + "/")


def require_apart(policy: Policy, source: str, host_home: str) -> None:
    """Raise Refusal when :func:`exposes_home`."""
    if exposes_home(policy, source, host_home):
        raise refusal(policy, HOST_HOME)


def is_below(path: str, source: str) -> bool:
    """Tell whether ``path`` is ``source`` or below it, by their names."""
    return (path.rstrip("/") + "/").startswith(source.rstrip("/") + "/")


def require_recordings_apart(directory: str, sources: Iterable[str]) -> None:
    """Raise Refusal when recordings in ``directory`` would lie where the session itself can write.

    It could change them, and lead the next one elsewhere by a link. sources: without links.
    """
    for source in sources:
        if is_below(directory, source):
            raise Refusal(
                f"cannot record the session in {directory}",
                f"the session itself can write to {source}",
                "record.directory names a place that no writable volume or home brings in, or to: collector",
                "record",
            )


def recordings_in_reach(policy: Policy) -> Iterator[Broken]:
    """Yield where the session itself could write its recordings, by the names in the policy."""
    if not policy.record.terminal or policy.record.to != "user_directory":
        return
    found = [volume.source for volume in policy.volumes if not volume.read_only]
    if policy.home is not None and policy.home.source and not policy.home.read_only:
        found.append(policy.home.source)
    for source in found:
        if is_below(policy.record.directory, source):
            yield Broken(
                "record.directory",
                f"the session itself can write to {source}, change recordings there and lead them elsewhere",
                "a directory that no writable volume or home brings in, or record: {to: collector}",
            )


_KEY_SPECIFIERS = ("u", "U", "h", "%")
"""Those that mean the same to sshd (sshd_config(5), TOKENS)."""


def own_keys(policy: Policy) -> str:
    """Return the file below the kept home in which sshd is to look for keys, as a pattern; "" for none."""
    if policy.authorized_keys != "home" or policy.home is None or not policy.home.source:
        return ""
    return policy.home.source.rstrip("/") + "/.ssh/authorized_keys"


def _own_keys_out_of_place(policy: Policy) -> Iterator[Broken]:
    if policy.authorized_keys != "home":
        return
    source = policy.home.source if policy.home is not None else None
    if source is None:
        yield Broken(
            "authorized_keys", "there is no kept home to look in", "home: {source: DIRECTORY} beside it"
        )
        return
    letters = [part[:1] for part in source.replace("%%", "").split("%")[1:]]
    if not set(letters) <= set(_KEY_SPECIFIERS):
        yield Broken(
            "authorized_keys",
            f"sshd cannot replace what is in {source}",
            "%u, %U and %h in home.source beside authorized_keys: home",
        )
    if policy.ranged:
        yield Broken(
            "authorized_keys",
            "what root inside writes belongs to another id on the host, and sshd does not take it",
            "userns_mode: single beside authorized_keys: home",
        )


def _of_rare_keys(policy: Policy) -> Iterator[Broken]:
    values = policy.values
    of_private = values["ports"] or values["egress"] != "internet" or values["egress_log"] != "none"
    if of_private or policy.network_mode == "private":
        from . import private

        for key, message, allowed in private.broken(policy):
            yield Broken(key, message, allowed)
    if values["cap_add"] and not (policy.ranged and policy.user in ("root", "self")):
        yield Broken(
            "cap_add",
            "capabilities are for root in a range of ids alone",
            "user: root with an imported image, and userns_mode: auto, range or own_range",
        )
    if values["keys"]:
        from . import key_rules

        for key, message, allowed in key_rules.broken(policy):
            yield Broken(key, message, allowed)
    if values["host_commands"]:
        from . import host_commands

        for key, message, allowed in host_commands.broken(policy):
            yield Broken(key, message, allowed)
    if values["devices"]:
        from . import devices

        for key, message, allowed in devices.broken(policy):
            yield Broken(key, message, allowed)


def _of_system(policy: Policy) -> Iterator[Broken]:
    if policy.values["boot"] or policy.values["stop_signal"]:
        from . import whole

        for key, message, allowed in whole.broken(policy):
            yield Broken(key, message, allowed)


def broken(policy: Policy) -> Iterator[Broken]:
    """Yield every rule that ``policy`` breaks."""
    if policy.home is not None:
        if policy.home.source is None:
            yield Broken("home", "home is a map without source", "home: {source: DIRECTORY}, or ephemeral")
        elif exposes_home(policy, policy.home.source, "%h"):
            yield HOST_HOME
    if policy.allow_agent_forwarding and policy.container_per != "session":
        yield Broken(
            "allow_agent_forwarding",
            "a container that logins share was made before the next login's agent",
            "container_per: session beside allow_agent_forwarding: true",
        )
    if policy.linger and policy.container_per != "user":
        yield Broken(
            "linger",
            f"a container_per: {policy.container_per} container does not outlive what it is for",
            "container_per: user beside linger",
        )
    if policy.networks and policy.network_mode != "none":
        yield Broken(
            "network_mode",
            f"network_mode: {policy.network_mode} beside networks, which are another way to one",
            "network_mode: none, the default, beside networks",
        )
    if policy.ranged and policy.image == "host":
        yield Broken(
            "userns_mode",
            f"userns_mode: {policy.userns_mode} maps a system's users, and the host's files belong to others",
            "image: the name of an imported image (ssh2containerctl image list), or userns_mode: single",
        )
    yield from _of_system(policy)
    yield from recordings_in_reach(policy)
    yield from _own_keys_out_of_place(policy)
    if policy.limits is not None:
        from . import limits

        for key, message, allowed in limits.broken(policy):
            yield Broken(key, message, allowed)
    yield from _of_rare_keys(policy)
    targets = {volume.target for volume in policy.volumes}
    for tmpfs in policy.tmpfs:
        if tmpfs.target in targets:
            yield Broken(
                f"tmpfs.{tmpfs.target}", f"{tmpfs.target} is the target of a volume too", "one of them"
            )


def require(policy: Policy) -> None:
    """Raise Refusal for the first rule that ``policy`` breaks."""
    for rule in broken(policy):
        raise refusal(policy, rule)


def refusal(policy: Policy, rule: Broken) -> Refusal:
    """Return what a login says for which ``policy`` breaks ``rule``."""
    return Refusal(
        "the policy contradicts itself",
        f"{policy.origin(rule.key)}: {rule.message}",
        f"allowed: {rule.allowed}",
        step="policy",
    )


def in_memory(policy: Policy) -> int:
    """Return the bytes that one session may write to memory."""
    return policy.storage_opt.size + sum(one.size for one in policy.tmpfs)
