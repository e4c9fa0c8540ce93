"""The planner touches nothing, and nothing is imported once the host's files are out of sight."""

from __future__ import annotations

import re

from support.host import run
from support.login import finish, inside, start
from support.tracing import traced
from support.users import SHELL, MakeUser, User

PLAN_UNDER_A_HOOK = """
import os, sys
sys.path.insert(0, os.path.realpath("/usr/lib/ssh2container/current"))
from ssh2container.plan.account import Account
from ssh2container.plan.host import Host, specifier_values
from ssh2container.plan.make import make
from ssh2container.plan.request import Request
from ssh2container.policy import store
account = Account.current(os.environb)
policy = store.load(account.name, account.groups).expanded(specifier_values(account, "0123456789"))
environment = dict(os.environb)
host = Host.observe(policy, account, "0123456789")
seen = []
sys.addaudithook(lambda event, arguments: seen.append((event, str(arguments)[:80])) if on else None)
on = True
for arguments in ([], [b"-c", b"id"], [b"-c", b"/usr/lib/openssh/sftp-server"]):
    request = Request.parse(arguments, environment)
    plan = make(request, account, policy, host, environment)
    for operation in plan.operations():
        operation.describe()
        operation.calls
    plan.payload.program.describe()
on = False
for event in seen:
    print(*event)
print(len(plan.operations()) > 20)
"""


def test_request_and_plan_cause_no_audit_event(user: User) -> None:
    """No open, exec, socket, import or ctypes call: whatever they need was observed before."""
    interpreter = ["/usr/bin/python3", "-ISB", "-c", PLAN_UNDER_A_HOOK]
    done = finish(start(user, before=interpreter)).ok()
    assert done.text == "True\n"


def test_nothing_is_imported_or_read_from_our_code_after_the_pivot(user: User) -> None:
    """An import would then read the image's files: code that the image's maker, or the user, wrote."""
    done, log = traced(user, "true", ("%file", "clone", "fork", "vfork"))
    done.ok()
    lines = log.splitlines()
    (pivot,) = (number for number, line in enumerate(lines) if " pivot_root(" in line)
    monitor = lines[0].split()[0]
    not_ours = {monitor}
    opened = []
    for line in lines[pivot + 1 :]:
        pid, call = line.split(None, 1)
        if call.startswith("execve("):
            not_ours.add(pid)
        elif pid not in not_ours and re.match(r"(open|openat|openat2|stat|newfstatat|readlink)\(", call):
            opened.append(call)
    assert opened
    assert not [call for call in opened if re.search(r"\.pyc?\"|\.so|/python3|/lib/ssh2container/", call)]


def test_compiled_and_uncompiled_policies_give_the_same_session(make_user: MakeUser) -> None:
    guest = make_user("image: host\nhostname: same-%u\nenvironment: {A: b}\n")
    slow = inside(guest, "uname -n; echo $A; id; ulimit -a; cat /etc/passwd; ls -A ~ /").ok()
    run(["ssh2containerctl", "compile"]).ok()
    assert inside(guest, "uname -n; echo $A; id; ulimit -a; cat /etc/passwd; ls -A ~ /").ok().out == slow.out


def test_a_compiled_login_reads_no_yaml(make_user: MakeUser) -> None:
    """Counted, not timed: neither the YAML library nor the admin's code is opened."""
    guest = make_user("image: host\n")
    run(["ssh2containerctl", "compile"]).ok()
    done, text = traced(guest, "true", ("openat", "execve", "execveat"))
    done.ok()
    assert "/yaml/" not in text
    assert "/admin/" not in text
    assert guest.policy_file not in text
    # pid 1 is executed by descriptor: no path stands there.
    programs = re.findall(r'execve(?:at)?\((?:\d+, )?"([^"]*)"', text)
    assert programs[0] == SHELL
    with open(SHELL, "rb") as file:
        launched = file.read(4) == b"\x7fELF"
    assert len(programs) == (4 if launched else 3), "launcher, interpreter with the script, pid 1, true"
