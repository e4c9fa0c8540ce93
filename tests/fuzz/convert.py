"""The target ``convert``: Compose files, Quadlet units, files of variables, and calls of podman.

Mutates examples until the time is over, or something other than the documented error is raised, or a
policy comes out that is not valid or that a line of the input has written a key of; then the input is kept
in a file and its seed printed. ``--seed`` repeats a run.
"""

from __future__ import annotations

import os
import random
import shlex
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from fuzz.policy import main, mutate, say
from support.policies import policy

from ssh2container.admin.convert import command_line, convert
from ssh2container.admin.policy.yaml.problems import PolicyError
from ssh2container.policy import store

PLACES = store.Places("/nonexistent/etc", "/nonexistent/share", "/nonexistent/compiled", anchor="")
COMPOSE = b"""\
name: demo
x-base: &base {image: "debian:${TAG:-12}", environment: &env {A: "1", B: }, restart: always}
services:
  one:
    <<: *base
    environment: {<<: *env, C: "${HOME:?no home}", D: "$$x"}
    ports: ["80:80", "127.0.0.1:53:53/udp", {target: 5, published: "6"}, "3000"]
    volumes: [./a:/a, named:/b:ro, /c, {type: bind, source: /etc, target: /e, read_only: true}]
    tmpfs: [/t:size=8m, /u]
    command: sh -c "echo %u"
    mem_limit: 64m
    deploy: {resources: {limits: {cpus: "1.5", pids: 100}}}
    ulimits: {nofile: {soft: 1, hard: 2}}
    networks: {lan: {ipv4_address: 10.0.0.1/24}}
    secrets: [s]
    env_file: .env
    user: "0:0"
    cap_drop: [ALL]
  two: {extends: one, entrypoint: [/bin/sh], network_mode: host, cpus: 0.5}
networks: {lan: {external: true, name: br0}}
volumes: {named: {driver_opts: {o: bind, device: /srv/x}}}
secrets: {s: {file: ./s}}
"""
UNIT = b"""\
# a box
[Unit]
After=x.service
[Container]
Image=debian:12
Volume=%h/a:/a:Z
Volume=
Environment=A=1 "B=two words" C=%n
Exec=menu \\
  --title "x y" \\x41
PublishPort=8080:80
Network=lan:ip=10.0.0.2
PodmanArgs=--cpus 2 -v /b:/b
Mount=type=bind,src=/etc,dst=/e,ro
Ulimit=nofile=1:2
User=0
[Service]
MemoryMax=1G
CPUQuota=150%
TimeoutStopSec=1min 30s
"""
CALL = (
    b"podman run --rm -it -v /a:/b:ro -p 80:80 -eA=1 --memory 64m --network lan:ip=10.0.0.1"
    b" debian:12 sh -c 'x y'"
)
VARIABLES = b"TAG=12\nA='x y' # said\nexport B=\"$TAG\\n\"\nHOME\n"
SEEDS = {"compose.yaml": COMPOSE, "box@x.container": UNIT, ".env": VARIABLES, "call": CALL}


def check(name: str, data: bytes, directory: str) -> bool:
    """Whatever ``data`` is, the documented error is raised or a valid policy made; tell which."""
    words = [f"{directory}/{'compose.yaml' if name == '.env' else name}"]
    if name == "call":
        try:
            words = shlex.split(data.decode(errors="replace"))
        except ValueError:
            return False
        if not command_line.is_one(words):
            return False
    else:
        with open(f"{directory}/{name}", "wb") as file:
            file.write(data)
    try:
        made = convert.checked(words, {"HOME": "/home/x", "TAG": "13"}, "", PLACES)
    except PolicyError as error:
        for problem in error.problems:
            assert str(problem).isprintable()
            assert not problem.file.endswith("one.yaml"), problem
        return False
    for one in made:
        assert policy(one.text)
        for note in (*one.left_out, *one.differs):
            assert note.why
            assert note.line >= 1
    return True


def run(
    seed: int, seconds: float, most: int | None = None, *, keep: str = "/tmp", verbose: bool = False
) -> tuple[int, int]:
    """Fuzz until the time or the number of inputs is over; return how many there were, and converted ones."""
    chance = random.Random(seed)
    started = told = time.monotonic()
    count = valid = 0
    with tempfile.TemporaryDirectory() as directory:
        while (most is None or count < most) and time.monotonic() - started < seconds:
            for other in ("compose.yaml", ".env"):
                with open(f"{directory}/{other}", "wb") as file:
                    file.write(SEEDS[other])
            name = chance.choice(list(SEEDS))
            data = mutate(chance, [SEEDS[name]])
            try:
                valid += check(name, data, directory)
            except Exception:  # noqa: BLE001 - whatever it is, its input is what we are here for
                traceback.print_exc()
                path = f"{keep}/convert-fuzz-{seed}-{count}"
                with open(path, "wb") as file:
                    file.write(data)
                raise AssertionError(
                    f"seed {seed}, input {count} ({name}), kept in {path}: {data!r}"
                ) from None
            count += 1
            if verbose and time.monotonic() - told > 60:
                told = time.monotonic()
                say(f"{count} inputs, {valid} valid, {count / (told - started):.0f} per second")
    return count, valid


if __name__ == "__main__":
    main(run, "what convert reads", "files")
