"""The planner: which operations, in which order, from which policy; for a host that is made up."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import planning
from support.policies import policy

from ssh2container.admin.login.explain import Explanation
from ssh2container.errors import Refusal
from ssh2container.kernel import namespaces
from ssh2container.plan import operations
from ssh2container.plan.host import plain_files
from ssh2container.plan.make import Plan
from ssh2container.plan.operations import Operation

SFTP = (b"-c", b"/usr/lib/openssh/sftp-server")


def steps(plan: Plan) -> list[str]:
    return [operation.step for operation in plan.operations()]


def described(text: str, *arguments: bytes) -> str:
    return "\n".join(one.describe() for one in planning.plan(policy(text), arguments).operations())


def kinds(kind: type[Operation]) -> Iterator[type[Operation]]:
    for below in kind.__subclasses__():
        yield below
        yield from kinds(below)


def is_only_a_base(kind: type[Operation]) -> bool:
    return not kind.step and bool(kind.__subclasses__())


def test_every_operation_says_why() -> None:
    for module in pkgutil.iter_modules(operations.__path__):
        importlib.import_module(f"{operations.__name__}.{module.name}")
    assert [kind for kind in kinds(Operation) if not kind.why and not is_only_a_base(kind)] == []


def test_explain_gives_every_step_its_reason() -> None:
    made = policy("volumes: [/srv/a:/a:rw]\nulimits: {nofile: 5}\n")
    explained = Explanation(planning.account(), made, planning.plan(made))
    assert all(step["reason"] for step in explained.steps())
    (volume,) = (step for step in explained.steps() if step["step"] == "attach-volume")
    assert (volume["key"], volume["origin"]) == ("volumes./a", "/1.yaml:1")


def test_the_order_that_holds_the_container_together() -> None:
    made = steps(planning.plan(policy("volumes: [/srv/a:/a:rw]\n")))
    order = [
        "parent-death", "identity-map", "nested-namespaces", "private-mounts", "open-volume", "mount",
        "pivot-root", "attach-volume", "mask", "bounding-set", "securebits", "capabilities",
        "no-new-privileges", "seccomp", "landlock",
    ]  # fmt: skip
    places = [made.index(step) for step in order]
    assert places == sorted(places)
    assert made[-1] == "seccomp", "the payload's filter is loaded last of all"


def test_nothing_is_done_after_the_rights_are_gone_but_walls() -> None:
    made = steps(planning.plan(policy("")))
    after = set(made[made.index("capabilities") + 1 :])
    assert after == {"no-new-privileges", "seccomp", "landlock", "limit"}


@pytest.mark.parametrize(("mode", "own"), [("none", True), ("host", False)])
def test_the_network_is_the_sessions_own_unless_the_policy_says_host(mode: str, *, own: bool) -> None:
    made = planning.plan(policy(f"network_mode: {mode}"))
    assert bool(made.container.namespaces & namespaces.CLONE_NEWNET) is own
    assert ("loopback" in steps(made)) is own


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hostname: box-%u", "set the host name box-al"),
        ("storage_opt: {size: 3m, inodes: 777}", "size=3145728,nr_inodes=777"),
        ("tmpfs: ['/scratch:size=2m,mode=0700']", "size=2097152,mode=700"),
        ("volumes: ['/srv/%u:/x:ro']", "open the source /srv/al of /x, read-only"),
        ("volumes: ['/srv/%u:/x:rw']", "open the source /srv/al of /x, writable"),
        ("home: {source: /srv/%u}", "attach home at /home/al"),
        ("user: root\nhome: {source: /srv/%u}", "attach home at /root"),
        ("user: root", "map uid 1000 to 0"),
        ("image: debian:12", "lowerdir=/skeleton:/images/tree:/skeleton-beneath,"),
    ],
)
def test_what_a_policy_says_is_what_is_planned(text: str, shown: str) -> None:
    assert shown in described(text)


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("access: {login: false, message: ask Eve}", (), ("suspended", "ask Eve")),
        ("access: {interactive: false}", (), ("shell is not allowed",)),
        ("access: {commands: none}", (b"-c", b"id"), ("id",)),
        ("access: {commands: [rsync]}", (b"-c", b"rsync; id"), (";", "rsync")),
        ("access: {sftp: false}", SFTP, ("sftp",)),
        ("volumes: [/srv/a:/etc/x]", (), ("/etc/x", "another target")),
        ("volumes: [/srv/a:/proc]", (), ("/proc",)),
        ("tmpfs: ['/usr/x:size=1m']", (), ("/usr/x",)),
        ("home: {source: /home/al}", (), ("home",)),
        ("user: games", (), ("games",)),
        ("userns_mode: single\nimage: lab\nuser: games", (), ("games",)),
        ("userns_mode: range", (), ("range",)),
    ],
)
def test_what_is_not_allowed_is_refused_while_planning(
    text: str, arguments: tuple[bytes, ...], words: tuple[str, ...]
) -> None:
    with pytest.raises(Refusal) as caught:
        planning.plan(policy(text), arguments)
    line = str(caught.value)
    assert all(word in line for word in words), line
    assert "\n" not in line


@pytest.mark.parametrize("group", ["docker", "sudo", "lxd", "disk", "shadow", "adm"])
def test_members_of_groups_as_good_as_root_are_refused(group: str) -> None:
    with pytest.raises(Refusal, match=f"gpasswd -d al {group}"):
        planning.plan(policy(""), user=planning.account("al", group))


def test_sftp_has_the_servers_own_switches() -> None:
    text = "access: {sftp: {read_only: true, umask: '027', start_directory: /in/%u, deny: [remove]}}"
    made = planning.plan(policy(text), SFTP)
    path, words = made.payload.program.attempts[0]
    assert path.endswith("sftp-server")
    assert words[1:] == (b"-R", b"-u", b"027", b"-d", b"/in/al", b"-P", b"remove")


def test_the_same_login_has_the_same_plan() -> None:
    made = policy("home: {source: /srv/%u}\nulimits: {nofile: 5}\nenvironment: {A: b}\n")
    assert planning.contents(planning.plan(made)) == planning.contents(planning.plan(made))


def test_nothing_stands_in_for_a_program_of_many_names(tmp_path: Path) -> None:
    """A mount on a link to busybox would cover the shell of the session, too."""
    for name in ("busybox", "sudo"):
        (tmp_path / name).touch()
    (tmp_path / "crontab").symlink_to("busybox")
    names = [f"{tmp_path}/{name}" for name in ("at", "crontab", "sudo")]
    assert plain_files(names) == (f"{tmp_path}/sudo",)


def test_what_stands_in_is_bound_before_usr_is_taken_along() -> None:
    text = described("")
    assert text.index("on /usr/bin/crontab") < text.index("bind /usr with its submounts")
    assert "stand-in" not in described("image: debian:12\nuserns_mode: single")
