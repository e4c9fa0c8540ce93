"""What holds for every policy: one result on both ways, one language in all descriptions."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support import planning
from support.generated import documents, dump, maps, policies
from support.policies import Tree, policy, problems, read, shown

from ssh2container.admin.login.explain import Explanation
from ssh2container.admin.policy import origins
from ssh2container.admin.policy.schema import json_schema
from ssh2container.admin.policy.schema.declaration import Setting
from ssh2container.admin.policy.schema.settings import POLICY
from ssh2container.admin.policy.yaml.problems import PolicyError
from ssh2container.errors import Refusal, printable
from ssh2container.policy.merge import merge
from ssh2container.policy.policy import Policy

SCHEMA = jsonschema.Draft7Validator(json_schema.schema(POLICY))


def patient(examples: int = 100) -> settings:
    """A machine may be busy: nothing here is about time."""
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@patient()
@given(policies)
def test_generated_policies_are_valid_for_us_and_for_the_schema(value: dict[str, Any]) -> None:
    assert [str(problem) for problem in problems(dump(value))] == []
    SCHEMA.validate(value)


@patient()
@given(st.lists(documents, max_size=4))
def test_show_writes_a_policy_that_means_the_same(texts: list[str]) -> None:
    made = policy(*texts)
    again = policy(shown(made))
    assert dict(again.values) == dict(made.values)
    assert again.digest == made.digest


# What YAML, Compose's short forms, terminals and rich's markup give a meaning to.
odd = st.text(st.sampled_from("ab/,:=[]{}'\"#&*!|>@`\\-?~ 0é😀\u3000"), min_size=1, max_size=12)
odd_paths = odd.map("/a".__add__)
odd_policies = maps(
    volumes=st.lists(st.fixed_dictionaries({"source": odd_paths, "target": odd_paths}), max_size=2)
    | st.tuples(odd_paths, odd_paths).map(":".join),
    tmpfs=odd_paths | st.lists(odd_paths, max_size=2),
    environment=st.dictionaries(st.sampled_from(["A", "NO", "null", "y", "_1"]), odd | st.none()),
    home=st.fixed_dictionaries({"source": odd_paths}, optional={"skel": odd_paths}),
    shell=st.lists(odd_paths, min_size=1, max_size=2) | odd_paths,
    access=maps(
        message=odd | odd.map("a\nb".__add__),
        interactive=st.lists(odd, min_size=1, max_size=2) | odd.map(shlex.quote),
        commands=st.lists(odd, min_size=1, max_size=2).map(lambda words: {"exact": shlex.join(words)}),
        sftp=maps(start_directory=odd_paths),
    ),
    banner=odd,
    accept_env=st.sampled_from(["A", "NO", ["y", "*"]]),
    seccomp=maps(allow=st.sampled_from(["435", "ptrace", ["bpf"]])),
)
"""Policies of which most are valid, with texts that are hard to write down."""


@patient(300)
@given(odd_policies)
def test_whatever_text_is_accepted_show_writes_it_readably(value: dict[str, Any]) -> None:
    """In block and in flow style, for us and for any other reader of YAML."""
    try:
        made = policy(dump(value))
    except PolicyError:
        assume(False)
    text = shown(made)
    assert policy(text).digest == made.digest
    assert all(line == printable(line) for line in text.split("\n"))
    for row in origins.rows(made):
        if row.origin and not row.text.endswith(":"):
            yaml.load(row.value().replace("!override ", ""), Loader=yaml.SafeLoader)


chains = st.lists(documents, min_size=5, max_size=5), st.lists(documents, max_size=3), st.booleans()
"""Texts of the five files of a chain and of profiles, and whether everybody is admitted."""
LOGINS = (("al", ()), ("al", ("g",)), ("al", ("h", "g")), ("bo", ("h",)), ("bo", ()))
"""Users with their groups."""
REQUESTS = ((), (b"-c", b"rsync --server . /tmp"), (b"-c", b"/usr/lib/openssh/sftp-server"))


@patient(40)
@given(*chains)
def test_compiled_and_slow_path_give_the_same_policy(
    chain: list[str],
    profiles: list[str],
    everybody: bool,  # noqa: FBT001
) -> None:
    base = tempfile.mkdtemp()
    try:
        tree = _grow(base, chain, profiles, everybody=everybody)
        for user, groups in LOGINS:
            shutil.rmtree(f"{base}/var/compiled", ignore_errors=True)
            slow = _outcome(tree, user, *groups)
            assert tree.compile().problems == []
            tree.logged.clear()
            assert _outcome(tree, user, *groups) == slow
            assert tree.logged == []
    finally:
        shutil.rmtree(base)


@patient(40)
@given(*chains)
def test_compiled_and_slow_path_give_the_same_plan(
    chain: list[str],
    profiles: list[str],
    everybody: bool,  # noqa: FBT001
) -> None:
    """Whatever a client asks for: each operation with all its bytes, and what `explain` says of it."""
    base = tempfile.mkdtemp()
    try:
        tree = _grow(base, chain, profiles, everybody=everybody)
        slow = [_planned(tree, user, groups, request) for user, groups in LOGINS for request in REQUESTS]
        assert tree.compile().problems == []
        tree.logged.clear()
        fast = [_planned(tree, user, groups, request) for user, groups in LOGINS for request in REQUESTS]
        assert fast == slow
        assert tree.logged == []
    finally:
        shutil.rmtree(base)


def test_the_property_would_see_a_difference() -> None:
    """What the property compares says whatever reaches a session, contents of files included."""
    plans = [
        str(planning.contents(planning.plan(policy(text))))
        for text in ("", "hostname: other\n", "ulimits: {nofile: 3}\n", "environment: {A: b}\n",
                     "seccomp: {deny: [ptrace]}\n", "storage_opt: {size: 3m}\n", "stop_grace_period: 3s\n")
    ]  # fmt: skip
    assert len(set(plans)) == len(plans)


def _grow(base: str, chain: list[str], profiles: list[str], *, everybody: bool) -> Tree:
    """Write a configuration: each file of the chain extends all profiles."""
    tree = Tree(base)
    for number, text in enumerate(profiles):
        tree.write(f"share/p{number}", text)
    extends = "extends: [" + ", ".join(f"p{number}" for number in range(len(profiles))) + "]\n"
    tree.write("config", f"group_order: [g, h]\nadmit: {'everybody' if everybody else 'listed'}")
    for part, text in zip(("defaults", "groups/g", "groups/h", "users/al", "enforced"), chain, strict=True):
        tree.write(part, extends + text if text.strip() != "{}" else extends)
    return tree


def _outcome(tree: Tree, user: str, *groups: str) -> Policy | str:
    try:
        return tree.load(user, *groups)
    except Refusal as refusal:
        return str(refusal)


def _planned(tree: Tree, user: str, groups: tuple[str, ...], request: tuple[bytes, ...]) -> Any:
    """What one login would do, or the line with which it is refused."""
    account = planning.account(user, *groups)
    given = {b"TERM": b"xterm", b"LANG": b"C.UTF-8", b"na_x": b"1"}
    try:
        made = tree.load(user, *groups)
        planned = planning.plan(made, request, given, account, terminal=not request)
    except Refusal as refusal:
        return str(refusal)
    return planning.contents(planned), Explanation(account, made, planned).as_json()


@patient()
@given(documents, documents)
def test_the_digest_is_of_what_is_meant(one: str, other: str) -> None:
    first, second = policy(one), policy(other)
    assert policy("# moved\n\n" + one).digest == first.digest
    assert (first.digest == second.digest) == (_meaning(first) == _meaning(second))


def _meaning(made: Policy) -> dict[str, Any]:
    return {
        key: sorted(value.items()) if isinstance(value, dict) else value for key, value in made.values.items()
    }


@patient()
@given(st.lists(documents, max_size=4))
def test_every_written_value_knows_its_line(texts: list[str]) -> None:
    made = policy(*texts)
    for row in origins.rows(made):
        if row.origin in ("", origins.BUILT_IN):
            continue
        file, _, line = row.origin.rpartition(":")
        line_text = texts[int(file[1:-5]) - 1].split("\n")[int(line) - 1]
        setting = row.key if row.key in POLICY.settings else max(
            (key for key in POLICY.settings if row.key.startswith(key + ".")), key=len
        )  # fmt: skip
        entry = row.key.removeprefix(setting).removeprefix(".").removeprefix("exact ")
        assert (entry or setting.rpartition(".")[2] + ":") in line_text


@patient()
@given(st.lists(documents, min_size=2, max_size=3))
def test_merging_is_the_same_in_steps(texts: list[str]) -> None:
    """A layer that changes nothing changes nothing, wherever it stands."""
    made = policy(*texts)
    for position in range(len(texts) + 1):
        assert dict(policy(*texts[:position], "", *texts[position:]).values) == dict(made.values)
    assert dict(policy(*texts, texts[-1]).values) == dict(made.values)


@patient(300)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_text_raises_anything_but_a_policy_error(data: bytes) -> None:
    for problem in problems(data):
        assert "\n" not in str(problem)
        assert problem.line >= 0


nodes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from([*POLICY.children(""), "extends", "x-a", "cap_drop", "privileged"])


@patient(400)
@given(st.dictionaries(keys, nodes | policies, max_size=4))
def test_no_shape_raises_anything_but_a_policy_error(value: dict[str, Any]) -> None:
    found = problems(yaml.safe_dump(value, allow_unicode=True))
    for problem in found:
        assert "\n" not in str(problem)


@patient(300)
@given(policies, st.sampled_from(list(POLICY)), nodes)
def test_what_is_accepted_fits_the_schema(value: dict[str, Any], setting: Setting, node: Any) -> None:
    """An editor must not underline what check accepts."""
    place = value
    *parents, last = setting.key.split(".")
    for parent in parents:
        below = place.get(parent)
        place[parent] = below if isinstance(below, dict) else {}
        place = place[parent]
    place[last] = node
    text = yaml.safe_dump(value, allow_unicode=True)
    try:
        read(text).require_valid()
    except PolicyError:
        return
    try:
        parsed = yaml.safe_load(text)
    except ValueError:
        assume(False)
    SCHEMA.validate(json.loads(json.dumps(parsed, default=str)))


@pytest.mark.parametrize(
    "name", sorted(os.listdir(os.path.join(os.path.dirname(__file__), "../../etc/profiles")))
)
def test_shipped_profiles_fit_the_schema(name: str) -> None:
    with open(os.path.join(os.path.dirname(__file__), "../../etc/profiles", name), encoding="utf-8") as file:
        SCHEMA.validate(yaml.load(file.read().replace("!override ", ""), Loader=yaml.SafeLoader))


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(json_schema.schema(POLICY))


@patient()
@given(st.lists(documents, min_size=1, max_size=3))
def test_merge_leaves_its_layers_alone(texts: list[str]) -> None:
    layers = [("", (), POLICY.defaults(), {}), *(read(text).layer for text in texts)]
    before = repr(layers)
    merge(layers)
    assert repr(layers) == before
