"""``images`` in the policy language, and which of them a request has."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import planning
from support.policies import Tree, policy, problems, read, shown

from ssh2container.admin.images import wanted
from ssh2container.admin.policy import check
from ssh2container.admin.policy.check_policy import Findings, check_policy
from ssh2container.admin.policy.compile import compiler
from ssh2container.errors import EXIT_REFUSED, Refusal
from ssh2container.plan import choice
from ssh2container.plan.request import Request
from ssh2container.policy import images

SEVERAL = "images: [debian:12, alpine:3]\n"


def settled(command: bytes, variable: bytes = b"", text: str = SEVERAL) -> tuple[str, bytes, str, str]:
    """Kind, command, image and who chose it."""
    request = Request.parse([b"-c", command] if command else [], {})
    request, chosen, how = choice.settle(request, policy(text), {choice.VARIABLE: variable})
    return request.kind, request.command, chosen.image, how


def test_the_first_is_the_default_and_all_are_known() -> None:
    made = policy(SEVERAL)
    assert made.image == "debian:12"
    assert images.of(made) == ("debian:12", "alpine:3")
    assert [one.image for one in images.choices(made)] == ["debian:12", "alpine:3"]
    assert images.of(policy("image: debian:12")) == ("debian:12",)
    assert images.of(policy("")) == ("host",)


@pytest.mark.parametrize("text", ["image: a\nimages: [b]\n", "images: [b]\nimage: a\n"])
def test_both_in_one_file_name_both_places(text: str) -> None:
    found = problems(text)
    assert [problem.line for problem in found] == [2]
    assert "of line 1" in found[0].message
    assert found[0].allowed == "one of them"


@pytest.mark.parametrize(
    "text", ["images: []", "images: [a, a]", "images: [A]", "images: none", "images: {a: b}"]
)
def test_what_is_no_list_of_images_is_refused(text: str) -> None:
    assert problems(text) != []


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (("image: a", SEVERAL), ("debian:12", "alpine:3")),
        ((SEVERAL, "image: a"), ("a",)),
        ((SEVERAL, "image: a", "images: [b]"), ("b",)),
        ((SEVERAL, "images: [b]"), ("debian:12", "alpine:3", "b")),
        ((SEVERAL, "images: !override [b]"), ("b",)),
        ((SEVERAL, "images: !reset []"), ("host",)),
        ((SEVERAL, "image: !reset null"), ("debian:12", "alpine:3")),
    ],
)
def test_layers(layers: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """The stronger of the two keys holds; lists grow as all do."""
    made = policy(*layers)
    assert images.of(made) == expected
    assert made.image == expected[0]


def test_an_enforced_image_wins(tmp_path: os.PathLike[str]) -> None:
    tree = Tree(os.fspath(tmp_path))
    tree.write("config", "")
    tree.write("defaults", SEVERAL)
    tree.write("users/alice", "images: [fedora:40]")
    assert images.of(tree.load("alice")) == ("debian:12", "alpine:3", "fedora:40")
    tree.write("enforced", "image: lab:1")
    assert images.of(tree.load("alice")) == ("lab:1",)
    tree.compile()
    assert images.of(tree.load("alice")) == ("lab:1",)


names = st.sampled_from(["a", "b:1", "c/d:2", "e@sha256:" + "0" * 64])
layer = st.one_of(
    st.just(""),
    names.map("image: {}".format),
    st.lists(names, min_size=1, unique=True).map(lambda found: f"images: [{', '.join(found)}]"),
)


@given(st.lists(layer, max_size=4))
def test_one_of_both_keys_holds_and_show_says_which(layers: list[str]) -> None:
    made = policy(*layers)
    last = next((text for text in reversed(layers) if text), "image: host")
    assert bool(made.values["images"]) == last.startswith("images")
    assert set(images.of(made)) >= set(read(last).layer[2].get("images", {}))
    again = policy(shown(made))
    assert again.values == made.values
    assert made.origin("image") == made.written(images.key(made))


def test_each_image_is_held_against_the_rules() -> None:
    """Of two images one may be the host's: what it cannot be is found although it is not the first."""
    text = SEVERAL.replace("alpine:3", "host") + "user: root\nuserns_mode: range\n"
    loaded = read(text)
    findings = Findings()
    check_policy(findings, ([compiler.BUILT_IN, loaded.layer], ()), {}, complete=True, here=False)
    assert any("the host's files belong to others" in problem.message for problem in findings.errors())
    with pytest.raises(Refusal, match="the policy contradicts itself"):
        settled(b"image=host true", text=text)


MENU = "image_menu: true"


@pytest.mark.parametrize(
    ("own", "of_key", "found"),
    [
        (MENU, "", "users/alice.yaml:1"),
        (f"image: debian:12\n{MENU}", "", "users/alice.yaml:2"),
        (f"images: [debian:12]\n{MENU}", "", "users/alice.yaml:2"),
        (f"{SEVERAL}\n{MENU}", "", ""),
        (f"{SEVERAL}\n{MENU}", "image: host", ""),
        (f"image: host\n{MENU}", SEVERAL, ""),
        ("image: host", f"{SEVERAL}\n{MENU}", ""),
        ("image: host", MENU, "profiles/of-key.yaml:1"),
        ("image_menu: false", "", ""),
    ],
)
def test_a_menu_that_offers_nothing_is_warned_of(
    tmp_path: os.PathLike[str], own: str, of_key: str, found: str
) -> None:
    tree = Tree(os.fspath(tmp_path))
    tree.write("config", "")
    tree.write("profiles/of-key", of_key)
    rule = f'\nkeys: [{{fingerprint: "SHA256:{"A" * 43}", extends: of-key}}]' if of_key else ""
    tree.write("users/alice", own + rule)
    problems = check.installation(tree.places).all()
    told = [problem for problem in problems if "nobody is asked" in problem.message]
    assert [(problem.file, problem.line) for problem in told] == (
        [(f"{tree.base}/etc/{found.partition(':')[0]}", int(found.partition(":")[2]))] if found else []
    )
    assert all(problem.severity == "warning" and "ANOTHER" in problem.hint for problem in told)


def test_whose_images_are_wanted(tmp_path: os.PathLike[str]) -> None:
    tree = Tree(os.fspath(tmp_path))
    tree.write("config", "")
    tree.write("defaults", "")
    path = tree.write("users/alice", "images:\n- host\n- debian:12\n- alpine:3\n")
    assert wanted.places_that_name("alpine:3", tree.places) == [f"{path}:4"]
    assert wanted.places_that_name("alpine:4", tree.places) == []


@pytest.mark.parametrize(
    ("command", "kind", "rest"),
    [
        (b"image=alpine", "login", b""),
        (b"image=alpine  ", "login", b""),
        (b"image=alpine:3 id -u", "command", b"id -u"),
        (b"image=alpine\tid", "command", b"id"),
        (b"image=alpine /usr/lib/openssh/sftp-server", "sftp", b"/usr/lib/openssh/sftp-server"),
        (b"image=alpine ssh2container-sshd", "sshd", b"ssh2container-sshd"),
        (b"image=alpine image=debian echo", "command", b"image=debian echo"),
    ],
)
def test_the_word(command: bytes, kind: str, rest: bytes) -> None:
    assert settled(command) == (kind, rest, "alpine:3", "command")
    assert settled(command, b"debian") == (kind, rest, "alpine:3", "command"), "it outdoes the variable"


@pytest.mark.parametrize(
    "command",
    [
        b"image= true",
        b"image=$x true",
        b"image='alpine:3' true",
        b"image=alpine;id",
        b"image=alpine\nid",
        b" image=alpine id",
        b"images=alpine id",
        b"image alpine",
        b"x=1 image=alpine id",
        b"image=\xff id",
    ],
)
def test_anything_else_is_the_shells(command: bytes) -> None:
    assert settled(command) == ("command", command, "debian:12", "")
    assert settled(command, b"alpine") == ("command", command, "alpine:3", "variable")


def test_the_variable_and_the_default() -> None:
    assert settled(b"") == ("login", b"", "debian:12", "")
    assert settled(b"", b"alpine:3") == ("login", b"", "alpine:3", "variable")
    assert settled(b"internal-sftp", b"alpine") == ("sftp", b"internal-sftp", "alpine:3", "variable")


def test_a_forced_command_keeps_what_the_client_asked_for() -> None:
    request = Request.parse([b"-c", b"image=alpine backup"], {b"SSH_ORIGINAL_COMMAND": b"image=debian sh"})
    request, chosen, _ = choice.settle(request, policy(SEVERAL), {})
    assert (request.command, request.forced, chosen.image) == (b"backup", b"image=debian sh", "alpine:3")


@pytest.mark.parametrize(
    ("given_name", "found"),
    [
        ("debian:12", "debian:12"),
        ("debian", "debian"),
        ("debian:latest", "debian"),
        ("alpine", "r.example:5000/lab/alpine:3"),
        ("alpine:3", "r.example:5000/lab/alpine:3"),
        ("r.example:5000/lab/alpine", "r.example:5000/lab/alpine:3"),
        ("fedora:40", "fedora:40@sha256:" + "1" * 64),
    ],
)
def test_short_names(given_name: str, found: str) -> None:
    known = ["debian:12", "debian", "r.example:5000/lab/alpine:3", "fedora:40@sha256:" + "1" * 64]
    assert choice.find(given_name, known) == found


@pytest.mark.parametrize(
    ("name", "word"),
    [("ubuntu", "none"), ("debian", "more than one"), ("", "none"), ("alpine:", "none"), ("3", "none")],
)
def test_a_name_that_means_none_or_several_is_refused_with_the_list(name: str, word: str) -> None:
    with pytest.raises(Refusal, match=word) as caught:
        choice.find(name, ("debian:12", "debian:13", "alpine:3"))
    assert caught.value.status == EXIT_REFUSED
    assert str(caught.value).endswith("choose one of: debian:12, debian:13, alpine:3")


@given(st.binary(max_size=300))
def test_whatever_a_client_sends_chooses_one_or_is_refused_on_one_line(sent: bytes) -> None:
    for command, variable in ((b"image=" + sent + b" true", b""), (b"true", sent)):
        told = None
        try:
            assert settled(command, variable)[2] in ("debian:12", "alpine:3")
        except Refusal as refusal:
            told = refusal
        assert told is None or told.status == EXIT_REFUSED
        assert str(told).isprintable()
        assert len(str(told)) < 1000


def test_containers_of_two_images_are_never_shared() -> None:
    """Even of two names of one version, whose files are the same: the records name the image."""
    made = policy(SEVERAL, "container_per: user")
    first, second = (planning.plan(one).container.digest for one in images.choices(made))
    assert first
    assert first != second
