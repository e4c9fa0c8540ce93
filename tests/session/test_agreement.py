"""Made-up policies on made-up hosts: `check`, `doctor`, `explain`, `enable` and a real login agree."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from support.host import Done, run
from support.ledger import Ledger
from support.material import busybox_tree
from support.users import SHELL, User, Users

CONTROL = "/usr/bin/ssh2containerctl"
CASES = 20
"""Each takes some four seconds; one that fails has its number in the test's name, and is the same again."""
SFTP = ("internal-sftp",)


@dataclass
class Case:
    """A policy, what is wrong with its host, and what its client may ask for."""

    policy: str
    spoil: list[Callable[[], object]] = field(default_factory=list)
    offered: list[tuple[tuple[str, ...], bool]] = field(default_factory=list)
    """(words of a request that the policy allows, whether it is one entry of a list)."""
    suspended: bool = False


class Bench:
    """A user and a directory of the host, put back into order before each case."""

    def __init__(self, user: User, place: str, image: str) -> None:
        self.user = user
        self.place = place
        self.image = image
        """An image without a tree for ranges of ids."""

    def tidy(self) -> None:
        user = self.user
        run(["gpasswd", "--delete", user.name, "adm"])
        shutil.rmtree(self.place, ignore_errors=True)
        os.mkdir(self.place, 0o755)
        os.makedirs(user.runtime_directory, exist_ok=True)
        os.chown(user.runtime_directory, user.uid, user.gid)
        os.chmod(user.runtime_directory, 0o700)

    def write(self, policy: str, mode: int = 0o644) -> None:
        with open(self.user.policy_file, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(policy)

    def login(self, words: tuple[str, ...]) -> Done:
        user = self.user
        arguments = ["-c", " ".join(words)] if words else []
        become = ["setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--init-groups"]
        return run([*become, SHELL, *arguments], env=user.environment(), cwd="/")

    def explain(self, words: tuple[str, ...]) -> Done:
        return run([CONTROL, "explain", self.user.name, "--json", "--", *words])


@pytest.fixture(scope="module")
def bench(users: Users, ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    user = users.make()
    place = f"/srv/s2c-{user.name}"
    ledger.note_path(place)
    name = f"agree-{user.name}"
    run([CONTROL, "image", "import", name, busybox_tree(str(tmp_path_factory.mktemp("m") / "tree"))]).ok()
    made = Bench(user, place, name)
    yield made
    made.tidy()
    shutil.rmtree(place)
    run([CONTROL, "disable", user.name])
    run([CONTROL, "image", "rm", "--force", name])
    for left in ("/etc/tmpfiles.d/ssh2container-{}.conf", "/var/lib/ssh2container/enrolled/{}.json"):
        run(["rm", "-f", left.format(user.uid)]).ok()
    users.remove(user)


def made_up(seed: int, bench: Bench) -> Case:
    """A case by its number; what can be wrong with each part is mostly right."""
    choose = random.Random(seed)
    case = Case("")
    lines = [*_image(choose, bench), *_home(choose, bench), *_volume(choose, bench)]
    access = _access(choose, case)
    case.suspended = choose.random() < 0.08
    if case.suspended:
        access += ", login: false, message: Later."
    lines.append(f"access: {{{access}}}")
    if choose.random() < 0.15:
        lines.append("container_per: user")
        case.spoil.append(lambda: os.rmdir(bench.user.runtime_directory))
    if choose.random() < 0.1 and not case.suspended:
        case.spoil.append(lambda: run(["gpasswd", "--add", bench.user.name, "adm"]).ok())
    case.policy = "\n".join(lines) + "\n"
    return case


def _image(choose: random.Random, bench: Bench) -> list[str]:
    image = choose.choice(["host"] * 6 + ["no-such-image:1", bench.image])
    ranged = image == bench.image and choose.random() < 0.5
    return [f"image: {image}", *(["userns_mode: range"] if ranged else [])]


def _home(choose: random.Random, bench: Bench) -> list[str]:
    kind = choose.choice(["", "", "", "sound", "missing", "another's", "closed", "a file"])
    if not kind:
        return []
    place = f"{bench.place}/home"
    if kind in ("sound", "another's", "closed"):
        os.mkdir(place)
        os.chown(place, 0 if kind == "another's" else bench.user.uid, bench.user.gid)
        os.chmod(place, 0o600 if kind == "closed" else 0o700)
    elif kind == "a file":
        run(["touch", place]).ok()
    return [f"home: {{source: {place}}}"]


def _volume(choose: random.Random, bench: Bench) -> list[str]:
    kind = choose.choice(["", "", "", "sound", "missing", "the container's own"])
    if not kind:
        return []
    os.mkdir(f"{bench.place}/there")
    source = "nowhere" if kind == "missing" else "there"
    target = "/dev/x" if kind == "the container's own" else "/v"
    return [f"volumes: ['{bench.place}/{source}:{target}:ro']"]


def _access(choose: random.Random, case: Case) -> str:
    commands = choose.choice(["any", "any", "none", "list", "list"])
    interactive, sftp = choose.random() < 0.6, choose.random() < 0.6
    listed = choose.sample(["cat", "no-such-program", "/usr/lib", "/bin/true", "ls"], 2)
    if interactive:
        case.offered.append(((), False))
    elif commands == "any":
        case.offered.append((("true",), False))
    if sftp:
        case.offered.append((SFTP, False))
    if commands == "list":
        case.offered += [((name,), True) for name in listed]
    written = f"[{', '.join(listed)}]" if commands == "list" else commands
    return f"interactive: {str(interactive).lower()}, commands: {written}, sftp: {str(sftp).lower()}"


def line_of(done: Done) -> str:
    """Our line on standard error, without who says it."""
    lines = [line for line in done.errors.splitlines() if line.startswith("ssh2container")]
    return re.sub(r"^ssh2container(ctl)?: ", "", lines[-1]) if lines else ""


def is_sound(bench: Bench, case: Case) -> bool:
    """Whether logins give what the policy allows, of a list at least something; found by logging in."""
    if case.suspended:
        return True
    wrong = [optional for words, optional in case.offered if bench.login(words).status in (125, 126, 127)]
    return not wrong or (all(wrong) and len(wrong) < len(case.offered))


@pytest.mark.parametrize("seed", range(CASES))
def test_all_who_are_asked_agree_with_the_login(bench: Bench, seed: int) -> None:
    bench.tidy()
    case = made_up(seed, bench)
    for spoil in case.spoil:
        spoil()
    bench.write(case.policy)
    name = bench.user.name
    for words in [(), SFTP, ("true",), ("no-such-program", "x"), *(words for words, _ in case.offered)]:
        real, said = bench.login(words), bench.explain(words)
        assert said.status == real.status, (case.policy, words, real.errors, said.errors)
        if real.status and line_of(real):
            assert line_of(said) == line_of(real), (case.policy, words)
    sound = is_sound(bench, case)
    checked = json.loads(run([CONTROL, "check", "--json"]).text)["problems"]
    errors = [one for one in checked if one["severity"] == "error" and name in one["file"] + one["message"]]
    assert (not errors) == sound, (case.policy, errors)
    program = (
        "import sys, json; sys.path[:0] = ['/usr/lib/ssh2container/current']\n"
        "from ssh2container.admin.doctor import state\n"
        "from ssh2container.admin.account import find\n"
        f"print(json.dumps([[one.level, one.check, one.text] for one in state.of_user(find({name!r}))]))"
    )
    findings = json.loads(run(["/usr/bin/python3", "-IB", "-c", program]).ok().text)
    about = {check: level for level, check, _ in findings if check in ("user.policy", "user.login")}
    assert ("problem" not in about.values()) == sound, (case.policy, findings)
    assert "user.login" in about or about["user.policy"] == "problem"
    enabled = run([CONTROL, "enable", name])
    assert (enabled.status == 0) == is_sound(bench, case), (case.policy, enabled.errors)
