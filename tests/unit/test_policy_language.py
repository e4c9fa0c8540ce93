"""Every key, every error with its place, layering, and what each trap of YAML gets."""

from __future__ import annotations

import os

import pytest
import yaml
from support.policies import ETC, Tree, policy, problems, read, shown

from ssh2container.admin.policy.compile import compiler
from ssh2container.admin.policy.schema.declaration import Setting
from ssh2container.admin.policy.schema.settings import POLICY, SITE
from ssh2container.admin.policy.types.kinds import Report
from ssh2container.admin.policy.yaml import nodes
from ssh2container.admin.policy.yaml.files import Source
from ssh2container.admin.policy.yaml.problems import WARNING, PolicyError
from ssh2container.errors import Refusal
from ssh2container.policy import rules
from ssh2container.policy.policy import Command, Home, Sftp, Tmpfs, Volume

SUPPORTED = [setting for setting in POLICY if setting.supported is not False]


@pytest.fixture
def tree(tmp_path: os.PathLike[str]) -> Tree:
    return Tree(os.fspath(tmp_path))


@pytest.mark.parametrize("setting", SUPPORTED, ids=lambda s: s.key)
def test_every_example_is_valid_or_says_what_is_not_supported(setting: Setting) -> None:
    found = problems(setting.example + "\n")
    if setting.supports_example():
        assert found == []
    else:
        assert ["not supported in this version" in problem.message for problem in found] == [True]


@pytest.mark.parametrize("setting", SUPPORTED, ids=lambda s: s.key)
def test_every_example_sets_its_key(setting: Setting) -> None:
    if setting.supports_example():
        assert policy(setting.example + "\n").origin(setting.key) is not None


@pytest.mark.parametrize(
    "setting", [setting for setting in POLICY if setting.supported is False], ids=lambda s: s.key
)
def test_a_key_without_its_feature_is_refused(setting: Setting) -> None:
    found = problems(setting.example + "\n")
    assert found
    assert all("is not supported in this version" in problem.message for problem in found)


@pytest.mark.parametrize("setting", [setting for setting in POLICY if setting.words()], ids=lambda s: s.key)
def test_a_word_without_its_feature_is_refused(setting: Setting) -> None:
    for word in getattr(setting.kind, "words", ()):
        *outer, last = setting.key.split(".")
        found = problems("".join(f"{name}: {{" for name in outer) + f"{last}: {word}" + "}" * len(outer))
        if setting.supports(word):
            assert found == []
        else:
            assert [problem.message for problem in found] == [
                f"{setting.key}: {word} is not supported in this version"
            ]


@pytest.mark.parametrize("setting", [*POLICY, *SITE], ids=lambda s: s.key)
def test_every_declaration_is_complete(setting: Setting) -> None:
    assert setting.doc.endswith(".")
    assert setting.kind.allowed
    assert setting.kind.name
    assert setting.key.split(".")[-1] in setting.example or setting.key.split(".")[0] in setting.example


def test_the_whole_language_of_the_design() -> None:
    made = policy(
        """
extends: []
image: debian:12
hostname: box-%u
user: root
userns_mode: single
shell: [/bin/zsh, /bin/bash, /bin/sh]
home: {source: /srv/homes/%u, skel: /etc/skel, read_only: false}
container_per: session
volumes:
  - /srv/course:/course:ro
  - {type: bind, source: /srv/submit/%u, target: /submit, read_only: false}
storage_opt: {size: 256m, inodes: 50000}
tmpfs: ["/scratch:size=64m,mode=1770"]
access:
  login: true
  interactive: [menu, --lab]
  commands: [rsync, git-upload-pack, {exact: "make 'all tests'"}]
  sftp: {read_only: true, umask: "027", start_directory: /submit, deny: [remove, rename]}
  message: "Help: https://lab.example"
environment: {EDITOR: nano, DEBUG: }
accept_env: [MY_*]
allow_agent_forwarding: false
network_mode: host
ulimits: {nofile: {soft: 1024, hard: 4096}, core: 0}
stop_grace_period: 1m30s
seccomp: {profile: default, allow: [ptrace, 435], deny: [memfd_create], on_violation: kill}
cap_drop: [ALL]
init: true
x-team: {owner: [anything, 077, no]}
"""
    )
    assert made.image == "debian:12"
    assert made.hostname == "box-%u"
    assert made.user == "root"
    assert made.shell == ("/bin/zsh", "/bin/bash", "/bin/sh")
    assert made.home == Home("/srv/homes/%u", "/etc/skel", read_only=False)
    assert made.volumes == (
        Volume("/srv/course", "/course", read_only=True),
        Volume("/srv/submit/%u", "/submit", read_only=False),
    )
    assert (made.storage_opt.size, made.storage_opt.inodes) == (256 * 1024**2, 50_000)
    assert made.tmpfs == (Tmpfs("/scratch", 64 * 1024**2, 0o1770),)
    assert made.access.interactive == ("menu", "--lab")
    assert made.access.commands == (
        Command(("rsync",), exact=False),
        Command(("git-upload-pack",), exact=False),
        Command(("make", "all tests"), exact=True),
    )
    assert made.access.sftp == Sftp(True, 0o027, "/submit", ("remove", "rename"))
    assert made.environment == {"EDITOR": "nano", "DEBUG": None}
    assert made.accept_env == ("TERM", "LANG", "LC_*", "TZ", "GIT_PROTOCOL", "MY_*")
    assert made.network_mode == "host"
    assert made.ulimits == {"nofile": (1024, 4096), "core": (0, 0)}
    assert made.stop_grace_period == 90.0
    assert made.seccomp.allow == ("ptrace", "435")
    assert str(made.origin("volumes./submit")) == "/1.yaml:12"
    assert str(made.origin("access.sftp.umask")) == "/1.yaml:19"
    assert str(made.origin("accept_env.MY_*")) == "/1.yaml:22"
    assert made.origin("linger") is None


def test_a_map_written_key_by_key_has_the_origin_of_the_strongest_files_last_key() -> None:
    """So "explain" does not call built-in what a file says."""
    made = policy("storage_opt: {size: 1m, inodes: 200}\n", "image: host\nstorage_opt: {size: 2m}\n")
    assert str(made.origin("storage_opt")) == "/2.yaml:2"
    assert str(made.origin("storage_opt.inodes")) == "/1.yaml:1"
    assert made.origin("seccomp") is None


def test_an_empty_file_is_a_policy_of_defaults() -> None:
    made = policy("")
    assert made.image == "host"
    assert made.home is None
    assert made.access.sftp == Sftp(False, None, None, ())
    assert made == policy("# nothing\n---\n")


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "rest"),
    [
        ("imag: x", 1, 1, 'unknown key "imag"', 'did you mean "image"?'),
        ("access: {loginn: true}", 1, 10, 'unknown key "loginn" in access', 'did you mean "login"?'),
        ("umask: 1", 1, 1, 'unknown key "umask"', "it belongs below access.sftp"),
        ("image: host\nimage: x", 2, 1, "a second time", "keep one"),
        ("image: [host]", 1, 8, "a list instead of a single value", "REGISTRY"),
        ("access: true", 1, 9, "a single value instead of a map", "login"),
        ("- image", 1, 1, "the file is a list", "key: value"),
        ("just text", 1, 1, "the file is a single value", "key: value"),
        ("image: host\n---\nimage: host", 2, 1, "second document", "one policy"),
        ("image: &a host", 1, 8, "an anchor", "write the value out"),
        ("hostname: *a", 1, 11, "an alias", "write the value out"),
        ("hostname: !!str x", 1, 11, 'the tag "!!str"', "!override and !reset"),
        ("hostname: !!python/object/apply:os.system [id]", 1, 11, "the tag", "!override"),
        ("%YAML 1.1\n---\nimage: host", 1, 1, "directive", "remove"),
        ("? [a]\n: b", 1, 3, "a list where a key belongs", "%u"),
        ("image: {u}", 1, 8, "a map instead of a single value", "use %u"),
        ("hostname: box-{u}", 1, 11, 'found "box-{u}"', "use %u"),
        ("hostname: box-%x", 1, 11, 'the unknown specifier "%x"', "%u"),
        ("hostname: box%", 1, 11, 'the unknown specifier "%"', "%u"),
        ("hostname: %u", 1, 11, "not YAML", 'in quotes: "%u"'),
        ("home: {source: %h}", 1, 16, "not YAML", 'starts with % in quotes: "%h"'),
        ("image: host\nvolumes:\n  - %h/x:/y", 3, 5, "not YAML", 'in quotes: "%h/x:/y"'),
        ("volumes: [%h/x:/y:ro, /a:/b]", 1, 11, "not YAML", 'in quotes: "%h/x:/y:ro"'),
        ("access: {message: @home}", 1, 19, "not YAML", 'starts with @ in quotes: "@home"'),
        ("access: {commands: [*]}", 1, 21, "not YAML", 'starts with * in quotes: "*"'),
        ("access: {commands: [*.sh]}", 1, 21, "not YAML", 'starts with * in quotes: "*.sh"'),
        ("access: {commands: [!x]}", 1, 21, "not YAML", "starts with ! in quotes"),
        ("image: *x", 1, 8, "alias", "starts with * in quotes"),
        ("image: &x host", 1, 8, "anchor", "starts with & in quotes"),
        ("image: !x host", 1, 8, "the tag", "starts with ! in quotes"),
        ("access: {message: `x`}", 1, 19, "not YAML", "starts with ` in quotes"),
        ("hostname: {u}-x", 1, 14, "not YAML", "%u, not {u}"),
        ("access: {login: true", 1, 21, "not YAML", "close the {"),
        ("banner: Help: here", 1, 13, "not YAML", "in quotes"),
        ("image: 'host", 1, 13, "not YAML", ""),
        ("? access", 1, 9, "instead of a map", ""),
        ("image: host\nx", 2, 2, "not YAML", ""),
        ("image: host\n  hostname: x", 2, 11, "not YAML", ""),
        ("network_mode: bridge", 1, 15, 'found "bridge"', "none | host"),
        ("network_mode: bridge", 1, 15, 'found "bridge"', "there is no bridge"),
        ("shell: /bin/bash -l", 1, 8, "may be one entry or several", '["/bin/bash -l"] for this one'),
        ("shell: sh", 1, 8, 'found "sh"', "absolute path"),
        ("shell: []", 1, 8, "an empty list", ""),
        ("shell: [sh]", 1, 9, 'found "sh"', "absolute path"),
        ("home: {source: homes/%u}", 1, 16, 'found "homes/%u"', "relative paths"),
        ("home: {source: /srv/../etc}", 1, 16, '".." in the path', "absolute path"),
        ("home: here", 1, 7, 'found "here"', "ephemeral"),
        ("home: no", 1, 7, 'found "no"', "a map with source, skel, read_only"),
        ("access: {sftp: yes}", 1, 16, 'found "yes"', "a map with read_only, umask"),
        ("access:", 1, 8, "nothing instead of a map", "login"),
        ("volumes:", 1, 9, "nothing instead of a list", "SOURCE"),
        ("cap_add: [SYS_ADMIN]", 1, 11, 'found "SYS_ADMIN"', "it mounts"),
        ("cap_add: [CAP_SYS_TIME]", 1, 11, 'found "CAP_SYS_TIME"', "on the host alone"),
        ("cap_add: [net_raw]", 1, 11, 'found "net_raw"', "NET_RAW"),
        ("cap_add: [ALL]", 1, 11, 'found "ALL"', "name each"),
        ("cap_add: [NET_RAWW]", 1, 11, 'found "NET_RAWW"', 'did you mean "NET_RAW"?'),
        ("volumes: /a:/b, /c:/d", 1, 10, "may be one entry or several", "[A, B] for several"),
        ("volumes: none", 1, 10, 'found "none" instead of a list', "write []"),
        ("volumes: [data:/b]", 1, 11, 'found "data"', "named volumes"),
        ("volumes: [/a:b]", 1, 11, 'found "b"', "absolute path inside"),
        ("volumes: [/a]", 1, 11, 'found "/a"', "SOURCE:TARGET"),
        ("volumes: [/a:/b:Z]", 1, 11, 'the mode "Z"', "SELinux"),
        ("volumes: ['/a:/b:ro,z']", 1, 11, 'the mode "ro,z"', "ro | rw"),
        ("volumes: [/a:/b, /c:/b]", 1, 18, '"/b" is listed twice', "keep one"),
        ("volumes: [/a:/proc/x]", 1, 11, "made by the container itself", "another target"),
        ("volumes: [/a:/]", 1, 11, "made by the container itself", "use image"),
        ("volumes: [{type: volume, source: /a, target: /b}]", 1, 18, 'type "volume"', "bind"),
        ("volumes: [{source: /a}]", 1, 11, "target missing", "source"),
        ("volumes: [{source: /a, target: /b, readonly: true}]", 1, 36, 'unknown key "readonly"', "read_only"),
        ("volumes: [{source: /a, target: /b, bind: {}}]", 1, 36, '"bind" is not possible', "private"),
        ("tmpfs: [/x:size=1t]", 1, 9, 'found "1t"', "a size"),
        ("tmpfs: [/x:mode=9]", 1, 9, 'found "9"', "octal"),
        ("tmpfs: [/x:uid=1]", 1, 9, 'the option "uid=1"', "size=SIZE"),
        ("storage_opt: {size: 12q}", 1, 21, 'found "12q"', "a size such as 64m"),
        ("storage_opt: {size: 256 MB}", 1, 21, 'found "256 MB"', "write it as in 256m"),
        ("storage_opt: {size: 1}", 1, 21, "found 1", "from 1m"),
        ("storage_opt: {inodes: many}", 1, 23, 'found "many"', "a whole number"),
        ("storage_opt: {inodes: -1}", 1, 23, "found -1", "from 100"),
        ("stop_grace_period: 10", 1, 20, 'found "10"', "write 10s"),
        ("stop_grace_period: 1d", 1, 20, 'found "1d"', "1h30m"),
        ("stop_grace_period: 11m", 1, 20, "found 11m", "to 10m"),
        ("access: {interactive: ture}", 1, 23, 'found "ture"', 'did you mean "true"?'),
        ("access: {interactive: none}", 1, 23, 'found "none"', "write false"),
        ("access: {interactive: shell}", 1, 23, 'found "shell"', "write true"),
        ("access: {interactive: 'yes'}", 1, 23, 'found "yes"', "write true without quotes"),
        ("access: {interactive: a; b}", 1, 23, "needs a shell", "a command line"),
        ("access: {interactive: ''}", 1, 23, 'found ""', "true | false"),
        ("access: {interactive: '%x'}", 1, 23, "unknown specifier", "%u"),
        ("access: {commands: nome}", 1, 20, 'found "nome"', 'did you mean "none"?'),
        ("access: {commands: make test}", 1, 20, 'found "make test"', '{exact: "make test"}'),
        ("accept_env: all", 1, 13, 'found "all" instead of a list', 'write ["all"] for this one'),
        ("accept_env: 'none'", 1, 13, 'found "none" instead of a list', "write []"),
        ("environment: A=b, C=d", 1, 14, "may be one entry or several", "[A, B]"),
        ("access: {commands: true}", 1, 20, 'found "true"', "write any"),
        ("access: {commands: [rsync, any]}", 1, 28, '"any" in a list', "write commands: any"),
        ("access: {commands: [none]}", 1, 21, '"none" in a list', "{exact: none}"),
        ("storage_opt: {size: -1}", 1, 21, 'found "-1"', "from 1m"),
        ("access: {commands: [rsync --server]}", 1, 21, "rsync --server", "exact"),
        ("access: {commands: [{exact: a; b}]}", 1, 21, "needs a shell", "words"),
        ("access: {commands: [{exact: ''}]}", 1, 21, "an empty command", ""),
        ("access: {commands: [a, a]}", 1, 24, "listed twice", ""),
        ("access: {sftp: {deny: [delete]}}", 1, 24, 'found "delete"', "remove"),
        ("environment: [1A=b]", 1, 15, 'the variable name "1A"', "letters"),
        ("environment: {A: [1]}", 1, 18, "a list instead of a single value", ""),
        ("environment: [A=1, A=2]", 1, 20, '"A" is listed twice', ""),
        ("ulimits: {nofiles: 1}", 1, 11, 'unknown limit "nofiles"', 'did you mean "nofile"?'),
        ("ulimits: {nofile: {soft: 2, hard: 1}}", 1, 19, "soft 2 is above hard 1", ""),
        ("ulimits: {nofile: {soft: 2}}", 1, 19, "hard missing", ""),
        ("privileged: true", 1, 13, '"privileged" is not possible', "privileged: false"),
        ("privileged: true", 1, 13, '"privileged" is not possible', "user: root"),
        ("read_only: true", 1, 12, '"read_only" is not possible', "home and volumes"),
        ("cap_drop: [CHOWN]", 1, 11, '"cap_drop" is not possible', "cap_add"),
        ("cap_drop: [NET_RAW]", 1, 11, '"cap_drop" is not possible', "[ALL]"),
        ("depends_on: [db]", 1, 1, '"depends_on" is not a key', "no services"),
        ("security_opt: [x]", 1, 15, '"security_opt" is not possible', "use seccomp"),
        ("ForceCommand: x", 1, 1, '"ForceCommand" is not a key', "access.interactive"),
        ("group_order: [a]", 1, 1, '"group_order" is not a key', "config.yaml"),
        ("sftp: false", 1, 1, '"sftp" is not a key', "below access"),
        ("image: !override\n  [x]", 1, 8, "a list instead of a single value", ""),
        ("volumes: !reset [/a:/b]", 1, 10, "a value after !reset", "!override"),
        ("volumes: [!reset /a:/b]", 1, 11, "!reset has no effect here", "before the value of a key"),
        ("seccomp: {allow: [Ptrace]}", 1, 19, 'found "Ptrace"', "a system call"),
        ("seccomp: {allow: [ptrase]}", 1, 19, "'ptrase'; did you mean ptrace", "a system call"),
        ("seccomp: {deny: [fork, nosuch]}", 1, 24, "no system call is called 'nosuch'", "a system call"),
        ("extends: [a, a]", 1, 14, "listed twice", ""),
        ("extends: [../x]", 1, 11, 'found "../x"', "the name of a profile"),
        ("[" * 100 + "]" * 100, 1, 17, "more than 16 levels", ""),
    ],
)
def test_errors_name_the_place_what_was_found_and_what_is_allowed(
    text: str, line: int, column: int, message: str, rest: str
) -> None:
    found = problems(text)
    matching = [problem for problem in found if message in problem.message]
    assert matching, [str(problem) for problem in found]
    problem = matching[0]
    assert (problem.line, problem.column) == (line, column)
    assert rest in f"{problem.allowed}; {problem.hint}"
    assert problem.text == text.split("\n")[line - 1]


@pytest.mark.parametrize(
    ("written", "meaning"),
    [
        ("no", "boolean"),
        ("Yes", "boolean"),
        ("off", "boolean"),
        ("y", "boolean"),
        ("true", "boolean"),
        ("~", "null"),
        ("null", "null"),
        ("", "where a value belongs"),
        ("010", "the number 8"),
        ("077", "the number 63"),
        ("0x1f", "the number 31"),
        ("0b11", "the number 3"),
        ("1_000", "the number 1000"),
        ("22:22", "the number 1342"),
        ("1:30", "the number 90"),
        ("0o17", "octal"),
        ("1.5", "a fraction"),
        (".inf", "a fraction"),
        ("1e5", "a fraction in YAML 1.2"),
        ("-2E+3", "a fraction in YAML 1.2"),
        ("2024-01-02", "a date"),
        ("42", "the number 42"),
        ("=", "default marker"),
    ],
)
def test_traps_are_refused_unquoted_and_taken_in_quotes(written: str, meaning: str) -> None:
    found = problems(f"access: {{message: {written}}}")
    assert len(found) == 1
    assert meaning in found[0].message
    assert policy(f'access: {{message: "{written}"}}').access.message == written


@pytest.mark.parametrize(
    "key",
    ["storage_opt: {size: %s}", "storage_opt: {inodes: %s}", "access: {sftp: {umask: %s}}",
     "access: {login: %s}", "stop_grace_period: %s", "image: %s", "hostname: %s",
     "ulimits: {core: %s}", "environment: {A: %s}", "accept_env: [%s]"],
)  # fmt: skip
@pytest.mark.parametrize("trap", ["no", "010", "1:30", "077", "~", "0x10", "1_0"])
def test_no_key_takes_a_trap(key: str, trap: str) -> None:
    assert problems(key % trap)


@pytest.mark.parametrize(
    "text",
    [
        "hostname: " + "9" * 5000,
        "storage_opt: {size: " + "9_" * 5000 + "}",
        "storage_opt: {inodes: " + "9" * 5000 + "}",
        "stop_grace_period: " + "1s" * 5000,
        "access: {sftp: {umask: " + "7" * 5000 + "}}",
    ],
)
def test_a_message_stays_short(text: str) -> None:
    assert all(len(problem.message) < 200 for problem in problems(text))
    assert problems(text)


@pytest.mark.parametrize(
    ("alone", "listed"),
    [
        ("shell: /bin/zsh", "shell: [/bin/zsh]"),
        ("volumes: /a:/b", "volumes: [/a:/b]"),
        ("volumes: {source: /a, target: /b}", "volumes: [/a:/b:ro]"),
        ("tmpfs: '/x:size=1m,mode=700'", "tmpfs: ['/x:size=1m,mode=700']"),
        ("accept_env: EDITOR_*", "accept_env: [EDITOR_*]"),
        ("accept_env: !override EDITOR", "accept_env: !override [EDITOR]"),
        ("environment: EDITOR=nano", "environment: [EDITOR=nano]"),
        ("environment: EDITOR", "environment: {EDITOR: }"),
        ("access: {commands: rsync}", "access: {commands: [rsync]}"),
        ("access: {commands: {exact: make test}}", "access: {commands: [{exact: make test}]}"),
        ("access: {interactive: tmux}", "access: {interactive: [tmux]}"),
        (
            "access: {interactive: /usr/bin/menu --lab 'a b'}",
            "access: {interactive: [/usr/bin/menu, --lab, a b]}",
        ),
        ("access: {sftp: {deny: remove}}", "access: {sftp: {deny: [remove]}}"),
        ("seccomp: {allow: ptrace, deny: 435}", "seccomp: {allow: [ptrace], deny: [435]}"),
    ],
)
def test_one_entry_may_stand_without_its_list(alone: str, listed: str) -> None:
    assert dict(policy(alone).values) == dict(policy(listed).values)


@pytest.mark.parametrize(
    ("key", "one"),
    [
        ("ports", "8080:80"),
        ("egress", "10.0.0.1"),
        ("egress", {"to": "10.0.0.0/8", "ports": "8000-8010"}),
        ("egress", {"to": "10.0.0.0/8", "ports": 443}),
        ("cap_add", "CHOWN"),
    ],
)
def test_keys_of_the_network_and_of_later_versions_take_one_entry_too(key: str, one: object) -> None:
    """What is declared is read alike, whatever this version carries out."""
    made = []
    for value in (one, [one]):
        source = Source("/p.yaml", yaml.safe_dump({key: value}), (0, 0, 0, 0, 0))
        report = Report(source, [])
        entries = POLICY.settings[key].kind.read(nodes.parse(source).root.pairs[0][1], report)
        assert report.problems == []
        made.append({name: entry for name, (entry, _) in entries.items()})
    assert made[0] == made[1] != {}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('tmpfs: /proce=64m,mode=1777"]', 1),
        ("tmpfs:\n  - /scratch,size=64m", 2),
        ("tmpfs: [/scratch=size=64m]", 1),
        ("volumes: ['/a:/b,ro']", 1),
        ("volumes: ['/a:/b=rw']", 1),
        ("volumes: [{source: /a, target: '/b:ro'}]", 1),
        ("home: {source: '/srv/homes/%u:rw'}", 1),
        ("home: {source: '/srv/homes/%u,nosuid,nodev'}", 1),
        ("access: {sftp: {start_directory: '/x:ro'}}", 1),
    ],
)
def test_a_path_that_looks_like_options_is_warned_of(text: str, line: int) -> None:
    found = problems(text)
    assert [(problem.severity, problem.line) for problem in found] == [(WARNING, line)]
    assert "looks as if it held options" in found[0].message
    assert policy(shown(policy(text))).digest == policy(text).digest


@pytest.mark.parametrize("path", ["/srv/ro", "/a,b", "/mode", "/size=", "/srv/v=1", "/rw:x", "/a:roots"])
def test_other_paths_are_not(path: str) -> None:
    found = problems(yaml.safe_dump({"home": {"source": path}}))
    assert bool(found) == ("size=" in path)


def test_all_errors_are_told_at_once() -> None:
    found = problems("imag: host\nhostname: no\naccess: {login: 1, x: y}\nvolumes: [a, b]\nulimits: {a: b}\n")
    assert [problem.line for problem in found] == [1, 2, 3, 3, 4, 4, 5]


# ---- layers --------------------------------------------------------------------------------------------


def test_the_chain_in_its_order(tree: Tree) -> None:
    tree.write("config", "group_order: [students, staff]")
    for part in ("defaults", "groups/students", "groups/staff", "users/alice", "enforced"):
        tree.write(part, f"environment: {{{part[:3].upper()}{part[-1]}: x, LAST: {part.replace('/', '-')}}}")
    made = tree.load("alice", "staff", "other", "students")
    assert list(made.environment) == ["DEFs", "LAST", "GROs", "GROf", "USEe", "ENFd"]
    assert made.environment["LAST"] == "enforced"
    assert tree.load("alice", "students").environment.keys() == {"DEFs", "LAST", "GROs", "USEe", "ENFd"}
    assert "GROf" not in tree.load("alice").environment


def test_what_is_enforced_cannot_be_loosened(tree: Tree) -> None:
    tree.write("enforced", "network_mode: none\nvolumes: !reset null\naccess: {commands: !override [rsync]}")
    tree.write("users/eve", "network_mode: host\nvolumes: [/etc:/host]\naccess: {commands: any}")
    made = tree.load("eve")
    assert made.network_mode == "none"
    assert made.volumes == ()
    assert made.access.commands == (Command(("rsync",), exact=False),)
    assert "enforced.yaml:1" in str(made.origin("network_mode"))


def test_nobody_without_a_policy_gets_in(tree: Tree) -> None:
    tree.write("config", "group_order: [staff]")
    tree.write("groups/staff", "")
    for groups in ((), ("students",)):
        with pytest.raises(Refusal, match="no policy for alice"):
            tree.load("alice", *groups)
    assert tree.load("alice", "staff").image == "host"
    tree.write("config", "admit: everybody\ngroup_order: [staff]")
    assert tree.load("alice").image == "host"


def test_a_group_file_outside_the_order_refuses_its_members(tree: Tree) -> None:
    tree.write("groups/staff", "")
    tree.write("users/alice", "")
    assert tree.load("alice").image == "host"
    with pytest.raises(Refusal, match="group_order"):
        tree.load("alice", "staff")


def test_profiles_left_to_right_then_the_file(tree: Tree) -> None:
    tree.write("share/a", "hostname: a\nstop_grace_period: 1s\nvolumes: [/a:/x]")
    tree.write("share/b", "hostname: b\nvolumes: [/b:/x, /b:/y]")
    tree.write("users/alice", "extends: [a, b]\nvolumes: [/c:/y:rw]")
    made = tree.load("alice")
    assert made.hostname == "b"
    assert made.stop_grace_period == 1
    assert made.volumes == (Volume("/b", "/x", read_only=True), Volume("/c", "/y", read_only=False))


def test_a_profile_of_the_site_shadows_the_shipped_one(tree: Tree) -> None:
    tree.write("share/a", "hostname: shipped")
    tree.write("users/alice", "extends: a")
    assert tree.load("alice").hostname == "shipped"
    tree.write("profiles/a", "hostname: site")
    assert tree.load("alice").hostname == "site"


def test_a_profile_that_two_others_extend_applies_once(tree: Tree) -> None:
    tree.write("share/base", "hostname: base\naccept_env: [A]")
    tree.write("share/left", "extends: [base]\nhostname: left")
    tree.write("share/right", "extends: [base]\naccept_env: [B]")
    tree.write("users/alice", "extends: [left, right]")
    assert tree.load("alice").hostname == "left"


@pytest.mark.parametrize(
    ("files", "circle"),
    [
        ({"a": "a"}, "a -> a"),
        ({"a": "b", "b": "a"}, "a -> b -> a"),
        ({"a": "b", "b": "c", "c": "b"}, "b -> c -> b"),
    ],
)
def test_profiles_in_a_circle(tree: Tree, files: dict[str, str], circle: str) -> None:
    for name, extends in files.items():
        tree.write(f"share/{name}", f"extends: [{extends}]")
    tree.write("users/alice", "extends: [a]")
    errors = tree.errors("alice")
    assert len(errors) == 1
    assert f"in a circle: {circle}" in errors[0]


def test_a_missing_profile(tree: Tree) -> None:
    tree.write("share/shell", "")
    tree.write("users/alice", "\n\nextends: [shel, shell]")
    assert tree.errors("alice") == [
        'users/alice.yaml:3:11: there is no profile "shel"; allowed: shell; did you mean "shell"?'
    ]


def test_errors_of_profiles_are_told_with_those_of_the_file(tree: Tree) -> None:
    tree.write("share/a", "imag: x")
    tree.write("users/alice", "extends: [a]\nhostnam: y")
    assert [error.partition(";")[0] for error in tree.errors("alice")] == [
        'users/alice.yaml:2:1: unknown key "hostnam"',
        f'{tree.base}/share/a.yaml:1:1: unknown key "imag"',
    ]


def test_an_invalid_layer_refuses_only_those_it_concerns(tree: Tree) -> None:
    tree.write("users/alice", "imag: x")
    tree.write("users/bob", "")
    assert tree.load("bob").image == "host"
    assert tree.errors("alice")


# ---- merging as Compose does ----------------------------------------------------------------------------


def test_maps_merge_by_key_and_lists_grow() -> None:
    made = policy(
        "environment: {A: a, B: b}\nulimits: {core: 0, nproc: 5}\naccess: {sftp: {deny: [remove]}}",
        "environment: [B=c, D]\nulimits: {nproc: 6}\naccess: {sftp: {deny: [rename]}}",
    )
    assert made.environment == {"A": "a", "B": "c", "D": None}
    assert made.ulimits == {"core": (0, 0), "nproc": (6, 6)}
    assert made.access.sftp is not None
    assert made.access.sftp.deny == ("remove", "rename")


def test_a_program_call_is_replaced_as_a_whole() -> None:
    made = policy(
        "shell: [/bin/a, /bin/b]\naccess: {interactive: [a, b]}",
        "shell: [/bin/c]\naccess: {interactive: [c]}",
    )
    assert made.shell == ("/bin/c",)
    assert made.access.interactive == ("c",)


def test_override_replaces() -> None:
    low = "environment: {A: a}\naccept_env: [X]\naccess: {login: false, sftp: {read_only: true}}"
    made = policy(
        low, "environment: !override {B: b}\naccept_env: !override [Z]\naccess: !override {message: m}"
    )
    assert made.environment == {"B": "b"}
    assert made.accept_env == ("Z",)
    assert made.access.login is True
    assert made.access.sftp == Sftp(False, None, None, ())
    assert made.access.message == "m"


def test_reset_removes() -> None:
    low = "hostname: a\nenvironment: {A: a, B: b}\nulimits: {core: 0}\nvolumes: [/a:/b]\nhome: {source: /x}"
    made = policy(
        low,
        "hostname: !reset null\nenvironment: {A: !reset null}\nulimits: !reset {}\nvolumes: !reset []\n"
        "home: !reset",
    )
    assert made.hostname == "container-%i"
    assert made.environment == {"B": "b"}
    assert made.ulimits == {}
    assert made.volumes == ()
    assert made.home is None
    assert made.origin("environment.A") == made.origin("environment")
    assert made.origin("hostname") is None


def test_a_word_in_the_place_of_a_map_takes_the_map_with_it() -> None:
    low = "home: {source: /x, read_only: true}\naccess: {sftp: {read_only: true}}"
    assert policy(low, "home: ephemeral\naccess: {sftp: false}").home is None
    assert policy(low, "access: {sftp: false}").access.sftp is None
    again = policy(
        low, "home: ephemeral\naccess: {sftp: false}", "home: {source: /y}\naccess: {sftp: {umask: '077'}}"
    )
    assert again.home == Home("/y", None, read_only=False)
    assert again.access.sftp == Sftp(False, 0o77, None, ())


def test_a_map_continues_the_one_below() -> None:
    made = policy("home: {source: /x, skel: /etc/skel}", "home: {read_only: true}", "home: {skel: none}")
    assert made.home == Home("/x", None, read_only=True)
    assert str(made.origin("home.source")) == "/1.yaml:1"


def test_any_and_none_and_a_list_replace_each_other() -> None:
    assert policy("access: {commands: [a]}", "access: {commands: none}").access.commands == "none"
    made = policy("access: {commands: [a]}", "access: {commands: none}", "access: {commands: [b]}")
    assert [str(command) for command in made.access.commands] == ["b"]
    made = policy("access: {commands: [a]}", "access: {commands: [b]}")
    assert [str(command) for command in made.access.commands] == ["a", "b"]


# ---- rules over two keys, and the shipped files ----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("home: {read_only: true}", "home is a map without source"),
        ("home: {source: '%h'}", "user's home on the host"),
        ("volumes: [/a:/x]\ntmpfs: [/x]", "the target of a volume too"),
    ],
)
def test_keys_that_contradict_each_other_refuse_the_login(tree: Tree, text: str, found: str) -> None:
    tree.write("users/alice", text)
    with pytest.raises(Refusal, match=found) as caught:
        tree.load("alice")
    assert "users/alice.yaml:" in str(caught.value)


@pytest.mark.parametrize("source", ["/home/al", "/home", "/"])
def test_a_literal_path_is_no_way_around(source: str) -> None:
    made = policy(f"home: {{source: {source}}}")
    with pytest.raises(Refusal, match="user's home on the host"):
        rules.require_apart(made, source, "/home/al")
    rules.require_apart(policy(f"home: {{source: {source}}}\nunsafe_host_home: true"), source, "/home/al")


@pytest.mark.parametrize("source", ["/home/al/box", "/home/a", "/home/al2", "/srv/homes/al"])
def test_other_directories_are_apart(source: str) -> None:
    rules.require_apart(policy(f"home: {{source: {source}}}"), source, "/home/al")


def test_unsafe_host_home_says_so(tree: Tree) -> None:
    tree.write("users/alice", "home: {source: '%h'}\nunsafe_host_home: true")
    assert tree.load("alice").home == Home("%h", None, read_only=False)


@pytest.mark.parametrize("name", compiler.names_in(f"{ETC}/profiles"))
def test_shipped_profiles_are_valid(tree: Tree, name: str) -> None:
    with open(f"{ETC}/profiles/{name}.yaml", "rb") as file:
        tree.write(f"share/{name}", file.read())
    for part in ("config", "defaults", "enforced"):
        with open(f"{ETC}/{part}.yaml", "rb") as file:
            tree.write(part, file.read())
    image = "image: lab\n" if name == "developer" else ""
    tree.write("users/alice", f"extends: [{name}]\n{image}")
    assert tree.load("alice").access.login is True


def test_a_range_of_ids_over_the_hosts_files_is_an_error(tree: Tree) -> None:
    """Found while the policy is checked, at the line that asks for the range."""
    for mode in ("range", "own_range"):
        tree.write("users/alice", f"hostname: box\nuserns_mode: {mode}\n")
        with pytest.raises(Refusal, match=rf"users/alice\.yaml:2: userns_mode: {mode}.*image list"):
            tree.load("alice")
        tree.write("users/alice", f"image: debian:12\nuserns_mode: {mode}\n")
        assert tree.load("alice").ranged


def test_shipped_profiles_are_those_that_were_promised() -> None:
    assert compiler.names_in(f"{ETC}/profiles") == [
        "bastion", "developer", "editor", "exam", "git-only", "lab", "locked-down",
        "sftp-drop", "sftp-readonly", "shell", "transfer-only",
    ]  # fmt: skip


def test_shipped_defaults_change_nothing() -> None:
    """defaults.yaml shows the built-in defaults; removing a line from it must not change a session."""
    with open(f"{ETC}/defaults.yaml", encoding="utf-8") as file:
        assert dict(policy(file.read()).values) == dict(policy("").values)


def test_the_error_is_one_line_for_a_login() -> None:
    with pytest.raises(PolicyError) as caught:
        read("imag: x\nhostname: |\n  a\n  b\n").require_valid()
    assert "\n" not in str(caught.value)
    assert "and 1 more" in str(caught.value)
