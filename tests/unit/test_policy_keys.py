"""``keys``: rules for keys in the language, what they come to, and what is refused before anybody logs in."""

from __future__ import annotations

import os

import pytest
from support.policies import Tree, policy, problems, shown

from ssh2container.admin.policy import check, diff, origins
from ssh2container.admin.policy.compile import build
from ssh2container.errors import Refusal
from ssh2container.policy import key_rules, keyed
from ssh2container.policy.key_rules import Used
from ssh2container.policy.policy import Policy

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q"
ONE = "SHA256:" + "A" * 43
OTHER = "SHA256:" + "B" * 43
RULE = f'keys: [{{fingerprint: "{ONE}", extends: [push]}}]\n'


@pytest.fixture
def tree(tmp_path: os.PathLike[str]) -> Tree:
    made = Tree(os.fspath(tmp_path))
    made.write("profiles/push", "access: {command: [rrsync, -wo, /in], sftp: false}\nhostname: push\n")
    made.write("users/alice", "hostname: box\nimage: host\n" + RULE)
    return made


def of_key(tree: Tree, fingerprint: str = ONE) -> Policy:
    loaded = tree.load("alice")
    name = keyed.match(loaded, [Used(fingerprint)])
    return keyed.of_key(loaded, name) if name else loaded


class TestLanguage:
    def test_a_public_key_is_its_fingerprint(self) -> None:
        made = policy(f"keys: [{{key: {PUBLIC}, extends: a}}]")
        (rule,) = key_rules.of(made.values)
        assert (rule.kind, rule.profiles) == ("fingerprint", ("a",))
        assert rule.text == rule.name == "SHA256:FHsTyFHNmvNpw4o7+rp+M1yqMyBF8vXSBRkZtkQ0RKY"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("keys: [{extends: a}]", "nothing that names a key in one rule"),
            (f'keys: [{{fingerprint: "{ONE}"}}]', "extends missing"),
            (f'keys: [{{fingerprint: "{ONE}", principal: p, extends: a}}]', "fingerprint and principal"),
            (f'keys: [{{fingerprint: "{ONE}", authority: "{ONE}", extends: a}}]', "authority beside"),
            ('keys: [{fingerprint: "MD5:00:11", extends: a}]', "found"),
            ("keys: [{comment: alice@laptop, extends: a}]", "not possible here"),
            (f"keys: [{{key: {PUBLIC} alice@laptop, extends: a}}]", "something behind the key"),
            ("keys: [{key: ssh-ed25519 AAAA, extends: a}]", "is no public key"),
            (f"keys: [{{key: {PUBLIC.replace('ed25519', 'rsa', 1)}, extends: a}}]", "is no public key"),
            ("keys: [{principal: p, policy: {image: host}, extends: a}]", "not possible here"),
            ("keys: [x]", "a single value instead of a map"),
            ('keys: [{principal: "a\\tb", extends: a}]', "found"),
        ],
    )
    def test_what_is_not_a_rule(self, text: str, said: str) -> None:
        found = problems(text)
        assert found
        assert said in found[0].message
        assert found[0].line == 1

    def test_the_same_key_twice_names_both_places(self) -> None:
        both = 'keys:\n- {fingerprint: "SHA256:FHsTyFHNmvNpw4o7+rp+M1yqMyBF8vXSBRkZtkQ0RKY", extends: a}\n'
        (problem,) = problems(both + f"- {{key: {PUBLIC}, extends: b}}\n")
        assert "in line 2 and in line 3" in problem.message

    def test_what_is_shown_is_what_is_read(self) -> None:
        made = policy(
            f'keys: [{{fingerprint: "{ONE}", extends: [a, b]}}, {{key_id: i d, extends: c}}, '
            f'{{principal: p, authority: "{OTHER}", extends: c}}]'
        )
        again = policy("\n".join(line.partition("  #")[0] for line in shown(made).splitlines()))
        assert again.values["keys"] == made.values["keys"]
        assert len(again.values["keys"]) == 3

    @pytest.mark.parametrize("text", ["access: {command: borg serve}", "access: {command: [borg, serve]}"])
    def test_a_command(self, text: str) -> None:
        assert policy(text).access.command == ("borg", "serve")
        assert policy(text, "access: {command: none}").access.command is None


class TestMatching:
    RULES = policy(
        f'keys: [{{fingerprint: "{ONE}", extends: a}}, {{principal: p, authority: "{OTHER}", extends: a}}, '
        "{key_id: i, extends: a}]"
    )

    @pytest.mark.parametrize(
        ("used", "name"),
        [
            (Used(ONE), ONE),
            (Used(OTHER), ""),
            (Used(ONE, ONE, "x", ["y"]), ONE),
            (Used(OTHER, OTHER, "x", ["y", "p"]), f"principal p of {OTHER}"),
            (Used(OTHER, ONE, "x", ["p"]), ""),
            (Used(OTHER, ONE, "i", []), "key_id i"),
            (Used(OTHER, "", "i", ["p"]), ""),
        ],
    )
    def test_one_key(self, used: Used, name: str) -> None:
        assert keyed.match(self.RULES, [used]) == name

    def test_no_key_is_no_rule(self) -> None:
        assert keyed.match(self.RULES, []) == ""

    def test_several_keys_of_which_one_has_a_rule(self) -> None:
        assert keyed.match(self.RULES, [Used(OTHER), Used(ONE)]) == ONE

    @pytest.mark.parametrize(
        "used", [[Used(ONE, OTHER, "i", [])], [Used(ONE), Used(OTHER, OTHER, "x", ["p"])]]
    )
    def test_several_rules_are_refused_with_their_places(self, used: list[Used]) -> None:
        with pytest.raises(Refusal, match=r"several rules .*\(/1.yaml:1\), .*\(/1.yaml:1\)"):
            keyed.match(self.RULES, used)


class TestMerging:
    def test_a_rules_profiles_come_upon_the_users_own_file(self, tree: Tree) -> None:
        made = of_key(tree)
        assert made.hostname == "push"
        assert made.access.command == ("rrsync", "-wo", "/in")
        assert made.rule == ONE
        assert made.values["keys"] == {}
        assert str(made.origin("hostname")) == f"{tree.places.configuration}/profiles/push.yaml:2"

    def test_another_key_has_the_users_own(self, tree: Tree) -> None:
        made = of_key(tree, OTHER)
        assert (made.hostname, made.access.command, made.rule) == ("box", None, "")

    def test_what_is_enforced_is_above_it(self, tree: Tree) -> None:
        tree.write("enforced", "hostname: fixed")
        assert of_key(tree).hostname == "fixed"

    def test_a_stronger_file_replaces_the_rule(self, tree: Tree) -> None:
        tree.write("profiles/other", "hostname: other\n")
        tree.write("enforced", RULE.replace("push", "other"))
        made = of_key(tree)
        assert (made.hostname, made.access.command) == ("other", None)

    def test_a_rule_can_be_taken_away(self, tree: Tree) -> None:
        tree.write("enforced", "keys: !reset []")
        assert of_key(tree).hostname == "box"

    def test_compiled_is_what_is_read(self, tree: Tree) -> None:
        read = of_key(tree)
        assert tree.compile().problems == []
        tree.logged.clear()
        assert of_key(tree) == read
        assert tree.logged == []

    @pytest.mark.parametrize("part", ["profiles/push", "profiles/below"])
    def test_a_profile_that_changes_counts_at_once(self, tree: Tree, part: str) -> None:
        tree.write("profiles/below", "user: self\n")
        tree.write("profiles/push", "extends: [below]\nhostname: push\n")
        tree.compile()
        tree.write(part, "hostname: changed\n")
        assert of_key(tree).hostname == ("changed" if part == "profiles/push" else "push")
        assert "not using" in "".join(tree.logged)

    def test_a_profile_applies_to_the_user_and_to_the_key(self, tree: Tree) -> None:
        """That of a rule is not taken for one that the file itself has already, nor the other way round."""
        tree.write("profiles/first", RULE.replace("push", "second"))
        tree.write("profiles/second", "hostname: second\n")
        tree.write("users/alice", "extends: [first, second]\nimage: host\n")
        assert tree.load("alice").hostname == "second"
        tree.write("enforced", "")
        assert of_key(tree).hostname == "second"

    def test_digests_tell_policies_apart(self, tree: Tree) -> None:
        one = tree.load("alice")
        tree.write(
            "profiles/push", "\n# moved\naccess: {command: [rrsync, -wo, /in], sftp: false}\nhostname: push\n"
        )
        same = tree.load("alice")
        assert keyed.of_key(one, ONE).digest == keyed.of_key(same, ONE).digest != one.digest
        tree.write("profiles/push", "hostname: other\n")
        assert tree.load("alice").digest != one.digest


class TestRefused:
    def test_a_profile_that_is_not_there(self, tree: Tree) -> None:
        tree.write("users/alice", "image: host\n" + RULE.replace("push", "pusch"))
        (error,) = tree.errors("alice")
        assert error.startswith("users/alice.yaml:2:1: there is no profile")
        assert "push" in error

    def test_an_error_in_the_profile(self, tree: Tree) -> None:
        tree.write("profiles/push", "hostnam: x\n")
        (error,) = tree.errors("alice")
        assert error.startswith("profiles/push.yaml:1:1: unknown key")

    @pytest.mark.parametrize("extends", ["push", "around"])
    def test_keys_in_the_policy_of_a_key(self, tree: Tree, extends: str) -> None:
        tree.write("profiles/push", RULE)
        tree.write("profiles/around", "extends: [push]\n")
        tree.write("users/alice", "image: host\n" + RULE.replace("push", extends))
        assert ["keys in a profile" in error for error in tree.errors("alice")] == [True]

    def test_what_overlaps(self, tree: Tree) -> None:
        rules = f'[{{principal: p, extends: push}}, {{principal: p, authority: "{ONE}", extends: push}}]'
        tree.write("users/alice", f"image: host\nkeys: {rules}")
        with pytest.raises(
            Refusal, match=r"users/alice.yaml:2: what principal p of SHA256:A+ in \S+:2 is about"
        ):
            tree.load("alice")

    def test_keys_that_users_write(self, tree: Tree) -> None:
        tree.write("users/alice", "home: {source: /srv/homes/%u}\nauthorized_keys: home\n" + RULE)
        with pytest.raises(Refusal, match="where users add keys that no rule names"):
            tree.load("alice")

    @pytest.mark.parametrize("source", ["/tmp", "/"])
    def test_a_session_that_could_change_what_sshd_tells(self, tree: Tree, source: str) -> None:
        volume = f"volumes: [{source}:/t:rw]\n"
        tree.write("users/alice", "image: host\n" + RULE + volume)
        with pytest.raises(Refusal, match="sessions can write to /tmp of the host"):
            tree.load("alice")
        tree.write("users/alice", "image: host\n" + RULE)
        tree.write("profiles/push", volume)
        with pytest.raises(Refusal, match="sessions can write to /tmp of the host"):
            of_key(tree)
        tree.write("profiles/push", volume.replace(":rw", ":ro"))
        assert of_key(tree).volumes

    @pytest.mark.parametrize(
        "text",
        [
            "authorized_keys: home\nhome: {source: /srv/homes/%u}",
            "allow_agent_forwarding: true",
            "allow_forwarding: true",
            "user_limits: {mem_limit: 1g}",
            "home: {source: /srv/other}",
            "home: {size: 1g}",
            "image: debian:12\nuser: root",
            "networks: [lab]",
            "network_pool: 3",
        ],
    )
    def test_what_is_prepared_once_for_the_user(self, tree: Tree, text: str) -> None:
        tree.write("users/alice", "image: host\nhome: {source: /srv/homes/%u}\n" + RULE)
        tree.write("profiles/push", text + "\n")
        with pytest.raises(Refusal, match=r"profiles/push.yaml:\d: the policy of a key cannot"):
            of_key(tree)
        assert of_key(tree, OTHER).hostname

    @pytest.mark.parametrize(
        "text",
        [
            "home: ephemeral",
            "home: {read_only: true}",
            "allow_forwarding: false",
            "allow_agent_forwarding: false",
        ],
    )
    def test_less_than_the_user_has(self, tree: Tree, text: str) -> None:
        own = "allow_forwarding: true\nallow_agent_forwarding: true\n"
        tree.write("users/alice", "image: host\nhome: {source: /srv/homes/%u}\n" + own + RULE)
        tree.write("profiles/push", text + "\n")
        assert of_key(tree).rule == ONE


class TestJudgedBeforehand:
    def test_check_judges_the_policy_of_each_key(self, tree: Tree) -> None:
        tree.write("profiles/push", "volumes: [/srv/a:/usr/x:ro]\n")
        (error,) = check.installation(tree.places).errors()
        assert "is the container's own" in error.message
        assert error.message.endswith(f"(in the policy of {ONE})")
        assert error.file.endswith("profiles/push.yaml")

    def test_what_the_users_own_has_too_is_told_once(self, tree: Tree) -> None:
        tree.write("users/alice", "image: host\nvolumes: [/srv/a:/usr/x:ro]\n" + RULE)
        (error,) = check.installation(tree.places).errors()
        assert "(in the policy" not in error.message

    def test_check_refuses_more_than_the_user_has(self, tree: Tree) -> None:
        tree.write("profiles/push", "allow_agent_forwarding: true\n")
        (error,) = check.installation(tree.places).errors()
        assert "the policy of a key cannot change allow_agent_forwarding" in error.message

    def test_a_rule_for_a_whole_group(self, tree: Tree) -> None:
        tree.write("config", "group_order: [staff]")
        tree.write("groups/staff", "image: host\n" + RULE)
        tree.write("users/alice", "hostname: box\n")
        loaded = tree.load("alice", "staff")
        assert keyed.of_key(loaded, ONE).hostname == "push"

    def test_compile_has_the_policies_of_keys(self, tree: Tree) -> None:
        """Their filters are built with the others, and their images are not removed."""
        tree.write("profiles/push", "image: debian:12\n")
        images = [made.image for made in build.policies(tree.places) if made.rule]
        assert images == ["debian:12"]

    def test_diff_tells_what_changes_for_a_key(self, tree: Tree) -> None:
        old = diff.policy_in("alice", (), tree.places)
        tree.write("profiles/push", "access: {command: [rrsync, -ro, /in], sftp: false}\nhostname: push\n")
        new = diff.policy_in("alice", (), tree.places)
        ((key, before, after),) = origins.differences(old, new)
        assert key == f"{ONE}: access.command"
        assert before is not None
        assert after is not None
        assert (before.value(), after.value()) == ('[rrsync, "-wo", /in]', '[rrsync, "-ro", /in]')
