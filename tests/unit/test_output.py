"""What verbs print with: styles on a terminal, the text alone elsewhere, and rich only where it draws."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.outer import shown_until

from ssh2container.admin.cli import output
from ssh2container.admin.policy.yaml.problems import Problem

LINE = (("first", "bold"), " [red]second[/] \x1b[2J", ("", "dim"))
EVERY_VERB = """
import importlib, sys
from ssh2container.admin.cli import output, verbs
for verb in verbs.found().values():
    importlib.import_module(verb.module)
output.Paper().print(("a", "bold"), "b")
output.table(("A", "B"), [("1", "2")])
print("rich" in sys.modules)
"""


def test_elsewhere_it_is_the_text_alone(capsys: pytest.CaptureFixture[str]) -> None:
    output.Paper().print(*LINE)
    output.Paper(stderr=True).print("wrong")
    out, err = capsys.readouterr()
    assert (out, err) == ("first [red]second[/] \\x1b[2J\n", "wrong\n")


def test_a_terminal_gets_styles_and_nothing_else_that_it_obeys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    leader, follower = os.openpty()
    with open(follower, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        output.Paper().print(*LINE)
        output.table(("NAME",), [("[bold]x[/]",)])
        terminal.flush()
        shown = shown_until(leader, b"[bold]x[/]").decode()
    os.close(leader)
    assert "\x1b[1mfirst\x1b[0m" in shown
    assert " [red]second[/] \\x1b[2J" in shown
    assert "\x1b[1mNAME" in shown


@pytest.mark.parametrize(("before", "cells"), [("ab", 2), ("日本", 4), ("\x1b\x1b", 2)])
def test_a_marker_is_below_its_column(capsys: pytest.CaptureFixture[str], before: str, cells: int) -> None:
    output.problems([Problem("/f", 1, len(before) + 1, "wrong", text=f"{before}x: 1")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"/f:1:{len(before) + 1}: error: wrong"
    assert lines[2] == " " * (4 + cells) + "^"


def test_what_draws_nothing_imports_nothing_that_draws() -> None:
    done = subprocess.run([sys.executable, "-c", EVERY_VERB], capture_output=True, text=True, check=True)
    assert done.stdout == "ab\nA  B\n1  2\nFalse\n"
