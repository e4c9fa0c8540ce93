"""The attacks that a cgroup alone bounds, in an emulated machine with systemd: logins by ssh and PAM.

The limits are those of the attacker's user_limits and session; nobody else has any.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator

from support import attacks, emulated, limited
from support.attacks import Attack
from support.emulated import System
from support.host import until

from benchmarks.abuse import BAR, in_turns
from benchmarks.emulated_host import installed
from benchmarks.table import Row, Section

_NAMES = (
    "heap",
    "memfd",
    "shared_memory",
    "unix_sockets",
    "dentries",
    "spinners",
    "bomb",
    "terminal",
    "storm",
)
_CHOSEN = (
    *(one for one in (*attacks.ATTACKS, attacks.BOMB) if one.name in _NAMES),
    attacks.LOGINS,
)
_TURNS = 2
_READY_S = 120.0
_SSH = "ssh -i /root/.ssh/id -o StrictHostKeyChecking=no -o LogLevel=ERROR"
_READ = "</dev/null > >(exec 2>/dev/null; dd bs=200 count=1 >/root/attack.out; exec cat >/dev/null) 2>&1"
"""The first thing that is said is kept, the rest is read as fast as it comes."""
_POLICY = """\
image: host
home: {source: /srv/attacker}
mem_limit: 352m
pids_limit: 100
user_limits:
  mem_limit: 400m
  pids_limit: 150
  cpus: 0.5
  cpu_shares: 128
  blkio_config: {weight: 50, device_write_iops: [{path: /srv, rate: 20}]}
"""
_USERS = f"""
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id
mkdir -p /srv/attacker
for user in attacker other; do
    useradd --create-home --shell /bin/bash --password '*' $user
    mkdir -m 700 /home/$user/.ssh
    cp /root/.ssh/id.pub /home/$user/.ssh/authorized_keys
    chown -R $user: /home/$user/.ssh
done
chown attacker: /srv/attacker
cat >/etc/ssh2container/users/attacker.yaml <<'POLICY'
{_POLICY}POLICY
echo 'image: host' >/etc/ssh2container/users/other.yaml
ssh2containerctl enable attacker other
loginctl enable-linger attacker other
"""
"""Without linger, what a login takes would depend on how long ago the last one was."""
_STORM = """
import subprocess, time
running = []
print('{"taken": "logins"}', flush=True)
while True:
    running = [one for one in running if one.poll() is None]
    try:
        if len(running) < 100:
            null = subprocess.DEVNULL
            running.append(subprocess.Popen(
                ["/usr/bin/ssh2container", "-c", "true"], stdin=null, stdout=null, stderr=null
            ))
    except OSError:
        pass
    time.sleep(0.005)
"""
"""Up to 200 logins a second, as support.attacks.storm_of_logins."""
_TIMED = """
import json, subprocess, sys, time
took = []
for _ in range(int(sys.argv[1])):
    began = time.monotonic()
    subprocess.run([*sys.argv[2:], "other@localhost", "true"], check=True, stdin=subprocess.DEVNULL)
    took.append((time.monotonic() - began) * 1e3)
print(json.dumps(took))
"""


def measure(logins: int) -> Section:
    """Time logins of one user in an emulated machine beside the attacks of another.

    logins: per attack, before and during; the emulator is slow.
    """
    title = "abuse where limits bind: an emulated machine with systemd"
    if why := emulated.missing():
        return Section(title, "", [], {"all": why})
    rows: list[Row] = []
    with installed() as system, limited.patient(system):
        system.run(_USERS).ok()

        def login(count: int) -> list[float]:
            script = f"python3 -c {shlex.quote(_TIMED)} {count} {_SSH}"
            samples: list[float] = json.loads(system.says(script))
            return samples

        login(1)
        for attack in _CHOSEN:
            pair = in_turns(attack, lambda attack=attack: _under(system, attack), login, logins, _TURNS)  # type: ignore[misc]
            pair[1].bar = BAR
            rows += pair
        note = "wall time of ssh other@localhost true, all of it in the machine"
        return Section(title, note, rows)


@contextlib.contextmanager
def _under(system: System, attack: Attack) -> Iterator[None]:
    """An attack that goes on, each time it is killed, until the end of the block."""
    begin = _outside() if attack is attacks.LOGINS else _inside(attack)
    system.run(f": >/root/attack.out\n{begin}\necho $! >/root/attack.pid").ok()
    said = until(lambda: system.says("cat /root/attack.out"), f"{attack.name} has begun", _READY_S)
    assert any(word in said for word in ("taken", "killed")), said
    try:
        yield
    finally:
        system.run("kill -KILL $(cat /root/attack.pid); pkill -KILL -u attacker python3 || :")
        until(lambda: _left(system) == "0", "nothing of the attacker is left", _READY_S)


def _inside(attack: Attack) -> str:
    """A script that starts a login of the attacker which attacks until its client goes."""
    command = f"while :; do ({attacks.command(attack)}); echo killed; done"
    terminal = "-tt" if attack.terminal else ""
    return f"""
        cat >/root/attack <<'ATTACK'\n{command}\nATTACK
        setsid {_SSH} {terminal} attacker@localhost "$(cat /root/attack)" {_READ} &
    """


def _outside() -> str:
    """A script that starts logins of the attacker, from what PAM has put into the attacker's slice."""
    return f"""
        cat >/srv/logins.py <<'STORM'\n{_STORM}STORM
        setsid systemd-run --quiet --collect --pipe --wait \\
            su - attacker -s /bin/sh -c 'exec python3 /srv/logins.py' {_READ} &
    """


def _left(system: System) -> str:
    """How many sessions and scopes of the attacker there are, beside the service manager."""
    slice_of = "/sys/fs/cgroup/user.slice/user-$(id -u attacker).slice"
    return system.says(
        f"find {slice_of} -name 'ssh2container-*.scope' -o -name 'session-*.scope' 2>/dev/null | wc -l"
    )
