"""The rules of the house: who may import whom, sizes, names; the linters; the package's metadata."""

from __future__ import annotations

import ast
import graphlib
import os
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml
from support import sentences

PACKAGE = "ssh2container"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.environ.get("HYPOTHESIS_STORAGE_DIRECTORY", "/var/cache/ssh2container-tests/hypothesis") + "/.."

_GROUND = {"errors", "paths"}
MAY_IMPORT = {
    "errors": set(),
    "paths": set(),
    "kernel": _GROUND,
    "policy": _GROUND,
    "plan": _GROUND | {"kernel", "policy"},
    "record": _GROUND | {"policy", "kernel"},
    "run": _GROUND | {"kernel", "policy", "plan", "record"},
    "shell": _GROUND | {"kernel", "policy", "plan", "run", "record"},
    "loading": {"shell"},
}
"""The hot rooms, lowest first, and which others each may use; everyone may use itself and the version."""
EXPENSIVE = {
    "_signal",
    "abc",
    "argparse",
    "asyncio",
    "collections",
    "contextlib",
    "copy",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "inspect",
    "json",
    "io",
    "logging",
    "os",
    "pathlib",
    "pyseccomp",
    "random",
    "re",
    "secrets",
    "shlex",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "stat",
    "string",
    "subprocess",
    "tempfile",
    "threading",
    "traceback",
    "typing",
    "uuid",
    "yaml",
}
"""Modules that cost milliseconds at start-up: no hot module imports them at run time."""
ONCE = {"ssh2container.run.first_home": {"os"}}
"""What a module may import in spite of that, as it runs once for each user."""
MOST_LINES_OF_CODE = 350
"""Without blank lines, comments and docstrings; a module wants to have 100 to 300."""
MOST_LINES = 300
"""Of a module, all of them; one that has more begins with the reason."""
MOST_LINES_OF_A_FUNCTION = 60


def modules() -> dict[str, str]:
    """Dotted name -> path of each module of the package."""
    found = {}
    for directory, names, files in os.walk(f"{ROOT}/{PACKAGE}"):
        names[:] = [name for name in names if name != "__pycache__"]
        for name in files:
            if name.endswith(".py"):
                path = f"{directory}/{name}"
                dotted = os.path.relpath(path, ROOT)[:-3].replace("/", ".").removesuffix(".__init__")
                found[dotted] = path
    return found


MODULES = modules()
HOT = {name: path for name, path in MODULES.items() if not name.startswith(f"{PACKAGE}.admin")}
"""All but admin."""


SUPPORT = {f"support.{path.stem}": str(path) for path in Path(f"{ROOT}/tests/support").glob("*.py")}
"""What the tests share: read as often as the package."""
READ = MODULES | SUPPORT


def parse(path: str) -> ast.Module:
    with open(path, encoding="utf-8") as file:
        return ast.parse(file.read(), path)


class Imports(ast.NodeVisitor):
    """All that a module imports at run time: (dotted name, whether inside a function)."""

    def __init__(self, module: str, path: str) -> None:
        package = module if path.endswith("__init__.py") else module.rpartition(".")[0]
        self._package = package.split(".")
        self._depth = 0
        self.found: list[tuple[str, bool]] = []
        self.visit(parse(path))

    def visit_If(self, node: ast.If) -> None:  # ast's name
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for branch in node.orelse:
                self.visit(branch)
        else:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:  # ast's name
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    def visit_Import(self, node: ast.Import) -> None:  # ast's name
        self.found += [(alias.name, self._depth > 0) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:  # ast's name
        base = self._package[: len(self._package) - node.level + 1] if node.level else []
        stem = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            full = f"{stem}.{alias.name}"
            self.found.append((full if full in MODULES else stem, self._depth > 0))


def imports(module: str) -> list[tuple[str, bool]]:
    return Imports(module, MODULES[module]).found


def room(module: str) -> str:
    """The part of the house a module is in: ``ssh2container.plan.make`` -> ``plan``."""
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", sorted(HOT))
def test_hot_modules_import_only_the_rooms_below_them(module: str) -> None:
    if room(module) == "":
        assert imports(module) in ([], [("__future__", False)])
        return
    allowed = MAY_IMPORT[room(module)] | {room(module), ""}
    for name, _ in imports(module):
        if not name.startswith(PACKAGE):
            continue
        assert room(name) in allowed, f"{module} imports {name}"


def test_imports_go_in_no_circle_between_files() -> None:
    """An import inside a function counts too; one under TYPE_CHECKING does not, as nothing ever runs it.

    Nor does the package that a module lies in, which Python imports on the way.
    """
    assert circle({module: ours(module) - {module} for module in MODULES}) == []


def test_imports_go_in_no_circle_between_rooms() -> None:
    """Nor between rooms within a room; a module that lies beside rooms counts as one of its own."""
    neighbours: dict[str, dict[str, set[str]]] = {}
    for module in MODULES:
        for name in ours(module):
            here, there = apart(module, name)
            if here and there:
                neighbours.setdefault(here.rpartition(".")[0], {}).setdefault(here, set()).add(there)
    assert [found for graph in neighbours.values() if (found := circle(graph))] == []


def test_modules_that_nobody_waits_for_take_type_checking_from_typing() -> None:
    """The others may be part of a program that a login waits for, or of one that stays."""
    waited_for: set[str] = set()
    programs = ("cold", "recordings.collector", "host_commands.service", "install.probe")
    ahead = [f"{PACKAGE}.admin.{name}" for name in programs]
    while ahead:
        module = ahead.pop()
        if module not in waited_for:
            waited_for.add(module)
            ahead += ours(module)
    assert [
        module
        for module, path in MODULES.items()
        if module not in HOT and module not in waited_for
        if any(ast.unparse(node) == "TYPE_CHECKING = False" for node in parse(path).body)
    ] == []


def apart(one: str, other: str) -> tuple[str, str]:
    """The parts of the house, side by side, in which two modules lie; empty where one lies in the other."""
    ones, others = one.split("."), other.split(".")
    for depth, (its, another) in enumerate(zip(ones, others, strict=False), 1):
        if its != another:
            return ".".join(ones[:depth]), ".".join(others[:depth])
    return "", ""


def test_what_lies_side_by_side() -> None:
    assert apart("a.b.c", "a.d.e.f") == ("a.b", "a.d")
    assert apart("a.b.c.d", "a.b.e") == ("a.b.c", "a.b.e")
    assert apart("a.b", "a.b.c") == apart("a.b.c", "a.b") == ("", "")


def ours(module: str) -> set[str]:
    return {name for name, _ in imports(module) if name in MODULES and name != PACKAGE}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Names that lead back to the first of them, none where no circle is."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_a_circle_is_found() -> None:
    assert sorted(circle({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == ["b", "b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []


@pytest.mark.parametrize("module", sorted(HOT))
def test_hot_modules_import_nothing_expensive(module: str) -> None:
    imported = {name.split(".")[0] for name, _ in imports(module)}
    assert not imported & EXPENSIVE - ONCE.get(module, set())


@pytest.mark.parametrize("module", sorted(HOT))
def test_hot_modules_use_nothing_that_a_login_s_interpreter_lacks(module: str) -> None:
    """The launcher starts its core alone: no module io, so no open() and no streams."""
    tree = parse(HOT[module])
    own = frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))
    assert not free_names(tree, own) & {"open", "print", "input", "breakpoint"}


@pytest.mark.parametrize("module", sorted(HOT))
def test_hot_modules_decode_by_what_needs_no_codecs(module: str) -> None:
    """bytes.decode() does these itself; for any other handler of errors it would look in a registry."""
    handlers = [
        node.args[1].value
        for node in ast.walk(parse(HOT[module]))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "decode"
        if len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
    ]
    assert set(handlers) <= {"strict", "replace", "ignore", "surrogateescape"}


def free_names(node: ast.AST, bound: frozenset[str]) -> set[str]:
    """The names below ``node`` that are neither in ``bound`` nor arguments of a function around them."""
    if isinstance(node, ast.Name):
        return {node.id} - bound
    if isinstance(node, (ast.FunctionDef, ast.Lambda)):
        bound |= {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
    return {name for child in ast.iter_child_nodes(node) for name in free_names(child, bound)}


def test_an_argument_hides_a_builtin_in_its_function_alone() -> None:
    tree = ast.parse("def f(input): input()\ndef g(): input()")
    assert "input" in free_names(tree, frozenset())
    assert free_names(tree.body[0], frozenset()) == set()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_only_the_kernel_room_knows_ctypes_and_prctl(module: str) -> None:
    if room(module) != "kernel":
        assert not {name.split(".")[0] for name, _ in imports(module)} & {"ctypes", "prctl", "_prctl"}


def lines_of_code(path: str) -> int:
    """The lines that hold a part of a statement which is not a docstring."""
    tree = parse(path)
    strings = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    not_code = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    with open(path, "rb") as file:
        tokens = [token for token in tokenize.tokenize(file.readline) if token.type not in not_code]
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    return len(lines - strings)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_are_of_a_size_to_be_read(module: str) -> None:
    assert lines_of_code(MODULES[module]) <= MOST_LINES_OF_CODE


@pytest.mark.parametrize("module", sorted(name for name, path in READ.items() if os.path.getsize(path)))
def test_a_long_module_says_first_why(module: str) -> None:
    with open(READ[module], encoding="utf-8") as file:
        first, *others = file
    says = bool(re.fullmatch(r"# Longer than 300 lines: [^\n]{30,}\.\n", first))
    assert says == (len(others) + 1 > MOST_LINES)


@pytest.mark.parametrize("module", sorted(READ))
def test_functions_are_of_a_size_to_be_read(module: str) -> None:
    long = [
        node.name
        for node in ast.walk(parse(READ[module]))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno >= MOST_LINES_OF_A_FUNCTION
    ]
    assert long == []


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_are_named_and_introduced(module: str) -> None:
    assert module.rpartition(".")[2] not in ("util", "utils", "helper", "common", "misc")
    assert ast.get_docstring(parse(MODULES[module])), "a module says first what it is for"


def test_every_room_is_known() -> None:
    assert {room(module) for module in HOT} - {""} <= set(MAY_IMPORT)


def test_the_session_imports_a_short_list() -> None:
    """Counted in a fresh interpreter, as the entry script starts it."""
    program = (
        f"import sys; sys.path.insert(0, {ROOT!r}); sys.path += {sys.path!r}\n"
        "before = set(sys.modules); import ssh2container.shell; print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-ISB", "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & EXPENSIVE
    assert not any(name.startswith(f"{PACKAGE}.admin") for name in done.stdout.split())


def shell_scripts() -> list[str]:
    """Every tracked file whose first line names a shell."""
    found = []
    for name in tracked():
        path = f"{ROOT}/{name}"
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, "rb") as file:
                if re.match(rb"#!(/usr)?/bin/(env )?(ba|da)?sh\b", file.readline()):
                    found.append(name)
    return found


def tracked() -> list[str]:
    done = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.rstrip("\0").split("\0")


NATIVE = sorted(name for name in tracked() if name.startswith(PACKAGE) and name.endswith((".c", ".h")))
"""What is written in C."""


@pytest.mark.parametrize("name", NATIVE)
def test_a_long_file_in_c_says_first_why(name: str) -> None:
    with open(f"{ROOT}/{name}", encoding="utf-8") as file:
        first, *others = file
    says = bool(re.fullmatch(r"/\* Longer than 300 lines: [^\n]{30,}\. \*/\n", first))
    assert says == (len(others) + 1 > MOST_LINES)


@pytest.mark.parametrize("name", NATIVE)
def test_functions_in_c_are_of_a_size_to_be_read(name: str) -> None:
    with open(f"{ROOT}/{name}", encoding="utf-8") as file:
        assert not [size for size in sizes_in_c(file.read()) if size > MOST_LINES_OF_A_FUNCTION]


def sizes_in_c(text: str) -> list[int]:
    """How many lines each function has: .clang-format puts both of its braces at the margin."""
    sizes, begin = [], 0
    for number, line in enumerate(text.splitlines()):
        if line == "{":
            begin = number - 1
        elif line == "}":
            sizes.append(number - begin + 1)
    return sizes


def test_the_size_of_a_function_in_c_is_its_lines() -> None:
    assert sizes_in_c("int one(void)\n{\n    return 1;\n}\n\nint two(void)\n{\n}\n") == [4, 3]


def passes(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def python_files() -> list[str]:
    """Tracked Python: modules, and scripts that python runs."""
    found = []
    for name in tracked():
        path = f"{ROOT}/{name}"
        if not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            if name.endswith(".py") or re.match(rb"#!.*\bpython3?\b", file.readline()):
                found.append(name)
    return found


def test_ruff() -> None:
    passes(sys.executable, "-m", "ruff", "check", "--no-cache", *python_files())


def test_python_is_in_its_form() -> None:
    passes(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", *python_files())


def test_c_is_in_its_form() -> None:
    """The form is .clang-format's; the version is pinned, as each has its own mind of some lines."""
    sources = [name for name in tracked() if name.endswith((".c", ".h"))]
    assert len(sources) > 20
    passes(f"{ROOT}/tests/tool", "clang-format", "--dry-run", "--Werror", *sources)


def test_what_contributors_are_sent_to_exists() -> None:
    with open(f"{ROOT}/CONTRIBUTING.md", encoding="utf-8") as file:
        text = file.read()
    named = re.findall(r"`((?:ssh2container|tests|docs)/[\w./-]+)`", text) + re.findall(
        r"\]\(([\w./-]+)\)", text
    )
    assert len(named) > 15
    for name in named:
        assert os.path.exists(f"{ROOT}/{name}") or name.endswith("/VERB.py"), name


def test_words_are_spelt_as_in_a_dictionary() -> None:
    texts = [name for name in tracked() if not os.path.islink(f"{ROOT}/{name}")]
    passes(f"{ROOT}/tests/tool", "codespell", *texts)


def test_the_checks_before_a_commit_are_those_of_the_suite() -> None:
    """Hooks run the Makefile and the tests' own tools; nothing is fetched, and no target is missing."""
    with open(f"{ROOT}/.pre-commit-config.yaml", encoding="utf-8") as file:
        (repository,) = yaml.safe_load(file)["repos"]
    assert repository["repo"] == "local"
    with open(f"{ROOT}/Makefile", encoding="utf-8") as file:
        targets = set(re.findall(r"^([a-z-]+):", file.read(), re.MULTILINE))
    assert {"unit", "format", "docs", "native"} <= targets
    for hook in repository["hooks"]:
        program, *words = hook["entry"].split()
        assert program in ("make", "tests/tool", "shellcheck")
        assert program != "make" or words[0] in targets


def test_mypy_strict() -> None:
    modules = [name for name in python_files() if name.endswith(".py")]
    passes(sys.executable, "-m", "mypy", "--strict", "--cache-dir", f"{CACHE}/mypy", *modules)


def test_shellcheck() -> None:
    scripts = shell_scripts()
    assert {"tests/run", ".ci/run", "install.sh"} <= set(scripts)
    passes("shellcheck", "--external-sources", *scripts)


def test_shell_scripts_are_of_a_size_to_be_read() -> None:
    long = []
    for name in shell_scripts():
        with open(f"{ROOT}/{name}", encoding="utf-8") as file:
            long += [name] if len(file.readlines()) > MOST_LINES else []
    assert not long


@pytest.mark.parametrize("name", [name for name in tracked() if name.endswith(".md")])
def test_documents_have_one_sentence_a_line(name: str) -> None:
    with open(f"{ROOT}/{name}", encoding="utf-8") as file:
        found = [f"{name}:{line}" for line in sentences.problems(file.read())]
    assert not found, f"run: cd tests && python -m support.sentences ../{name}"


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ('One. Two: `a. B`\nand "C. D" (e. F) more. `x` is three.\n',
         'One.\nTwo: `a. B` and "C. D" (e. F) more.\n`x` is three.\n'),
        ("- One, e.g. Debian 12. Two\n  more.\n- Three\n", "- One, e.g. Debian 12.\n  Two more.\n- Three\n"),
        ("1. One. Two.\n2. Three\n", "1. One.\n   Two.\n2. Three\n"),
        ("- Status\n  126. Two\n", "- Status 126.\n  Two\n"),
        ("| a. B |\n|---|\n| c. D |\n", "| a. B |\n|---|\n| c. D |\n"),
        ("```\na. B\nc\n```\n", "```\na. B\nc\n```\n"),
        ("Text:\n\n    a. B\n    c\n", "Text:\n\n    a. B\n    c\n"),
        ("# A. B\nvs. Docker, [C. D](e.f. G) 1.5 s\n", "# A. B\nvs. Docker, [C. D](e.f. G) 1.5 s\n"),
    ],
)  # fmt: skip
def test_what_a_sentence_is(found: str, wanted: str) -> None:
    assert sentences.set_anew(found) == wanted
    assert bool(list(sentences.problems(found))) == (found != wanted)


def test_the_licence_is_the_one_the_metadata_names() -> None:
    """python-prctl, which sessions import, is GPL-3.0-or-later: so is all that is built on it."""
    with open(f"{ROOT}/LICENSE", encoding="utf-8") as file:
        text = file.read()
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 3, 29 June 2007" in text
    with open(f"{ROOT}/pyproject.toml", "rb") as binary:
        project = tomllib.load(binary)["project"]
    assert project["license"] == {"text": "GPL-3.0-or-later"}


def test_the_metadata_is_complete() -> None:
    with open(f"{ROOT}/pyproject.toml", "rb") as binary:
        project = tomllib.load(binary)["project"]
    assert project["name"] == PACKAGE
    assert project["requires-python"] == ">=3.11"
    assert os.path.exists(f"{ROOT}/{project['readme']}")
    needed = {re.split(r"[<>=~! ]", dependency)[0] for dependency in project["dependencies"]}
    assert {"python-prctl", "pyseccomp", "PyYAML"} <= needed


@pytest.mark.parametrize("verb", [["wheel", "--wheel-dir", "out"], ["install", "--target", "out"]])
def test_pip_builds_no_package_that_could_not_work(verb: list[str], tmp_path: Path) -> None:
    """One line says why, and what to run; nothing is built."""
    for name in tracked():
        if name.startswith(("ssh2container/", "libexec/")) or "/" not in name:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(f"{ROOT}/{name}", tmp_path / name)
    command = [sys.executable, "-m", "pip", *verb, "--no-index", "--no-deps", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 1
    said = [line.strip() for line in done.stderr.splitlines() if "ssh2container" in line]
    assert len(said) == 1
    assert said[0].startswith(
        "ssh2container cannot be installed with pip, because a login needs programs owned by root"
    )
    assert said[0].endswith("run sudo ./install.sh from the source tree")
    assert not (tmp_path / "out").exists() or not [*(tmp_path / "out").iterdir()]


def test_the_ci_script_runs_the_tests() -> None:
    with open(f"{ROOT}/.ci/run", encoding="utf-8") as file:
        assert "./tests/run" in file.read()
    for name in ("tests/run", ".ci/run", "install.sh"):
        assert os.access(f"{ROOT}/{name}", os.X_OK), name


def test_no_two_test_files_have_one_name() -> None:
    """In one run of pytest the second would be taken for the first, and the run end before its first test."""
    names = [os.path.basename(path) for path in tracked() if re.fullmatch(r"tests/.*/test_\w+\.py", path)]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_tests_never_sleep_to_wait() -> None:
    """time.sleep stands only where tests/support looks at a condition, with a deadline, again and again."""
    for name in tracked():
        if name.startswith("tests/") and name.endswith(".py") and not name.startswith("tests/support/"):
            for node in ast.walk(parse(f"{ROOT}/{name}")):
                if isinstance(node, ast.Call):
                    assert ast.unparse(node.func) not in ("time.sleep", "sleep"), f"{name}:{node.lineno}"
