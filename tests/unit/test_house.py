"""The rules of the house: who may import whom, sizes, names; the linters; the package's metadata."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tokenize
import tomllib

import pytest

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
LAZY_DOORS = {"ssh2container.policy.store", "ssh2container.policy.filters"}
"""The two modules that may import from admin, inside a function, when nothing compiled is there."""
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
    for name, lazy in imports(module):
        if not name.startswith(PACKAGE):
            continue
        if room(name) == "admin":
            assert lazy, f"{module} imports {name} at its top"
            assert module in LAZY_DOORS, f"{module} imports {name}"
        else:
            assert room(name) in allowed, f"{module} imports {name}"


@pytest.mark.parametrize("module", sorted(HOT))
def test_hot_modules_import_nothing_expensive(module: str) -> None:
    imported = {name.split(".")[0] for name, _ in imports(module)}
    assert not imported & EXPENSIVE - ONCE.get(module, set())


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


def test_mypy_strict() -> None:
    modules = [name for name in python_files() if name.endswith(".py")]
    passes(sys.executable, "-m", "mypy", "--strict", "--cache-dir", f"{CACHE}/mypy", *modules)


def test_shellcheck() -> None:
    scripts = shell_scripts()
    assert {"tests/run", ".ci/run", "install.sh"} <= set(scripts)
    passes("shellcheck", "--external-sources", *scripts)


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


def test_the_ci_script_runs_the_tests() -> None:
    with open(f"{ROOT}/.ci/run", encoding="utf-8") as file:
        assert "./tests/run" in file.read()
    for name in ("tests/run", ".ci/run", "install.sh"):
        assert os.access(f"{ROOT}/{name}", os.X_OK), name


def test_tests_never_sleep_to_wait() -> None:
    """time.sleep stands only where tests/support looks at a condition, with a deadline, again and again."""
    for name in tracked():
        if name.startswith("tests/") and name.endswith(".py") and not name.startswith("tests/support/"):
            for node in ast.walk(parse(f"{ROOT}/{name}")):
                if isinstance(node, ast.Call):
                    assert ast.unparse(node.func) not in ("time.sleep", "sleep"), f"{name}:{node.lineno}"
