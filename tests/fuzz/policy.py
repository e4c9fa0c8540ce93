"""The target ``policy``: everything that reads what somebody wrote: YAML, commands, compiled parts.

Mutates the shipped files and the examples of all keys until the time is over or something other than
the documented error is raised; then the input is kept in a file and its seed printed. ``--seed``
repeats a run.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
import traceback
from collections.abc import Callable

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support.policies import ETC, policy, problems, shown

from ssh2container.admin.policy import origins, test_file
from ssh2container.admin.policy.compile import compiler, loader
from ssh2container.admin.policy.schema.settings import POLICY, SITE
from ssh2container.admin.policy.yaml.files import Source, decode
from ssh2container.admin.policy.yaml.problems import ERROR, PolicyError, Problem
from ssh2container.errors import Refusal
from ssh2container.kernel._syscall import matches
from ssh2container.policy import layers, rules
from ssh2container.policy.commands import decide, split
from ssh2container.policy.policy import Access, Command
from ssh2container.policy.specifiers import expand

TOKENS = [
    *(part.encode() for key in POLICY.settings for part in key.split(".")),
    *(
        b": ",
        b"\n",
        b"\n  ",
        b"- ",
        b"[",
        b"]",
        b"{",
        b"}",
        b", ",
        b"'",
        b'"',
        b"|\n  ",
        b">-\n ",
        b"&a ",
        b"*a",
        b"!!str ",
    ),
    *(
        b"!override ",
        b"!reset ",
        b"!reset null",
        b"<<: ",
        b"? ",
        b"---\n",
        b"...\n",
        b"%YAML 1.2\n",
        b"# ",
        b"\t",
        b"\0",
    ),
    *(
        b"\xff",
        b"\xef\xbb\xbf",
        "\u202e\u0085\u2028".encode(),
        b"\r",
        b"~",
        b"no",
        b"010",
        b"22:22",
        b"1e9",
        b".inf",
        b"%u",
    ),
    *(
        b"%",
        b"%%",
        b"{u}",
        b"..",
        b"/",
        b"/proc",
        b"-1",
        b"99999999999999999999",
        b"host",
        b"ephemeral",
        b"any",
        b"none",
    ),
    *(
        b"extends: [a]\n",
        b"x-a: ",
        b"1h30m",
        b"256m",
        b"rsync",
        b"exact",
        b"$(id)",
        b"`",
        b";",
        b"\\",
        b"*",
        b"[!",
        b"]",
        b":size=64m,mode=1777",
        b",ro",
        b"can: [login]\n",
        b"group_order: [a]\n",
    ),
]
MOST_BYTES = 4000


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def corpus() -> list[bytes]:
    """The shipped files, and the example of each key."""
    found = [setting.example.encode() + b"\n" for setting in (*POLICY, *SITE)]
    for directory, _, names in os.walk(ETC):
        for name in names:
            if name.endswith(".yaml"):
                with open(os.path.join(directory, name), "rb") as file:
                    found.append(file.read())
    return found


def mutate(chance: random.Random, seeds: list[bytes]) -> bytes:
    """One input: a seed with some damage."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(0, 8)):
        at = chance.randint(0, len(data))
        end = min(len(data), at + chance.randint(0, 30))
        what = chance.randrange(6)
        if what == 0:
            data[at:at] = chance.choice(TOKENS)
        elif what == 1:
            data[at:end] = chance.choice(TOKENS)
        elif what == 2:
            del data[at:end]
        elif what == 3:
            data[at:at] = data[at:end] * chance.randint(1, 3)
        elif what == 4 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        else:
            data[at:at] = chance.choice(seeds)
    return bytes(data[:MOST_BYTES])


def check_others(data: bytes) -> None:
    """The same text as config.yaml, and as a file of policy tests."""
    found: list[Problem] = []
    try:
        source = Source("/p.yaml", decode("/p.yaml", data), (0, 0, len(data), 0, 0))
        found += loader.load(source, SITE).problems
        test_file.parse(source)
    except PolicyError as error:
        found += error.problems
    assert all(str(problem).isprintable() for problem in found)


def check(data: bytes, chance: random.Random) -> bool:
    """Whatever ``data`` is, only the documented errors are raised; tell whether it was a valid policy."""
    valid = False
    found = problems(data)
    for problem in found:
        assert "\n" not in str(problem)
        assert str(problem).isprintable()
        assert 0 <= problem.line <= data.count(b"\n") + data.count(b"\r") + 1
    if not any(problem.severity == ERROR for problem in found):
        valid = True
        made = policy(data.decode())
        if not list(rules.broken(made)):
            again = policy(shown(made))
            assert dict(again.values) == dict(made.values)
            assert again.digest == made.digest
            assert origins.differences(made, again) == []
        for text in (made.hostname, *(volume.source for volume in made.volumes)):
            expand(text, {"u": "al", "U": "1", "g": "g", "h": "/home/al", "i": "0"})
    check_others(data)
    line = data[: chance.randint(0, 60)]
    try:
        split(line)
        decide(line, Access(True, True, (Command(("rsync",), exact=False),), None, ""))
    except Refusal as refusal:
        said = str(refusal)
    else:
        said = ""
    assert "\n" not in said
    matches(line, data[:20])
    return valid


def check_compiled(chance: random.Random) -> None:
    """A damaged compiled part is noticed."""
    part = layers.Part(True, (("/x", (1, 2, 3, 4, 5)),), (compiler.BUILT_IN,))
    data = bytearray(layers.encode(part))
    at = chance.randrange(len(data))
    data[at] ^= 1 << chance.randrange(8)
    try:
        layers.decode(bytes(data))
    except layers.Unusable:
        return
    raise AssertionError(f"the damage at {at} was not noticed")


def run(
    seed: int, seconds: float, most: int | None = None, *, keep: str = "/tmp", verbose: bool = False
) -> tuple[int, int]:
    """Fuzz until the time or the number of inputs is over; return how many there were, and valid ones.

    keep: the directory for the input that broke something.
    """
    chance = random.Random(seed)
    seeds = corpus()
    started = told = time.monotonic()
    count = valid = 0
    while (most is None or count < most) and time.monotonic() - started < seconds:
        data = mutate(chance, seeds)
        try:
            if check(data, chance):
                valid += 1
                if len(seeds) < 5000:
                    seeds.append(data)
            check_compiled(chance)
        except Exception:  # noqa: BLE001 - whatever it is, its input is what we are here for
            traceback.print_exc()
            path = f"{keep}/policy-fuzz-{seed}-{count}"
            with open(path, "wb") as file:
                file.write(data)
            raise AssertionError(f"seed {seed}, input {count}, kept in {path}: {data!r}") from None
        count += 1
        if verbose and time.monotonic() - told > 60:
            told = time.monotonic()
            say(f"{count} inputs, {valid} valid, {count / (told - started):.0f} per second")
    return count, valid


def main(target: Callable[..., tuple[int, int]], what: str, valid: str) -> None:
    """Run a target for as long as the command line says. what, valid: that it fuzzes, and counts."""
    parser = argparse.ArgumentParser(description=f"Fuzz {what}.")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", default="/tmp", metavar="DIRECTORY")
    chosen = parser.parse_args()
    first = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(2**32)
    say(f"seed {first}")
    total, good = target(first, chosen.seconds, keep=chosen.keep, verbose=True)
    say(f"{total} inputs, {good} of them valid {valid}; no other error than the documented ones")


if __name__ == "__main__":
    main(run, "the policy language", "policies")
