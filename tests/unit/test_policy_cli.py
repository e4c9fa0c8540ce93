"""The administrator's verbs for policies: output, JSON, exit statuses."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import stat
import subprocess
import sys
import time

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from support.policies import Tree

from ssh2container.admin.cli import status, verbs
from ssh2container.admin.cli.main import command
from ssh2container.admin.seccomp.build import BuildError
from ssh2container.policy import store

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture
def tree(tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch) -> Tree:
    """An installation that the verbs take for the one of this machine."""
    made = Tree(os.fspath(tmp_path))
    for name in store.Places.__slots__:
        monkeypatch.setattr(store.STANDARD, name, getattr(made.places, name))
    made.write("config", "admit: everybody")
    made.write("defaults", "hostname: box")
    return made


def control(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(command, arguments, input=text)


def said(result: Result) -> str:
    """Standard output and standard error; click 8.2 keeps them apart, 8.1 does not."""
    return result.output


def test_check_of_an_installation(tree: Tree) -> None:
    tree.write("users/root", "imag: x\nhostname: no\n")
    tree.write("users/nobody-here", "network_mode: host\nvolumes: [/srv:/srv]")
    done = control("check")
    assert done.exit_code == 1
    assert f'{tree.base}/etc/users/root.yaml:1:1: error: unknown key "imag"' in said(done)
    assert "    imag: x\n    ^\n" in said(done)
    assert 'hint: did you mean "image"?' in said(done)
    assert "no is a boolean in YAML 1.1" in said(done)
    assert "there is no user nobody-here" in said(done)
    assert "shares the host's network" in said(done)
    assert "the volume /srv has no mode" in said(done)
    assert said(done).endswith("2 errors, 3 warnings\n")


def test_check_knows_what_a_range_of_ids_does_not_go_with(tree: Tree) -> None:
    kept = "image: debian:12\nhome: {source: /srv/x}\nvolumes: ['/srv/y:/y:rw', '/srv/z:/z:ro']\n"
    tree.write("users/root", f"{kept}userns_mode: range")
    done = control("check")
    assert done.exit_code == 0, said(done)
    assert said(done).count("userns_mode: own_range needs neither") == len(("home", "/y"))
    tree.write("users/root", f"{kept}userns_mode: own_range")
    assert "own_range needs" not in said(control("check"))


def test_check_knows_the_user_s_home_by_its_path(tree: Tree) -> None:
    tree.write("users/root", "home: {source: /root}")
    done = control("check")
    assert done.exit_code == 1
    assert "user's home on the host" in said(done)
    tree.write("users/root", "home: {source: /root/box}")
    assert control("check").exit_code == 0


def test_edit_of_a_profile_finds_the_other_profiles(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.write("profiles/base", "hostname: base")
    done = edit(tree, monkeypatch, 'echo "extends: [base]" >>"$1"', "--profile", "mine")
    assert done.exit_code == 0, said(done)


def test_check_as_json(tree: Tree) -> None:
    tree.write("users/root", "\n  imag: x")
    done = control("check", "--json")
    assert done.exit_code == 1
    (problem,) = json.loads(done.stdout)["problems"]
    assert (problem["line"], problem["column"], problem["severity"]) == (2, 3, "error")


def test_warnings_fail_only_when_asked(tree: Tree) -> None:
    tree.write("users/root", "network_mode: host")
    assert control("check").exit_code == 0
    assert control("check", "--strict").exit_code == 1


@pytest.mark.parametrize(
    ("volume", "warned"),
    [
        ("%h/x:/x:rw", True),
        ("/root:/x:rw", True),
        ("/root/x:/x:rw", True),
        ("/%u/x:/x:rw", True),
        ("/root/x:/x:ro", False),
        ("/rootless:/x:rw", False),
        ("/srv/%u:/x:rw", False),
    ],
)
def test_a_volume_that_writes_to_the_users_home_is_warned_of(
    tree: Tree, volume: str, *, warned: bool
) -> None:
    """root is a user that every machine has; the home is /root."""
    tree.write("users/root", f"image: host\nvolumes:\n  - '{volume}'\n")
    problems = json.loads(control("check", "--json").stdout)["problems"]
    found = [problem for problem in problems if "can write to" in problem["message"]]
    assert [(problem["line"], problem["column"]) for problem in found] == ([(3, 3)] if warned else [])


@pytest.mark.usefixtures("tree")
def test_check_of_files_anywhere(tmp_path: os.PathLike[str]) -> None:
    os.makedirs(f"{tmp_path}/work/users")
    os.makedirs(f"{tmp_path}/work/profiles")
    good, bad = f"{tmp_path}/work/users/a.yaml", f"{tmp_path}/work/users/b.yaml"
    with open(f"{tmp_path}/work/profiles/p.yaml", "w", encoding="utf-8") as file:
        file.write("hostname: p")
    with open(good, "w", encoding="utf-8") as file:
        file.write("extends: [p]")
    with open(bad, "w", encoding="utf-8") as file:
        file.write("extends: [q]")
    os.chmod(good, 0o666)
    assert control("check", good).exit_code == 0
    done = control("check", good, bad, f"{tmp_path}/none.yaml")
    assert done.exit_code == 1
    assert 'there is no profile "q"' in said(done)
    assert "there is no such file" in said(done)
    done = control("check", f"{tmp_path}/work")
    assert said(done).count("error:") == 2
    assert f"{good}: error: it is writable by users other than its owner (mode 0666)" in said(done)


@pytest.mark.usefixtures("tree")
def test_a_work_tree_is_judged_as_a_login_judges_it(tmp_path: os.PathLike[str]) -> None:
    """As `git archive | tar` leaves it, every login would be refused."""
    root = f"{tmp_path}/work"
    os.makedirs(f"{root}/users")
    os.makedirs(f"{root}/groups")
    with open(f"{root}/users/a.yaml", "w", encoding="utf-8") as file:
        file.write("hostname: a")
    assert control("check", root).exit_code == 0
    for path, mode in (
        (root, 0o775),
        (f"{root}/users", 0o775),
        (f"{root}/groups", 0o777),
        (f"{root}/users", 0o700),
    ):
        before = os.stat(path).st_mode
        os.chmod(path, mode)
        done = control("check", root)
        assert done.exit_code == 1, (path, said(done))
        assert path in said(done)
        os.chmod(path, before)
    os.chmod(f"{root}/users/a.yaml", 0o664)
    assert control("check", root).exit_code == 1
    assert "warning: users other than its owner can write to it" in said(
        control("check", f"{root}/users/a.yaml")
    )
    os.chmod(f"{root}/users/a.yaml", 0o644)
    os.chown(f"{root}/users/a.yaml", 54321, 0)
    assert "belongs to uid 54321" in said(control("check", root))


def test_directories_in_place_are_judged_without_a_file_in_them(tree: Tree) -> None:
    groups = f"{tree.places.configuration}/groups"
    os.makedirs(groups, exist_ok=True)
    os.chmod(groups, 0o775)
    done = control("check")
    assert done.exit_code == 1
    assert f"{groups}: error: users other than the administrator can write to it" in said(done)


@pytest.mark.parametrize("word", ["alice", "users/alice", "users/alice.yaml"])
def test_check_of_what_is_no_file_says_which_one_may_be_meant(tree: Tree, word: str) -> None:
    tree.write("users/alice", "hostname: box")
    done = control("check", word)
    assert done.exit_code == 1
    assert f"hint: ssh2containerctl check {tree.base}/etc/users/alice.yaml" in said(done)
    assert "hint" not in said(control("check", "bob"))


def test_check_of_a_directory_without_policies(tree: Tree) -> None:
    """A directory of the tree, named in place of the tree, must not pass for one without an error."""
    tree.write("users/root", "imag: x")
    done = control("check", f"{tree.places.configuration}/users")
    assert done.exit_code == 1
    assert "there is no policy in this directory" in said(done)


def test_check_warns_of_files_that_nothing_reads(tree: Tree) -> None:
    etc = tree.places.configuration
    for name in (
        "default.yaml",
        "config.yml",
        "users/alice.yml",
        "users/bob.YAML",
        "users/README",
        ".git.yml",
    ):
        with open(f"{etc}/{name}", "w", encoding="utf-8"):
            pass
    os.mkdir(f"{etc}/user")
    problems = json.loads(control("check", "--json").stdout)["problems"]
    assert {os.path.relpath(one["file"], etc): one["hint"] for one in problems} == {
        "config.yml": 'did you mean "config.yaml"?',
        "default.yaml": 'did you mean "defaults.yaml"?',
        "user": 'did you mean "users"?',
        "users/alice.yml": "call it alice.yaml",
        "users/bob.YAML": "call it bob.yaml",
    }
    assert {one["severity"] for one in problems} == {"warning"}


def test_a_group_stands_in_the_order_once(tree: Tree) -> None:
    tree.write("config", "group_order: [a, b, a]")
    done = control("check")
    assert done.exit_code == 1
    assert '1:21: error: "a" is listed twice' in said(done)


def test_check_reads_the_policy_tests_too(tree: Tree) -> None:
    os.mkdir(f"{tree.places.configuration}/tests", 0o755)
    path = tree.write("tests/root", "root: {can: [logn]}")
    for arguments in ((), (path,), (tree.places.configuration,)):
        done = control("check", *arguments)
        assert done.exit_code == 1
        assert 'unknown action "logn"' in said(done)
    tree.write("tests/root", "root: {can: [login]}")
    assert control("check", path).exit_code == 0


def test_check_of_a_file_in_a_tree_knows_its_chain(tree: Tree) -> None:
    tree.write("defaults", "image: a/b:1")
    path = tree.write("users/root", "userns_mode: range")
    assert control("check", path).exit_code == 0
    tree.write("defaults", "")
    assert control("check", path).exit_code == 1


def test_a_profile_is_not_complete(tree: Tree) -> None:
    path = tree.write("profiles/whole", "userns_mode: range")
    done = control("check", path)
    assert done.exit_code == 0
    assert "1 warning" in said(done)


@pytest.mark.parametrize(
    ("text", "severity", "found"),
    [
        ("user: daemon", "error", "maps the login's own id alone"),
        ("image: a/b:1\nuserns_mode: range\nnetwork_mode: host", "error", "meet on the host's network"),
        ("volumes: [/srv:/etc/x:ro]", "error", "/etc is the container's own"),
        ("volumes: [/srv:/usr/x:ro]", "error", "/usr is the container's own"),
        ("volumes: [/nonexistent/%u:/x:ro]", "warning", "there is no /nonexistent/root"),
        ("image: a/b:1", "warning", "the image a/b:1 is not installed"),
        ("seccomp: {profile: defalt}", "error", "there is no system-call filter"),
    ],
)
def test_check_says_what_every_login_would_be_refused_for(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, text: str, severity: str, found: str
) -> None:
    monkeypatch.setattr("ssh2container.policy.filters.PROFILES", (f"{ROOT}/etc/seccomp",))
    tree.write("users/root", text)
    problems = json.loads(control("check", "--json").stdout)["problems"]
    assert [one["severity"] for one in problems if found in one["message"]] == [severity], problems


@pytest.mark.parametrize(
    ("part", "mode", "severity"),
    [
        ("etc/users/root.yaml", 0o600, "warning"),
        ("etc/config.yaml", 0o600, "warning"),
        ("etc/users", 0o700, "error"),
        ("etc", 0o700, "error"),
    ],
)
def test_check_reports_what_a_login_cannot_read(tree: Tree, part: str, mode: int, severity: str) -> None:
    """Root, who checks, can: a file that was made with umask 077 is found by nothing else."""
    for name in ("users/root", "config"):
        tree.write(name, "")
    assert control("check").exit_code == 0
    os.chmod(f"{tree.base}/{part}", mode)
    done = control("check", "--json")
    (problem,) = json.loads(done.stdout)["problems"]
    assert problem["file"] == f"{tree.base}/{part}"
    assert problem["severity"] == severity
    assert f"mode {mode:04o}" in problem["message"]
    assert done.exit_code == (severity == "error")


def test_the_marker_stands_below_wide_characters(tree: Tree) -> None:
    tree.write("users/root", "access: {日本: 🙂, mesage: x}")
    assert "    access: {日本: 🙂, mesage: x}\n" + " " * (4 + 19) + "^\n" in said(control("check"))


def test_nothing_is_printed_where_no_bar_can_be(tree: Tree) -> None:
    assert said(control("check")) == "no errors, no warnings\n"
    assert tree.logged == []


def test_an_enforced_list_that_only_adds_is_named(tree: Tree) -> None:
    tree.write("enforced", "accept_env: [A]\nvolumes: !override []\n")
    done = control("check")
    assert "accept_env adds to what users and groups have" in said(done)
    assert "volumes adds" not in said(done)


@pytest.mark.parametrize(
    ("pattern", "caught"),
    [
        ("LD_*", "LD_PRELOAD"),
        ("LD_AUDIT", "LD_AUDIT"),
        ("LD_LIB*", "LD_LIBRARY_PATH"),
        ("PYTHON*", "PYTHONPATH"),
        ("BASH_*", "BASH_ENV"),
        ("OPENSSL_C*", "OPENSSL_CONF"),
        ("*_MODULES", "OPENSSL_MODULES"),
    ],
)
def test_a_pattern_by_which_a_client_runs_its_own_code_is_named(
    tree: Tree, pattern: str, caught: str
) -> None:
    tree.write("users/root", f"accept_env: ['{pattern}', LC_ALL]\n")
    told = said(control("check"))
    assert f"the pattern {pattern} lets the client set {caught}" in told
    assert "the pattern LC_ALL" not in told


def test_show_names_the_origin_of_each_value(tree: Tree) -> None:
    tree.write("users/root", "environment: {A: a}\nvolumes:\n  - /srv:/x:ro\n")
    done = control("show", "root")
    assert done.exit_code == 0
    lines = {line.split("#")[0].rstrip(): line.rpartition("# ")[2] for line in said(done).splitlines()}
    assert lines["hostname: box"] == f"{tree.base}/etc/defaults.yaml:1"
    assert lines["  - /srv:/x:ro"] == f"{tree.base}/etc/users/root.yaml:3"
    assert lines["  A: a"] == f"{tree.base}/etc/users/root.yaml:1"
    assert lines["image: host"] == "built-in default"


def test_show_of_what_was_written_only(tree: Tree) -> None:
    tree.write("users/root", "access: {sftp: {umask: '027'}}")
    done = control("show", "root", "--changed")
    assert [line.split("#")[0].rstrip() for line in said(done).splitlines()] == [
        "hostname: box", "access:", "  sftp:", '    umask: "027"',
    ]  # fmt: skip
    values = json.loads(control("show", "root", "--changed", "--json").stdout)["values"]
    assert values["access.sftp.umask"] == {"yaml": '"027"', "origin": f"{tree.base}/etc/users/root.yaml:1"}


def test_show_for_a_group(tree: Tree) -> None:
    tree.write("config", "group_order: [staff]")
    tree.write("groups/staff", "hostname: staff")
    assert "hostname: staff" in said(control("show", "root", "--group", "staff"))
    done = control("show", "root")
    assert done.exit_code == 126
    assert "there is no policy for root" in said(done)


def test_what_show_prints_is_the_policy_that_it_shows(tree: Tree) -> None:
    odd = "[bold]\\\\[/] \\\\[x] :smile: # no comment é \\n\\e[1m"
    tree.write(
        "users/root",
        f"""\
tmpfs: /proce=64m,mode=1777"]
volumes: [{{source: '/srv/a: b', target: "/c,d]"}}]
accept_env: !override EDITOR
environment: {{NO: "{odd}", null: "{"long " * 300}", EMPTY: "", A: }}
access: {{message: "{odd}", commands: [{{exact: "a 'b]' 'c: d'"}}]}}
seccomp: {{deny: 435}}
""",
    )
    first = control("show", "root")
    assert first.exit_code == 0, said(first)
    assert first.stdout.count("\x1b") == 0
    digest = tree.load("root").digest
    tree.write("defaults", "{}")
    tree.write("users/root", first.stdout)
    assert tree.load("root").digest == digest
    tree.write("users/root", "accept_env: !override []")
    shown = control("show", "root", "--changed").stdout
    assert "accept_env: !override []" in shown
    assert "accept_env: !override []" in control("show", "root").stdout


def test_show_of_an_invalid_policy_tells_all_errors(tree: Tree) -> None:
    tree.write("users/root", "imag: x\nhostnam: y")
    done = control("show", "root")
    assert done.exit_code == 126
    assert "imag" in said(done)
    assert "hostnam" in said(done)


@pytest.mark.usefixtures("tree")
def test_a_user_that_does_not_exist() -> None:
    done = control("show", "nobody-here")
    assert done.exit_code == 126
    assert "there is no user" in said(done)


def test_diff_of_a_file_and_of_directories(tree: Tree, tmp_path: os.PathLike[str]) -> None:
    tree.write("users/root", "hostname: one")
    other = f"{tmp_path}/root.yaml"
    with open(other, "w", encoding="utf-8") as file:
        file.write("hostname: two\nenvironment: {A: a}")
    done = control("diff", "root", tree.places.configuration, other)
    assert done.exit_code == 1
    assert "- one" in said(done)
    assert "+ two" in said(done)
    assert control("diff", "root", tree.places.configuration, tree.places.configuration).exit_code == 0
    found = json.loads(control("diff", "root", other, tree.places.configuration, "--json").stdout)
    assert [one["key"] for one in found["differences"]] == ["hostname", "environment.A", "environment"]


def edit(tree: Tree, monkeypatch: pytest.MonkeyPatch, script: str, *arguments: str) -> Result:
    """Run edit with an editor that runs ``script`` on the file."""
    editor = f"{tree.base}/editor"
    with open(editor, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\n{script}\n")
    os.chmod(editor, stat.S_IRWXU)
    monkeypatch.setenv("VISUAL", editor)
    monkeypatch.setattr("ssh2container.admin.policy.compile.build.build_filters", lambda *_: None)
    return control("edit", *arguments)


def test_edit_puts_a_valid_file_in_force(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    done = edit(tree, monkeypatch, 'echo "hostname: edited" >>"$1"', "root")
    assert done.exit_code == 0, said(done)
    path = tree.places.source("users/root")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644
    assert tree.load("root").hostname == "edited"
    assert tree.logged == [], "edit compiles"
    with open(path, encoding="utf-8") as file:
        assert file.readline().startswith("# yaml-language-server")


def test_edit_never_installs_what_is_not_valid(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.write("users/root", "hostname: before\n")
    done = edit(tree, monkeypatch, 'echo "imag: x" >>"$1"', "root")
    assert done.exit_code == 1
    assert 'unknown key "imag"' in said(done)
    assert tree.load("root").hostname == "before"


def test_edit_without_a_change_changes_nothing(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    done = edit(tree, monkeypatch, ":", "root")
    assert done.exit_code == 0
    assert not os.path.exists(tree.places.source("users/root"))


def test_edit_when_the_editor_fails(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    done = edit(tree, monkeypatch, 'echo "hostname: x" >>"$1"; exit 3', "root")
    assert done.exit_code == 125
    assert "ended with status 3" in said(done)
    assert not os.path.exists(tree.places.source("users/root"))


def test_edit_of_two_at_once_is_refused(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    held = os.open(tree.places.configuration, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = edit(tree, monkeypatch, ":", "root")
        assert done.exit_code == 125
        assert "somebody else" in said(done)
    finally:
        os.close(held)


def test_edit_checks_the_draft_with_the_rest_of_its_chain(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.write("config", "group_order: [root]")
    tree.write("defaults", "image: a/b:1")
    done = edit(tree, monkeypatch, 'echo "userns_mode: range" >>"$1"', "root")
    assert done.exit_code == 0, "the image stands in defaults.yaml"
    assert "a/b:1 is not installed" in said(done)
    done = edit(tree, monkeypatch, 'echo "image: host" >>"$1"', "root")
    assert done.exit_code == 1
    assert "the host's files belong to others" in said(done)
    tree.write("defaults", "")
    os.unlink(tree.places.source("users/root"))
    done = edit(tree, monkeypatch, 'echo "userns_mode: range" >>"$1"', "--profile", "whole")
    assert done.exit_code == 0, "who extends it names the image"
    assert "unless another of the user's files overrides it" in said(done)
    done = edit(tree, monkeypatch, 'echo "extends: [whole]" >>"$1"', "root")
    assert done.exit_code == 1


@pytest.mark.parametrize("before", [b"environment: {A: \xff}\n", b"hostname: a\r\n", b"imag: x\n"])
def test_edit_shows_what_is_there_byte_for_byte(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    path = tree.write("users/root", before)
    done = edit(tree, monkeypatch, f'cp "$1" {tree.base}/shown', "root")
    assert done.exit_code == 0, said(done)
    with open(f"{tree.base}/shown", "rb") as file:
        assert file.read() == before
    assert edit(tree, monkeypatch, 'echo "hostname: b" >"$1"', "root").exit_code == 0
    with open(path, "rb") as file:
        assert file.read() == b"hostname: b\n"


@pytest.mark.parametrize("kind", ["fifo", "directory", "huge"])
def test_edit_of_what_no_editor_can_mend(tree: Tree, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = tree.places.source("users/root")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        os.mkdir(path)
    else:
        tree.write("users/root", b"#" * 300_000)
    monkeypatch.setenv("TMPDIR", tree.base)
    done = edit(tree, monkeypatch, 'echo >"$1"', "root")
    assert done.exit_code == 125
    assert f"{path}: " in said(done)
    assert not [name for name in os.listdir(tree.base) if "edit-" in name], "the draft is gone"


def test_edit_whose_editor_removes_the_draft(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    done = edit(tree, monkeypatch, 'rm "$1"', "root")
    assert done.exit_code == 125
    assert "cannot read what was edited" in said(done)


def test_edit_with_an_editor_that_is_no_command(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.write("users/root", "")
    monkeypatch.delenv("VISUAL", raising=False)
    for editor in ('vi "', " ", "/nonexistent/vi"):
        monkeypatch.setenv("EDITOR", editor)
        done = control("edit", "root")
        assert done.exit_code == 125
        assert "cannot run the editor" in said(done)


def test_an_interrupt_in_the_editor_is_the_editors(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal sends ^C to both; the editor, too, must be able to die of it."""
    done = edit(tree, monkeypatch, 'kill -INT $PPID; echo "hostname: b" >>"$1"', "root")
    assert done.exit_code == 0, said(done)
    assert tree.load("root").hostname == "b"
    done = edit(tree, monkeypatch, "kill -INT $$; exit 0", "root")
    assert done.exit_code == 125
    assert "ended with status -2" in said(done)


@pytest.mark.parametrize(
    "arguments", [(), ("root", "--group", "x"), ("../x",), (".x",), ("--group", "a/b"), ("--file", "other")]
)
def test_edit_wants_one_name(tree: Tree, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    assert edit(tree, monkeypatch, ":", *arguments).exit_code == 2


def test_one_users_filter_stops_nothing(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that policy's problem alone: others are compiled, enabled and edited all the same."""

    def refuse(*_: object) -> list[str]:
        raise BuildError("nope: there is no such profile", ["/compiled/of-others"])

    monkeypatch.setattr("ssh2container.admin.images.tools.transfers.refresh", lambda: False)
    monkeypatch.setattr("ssh2container.admin.seccomp.build.compile_all", refuse)
    done = control("compile", "--json")
    assert done.exit_code == 1
    made = json.loads(done.stdout)
    assert made["written"] == ["config", "defaults"]
    assert "there is no such profile" in made["problems"][0]["message"]
    assert made["filters"] == ["/compiled/of-others"]
    assert tree.logged == []


def test_compile_says_what_it_did(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssh2container.admin.images.tools.transfers.refresh", lambda: False)
    monkeypatch.setattr("ssh2container.admin.policy.compile.build.build_filters", lambda *_: None)
    tree.write("users/root", "imag: x")
    done = control("compile", "--json")
    assert done.exit_code == 1
    made = json.loads(done.stdout)
    assert made["written"] == ["config", "defaults"]
    assert [problem["message"] for problem in made["problems"]] == ['unknown key "imag"']
    tree.write("users/root", "")
    assert control("compile").exit_code == 0


def test_status(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    for listing in ("enrolled_names", "with_the_shell"):
        monkeypatch.setattr(status, listing, lambda: ["root"])
    tree.write("users/root", "")
    done = control("status", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["not_compiled"] == ["config", "defaults", "users/root"]
    tree.compile()
    done = control("status")
    assert done.exit_code == 0
    assert "1: root" in said(done)


def test_status_names_who_is_enrolled_without_a_policy(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    for listing in ("enrolled_names", "with_the_shell"):
        monkeypatch.setattr(status, listing, lambda: ["root", "daemon", "gone"])
    tree.write("groups/root", "")
    tree.write("config", "group_order: [root]")
    tree.write("enforced", "record: {terminal: true}")
    tree.compile()
    done = control("status", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["enrolled"] == ["root", "daemon", "gone"]
    assert found["enrolled_without_policy"] == ["daemon", "gone"]
    assert (found["enforced"], found["not_compiled"]) == (True, [])
    assert "2: daemon, gone" in said(control("status"))
    tree.write("config", "group_order: [root]\nadmit: everybody")
    tree.compile()
    assert control("status").exit_code == 0


def test_schema_is_json() -> None:
    assert json.loads(control("schema").stdout)["title"] == "ssh2container policy"
    assert json.loads(control("schema", "--site").stdout)["title"] == "ssh2container site settings"


def test_a_thousand_users_are_checked(tree: Tree) -> None:
    for number in range(1000):
        tree.write(f"users/u{number}", f"extends: [p]\nhostname: h{number}\n")
    tree.write("share/p", "environment: {A: a}\nvolumes: [/srv:/x:ro]")
    done = control("check")
    assert done.exit_code == 0
    assert said(done).endswith("no errors, 1000 warnings\n")


def test_a_mistyped_verb_is_guessed() -> None:
    done = control("chek")
    assert done.exit_code == 2
    assert "Did you mean 'check'?" in said(done)


def test_help_imports_no_verb() -> None:
    program = (
        f"import sys; sys.path[:] = {[ROOT, *sys.path]!r}\n"
        "from click.testing import CliRunner\nfrom ssh2container.admin.cli.main import command\n"
        "print(CliRunner().invoke(command, ['--help']).output)\n"
        "print(*[name for name in sys.modules if name.startswith('ssh2container.admin.cli.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    listing, _, modules = done.stdout.rstrip().rpartition("\n")
    assert set(modules.split()) == {f"ssh2container.admin.cli.{name}" for name in ("main", "output", "verbs")}
    assert "check" in listing


def test_every_verb_that_exists_runs_its_help() -> None:
    for verb in verbs.found():
        done = control(verb, "--help")
        assert done.exit_code == 0, verb
        assert done.output.startswith("Usage: "), verb


def test_every_file_that_is_a_verb_is_found_and_says_one_line_of_itself() -> None:
    """What is read from the files' text, for help and completion, is what they are when imported."""
    rooms = os.listdir(f"{ROOT}/ssh2container/admin/cli")
    files = {name.removesuffix(".py").replace("_", "-") for name in rooms if name.endswith(".py")}
    no_verbs = {
        "--init--",
        "main",
        "output",
        "verbs",
        "enrolment",
        "findings",
        "completing",
        "moment",
        "public-key",
        "bulk",
        "exits",
        "members",
    }
    no_verbs |= {"sessions-table", "top"}  # what `sessions` shows, once and again and again
    found = verbs.found()
    assert set(found) == (files - no_verbs) | {"image"}
    for name, verb in found.items():
        module = importlib.import_module(verb.module)
        assert (module.command.name, module.command.short_help) == (name, verb.help)
        assert verb.section == module.SECTION
    assert {verb.section for verb in found.values()} == set(verbs.SECTIONS)


def test_completion_of_verbs() -> None:
    environment = {
        "_SSH2CONTAINERCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": "ssh2containerctl sc",
        "COMP_CWORD": "1",
    }
    program = (
        f"import sys; sys.path[:] = {[ROOT, *sys.path]!r}; "
        "from ssh2container.admin.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["plain,schema"]


@pytest.mark.parametrize("words", [["show"], ["explain", "--json"], ["diff"], ["log"], ["try", "--user"]])
def test_completion_of_users(tree: Tree, words: list[str]) -> None:
    tree.write("users/zz-alice", "")
    tree.write("users/bob", "")
    assert completed(words, "zz-") == ["zz-alice"]
    assert completed(words, "no-such") == []


def test_completion_names_nobody_twice(tree: Tree) -> None:
    tree.write("users/zz-alice", "")
    assert completed(["disable"], "zz-") == ["zz-alice"]
    assert completed(["disable", "zz-alice"], "zz-") == []


@pytest.mark.parametrize("words", [["kill"], ["watch"], ["image", "rm"], ["replay"]])
def test_completion_without_an_answer_is_silent(words: list[str]) -> None:
    assert completed(words, "no such thing") == []


def completed(words: list[str], incomplete: str) -> list[str]:
    complete = ShellComplete(command, {}, "ssh2containerctl", "_SSH2CONTAINERCTL_COMPLETE")
    return [item.value for item in complete.get_completions(words, incomplete)]


# ---- the audit trail ---------------------------------------------------------------------------------------

LOG = r"""
Nov  2 00:31:45 host ssh2container[12]: event=refused session="ab" uid="1000" user="alice" kind="command" command="x\\y" status="126" reason="the command \"x\" is not allowed"
2026-11-22T00:31:46.1+00:00 host ssh2container[13]: event=open session="cd" uid="1001" user="bob" kind="login"
2026-11-22T00:31:47.1+00:00 host ssh2container[13]: event=close session="cd" uid="1001" user="bob" kind="login" reason="payload" exit="7" duration="1.500"
Nov 22 00:31:48 host sshd[14]: Accepted publickey for ssh2container
Nov 22 00:31:49 host ssh2container[15]: users/alice is not compiled; run ssh2containerctl compile
Nov 22 00:31:49 host ssh2container[15]: event=open user="eve\x1b[31m
not a line
"""  # noqa: E501


@pytest.fixture
def log(tmp_path: os.PathLike[str]) -> str:
    path = f"{tmp_path}/auth.log"
    with open(path, "w", encoding="utf-8") as file:
        file.write(LOG)
    return path


def test_log_answers_why_alice_was_refused(log: str) -> None:
    done = control("log", "alice", "--file", log)
    assert done.exit_code == 0
    lines = said(done).splitlines()
    assert len(lines) == 2
    assert 'refused  the command "x" is not allowed' in lines[1]


def test_log_of_a_session(log: str) -> None:
    records = json.loads(control("log", "cd", "--file", log, "--json").stdout)["records"]
    assert [record["event"] for record in records] == ["open", "close"]
    assert records[1]["exit"] == "7"
    assert "status 7 after 1.500 s: payload" in said(control("log", "cd", "--file", log))


def test_log_of_everything(log: str) -> None:
    records = json.loads(control("log", "--file", log, "--json").stdout)["records"]
    assert [record["event"] for record in records] == ["refused", "open", "close", "note", "open"]
    assert records[0]["command"] == "x\\y"
    assert records[3]["text"].startswith("users/alice is not compiled")
    assert len(json.loads(control("log", "--file", log, "--json", "-n", "2").stdout)["records"]) == 2
    assert len(json.loads(control("log", "--file", log, "--json", "--refused").stdout)["records"]) == 1


def test_log_since_a_time_in_a_file(tmp_path: os.PathLike[str]) -> None:
    now = time.time()
    path = f"{tmp_path}/auth.log"
    with open(path, "w", encoding="utf-8") as file:
        for session, age in (("aa", 100 * 86400), ("bb", 10 * 3600), ("cc", 60)):
            when = time.strftime("%b %e %H:%M:%S", time.localtime(now - age))
            file.write(f'{when} host ssh2container[1]: event=open session="{session}1"\n')
            when = time.strftime("%Y-%m-%dT%H:%M:%S.123456+00:00", time.gmtime(now - age))
            file.write(f'{when} host ssh2container[1]: event=open session="{session}2"\n')

    def since(start: str) -> list[str]:
        records = json.loads(control("log", "--file", path, "--since", start, "--json").stdout)["records"]
        return [record["session"] for record in records]

    assert since("2 hours ago") == ["cc1", "cc2"]
    assert since("2 days ago") == ["bb1", "bb2", "cc1", "cc2"]
    assert len(since("2001-02-03 04:05")) == 6
    done = control("log", "--file", path, "--since", "the other day")
    assert done.exit_code == 125
    assert "cannot understand the time 'the other day'" in said(done)


def test_log_shows_no_escape_sequences(log: str) -> None:
    with open(log, "a", encoding="utf-8") as file:
        file.write('Nov 22 00:31:49 host ssh2container[15]: event=refused user="a" reason="\x1b[31mred"\n')
    assert "\x1b" not in said(control("log", "--file", log))
    assert "\x1b" not in control("log", "--file", log, "--json").stdout


def test_the_journal_marks_who_lies(tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for journalctl, which needs systemd: what it prints is journald's export as JSON."""
    entries = [
        {
            "MESSAGE": 'event=open uid="1000" user="no-account"',
            "_UID": "1000",
            "__REALTIME_TIMESTAMP": "1700000000000000",
        },
        {
            "MESSAGE": 'event=open uid="1000" user="no-account"',
            "_UID": "1001",
            "__REALTIME_TIMESTAMP": "1700000000000000",
        },
        {"MESSAGE": [101, 118, 255], "_UID": "0", "__REALTIME_TIMESTAMP": "1700000000000000"},
        {"MESSAGE": None},
    ]
    with open(f"{tmp_path}/journalctl", "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\ncat <<'END'\n" + "\n".join(map(json.dumps, entries)) + "\nEND\n")
    os.chmod(f"{tmp_path}/journalctl", 0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(
        "os.path.isdir", lambda path: path == "/run/systemd/journal" or stat.S_ISDIR(os.stat(path).st_mode)
    )
    records = json.loads(control("log", "--json").stdout)["records"]
    assert [record["forged_by_uid"] for record in records] == [None, "1001", None]
    assert records[2]["text"] == "ev\\xff"
