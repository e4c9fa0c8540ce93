"""A listed command is words, never a shell: 90 hostile strings, and the shell itself as the oracle."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.policies import policy

from ssh2container.errors import Refusal
from ssh2container.kernel import _syscall
from ssh2container.policy.commands import Word, decide, offered, split
from ssh2container.policy.policy import Access


def expand(words: Sequence[bytes], home: bytes) -> list[bytes]:
    """The words as pid 1 gives them to the program."""
    found: list[bytes] = []
    for word in words:
        pattern = getattr(word, "pattern", None)
        found += [word] if pattern is None else _syscall.expand(word, pattern, home)
    return found


LISTED = policy(
    'access: {commands: [rsync, scp, git-upload-pack, /opt/bin/tool, {exact: "make test"}], message: Ask Ada}'
).access

HOSTILE = [
    b"",
    b" ",
    b"\t",
    b"sh",
    b"/bin/sh",
    b"bash -c id",
    b"sh -c 'rsync'",
    # more than one command
    b"rsync --version; sh",
    b"rsync --version;sh",
    b"rsync;sh",
    b";sh",
    b"rsync && sh",
    b"rsync || sh",
    b"rsync | sh",
    b"rsync |& sh",
    b"rsync & sh",
    b"rsync&",
    b"rsync --version\nsh",
    b"rsync --version\n",
    b"\nrsync",
    b"rsync --version\r\nsh",
    b"git-upload-pack '/r'; bash",
    b"git-upload-pack '/r';bash",
    b"git-upload-pack '/r' && bash",
    b"git-upload-pack '/r'\nbash",
    b"git-upload-pack '/r''; bash",
    b"git-upload-pack '/r'\\''; bash'; bash",
    b'git-upload-pack "/r"; bash',
    b'git-upload-pack "/r\\"; bash"; bash',
    # substitution and expansion
    b"rsync $(sh)",
    b"rsync `sh`",
    b'rsync "$(sh)"',
    b'rsync "`sh`"',
    b"rsync $HOME",
    b"rsync ${HOME}",
    b'rsync "$HOME"',
    b"rsync $((1+1))",
    b"rsync $'\\n'sh",
    b'rsync $"x"',
    b"$(rsync)",
    b"`rsync`",
    b"$SHELL",
    b"$0",
    # redirection, grouping
    b"rsync > /etc/passwd",
    b"rsync >> x",
    b"rsync < /etc/shadow",
    b"rsync << EOF",
    b"rsync <<< x",
    b"rsync 2>&1",
    b"rsync >(sh)",
    b"rsync <(sh)",
    b"(rsync)",
    b"(sh)",
    b"{ sh; }",
    b"{ rsync",
    # the shell's words
    b"! rsync",
    b"exec rsync",
    b"eval rsync",
    b"command rsync",
    b"builtin rsync",
    b"env rsync",
    b"nohup rsync",
    b"time rsync",
    b". rsync",
    b"source rsync",
    b"if rsync",
    b"while rsync",
    b"function rsync",
    b"alias rsync=sh",
    b"FOO=1 rsync",
    b"PATH=/tmp rsync",
    b"LD_PRELOAD=/tmp/x.so rsync",
    b"rsync=sh rsync",
    # another program of the same name, or nearly
    b"/usr/bin/rsync",
    b"./rsync",
    b"../rsync",
    b"~/rsync",
    b"/tmp/rsync",
    b"bin/rsync",
    b"rsync/",
    b"rsync.sh",
    b"rsyncd",
    b"xrsync",
    b"RSYNC",
    b"rsyn?",
    b"r*",
    b"[r]sync",
    b"rsync\\ x",
    b"'rsync --version'",
    b'"rsync x"',
    b"rsync''x",
    b"''",
    b"'' rsync",
    b"tool",
    b"/opt/bin/../bin/tool",
    b"/opt/bin//tool",
    b"\xffrsync",
    b"rsync\xc2\xa0x",
    b"\x0brsync",
    b"rsync\x0c--version",
    # quotes and escapes without an end, comments, NUL
    b"rsync '",
    b'rsync "',
    b"rsync 'x",
    b'rsync "x\\"',
    b"rsync \\",
    b"rsync x\\",
    b"rsync \\\nsh",
    b'rsync "\\\nsh"',
    b"rsync # x",
    b"# rsync",
    b"rsync\0sh",
    b"rsync \0",
    # exact means exact
    b"make",
    b"make test -j4",
    b"make 'test x'",
    b"make test SHELL=/bin/sh",
    b"make -f /tmp/Makefile test",
    b"make test; sh",
    b"test make",
]


@pytest.mark.parametrize("command", HOSTILE)
def test_hostile_commands_are_refused(command: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        decide(command, LISTED)
    assert caught.value.status == 126
    line = str(caught.value)
    assert line.isprintable()
    assert "Ask Ada" in line
    assert "allowed: rsync, scp, git-upload-pack, /opt/bin/tool, make test" in line


def test_the_table_is_long_enough() -> None:
    assert len(set(HOSTILE)) >= 100


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (b"rsync", [b"rsync"]),
        (
            b"rsync --server -vlogDtpre.iLsfxCIvu . /srv/x",
            [b"rsync", b"--server", b"-vlogDtpre.iLsfxCIvu", b".", b"/srv/x"],
        ),
        (b"  rsync\t--version  ", [b"rsync", b"--version"]),
        (b"'rsync' \"--version\"", [b"rsync", b"--version"]),
        (b"r'sy'\"nc\" \\-\\-version", [b"rsync", b"--version"]),
        (b"git-upload-pack '/srv/git/a b.git'", [b"git-upload-pack", b"/srv/git/a b.git"]),
        (b"git-upload-pack '/r; bash'", [b"git-upload-pack", b"/r; bash"]),
        (b"git-upload-pack '/r'\\''s'", [b"git-upload-pack", b"/r's"]),
        (b"git-upload-pack \"/r; 'x' | y\"", [b"git-upload-pack", b"/r; 'x' | y"]),
        (b'rsync "a\\\\b\\"c\\$d\\`e\\f"', [b"rsync", b'a\\b"c$d`e\\f']),
        (b"rsync 'a\nb'", [b"rsync", b"a\nb"]),
        (b"rsync \xff\xfe", [b"rsync", b"\xff\xfe"]),
        (b"rsync a#b", [b"rsync", b"a#b"]),
        (b"rsync ''", [b"rsync", b""]),
        (b"rsync a''b", [b"rsync", b"ab"]),
        (b"/opt/bin/tool x", [b"/opt/bin/tool", b"x"]),
        (b"make test", [b"make", b"test"]),
        (b"make  'test'", [b"make", b"test"]),
    ],
)
def test_listed_commands_are_split_as_a_shell_would(command: bytes, words: list[bytes]) -> None:
    assert decide(command, LISTED) == words


def test_any_passes_the_string_to_the_shell() -> None:
    assert decide(b"a; b | c > $d", policy("").access) is None


def test_none_refuses_everything() -> None:
    with pytest.raises(Refusal, match="allows no commands"):
        decide(b"true", policy("access: {commands: none}").access)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{interactive: false, commands: [rsync]}", "allowed: rsync, sftp"),
        (
            "{interactive: false, commands: [rsync, {exact: make test}], sftp: false}",
            "allowed: rsync, make test",
        ),
        ("{commands: none, sftp: false}", "allowed: a login without a command"),
        ("{interactive: [menu], commands: any}", "allowed: any command, sftp, a login without a command"),
        ("{interactive: false, commands: none, sftp: false}", ""),
        ("{interactive: false, commands: none, sftp: false, message: ask us}", "ask us"),
        ("{interactive: false, commands: none, message: ask us}", "allowed: sftp; ask us"),
    ],
)
def test_a_refusal_says_what_is_allowed(text: str, said: str) -> None:
    assert offered(policy(f"access: {text}").access) == said


def test_a_long_command_is_shortened_in_the_message() -> None:
    with pytest.raises(Refusal) as caught:
        decide(b"x" * 131071, LISTED)
    assert len(str(caught.value)) < 300


pieces = st.sampled_from(
    [b"rsync", b"-a", b" ", b"  ", b"\t", b"'", b'"', b"\\", b"a", b"b c", b"x", b"=", b"{", b"}", b"!", b"^",
     b"%", b"+", b",", b".", b"/", b":", b"@", b"\\n", b"-", b"_", b"]", b"\xe9", b"#", b"$", b";", b"\n",
     b"&", b"~"]
)  # fmt: skip
lines = st.lists(pieces, max_size=14).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(lines)
@example(b"a'b'\"c\"\\d")
@example(b"'a'\\''b'")
@example(b'"\\a\\\\"')
def test_what_is_accepted_means_the_same_to_sh(line: bytes) -> None:
    """Real /bin/sh splits every accepted line into the same words, and does nothing else with it."""
    try:
        words = split(line)
    except Refusal:
        return
    if any(word.pattern is not None for word in words):
        return  # a tilde: sh expands it at once, we inside the container
    shell = subprocess.run(
        ["/bin/sh", "-c", b"printf '%s\\0' . " + line],
        capture_output=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert shell.stderr == b""
    assert shell.stdout == b"".join(word + b"\0" for word in [b".", *words])


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=40))
def test_no_bytes_raise_anything_but_a_refusal(line: bytes) -> None:
    for access in (LISTED, Access(True, True, (), None, "")):
        try:
            words = decide(line, access)
        except Refusal as refusal:
            said = str(refusal)
        else:
            assert words
            assert words[0] in (b"rsync", b"scp", b"git-upload-pack", b"/opt/bin/tool", b"make")
            continue
        assert said.isprintable()


# ---- file name patterns ----------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("a.txt", "b.txt", "c.md", ".hidden", "[x]", "a b.txt", "star*", "dir/one.txt", "dir/two.md"):
        path = os.path.join(tmp_path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass
    monkeypatch.chdir(tmp_path)
    return os.fspath(tmp_path)


@pytest.mark.parametrize(
    "line",
    [b"*.txt", b"*", b".*", b"?.txt", b"[ab].txt", b"[!a].txt", b"[a-c].*", b"'*'.txt", b"\\*", b"star\\*",
     b"'[x]'", b"[x]", b"*/one.txt", b"dir/*", b"d*/t*", b"*/", b"none*", b"'a b'*", b"a\\ *", b"[", b"[]x]",
     b"[[]*",
     b"./*.md", b"dir/../*.md", b"**", b"*.*.*", b"[z-a]*", b"a[.]txt", b"dir//*", b'"*"', b"*'*'"],
)  # fmt: skip
def test_patterns_expand_as_in_sh(files: str, line: bytes) -> None:
    shell = subprocess.run(
        ["/bin/sh", "-c", b"printf '%s\\0' " + line],
        capture_output=True,
        check=True,
        cwd=files,
        env={"LC_ALL": "C"},
    )
    expected = shell.stdout.split(b"\0")[:-1]
    if line == b".*":
        expected = [name for name in expected if name not in (b".", b"..")]
    assert expand(split(line), b"/root") == expected


def test_absolute_patterns(files: str) -> None:
    base = os.fsencode(files)
    assert expand(split(base + b"/*.md"), b"/") == [base + b"/c.md"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"~", b"/home/al"),
        (b"~/x", b"/home/al/x"),
        (b"'~'", b"~"),
        (b"\\~/x", b"~/x"),
        (b"x~", b"x~"),
        (b"~bob/x", b"~bob/x"),
    ],
)
def test_tilde_is_the_home_inside(line: bytes, expected: bytes) -> None:
    assert expand(split(line), b"/home/al") == [expected]


def test_a_home_with_wildcards_is_taken_as_it_is(files: str) -> None:
    home = os.fsencode(files) + b"/[x]"
    os.mkdir(home + b"d")
    with open(home + b"d/f", "wb"):
        pass
    assert expand(split(b"~/*"), home + b"d") == [home + b"d/f"]


@settings(max_examples=300, deadline=None)
@given(st.text("ab*?[]!-\\", max_size=8), st.text("ab-]", max_size=6))
def test_matching_never_fails_and_agrees_with_sh(pattern: str, name: str) -> None:
    found = _syscall.matches(name.encode(), pattern.encode())
    if name and not pattern.endswith("\\"):
        quoted = pattern.replace("'", "")
        script = 'shopt -u extglob; p=$1; case "$2" in $p) exit 0;; esac; exit 1'
        command = ["/bin/bash", "-c", script, "x", quoted, name]
        shell = subprocess.run(command, check=False, env={"LC_ALL": "C"})
        if "[" not in pattern:  # brackets without an end and ranges backwards differ between shells
            assert found == (shell.returncode == 0)


def test_stars_do_not_multiply_the_work() -> None:
    """An exponential matcher would never return."""
    assert not _syscall.matches(b"a" * 2000, b"*a" * 200 + b"b")


def test_a_word_is_plain_bytes_to_everyone_else() -> None:
    word = Word(b"x")
    assert isinstance(word, bytes)
    assert expand([b"*"], b"/") == [b"*"]
