"""What people do with a way out: git, pip and curl over a real ssh, and a server that the host sees."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import internet as of
from support.client import Client
from support.host import run, until
from support.internet import Internet, internet
from support.outward import on_the_host_of
from support.sshd import Server
from support.users import MakeUser

INDEX, GIT = 8000, 9418
POLICY = "image: host\nnetwork_mode: private\nstorage_opt: {size: 512m}\nports: ['48088:8080']\n"


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    with internet(str(tmp_path_factory.mktemp("internet"))) as made, on_the_host_of(made):
        yield made


@pytest.fixture
def client(net: Internet, make_sshd: Callable[..., Server], make_user: MakeUser) -> Client:  # noqa: ARG001
    """Somebody with a private network, by an sshd that has been started in the host's network."""
    return make_sshd().client(make_user(POLICY))


@pytest.fixture(scope="module")
def served(net: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory that the internet serves, by HTTP and by git's own protocol."""
    top = tmp_path_factory.mktemp("served")
    os.chmod(top, 0o755)
    there = [*net.prefix(net.internet)]
    web = [sys.executable, "-m", "http.server", "--directory", str(top), "--bind", "::", str(INDEX)]
    git = ["git", "daemon", "--export-all", f"--base-path={top}", f"--port={GIT}", "--reuseaddr", str(top)]
    running = [subprocess.Popen([*there, *words], stderr=subprocess.DEVNULL) for words in (web, git)]
    each = "socket.create_connection(('127.0.0.1', port)).close()"
    probe = f"import socket; [{each} for port in ({INDEX}, {GIT})]"
    until(lambda: run([*there, sys.executable, "-c", probe]).status == 0, "the servers answer")
    yield top
    for process in running:
        process.kill()
        process.wait()


def test_git_clones(client: Client, served: Path) -> None:
    work, bare = served / "work", served / "project.git"
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    run(["git", "init", "--quiet", "--initial-branch=main", str(work)]).ok()
    (work / "file").write_text("from afar\n")
    (work / "large").write_bytes(os.urandom(3 << 20))
    run(["git", "-C", str(work), "add", "."]).ok()
    run(["git", "-C", str(work), *identity, "commit", "--quiet", "-m", "one"]).ok()
    run(["git", "clone", "--quiet", "--bare", str(work), str(bare)]).ok()
    run(["git", "-C", str(bare), "update-server-info"]).ok()
    for url in (f"git://public.example:{GIT}/project.git", f"http://public.example:{INDEX}/project.git"):
        done = client.box(f"git clone --quiet {url} got && cat got/file && sha256sum <got/large")
        assert done.ok().text.splitlines() == [
            "from afar",
            hashlib.sha256((work / "large").read_bytes()).hexdigest() + "  -",
        ]


def test_pip_installs(client: Client, served: Path) -> None:
    wheel = served / "simple" / "parcel"
    wheel.mkdir(parents=True)
    info = "parcel-1.0.dist-info"
    with zipfile.ZipFile(wheel / "parcel-1.0-py3-none-any.whl", "w") as file:
        file.writestr("parcel.py", "CONTENT = 'installed'\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: parcel\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", f"parcel.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    index = f"http://public.example:{INDEX}/simple"
    # The one of the tests' own tools is pip as it comes from its makers.
    done = client.box("python3 -m pip --version || echo none")
    if done.text.strip() == "none":
        pytest.skip("python3-pip is not installed")
    script = (
        f"python3 -m pip install --quiet --target=lib --index-url {index}"
        " --trusted-host public.example parcel"
        " && PYTHONPATH=lib python3 -c 'import parcel; print(parcel.CONTENT)'"
    )
    assert client.box(script).ok().text.endswith("installed\n")


def test_curl_fetches_and_is_refused_at_once(client: Client, served: Path) -> None:
    content = os.urandom(20 << 20)
    (served / "blob").write_bytes(content)
    done = client.box(f"curl -sS http://public.example:{INDEX}/blob | sha256sum")
    assert done.ok().text.split()[0] == hashlib.sha256(content).hexdigest()
    refused = client.box(f"curl -sS http://{of.METADATA4}/")
    assert refused.status == 7
    assert "after" in refused.errors


def test_a_server_inside_is_seen_by_the_host(client: Client) -> None:
    script = "python3 -m http.server 8080 --directory /etc >/dev/null 2>&1 & echo started; exec cat"
    with subprocess.Popen(
        client.command("box", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout
        assert session.stdin
        assert session.stdout.readline() == "started\n"
        until(
            lambda: "hostname" in run(["curl", "-sS", "http://127.0.0.1:48088/"]).text,
            "the server inside answers",
        )
        session.stdin.close()
        until(lambda: session.poll() is not None, "the session ends")

    def is_closed() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", 48088)) != 0

    until(is_closed, "nobody listens any more")
