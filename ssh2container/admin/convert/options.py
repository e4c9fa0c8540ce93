"""The options of ``podman run`` and ``docker run``, each as what it is in Compose.

Quadlet's keys are options of podman, too (podman-container.unit(5)), so they are converted by this table.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from ssh2container.admin.convert import networking, system
from ssh2container.admin.convert.service import Service
from ssh2container.admin.convert.tree import List, Map, Text, list_at, map_at, text_at

Take = Callable[[Service, Text, str], None]
"""Takes the value of an option; the text is its name in the file."""


class Option:
    """takes_value: whether a word follows. take: what becomes of it."""

    __slots__ = ("take", "takes_value")

    def __init__(self, take: Take, *, takes_value: bool = True) -> None:
        self.take = take
        self.takes_value = takes_value


def _one(key: str) -> Option:
    return Option(lambda service, node, _: service.set(key, node))


def _list(key: str) -> Option:
    return Option(lambda service, node, _: service.add(key, node))


def _flag(key: str, value: str = "true") -> Option:
    """Return what takes an option without a value, or with ``=true`` or ``=false``."""

    def take(service: Service, node: Text, _: str) -> None:
        said = node.text.lower()
        if said in ("", "true", "1", "yes", "on"):
            service.set(key, text_at(node, value, plain=True))

    return Option(take, takes_value=False)


def _no(why: str, *, takes_value: bool = True) -> Option:
    return Option(lambda service, node, name: service.notes.leave(node, name, why), takes_value=takes_value)


def _nothing(*, takes_value: bool = False) -> Option:
    """Return what passes over an option: it says what is always so, or nothing of the container."""
    return Option(lambda _service, _node, _name: None, takes_value=takes_value)


def _direct(key: str, unit: str = "") -> Option:
    def take(service: Service, node: Text, name: str) -> None:
        text = node.text + unit if node.text.isdecimal() else node.text
        service.direct.append((key, text_at(node, text), name))

    return Option(take)


def _seconds(service: Service, node: Text, _: str) -> None:
    service.set("stop_grace_period", text_at(node, node.text + "s" if node.text.isdecimal() else node.text))


def _entrypoint(service: Service, node: Text, _: str) -> None:
    words = [node.text]
    if node.text.startswith("["):
        try:
            read = json.loads(node.text)
            words = [str(word) for word in read] if isinstance(read, list) else words
        except (ValueError, RecursionError):
            pass  # a program may have that name
    service.set("entrypoint", list_at(node, [text_at(node, word) for word in words if word]))


def _environment(service: Service, node: Text, _: str) -> None:
    name, equals, value = node.text.partition("=")
    service.put("environment", name, text_at(node, value, plain=not equals))


def _ulimit(service: Service, node: Text, _: str) -> None:
    name, _equals, value = node.text.partition("=")
    soft, colon, hard = value.partition(":")
    both = map_at(node, soft=text_at(node, soft), hard=text_at(node, hard))
    service.put("ulimits", name, both if colon else text_at(node, soft))


def _rate(key: str) -> Option:
    def take(service: Service, node: Text, _: str) -> None:
        path, _colon, rate = node.text.rpartition(":")
        entry = map_at(node, path=text_at(node, path), rate=text_at(node, rate))
        config = service.root.get("blkio_config")
        there = config.get(key) if isinstance(config, Map) else None
        items = [*there.items, entry] if isinstance(there, List) else [entry]
        service.put("blkio_config", key, list_at(node, items))

    return Option(take)


def _storage(service: Service, node: Text, _: str) -> None:
    name, _equals, value = node.text.partition("=")
    service.put("storage_opt", name, text_at(node, value))


_MOUNT_FIELDS = {
    "src": "source", "source": "source", "dst": "target", "dest": "target", "destination": "target",
    "target": "target",
}  # fmt: skip


def _mount(service: Service, node: Text, name: str) -> None:
    """Take ``--mount type=bind,source=…,target=…``."""
    values: dict[str, Text | Map] = {}
    memory: dict[str, Text] = {}
    for field in node.text.split(","):
        word, equals, value = field.partition("=")
        if word == "type":
            values["type"] = text_at(node, "bind" if value == "glob" else value)
        elif word in _MOUNT_FIELDS:
            values[_MOUNT_FIELDS[word]] = text_at(node, value)
        elif word in ("ro", "readonly", "rw"):
            on = value.lower() in ("", "true", "1")
            read_only = on if word != "rw" else not on
            values["read_only"] = text_at(node, "true" if read_only else "false", plain=True)
        elif word in ("tmpfs-size", "tmpfs-mode"):
            memory[word.removeprefix("tmpfs-")] = text_at(node, value)
        elif equals or word:
            why = "of a mount's options there are type, source, target and readonly"
            service.notes.leave(node, f"{name}: {field}", why)
    values.setdefault("type", text_at(node, "volume"))
    if memory:
        values["tmpfs"] = map_at(node, **memory)
    service.add("volumes", map_at(node, **values))


def _before_comma(node: Text) -> Text:
    return text_at(node, node.text.partition(",")[0])


def _read_only(service: Service, node: Text, name: str) -> None:
    del name
    _flag("read_only").take(service, node, "read_only")


_RUNS_FOR_A_CLIENT = "a session runs for a client and ends with it"
NO_POD = "a session shares nothing with another container"
_OF_ENGINES = "it is for the engine, which has no part in a session"
ONE_SET_OF_IDS = "which ids a session has is decided by userns_mode"
_HEALTH = (
    "health-cmd", "health-interval", "health-log-destination", "health-max-log-count", "health-max-log-size",
    "health-on-failure", "health-retries", "health-start-interval", "health-start-period",
    "health-startup-cmd", "health-startup-interval", "health-startup-retries", "health-startup-success",
    "health-startup-timeout", "health-timeout",
)  # fmt: skip

OPTIONS: dict[str, Option] = {
    **dict.fromkeys(_HEALTH, _one("healthcheck")),
    **dict.fromkeys(
        ("authfile", "cgroup-conf", "cgroups", "cidfile", "conmon-pidfile", "creds", "decryption-key",
         "detach-keys", "hooks-dir", "image-volume", "init-ctr", "init-path", "log-level", "module",
         "pidfile", "preserve-fd", "preserve-fds", "retry", "retry-delay", "runtime-flag", "sdnotify",
         "volume-driver", "cert-dir", "sig-policy"),
        _no(_OF_ENGINES),
    ),
    **dict.fromkeys(("gidmap", "subgidname", "subuidname", "uidmap"), _no(ONE_SET_OF_IDS)),
    **dict.fromkeys(("pod", "pod-id-file", "requires", "network-alias", "link-local-ip"), _no(NO_POD)),
    **dict.fromkeys(("disable-content-trust", "quiet", "rm", "rmi", "sig-proxy", "tls-verify"), _nothing()),
    **dict.fromkeys(("detach", "replace"), _no(_RUNS_FOR_A_CLIENT, takes_value=False)),
    "add-host": _list("extra_hosts"),
    "annotation": _list("annotations"),
    "arch": _one("platform"),
    "attach": _one("attach"),
    "blkio-weight": Option(lambda service, node, _: service.put("blkio_config", "weight", node)),
    "blkio-weight-device": _rate("weight_device"),
    "cap-add": _list("cap_add"),
    "cap-drop": _list("cap_drop"),
    "cgroup-parent": _one("cgroup_parent"),
    "cgroupns": _one("cgroup"),
    "cpu-count": _one("cpu_count"),
    "cpu-percent": _one("cpu_percent"),
    "cpu-period": _one("cpu_period"),
    "cpu-quota": _one("cpu_quota"),
    "cpu-rt-period": _one("cpu_rt_period"),
    "cpu-rt-runtime": _one("cpu_rt_runtime"),
    "cpu-shares": _one("cpu_shares"),
    "cpus": _one("cpus"),
    "cpuset-cpus": _one("cpuset"),
    "cpuset-mems": _one("cpuset"),
    "device": _list("devices"),
    "device-cgroup-rule": _list("device_cgroup_rules"),
    "device-read-bps": _rate("device_read_bps"),
    "device-read-iops": _rate("device_read_iops"),
    "device-write-bps": _rate("device_write_bps"),
    "device-write-iops": _rate("device_write_iops"),
    "dns": _list("dns"),
    "dns-opt": _list("dns_opt"),
    "dns-option": _list("dns_opt"),
    "dns-search": _list("dns_search"),
    "domainname": _one("domainname"),
    "entrypoint": Option(_entrypoint),
    "env": Option(_environment),
    "env-file": _list("env_file"),
    "env-host": _no("the host's variables stay outside: write those that are needed", takes_value=False),
    "env-merge": _no("a variable is set to a text: write it out"),
    "expose": _list("expose"),
    "gpus": _one("gpus"),
    "group-add": _list("group_add"),
    "hostname": _one("hostname"),
    "http-proxy": _nothing(),
    "init": _flag("init"),
    "interactive": _flag("stdin_open"),
    "ip": Option(lambda service, node, name: _address(service, node, name, "ipv4_address")),
    "ip6": Option(lambda service, node, name: _address(service, node, name, "ipv6_address")),
    "ipc": _one("ipc"),
    "isolation": _one("isolation"),
    "label": _list("labels"),
    "label-file": _list("label_file"),
    "link": _list("links"),
    "log-driver": _one("logging"),
    "log-opt": _one("logging"),
    "mac-address": _one("mac_address"),
    "memory": _one("mem_limit"),
    "memory-reservation": _one("mem_reservation"),
    "memory-swap": _one("memswap_limit"),
    "memory-swappiness": _one("mem_swappiness"),
    "mount": Option(_mount),
    "name": _one("container_name"),
    "network": Option(lambda service, node, _: networking.option(service, node)),
    "no-healthcheck": _nothing(),
    "no-hosts": _no("/etc/hosts is made for each session", takes_value=False),
    "oom-kill-disable": _flag("oom_kill_disable"),
    "oom-score-adj": _one("oom_score_adj"),
    "os": _one("platform"),
    "passwd": _nothing(),
    "pid": _one("pid"),
    "pids-limit": _one("pids_limit"),
    "platform": _one("platform"),
    "privileged": _flag("privileged"),
    "publish": _list("ports"),
    "publish-all": _no("each port that is published is written: see ports", takes_value=False),
    "pull": _one("pull_policy"),
    "read-only": Option(_read_only, takes_value=False),
    "read-only-tmpfs": _nothing(),
    "restart": _one("restart"),
    "rootfs": _flag("x-rootfs"),
    "runtime": _one("runtime"),
    "secret": Option(lambda service, node, _: service.add("secrets", _before_comma(node))),
    "security-opt": _list("security_opt"),
    "shm-size": _one("shm_size"),
    "stop-signal": _one("stop_signal"),
    "stop-timeout": Option(_seconds),
    "storage-opt": Option(_storage),
    "sysctl": _list("sysctls"),
    "systemd": _one(system.OPTION),
    "timeout": _direct("sessions.max_duration", "s"),
    "tmpfs": _list("tmpfs"),
    "tty": _flag("tty"),
    "tz": Option(lambda service, node, _: service.put("environment", "TZ", node)),
    "ulimit": Option(_ulimit),
    "umask": _no("a session has the umask of its login: write access.sftp.umask for uploads"),
    "unsetenv": _no("variables of an image are not the session's: there is nothing to take away"),
    "unsetenv-all": _nothing(),
    "use-api-socket": _flag("use_api_socket"),
    "user": _one("user"),
    "userns": _one("userns_mode"),
    "uts": _one("uts"),
    "variant": _one("platform"),
    "volume": _list("volumes"),
    "volumes-from": _list("volumes_from"),
    "workdir": _one("working_dir"),
}  # fmt: skip
"""Long option without its dashes -> what becomes of it."""

ALIASES = {"net": "network", "cgroup-ns": "cgroupns", "dns-opts": "dns-opt", "label-add": "label"}
SHORT = {
    "a": "attach", "c": "cpu-shares", "d": "detach", "e": "env", "h": "hostname", "i": "interactive",
    "l": "label", "m": "memory", "p": "publish", "P": "publish-all", "q": "quiet", "t": "tty", "u": "user",
    "v": "volume", "w": "workdir",
}  # fmt: skip
"""Short option -> the long one."""


def _address(service: Service, node: Text, name: str, field: str) -> None:
    """Give the one network that was named an address; without one there is none to have it."""
    networks = service.root.get("networks")
    if not isinstance(networks, Map) or len(networks.pairs) != 1:
        service.notes.leave(node, name, "an address belongs to a network of the host: see networks")
        return
    key, value = networks.pairs[0]
    fields = value if isinstance(value, Map) else map_at(node)
    fields.pairs.append((text_at(node, field), node))
    networks.pairs[0] = (key, fields)
