"""Every key of Compose's service specification: what becomes of it in a policy, and why.

The one home of it: the loader's messages, docs/compose.md and what converts Compose files are made from
this table. The names are those of the Compose Specification (05-services.md, schema/compose-spec.json).
"""

from __future__ import annotations

YES, OTHER, NO = "yes", "other", "no"


class ComposeKey:
    """What becomes of one key.

    answer: YES, a policy has the same key; OTHER, it has other words for what the key is used for; NO.
    why: of YES how ours differs, "" where it does not; else what to do or why not. A sentence without its
    capital and its stop.
    ours: keys of a policy to use in place of it, the most usual one first.
    accepted: values that a policy may say, because what they ask for is always so.
    """

    __slots__ = ("accepted", "answer", "ours", "why")

    def __init__(self, answer: str, why: str, *ours: str, accepted: tuple[object, ...] = ()) -> None:
        self.answer = answer
        self.why = why
        self.ours = ours
        self.accepted = accepted


def _yes(differs: str = "") -> ComposeKey:
    return ComposeKey(YES, differs)


def _other(why: str, *ours: str, accepted: tuple[object, ...] = ()) -> ComposeKey:
    return ComposeKey(OTHER, why, *ours, accepted=accepted)


def _no(why: str, *, accepted: tuple[object, ...] = ()) -> ComposeKey:
    return ComposeKey(NO, why, accepted=accepted)


_ONE_WAY_TO_CPUS = "use cpus, or cpu_shares for a share of busy processors"
_NO_WINDOWS = "it is for containers of Windows"
_NO_NEIGHBOURS = "a session has no neighbours; networks and ports say what it reaches and who reaches it"
_ONE_RESOLVER = "names are resolved as the host does it, on networks as dns of config.yaml's networks says"

SERVICE: dict[str, ComposeKey] = {
    "annotations": _other("use an x- key, which nothing reads"),
    "attach": _no("a session's output goes to its client alone"),
    "blkio_config": _yes("a device may be any path on it; weight_device is not possible"),
    "build": _other("import the image with ssh2containerctl image import or build, then use image", "image"),
    "cap_add": _yes("of those that are safe in a user namespace, for root in a range of ids alone"),
    "cap_drop": _no(
        "a session has no capabilities but those of cap_add", accepted=(("ALL",), ("all",), "ALL", "all")
    ),
    "cgroup": _no(
        "every session has a cgroup view of its own: the host's would show what else runs there",
        accepted=("private",),
    ),
    "cgroup_parent": _no(
        "sessions are counted in the user's own slice, whose limits user_limits sets: elsewhere they would"
        " escape them"
    ),
    "command": _other("use access.interactive for what runs at login", "access.interactive"),
    "configs": _other("use volumes, which are read-only unless they say otherwise", "volumes"),
    "container_name": _other("use hostname: each session is a container with an id of its own", "hostname"),
    "cpu_count": _other(_ONE_WAY_TO_CPUS, "cpus"),
    "cpu_percent": _other(_ONE_WAY_TO_CPUS, "cpus"),
    "cpu_period": _other("use cpus, which is cpu_quota divided by cpu_period", "cpus"),
    "cpu_quota": _other("use cpus, which is cpu_quota divided by cpu_period", "cpus"),
    "cpu_rt_period": _no("real-time scheduling could take a processor from everybody else"),
    "cpu_rt_runtime": _no("real-time scheduling could take a processor from everybody else"),
    "cpu_shares": _yes(),
    "cpus": _yes(),
    "cpuset": _other(
        "use cpus: the controller that pins processes to processors is not delegated to users", "cpus"
    ),
    "credential_spec": _no(_NO_WINDOWS),
    "depends_on": _no("a session has no services to wait for"),
    "deploy": _other(
        "use mem_limit, cpus and pids_limit in place of its resources", "mem_limit", "cpus", "pids_limit"
    ),
    "develop": _no("what sessions see of the host are volumes, and those are live"),
    "device_cgroup_rules": _other("use devices: a session has those alone that are named there", "devices"),
    "devices": _yes(
        "of the permissions, r and rw; a session may only be given what cannot lead it out of its container"
    ),
    "dns": _no(_ONE_RESOLVER),
    "dns_opt": _no(_ONE_RESOLVER),
    "dns_search": _no(_ONE_RESOLVER),
    "domainname": _other("use hostname, which may have dots", "hostname"),
    "entrypoint": _other(
        "use access.interactive for what runs at login, shell for the shells", "access.interactive", "shell"
    ),
    "env_file": _other(
        "use environment: one more file, read at each login, would be one more to keep safe", "environment"
    ),
    "environment": _yes("a variable without a value is the client's; text is taken as it stands"),
    "expose": _other("use ports: it is for neighbours, which a session does not have", "ports"),
    "extends": _yes("it names profiles, not services of files"),
    "external_links": _no(_NO_NEIGHBOURS),
    "extra_hosts": _no("/etc/hosts is made for each session; let the network's name server know them"),
    "gpus": _other(
        "use devices with a name of the Container Device Interface: nvidia.com/gpu=all", "devices"
    ),
    "group_add": _no(
        "the groups are the login's own on the host; those of an image cannot be joined from outside"
    ),
    "healthcheck": _no("a session ends with its payload, and its client sees how"),
    "hostname": _yes("specifiers such as %u are replaced"),
    "image": _yes("an image of ssh2containerctl image list, or host, the host's own /usr"),
    "init": _no("pid 1 of every session is an init of ours", accepted=("true",)),
    "ipc": _no(
        "every session has IPC of its own: the host's or a neighbour's would let it read and change their"
        " shared memory",
        accepted=("private",),
    ),
    "isolation": _no(_NO_WINDOWS, accepted=("default",)),
    "label_file": _other("use an x- key, which nothing reads"),
    "labels": _other("use an x- key, which nothing reads"),
    "links": _no(_NO_NEIGHBOURS),
    "logging": _other("use record for what is kept of a session; the system log has the rest", "record"),
    "mac_address": _other("use mac_address of an entry of networks", "networks"),
    "mem_limit": _yes("the files in memory count"),
    "mem_reservation": _other("use mem_limit: memory is limited, not reserved", "mem_limit"),
    "mem_swappiness": _other(
        "use memswap_limit: version 2 of cgroups has no swappiness of a group's own", "memswap_limit"
    ),
    "memswap_limit": _yes(),
    "models": _no("a session has no services beside it"),
    "network_mode": _yes(
        "one of none, host and private, which is Docker's bridge with rules; not another container's"
    ),
    "networks": _yes("each is a bridge or an interface of the host"),
    "oom_kill_disable": _other(
        "use mem_limit: who is out of memory and cannot be killed hangs", "mem_limit", accepted=("false",)
    ),
    "oom_score_adj": _other(
        "use mem_limit: a session must not be spared before the host's services", "mem_limit"
    ),
    "pid": _no(
        "every session has process ids of its own: among the host's it could signal and watch whatever else"
        " the user has running"
    ),
    "pids_limit": _yes(),
    "platform": _no("an image has the host's architecture"),
    "ports": _yes("they are published on 127.0.0.1 unless an address is written"),
    "post_start": _other(
        "use hooks.startContainer for what runs inside before the user's program does,"
        " hooks.createRuntime for what runs on the host",
        "hooks.startContainer",
        "hooks.createRuntime",
    ),
    "pre_stop": _other(
        "use hooks.poststop, which runs on the host when nothing of the container is left", "hooks.poststop"
    ),
    "privileged": _other(
        "use user: root, who is root inside only: a privileged container is the host's root with its devices",
        "user",
        accepted=("false",),
    ),
    "profiles": _other("use extends, which names what a policy starts from", "extends"),
    "provider": _no("a session has no services beside it"),
    "pull_policy": _other(
        "import the image with ssh2containerctl image import: no login fetches one",
        "image",
        accepted=("never",),
    ),
    "pull_refresh_after": _other("renew images with ssh2containerctl image update", "image"),
    "read_only": _other(
        "use read_only at home and volumes; what else can be written is in memory",
        "home.read_only",
        "volumes",
        accepted=("false",),
    ),
    "restart": _no("a session ends with its payload: its client logs in again", accepted=("no", "never")),
    "runtime": _no("ssh2container is the runtime"),
    "scale": _other("use sessions.max: there are as many containers as logins", "sessions.max"),
    "secrets": _other("use volumes: policies are readable by their users", "volumes"),
    "security_opt": _other(
        "use seccomp; no_new_privs is always set, and labels of SELinux and AppArmor are the host's matter",
        "seccomp.profile",
        accepted=(
            ("no-new-privileges",),
            ("no-new-privileges:true",),
            ("no-new-privileges=true",),
        ),
    ),
    "shm_size": _other("use storage_opt.size, which includes /dev/shm", "storage_opt.size"),
    "stdin_open": _no("whether there is input is the client's choice", accepted=("true", "false")),
    "stop_grace_period": _yes(),
    "stop_signal": _yes("it goes to the init of boot; any other session ends by HUP, then TERM"),
    "storage_opt": _yes("size, inodes and total, of what is written to memory"),
    "sysctls": _no(
        "kernel settings are read-only inside; those of the network are root's to prepare (networks)"
    ),
    "tmpfs": _yes("of the options, size and mode"),
    "tty": _no("whether there is a terminal is the client's choice (ssh -t)", accepted=("true", "false")),
    "ulimits": _yes(),
    "use_api_socket": _no(
        "who reaches the socket of a container engine is root on the host", accepted=("false",)
    ),
    "user": _yes("self, the login's own user, root inside, or a user of the image"),
    "userns_mode": _yes(
        "auto, single, range or own_range; host would need root outside, which nobody here is"
    ),
    "uts": _no("every session has a host name of its own: use hostname"),
    "volumes": _yes("bind mounts of absolute paths, read-only unless they say rw, whose source has to exist"),
    "volumes_from": _other("use volumes: a session has no neighbours whose volumes it could take", "volumes"),
    "working_dir": _no("a session starts in its home, or where an imported image says"),
}
"""Key of a service -> what becomes of it."""

TOP: dict[str, ComposeKey] = {
    "configs": SERVICE["configs"],
    "include": _other("use extends", "extends"),
    "models": SERVICE["models"],
    "name": _no("remove it; the file's name is the user's or group's"),
    "networks": SERVICE["networks"],
    "secrets": SERVICE["secrets"],
    "services": _no("a policy describes one container: write its keys at the top of the file"),
    "version": _no("remove it; the language has one version"),
    "volumes": SERVICE["volumes"],
}
"""Key at the top of a Compose file -> what becomes of it."""

ACCEPTED: dict[str, tuple[object, ...]] = {
    name: key.accepted for name, key in SERVICE.items() if key.accepted
}
"""Compose key -> the values that describe what is always so here."""
