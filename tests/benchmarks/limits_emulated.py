"""What the limits of a session add to a login, in an emulated machine with systemd and control groups.

The emulator is some twenty times slower than the machine, so what counts is the ratio: the same login without
limits is timed on the machine itself, before, and says which ratio 3 ms would be there.
"""

from __future__ import annotations

import json
import shlex
import statistics

from support import emulated, limited
from support.users import SHELL, User

from benchmarks.clock import as_user, interleaved
from benchmarks.emulated_host import installed
from benchmarks.table import Row, Section

_ALLOWED_MS = 3.0
_HERE = "a login without limits of its own, not emulated"
_SOME = "mem_limit: 352m\npids_limit: 100\n"
_POLICIES = {
    "without": "",
    "some": _SOME,
    "all": f"""{_SOME}cpus: 1.5
cpu_shares: 512
blkio_config: {{device_write_bps: [{{path: /home, rate: 20m}}]}}
""",
}
"""What is added to the plain policy of the user of that name."""
_TITLES = {
    "without": "a login without limits of its own",
    "some": "with mem_limit and pids_limit",
    "all": "with limits of processors and devices, too",
}
_USER = """
useradd --create-home --shell /bin/bash --password '*' {name}
printf '%s' {policy} >/etc/ssh2container/users/{name}.yaml
ssh2containerctl enable {name}
loginctl enable-linger {name}
"""
_TIMED = """
import glob, json, pwd, subprocess, sys, time
rounds, *names = sys.argv[1:]
took = {name: [] for name in names}
for number in range(int(rounds) + 1):
    for name in names:
        entry = pwd.getpwnam(name)
        as_user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": (), "cwd": entry.pw_dir}
        as_user["env"] = {"USER": name, "LOGNAME": name, "HOME": entry.pw_dir, "PATH": "/usr/bin:/bin"}
        as_user["stdin"] = subprocess.DEVNULL
        began = time.monotonic()
        subprocess.run(["/usr/bin/ssh2container", "-c", "true"], check=True, **as_user)
        if number:  # the first of each fills caches
            took[name].append((time.monotonic() - began) * 1e3)
        while glob.glob("/sys/fs/cgroup/user.slice/*/*/*/ssh2container-*.scope"):
            time.sleep(0.1)
        time.sleep(0.2)
print(json.dumps(took))
"""
"""What the manager does with a scope whose session is over is not part of the next login."""


def measure(user: User, rounds: int) -> Section:
    """Time logins of three users in turns, ``rounds`` of each; ``user`` is one of this machine's."""
    title = "limits of a session: an emulated machine with systemd"
    if why := emulated.missing():
        return Section(title, "", [], {"all": why})
    commands = {_HERE: [SHELL, "-c", "true"]}
    here = as_user(user, lambda: interleaved(commands, 3 * rounds, user.environment()))[_HERE]
    bar = f"<= {1 + _ALLOWED_MS / statistics.median(here):.2f}"
    with installed() as system, limited.patient(system):
        for name, policy in _POLICIES.items():
            words = shlex.quote(f"image: host\n{policy}")
            system.run(_USER.format(name=name, policy=words)).ok()
        script = f"python3 -c {shlex.quote(_TIMED)} {rounds} {' '.join(_POLICIES)}"
        samples: dict[str, list[float]] = json.loads(system.says(script))
    without, *others = [Row(_TITLES[name], "ms", taken) for name, taken in samples.items()]
    for row in others:
        row.ratio = row.median / without.median
        row.against, row.bar = without.name, bar
    note = f"wall time of ssh2container -c true without sshd, in turns; the bar is {_ALLOWED_MS:.0f} ms here"
    return Section(title, note, [Row(_HERE, "ms", here), without, *others])
