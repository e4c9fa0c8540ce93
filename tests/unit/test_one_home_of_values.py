"""Numbers, places and lists have one home, too: in Python, between C and Python, between code and units."""

from __future__ import annotations

import ast
import errno
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support.policies import policy
from unit.test_house import MODULES, PACKAGE, ROOT
from unit.test_one_home import parse

from ssh2container import paths
from ssh2container.admin import account, sshd
from ssh2container.admin.cli import main
from ssh2container.admin.doctor import code
from ssh2container.admin.host_commands import frames, service
from ssh2container.admin.metrics import exposition
from ssh2container.admin.policy.compile import compiler
from ssh2container.admin.policy.types import egress
from ssh2container.admin.recordings import collector
from ssh2container.errors import EXIT_OURS
from ssh2container.kernel import ends, private_network
from ssh2container.plan import forwarding, host_commands, image
from ssh2container.plan import private as network
from ssh2container.policy import cold, filters, private, store
from ssh2container.run import terminal

OF_THE_KERNEL = re.compile(
    r"(AF|AT(?!_ONCE)|CLONE|IFF|MS|MSG|PR|SO|SOCK|SOL)_\w+|(SIOC|TC[GS]ET|TIOC|TUN)\w+|SIG[A-Z]+|"
    + "|".join(errno.errorcode.values())
)
ELSEWHERE = {("SIGKILL", f"{PACKAGE}.policy.cold")}
"""policy/ lies below kernel/, which has the signals."""
OF_EVERYBODY = {"/etc/passwd", "/etc/group"}
"""Paths whose names say all that there is to know of them."""
STEPS = {("", ".", ".."), ("mount_setattr", "move_mount", "open_tree")}
"""Parts of a path that lead nowhere, and the calls of operations that happen to be the same."""

NATIVE = f"{ROOT}/{PACKAGE}/native"
UNITS = Path(f"{ROOT}/systemd")


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module but the probes of verify: each names the attack that it tries, as an attacker would."""
    for name, path in MODULES.items():
        if ".verify." not in name:
            yield name, parse(path)


def numbers(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The numbers that a module gives names to, alone or several in a line."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=True))
                for name, value in pairs:
                    if isinstance(name, ast.Name) and (number := of(value)) is not None:
                        yield name.id.lstrip("_"), number


def of(node: ast.expr) -> int | None:
    """The number that an expression of numbers alone is."""
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) is int else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        one = of(node.operand)
        return None if one is None else -one
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        left, right = of(node.left), of(node.right)
        return None if left is None or right is None else left | right
    return None


def test_numbers_of_a_module_are_found() -> None:
    tree = ast.parse("_AF_UNIX = 1\nA, _B = -2, 1 | 4\nC = [3]\nD = True\nE, F = f()")
    assert dict(numbers(tree)) == {"AF_UNIX": 1, "A": -2, "B": 5}


def test_numbers_of_the_kernel_have_one_home() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for module, tree in modules():
        for name, _ in numbers(tree):
            if OF_THE_KERNEL.fullmatch(name) and (name, module) not in ELSEWHERE:
                homes[name].append(module)
    assert len(homes) > 60
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_places_have_one_home() -> None:
    """Absolute paths below what an administrator fills; those of the kernel are its interface."""
    homes: dict[str, set[str]] = defaultdict(set)
    for module, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                text = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
                if re.fullmatch(r"/(etc|run|usr|var)/[^\s:]{5,}", text):
                    homes[text].add(module)
    assert len(homes) > 60
    assert {path: found for path, found in homes.items() if len(found) > 1 and path not in OF_EVERYBODY} == {}


def test_lists_of_words_have_one_home() -> None:
    homes: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for module, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Tuple | ast.List | ast.Set):
                words = [one.value for one in node.elts if isinstance(one, ast.Constant)]
                if len(words) == len(node.elts) >= 3 and all(isinstance(word, str) for word in words):
                    homes[tuple(sorted(map(str, words)))].add(module)
    assert {words for words, found in homes.items() if len(found) > 1} == STEPS


def in_c(file: str, name: str) -> str:
    """The value that a name has in a source of C, be it a macro or an enumerator."""
    text = Path(f"{NATIVE}/{file}").read_text(encoding="utf-8")
    (value,) = re.findall(
        rf"^#define {name} L?([^\n]*?)(?: /\*.*)?$|\benum(?: \w+)? {{[^}}]*\b{name} = ([^,}}]+?) ?[,}}]",
        text,
        re.MULTILINE,
    )
    return str(value[0] or value[1]).strip().strip('"')


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("launcher/launcher.c", "INTERPRETER", cold.PYTHON),
        ("launcher/start.c", "INTERPRETER", cold.PYTHON),
        ("launcher/launcher.c", "VERSIONS", sshd.VERSIONS + "/"),
        ("launcher/launcher.c", "SCRIPT", code.LAUNCHED),
        ("launcher/launcher.c", "OURS", EXIT_OURS),
        ("launcher/start.c", "OURS", EXIT_OURS),
        ("init/messages.h", "OURS", EXIT_OURS),
        ("launcher/launcher.c", "HANDED", in_c("python/_syscall.c", "HANDED")),
        ("init/messages.h", "LONGEST_MESSAGE", ends.LONGEST),
        ("init/payload.c", "SIZE_OF_MODES", terminal.SIZE_OF_TERMIOS),
        ("inside/sshd.c", "KEY_FILE", forwarding.HOST_KEY),
        ("inside/sshd.c", "KEY_VARIABLE", forwarding.SECRET.decode()),
        ("inside/command.c", "OURS", EXIT_OURS),
        ("inside/command.c", "PLACE", host_commands.SOCKET),
        ("inside/command.c", "HEAD", frames.HEAD),
        ("inside/command.c", "LONGEST", frames.LONGEST),
        *(
            ("inside/command.c", kind, repr(getattr(frames, kind).decode()))
            for kind in ("REQUEST", "INPUT", "OUTPUT", "ERRORS", "STATUS")
        ),
        ("forwarder/rules.h", "MOST_RULES", private.MOST_RULES),
        ("forwarder/rules.h", "LONGEST_NAME", egress.LONGEST_NAME),
        ("forwarder/rules.c", "LARGEST_MTU", private_network.MTU),
    ],
)
def test_c_has_what_python_has(file: str, name: str, value: str | int) -> None:
    assert in_c(file, name) == str(value)


def test_the_forwarder_takes_as_many_ports_as_a_policy_may_publish() -> None:
    assert int(in_c("forwarder/rules.h", "MOST_PUBLISHED")) >= private.MOST_PORTS


def test_the_forwarder_is_told_in_words_that_it_knows() -> None:
    """A policy with all that there is to say, the parser, and docs/protocol.md."""
    written = policy(
        "network_mode: private\negress: [10.1.2.3:5432, git.example.org]\n"
        "egress_log: refused\nports: ['8080:80']\n"
    )
    told = {line.split()[0].decode() for line in network.configuration(written).splitlines()}
    parser = Path(f"{NATIVE}/forwarder/rules.c").read_text(encoding="utf-8")
    assert told == set(re.findall(r'strcmp\(words\[0\], "([a-z-]+)"\)', parser))
    assert told == words_of_the_page("The configuration is lines")


def test_the_monitor_knows_the_words_of_the_forwarder() -> None:
    texts = "".join(
        Path(f"{NATIVE}/forwarder/{name}.c").read_text(encoding="utf-8") for name in ("main", "report")
    )
    said = set(re.findall(r'(?:report_line\(|sizeof line, )"([a-z]+)', texts))
    heard = {
        node.value.decode() if isinstance(node.value, bytes) else node.value
        for node in ast.walk(parse(MODULES[f"{PACKAGE}.run.forwarding"]))
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    }
    assert said == words_of_the_page("What it says are lines")
    assert said - {"without"} <= heard


def words_of_the_page(heading: str) -> set[str]:
    """The first words of the rows of a table in docs/protocol.md."""
    page = Path(f"{ROOT}/docs/protocol.md").read_text(encoding="utf-8")
    table = page.partition(heading)[2].partition("\n\n")[2].partition("\n\n")[0]
    return set(re.findall(r"^\| `([a-z-]+)", table, re.MULTILINE))


@pytest.mark.parametrize(
    ("file", "name", "sentence"),
    [
        ("forwarder/forwarder.h", "DESCRIPTORS", "| descriptors | {}: "),
        ("forwarder/names.h", "SHORTEST_PIN_S", "but at least {} seconds and at most an hour"),
        ("forwarder/resolver.c", "AT_ONCE", "questions {}, pings"),
        ("forwarder/ping.c", "AT_ONCE", "pings {} at once"),
        ("forwarder/rules.h", "MOST_RULES", "an `egress` of more than {} lines"),
    ],
)
def test_the_page_on_networks_has_the_numbers_of_the_forwarder(file: str, name: str, sentence: str) -> None:
    page = Path(f"{ROOT}/docs/networks.md").read_text(encoding="utf-8")
    assert sentence.format(in_c(file, name)) in page


def test_the_installer_starts_the_interpreter_of_a_login() -> None:
    text = Path(f"{ROOT}/libexec/needs.sh").read_text(encoding="utf-8")
    assert f"readonly python={cold.PYTHON}\n" in text


KNOWN = {
    paths.COLLECTOR,
    collector.DIRECTORY,
    account.RECORDS,
    image.IMAGES,
    store.STANDARD.compiled,
    host_commands.SOCKET,
    *(f"{sshd.VERSIONS}/current/{one.__name__.replace('.', '/')}.py" for one in (collector, service)),
    *(f"{store.STANDARD.configuration}/{name}" for name in compiler.DIRECTORIES),
    *filters.PROFILES,
    exposition.COLLECTED,
    "/usr/bin/ssh2containerctl",
    "/etc/tmpfiles.d/ssh2container-recordings.conf",
    paths.RUNTIME + "/UID",
}
"""Where the code has what is its own; the last two are named in comments of systemd-tmpfiles' file."""


@pytest.mark.parametrize(
    "file", sorted(path for path in UNITS.rglob("*") if path.is_file()), ids=lambda path: path.name
)
def test_units_name_places_of_the_code(file: Path) -> None:
    named = re.findall(
        r"(?<![\w/.])/(?:etc|run|usr|var)/[\w./-]*ssh2container[\w./-]*", file.read_text("utf-8")
    )
    parents = {str(parent) for path in KNOWN for parent in Path(path).parents}
    assert {path.rstrip(".") for path in named} <= KNOWN | parents


def test_a_changed_policy_is_compiled_by_itself() -> None:
    """Each directory with files that compiled forms are made of is watched: else logins make them."""
    unit = (UNITS / "system/ssh2container-compile.path").read_text("utf-8")
    read = {store.STANDARD.configuration, filters.PROFILES[0]}
    read |= {f"{store.STANDARD.configuration}/{name}" for name in compiler.DIRECTORIES if name != "tests"}
    assert set(re.findall(r"^PathChanged=(.*)$", unit, re.MULTILINE)) == read


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        (path.name, found.split())
        for path in sorted((UNITS / "system").glob("*.service"))
        for found in re.findall(
            r"^Exec\w+=/usr/bin/ssh2containerctl (.*)$", path.read_text("utf-8"), re.MULTILINE
        )
    ],
)
def test_units_call_verbs_as_they_are(unit: str, words: list[str]) -> None:
    assert unit.startswith(PACKAGE)
    command: click.Command = main.command
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None
        command = found
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    assert {word.partition("=")[0] for word in words} <= known
