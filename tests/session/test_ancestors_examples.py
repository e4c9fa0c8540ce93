"""Each example of the ancestors in docs/ancestors.md, logged into; test_ancestors.py has their defects."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.enabling import enabling
from support.hooks import Hooks
from support.host import DEADLINE_SECONDS, run, until
from support.lan import Lan, lan
from support.ledger import Ledger
from support.login import finish, inside, live, login, start
from support.material import busybox_tree
from support.outward import tun
from support.users import MakeUser, User, Users

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONTROL = "/usr/bin/ssh2containerctl"
APPLETS = ("df", "hostname", "httpd", "ip", "mkdir", "nc", "touch", "kill")
TESTED = {
    "ssh2container in C: an image": "test_an_image_and_memory_for_each_login",
    "sh-nspawn: a system": "test_a_system_on_a_bridge",
    "basic container: a root": "test_root_inside_without_root_outside",
    "basic container: the disk": "test_the_disk_of_a_virtual_machine",
    "basic container: system calls": "test_system_calls_by_number",
    "paranoid: root inside": "test_a_published_port",
    "paranoid: the same": "test_without_a_network",
    "unshared-cli: a root": "test_a_program_from_a_directory_of_the_host",
    "unshared-cli: commands before": "test_commands_before_and_after",
    "unshared-cli: a network": "test_a_server_with_a_network_of_its_own",
}
"""How the comment of an example begins -> the test that logs into it."""


def examples() -> dict[str, str]:
    """Comment -> policy, of each example."""
    with open(f"{ROOT}/docs/ancestors.md", encoding="utf-8") as file:
        blocks = re.findall(r"^```yaml\n# (.*)\n((?:.*\n)*?)```$", file.read(), re.MULTILINE)
    return dict(blocks)


def example(test: str) -> str:
    (start_,) = (begins for begins, name in TESTED.items() if name == test)
    (found,) = (text for comment, text in examples().items() if comment.startswith(start_))
    return found


def test_each_example_has_its_test() -> None:
    found = examples()
    assert len(found) == len(TESTED)
    assert {name for name in TESTED.values() if callable(globals().get(name))} == set(TESTED.values())
    assert all(any(comment.startswith(begins) for comment in found) for begins in TESTED)
    with open(f"{ROOT}/docs/ancestors.md", encoding="utf-8") as file:
        headings = re.findall(r"^## (.+)$", file.read(), re.MULTILINE)
    assert len(headings) == 5


def tree(path: str) -> str:
    """Make a root that is as small as those of the ancestors' examples."""
    made = busybox_tree(path)
    for applet in APPLETS:
        os.symlink("busybox", f"{made}/bin/{applet}")
    os.makedirs(f"{made}/var")
    with open(f"{made}/bin/bash", "w", encoding="ascii") as file:
        file.write('#!/bin/sh\nexec sh "$@"\n')
    os.chmod(f"{made}/bin/bash", 0o755)
    return made


@pytest.fixture(scope="module")
def image(module_directory: Callable[[str], Path]) -> Iterator[str]:
    name = "ancestor-" + secrets.token_hex(3)
    run([CONTROL, "image", "import", name, tree(str(module_directory("root") / "tree"))]).ok()
    yield name
    run([CONTROL, "image", "rm", "--force", name]).ok()


@pytest.fixture
def contained(make_user: MakeUser) -> Iterator[Callable[[str], User]]:
    """Users with this policy, by ``enable`` and nothing else."""
    with enabling() as enable:
        yield lambda policy: enable(make_user(policy))


@pytest.fixture
def place(ledger: Ledger) -> Iterator[str]:
    """A directory of the host below /srv, for volumes."""
    path = f"/srv/s2c-ancestor-{secrets.token_hex(3)}"
    ledger.note_path(path)
    os.mkdir(path)
    yield path
    run(["rm", "-rf", path]).ok()


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan(network=7) as made:
        yield made


def fitted(text: str, **instead: str) -> str:
    """The policy of an example with what this machine has in the place of what it names."""
    for old, new in instead.items():
        shown = {"image": r"(?<=^image: ).*$"}.get(old, re.escape(old))
        text, count = re.subn(shown, new, text, flags=re.MULTILINE)
        assert count, f"the example has no {old}"
    return text


def test_an_image_and_memory_for_each_login(image: str, contained: Callable[[str], User], place: str) -> None:
    text = example("test_an_image_and_memory_for_each_login").replace("/srv/homes", place)
    run([CONTROL, "image", "edit", image, "--as", f"{image}-more", "--no-network", "--yes", "--", "sh", "-c",
         "echo installed >/bin/more"]).ok()  # fmt: skip
    try:
        user = contained(fitted(text, image=f"{image}-more"))
        done = inside(
            user, "cat /bin/more; id -u; echo kept >~/kept; echo gone >/tmp/gone; df -k /tmp /dev/shm"
        )
        lines = done.ok().text.splitlines()
        assert lines[:2] == ["installed", str(user.uid)]
        sizes = [int(line.split()[1]) for line in lines[3:]]
        assert sizes == [16 * 1024, 150 * 1024]
        again = inside(user, "cat ~/kept; ls /tmp; exit 7")
        assert (again.status, again.text) == (7, "kept\n")
        run([CONTROL, "disable", user.name]).ok()
    finally:
        run([CONTROL, "image", "rm", "--force", f"{image}-more"]).ok()


def test_a_system_on_a_bridge(image: str, contained: Callable[[str], User], net: Lan) -> None:
    text = example("test_a_system_on_a_bridge")
    for old, new in (("mybr0", net.bridge), ("172.34.44.2", net.address(2)), ("172.34.44.1", net.router)):
        text = text.replace(old, new)
    user = contained(fitted(text, image=image))
    done = inside(user, "id -u; ip -o -4 address show dev eth0; ip route").ok().text
    assert done.startswith("0\n")
    assert f"{net.address(2)}/24" in done
    assert f"default via {net.router} dev eth0" in done


def test_root_inside_without_root_outside(image: str, contained: Callable[[str], User]) -> None:
    user = contained(fitted(example("test_root_inside_without_root_outside"), image=image))
    with live(user) as session:
        assert session.ask("id -u; touch /bin/x && echo written").split() == ["0", "written"]
        for name in ("ipc", "net", "mnt", "pid", "uts", "cgroup", "user"):
            theirs = os.readlink(f"/proc/{session.payload().pid}/ns/{name}")
            assert theirs != os.readlink(f"/proc/self/ns/{name}")
        with open(f"/proc/{session.payload().pid}/status", encoding="utf-8") as file:
            outside = next(line for line in file if line.startswith("Uid:")).split()[1]
        assert int(outside) > 0
    assert inside(user, "ls /bin/x").status != 0, "it was discarded"


def test_the_disk_of_a_virtual_machine(contained: Callable[[str], User], place: str, tmp_path: Path) -> None:
    source = tree(str(tmp_path / "tree"))
    (Path(source) / "etc/machine").write_text("virtual\n", encoding="ascii")
    raw, disk = str(tmp_path / "raw"), str(tmp_path / "machine.qcow2")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", source, raw, "16M"], check=True)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, disk], check=True)
    name = "ancestor-disk-" + secrets.token_hex(3)
    run([CONTROL, "image", "import", name, disk]).ok()
    try:
        text = example("test_the_disk_of_a_virtual_machine").replace("/srv/shared", place)
        user = contained(fitted(text, image=name))
        os.chown(place, user.uid, user.gid)
        done = inside(user, "cat /etc/machine; id -u; echo shared >/home/file && cat /home/file")
        assert done.ok().text == "virtual\n0\nshared\n"
        assert Path(place, "file").read_text(encoding="ascii") == "shared\n"
        run([CONTROL, "disable", user.name]).ok()
    finally:
        run([CONTROL, "image", "rm", "--force", name]).ok()


def test_system_calls_by_number(image: str, make_user: MakeUser) -> None:
    """Those of the example are what a client of a network needs; on arm64 the numbers are of other calls."""
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers of the example are those of x86_64")
    user = make_user(fitted(example("test_system_calls_by_number"), image=image))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        session = start(user, "-c", f"nc 127.0.0.1 {port}")
        server.settimeout(DEADLINE_SECONDS)
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"from outside\n")
        assert finish(session).ok().text == "from outside\n"
    shown = run([CONTROL, "show", user.name]).ok().text
    assert all(f"- {number}" in shown.replace('"', "") for number in (49, 307, 48))


def test_a_published_port(image: str, contained: Callable[[str], User]) -> None:
    with tun():
        user = contained(fitted(example("test_a_published_port"), image=image))
        with live(user) as session:
            assert session.ask("id -u; hostname").split() == ["0", "box"]
            session.ask("mkdir /www; echo inside >/www/index.html; httpd -p 8080 -h /www")
            until(lambda: b"inside" in fetched(48085), "the server inside answers")
    with pytest.raises(ConnectionRefusedError):
        fetched(48085, patient=False)


def fetched(port: int, *, patient: bool = True) -> bytes:
    """What a server says on the loopback; nothing while it does not listen, if ``patient``."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as end:
            end.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: end.recv(4096), b""))
    except (ConnectionRefusedError, ConnectionResetError):
        if not patient:
            raise
        return b""


def test_without_a_network(image: str, contained: Callable[[str], User]) -> None:
    user = contained(fitted(example("test_without_a_network"), image=image))
    done = inside(user, "id -u; hostname; ip -o link").ok().text.splitlines()
    assert done[:2] == ["0", "box"]
    assert [line.split(":")[1].strip() for line in done[2:]] == ["lo"]
    assert "UP" in done[2]


def test_a_program_from_a_directory_of_the_host(image: str, make_user: MakeUser, place: str) -> None:
    os.mkdir(f"{place}/bin")
    program = Path(place, "bin/riak")
    program.write_text("#!/bin/sh\nhostname\necho $1 >/var/log\n", encoding="ascii")
    program.chmod(0o755)
    text = example("test_a_program_from_a_directory_of_the_host").replace("/var/data/riak-01", place)
    user = make_user(fitted(text, image=image))
    os.chown(place, user.uid, user.gid)
    assert login(user).ok().text == "riak-01\n"
    assert Path(place, "log").read_text(encoding="ascii") == "foreground\n"


def test_commands_before_and_after(image: str, make_user: MakeUser, users: Users, ledger: Ledger) -> None:
    user = make_user()
    made = Hooks(ledger, user)
    for name in ("before", "after"):
        made.program(name, f"echo {name} $S2C_USER $S2C_STATUS >>{made.notes}")
    text = example("test_commands_before_and_after").replace("/etc/ssh2container/hooks", made.directory)
    users.write_policy(user, fitted(text, image=image))
    try:
        assert inside(user, "exit 7").status == 7
        assert made.said().split("\n")[:2] == [f"before {user.name}", f"after {user.name} 7"]
    finally:
        made.remove()


def test_a_server_with_a_network_of_its_own(image: str, contained: Callable[[str], User], net: Lan) -> None:
    text = example("test_a_server_with_a_network_of_its_own")
    text = text.replace("mybr:", f"{net.bridge}:").replace("172.3.0.2", net.address(3))
    user = contained(fitted(text, image=image))
    session = start(user)
    say = f"import socket; socket.create_connection(('{net.address(3)}', 7666), 60).sendall(b'hello')"
    until(lambda: net.outside("python3", "-Ic", say).status == 0, "the server inside takes a connection")
    assert session.stdout is not None
    assert session.stdout.read(5) == b"hello"
    for stream in (session.stdin, session.stdout, session.stderr):
        if stream:
            stream.close()
    until(lambda: session.poll() is not None, "the session ends")
