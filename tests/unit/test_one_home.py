"""Each fact has one home: what stood in two places once is seen here when it comes back."""

from __future__ import annotations

import ast
import functools
import os
import re
from pathlib import Path

import pytest
from support import planning
from support.policies import policy
from unit.test_house import MODULES, PACKAGE, ROOT, passes, tracked
from unit.test_house import parse as parse_anew

from ssh2container.admin import sshd
from ssh2container.admin.images.edit import workbench
from ssh2container.admin.policy import lint
from ssh2container.admin.seccomp import views
from ssh2container.errors import Refusal
from ssh2container.kernel import _syscall, namespaces
from ssh2container.plan import environment, ranges
from ssh2container.plan import insider as rights
from ssh2container.policy.rules import POWERFUL_GROUPS
from ssh2container.run import channel, order

A_SENTENCE = 40
BUILD = f"{PACKAGE}/native/build.sh"
COLD = {name: path for name, path in MODULES.items() if name.startswith(f"{PACKAGE}.admin.")}


@functools.cache
def parse(path: str) -> ast.Module:
    """Each module is asked for often."""
    return parse_anew(path)


def functions(path: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef)]


def calls(node: ast.AST) -> list[ast.Call]:
    return [each for each in ast.walk(node) if isinstance(each, ast.Call)]


def makes_a_file(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    if name in ("tempfile.mkstemp", "os.symlink", "os.fdopen"):
        return True
    if name == "os.open":
        return "O_CREAT" in ast.unparse(call)
    modes = [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return name == "open" and any(
        isinstance(mode, ast.Constant) and set(str(mode.value)) & set("wax") for mode in modes
    )


def replaces_by_hand(path: str) -> list[str]:
    """The functions that make a file and rename it: what atomic.py does."""
    found = []
    for function in functions(path):
        names = {ast.unparse(call.func) for call in calls(function)}
        if names & {"os.rename", "os.replace"} and any(map(makes_a_file, calls(function))):
            found.append(function.name)
    return found


@pytest.mark.parametrize("module", sorted(COLD))
def test_files_are_replaced_in_one_place(module: str) -> None:
    if ".verify." in module:
        return  # probes rename what they look at
    assert replaces_by_hand(COLD[module]) == (
        ["write", "link"] if module == f"{PACKAGE}.admin.atomic" else []
    )


def test_numbers_of_the_kernels_clone_flags_stand_in_one_module() -> None:
    for name, path in MODULES.items():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Assign) and name != f"{PACKAGE}.kernel.namespaces":
                named = [ast.unparse(target) for target in node.targets]
                assert not any("CLONE_NEW" in target for target in named), f"{name}:{node.lineno}"
            if isinstance(node, ast.Dict) and node.keys:
                keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
                assert not any(str(key).startswith("CLONE_NEW") for key in keys), f"{name}:{node.lineno}"
    assert (
        views.argument("CLONE_NEWUSER|CLONE_NEWTIME") == namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWTIME
    )


def test_root_of_a_session_has_its_capabilities_from_one_list() -> None:
    """The sets of more than five numbers: a copy would be one of them."""
    sets = [
        f"{name}:{node.lineno}"
        for name, path in MODULES.items()
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Tuple | ast.Set | ast.List)
        and {each.value for each in node.elts if isinstance(each, ast.Constant)}
        >= set(rights.ROOT_CAPABILITIES)
    ]
    assert len(sets) == 1
    assert workbench.CAPABILITIES > rights.ROOT_CAPABILITIES


def test_the_words_of_strace_stand_in_one_module() -> None:
    for name in tracked():
        if name.startswith("tests/") and name.endswith(".py") and name != "tests/support/tracing.py":
            with open(f"{ROOT}/{name}", encoding="utf-8") as file:
                assert '"strace",' + " " not in file.read(), name


def test_the_c_compilers_flags_stand_beside_the_sources() -> None:
    """No warning and no hardening is asked for anywhere else: what builds takes it from build.sh."""
    asked = re.compile(r"(?<!-)-W(all|extra|error|conversion)|-fstack-protector|_FORTIFY_SOURCE=")
    for name in tracked():
        path = f"{ROOT}/{name}"
        if name != BUILD and not name.endswith((".md", "test_one_home.py")) and os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                assert not asked.search(file.read()), name
    with open(f"{ROOT}/{BUILD}", encoding="utf-8") as file:
        assert "-Wall -Wextra -Wconversion -Werror" in file.read()


@pytest.mark.parametrize("what", ["module", "init", "launcher", "helper", "start", "forwarder"])
def test_everything_in_c_is_built_without_a_warning(what: str, tmp_path: Path) -> None:
    passes(f"{ROOT}/{BUILD}", what, str(tmp_path / what))
    assert (tmp_path / what).stat().st_mode & 0o100


def sentences(path: str) -> set[str]:
    """The strings of a module that somebody would read, or look for: no docstrings."""
    tree = parse(path)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and len(node.value) >= A_SENTENCE
        and id(node) not in docstrings
    }


def test_no_sentence_and_no_list_of_paths_is_written_twice() -> None:
    """A message, a remedy or a search path in two modules is knowledge that drifts apart."""
    homes: dict[str, list[str]] = {}
    for name, path in MODULES.items():
        if ".verify.probes." not in name:  # each names the attack that it tries, which others try too
            for sentence in sentences(path):
                homes.setdefault(sentence, []).append(name)
    assert {text: names for text, names in homes.items() if len(names) > 1} == {}


@pytest.mark.parametrize(
    ("fact", "home"),
    [
        (sshd.SHELL, "paths"),
        (sshd.VERSIONS, "admin.sshd"),
        (namespaces.HELPERS[0], "kernel.namespaces"),
        (ranges.INSTALL_HELPERS, "plan.ranges"),
        ("sshd-session", "admin.sshd"),
    ],
)
def test_the_place_of_a_program_stands_in_one_module(fact: str, home: str) -> None:
    found = [
        name
        for name, path in MODULES.items()
        if any(isinstance(node, ast.Constant) and node.value == fact for node in ast.walk(parse(path)))
    ]
    assert found == [f"{PACKAGE}.{home}"]


def test_errors_become_plain_values_in_one_module() -> None:
    error = {"what", "why", "remedy", "step"}
    found = [
        name
        for name, path in MODULES.items()
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Dict)
        and {key.value for key in node.keys if isinstance(key, ast.Constant)} >= error
    ]
    assert found == [f"{PACKAGE}.admin.login.verdict"]


def enumerators() -> dict[str, set[str]]:
    """The names that each enumeration of the protocol has, in the headers of pid 1."""
    text = "".join(
        Path(f"{ROOT}/{PACKAGE}/native/init/{name}.h").read_text(encoding="utf-8")
        for name in ("script", "messages", "container", "uploads")
    )
    plain = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    found = re.findall(r"enum (\w+)? ?\{(.*?)\}", plain, re.DOTALL)
    return {kind: set(re.findall(r"(\w+)(?: = [^,}]+)?(?:,|\s*$)", body)) for kind, body in found if kind}


def test_the_protocol_is_that_of_the_headers() -> None:
    """Steps, flags and letters: Python has them from C, so that none can differ, and all of them."""
    known = enumerators()
    shared = ("step", "kind", "made", "expected", "message", "phase", "flag")
    wanted = set().union(*(known[kind] for kind in shared)) - {"GONE"}
    assert len(wanted) > 40
    assert wanted <= set(_syscall.PROTOCOL)
    letters = {name: getattr(channel, name) for name in known["message"] - {"GONE"}}
    assert letters == {name: bytes([_syscall.PROTOCOL[name]]) for name in letters}


@pytest.mark.parametrize("module", ["kernel.script", "run.order", "run.channel", "plan.program"])
def test_the_protocol_is_written_nowhere_else(module: str) -> None:
    """No name of the headers gets a number or a letter of its own."""
    names = set(_syscall.PROTOCOL)
    short = {name.removeprefix(prefix) for name in names for prefix in ("STEP_", "KIND_", "FLAG_", "MADE_")}
    for node in parse(MODULES[f"{PACKAGE}.{module}"]).body:
        if isinstance(node, ast.Assign):
            targets = {
                name.id.lstrip("_") for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name)
            }
            if targets & (names | short):
                assert "PROTOCOL" in ast.unparse(node.value) or "_letter(" in ast.unparse(node.value)


def test_groups_as_good_as_root_are_listed_once() -> None:
    """``enable``, ``check``, ``doctor`` and a login agree on them."""
    homes = []
    for module, path in MODULES.items():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Dict | ast.Tuple | ast.List | ast.Set):
                words = node.keys if isinstance(node, ast.Dict) else node.elts
                texts = {word.value for word in words if isinstance(word, ast.Constant)}
                if {"docker", "sudo", "shadow"} <= texts:
                    homes.append(module)
    assert homes == [f"{PACKAGE}.policy.rules"]


@pytest.mark.parametrize("group", sorted(POWERFUL_GROUPS))
def test_a_login_refuses_whom_enable_refuses(group: str) -> None:
    member = planning.account("al", group)
    with pytest.raises(Refusal, match=f"gpasswd -d al {group}"):
        planning.plan(policy(""), user=member)
    assert [*lint.of_account("al", member.groups)]


def test_files_are_read_to_their_end_in_one_place() -> None:
    """But for what has a limit of its own."""
    reading = []
    for module, path in MODULES.items():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.While) and re.match(r"\(?\w+ := os\.read\(", ast.unparse(node.test)):
                reading += [module] * ("append" in ast.unparse(node))
    assert reading == [f"{PACKAGE}.kernel.process"]


@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [
        (b"LC_ALL", b"LC_*", True),
        (b"LC_ALL", b"LC_???", True),
        (b"LC_ALL", b"LC_??", False),
        (b"", b"*", True),
        (b"", b"", True),
        (b"", b"?", False),
        (b"A[B]", b"A[B]", True),
        (b"AB", b"A[B]", False),
        (b"A\\*", b"A\\*", True),
        (b"A*", b"A\\*", False),
        (b"A\\B", b"A\\?", True),
    ],
)
def test_names_of_variables_match_as_sshd_says(name: bytes, pattern: bytes, fits: bool) -> None:  # noqa: FBT001
    assert environment.matches(name, pattern) is fits


def test_a_pattern_of_many_stars_is_instant() -> None:
    """Twenty-four characters and nine stars, and many more: an exponential matcher would never return."""
    assert not environment.matches(b"a" * 24, b"*a" * 9 + b"b")
    assert not environment.matches(b"a" * 2000, b"*a" * 200 + b"b")


def test_requests_are_packed_in_one_place() -> None:
    """The order's, a login's that joins a container and the administrator's who enters one."""
    reading = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(parse(path))
        if module.startswith(f"{PACKAGE}.run.")
        and isinstance(node, ast.Attribute)
        and node.attr == "attempts"
    }
    assert reading == {f"{PACKAGE}.run.order"}
    made = planning.plan(policy(""))
    file = order.new()
    try:
        order.write(made.container, made.payload, b"", file)
        assert order.request_of(made.payload, b"") in os.pread(file, 1 << 24, 0)
    finally:
        os.close(file)
