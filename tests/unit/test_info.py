"""The program behind ``ssh2container-info``, replaced by others: what becomes of one that hangs or fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from support.host import DEADLINE_SECONDS, children, until
from support.policies import policy

from ssh2container.errors import EXIT_NOT_FOUND, EXIT_OURS, EXIT_REFUSED, Refusal
from ssh2container.plan import forwarding
from ssh2container.plan.request import Request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ASKING = f"""
import sys
sys.path.insert(0, {ROOT!r})
from ssh2container.errors import SessionError
from ssh2container.kernel import signals
from ssh2container.run import info
signals.block()
info._PROGRAM, info.PATIENCE_S = sys.argv[1], float(sys.argv[2])
class Told:
    values, image, rule = {{"images": {{}}}}, "host", ""
    class access:
        login, times = True, None
class Asked:
    name, groups, command = "al", [], info.INFO
class Log:
    def write(self, event):
        assert event == "open"
try:
    print(info.tell(Asked, Told, Asked, Log()).status)
except SessionError as error:
    sys.stdout.flush()
    sys.stderr.write(str(error))
    sys.exit(error.status)
"""
ALONE = "import os; print(set(os.environ) - {'LC_CTYPE'}, sorted(os.listdir('/proc/self/fd')))"
HANGING = "import signal; print('half'); signal.pause()"


def start(program: str, patience_s: float = DEADLINE_SECONDS) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ASKING, program, str(patience_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("program", "status", "out", "err"),
    [
        ("import sys; print(*sys.argv[1:], sep='|')", 0, "al||\n0\n", ""),
        (ALONE, 0, "set() ['0', '1', '2', '3']\n0\n", ""),
        ("print('text', end='\\0because'); raise SystemExit(127)", EXIT_NOT_FOUND, "text", "because"),
        ("print('', end='\\0because'); raise SystemExit(126)", EXIT_REFUSED, "", "because"),
        ("raise ValueError", EXIT_OURS, "", "cannot say what al can do (ssh2container-info)"),
        ("pass", EXIT_OURS, "", "cannot say what al can do (ssh2container-info)"),
        (
            "import os; os.kill(os.getpid(), 9)",
            EXIT_OURS,
            "",
            "cannot say what al can do (ssh2container-info)",
        ),
    ],
)
def test_what_it_says_is_passed_on(program: str, status: int, out: str, err: str) -> None:
    process = start(program)
    assert process.communicate(timeout=DEADLINE_SECONDS) == (out, err)
    assert process.returncode == status


def test_one_that_hangs_is_ended() -> None:
    process = start(HANGING, 0.0)
    out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, out) == (EXIT_OURS, "")
    assert "it has taken more than 0 s" in err


def test_a_signal_ends_both() -> None:
    process = start(HANGING)
    until(lambda: [one for one in children(process.pid) if b"pause" in one.command()], "the program runs")
    (program,) = children(process.pid)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, out) == (EXIT_OURS, "")
    assert "signal 15 asked this session to end" in err
    assert not os.path.exists(f"/proc/{program.pid}")


def test_there_is_nothing_to_explain() -> None:
    request = Request.parse([b"-c", b"ssh2container-info"], {})
    with pytest.raises(Refusal, match="no container is made for ssh2container-info"):
        forwarding.choose(request, policy(""), None, {}, ())  # type: ignore[arg-type]
