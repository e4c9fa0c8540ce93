"""What counts as a process of a contained user that no container holds."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys

from support.host import until

from ssh2container.admin import account
from ssh2container.admin.doctor import outside

THREAD_ALONE = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def _has_no_program(pid: int) -> bool:
    try:
        os.readlink(f"/proc/{pid}/exe")
    except FileNotFoundError:
        return True
    return False


def test_what_has_ended_is_no_stranger_but_what_lost_its_first_thread_is() -> None:
    me = account.find(pwd.getpwuid(os.getuid()).pw_name)
    python = [sys.executable, "-ISc"]
    started = [
        subprocess.Popen([*python, "import time; time.sleep(600)"]),
        subprocess.Popen([*python, THREAD_ALONE]),
        subprocess.Popen([*python, ""]),
    ]
    running, threaded, ended = (process.pid for process in started)
    try:
        until(lambda: _has_no_program(threaded) and _has_no_program(ended), "both let go of their program")
        found = {one.pid for one in outside.strangers(me)}
        assert {running, threaded, ended} & found == {running, threaded}
    finally:
        for process in started:
            process.kill()
            process.wait()
