"""Clients that choose one of a policy's images, by real sshd: SetEnv, the first word, and what is refused."""

from __future__ import annotations

import json
import os
import pty
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from support.client import Client
from support.host import processes, run, until
from support.login import finish, login, start
from support.material import busybox_tree
from support.sshd import SUBSYSTEM, Server
from support.syslog import Syslog
from support.users import MakeUser, User

CONTROL = "/usr/bin/ssh2containerctl"
WHICH = "cat /which"


@pytest.fixture(scope="module")
def pair(module_directory: Callable[[str], Path]) -> Iterator[tuple[str, str]]:
    """Two images, which say in /which what they are."""
    place = f"s2c-test-{os.getpid()}-{secrets.token_hex(3)}"
    names = f"{place}/one:1", f"{place}/two:2"
    for name in names:
        word = name.rpartition("/")[2].partition(":")[0]
        tree = busybox_tree(str(module_directory(word)))
        Path(tree, "which").write_text(word + "\n", encoding="ascii")
        run([CONTROL, "image", "import", name, tree]).ok()
    yield names
    run([CONTROL, "image", "rm", "--force", *names]).ok()


@pytest.fixture
def chooser(make_user: MakeUser, pair: tuple[str, str]) -> User:
    return make_user(f"images: [{', '.join(pair)}]\n")


@pytest.fixture
def client(make_sshd: Callable[..., Server], chooser: User) -> Client:
    return make_sshd(SUBSYSTEM + "AcceptEnv SSH2CONTAINER_IMAGE\n").client(chooser)


def by_variable(name: str) -> tuple[str, str]:
    return "-o", f"SetEnv=SSH2CONTAINER_IMAGE={name}"


def test_the_first_is_the_default(client: Client) -> None:
    assert client.box(WHICH).ok().text == "one\n"


def test_by_the_variable(client: Client, pair: tuple[str, str]) -> None:
    for name in ("two", "two:2", pair[1]):
        assert client.ssh(*by_variable(name), "box", WHICH).ok().text == "two\n"


def test_by_the_first_word(client: Client, pair: tuple[str, str]) -> None:
    for name in ("two", "two:2", pair[1]):
        assert client.box(f"image={name} {WHICH}").ok().text == "two\n"
    assert client.ssh(*by_variable("two"), "box", f"image=one {WHICH}").ok().text == "one\n"
    assert client.box("image=two", b"cat /which; echo $0\n").ok().text == "two\n-sh\n"


def test_an_assignment_with_a_quote_stays_the_shells(client: Client) -> None:
    assert client.box(f"image='two'; echo $image; {WHICH}").ok().text == "two\none\n"


@pytest.mark.parametrize("name", ["three", "host", "../one", "two:3"])
def test_what_is_not_in_the_list_is_refused_with_the_list(
    client: Client, name: str, pair: tuple[str, str]
) -> None:
    for done in (client.box(f"image={name} {WHICH}"), client.ssh(*by_variable(name), "box", WHICH)):
        assert done.status == 126
        assert not done.out
        assert done.errors.count("\n") == 1
        assert f"choose one of: {', '.join(pair)}" in done.errors


def test_transfers_have_the_default_or_the_variables(client: Client, tmp_path: Path) -> None:
    for options, word in (((), "one"), (by_variable("two"), "two")):
        client.sftp(f"get /which {tmp_path}/by-sftp", options=options).ok()
        client.scp("-O", *options, "box:/which", f"{tmp_path}/by-scp").ok()
        for name in ("by-sftp", "by-scp"):
            assert (tmp_path / name).read_text(encoding="ascii") == f"{word}\n"


def test_a_policy_with_one_image_looks_at_nothing(
    make_sshd: Callable[..., Server], make_user: MakeUser, pair: tuple[str, str]
) -> None:
    user = make_user(f"image: {pair[0]}\n")
    client = make_sshd(SUBSYSTEM + "AcceptEnv SSH2CONTAINER_IMAGE\n").client(user)
    shown = client.ssh(*by_variable("two"), "box", "image=two; echo $image; cat /which").ok().text
    assert shown == "two\none\n"


class TestTheMenu:
    """A policy with ``image_menu`` asks on the terminal, and nobody else."""

    @pytest.fixture
    def chooser(self, make_user: MakeUser, pair: tuple[str, str]) -> User:
        return make_user(f"images: [{', '.join(pair)}]\nimage_menu: true\n")

    @pytest.mark.parametrize(
        ("answers", "word"), [(("",), "one"), (("2",), "two"), (("three", "0", "two:2"), "two")]
    )
    def test_it_is_answered(
        self,
        client: Client,
        chooser: User,
        pair: tuple[str, str],
        syslog: Syslog,
        answers: tuple[str, ...],
        word: str,
    ) -> None:
        with client.terminal() as child:
            child.expect_exact(f"   1  {pair[0]}\r\n   2  {pair[1]}\r\n")
            for answer in answers:
                child.expect_exact(f"Enter for {pair[0]}: ")
                child.sendline(answer)
            child.sendline(f"PS1=; {WHICH}; exit 7")
            child.expect_exact(f"$ {word}\r\n")
            child.expect_exact(pexpect.EOF)
            child.wait()
        assert child.exitstatus == 7
        opened = next(line for line in syslog.of(chooser.name) if "event=open" in line)
        assert 'image_choice="menu"' in opened
        assert f'image="{pair[0] if word == "one" else pair[1]}"' in opened

    def test_who_does_not_answer_is_not_let_in(self, client: Client, chooser: User, syslog: Syslog) -> None:
        for typed, why in (
            ("\x04", "the terminal has no more input"),
            ("\x03", "signal 2 asked this session to end"),
            ("x\n" * 3, "none of 3 answers named one"),
        ):
            with client.terminal() as child:
                child.expect_exact("Which one?")
                child.send(typed)
                child.expect_exact(f"ssh2container: no image was chosen: {why}")
                child.expect_exact(pexpect.EOF)
                child.wait()
            assert child.exitstatus == 126
        with client.terminal() as child:
            child.expect_exact("Which one?")

        def refused() -> int:
            return sum("event=refused" in line and 'step="image"' in line for line in syslog.of(chooser.name))

        until(lambda: refused() == 4, "the login ends whose client has gone")

    def test_who_waits_counts_as_a_session(
        self, make_sshd: Callable[..., Server], make_user: MakeUser, pair: tuple[str, str]
    ) -> None:
        user = make_user(f"images: [{', '.join(pair)}]\nimage_menu: true\nsessions: {{max: 2}}\n")
        client = make_sshd(SUBSYSTEM).client(user)
        with client.terminal() as one, client.terminal() as two:
            for child in (one, two):
                child.expect_exact("Which one?")
            with client.terminal() as third:
                refused = "ssh2container: too many sessions: 2 of at most 2 are open;"
                assert third.expect_exact([refused, "Which one?"]) == 0
                third.expect_exact(pexpect.EOF)
                third.wait()
            assert third.exitstatus == 126
            one.sendline("two")
            one.sendline(f"PS1=; {WHICH}")
            one.expect_exact("$ two\r\n")
            listed = json.loads(run([CONTROL, "sessions", "--json", user.name]).ok().text)
            assert [found["starting"] for found in listed["sessions"]] == [False, False]
            assert not listed["strange"]
            run([CONTROL, "kill", "--user", user.name, "--grace", "3"]).ok()
            two.expect(r"ssh2container: no image was chosen: signal \d+ asked this session to end")
            for child in (one, two):
                child.expect_exact(pexpect.EOF)
        until(lambda: not processes(user.uid), "nobody waits any more")

    def test_nobody_else_is_asked(self, client: Client, pair: tuple[str, str]) -> None:
        shown = [
            client.box(WHICH).ok(),
            client.ssh("-T", "box", stdin=f"{WHICH}\n".encode()).ok(),
            client.ssh("-tt", "box", WHICH).ok(),
            client.ssh("-tt", *by_variable("one"), "box", stdin=f"{WHICH}; exit\n".encode()).ok(),
        ]
        for done in shown:
            assert "one\n" in done.text.replace("\r", "")
            assert "Which one?" not in done.text + done.errors
            assert pair[1] not in done.text + done.errors
        shown_to_all = run([CONTROL, "show", "--summary", client.user.name]).ok().text
        assert f"(or, by choice from a menu, {pair[1]})" in shown_to_all

    def test_standard_output_has_nothing_of_it(self, chooser: User) -> None:
        """Without a terminal as standard error there is nobody to ask."""
        master, slave = pty.openpty()
        os.fchown(slave, chooser.uid, chooser.gid)
        for stderr, word in ((slave, "two"), (subprocess.PIPE, "one")):
            process = start(chooser, stdin=slave, stderr=stderr)
            os.write(master, b"two\n" * (word == "two") + b"cat /which; exit\n")
            assert finish(process).out == f"{word}\n".encode()
        os.close(master)
        os.close(slave)


def test_the_audit_trail_says_which_and_how(
    client: Client, chooser: User, pair: tuple[str, str], syslog: Syslog
) -> None:
    client.box(f"image=two {WHICH}").ok()
    client.box("image=three true")
    lines = [line for line in syslog.of(chooser.name) if "event=" in line]
    opened = next(line for line in lines if "event=open" in line)
    for field in (f'image="{pair[1]}"', 'image_choice="command"', f'command="{WHICH}"'):
        assert field in opened
    refused = next(line for line in lines if "event=refused" in line)
    assert 'step="image"' in refused
    assert "image_choice" not in refused
    assert ' image="' not in refused


def test_a_shared_container_is_of_one_image(make_user: MakeUser, pair: tuple[str, str]) -> None:
    """A second login with another choice gets another container, and one with the same joins."""
    user = make_user(f"images: [{', '.join(pair)}]\ncontainer_per: user\nlinger: 1h\nstop_grace_period: 1s\n")
    script = "cat /which; exec busybox readlink /proc/self/ns/pid"
    try:
        found = [
            login(user, "-c", f"{word}{script}").ok().text.split()
            for word in ("", "image=two ", "", "image=two ")
        ]
        assert [word for word, _ in found] == ["one", "two", "one", "two"]
        assert found[0] == found[2]
        assert found[1] == found[3]
        assert found[0][1] != found[1][1]
        listed = json.loads(run([CONTROL, "sessions", "--json", user.name]).ok().text)
        assert sorted(one["image"] for one in listed["containers"]) == list(pair)
    finally:
        run([CONTROL, "kill", "--user", user.name, "--grace", "3"]).ok()
        until(lambda: not processes(user.uid), "the containers are gone")


def test_the_verbs_look_at_all_of_them(make_user: MakeUser, pair: tuple[str, str]) -> None:
    user = make_user(f"images: [{', '.join(pair)}]\n")
    for options, name in (((), pair[0]), (("--image", "two"), pair[1])):
        told = json.loads(run([CONTROL, "explain", "--json", *options, user.name]).ok().text)
        assert told["image"]["name"] == name
        word = f"image={name} " if options else ""
        can_do = login(user, "-c", f"{word}ssh2container-info").ok().text
        assert f"programs of the image {name} (or, by choice, " in can_do
        assert told["status"] == 0
    assert run([CONTROL, "explain", "--image", "three", user.name]).status == 126
    tried = run([CONTROL, "try", "--user", user.name, "--image", "two", "--", WHICH]).ok()
    assert tried.text == "two\n"
    refused = run([CONTROL, "image", "rm", pair[1]])
    assert refused.status == 125
    assert f"{user.policy_file}:1 names it" in refused.errors
    gone = make_user(f"images: [{pair[0]}, s2c-test/not-there]\n")
    checked = run([CONTROL, "check", gone.policy_file])
    assert "s2c-test/not-there is not installed" in checked.text + checked.errors
    shown = run([CONTROL, "show", gone.name])
    assert "in the image s2c-test/not-there is refused" in shown.errors
    assert "image: host" not in shown.text


def test_verify_says_which_of_them_it_was_in(make_user: MakeUser, pair: tuple[str, str]) -> None:
    user = make_user(f"images: [{', '.join(pair)}]\n")
    one = run([CONTROL, "verify", user.name, "--image", "two"])
    assert f" probes in the image {pair[1]}: " in one.text
    assert f"not verified: sessions in the image {pair[0]} (" in one.text
    every = json.loads(run([CONTROL, "verify", user.name, "--all-images", "--json"]).text)
    assert every["images"] == list(pair)
    of_each = [{row["name"] for row in every["probes"] if row["image"] == name} for name in pair]
    assert of_each[0] == of_each[1]
    assert len(every["probes"]) == 2 * len(of_each[0]) == sum(every["counts"].values())
    assert every["counts"]["fail"] == 0
    assert run([CONTROL, "verify", user.name, "--all-images", "--image", "two"]).status == 2
    assert run([CONTROL, "verify", user.name, "--image", "three"]).status == 125
