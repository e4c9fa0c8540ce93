"""One set of exit statuses for every verb: each is provoked by a real call, and none is another."""

from __future__ import annotations

import ast
import glob
import json
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.host import Done, run
from support.login import live
from support.users import MakeUser, User

from ssh2container.admin import statuses
from ssh2container.admin.cli import exits

CTL = "/usr/bin/ssh2containerctl"
SAID = exits.stated()
NOBODY = ("/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
NONE = "no-such-name"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ELSEWHERE = {
    ("deploy", 0): "tests/system/test_deploy.py",
    ("adopt", 126): "tests/session/test_adopt.py",
    ("kill", 1): "ssh2container/admin/sessions/ending.py",
    ("watch", 0): "tests/clients/test_terminal_screens.py",
    ("forget", 0): "tests/session/test_forget.py",
    ("forget", 1): "tests/session/test_forget.py",
    ("forget", 126): "tests/session/test_forget.py",
    ("metrics", 0): "tests/session/test_metrics_verb.py",
    ("metrics", 125): "tests/session/test_metrics_verb.py",
    ("image bootstrap", 0): "tests/system/test_image_sources.py",
    ("image range", 0): "tests/session/test_range.py",
    ("doctor", 1): "tests/system/test_doctor.py",
    ("doctor", 2): "tests/system/test_doctor.py",
    ("network remove", 0): "tests/session/test_network_create.py",
    ("sshd-config", 1): "tests/system/test_install.py",
    ("verify", 0): "tests/escape/test_layers.py",
    ("verify", 1): "tests/escape/test_weakened.py",
}
"""(verb, status) -> where it is seen: it takes another machine, minutes, or a kernel in trouble."""
CALLS = {
    ("check", 0): "check {tree}",
    ("check", 1): "check {broken}",
    ("client-config", 0): "client-config {forwarding}",
    ("client-config", 125): "client-config {none}",
    ("client-config", 126): "client-config {user}",
    ("compile", 0): "compile --no-sshd --no-limits",
    ("compile", 1): "compile --no-sshd --no-limits --json",
    ("convert", 0): "convert {compose}",
    ("convert", 1): "convert {none}.yaml",
    ("deploy", 1): "deploy {broken}",
    ("diff", 0): "diff {user} /etc/ssh2container /etc/ssh2container",
    ("diff", 1): "diff {user} /etc/ssh2container {tree}",
    ("diff", 126): "diff {none} {tree} {tree}",
    ("disable", 0): "disable --dry-run {user}",
    ("disable", 1): "disable --dry-run {none}",
    ("disable", 126): "disable --dry-run {outsider}",
    ("doctor", 0): "doctor --host --exit-zero",
    ("doctor", 125): "doctor {none}",
    ("edit", 0): "edit {user}",
    ("enable", 0): "enable --dry-run {user}",
    ("enable", 1): "enable --dry-run {none}",
    ("enable", 126): "enable --dry-run root",
    ("adopt", 0): "adopt --dry-run {outsider}",
    ("adopt", 1): "adopt --dry-run {none}",
    ("exec", 125): "exec {none} -- true",
    ("exec", 126): "exec {session} -- /etc/passwd",
    ("exec", 127): "exec {session} -- no-such-program",
    ("explain", 0): "explain {user} -- true",
    ("explain", 125): "explain {unmade} -- true",
    ("explain", 126): "explain {none} -- true",
    ("explain", 127): "explain {shellless} -- true",
    ("image build", 0): "image build host-tools --only --with /bin/true --name {fresh}",
    ("image build", 127): "image build host-tools --with /{none} --name {fresh}",
    ("image bootstrap", 127): "image bootstrap {none}",
    ("image edit", 0): "image edit --yes {image} -- true",
    ("image edit", 1): "image edit {image} -- touch /new",
    ("image edit", 127): "image edit {image} -- no-such-program",
    ("image gc", 0): "image gc --dry-run",
    ("image import", 0): "image import {fresh} {directory}",
    ("image import", 125): "image import {fresh} /{none}",
    ("image info", 0): "image info {image}",
    ("image info", 127): "image info {none}",
    ("image list", 0): "image list",
    ("image range", 127): "image range {none}",
    ("image rm", 0): "image rm {image}",
    ("image rm", 125): "image rm {named}",
    ("image rm", 127): "image rm {none}",
    ("image update", 0): "image update {image}",
    ("image update", 1): "image update {imported}",
    ("image update", 127): "image update {none}",
    ("image verify", 0): "image verify {image}",
    ("image verify", 1): "image verify {damaged}",
    ("image verify", 127): "image verify {none}",
    ("kill", 0): "kill {session}",
    ("kill", 125): "kill {none}",
    ("log", 0): "log --file {log} {user}",
    ("log", 125): "log --file {log} {none}",
    ("network create", 0): "network create --dry-run s2cnone",
    ("network create", 126): "network create lo",
    ("network list", 0): "network list",
    ("network show", 0): "network show {bridge}",
    ("network show", 125): "network show {none}",
    ("network remove", 126): "network remove {none}",
    ("replay", 0): "replay {cast}",
    ("replay", 1): "replay --verify --file {log} {cast}",
    ("replay", 125): "replay {none}",
    ("schema", 0): "schema",
    ("seccomp show", 0): "seccomp show --user {user}",
    ("seccomp show", 125): "seccomp show --profile {none}",
    ("seccomp show", 126): "seccomp show --user {none}",
    ("seccomp diff", 0): "seccomp diff",
    ("seccomp diff", 125): "seccomp diff --with {none}",
    ("seccomp diff", 126): "seccomp diff --user {none}",
    ("seccomp simulate", 0): "seccomp simulate read",
    ("seccomp simulate", 125): "seccomp simulate --profile {none} read",
    ("seccomp simulate", 126): "seccomp simulate --user {none} read",
    ("seccomp learn", 0): "seccomp learn --no-trials -o {fresh_file} {user} -- true",
    ("seccomp learn", 125): "seccomp learn --no-trials -o {log} {user} -- true",
    ("seccomp learn", 126): "seccomp learn -o {fresh_file} {none} -- true",
    ("sessions", 0): "sessions --user {user}",
    ("sessions", 125): "sessions --user {none}",
    ("show", 0): "show {user}",
    ("show", 126): "show {none}",
    ("sshd-config", 0): "sshd-config",
    ("sshd-config", 2): "sshd-config --user {outsider}",
    ("sshd-config", 125): "sshd-config --user {none}",
    ("status", 0): "status {user}",
    ("status", 1): "status",
    ("status", 125): "status {none}",
    ("test", 0): "test {kept}",
    ("test", 1): "test {unkept}",
    ("test", 126): "test {none}",
    ("try", 125): "try --user {unmade} -- true",
    ("try", 126): "try --user {none} -- true",
    ("try", 127): "try --user {shellless} -- true",
    ("usage", 0): "usage --file {log} {user}",
    ("usage", 125): "usage --file {log} {none}",
    ("verify", 125): "verify {policyless}",
    ("verify", 126): "verify {none}",
    ("watch", 125): "watch {none}",
}
"""(verb, status) -> a call that ends with it; a name in braces is a method of :class:`Material`."""


class Material:
    """What calls name, made when one does and removed after the test."""

    none = NONE

    def __init__(self, user: User, make_user: MakeUser, directory: Path) -> None:
        self.user = user.name
        self._user = user
        self._make_user = make_user
        self._directory = directory
        self._undo: list[Callable[[], object]] = []

    def end(self) -> None:
        for undo in reversed(self._undo):
            undo()

    def _write(self, name: str, text: str) -> str:
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def _with(self, policy: str | None) -> str:
        return self._make_user(policy).name

    @property
    def forwarding(self) -> str:
        return self._with("extends: [shell]\nallow_forwarding: true\n")

    @property
    def unmade(self) -> str:
        """Its container cannot be made: a directory is a file there."""
        return self._with("image: host\nvolumes: ['/etc/hostname:/tmp:ro']\n")

    @property
    def shellless(self) -> str:
        return self._with(f"image: host\nshell: [/usr/bin/{NONE}]\n")

    @property
    def policyless(self) -> str:
        return self._with(None)

    @property
    def outsider(self) -> str:
        return self._make_user(None, "/bin/bash").name

    @property
    def tree(self) -> str:
        """A directory of policies with another one for the user."""
        self._write(f"tree/users/{self.user}.yaml", "image: host\nhostname: other\n")
        return str(self._directory / "tree")

    @property
    def broken(self) -> str:
        self._write("broken/users/x.yaml", "nonsense: 1\n")
        return str(self._directory / "broken")

    @property
    def compose(self) -> str:
        return self._write("compose.yaml", "services:\n  one:\n    image: x\n")

    @property
    def kept(self) -> str:
        return self._write("kept.yaml", f"{self.user}:\n  can: [run true]\n")

    @property
    def unkept(self) -> str:
        return self._write("unkept.yaml", f"{self.user}:\n  can: [run false]\n")

    @property
    def log(self) -> str:
        return self._write("auth.log", "")

    @property
    def cast(self) -> str:
        return self._write("a.cast", '{"version": 2, "width": 80, "height": 24}\n[0.0, "o", "x"]\n')

    @property
    def fresh_file(self) -> str:
        return str(self._directory / secrets.token_hex(4))

    @property
    def directory(self) -> str:
        self._write("directory/bin/one", "x")
        return str(self._directory / "directory")

    @property
    def fresh(self) -> str:
        """The name of an image that is not there yet."""
        name = f"s2c-test-{os.getpid()}/{secrets.token_hex(3)}"
        self._undo.append(lambda: run([CTL, "image", "rm", "--force", name]))
        return name

    @property
    def image(self) -> str:
        """An image with a shell, which can be made anew."""
        name = self.fresh
        programs = [word for path in ("/bin/sh", "/usr/bin/touch", "/bin/true") for word in ("--with", path)]
        run([CTL, "image", "build", "host-tools", "--only", *programs, "--name", name]).ok()
        return name

    @property
    def imported(self) -> str:
        name = self.fresh
        run([CTL, "image", "import", name, self.directory]).ok()
        return name

    @property
    def named(self) -> str:
        """An image that a policy names."""
        name = self.imported
        self._with(f"image: {name}\n")
        return name

    @property
    def damaged(self) -> str:
        name = self.imported
        told = json.loads(run([CTL, "image", "info", "--json", name]).ok().out)
        (path,) = glob.glob(
            f"/var/lib/ssh2container/images/*/{told['digest'].partition(':')[2]}/root/bin/one"
        )
        Path(path).write_text("y")
        return name

    @property
    def bridge(self) -> str:
        name = "s2c" + secrets.token_hex(4)
        run(["ip", "link", "add", name, "type", "bridge"]).ok()
        self._undo.append(lambda: run(["ip", "link", "del", name]).ok())
        return name

    @property
    def session(self) -> str:
        context = live(self._user)
        context.__enter__()
        self._undo.append(lambda: context.__exit__(None, None, None))
        return self.user


@pytest.fixture
def material(user: User, make_user: MakeUser, tmp_path: Path) -> Iterator[Material]:
    found = Material(user, make_user, tmp_path)
    yield found
    found.end()


def called(words: str, material: Material, *, before: tuple[str, ...] = (), editor: str = "true") -> Done:
    """Run a verb with what the names in braces stand for."""
    argv = [word.format_map(_Attributes(material)) for word in words.split(" ")]
    environment = {"PATH": os.environ["PATH"], "EDITOR": editor, "VISUAL": editor}
    return run([*before, CTL, *argv], env=environment, cwd="/")


class _Attributes(dict[str, str]):
    def __init__(self, of: Material) -> None:
        super().__init__()
        self._of = of

    def __missing__(self, key: str) -> str:
        return str(getattr(self._of, key))


def ends_with(done: Done, verb: str, status: int) -> None:
    assert done.status == status, (verb, done.text[-500:], done.errors[-500:])
    assert b"Traceback" not in done.err
    if status not in (statuses.DONE, statuses.AMISS, statuses.PROBLEM):
        assert done.err.strip(), "who fails says why"


@pytest.mark.parametrize(("verb", "status"), CALLS, ids=lambda value: str(value).replace(" ", "-"))
def test_a_verb_ends_as_its_help_says(verb: str, status: int, material: Material) -> None:
    words = CALLS[verb, status]
    if (verb, status) in (("status", 1), ("compile", 1)):
        with amiss(material):
            done = called(words, material)
    else:
        done = called(words, material)
    ends_with(done, verb, status)


class amiss:  # noqa: N801  # reads as what it is
    """Something wrong on this host for a ``with`` block: a policy that is none, and a user without one."""

    def __init__(self, material: Material) -> None:
        self._user = material.policyless
        self._path = f"/etc/ssh2container/users/s2c{secrets.token_hex(4)}.yaml"

    def __enter__(self) -> None:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        Path(self._path).write_text("nonsense: 1\n")

    def __exit__(self, *_: object) -> None:
        os.unlink(self._path)


def test_an_edit_that_is_given_up(material: Material) -> None:
    done = called("edit {user}", material, editor="sed -i 1inonsense:")
    ends_with(done, "edit", statuses.AMISS)


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        ("adopt {user}", 125),
        ("deploy /etc/ssh2container", 125),
        ("doctor --host", statuses.USAGE),
        ("verify {user}", 126),
    ],
)
def test_what_only_root_may(verb: str, status: int, material: Material) -> None:
    ends_with(called(verb, material, before=NOBODY), verb, status)


@pytest.mark.parametrize("verb", ["network create s2cnone", "disable {user}", "enable {user}"])
def test_what_nobody_may_ends_without_a_traceback(verb: str, material: Material) -> None:
    done = called(verb, material, before=NOBODY)
    assert done.status in (statuses.AMISS, 125)
    assert b"Traceback" not in done.err
    assert b"ermission denied" in done.err


@pytest.mark.parametrize("words", ["try --user {user} -- exit 77", "exec {session} -- sh -c exit\t77",
                                   "image edit {image} -- sh -c exit\t77"])  # fmt: skip
def test_what_is_passed_on(words: str, material: Material) -> None:
    argv = [word.format_map(_Attributes(material)).replace("\t", " ") for word in words.split(" ")]
    assert run([CTL, *argv]).status == 77


def test_death_by_a_signal_is_passed_on(material: Material) -> None:
    assert run([CTL, "exec", material.session, "--", "sh", "-c", "kill -TERM $$"]).status == -signal.SIGTERM


@pytest.mark.parametrize("verb", SAID)
def test_wrong_usage(verb: str) -> None:
    done = run([CTL, *verb.split(), "--no-such-option"])
    assert (done.status, done.out) == (statuses.USAGE, b"")
    assert b"--no-such-option" in done.err


def test_every_status_that_a_verb_names_is_provoked() -> None:
    named = {(verb, status) for verb, (_, said) in SAID.items() for status in said}
    seen = {*CALLS, *ELSEWHERE, ("edit", 1), ("adopt", 125), ("deploy", 125), ("doctor", 125)}
    assert seen == named
    assert set(ELSEWHERE).isdisjoint(CALLS)
    for path in ELSEWHERE.values():
        assert os.path.exists(f"{ROOT}/{path}")


def test_every_verb_says_its_statuses_and_no_others() -> None:
    for verb, (passed_on, said) in SAID.items():
        assert said.keys() <= statuses.MEANINGS.keys(), verb
        assert passed_on or statuses.DONE in said, verb
        assert statuses.PROBLEM not in said or verb in ("doctor", "sshd-config"), (
            "wrong usage is said once, for all"
        )
        shown = " ".join(run([CTL, *verb.split(), "--help"]).ok().text.split())
        assert shown.count("Exit status:") == 1, verb


def test_no_verb_ends_with_another_number() -> None:
    """In the text of the verbs: what sys.exit gets, and what their functions return as a status."""
    for path in glob.glob(f"{ROOT}/ssh2container/admin/cli/**/*.py", recursive=True):
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.exit", "ctx.exit"):
                numbers = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
                assert {n for n in numbers if isinstance(n, int)} <= {0, 1, 128}, (path, node.lineno)
