"""Where policies are kept, and how a login gets its own.

The chain is ``defaults.yaml``, the files of the user's groups in ``group_order``, the user's own
file, ``enforced.yaml``. Each part comes from its compiled file if that is fresh, else from the
YAML itself, through ``ssh2container.admin.language``, with the same result.
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
    from collections.abc import Callable, Collection, Sequence

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


def load(name: str, groups: Collection[str], places: Places = STANDARD, log: Log | None = None) -> Policy:
    """Return the policy of a user.

    name: the user's name from the name service.
    groups: the names of all his groups.
    log: is told why a compiled part was not used; the default is syslog.

    Raises Refusal when there is no policy for the user, or when one of its files is not valid or
    could have been written by somebody else than the administrator.
    """
    settings = _settings(name, places, log or _syslog)
    policy = Policy(*merge(chain(name, groups, settings, places, log)))
    policy.site = settings
    rules.require(policy)
    return policy


def site(places: Places = STANDARD, log: Log | None = None) -> Site:
    """Return the site's settings. Raises Refusal like :func:`load`."""
    values, _ = merge(_required("config", places, log or _syslog).layers)
    return Site(
        values["admit"],
        values["group_order"],
        tuple(values["unlisted"]),
        values["audit"],
        values["audit_format"],
    )


def _settings(name: str, places: Places, log: Log) -> Site:
    _require_name(name)
    _require_trusted(places)
    return site(places, log)


def chain(
    name: str,
    groups: Collection[str],
    settings: Site,
    places: Places = STANDARD,
    log: Log | None = None,
) -> list[Layer]:
    """Return the layers that make up a user's policy, the weakest first. Raises like :func:`load`."""
    log = log or _syslog
    _require_listed(groups, settings, places)
    found = list(_required("defaults", places, log).layers)
    listed = False
    own = ["groups/" + group for group in settings.group_order if group in groups]
    for part_name in (*own, "users/" + name):
        part = _present(part_name, places, log)
        if part is not None:
            listed = True
            found += part.layers
    if not listed and settings.admit != "everybody":
        raise Refusal(
            f"there is no policy for {name}",
            f"neither {places.source('users/' + name)} nor a file of one of the user's groups exists",
            "the administrator makes one with: ssh2containerctl enable " + name,
            step="policy",
        )
    enforced = _present("enforced", places, log)
    if enforced is not None:
        found += enforced.layers
    return found


def _present(name: str, places: Places, log: Log) -> Part | None:
    source = places.source(name)
    try:
        os.lstat(source)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreachable(source, error) from None
    part = _required(name, places, log)
    return part if part.exists else None


def _required(name: str, places: Places, log: Log) -> Part:
    """Return a part from its compiled file, or made from the YAML."""
    path = f"{places.compiled}/{name}"
    try:
        _require_compiled_trusted(name, places)
        return layers.read(path, places.owner)
    except FileNotFoundError:
        log(f"{name} is not compiled; run ssh2containerctl compile")
    except layers.Unusable as reason:
        log(f"not using {path}: {reason}")
    # YAML costs a login some 30 ms, so it is imported only here.
    from ssh2container.admin.language import compiler

    return compiler.part(name, places)


def _require_name(name: str) -> None:
    if not name or "/" in name or "\0" in name or name.startswith("."):
        raise Refusal(f"refusing the user name {name!r}", "it cannot be the name of a file", step="policy")


def _require_listed(groups: Collection[str], settings: Site, places: Places) -> None:
    for group in settings.unlisted:
        if group in groups:
            raise Refusal(
                f"the policy of the group {group} has no place in the order",
                f"{places.source('groups/' + group)} exists, but group_order does not name it",
                f"the administrator adds {group} to group_order in {places.source('config')}",
                step="policy",
            )


def _require_trusted(places: Places) -> None:
    """Refuse when somebody else could add or remove a policy file."""
    for directory in _ancestors(places.configuration, places.anchor):
        if not _trusted(directory, places.owner, absent=False):
            raise _untrusted(directory)
    for below in ("users", "groups", "profiles"):
        directory = f"{places.configuration}/{below}"
        if not _trusted(directory, places.owner, absent=True):
            raise _untrusted(directory)


def _require_compiled_trusted(name: str, places: Places) -> None:
    for directory in _ancestors(paths.parent(f"{places.compiled}/{name}"), places.anchor):
        if not _trusted(directory, places.owner, absent=True):
            raise layers.Unusable(f"{directory} is writable by others than the administrator")


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
        f"the administrator lets users pass: chmod a+rx {paths.parent(path)}",
        "policy",
        error.errno or 0,
    )


def _untrusted(directory: str) -> Refusal:
    return Refusal(
        "refusing to use the policy",
        f"others than the administrator can write to {directory}, or it is a link",
        f"chown root {directory}; chmod go-w {directory}",
        step="policy",
    )


def _syslog(text: str) -> None:
    import syslog

    syslog.openlog("ssh2container", syslog.LOG_PID, syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_WARNING, text)
