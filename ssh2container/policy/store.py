# Longer than 300 lines: every login imports all of it; each more module costs it time.
"""Where policies are kept, and how a login gets its own.

The chain is ``defaults.yaml``, the files of the user's groups in ``group_order``, the user's own
file, ``enforced.yaml``. Each part comes from its compiled file if that is fresh, else from the
YAML itself (:mod:`.cold`), with the same result.
"""

from __future__ import annotations

import _stat as stat
import posix as os

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.policy import layers, rules
from ssh2container.policy.merge import merge
from ssh2container.policy.policy import Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from ssh2container.policy.cold import Maker
    from ssh2container.policy.layers import Part
    from ssh2container.policy.merge import Layer

    Log = Callable[[str], None]


class Places:
    """The directories of an installation.

    configuration: config.yaml, defaults.yaml, enforced.yaml, groups/, users/, profiles/.
    shipped: the package's own profiles.
    compiled: the compiled parts.
    anchor: the directory from which on every component of a path must belong to ``owner``.
    """

    __slots__ = ("anchor", "compiled", "configuration", "owner", "shipped")

    def __init__(
        self,
        configuration: str = "/etc/ssh2container",
        shipped: str = "/usr/share/ssh2container/profiles",
        compiled: str = "/var/lib/ssh2container/compiled/policy",
        anchor: str = "/",
        owner: int = 0,
    ) -> None:
        self.configuration = configuration
        self.shipped = shipped
        self.compiled = compiled
        self.anchor = anchor
        self.owner = owner

    def source(self, part: str) -> str:
        """Return the YAML file of a part, e.g. of "users/alice"."""
        return f"{self.configuration}/{part}.yaml"


class Site:
    """The settings of config.yaml.

    admit: "listed" or "everybody".
    group_order: the groups that have a file, the strongest last.
    unlisted: the groups that have a file and are not in ``group_order``.
    audit: "required" or "best_effort". audit_format: "fields" or "ecs".
    """

    __slots__ = ("admit", "audit", "audit_format", "group_order", "unlisted")

    def __init__(
        self,
        admit: str,
        group_order: tuple[str, ...],
        unlisted: tuple[str, ...],
        audit: str,
        audit_format: str,
    ) -> None:
        self.admit = admit
        self.group_order = group_order
        self.unlisted = unlisted
        self.audit = audit
        self.audit_format = audit_format


STANDARD = Places()
NO_POLICY = "there is no policy for "
"""How the error of a user without a policy begins; the name follows."""


def load(
    name: str,
    groups: Collection[str],
    places: Places = STANDARD,
    log: Log | None = None,
    certain: Callable[[Iterable[str]], None] | None = None,
) -> Policy:
    """Return the policy of a user.

    name: the user's name from the name service.
    groups: the names of all their groups.
    log: is told why a compiled part was not used; the default is syslog.
    certain: is told the groups with a file that are not among ``groups``, and raises where one may have
    been left out because the name service did not answer.

    All of it comes from one version of the policies, whenever another takes its place.

    Raises Refusal when there is no policy for the user, or when one of its files is not valid or
    could have been written by somebody else than the administrator.
    """
    for _ in range(_ATTEMPTS):
        seen = _directory(places)
        try:
            policy = _load(name, groups, places, log, certain)
        except Refusal:
            if _directory(places) == seen:
                raise
        else:
            if _directory(places) == seen:
                return policy
    raise Refusal(
        "cannot read the policy", f"{places.configuration} keeps being exchanged", "try again", "policy"
    )


_ATTEMPTS = 5


def _directory(places: Places) -> tuple[int, int]:
    """Return which directory the policies are in: one that took its place meanwhile has others."""
    try:
        status = os.stat(places.configuration)
    except OSError:
        return -1, -1
    return status.st_dev, status.st_ino


def _load(
    name: str,
    groups: Collection[str],
    places: Places,
    log: Log | None,
    certain: Callable[[Iterable[str]], None] | None,
) -> Policy:
    parts = _Parts(places, log)
    try:
        _require_name(name)
        _require_trusted(places)
        settings = parts.site()
        if certain is not None:
            certain(group for group in (*settings.group_order, *settings.unlisted) if group not in groups)
        policy = merged(*_chain(name, groups, settings, parts))
    finally:
        parts.close()
    policy.site = settings
    rules.require(policy)
    return policy


def merged(below: Sequence[Layer], above: Sequence[Layer] = ()) -> Policy:
    """Return the policy of these layers, the weakest first; above: those that the policy of a key is under.

    Nobody has judged it yet.
    """
    policy = Policy(*merge([*below, *above]))
    policy.chain = below, above
    return policy


def site(places: Places = STANDARD, log: Log | None = None) -> Site:
    """Return the site's settings. Raises Refusal like :func:`load`."""
    parts = _Parts(places, log)
    try:
        return parts.site()
    finally:
        parts.close()


def _chain(
    name: str, groups: Collection[str], settings: Site, parts: _Parts
) -> tuple[Sequence[Layer], Sequence[Layer]]:
    """Return the layers that make up a user's policy, the weakest first, and those that are enforced.

    Raises like :func:`load`.
    """
    places = parts.places
    _require_listed(groups, settings, places)
    found = list(parts.required("defaults").layers)
    listed = False
    own = ["groups/" + group for group in settings.group_order if group in groups]
    for part_name in (*own, "users/" + name):
        part = parts.present(part_name)
        if part is not None:
            listed = True
            found += part.layers
    if not listed and settings.admit != "everybody":
        raise Refusal(
            NO_POLICY + name,
            f"neither {places.source('users/' + name)} nor a file of one of the user's groups exists",
            "the administrator writes one with: ssh2containerctl enable " + name,
            step="policy",
        )
    enforced = parts.present("enforced")
    return found, () if enforced is None else enforced.layers


class _Parts:
    """The parts of a chain, compiled or made on the spot. Close it: a program may be at work."""

    __slots__ = ("_log", "_maker", "places")

    def __init__(self, places: Places, log: Log | None) -> None:
        self.places = places
        self._log = log or _syslog
        self._maker: Maker | None = None

    def close(self) -> None:
        if self._maker is not None:
            self._maker.close()

    def site(self) -> Site:
        values, _ = merge(self.required("config").layers)
        return Site(
            values["admit"],
            values["group_order"],
            tuple(values["unlisted"]),
            values["audit"],
            values["audit_format"],
        )

    def present(self, name: str) -> Part | None:
        """Return a part, None where it has no file."""
        source = self.places.source(name)
        try:
            os.lstat(source)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreachable(source, error) from None
        part = self.required(name)
        return part if part.exists else None

    def required(self, name: str) -> Part:
        """Return a part from its compiled file, or made from the YAML."""
        path = f"{self.places.compiled}/{name}"
        try:
            _require_compiled_trusted(name, self.places)
            return layers.read(path, self.places.owner)
        except FileNotFoundError:
            self._log(f"{name} is not compiled; run ssh2containerctl compile")
        except layers.Unusable as reason:
            self._log(f"not using {path}: {reason}")
        if self._maker is None:
            from . import cold

            self._maker = cold.start()
        return self._maker.part(name, self.places)


def _require_name(name: str) -> None:
    if not name or "/" in name or "\0" in name or name.startswith("."):
        raise Refusal(f"refusing the user name {name!r}", "it cannot be the name of a file", step="policy")


def _require_listed(groups: Collection[str], settings: Site, places: Places) -> None:
    for group in settings.unlisted:
        if group in groups:
            raise Refusal(
                f"the policy of the group {group} has no precedence",
                f"{places.source('groups/' + group)} exists, but group_order does not name it",
                f"the administrator adds {group} to group_order in {places.source('config')}",
                step="policy",
            )


def _require_trusted(places: Places) -> None:
    """Refuse when somebody else could add or remove a policy file."""
    for directory in untrusted(places):
        raise _untrusted(directory)


def untrusted(places: Places) -> Iterator[str]:
    """Yield the directories of policies that others than the administrator can change.

    Raises Refusal where that cannot be seen, or where there is no policy at all.
    """
    for directory in _ancestors(places.configuration, places.anchor):
        if not _trusted(directory, places.owner, absent=False):
            yield directory
    for below in ("users", "groups", "profiles"):
        directory = f"{places.configuration}/{below}"
        if not _trusted(directory, places.owner, absent=True):
            yield directory


def _require_compiled_trusted(name: str, places: Places) -> None:
    for directory in _ancestors(paths.parent(f"{places.compiled}/{name}"), places.anchor):
        if not _trusted(directory, places.owner, absent=True):
            raise layers.Unusable(f"{directory} is writable by users other than the administrator")


def _ancestors(directory: str, anchor: str) -> Sequence[str]:
    found = [directory]
    while found[-1] not in (anchor, "/"):
        found.append(paths.parent(found[-1]))
    return found


def _trusted(directory: str, owner: int, *, absent: bool) -> bool:
    """Tell whether only ``owner`` can change what is in ``directory``; ``absent`` allows it to be missing."""
    try:
        status = os.lstat(directory)
    except OSError as error:
        if absent and isinstance(error, FileNotFoundError):
            return True
        if isinstance(error, PermissionError):
            raise _unreachable(directory, error) from None
        raise Refusal(
            "there is no policy",
            f"{directory}: {error.strerror}",
            "the administrator installs one with install.sh",
            step="policy",
        ) from None
    return stat.S_ISDIR(status.st_mode) and status.st_uid == owner and not status.st_mode & 0o022


def _unreachable(path: str, error: OSError) -> Refusal:
    return Refusal(
        f"cannot look at {path}",
        error.strerror or "",
        f"the administrator gives users access: chmod a+rx {paths.parent(path)}",
        "policy",
        error.errno or 0,
    )


def _untrusted(directory: str) -> Refusal:
    return Refusal(
        "refusing to use the policy",
        f"users other than the administrator can write to {directory}, or it is a link",
        f"chown root {directory}; chmod go-w {directory}",
        step="policy",
    )


def _syslog(text: str) -> None:
    import syslog

    syslog.openlog("ssh2container", syslog.LOG_PID, syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_WARNING, text)
