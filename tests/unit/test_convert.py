"""``ssh2containerctl convert``: Compose files, Quadlet units and calls of podman as policies."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from support.policies import Tree, policy

from ssh2container.admin.cli.main import command
from ssh2container.admin.convert import convert
from ssh2container.admin.convert.options import OPTIONS
from ssh2container.admin.policy.schema.compose import SERVICE
from ssh2container.admin.policy.yaml.problems import PolicyError
from ssh2container.policy import store

if TYPE_CHECKING:
    from pathlib import Path

    from ssh2container.admin.convert.convert import Converted
    from ssh2container.policy.policy import Policy

Write = Callable[..., str]
IMAGE = "services:\n  one:\n    image: debian:12\n"
PLACES = store.Places("/nonexistent/etc", "/nonexistent/share", "/nonexistent/compiled", anchor="")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def made(text: str, name: str = "compose.yaml") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return os.fspath(path)

    return made


def service(write: Write, keys: str, below: str = "", **environment: str) -> Converted:
    """Convert one service with these keys, and what follows the services."""
    lines = "".join(f"    {line}\n" for line in keys.split("\n"))
    (made,) = convert.checked((write(IMAGE + lines + below),), environment, "", PLACES)
    return made


def call(*words: str, **environment: str) -> Converted:
    (made,) = convert.checked(words, environment, "", PLACES)
    return made


def meant(made: Converted) -> Policy:
    return policy(made.text)


def left(made: Converted) -> dict[str, str]:
    return {note.key: note.why for note in made.left_out}


def refused(write: Write, text: str, **environment: str) -> str:
    with pytest.raises(PolicyError) as caught:
        convert.convert((write(text),), environment)
    return str(caught.value)


def test_a_service_becomes_a_policy(write: Write, tmp_path: Path) -> None:
    made = service(
        write,
        "hostname: box\nuser: root\ncommand: ['/usr/bin/menu', '--lab']\n"
        "volumes: [./data:/data, /etc/x:/x:ro]\n"
        "environment: {A: 1, B: yes please, C: true}\nports: ['8080:80', '127.0.0.1:53:53/udp']\n"
        "mem_limit: 1g\ncpus: '1.5'\npids_limit: 100\nulimits: {nofile: {soft: 100, hard: 200}, nproc: 50}\n"
        "tmpfs: /scratch:size=8m,mode=1777\nstop_grace_period: 1m30s",
    )
    found = meant(made)
    assert (found.image, found.hostname, found.user) == ("debian:12", "box", "root")
    assert found.access.interactive == ("/usr/bin/menu", "--lab")
    volumes = [(one.source, one.target, one.read_only) for one in found.volumes]
    assert volumes == [(f"{tmp_path}/data", "/data", False), ("/etc/x", "/x", True)]
    assert dict(found.environment) == {"A": "1", "B": "yes please", "C": "true"}
    assert [port.key for port in found.ports] == ["ports.0.0.0.0:8080/tcp", "ports.127.0.0.1:53/udp"]
    assert found.values["mem_limit"] == 1 << 30
    assert (found.values["cpus"], found.values["pids_limit"]) == (1.5, 100)
    assert dict(found.ulimits) == {"nofile": (100, 200), "nproc": (50, 50)}
    assert [(one.target, one.size) for one in found.tmpfs] == [("/scratch", 8 << 20)]
    assert found.values["stop_grace_period"] == 90
    assert found.network_mode == "private"
    assert left(made) == {}
    assert "sudo ssh2containerctl image import debian:12 docker://debian:12" in made.prepare
    assert f"sudo mkdir -p {tmp_path}/data" in made.prepare


@pytest.mark.parametrize("key", sorted(set(SERVICE) - {"extends", "image"}))
def test_every_key_of_compose_is_converted_or_answered(write: Write, key: str) -> None:
    """Whatever the key, the policy is valid; what is not in it is said, with a place and a reason."""
    value = {"build": ".", "env_file": "none.env", "deploy": "{replicas: 2}"}.get(key, "[something]")
    made = service(write, f"{key}: {value}")
    assert policy(made.text)
    said = [note for note in (*made.left_out, *made.differs) if note.key.split(":")[0].split(".")[0] == key]
    if key in ("build", "tty", "stdin_open"):
        return
    assert said or f"{key}:" in made.text or "network_mode: private" in made.text or key == "cap_drop"
    assert all(note.line == 4 and note.why for note in said)


def test_what_is_always_so_is_not_said_to_be_left_out(write: Write) -> None:
    made = service(write, "init: true\ncap_drop: [ALL]\nprivileged: false\ntty: true\nread_only: false\n"
                          "security_opt: ['no-new-privileges:true']\nx-ours: {a: b}")  # fmt: skip
    assert left(made) == {}


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ("privileged: true", "privileged"),
        ("volumes: ['/var/run/docker.sock:/s']", "volumes: /var/run/docker.sock:/s"),
        ("userns_mode: host", "userns_mode: host"),
        ("pid: host", "pid"),
        ("ipc: host", "ipc"),
        ("security_opt: ['seccomp:unconfined']", "security_opt: seccomp:unconfined"),
        ("network_mode: 'container:db'", "network_mode: container:db"),
    ],
)
def test_what_would_open_the_host_is_left_out_with_the_reason(write: Write, keys: str, name: str) -> None:
    made = service(write, keys)
    assert len(left(made)[name]) > 20
    assert "docker.sock" not in "".join(line for line in made.text.split("\n") if not line.startswith("#"))


def test_variables_their_defaults_and_files(write: Write) -> None:
    write("TAG=12\nQUOTED='a b' # said\nexport NESTED=\"x$TAG\"\n", ".env")
    path = write(
        "services:\n  one:\n    image: debian:${TAG:-9}\n    hostname: ${HOST:-box-${TAG}}\n"
        "    environment: ['A=${QUOTED}', 'B=$$HOME', 'C=${NO:+x}', 'D=${NESTED}', E]\n"
    )
    (made,) = convert.checked((path,), {"E": "from here", "TAG": "13"}, "", PLACES)
    found = meant(made)
    assert (found.image, found.hostname) == ("debian:13", "box-13")
    assert dict(found.environment) == {"A": "a b", "B": "$HOME", "C": "", "D": "x13", "E": "from here"}


def test_a_variable_without_a_value_is_said(write: Write) -> None:
    made = service(write, "hostname: box${WHAT}")
    assert [note.key for note in made.differs] == ["$WHAT"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("services: {a: {image: 'x:${A:?write it}'}}", "write it"),
        ("services: {a: {image: 'x:${A'}}", "${NAME:-DEFAULT}"),
        ("services: {a: {image: 'x:$1'}}", "$$ for a dollar sign"),
        ("services: {a: {image: [x]}}", "a list instead of an image"),
        ("services: {a: {hostname: x}}", "a has no image"),
        ("services: {a: [x]}", 'the service "a" is a list'),
        ("services: [a]", "a map of services"),
        ("services: {}", "there are no services"),
        ("services: {../../etc/x: {image: x}}", "letters, digits, _, . and -"),
        ("image: debian:12", "write the keys of a container below services:"),
        ("services: {a: {extends: b, image: x}}", 'there is no service "b"'),
        ("services: {a: {extends: {file: none.yaml, service: b}, image: x}}", "there is no such file"),
        ("services: {a: {image: x, extends: a}}", "extends itself"),
        ("include: [compose.yaml]\nservices: {a: {image: x}}", "include each other"),
        ("services: {a: {image: *nothing}}", 'the alias "*nothing"'),
        ("a: &a [*a]\nservices: {}", "it stands in what it names"),
        ("services: {a: {<<: [x], image: x}}", "a map, or a list of maps"),
        ("services: {a: {image: x, image: y}}", "a second time"),
        ("services: {a: {image: 'Not An Image'}}", "[REGISTRY/]NAME"),
        ("services: {a: {image: ../x}}", "[REGISTRY/]NAME"),
        ("services:\n  a: {image: x\n", "not YAML"),
    ],
)
def test_bad_compose_files_name_the_place_and_what_is_allowed(write: Write, text: str, says: str) -> None:
    said = refused(write, text)
    assert says in said
    assert re.search(r"(compose|none)\.yaml(:[0-9]+:[0-9]+)?: ", said)


def test_aliases_do_not_grow_without_end(write: Write) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "values" in refused(write, "\n".join([*lines, "services: {a: {image: x}}"]))


def test_anchors_and_merge_keys(write: Write) -> None:
    path = write(
        "x-base: &base\n  image: debian:12\n  environment: &env {A: '1', B: '2'}\n"
        "services:\n  one:\n    <<: *base\n    environment: {<<: *env, B: '3'}\n"
    )
    (made,) = convert.checked((path,), {}, "", PLACES)
    assert dict(meant(made).environment) == {"B": "3", "A": "1"}


def test_extends_and_include(write: Write, tmp_path: Path) -> None:
    write("services:\n  base:\n    image: debian:12\n    volumes: [./x:/x, ./y:/y]\n    environment: [A=1]\n"
          "    command: sleep 5\n", "other/compose.yaml")  # fmt: skip
    path = write(
        "include: [other/compose.yaml]\nservices:\n  one:\n"
        "    extends: {file: other/compose.yaml, service: base}\n"
        "    volumes: [./z:/y:ro]\n    environment: {B: '2'}\n    command: [menu]\n"
    )
    made = {one.name: one for one in convert.checked((path,), {}, "", PLACES)}
    assert set(made) == {"base", "one"}
    found = meant(made["one"])
    assert [(one.source, one.target) for one in found.volumes] == [
        (f"{tmp_path}/other/x", "/x"),
        (f"{tmp_path}/z", "/y"),
    ]
    assert dict(found.environment) == {"A": "1", "B": "2"}
    assert found.access.interactive == ("menu",)


def test_an_image_that_is_called_as_our_word_is_not_the_host(write: Write) -> None:
    path = write("services:\n  a: {image: host, user: self}\n")
    (made,) = convert.checked((path,), {}, "", PLACES)
    assert meant(made).image == "docker.io/library/host"
    assert "user: self" in left(made)


def test_devices_and_capabilities(write: Write) -> None:
    made = service(
        write,
        "user: root\ndevices: [/dev/dri/renderD128, '/dev/ttyUSB0:/dev/tty0:rwm']\n"
        "cap_add: [net_raw, SYS_ADMIN]\ngpus: all",
    )
    found = meant(made).values["devices"].values()
    assert ("/dev/dri/renderD128", "/dev/dri/renderD128", "rw") in found
    assert ("/dev/ttyUSB0", "/dev/tty0", "rw") in found
    assert ("nvidia.com/gpu=all", "", "") in found
    assert "cap_add: SYS_ADMIN" in left(made)
    assert "NET_RAW" in made.text.partition("cap_add:")[2]
    assert any("/etc/cdi" in line for line in made.prepare)
    made = service(write, "devices: [{source: /dev/ttyACM0, permissions: rm}]")
    assert ("/dev/ttyACM0", "/dev/ttyACM0", "r") in meant(made).values["devices"].values()


def test_what_runs_when_a_container_has_started_is_a_hook(write: Write) -> None:
    made = service(
        write,
        "post_start: [{command: /bin/mkdir -p /tmp/work, environment: [A=1], user: root},"
        " {command: relative}]",
    )
    ((path, arguments, environment, *_),) = meant(made).values["hooks.startContainer"].values()
    assert (path, arguments, environment) == ("/bin/mkdir", ("/bin/mkdir", "-p", "/tmp/work"), ("A=1",))
    assert set(left(made)) == {"post_start: /bin/mkdir: user", "post_start: relative"}


def test_what_is_left_out_needs_no_preparation(write: Write) -> None:
    made = service(write, "volumes: ['/none/x:/etc/x', '/none/y:/y']")
    assert [line for line in made.prepare if "/none" in line] == ["sudo mkdir -p /none/y"]
    assert "volumes: /none/x:/etc/x" in left(made)


def test_named_volumes(write: Write) -> None:
    made = service(
        write,
        "volumes: ['data:/data', 'bound:/bound', /anonymous, {type: tmpfs, target: /t, tmpfs: {size: 8m}}]",
        "volumes:\n  data:\n  bound: {driver_opts: {type: none, o: bind, device: /srv/bound}}\n",
    )
    assert [(one.source, one.target) for one in meant(made).volumes] == [("/srv/bound", "/bound")]
    assert [one.target for one in meant(made).tmpfs] == ["/t"]
    assert "/srv/data:/data:rw" in left(made)["volumes: data:/data"]


def test_a_percent_sign_of_compose_is_no_specifier(write: Write) -> None:
    found = meant(service(write, "volumes: ['/srv/50%u:/x']\ncommand: [echo, '%h']\nhostname: a"))
    assert found.volumes[0].source == "/srv/50%%u"
    assert found.access.interactive == ("echo", "%%h")


def test_files_of_variables_and_secrets(write: Write, tmp_path: Path) -> None:
    write("A=1\nB=2\n", "a.env")
    write("x", "secret.txt")
    made = service(
        write,
        "env_file: [a.env, {path: gone.env, required: false}, missing.env]\n"
        "environment: {B: '3'}\nsecrets: [one, two]",
        "secrets:\n  one: {file: ./secret.txt}\n  two: {external: true}\n",
    )
    assert dict(meant(made).environment) == {"A": "1", "B": "3"}
    assert [(one.source, one.target) for one in meant(made).volumes] == [
        (f"{tmp_path}/secret.txt", "/run/secrets/one")
    ]
    assert set(left(made)) == {"env_file: missing.env", "secrets: two"}
    assert any("can read" in note.why for note in made.differs)


@pytest.mark.parametrize(
    ("keys", "below", "expected"),
    [
        ("network_mode: none", "", ("none", "internet", [])),
        ("network_mode: host", "", ("host", "internet", [])),
        ("network_mode: bridge", "", ("private", "internet", [])),
        ("networks: [back]", "networks: {back: {internal: true}}", ("private", "none", [])),
        ("networks: {lan: {ipv4_address: 10.0.0.7/24}}", "networks: {lan: {external: true, name: br0}}",
         ("none", "internet", ["br0"])),
    ],
)  # fmt: skip
def test_networks(write: Write, keys: str, below: str, expected: tuple[object, ...]) -> None:
    found = meant(service(write, keys, below))
    assert (found.network_mode, found.egress, [one.name for one in found.networks]) == expected


def test_a_program_that_only_keeps_a_container_alive_is_no_program(write: Write) -> None:
    for idle in ("sleep infinity", "[tail, -f, /dev/null]"):
        made = service(write, f"command: {idle}")
        assert meant(made).access.interactive is True
        assert "command" in left(made)
    found = meant(service(write, "entrypoint: [/bin/zsh, -l]"))
    assert (found.access.interactive, found.shell) == (True, ("/bin/zsh",))


def test_a_limit_of_memory_is_kept_and_files_in_memory_made_to_fit(write: Write) -> None:
    made = service(write, "mem_limit: 128m")
    assert meant(made).values["mem_limit"] == 128 << 20
    assert meant(made).storage_opt.size < 128 << 20
    assert [note.key for note in made.differs] == ["mem_limit"]


def test_what_contradicts_is_left_out(write: Write) -> None:
    made = service(write, "network_mode: host\nports: ['80:80']\nmem_limit: 1g\nmemswap_limit: 512m")
    assert set(left(made)) == {"ports: 80:80", "memswap_limit"}
    assert meant(made).network_mode == "host"


def test_nothing_in_a_file_leaves_its_comment(write: Write) -> None:
    """A comment is one line: what stands in a file cannot write keys of a policy."""
    made = service(
        write, 'cap_add: ["X\\nuser: root"]\n"weird\\nuser: root": 1\nvolumes: ["n\\nuser: root:/x"]'
    )
    assert meant(made).user == "self"
    assert all(line.startswith(("#", "image", "network_mode")) for line in made.text.rstrip().split("\n"))


QUADLET = """\
# Comment
[Unit]
Description=A box

[Container]
Image=debian:12
HostName=box-%u
Volume=/srv/data:/data:Z
Volume=%h/work:/work:ro
Environment=A=1 "B=two words" C=%p
Exec=menu \\
  ; a comment between continued lines
  --title "The menu"
PublishPort=8080:80
PodmanArgs=--cpus 2 --label x=y
User=root
AutoUpdate=registry
Wibble=1

[Service]
MemoryMax=1G
TasksMax=100
TimeoutStopSec=1min 30s
RuntimeMaxSec=2h
Restart=always

[Install]
WantedBy=default.target
"""


def test_a_quadlet_unit_with_its_drop_ins(write: Write) -> None:
    path = write(QUADLET, "box.container")
    write("[Container]\nVolume=\nVolume=/srv/other:/other\nEnvironment=A=2\n", "box.container.d/20-more.conf")
    write("[Container]\nHostName=never\n", "box.container.d/10-less.conf")
    write("[Container]\nHostName=last\n", "container.d/30-all.conf")
    write("no unit", "box.container.d/readme.txt")
    (made,) = convert.checked((path,), {}, "", PLACES)
    found = meant(made)
    assert (found.image, found.hostname, found.user) == ("debian:12", "last", "root")
    assert [(one.source, one.target, one.read_only) for one in found.volumes] == [
        ("/srv/other", "/other", False)
    ]
    assert dict(found.environment) == {"B": "two words", "C": "box", "A": "2"}
    assert found.access.interactive == ("menu", "--title", "The menu")
    assert found.values["mem_limit"] == 1 << 30
    assert (found.values["cpus"], found.values["pids_limit"]) == (2, 100)
    assert (found.values["stop_grace_period"], found.sessions.max_duration) == (90, 7200)
    assert {"Unit: Description", "AutoUpdate", "Wibble", "Service: Restart", "Install: WantedBy"} <= set(
        left(made)
    )


def test_ports_without_an_address_are_those_of_all(write: Write) -> None:
    made = service(write, "ports: [':8080:80', '81:81', '::82', '[::1]:83:83', {target: 84, published: 84}]")
    assert [port.key.removeprefix("ports.") for port in meant(made).ports] == [
        "0.0.0.0:8080/tcp", "0.0.0.0:81/tcp", "[::1]:83/tcp", "0.0.0.0:84/tcp",
    ]  # fmt: skip
    assert set(left(made)) == {"ports: ::82"}


def test_older_and_newer_keys_of_units(write: Write) -> None:
    unit = "[Container]\nImage=\"debian:12\"\nRemapUsers=auto\nVolatileTmp=true\nAppArmor=x\nHostName='box'\n"
    (made,) = convert.checked((write(unit, "box.container"),), {}, "", PLACES)
    assert (meant(made).image, meant(made).hostname) == ("debian:12", "box")
    assert set(left(made)) == {"RemapUsers", "VolatileTmp", "security_opt: apparmor=x"}


def test_specifiers_of_units(write: Write) -> None:
    unit = (
        "[Container]\nImage=debian:12\nVolume=%h/w:/w\nVolume=%t/x:/x\nLabel=%u\nHostName=%i\nTmpfs=/50%%\n"
    )
    (made,) = convert.checked((write(unit, "box@seven.container"),), {}, "", PLACES)
    found = meant(made)
    assert found.hostname == "seven"
    assert [one.source for one in found.volumes] == ["%h/w"]
    assert [one.target for one in found.tmpfs] == ["/50%%"]
    assert {"Volume", "Label"} <= set(left(made))
    (template,) = convert.checked((write(unit, "box@.container"),), {}, "", PLACES)
    assert "instance" in left(template)["HostName"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Image=x\n", "stands in no section"),
        ("[Container]\nwhat\n", "[SECTION], KEY=VALUE"),
        ("[Container]\nHostName=x\n", "Image= below [Container]"),
        ('[Container]\nImage=x\nEnvironment="A=1\n', "a quote is not closed"),
        ("[Container]\nImage=x\nReadOnly=maybe\n", "true | false"),
        ("[Container]\nImage=other.image\n", "other.image"),
        ("[Container]\nImage=x\nPodmanArgs=--wibble\n", "--wibble is not known"),
        ("[Container]\nImage=x\nPodmanArgs=stray\n", "is no option"),
    ],
)
def test_bad_units_name_the_place_and_what_is_allowed(write: Write, text: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        convert.convert((write(text, "box.container"),), {})
    assert says in str(caught.value)
    assert re.search(r"box\.container:[0-9]+:[0-9]+: ", str(caught.value))


def test_a_call_of_podman() -> None:
    made = call(
        "podman", "run", "--rm", "-it", "--name=x", "-v/srv/a:/b:ro", "-p", "127.0.0.1:8080:80", "-eA=1",
        "-e", "B", "--mount", "type=bind,src=/etc,dst=/e,readonly", "--memory", "1g", "--timeout", "60",
        "-h", "box",
        "--ulimit", "nofile=10:20", "--network", "pasta", "--tmpfs=/t:size=4m", "--stop-timeout", "5",
        "--entrypoint", "/bin/menu", "docker.io/library/debian:12", "--lab", B="from here",
    )  # fmt: skip
    found = meant(made)
    assert (found.image, found.hostname, found.network_mode) == (
        "docker.io/library/debian:12",
        "box",
        "private",
    )
    assert [(one.source, one.target, one.read_only) for one in found.volumes] == [
        ("/srv/a", "/b", True), ("/etc", "/e", True),
    ]  # fmt: skip
    assert dict(found.environment) == {"A": "1", "B": "from here"}
    assert found.access.interactive == ("/bin/menu", "--lab")
    assert found.sessions.max_duration == 60
    assert found.values["stop_grace_period"] == 5
    assert set(left(made)) == {"container_name"}


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - {"rootfs"}))
def test_every_option_is_converted_or_answered(name: str) -> None:
    value = ("something",) if OPTIONS[name].takes_value else ()
    assert policy(call("docker", "run", f"--{name}", *value, "debian:12").text)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("docker", "ps"), "docker run or docker create"),
        (("docker", "run"), "an image behind the options"),
        (("docker", "run", "--wibble", "x"), "the options of podman run and docker run"),
        (("docker", "run", "-Z", "x"), "-v"),
        (("docker", "run", "-v"), "-v VALUE"),
        (("docker", "run", "--volume"), "--volume=VALUE"),
        (("podman", "run", "--rootfs", "/srv/x"), "ssh2containerctl image import NAME /srv/x"),
    ],
)
def test_bad_calls_name_the_word_and_what_is_allowed(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        convert.convert(words, {})
    assert says in str(caught.value)


PRIVILEGED = """\
command: /sbin/init
privileged: true
tmpfs: [/run, /run/lock, /tmp, /scratch]
volumes: ['/sys/fs/cgroup:/sys/fs/cgroup:ro']"""
"""What is often written for a system in a container."""


@pytest.mark.parametrize(
    ("keys", "path", "left_out"),
    [
        ("command: /sbin/init", "/sbin/init", set()),
        ("entrypoint: [/lib/systemd/systemd]", "/lib/systemd/systemd", set()),
        ("command: [init, --unit=x.target]", "", {"command: --unit=x.target"}),
        ("stop_signal: SIGRTMIN+3", "", set()),
        (
            PRIVILEGED,
            "/sbin/init",
            {
                *("tmpfs: /run", "tmpfs: /run/lock", "tmpfs: /tmp"),
                *("privileged", "volumes: /sys/fs/cgroup:/sys/fs/cgroup"),
            },
        ),
    ],
)
def test_an_init_makes_a_whole_system(write: Write, keys: str, path: str, left_out: set[str]) -> None:
    made = service(write, keys)
    found = meant(made)
    assert (found.values["boot"], found.user, found.access.interactive) == (path or True, "root", True)
    assert set(left(made)) == left_out
    assert [one.target for one in found.tmpfs] == (["/scratch"] if "scratch" in keys else [])
    assert any("container_per: user" in note.why for note in made.differs)


@pytest.mark.parametrize(
    ("keys", "left_out"),
    [
        ("command: /sbin/init\nuser: postgres", "command"),
        ("stop_signal: SIGTERM", "stop_signal"),
        ("command: [menu, init]\nstop_signal: SIGRTMIN+3", "stop_signal"),
    ],
)
def test_what_is_no_system_is_left_out_as_one(write: Write, keys: str, left_out: str) -> None:
    made = service(write, keys)
    assert meant(made).values["boot"] is False
    assert left_out in left(made)


def test_what_an_engine_is_told_of_systemd() -> None:
    always = meant(call("podman", "run", "--systemd=always", "ubi9-init"))
    assert (always.values["boot"], always.user) == (True, "root")
    assert meant(call("podman", "run", "--systemd", "always", "x", "/entry")).values["boot"] == "/entry"
    assert meant(call("podman", "run", "--systemd=true", "x", "/sbin/init")).values["boot"] == "/sbin/init"
    assert meant(call("podman", "run", "--systemd=true", "x")).values["boot"] is False
    never = meant(call("podman", "run", "--systemd=false", "x", "/sbin/init"))
    assert (never.values["boot"], never.access.interactive) == (False, ("/sbin/init",))


def test_a_unit_with_an_init_makes_a_whole_system(write: Write) -> None:
    path = write("[Container]\nImage=x\nExec=/sbin/init\nPodmanArgs=--systemd=always\n", "box.container")
    (made,) = convert.checked((path,), {}, "", PLACES)
    assert meant(made).values["boot"] == "/sbin/init"


def test_a_port_that_is_roots_inside_is_said(write: Write) -> None:
    said = {note.key: note.why for note in service(write, "ports: ['8080:80', '9000:1024']").differs}
    assert "port 80 inside is root's" in said["ports: 8080:80"]
    assert "ports: 9000:1024" not in said
    assert not [note for note in service(write, "ports: ['8080:80']\nuser: root").differs if "80" in note.key]


def control(*arguments: str) -> Result:
    return CliRunner().invoke(command, ("convert", *arguments))


def test_the_verb_writes_files_and_says_the_rest(write: Write, tmp_path: Path) -> None:
    path = write("services:\n  a: {image: x, pid: host}\n  b: {image: y}\n")
    done = control(path)
    assert done.exit_code == 2
    assert "a, b" in done.output
    assert control(path, "--output", f"{tmp_path}/made").exit_code == 0
    assert sorted(os.listdir(tmp_path / "made")) == ["a.yaml", "b.yaml"]
    assert policy((tmp_path / "made/a.yaml").read_text()).image == "x"
    assert "is there already" in control(path, "--output", f"{tmp_path}/made").output
    one = control(path, "--service", "a", "--output", f"{tmp_path}/one.yaml")
    assert one.exit_code == 0
    assert "pid is left out" in one.output
    assert "# Left out:" in (tmp_path / "one.yaml").read_text()
    wrong = control(path, "--service", "c")
    assert wrong.exit_code == 1
    assert "allowed: a, b" in wrong.output
    assert control(f"{tmp_path}/none.yaml").exit_code == 1
    assert control(f"{tmp_path}/what.txt").exit_code == 1
    assert control(path, path).exit_code == 2
    assert control(os.fspath(tmp_path), "--service", "b").output.startswith("# Made by")
    unwritable = control(path, "--service", "a", "--output", "/proc/none/x.yaml")
    assert (unwritable.exit_code, "cannot write" in unwritable.output) == (1, True)


def test_the_verb_takes_a_call_as_it_is_typed(tmp_path: Path) -> None:
    """Options of the call are none of the verb's, with and without what separates them."""
    typed = ("podman", "run", "--rm", "-it", "--service", "x", "-v", "/etc:/e:ro", "debian:12")
    assert "the option --service is not known" in control(*typed).output
    known = (*typed[:4], *typed[6:])
    done = control("--json", *known)
    assert done.exit_code == 0, done.output
    assert control("--json", "--", *known).output == done.output
    (made,) = json.loads(done.output)["policies"]
    assert [one.source for one in policy(made["policy"]).volumes] == ["/etc"]
    here = tmp_path / "docker"
    here.mkdir()
    (here / "compose.yaml").write_text(IMAGE)
    assert control(os.fspath(here), "--service", "one").exit_code == 0


def test_the_verb_prints_json(write: Write) -> None:
    done = control("--json", write("services:\n  a: {image: x, pid: host}\n"))
    assert done.exit_code == 0, done.output
    (made,) = json.loads(done.output)["policies"]
    assert made["name"] == "a"
    assert policy(made["policy"]).image == "x"
    (note,) = made["left_out"]
    assert (note["line"], note["key"]) == (2, "pid")
    assert made["prepare"] == ["sudo ssh2containerctl image import x docker://x"]


def test_a_policy_that_was_made_is_one_that_check_takes(write: Write, tmp_path: Path) -> None:
    base = tmp_path / "tree"
    base.mkdir()
    made = Tree(os.fspath(base))
    made.write("config", "admit: listed")
    made.write("users/root", service(write, "user: root\nmem_limit: 512m\nports: ['80:80']").text)
    assert made.errors("root") == []


def test_services_are_completed(write: Write) -> None:
    complete = ShellComplete(command, {}, "ssh2containerctl", "_SSH2CONTAINERCTL_COMPLETE")
    path = write("services: {lab: {image: x}, web: {image: y}}")
    found = complete.get_completions(["convert", path, "--service"], "l")
    assert [item.value for item in found] == ["lab"]
    assert complete.get_completions(["convert", f"{path}.none", "--service"], "") == []
