"""Reading Quadlet's ``.container`` units (podman-container.unit(5)), and what their [Service] limits."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ssh2container.admin.convert import command_line, compose, units, values
from ssh2container.admin.convert.options import NO_POD, ONE_SET_OF_IDS, OPTIONS
from ssh2container.admin.convert.service import Service
from ssh2container.admin.convert.tree import Map, Text, error, list_at, text_at
from ssh2container.admin.login.units import ON
from ssh2container.admin.policy.yaml.problems import PolicyError, Problem, did_you_mean, quoted
from ssh2container.policy import specifiers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ssh2container.admin.convert.units import Assignment

SUFFIX = ".container"
_BOOLEANS = dict.fromkeys(ON, True) | dict.fromkeys(("0", "no", "false", "off"), False)

_OPTIONS = {
    "AddCapability": "cap-add", "AddDevice": "device", "AddHost": "add-host", "Annotation": "annotation",
    "CgroupsMode": "cgroups", "ContainerName": "name", "ContainersConfModule": "module", "DNS": "dns",
    "DNSOption": "dns-option", "DNSSearch": "dns-search", "DropCapability": "cap-drop",
    "Entrypoint": "entrypoint", "EnvironmentFile": "env-file", "ExposeHostPort": "expose",
    "GIDMap": "gidmap", "GroupAdd": "group-add", "HealthCmd": "health-cmd",
    "HealthInterval": "health-interval", "HealthLogDestination": "health-log-destination",
    "HealthMaxLogCount": "health-max-log-count", "HealthMaxLogSize": "health-max-log-size",
    "HealthOnFailure": "health-on-failure", "HealthRetries": "health-retries",
    "HealthStartPeriod": "health-start-period", "HealthStartupCmd": "health-startup-cmd",
    "HealthStartupInterval": "health-startup-interval", "HealthStartupRetries": "health-startup-retries",
    "HealthStartupSuccess": "health-startup-success", "HealthStartupTimeout": "health-startup-timeout",
    "HealthTimeout": "health-timeout", "HostName": "hostname", "IP": "ip", "IP6": "ip6",
    "LogDriver": "log-driver", "LogOpt": "log-opt", "Memory": "memory", "Mount": "mount",
    "Network": "network", "NetworkAlias": "network-alias", "PidsLimit": "pids-limit", "Pod": "pod",
    "PublishPort": "publish", "Pull": "pull", "Retry": "retry", "RetryDelay": "retry-delay",
    "Secret": "secret", "ShmSize": "shm-size", "StopSignal": "stop-signal", "StopTimeout": "stop-timeout",
    "SubGIDMap": "subgidname", "SubUIDMap": "subuidname", "Timezone": "tz", "Tmpfs": "tmpfs",
    "UIDMap": "uidmap", "Ulimit": "ulimit", "UserNS": "userns", "Volume": "volume", "WorkingDir": "workdir",
}  # fmt: skip
"""Key of [Container] -> the option of podman run that it is."""
_FLAGS = {
    "EnvironmentHost": "env-host", "HttpProxy": "http-proxy", "ReadOnly": "read-only",
    "ReadOnlyTmpfs": "read-only-tmpfs", "RunInit": "init",
}  # fmt: skip
_OF_WORDS = {"Label": "label", "Environment": "env", "Sysctl": "sysctl"}
"""Keys of which one line may hold several values, quoted as systemd does it."""
_SECURITY = {
    "AppArmor": "apparmor=", "SeccompProfile": "seccomp=", "Mask": "mask=", "Unmask": "unmask=",
    "SecurityLabelFileType": "label=filetype:",
    "SecurityLabelLevel": "label=level:", "SecurityLabelType": "label=type:",
}  # fmt: skip
_SECURITY_FLAGS = {
    "NoNewPrivileges": "no-new-privileges", "SecurityLabelDisable": "label=disable",
    "SecurityLabelNested": "label=nested",
}  # fmt: skip
_NOT = {
    "AutoUpdate": "images are renewed with ssh2containerctl image update",
    "GlobalArgs": "they are for the engine, which has no part in a session",
    "Notify": "a session reports to its client, not to systemd",
    "RemapGid": ONE_SET_OF_IDS,
    "RemapUid": ONE_SET_OF_IDS,
    "RemapUsers": ONE_SET_OF_IDS,
    "ReloadCmd": "nothing reloads a session: its client logs in again",
    "ReloadSignal": "nothing reloads a session: its client logs in again",
    "StartWithPod": NO_POD,
    "VolatileTmp": "/tmp is in memory in every session",
}
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_OTHERS = ("Exec", "Group", "Image", "PodmanArgs", "Rootfs", "User")
_OF_SYSTEMD = "a login starts a session, not systemd"


def service(path: str, environment: Mapping[str, str]) -> Service:
    """Return the container of a unit with its drop-ins.

    Raises PolicyError for a file that cannot be read, a line that is none of a unit's, and a unit that names
    no image.
    """
    if not path.endswith(SUFFIX):
        raise PolicyError(
            [Problem(path, 0, 0, "it is no unit of a container", f"a name that ends in {SUFFIX}")]
        )
    assignments = units.read(path)
    source = assignments[0].value.source if assignments else compose.read(path, tabs=True)
    root = Map(1, 1, source)
    made = Service(stem_of(path), path, root, source)
    made.specifiers = True
    made.raw = True
    made.environment = dict(environment)
    reader = _Reader(made, path)
    for assignment in assignments:
        reader.take(assignment)
    reader.finish()
    if root.get("image") is None:
        raise error(root, "the unit names no image", "Image= below [Container]")
    return made


def stem_of(path: str) -> str:
    """Return the name of a unit without what says that it is a container's."""
    return os.path.basename(path).removesuffix(SUFFIX)


class _Reader:
    def __init__(self, made: Service, path: str) -> None:
        self.made = made
        self.path = path
        self.user: Text | None = None
        self.group: Text | None = None

    def take(self, one: Assignment) -> None:
        if one.section == "Container":
            self._container(one)
        elif one.section == "Service":
            self._service(one)
        elif not one.section.startswith("X-") and one.section != "Quadlet":
            self.made.notes.leave(one.value, f"{one.section}: {one.key}", _OF_SYSTEMD)

    def finish(self) -> None:
        """User= and Group= are one option of podman's."""
        if self.user is None and self.group is not None:
            self.made.notes.leave(self.group, "Group", "the group is the user's own")
        elif self.user is not None:
            group = f":{self.group.text}" if self.group is not None else ""
            self.made.set("user", text_at(self.user, self.user.text + group))

    def _container(self, one: Assignment) -> None:
        key, value = one.key, one.value
        if not value.text:
            self._forget(key)
            return
        if key not in _OF_WORDS and key not in ("Exec", "PodmanArgs") and _QUOTED.fullmatch(value.text):
            value.text = value.text[1:-1]
        if key not in _NOT and not self._specify(value, key):
            return
        if key in _OPTIONS:
            self._option(_OPTIONS[key], value, key)
        elif key in _FLAGS:
            self._flag(value, key, lambda: self._option(_FLAGS[key], text_at(value, "true"), key))
        elif key in _OF_WORDS:
            for word in units.words(value):
                self._option(_OF_WORDS[key], word, key)
        elif key in _SECURITY:
            self.made.add("security_opt", text_at(value, _SECURITY[key] + value.text))
        elif key in _SECURITY_FLAGS:
            said = text_at(value, _SECURITY_FLAGS[key])
            self._flag(value, key, lambda: self.made.add("security_opt", said))
        elif key in _NOT:
            self.made.notes.leave(value, key, _NOT[key])
        elif key in _OTHERS:
            self._other(key, value)
        else:
            known = (*_OPTIONS, *_FLAGS, *_OF_WORDS, *_SECURITY, *_SECURITY_FLAGS, *_NOT, *_OTHERS)
            hint = did_you_mean(key, known)
            self.made.notes.leave(value, key, f"Quadlet has no such key; {hint}".rstrip("; "))

    def _option(self, option: str, value: Text, key: str) -> None:
        OPTIONS[option].take(self.made, value, key)

    def _flag(self, value: Text, key: str, act: Callable[[], None]) -> None:
        said = _BOOLEANS.get(value.text.lower())
        if said is None:
            raise error(value, f"{key}={value.text}", "true | false")
        if said:
            act()

    def _other(self, key: str, value: Text) -> None:
        made = self.made
        if key == "Exec":
            made.set("command", list_at(value, units.words(value)))
        elif key == "User":
            self.user = value
        elif key == "Group":
            self.group = value
        elif key == "PodmanArgs":
            left = command_line.arguments(made, units.words(value))
            if left:
                raise error(left[0], f"{quoted(left[0].text)} is no option", "options of podman run")
        elif key == "Rootfs":
            self._root(value)
        else:
            made.set("image", text_at(value, self._image(value)))

    def _root(self, value: Text) -> None:
        """Name the image that a directory, as a root, is once it is imported."""
        place = value.text.partition(":")[0]
        name = re.sub(r"[^a-z0-9_.-]", "-", os.path.basename(place.rstrip("/")).lower()) or "rootfs"
        self.made.set("image", text_at(value, f"rootfs/{name.lstrip('-._') or 'root'}"))
        self.made.set("x-source", text_at(value, place))

    def _image(self, value: Text) -> str:
        """Return the name of an image, also where another unit has it."""
        suffix = os.path.splitext(value.text)[1]
        if suffix not in (".image", ".build"):
            return value.text
        beside = os.path.join(os.path.dirname(os.path.abspath(self.path)), value.text)
        wanted = "ImageTag" if suffix == ".build" else "Image"
        found = ""
        if os.path.exists(beside):
            found = next((one.value.text for one in units.read(beside) if one.key == wanted), "")
        if not found:
            raise error(value, f"{value.text} says no {wanted}=", f"the unit {value.text} beside this one")
        return found

    def _forget(self, key: str) -> None:
        """Take back what was said of a key before: an empty value does that in every unit."""
        names = {
            "AddCapability": "cap_add", "AddDevice": "devices", "DropCapability": "cap_drop",
            "Environment": "environment", "EnvironmentFile": "env_file", "Exec": "command",
            "Entrypoint": "entrypoint", "PublishPort": "ports", "Tmpfs": "tmpfs", "Ulimit": "ulimits",
            "Volume": "volumes", "Image": "image", "HostName": "hostname",
        }  # fmt: skip
        if key == "Network":
            self.made.unset("networks")
            self.made.unset("network_mode")
        elif key in names:
            self.made.unset(names[key])
        if key == "User":
            self.user = None

    def _specify(self, value: Text, key: str) -> bool:
        """Replace the specifiers that are known now; those that depend on the login stay.

        Returns False for one without a meaning here: the key was left out.
        """
        replaced = values.Specifiers(stem_of(self.path)).replaced(value.text)
        if isinstance(replaced, tuple):
            letter, why = replaced
            self.made.notes.leave(value, key, f"%{letter} in it: {why}")
            return False
        value.text = replaced
        if key not in ("HostName", "Volume", "Tmpfs", "Exec", "Entrypoint", "Mount"):
            if specifiers.unknown(replaced) or any(f"%{letter}" in replaced for letter in "uUgh"):
                why = "it is replaced in hostname, volumes, tmpfs and the command alone"
                self.made.notes.leave(value, key, f"a specifier in it: {why}")
                return False
            value.text = replaced.replace("%%", "%")
        return True

    def _service(self, one: Assignment) -> None:
        """Take limits that systemd would set around the container."""
        value, name = one.value, f"Service: {one.key}"
        taken = values.LIMITS.get(one.key)
        if not value.text:
            return
        if taken is None:
            self.made.notes.leave(value, name, _OF_SYSTEMD)
            return
        key, convert = taken
        text = convert(value.text)
        if text is None:
            self.made.notes.leave(value, name, f"{quoted(value.text)} has no meaning for {key}")
        elif text and key in ("mem_limit", "memswap_limit", "cpus", "pids_limit", "stop_grace_period"):
            if self.made.root.get(key) is None:
                self.made.set(key, text_at(value, text))
        elif text:
            self.made.direct.append((key, text_at(value, text), name))
